"""Conditions: what judging one gives, and what its use of history means for the plan."""

from collections.abc import Sequence

import msgspec

from domain.evaluation import Verdict
from domain.fact import FactValue
from domain.history import TemporalCall
from domain.plan import Fires, Kind

OCCURRENCES = frozenset({"changed", "added", "removed"})
"""Functions that tell of something that happened, not of how things are."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a condition said, and why.

    `inputs` holds every fact by its name and every temporal call by its text (`changed(price)`), None where there was no
    value. `reason` says in plain words why the verdict is inconclusive, or not met for want of history.
    """

    verdict: Verdict
    inputs: dict[str, FactValue | None]
    reason: str | None = None


def kind_of(calls: Sequence[TemporalCall]) -> Kind:
    """Whether a condition with these temporal calls looks at history at all."""
    return Kind.HISTORICAL_CHANGE if calls else Kind.CURRENT_STATE


def fires_by_default(calls: Sequence[TemporalCall]) -> Fires:
    """Each time, where a condition tells of occurrences; else when it starts to hold."""
    return Fires.EACH_TIME if any(call.function in OCCURRENCES for call in calls) else Fires.ON_ENTRY
