"""The evaluation aggregate: one look at the evidence, with everything that was seen and why it decided so.

Each evaluation is its own short stream, closed by `EvaluationCompleted` or `EvaluationFailed`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid5

import msgspec

from domain.event import Event, stored_as
from domain.fact import Fact, FactValue
from domain.monitor import ConditionMetAgain, Monitor, MonitorEvent, State, StateChanged
from domain.plan import Fires


class Verdict(StrEnum):
    """What the condition said: `inconclusive` when a fact is missing or too uncertain, which never changes the state."""

    MET = "met"
    NOT_MET = "not_met"
    INCONCLUSIVE = "inconclusive"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: `outcome` is `ok`, `not_modified` or a typed failure; `hash` the SHA-256 (hex) of the content."""

    url: str
    outcome: str
    hash: str | None = None
    fetched_at: datetime


@stored_as("evaluation.requested")
class EvaluationRequested(Event, frozen=True, kw_only=True):
    """A person asked to evaluate now."""

    monitor_id: UUID
    requested_at: datetime


@stored_as("evaluation.fact_extracted")
class FactExtracted(Event, frozen=True, kw_only=True):
    """A fact was read from the evidence."""

    monitor_id: UUID
    fact: Fact


@stored_as("evaluation.completed")
class EvaluationCompleted(Event, frozen=True, kw_only=True):
    """The condition was judged. `inputs` holds every value it used, so the verdict can be explained and repeated.

    `streak` counts verdicts of this kind in a row; `due_at` is the slot of the schedule (or when it was asked for);
    `cost_micros` is in millionths of the currency; `reason` says why an inconclusive verdict is one.
    """

    monitor_id: UUID
    plan_revision: int
    due_at: datetime
    verdict: Verdict
    state_before: State
    state_after: State
    condition: str
    inputs: dict[str, FactValue | None]
    streak: int
    reason: str | None = None
    evidence: tuple[Evidence, ...]
    provider: str
    model: str | None = None
    cost_micros: int = 0
    duration_ms: int
    started_at: datetime
    completed_at: datetime


@stored_as("evaluation.failed")
class EvaluationFailed(Event, frozen=True, kw_only=True):
    """Nothing could be judged; `code` is stable, `message` says what happened and what would help."""

    monitor_id: UUID
    plan_revision: int
    due_at: datetime
    code: str
    message: str
    evidence: tuple[Evidence, ...]
    duration_ms: int
    started_at: datetime
    completed_at: datetime


EvaluationEvent = EvaluationRequested | FactExtracted | EvaluationCompleted | EvaluationFailed


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation as the events so far tell it."""

    monitor_id: UUID | None = None
    facts: tuple[Fact, ...] = ()
    outcome: EvaluationCompleted | EvaluationFailed | None = None


def evolve(evaluation: Evaluation, event: EvaluationEvent) -> Evaluation:
    """The evaluation after `event`."""
    match event:
        case EvaluationRequested(monitor_id=monitor_id):
            return replace(evaluation, monitor_id=monitor_id)
        case FactExtracted(monitor_id=monitor_id, fact=fact):
            return replace(evaluation, monitor_id=monitor_id, facts=(*evaluation.facts, fact))
        case EvaluationCompleted(monitor_id=monitor_id) | EvaluationFailed(monitor_id=monitor_id):
            return replace(evaluation, monitor_id=monitor_id, outcome=event)


def evaluation_id(monitor_id: UUID, due_at: datetime) -> UUID:
    """The id of the evaluation of a slot: the same slot twice is the same evaluation (RFC 9562, version 5)."""
    return uuid5(monitor_id, due_at.astimezone(UTC).isoformat(timespec="microseconds"))


class EvaluationJob(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation somebody has to do: a slot of the schedule, or one that was asked for."""

    evaluation_id: UUID
    monitor_id: UUID
    owner_id: UUID
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Previous:
    """What the evaluations before this one came to: the last one's id, and the last verdict and how often in a row."""

    evaluation_id: UUID | None = None
    verdict: Verdict | None = None
    streak: int = 0


def streak_after(previous: Previous, verdict: Verdict) -> int:
    """How many verdicts like this one stand in a row; an inconclusive one neither adds nor breaks."""
    if verdict is Verdict.INCONCLUSIVE:
        return previous.streak
    return previous.streak + 1 if previous.verdict is verdict else 1


def conclude(
    monitor: Monitor, *, verdict: Verdict, streak: int, evaluation_id: UUID, now: datetime
) -> list[MonitorEvent]:
    """What a verdict means for the monitor.

    The first conclusive verdict leaves unknown; later switches, and the first one into active, need `confirmations`
    verdicts in a row. An inconclusive verdict changes nothing, ever.
    """
    if verdict is Verdict.INCONCLUSIVE:
        return []
    plan = monitor.current_plan
    target = State.ACTIVE if verdict is Verdict.MET else State.INACTIVE
    leaves_unknown_quietly = monitor.state is State.UNKNOWN and target is State.INACTIVE
    needed = 1 if leaves_unknown_quietly else plan.confirmations
    if monitor.state is target:
        again = target is State.ACTIVE and plan.fires is Fires.EACH_TIME
        return [ConditionMetAgain(evaluation_id=evaluation_id, met_at=now)] if again else []
    if streak < needed:
        return []
    return [StateChanged(from_state=monitor.state, to_state=target, evaluation_id=evaluation_id, changed_at=now)]
