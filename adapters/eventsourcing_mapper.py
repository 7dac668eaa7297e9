"""Between the `eventsourcing` library's stored events and Vigil's own, with Vigil's codec and tags."""

from typing import cast
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol, TAggregateID
from eventsourcing.persistence import Mapper, MapperDeserialisationError, StoredEvent
from eventsourcing.utils import register_topic

from adapters.eventsourcing_rows import OwnState, own_state, own_topic, topic_of
from domain.event import StreamEvent, event_types
from domain.event_codec import UnknownEvent, decode, decode_metadata, encode, encode_metadata


class VigilEvent(StreamEvent, frozen=True, kw_only=True):
    """One of Vigil's events as the library wants its events: with the names it uses for stream and version."""

    @property
    def originator_id(self) -> UUID:
        """The stream."""
        return self.stream_id

    @property
    def originator_version(self) -> int:
        """The number in the stream, from 1."""
        return self.version


class VigilMapper(Mapper[TAggregateID]):
    """Serves Vigil's own events with Vigil's codec, and all others as the library does.

    The transcoder, cipher and compressor are for the others only: Vigil's events stand in the store as Vigil wrote them.
    """

    def to_stored_event(self, domain_event: DomainEventProtocol[TAggregateID]) -> StoredEvent:
        """The stored form of an event; Vigil's come as `VigilEvent`."""
        if not isinstance(domain_event, VigilEvent):
            return super().to_stored_event(domain_event)
        state = OwnState(
            owner_id=domain_event.owner_id,
            event_id=domain_event.event_id,
            recorded_at=domain_event.recorded_at,
            metadata=msgspec.Raw(encode_metadata(domain_event.metadata)),
            data=msgspec.Raw(encode(domain_event.event)),
        )
        topic = topic_of(type(domain_event.event))
        return StoredEvent(domain_event.stream_id, domain_event.version, topic, msgspec.json.encode(state))

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[TAggregateID]:
        """The event that was stored; Vigil's come as `VigilEvent`, in the newest version of their kind.

        Raises the library's `MapperDeserialisationError` for an event this program cannot read.
        """
        own = own_topic(stored_event.topic)
        if own is None:
            return super().to_domain_event(stored_event)
        try:
            state = own_state(stored_event.state)
            event = VigilEvent(
                stream_id=cast("UUID", stored_event.originator_id),
                version=stored_event.originator_version,
                owner_id=state.owner_id,
                event=decode(own.tag, own.version, bytes(state.data)),
                metadata=decode_metadata(bytes(state.metadata)),
                event_id=state.event_id,
                recorded_at=state.recorded_at,
            )
        except (UnknownEvent, msgspec.DecodeError) as error:
            where = f"{stored_event.originator_id} at {stored_event.originator_version}"
            raise MapperDeserialisationError(f"{stored_event.topic} of stream {where}: {error}") from error
        return cast("DomainEventProtocol[TAggregateID]", event)


# The library's `resolve_topic` finds the class behind a topic of Vigil's, as it does with its own.
for _event_type in event_types().values():
    register_topic(topic_of(_event_type), _event_type)
