"""The evaluator: from a job to a verdict. AI and selectors read what is there now; this decides what it means."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from commands.event_store import CloseEvaluation, ConcurrentAppend, DropRequest, EventStore
from commands.judging import FiringsBehind, Judge
from commands.look import Look
from commands.streams import Loaded
from domain.condition import Judgement
from domain.crash_points import CrashPoint, reached
from domain.evaluation import (
    Briefing,
    EvaluationCompleted,
    EvaluationFailed,
    EvaluationJob,
    FactExtracted,
    Lane,
    Previous,
    conclude,
    previous_after,
    streak_after,
)
from domain.event import Metadata, NewEvents
from domain.failing import FAILURES_UNTIL_FAILING, after_failure, after_verdict, in_a_row
from domain.monitor import Monitor, MonitorEvent, StateChanged, Status
from domain.plan import Kind, Plan
from domain.schedule import next_slot, spread
from domain.source import SearchSource
from workers.kept_looks import evidence_of
from workers.known_monitors import KnownMonitors
from workers.later import NotYet
from workers.scheduler import LOST_AFTER
from workers.sight import EVALUATION_SECONDS_MAX, Sight, milliseconds

ATTEMPTS_MAX = 5
CATCH_UP_SECONDS_MAX = 5.0
CATCH_UP_REST_SECONDS, CATCH_UP_REST_SECONDS_MAX = 0.005, 0.25
BEHIND_REST = timedelta(seconds=1)
LATE_AFTER = LOST_AFTER - timedelta(seconds=EVALUATION_SECONDS_MAX + 2 * CATCH_UP_SECONDS_MAX)
"""After it was handed out: a look that begins by then is recorded before it counts as lost, though the look, the read tables
and the notifier take as long as they may."""
UNREAD_REST = timedelta(minutes=10)
"""After which a monitor is looked at again that no model could read for, if its next slot is not sooner. Each counts from its
own look, so they come back as they went, and not all at once. What was paid for in vain waits for its slot: a page could have it
paid for every ten minutes, however seldom it is to be looked at."""


class Briefings(Protocol):
    """What evaluations have to know before they begin."""

    async def brief(self, job: EvaluationJob) -> Briefing:
        """As it is now."""
        ...

    async def hold(self, job: EvaluationJob, *, now: datetime, lost_after: timedelta) -> EvaluationJob | None:
        """Say that the job is begun now, so that it is not handed out once more before `lost_after`; as it is then, or None
        when somebody said so before, or it is done. Of those who ask at once, one gets it."""
        ...


class HistoryBehind(NotYet):
    """The condition looks back, and what it needs is not there yet: in the read tables the last evaluation, or from the
    notifier whether the last change is told."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Carries out evaluations. Doing one twice, at once or after a crash, records it once. `program` is the version of this
    program."""

    store: EventStore
    monitors: KnownMonitors
    briefings: Briefings
    sight: Sight
    judge: Judge
    now: Callable[[], datetime]
    failing_after: int = FAILURES_UNTIL_FAILING
    program: str | None = None

    async def evaluate(self, job: EvaluationJob) -> None:
        """Evaluate and record. Raises `NotYet`, `ConcurrentAppend` or what the store raises: then nothing was recorded and
        the job is to be done again. Nothing is recorded for an erased person, whose schedule is gone."""
        looked: tuple[tuple[Plan, UUID | None], Look | EvaluationFailed] | None = None
        for _ in range(ATTEMPTS_MAX):
            briefing = await self.briefings.brief(job)
            if briefing.is_erased:
                self.monitors.forget(job.monitor_id)
                return await self._let_go(job)
            if looked is None and _went_by(job, briefing):
                return None
            monitor = await self.monitors.at_least(job.monitor_id, briefing.monitor_version)
            if briefing.is_done or not _can_be_made(monitor.state, briefing):
                return await self._let_go(job)
            if monitor.state.status is Status.ARCHIVED:
                return await self._refuse(job, monitor.state, briefing.version)
            # Who lost a race need not bother the source again; but what was seen before a later look was recorded is older
            # than that, and would take its change back.
            of = monitor.state.current_plan, briefing.previous.evaluation_id
            try:
                if looked is None or looked[0] != of:
                    if (begun := await self._begun(job, monitor.state, briefing)) is None:
                        return None
                    job = begun
                    looked = of, await self.sight.look(job, monitor.state)
                return await self._decide(job, monitor, briefing, looked[1])
            except ConcurrentAppend:
                continue
        raise ConcurrentAppend

    async def _begun(self, job: EvaluationJob, monitor: Monitor, briefing: Briefing) -> EvaluationJob | None:
        """The job, when it may look now; None when somebody else does. A look that is paid for each time it is made waits for what
        it is judged by, and one that is paid for at all is made by one alone."""
        plan = monitor.current_plan
        searches = any(isinstance(source, SearchSource) for source in plan.sources)
        if searches:
            await self._wait_until_shown(job, plan, briefing)
            nothing = Look(answers=(), facts={}, started_at=self.now())
            # Nothing is judged by the same as what is found, so this waits for the notifier where that will.
            await self._judge(job, monitor, briefing.previous.on(monitor), nothing)
        now = self.now()
        if not (searches or plan.needs_model) or job.handed_out_at is None or now - job.handed_out_at <= LATE_AFTER:
            return job
        return await self.briefings.hold(job, now=now, lost_after=LOST_AFTER)

    async def _decide(
        self, job: EvaluationJob, monitor: Loaded[Monitor], briefing: Briefing, looked: Look | EvaluationFailed
    ) -> None:
        """What the look means for the monitor as it is now, recorded."""
        state = monitor.state
        plan, previous = state.current_plan, briefing.previous.on(state)
        if isinstance(looked, EvaluationFailed):
            failed = in_a_row(state, briefing.previous, looked)
            failing = after_failure(state, failed, evaluation_id=job.evaluation_id, failing_after=self.failing_after)
            await self._record(job, monitor, briefing, [], failed, failing)
            return
        await self._wait_until_shown(job, plan, briefing)
        judgement = await self._judge(job, state, previous, looked)
        judgement = looked.explain(judgement)
        streak = streak_after(previous, judgement.verdict)
        now = self.now()
        monitor_events = [
            *after_verdict(state, evaluation_id=job.evaluation_id, now=now),
            *conclude(state, verdict=judgement.verdict, streak=streak, evaluation_id=job.evaluation_id, now=now),
        ]
        changes = [event for event in monitor_events if isinstance(event, StateChanged)]
        facts = [FactExtracted(monitor_id=job.monitor_id, fact=fact) for fact in looked.facts.values()]
        completed = EvaluationCompleted(
            monitor_id=job.monitor_id,
            plan_revision=state.plan_revision,
            due_at=job.due_at,
            verdict=judgement.verdict,
            state_before=state.state,
            state_after=changes[-1].to_state if changes else state.state,
            condition=judgement.condition,
            inputs=judgement.inputs,
            streak=streak,
            reason=judgement.reason,
            held_since=judgement.held_since,
            evidence=looked.evidence,
            provider=looked.reader.provider,
            model=looked.reader.model,
            cost_micros=looked.cost_micros,
            saved_micros=looked.saved_micros,
            program=self.program,
            duration_ms=milliseconds(now - looked.started_at),
            started_at=looked.started_at,
            completed_at=now,
        )
        await self._record(job, monitor, briefing, facts, completed, monitor_events, looked)

    async def _judge(self, job: EvaluationJob, monitor: Monitor, previous: Previous, look: Look) -> Judgement:
        """The verdict, once it is decided whether the change before it fires a trigger, if that matters."""
        plan, rest, waited = monitor.current_plan, CATCH_UP_REST_SECONDS, 0.0
        while waited < CATCH_UP_SECONDS_MAX:
            with suppress(FiringsBehind):
                return await self.judge.judge(
                    job.monitor_id,
                    plan,
                    look.facts,
                    now=look.started_at,
                    state=monitor.state,
                    previous=previous,
                    read_since=monitor.read_since,
                )
            await asyncio.sleep(rest)
            waited, rest = waited + rest, min(rest * 2, CATCH_UP_REST_SECONDS_MAX)
        raise HistoryBehind(self.now() + BEHIND_REST, is_attempt=False)

    async def _let_go(self, job: EvaluationJob) -> None:
        """There is nothing to do. A request that stayed would be handed out for ever, and its monitor's slots wait for it."""
        if job.lane is Lane.ASKED:
            context = Metadata(correlation_id=job.evaluation_id, actor="evaluator")
            await self.store.append([], metadata=context, companions=[DropRequest(job.evaluation_id)])

    async def _refuse(self, job: EvaluationJob, monitor: Monitor, version: int) -> None:
        """Somebody asked for this evaluation, and then the monitor was deleted."""
        failed = self.sight.failed(
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
        briefing: Briefing,
        facts: Sequence[FactExtracted],
        outcome: EvaluationCompleted | EvaluationFailed,
        monitor_events: Sequence[MonitorEvent],
        look: Look | None = None,
    ) -> None:
        batch = [
            NewEvents(
                stream_id=job.evaluation_id,
                owner_id=job.owner_id,
                expected_version=briefing.version,
                events=(*facts, outcome),
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
        schedule = monitor.state.current_plan.schedule
        next_due_at = next_slot(schedule, due_at=job.due_at, now=self.now())
        if look is not None and look.may_be_read_soon:
            next_due_at = min(next_due_at, self.now() + UNREAD_REST)
        close = CloseEvaluation(
            job.monitor_id,
            job.evaluation_id,
            briefing.previous.evaluation_id,
            previous_after(briefing.previous, outcome, job.evaluation_id),
            job.due_at,
            next_due_at,
            next_due_at + spread(schedule, job.monitor_id),
        )
        kept = [] if look is None else list(evidence_of(job.monitor_id, look))
        context = Metadata(correlation_id=job.evaluation_id, actor="evaluator")
        reached(CrashPoint.EVALUATOR_BEFORE_APPEND)
        await self.store.append(batch, metadata=context, companions=[close, *kept])
        self.monitors.went_on(job.monitor_id, monitor, monitor_events)

    async def _wait_until_shown(self, job: EvaluationJob, plan: Plan, briefing: Briefing) -> None:
        """Wait until the read tables show the last evaluation, where the plan compares with it: after the look, which takes
        time as well, but before one that is paid for each time it is made."""
        if plan.kind is not Kind.HISTORICAL_CHANGE or briefing.is_shown:
            return
        rest, waited = CATCH_UP_REST_SECONDS, 0.0
        while waited < CATCH_UP_SECONDS_MAX:
            now = await self.briefings.brief(job)
            if now.is_done or now.previous != briefing.previous:
                raise ConcurrentAppend  # somebody else evaluated meanwhile
            if now.is_shown:
                return
            await asyncio.sleep(rest)
            waited, rest = waited + rest, min(rest * 2, CATCH_UP_REST_SECONDS_MAX)
        raise HistoryBehind(self.now() + BEHIND_REST, is_attempt=False)


def _went_by(job: EvaluationJob, briefing: Briefing) -> bool:
    """Whether the slot or the request is no more what was handed out: it is done, given up, or was put back and is handed
    out once more."""
    if briefing.attempts is None or briefing.attempts > job.attempts:
        return True
    return job.lane is Lane.SCHEDULED and briefing.due_at != job.due_at


def _can_be_made(monitor: Monitor, briefing: Briefing) -> bool:
    """A paused or deleted monitor has no slots any more; what somebody asked for (version 1) is answered all the same."""
    match monitor.status:
        case Status.NEW:
            return False
        case Status.PAUSED | Status.ARCHIVED:
            return briefing.version > 0
        case Status.ACTIVE | Status.FAILING:
            return True
