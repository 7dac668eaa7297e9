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
from domain.upcasting import Fields, upcasts


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


@stored_as("evaluation.requested", version=2)
class EvaluationRequested(Event, frozen=True, kw_only=True):
    """A person asked to evaluate now, or the signal `signal_id` did."""

    monitor_id: UUID
    requested_at: datetime
    signal_id: UUID | None = None


@upcasts("evaluation.requested", from_version=1)
def _ask_for_a_person(fields: Fields) -> Fields:
    return fields | {"signal_id": None}


@stored_as("evaluation.fact_extracted", version=3)
class FactExtracted(Event, frozen=True, kw_only=True):
    """A fact was read from the evidence."""

    monitor_id: UUID
    fact: Fact


@upcasts("evaluation.fact_extracted", from_version=1)
def _known_by_their_values(fields: Fields) -> Fields:
    """Items of lists had no keys, and a fact without them leaves them out."""
    return fields


@upcasts("evaluation.fact_extracted", from_version=2)
def _without_a_reason(fields: Fields) -> Fields:
    """No model said why, and a fact without a reason leaves it out."""
    return fields


@stored_as("evaluation.completed", version=3)
class EvaluationCompleted(Event, frozen=True, kw_only=True):
    """The condition was judged. `inputs` holds every value it used, so the verdict can be explained and repeated.

    `streak` counts verdicts of this kind in a row; `due_at` is the slot of the schedule (or when it was asked for);
    `cost_micros` is in millionths of a US dollar, as is `saved_micros`: what models cost when they read before what was not
    read by them again. `provider` and `model` are who read last, now or when the same was read before: `rules` where no model was
    to read, `nobody` where none could, `unknown` where that was not remembered. `reason` says why an inconclusive verdict is one;
    `held_since` since when what stands beside `held_for` in the condition has been met without a break; `program` is the
    version of Vigil that judged.
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
    held_since: datetime | None = None
    evidence: tuple[Evidence, ...]
    provider: str
    model: str | None = None
    program: str | None = None
    cost_micros: int = 0
    saved_micros: int = 0
    duration_ms: int
    started_at: datetime
    completed_at: datetime


@upcasts("evaluation.completed", from_version=1)
def _nothing_held(fields: Fields) -> Fields:
    return fields | {"held_since": None, "program": None}


@upcasts("evaluation.completed", from_version=2)
def _nothing_saved(fields: Fields) -> Fields:
    return fields | {"saved_micros": 0}


@stored_as("evaluation.failed", version=2)
class EvaluationFailed(Event, frozen=True, kw_only=True):
    """Nothing could be judged; `code` is stable, `message` says what happened and what would help. `failures` counts the looks
    in a row that the sources failed, the first of them at `failed_since` (`domain.failing`)."""

    monitor_id: UUID
    plan_revision: int
    due_at: datetime
    code: str
    message: str
    failures: int = 1
    failed_since: datetime | None = None
    evidence: tuple[Evidence, ...]
    duration_ms: int
    started_at: datetime
    completed_at: datetime


@upcasts("evaluation.failed", from_version=1)
def _count_it_alone(fields: Fields) -> Fields:
    return fields | {"failures": 1, "failed_since": fields["started_at"]}


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


class Lane(StrEnum):
    """Which queue a job waits in: what somebody waits for need not wait for the schedule."""

    ASKED = "asked"
    SCHEDULED = "scheduled"


class EvaluationJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An evaluation somebody has to do: a slot of the schedule, or one that a person or a signal asked for.

    `attempts` counts how often it was tried before, in vain. `handed_out_at` is when it was handed out, and stays so when it is
    handed out once more because nobody finished it; None in jobs of a release that did not tell.
    """

    evaluation_id: UUID
    monitor_id: UUID
    owner_id: UUID
    due_at: datetime
    signal_id: UUID | None = None
    lane: Lane = Lane.SCHEDULED
    attempts: int = 0
    handed_out_at: datetime | None = None


class Previous(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the evaluations of a monitor came to so far: the id of the last one, the last conclusive verdict, on which
    plan and of which condition, how often it stands in a row, and since when what stands beside `held_for` has been met; how
    many looks in a row failed since, the first of them at `failed_since`."""

    evaluation_id: UUID | None = None
    plan_revision: int = 0
    verdict: Verdict | None = None
    streak: int = 0
    condition: str | None = None
    held_since: datetime | None = None
    failures: int = 0
    failed_since: datetime | None = None

    def on(self, monitor: Monitor) -> "Previous":
        """What of it counts for the monitor as it is: verdicts on an older plan do not, but while that asked the same, what has
        been met goes on being met."""
        if self.plan_revision == monitor.plan_revision:
            return self
        kept = Previous(evaluation_id=self.evaluation_id, failures=self.failures, failed_since=self.failed_since)
        if self.plan_revision < monitor.question_revision:
            return kept
        return msgspec.structs.replace(kept, condition=self.condition, held_since=self.held_since)


class Briefing(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation has to know before it begins: whether the person was erased, the versions of the monitor's stream
    and of its own (0: no such stream), whether it is done already, the monitor's present slot (None: it has none), how
    often that slot, or the request, was tried in vain (None: there is none any more), and what came before it. `is_shown` says that the read tables show that, too: comparing with stale history could miss a change or
    make one up."""

    is_erased: bool
    monitor_version: int
    version: int
    is_done: bool
    due_at: datetime | None
    attempts: int | None
    previous: Previous
    is_shown: bool


def streak_after(previous: Previous, verdict: Verdict) -> int:
    """How many verdicts like this one stand in a row; an inconclusive one neither adds nor breaks."""
    if verdict is Verdict.INCONCLUSIVE:
        return previous.streak
    return previous.streak + 1 if previous.verdict is verdict else 1


def previous_after(
    previous: Previous, outcome: EvaluationCompleted | EvaluationFailed, evaluation_id: UUID
) -> Previous:
    """What the next evaluation finds: a failure and an inconclusive verdict leave the last conclusive one standing, and a
    verdict of any kind ends a row of failures."""
    match outcome:
        case EvaluationCompleted(verdict=verdict) if verdict is not Verdict.INCONCLUSIVE:
            return Previous(
                evaluation_id=evaluation_id,
                plan_revision=outcome.plan_revision,
                verdict=verdict,
                streak=outcome.streak,
                condition=None if outcome.held_since is None else outcome.condition,
                held_since=outcome.held_since,
            )
        case EvaluationCompleted():
            return msgspec.structs.replace(previous, evaluation_id=evaluation_id, failures=0, failed_since=None)
        case EvaluationFailed(failures=failures, failed_since=since):
            return msgspec.structs.replace(previous, evaluation_id=evaluation_id, failures=failures, failed_since=since)


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
