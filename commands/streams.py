"""Loading a stream as the state it folds into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar
from uuid import UUID

from commands.event_store import EventStore
from domain.errors import NotFound
from domain.event import Event, StreamEvent

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[S]):
    """How a stream folds into a state: where it starts and what each event changes."""

    initial: S
    evolve: Callable[[S, Any], S]

    def fold(self, events: Sequence[Event], start: S | None = None) -> S:
        """The state after `events`."""
        return reduce(self.evolve, events, self.initial if start is None else start)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """A state with the version of its stream (0: no such stream) and its owner."""

    state: S
    version: int
    owner_id: UUID | None
    history: Sequence[StreamEvent] = ()


async def load(store: EventStore, aggregate: Aggregate[S], stream_id: UUID) -> Loaded[S]:
    """The present state of a stream."""
    history = await store.load(stream_id)
    state = aggregate.fold([stored.event for stored in history])
    owner = history[0].owner_id if history else None
    return Loaded(state=state, version=len(history), owner_id=owner, history=history)


async def load_own(store: EventStore, aggregate: Aggregate[S], stream_id: UUID, owner_id: UUID) -> Loaded[S]:
    """The present state of a stream of this person; `NotFound` for anybody else's, exactly as for one that is not."""
    loaded = await load(store, aggregate, stream_id)
    if loaded.owner_id != owner_id:
        raise NotFound
    return loaded
