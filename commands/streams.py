"""Loading a stream as the state it folds into, of a long one from the last snapshot on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import structlog

from commands.event_store import EventStore, Snapshot
from domain.errors import NotFound
from domain.event import Event, StreamEvent
from domain.shape import fingerprint_of

log = structlog.get_logger()

S = TypeVar("S")

SNAPSHOT_AFTER_EVENTS = 200
"""Folding so many takes a few milliseconds (`make bench-loading`), and fewer than that a stream of a person's own doing
rarely grows to."""


@dataclass(frozen=True, slots=True)
class SnapshotRule:
    """That states of an aggregate are kept, once more than `after_events` had to be folded.

    `state` is their type, which msgspec can write and read. `version` grows when `evolve` makes another state of the same
    events; that the type's shape changed shows by itself.
    """

    kind: str
    version: int
    state: type[Any]
    after_events: int = SNAPSHOT_AFTER_EVENTS

    @property
    def shape(self) -> str:
        """What must be equal for a kept state to be read, `monitor.1.0e5b732d3f065076`: no program reads what another
        kind of program kept."""
        return _shape(self)


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[S]):
    """How a stream folds into a state: where it starts and what each event changes. Streams that get long have a rule for
    their snapshots."""

    initial: S
    evolve: Callable[[S, Any], S]
    snapshots: SnapshotRule | None = None

    def fold(self, events: Sequence[Event], start: S | None = None) -> S:
        """The state after `events`."""
        return reduce(self.evolve, events, self.initial if start is None else start)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """A state with the version of its stream (0: no such stream) and its owner."""

    state: S
    version: int
    owner_id: UUID | None


async def load(store: EventStore, aggregate: Aggregate[S], stream_id: UUID) -> Loaded[S]:
    """The present state of a stream. A snapshot only saves time: the state is the same without."""
    rule = aggregate.snapshots
    if rule is None:
        return _folded(aggregate, await store.load(stream_id))
    kept, tail = await store.load_since_snapshot(stream_id, shape=rule.shape)
    start = None if kept is None else _state_of(rule, kept)
    if kept is not None and start is None:
        kept, tail = None, await store.load(stream_id)
    loaded = _folded(aggregate, tail, kept, start)
    if len(tail) > rule.after_events:
        await _keep(store, loaded.state, tail[-1], rule.shape)
    return loaded


async def load_own(store: EventStore, aggregate: Aggregate[S], stream_id: UUID, owner_id: UUID) -> Loaded[S]:
    """The present state of a stream of this person; `NotFound` for anybody else's, exactly as for one that is not."""
    loaded = await load(store, aggregate, stream_id)
    if loaded.owner_id != owner_id:
        raise NotFound
    return loaded


@cache
def _shape(rule: SnapshotRule) -> str:
    return f"{rule.kind}.{rule.version}.{fingerprint_of(rule.state)}"


@cache
def _decoder(rule: SnapshotRule) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(rule.state)


def _folded(
    aggregate: Aggregate[S], tail: Sequence[StreamEvent], kept: Snapshot | None = None, start: S | None = None
) -> Loaded[S]:
    state = aggregate.fold([stored.event for stored in tail], start)
    version = tail[-1].version if tail else 0 if kept is None else kept.version
    owner = tail[-1].owner_id if tail else None if kept is None else kept.owner_id
    return Loaded(state=state, version=version, owner_id=owner)


def _state_of(rule: SnapshotRule, kept: Snapshot) -> Any:  # noqa: ANN401  of the rule's type
    """The state that was kept; None for one that cannot be read, which nobody misses."""
    try:
        return _decoder(rule).decode(kept.state)
    except msgspec.DecodeError as error:
        log.warning("snapshot not readable", stream_id=str(kept.stream_id), error=repr(error))
        return None


async def _keep(store: EventStore, state: object, last: StreamEvent, shape: str) -> None:
    snapshot = Snapshot(
        stream_id=last.stream_id,
        owner_id=last.owner_id,
        version=last.version,
        event_id=last.event_id,
        shape=shape,
        state=msgspec.json.encode(state),
    )
    try:
        await store.keep_snapshot(snapshot)
    except Exception as error:  # noqa: BLE001  whoever loads next tries again
        log.warning("snapshot not kept", stream_id=str(last.stream_id), error=repr(error))
