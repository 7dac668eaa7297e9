"""Between the `eventsourcing` library's stored events and Vigil's own, with Vigil's codec and tags."""

from typing import cast
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol, TAggregateID
from eventsourcing.persistence import Mapper, MapperDeserialisationError, ProgrammingError, StoredEvent
from eventsourcing.utils import register_topic

from adapters.eventsourcing_rows import OwnState, OwnTopic, own_state, own_topic, topic_of
from adapters.personal_data import HiddenKey, KeyOf, PersonKeyMissing, SealBroken, open_event, seal_event
from adapters.wrapping_keys import WrappingKeyMissing
from domain.event import StreamEvent, event_types
from domain.event_codec import UnknownEvent, decode, decode_metadata, encode_metadata


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

    The transcoder, cipher and compressor are for the others only: Vigil's events stand in the store as Vigil wrote them,
    with what people said sealed. `key_of` opens it; unless the factory gives keys, "(sealed)" is read in its place.
    """

    key_of: KeyOf = staticmethod(lambda _owner_id: HiddenKey())

    def to_stored_event(self, domain_event: DomainEventProtocol[TAggregateID]) -> StoredEvent:
        """The stored form of an event; Vigil's come as `VigilEvent`.

        Raises the library's `ProgrammingError` for what a person said, when there is no key to seal it with."""
        if not isinstance(domain_event, VigilEvent):
            return super().to_stored_event(domain_event)
        state = OwnState(
            owner_id=domain_event.owner_id,
            event_id=domain_event.event_id,
            recorded_at=domain_event.recorded_at,
            metadata=msgspec.Raw(encode_metadata(domain_event.metadata)),
            data=msgspec.Raw(self._sealed(domain_event)),
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
                event=decode(own.tag, own.version, self._opened(stored_event, own, state)),
                metadata=decode_metadata(bytes(state.metadata)),
                event_id=state.event_id,
                recorded_at=state.recorded_at,
            )
        except (UnknownEvent, SealBroken, PersonKeyMissing, WrappingKeyMissing, msgspec.DecodeError) as error:
            where = f"{stored_event.originator_id} at {stored_event.originator_version}"
            raise MapperDeserialisationError(f"{stored_event.topic} of stream {where}: {error}") from error
        return cast("DomainEventProtocol[TAggregateID]", event)

    def _sealed(self, event: VigilEvent) -> bytes:
        try:
            return seal_event(
                event.event, self.key_of, owner_id=event.owner_id, stream_id=event.stream_id, version=event.version
            )
        except (TypeError, PersonKeyMissing, WrappingKeyMissing) as error:
            raise ProgrammingError(f"{event.event.tag} holds what a person said: {error}") from error

    def _opened(self, stored: StoredEvent, own: OwnTopic, state: OwnState) -> str:
        return open_event(
            bytes(state.data).decode(),
            self.key_of,
            tag=own.tag,
            owner_id=state.owner_id,
            stream_id=cast("UUID", stored.originator_id),
            version=stored.originator_version,
        )


# The library's `resolve_topic` finds the class behind a topic of Vigil's, as it does with its own.
for _event_type in event_types().values():
    for _version in range(1, _event_type.tag_version + 1):
        register_topic(f"{_event_type.tag}@{_version}", _event_type)
