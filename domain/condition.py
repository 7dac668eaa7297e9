"""Conditions: what judging one gives, and what its use of history means for the plan."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.evaluation import Verdict
from domain.fact import FactValue
from domain.monitor import State
from domain.plan import Fires, Kind, Plan
from domain.temporal_function import LAST_NOTIFIED, TemporalCall

OCCURRENCES = frozenset({"changed", "added", "removed", LAST_NOTIFIED})
"""Functions that tell of something that happened, not of how things are."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a condition said, and why.

    `inputs` holds every fact by its name and every temporal call by its text (`changed(price)`), None where there was no
    value. `reason` says in plain words why the verdict is inconclusive, or not met for want of history. `held_since` says
    since when what stands beside `held_for` has been met without a break.
    """

    condition: str
    verdict: Verdict
    inputs: dict[str, FactValue | None]
    reason: str | None = None
    held_since: datetime | None = None


_OPPOSITE = {Verdict.MET: Verdict.NOT_MET, Verdict.NOT_MET: Verdict.MET}


def reset_in_force(plan: Plan, state: State) -> str | None:
    """The `reset_condition` that an evaluation of a monitor in this state asks in place of the condition, if it does."""
    return plan.reset_condition if state is State.ACTIVE else None


def reset_as_recorded(reset: str) -> str:
    """The condition that holds while a `reset_condition` does not."""
    return f"!({reset})"


def reset_as_verdict(reset: Judgement) -> Judgement:
    """What a judged `reset_condition` means for an active monitor: while it is not met, and also while there is too little
    history to say so, the verdict is met."""
    return msgspec.structs.replace(
        reset, condition=reset_as_recorded(reset.condition), verdict=_OPPOSITE.get(reset.verdict, reset.verdict)
    )


def kind_of(calls: Sequence[TemporalCall]) -> Kind:
    """Whether a condition with these temporal calls looks at history at all."""
    return Kind.HISTORICAL_CHANGE if calls else Kind.CURRENT_STATE


def fires_by_default(calls: Sequence[TemporalCall]) -> Fires:
    """Each time, where a condition tells of occurrences; else when it starts to hold."""
    return Fires.EACH_TIME if any(call.function in OCCURRENCES for call in calls) else Fires.ON_ENTRY
