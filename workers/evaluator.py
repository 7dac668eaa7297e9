"""The evaluator: from a job to a verdict. AI and selectors read what is there now; this decides what it means."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from commands.event_store import CloseEvaluation, Companion, ConcurrentAppend, DropRequest, EventStore, KeepEvidence
from commands.judging import Judge
from commands.looking import Look, Looker
from commands.monitors import EVALUATION, MONITOR
from commands.streams import Loaded, load
from domain.crash_points import CrashPoint, reached
from domain.evaluation import (
    Evaluation,
    EvaluationCompleted,
    EvaluationEvent,
    EvaluationFailed,
    EvaluationJob,
    Evidence,
    FactExtracted,
    Previous,
    conclude,
    streak_after,
)
from domain.event import Metadata, NewEvents
from domain.evidence import Document, FetchOutcome
from domain.monitor import Monitor, MonitorEvent, StateChanged, Status
from domain.plan import Plan
from domain.schedule import next_slot
from domain.source import Source

log = structlog.get_logger()

EVALUATION_SECONDS_MAX = 30.0
ATTEMPTS_MAX = 5
CATCH_UP_SECONDS_MAX = 5.0
CATCH_UP_REST_SECONDS, CATCH_UP_REST_SECONDS_MAX = 0.005, 0.25
PROVIDER = "rules"


class History(Protocol):
    """What evaluations look back on."""

    async def previous(self, monitor_id: UUID, *, plan_revision: int) -> Previous | None:
        """What came before; None while that cannot be read yet."""
        ...


class HistoryBehind(Exception):
    """The read tables do not show the last evaluation yet; the job comes back."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Carries out evaluations. Doing one twice, at once or after a crash, records it once."""

    store: EventStore
    looker: Looker
    judge: Judge
    history: History
    now: Callable[[], datetime]

    async def evaluate(self, job: EvaluationJob) -> None:
        """Evaluate and record. Raises `HistoryBehind`, `ConcurrentAppend` or what the store raises: then nothing was
        recorded and the job is to be done again. Nothing is recorded for an erased person, whose schedule is gone."""
        looked: tuple[Plan, Look | EvaluationFailed] | None = None
        for _ in range(ATTEMPTS_MAX):
            if await self.store.is_erased(job.owner_id):
                return None
            monitor = await load(self.store, MONITOR, job.monitor_id)
            evaluation = await load(self.store, EVALUATION, job.evaluation_id)
            if evaluation.state.outcome is not None or not _can_be_made(monitor.state, evaluation):
                return None
            if monitor.state.status is Status.ARCHIVED:
                return await self._refuse(job, monitor.state, evaluation.version)
            plan = monitor.state.current_plan
            if looked is None or looked[0] != plan:  # who lost a race need not bother the source again
                looked = plan, await self._attempt(job, monitor.state)
            try:
                return await self._decide(job, monitor, evaluation.version, looked[1])
            except ConcurrentAppend:
                continue
        raise ConcurrentAppend

    async def _attempt(self, job: EvaluationJob, monitor: Monitor) -> Look | EvaluationFailed:
        """A look at the sources. Whatever goes wrong is an outcome to be recorded: a job that raises would come back for
        ever and nobody would know why."""
        started_at = self.now()
        try:
            async with asyncio.timeout(EVALUATION_SECONDS_MAX):
                look = await self.looker.look(job.monitor_id, monitor.current_plan, started_at=started_at)
        except TimeoutError:
            message = f"the sources could not be read within {EVALUATION_SECONDS_MAX:.0f} s"
            return self._failed(job, monitor, code="SOURCE_SLOW", message=message, evidence=(), started_at=started_at)
        except Exception as error:
            log.exception("evaluation failed by a defect", monitor_id=str(job.monitor_id))
            message = (
                f"Vigil could not read this evidence ({type(error).__name__}); the log of the installation says more"
            )
            return self._failed(job, monitor, code="INTERNAL", message=message, evidence=(), started_at=started_at)
        failure = look.failure
        if failure is None:
            return look
        return self._failed(
            job,
            monitor,
            code=f"SOURCE_{failure.outcome.upper()}",
            message=failure.message or f"{failure.url} could not be read ({failure.outcome})",
            evidence=look.evidence,
            started_at=started_at,
        )

    async def _decide(
        self, job: EvaluationJob, monitor: Loaded[Monitor], version: int, looked: Look | EvaluationFailed
    ) -> None:
        """What the look means for the monitor as it is now, recorded."""
        state = monitor.state
        plan, previous = state.current_plan, await self._previous(job, state.plan_revision)
        if isinstance(looked, EvaluationFailed):
            await self._record(job, monitor, version, [looked], [], previous, ())
            return
        judgement = await self.judge.judge(job.monitor_id, plan, looked.facts, now=looked.started_at)
        streak = streak_after(previous, judgement.verdict)
        now = self.now()
        monitor_events = conclude(
            state, verdict=judgement.verdict, streak=streak, evaluation_id=job.evaluation_id, now=now
        )
        changes = [event for event in monitor_events if isinstance(event, StateChanged)]
        facts = [FactExtracted(monitor_id=job.monitor_id, fact=fact) for fact in looked.facts.values()]
        completed = EvaluationCompleted(
            monitor_id=job.monitor_id,
            plan_revision=state.plan_revision,
            due_at=job.due_at,
            verdict=judgement.verdict,
            state_before=state.state,
            state_after=changes[-1].to_state if changes else state.state,
            condition=plan.condition,
            inputs=judgement.inputs,
            streak=streak,
            reason=judgement.reason,
            evidence=looked.evidence,
            provider=PROVIDER,
            duration_ms=_milliseconds(now - looked.started_at),
            started_at=looked.started_at,
            completed_at=now,
        )
        await self._record(job, monitor, version, [*facts, completed], monitor_events, previous, looked.answers)

    async def _refuse(self, job: EvaluationJob, monitor: Monitor, version: int) -> None:
        """Somebody asked for this evaluation, and then the monitor was deleted."""
        failed = self._failed(
            job,
            monitor,
            code="MONITOR_DELETED",
            message="the monitor was deleted before it could be evaluated",
            evidence=(),
            started_at=self.now(),
        )
        new = NewEvents(stream_id=job.evaluation_id, owner_id=job.owner_id, expected_version=version, events=(failed,))
        context = Metadata(correlation_id=job.evaluation_id, actor="evaluator")
        await self.store.append([new], metadata=context, companions=[DropRequest(job.evaluation_id)])

    async def _record(
        self,
        job: EvaluationJob,
        monitor: Loaded[Monitor],
        version: int,
        events: Sequence[EvaluationEvent],
        monitor_events: Sequence[MonitorEvent],
        previous: Previous,
        answers: Sequence[tuple[Source, Document]],
    ) -> None:
        batch = [
            NewEvents(
                stream_id=job.evaluation_id, owner_id=job.owner_id, expected_version=version, events=tuple(events)
            )
        ]
        if monitor_events:
            batch.append(
                NewEvents(
                    stream_id=job.monitor_id,
                    owner_id=job.owner_id,
                    expected_version=monitor.version,
                    events=tuple(monitor_events),
                )
            )
        next_due_at = next_slot(monitor.state.current_plan.schedule, due_at=job.due_at, now=self.now())
        read = [(source, document) for source, document in answers if document.outcome is FetchOutcome.OK]
        # In one order for everybody: two evaluations that keep the same two pages must not wait for each other.
        companions: list[Companion] = [
            KeepEvidence(job.monitor_id, source.url, document)
            for source, document in sorted(read, key=lambda answer: answer[1].hash or "")
        ]
        companions.append(
            CloseEvaluation(job.monitor_id, job.evaluation_id, previous.evaluation_id, job.due_at, next_due_at)
        )
        context = Metadata(correlation_id=job.evaluation_id, actor="evaluator")
        reached(CrashPoint.EVALUATOR_BEFORE_APPEND)
        await self.store.append(batch, metadata=context, companions=companions)

    async def _previous(self, job: EvaluationJob, plan_revision: int) -> Previous:
        """What came before, once it can be read: comparing with stale history could miss a change or make one up."""
        rest, waited = CATCH_UP_REST_SECONDS, 0.0
        while waited < CATCH_UP_SECONDS_MAX:
            previous = await self.history.previous(job.monitor_id, plan_revision=plan_revision)
            if previous is not None:
                return previous
            if (await load(self.store, EVALUATION, job.evaluation_id)).state.outcome is not None:
                raise ConcurrentAppend  # what is waited for is this very evaluation, done by somebody else meanwhile
            await asyncio.sleep(rest)
            waited, rest = waited + rest, min(rest * 2, CATCH_UP_REST_SECONDS_MAX)
        raise HistoryBehind

    def _failed(
        self,
        job: EvaluationJob,
        monitor: Monitor,
        *,
        code: str,
        message: str,
        evidence: tuple[Evidence, ...],
        started_at: datetime,
    ) -> EvaluationFailed:
        now = self.now()
        return EvaluationFailed(
            monitor_id=job.monitor_id,
            plan_revision=monitor.plan_revision,
            due_at=job.due_at,
            code=code,
            message=message,
            evidence=evidence,
            duration_ms=_milliseconds(now - started_at),
            started_at=started_at,
            completed_at=now,
        )


def _can_be_made(monitor: Monitor, evaluation: Loaded[Evaluation]) -> bool:
    """A paused or deleted monitor has no slots any more; what somebody asked for (version 1) is answered all the same."""
    match monitor.status:
        case Status.NEW:
            return False
        case Status.PAUSED | Status.ARCHIVED:
            return evaluation.version > 0
        case Status.ACTIVE:
            return True


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
