"""What the events of a stream fold into, for every kind of stream: the same folds that commands decide by."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from commands.actions import ACTION
from commands.identity import USER
from commands.monitors import EVALUATION, MONITOR
from commands.notifications import NOTIFICATION
from commands.signal_receiving import SIGNAL
from commands.signals import SOURCE
from commands.streams import Aggregate
from commands.triggers import TRIGGER
from domain.event import Event

AGGREGATES: Mapping[str, Aggregate[Any]] = {
    "action": ACTION,
    "evaluation": EVALUATION,
    "monitor": MONITOR,
    "notification": NOTIFICATION,
    "signal": SIGNAL,
    "signal_source": SOURCE,
    "trigger": TRIGGER,
    "user": USER,
}
"""By the kind of stream. One of another kind (what operators did) has no state: its events stand for themselves."""


def kind_of(first_type: str) -> str:
    """The kind of a stream, told by the tag of its first event: `monitor` for `monitor.created`."""
    return first_type.partition(".")[0]


def state_after(kind: str, events: Sequence[Event]) -> dict[str, Any] | None:
    """The state of a stream after its first `events`, as JSON has it; None for a kind without a state."""
    aggregate = AGGREGATES.get(kind)
    if aggregate is None:
        return None
    state: dict[str, Any] = msgspec.to_builtins(aggregate.fold(events), order="sorted")
    return state
