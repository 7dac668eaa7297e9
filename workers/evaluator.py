"""The evaluator: from a job to a verdict. AI and selectors read what is there now; this decides what it means."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from commands.event_store import CloseEvaluation, Companion, ConcurrentAppend, EventStore, KeepEvidence
from commands.monitors import EVALUATION, MONITOR
from commands.shell import Loaded, load
from domain.condition import Judgement
from domain.evaluation import (
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
from domain.evidence import Document, FetchOutcome, Validators
from domain.fact import Fact, FactSpec, FactValue
from domain.history import TemporalCall, lookback, resolve
from domain.monitor import Monitor, MonitorEvent, StateChanged, Status
from domain.plan import Plan
from domain.schedule import next_slot
from domain.source import Source

log = structlog.get_logger()

EVALUATION_SECONDS_MAX = 30.0
ATTEMPTS_MAX = 5
CATCH_UP_SECONDS_MAX = 5.0
CATCH_UP_REST_SECONDS = 0.005
PARSED_IN_PLACE_BYTES_MAX = 64 * 1024
PROVIDER = "rules"


class Fetcher(Protocol):
    """Reads sources."""

    async def fetch(self, source: Source, known: Validators | None) -> Document:
        """One answer; whatever the source does is an outcome, never an exception."""
        ...


class FactReading(Protocol):
    """Reads facts from a document."""

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in it, by name."""
        ...


class ConditionJudging(Protocol):
    """Judges conditions."""

    def check(self, condition: str, facts: Sequence[FactSpec]) -> Sequence[TemporalCall]:
        """What the condition needs of history."""
        ...

    def judge(
        self,
        condition: str,
        facts: Sequence[FactSpec],
        values: Mapping[str, FactValue | None],
        temporal: Mapping[TemporalCall, FactValue | bool | None],
    ) -> Judgement:
        """The verdict with everything it used."""
        ...


class Remembered(Protocol):
    """What is remembered of a source's last answer."""

    @property
    def validators(self) -> Validators:
        """For a conditional request."""
        ...

    @property
    def evidence_hash(self) -> str:
        """The content it had."""
        ...


class History(Protocol):
    """What evaluations look back on."""

    async def previous(self, monitor_id: UUID, *, plan_revision: int) -> Previous | None:
        """What came before; None while that cannot be read yet."""
        ...

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, confidence_min: float
    ) -> list[tuple[datetime, FactValue]]:
        """A fact's accepted values since a moment with the one in force at it; None: the last one only."""
        ...

    async def memory(self, monitor_id: UUID) -> Mapping[str, Remembered]:
        """What is remembered of each source, by url."""
        ...

    async def evidence(self, answer: Document, evidence_hash: str) -> Document:
        """The kept content behind a 304 answer."""
        ...


