"""How stored events of the `eventsourcing` library stand in the table `event`, and how Vigil's own look to the library.

Two kinds of streams share the table and never mix:

- Vigil's own. The topic is the stable tag with its version (`monitor.created@1`), never the path of a module; the state
  is the JSON of `OwnState`: everything the store knows about the event.
- Foreign ones, of an application or a test of the library's that keeps its aggregates here. The type is the topic behind
  `FOREIGN_PREFIX`, which no tag of Vigil's begins with. The state may be any bytes and stands as base64 in the JSON of
  `ForeignData`, with the library's number: it may count a stream from 0, the table counts from 1.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.persistence import DataError, IntegrityError, Notification, ProgrammingError, StoredEvent

from adapters.personal_data import hide_event
from domain.event import Event, Metadata, event_types
from domain.event_codec import UnknownEvent, decode, decode_metadata, encode_metadata

FOREIGN_PREFIX = "eventsourcing:"
FOREIGN_VERSION = 1
FOREIGN_ACTOR = "eventsourcing"

_OWN_TOPIC = re.compile(r"([^@]+)@([1-9][0-9]{0,3})")


class OwnState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one of Vigil's events as the library carries it. `data` and `metadata` are JSON as it is stored;
    `recorded_at` is the database's clock, which is asked again when the event is written."""

    owner_id: UUID
    event_id: UUID
    recorded_at: datetime
    metadata: msgspec.Raw
    data: msgspec.Raw


class ForeignData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data of a foreign event: the library's number in its stream, and its state (base64 in JSON)."""

    originator_version: int
    state: bytes


class OwnTopic(NamedTuple):
    """The tag and the version of one of Vigil's events."""

    tag: str
    version: int


class StreamStart(NamedTuple):
    """What the first event of a stream decides for all that follow; `first_number` is 0 or 1."""

    owner_id: UUID
    is_foreign: bool
    first_number: int


class Row(NamedTuple):
    """An event as `append_events` takes it."""

    stream_id: UUID
    version: int
    owner_id: UUID
    type: str
    type_version: int
    data: str
    metadata: str
    event_id: UUID


_own_states = msgspec.json.Decoder(OwnState)
_foreign_data = msgspec.json.Decoder(ForeignData)


def topic_of(event_type: type[Event]) -> str:
    """The topic of one of Vigil's events in its present version, to select notifications by: `monitor.created@1`."""
    return f"{event_type.tag}@{event_type.tag_version}"


def own_topic(topic: str) -> OwnTopic | None:
    """The tag and version that a topic of Vigil's names; None for any other topic."""
    match = _OWN_TOPIC.fullmatch(topic)
    return OwnTopic(match[1], int(match[2])) if match else None


def type_of(topic: str) -> tuple[str, int]:
    """How a topic stands in the columns `type` and `type_version`."""
    return own_topic(topic) or (FOREIGN_PREFIX + topic, FOREIGN_VERSION)


def types_of(topics: Iterable[str]) -> list[tuple[str, int]]:
    """How the events of topics stand in the columns `type` and `type_version`. The topic of one of Vigil's in its present
    version means those that were stored in an older one too: they are read in the present one."""
    present = {topic_of(event_type) for event_type in event_types().values()}
    found = []
    for topic in topics:
        tag, version = type_of(topic)
        found += [(tag, older) for older in range(1 if topic in present else version, version + 1)]
    return found


def stream_id_of(originator_id: UUID | str) -> UUID:
    """The stream of an originator. Raises the library's `DataError` for a text that is no UUID."""
    try:
        return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)
    except ValueError as error:
        raise DataError(f"streams have UUIDs, not {originator_id!r}") from error


def stream_start(owner_id: UUID, tag: str, data: str) -> StreamStart:
    """What the stored first event of a stream decided."""
    if tag.startswith(FOREIGN_PREFIX):
        return StreamStart(owner_id, is_foreign=True, first_number=_foreign_data.decode(data).originator_version)
    return StreamStart(owner_id, is_foreign=False, first_number=1)


