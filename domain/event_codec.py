"""Between events and their stored JSON."""

from datetime import datetime
from functools import lru_cache

import msgspec

from domain import action, evaluation, monitor, notification, operation, trigger, user
from domain.event import Event, Metadata, StreamEvent, event_types
from domain.log_entry import LogEntry

AGGREGATES = (action, evaluation, monitor, notification, operation, trigger, user)
"""The modules whose events are stored; importing them registers their tags."""


class UnknownEvent(Exception):
    """A stored event has a tag or version this program does not know: it was written by a newer one."""


_encoder = msgspec.json.Encoder()
_metadata_decoder = msgspec.json.Decoder(Metadata)


def encode(event: Event) -> bytes:
    """The event's fields as JSON (UTF-8); its tag and version are stored beside it."""
    return _encoder.encode(event)


def decode(tag: str, version: int, data: str | bytes) -> Event:
    """The event that was stored; raises `UnknownEvent` for a tag or version not known here."""
    return _decoder(tag, version).decode(data)


def decode_entry(entry: LogEntry) -> StreamEvent:
    """The event a log entry carries."""
    return StreamEvent(
        stream_id=entry.stream_id,
        version=entry.version,
        owner_id=entry.owner_id,
        event=decode(entry.type, entry.type_version, entry.data),
        metadata=_metadata_decoder.decode(entry.metadata),
        event_id=entry.event_id,
        recorded_at=datetime.fromisoformat(entry.recorded_at),
    )


def encode_metadata(metadata: Metadata) -> bytes:
    """Metadata as JSON (UTF-8), absent values left out."""
    return _encoder.encode(metadata)


def decode_metadata(data: str | bytes) -> Metadata:
    """The metadata that was stored."""
    return _metadata_decoder.decode(data)


@lru_cache(maxsize=1024)
def _decoder(tag: str, version: int) -> msgspec.json.Decoder[Event]:
    cls = event_types().get(tag)
    if cls is None or cls.tag_version != version:
        raise UnknownEvent(f"no event {tag!r} of version {version} is known to this program")
    return msgspec.json.Decoder(cls)
