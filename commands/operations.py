"""Recording what operators do."""

from collections.abc import Callable
from uuid import UUID

from commands.event_store import EventStore
from domain.event import Metadata, NewEvents
from domain.operation import INSTALLATION, OperationEvent


async def record_operation(store: EventStore, act: OperationEvent, *, actor: str, new_id: Callable[[], UUID]) -> None:
    """Append `act` as a stream of its own, done by `actor`."""
    stream_id = new_id()
    new = NewEvents(stream_id=stream_id, owner_id=INSTALLATION, expected_version=0, events=(act,))
    await store.append([new], metadata=Metadata(correlation_id=stream_id, actor=actor))
