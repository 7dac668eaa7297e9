"""Between events and their stored JSON."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import msgspec

from domain import (
    action,
    budget,
    evaluation,
    model_call,
    monitor,
    notification,
    operation,
    signal,
    signal_source,
    trigger,
    user,
)
from domain.event import Event, Metadata, StreamEvent, event_types
from domain.log_entry import LogEntry
from domain.upcasting import UPCASTERS

AGGREGATES = (
    action,
    budget,
    evaluation,
    model_call,
    monitor,
    notification,
    operation,
    signal,
    signal_source,
    trigger,
    user,
)
"""The modules whose events are stored; importing them registers their tags."""

UPCASTERS.check({tag: cls.tag_version for tag, cls in event_types().items()})


class UnknownEvent(Exception):
    """A stored event has a tag or version this program does not know: it was written by a newer one."""


_encoder = msgspec.json.Encoder()
_metadata_decoder = msgspec.json.Decoder(Metadata)


def encode(event: Event) -> bytes:
    """The event's fields as JSON (UTF-8); its tag and version are stored beside it."""
    return _encoder.encode(event)


def decode(tag: str, version: int, data: str | bytes) -> Event:
    """The event that was stored, in its present version; raises `UnknownEvent` for a tag or version not known here."""
    return _reader(tag, version)(data)


def upcast_entry(entry: LogEntry) -> LogEntry:
    """The entry with its data as the present version of its event has them, for whoever reads them by field.

    An event of a tag that is not Vigil's stays as it is; raises `UnknownEvent` for a newer version of one that is.
    """
    present = _present_version(entry.type)
    if present is None or entry.type_version == present:
        return entry
    if not 1 <= entry.type_version < present:
        raise _unknown(entry.type, entry.type_version)
    data = _upcast(entry.type, entry.type_version, entry.data).decode()
    return msgspec.structs.replace(entry, type_version=present, data=data)


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
def _reader(tag: str, version: int) -> Callable[[str | bytes], Event]:
    cls = event_types().get(tag)
    if cls is None or not 1 <= version <= cls.tag_version:
        raise _unknown(tag, version)
    read = msgspec.json.Decoder(cls).decode
    return read if version == cls.tag_version else lambda data: read(_upcast(tag, version, data))


def _upcast(tag: str, version: int, data: str | bytes) -> bytes:
    """As the present version has it; what cannot be brought there is as unknown as a newer version."""
    try:
        return UPCASTERS.upcast(tag, version, data)
    except (LookupError, TypeError, ValueError, AttributeError, msgspec.DecodeError) as error:
        message = f"an event {tag!r} cannot be brought from version {version} to the present one"
        raise UnknownEvent(f"{message}: {type(error).__name__}") from error


@lru_cache(maxsize=1024)
def _present_version(tag: str) -> int | None:
    cls = event_types().get(tag)
    return None if cls is None else cls.tag_version


def _unknown(tag: str, version: int) -> UnknownEvent:
    return UnknownEvent(f"no event {tag!r} of version {version} is known to this program")