def rows_of(
    stored_events: Iterable[StoredEvent], starts: Mapping[UUID, StreamStart], *, new_id: Callable[[], UUID]
) -> list[Row]:
    """The rows of new events; `starts` tells of those of their streams that exist already.

    Raises the library's `IntegrityError` when a stream would begin later than at its beginning, `ProgrammingError` when
    it would mix Vigil's events with foreign ones or the events of two people, `DataError` for what Vigil cannot read.
    """
    known = dict(starts)
    foreign_metadata = encode_metadata(Metadata(correlation_id=new_id(), actor=FOREIGN_ACTOR)).decode()
    rows = []
    for stored in stored_events:
        own = own_topic(stored.topic)
        row = _foreign_row(stored, foreign_metadata, new_id()) if own is None else _own_row(stored, own)
        number = stored.originator_version
        start = known.setdefault(row.stream_id, StreamStart(row.owner_id, own is None, number))
        if (start.owner_id, start.is_foreign) != (row.owner_id, own is None):
            raise ProgrammingError(f"stream {row.stream_id} is another's: its first event says whose and of which kind")
        if start.first_number not in ({0, 1} if start.is_foreign else {1}):
            raise IntegrityError(f"version {number} lies ahead of stream {row.stream_id}, which has no events")
        rows.append(row._replace(version=number + 1 - start.first_number))
    return rows


def stored_event(columns: tuple[Any, ...]) -> StoredEvent:
    """A stored event from stream_id, version, owner_id, type, type_version, data, metadata, event_id, recorded_at.

    Raises the library's `DataError` for one that the store has let go of.
    """
    stream_id, version, owner_id, tag, tag_version, data, metadata, event_id, recorded_at = columns
    if data is None:
        raise DataError(
            f"version {version} of stream {stream_id} stands in an archive file; `vigil events` reads it there"
        )
    if tag.startswith(FOREIGN_PREFIX):
        foreign = _foreign_data.decode(data)
        return StoredEvent(stream_id, foreign.originator_version, tag.removeprefix(FOREIGN_PREFIX), foreign.state)
    state = OwnState(
        owner_id=owner_id,
        event_id=event_id,
        recorded_at=recorded_at,
        metadata=msgspec.Raw(metadata.encode()),
        data=msgspec.Raw(data.encode()),
    )
    return StoredEvent(stream_id, version, f"{tag}@{tag_version}", msgspec.json.encode(state))


def notification(columns: tuple[Any, ...]) -> Notification:
    """A notification from a position and the columns of a stored event."""
    position, *rest = columns
    stored = stored_event(tuple(rest))
    return Notification(stored.originator_id, stored.originator_version, stored.topic, stored.state, id=position)


def own_state(state: bytes) -> OwnState:
    """The state of one of Vigil's events. Raises `msgspec.DecodeError` for anything else."""
    return _own_states.decode(state)


def _foreign_row(stored: StoredEvent, metadata: str, event_id: UUID) -> Row:
    stream_id = stream_id_of(stored.originator_id)
    data = msgspec.json.encode(ForeignData(stored.originator_version, stored.state)).decode()
    return Row(stream_id, 0, stream_id, *type_of(stored.topic), data, metadata, event_id)


def _own_row(stored: StoredEvent, topic: OwnTopic) -> Row:
    try:
        state = own_state(stored.state)
        decode(*topic, hide_event(bytes(state.data).decode(), tag=topic.tag))
        decode_metadata(bytes(state.metadata))
    except (UnknownEvent, msgspec.DecodeError) as error:
        raise DataError(f"this is no event {stored.topic!r} of Vigil's: {error}") from error
    data, metadata = bytes(state.data).decode(), bytes(state.metadata).decode()
    stream_id = stream_id_of(stored.originator_id)
    return Row(stream_id, 0, state.owner_id, *topic, data, metadata, state.event_id)