class HistoryBehind(Exception):
    """The read tables do not show the last evaluation yet; the job comes back."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the sources gave: an answer of each, and the facts that stand in them."""

    answers: tuple[tuple[Source, Document], ...]
    facts: dict[str, Fact]

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The answers as an evaluation records them."""
        return tuple(
            Evidence(url=document.url, outcome=document.outcome, hash=document.hash, fetched_at=document.fetched_at)
            for _, document in self.answers
        )

    @property
    def failure(self) -> Document | None:
        """The first answer that nothing can be read from."""
        readable = {FetchOutcome.OK, FetchOutcome.NOT_MODIFIED}
        return next((document for _, document in self.answers if document.outcome not in readable), None)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Carries out evaluations. Doing one twice, at once or after a crash, records it once."""

    store: EventStore
    fetcher: Fetcher
    reading: FactReading
    conditions: ConditionJudging
    history: History
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def evaluate(self, job: EvaluationJob) -> None:
        """Evaluate and record. Raises `HistoryBehind`, `ConcurrentAppend` or what the store raises: then nothing was
        recorded and the job is to be done again."""
        for _ in range(ATTEMPTS_MAX):
            monitor = await load(self.store, MONITOR, job.monitor_id)
            evaluation = await load(self.store, EVALUATION, job.evaluation_id)
            if monitor.state.status in {Status.NEW, Status.ARCHIVED} or evaluation.state.outcome is not None:
                return None
            if monitor.state.status is Status.PAUSED and evaluation.version == 0:
                return None
            try:
                async with asyncio.timeout(EVALUATION_SECONDS_MAX + CATCH_UP_SECONDS_MAX):
                    return await self._evaluate_once(job, monitor, evaluation.version)
            except ConcurrentAppend:
                continue
        raise ConcurrentAppend

    async def _evaluate_once(self, job: EvaluationJob, monitor: Loaded[Monitor], version: int) -> None:
        plan, started_at = monitor.state.current_plan, self.now()
        previous = await self._previous(job.monitor_id, monitor.state.plan_revision)
        look = await self._look(job.monitor_id, plan)
        monitor_events: list[MonitorEvent] = []
        events: list[EvaluationEvent] = [
            FactExtracted(monitor_id=job.monitor_id, fact=fact) for fact in look.facts.values()
        ]
        if look.failure is not None:
            events = [self._failed(job, monitor.state, look, look.failure, started_at)]
        else:
            judgement = await self._judge(job.monitor_id, plan, look.facts, started_at)
            streak = streak_after(previous, judgement.verdict)
            now = self.now()
            monitor_events = conclude(
                monitor.state, verdict=judgement.verdict, streak=streak, evaluation_id=job.evaluation_id, now=now
            )
            changes = [event for event in monitor_events if isinstance(event, StateChanged)]
            events.append(
                EvaluationCompleted(
                    monitor_id=job.monitor_id,
                    plan_revision=monitor.state.plan_revision,
                    due_at=job.due_at,
                    verdict=judgement.verdict,
                    state_before=monitor.state.state,
                    state_after=changes[-1].to_state if changes else monitor.state.state,
                    condition=plan.condition,
                    inputs=judgement.inputs,
                    streak=streak,
                    reason=judgement.reason,
                    evidence=look.evidence,
                    provider=PROVIDER,
                    duration_ms=_milliseconds(now - started_at),
                    started_at=started_at,
                    completed_at=now,
                )
            )
        await self._record(job, monitor, version, events, monitor_events, previous, look)

    async def _record(
        self,
        job: EvaluationJob,
        monitor: Loaded[Monitor],
        version: int,
        events: Sequence[EvaluationEvent],
        monitor_events: Sequence[MonitorEvent],
        previous: Previous,
        look: Look,
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
        companions: list[Companion] = [
            KeepEvidence(job.monitor_id, source.url, document)
            for source, document in look.answers
            if document.outcome is FetchOutcome.OK
        ]
        companions.append(
            CloseEvaluation(job.monitor_id, job.evaluation_id, previous.evaluation_id, job.due_at, next_due_at)
        )
        context = Metadata(correlation_id=job.evaluation_id, actor="evaluator")
        await self.store.append(batch, metadata=context, companions=companions)

    async def _previous(self, monitor_id: UUID, plan_revision: int) -> Previous:
        """What came before, once it can be read: comparing with stale history could miss a change or make one up."""
        for _ in range(int(CATCH_UP_SECONDS_MAX / CATCH_UP_REST_SECONDS)):
            previous = await self.history.previous(monitor_id, plan_revision=plan_revision)
            if previous is not None:
                return previous
            await asyncio.sleep(CATCH_UP_REST_SECONDS)
        raise HistoryBehind

    async def _look(self, monitor_id: UUID, plan: Plan) -> Look:
        memory = await self.history.memory(monitor_id)
        documents = await asyncio.gather(*(self._read(source, memory.get(source.url)) for source in plan.sources))
        facts: dict[str, Fact] = {}
        for source, document in zip(plan.sources, documents, strict=True):
            if document.body:
                wanted = [fact for fact in plan.facts if fact.name not in facts]
                facts |= await self._read_facts(wanted, source, document)
        return Look(answers=tuple(zip(plan.sources, documents, strict=True)), facts=facts)

    async def _read_facts(self, wanted: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """Parsing a large document must not hold up the other evaluations of this process."""
        if len(document.body) <= PARSED_IN_PLACE_BYTES_MAX:
            return self.reading.read(wanted, source, document)
        return await asyncio.to_thread(self.reading.read, wanted, source, document)

    async def _read(self, source: Source, remembered: Remembered | None) -> Document:
        known = None if remembered is None else remembered.validators
        document = await self.fetcher.fetch(source, known)
        if document.outcome is FetchOutcome.NOT_MODIFIED and remembered is not None:
            return await self.history.evidence(document, remembered.evidence_hash)
        return document

    async def _judge(self, monitor_id: UUID, plan: Plan, facts: Mapping[str, Fact], now: datetime) -> Judgement:
        certain = {name: fact for name, fact in facts.items() if fact.confidence >= plan.min_confidence}
        values = {spec.name: certain[spec.name].value if spec.name in certain else None for spec in plan.facts}
        temporal: dict[TemporalCall, FactValue | bool | None] = {}
        for call in self.conditions.check(plan.condition, plan.facts):
            reach = lookback(call)
            since = None if reach is None else now - reach
            series = await self.history.series(monitor_id, call.fact, since=since, confidence_min=plan.min_confidence)
            temporal[call] = resolve(call, current=values[call.fact], series=series, now=now)
        return self.conditions.judge(plan.condition, plan.facts, values, temporal)

    def _failed(
        self, job: EvaluationJob, monitor: Monitor, look: Look, failure: Document, started_at: datetime
    ) -> EvaluationFailed:
        now = self.now()
        return EvaluationFailed(
            monitor_id=job.monitor_id,
            plan_revision=monitor.plan_revision,
            due_at=job.due_at,
            code=f"SOURCE_{failure.outcome.upper()}",
            message=failure.message or f"{failure.url} could not be read ({failure.outcome})",
            evidence=look.evidence,
            duration_ms=_milliseconds(now - started_at),
            started_at=started_at,
            completed_at=now,
        )


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
