"""Events: the only thing Vigil stores for ever, and the registry of their stable tags."""

from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, TypeVar
from uuid import UUID

import msgspec

from domain.personal_data import PersonalFields


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happened, told in the past tense, with its subject in its fields.

    A stored event is found again by its tag (`monitor.created`), never by the name of a class or a module.
    """

    tag: ClassVar[str]
    tag_version: ClassVar[int]
    personal: ClassVar[PersonalFields]


E = TypeVar("E", bound=type[Event])

_registered: dict[str, type[Event]] = {}


def stored_as(tag: str, version: int = 1, *, personal: PersonalFields = MappingProxyType({})) -> Callable[[E], E]:
    """Give an event class its stable tag and version; `personal` are the fields that are stored sealed, by path.

    Raises `ValueError` at import when two classes claim one tag: a tag that was ever stored is never reused.
    """

    def register(cls: E) -> E:
        taken = _registered.get(tag)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the tag {tag!r} belongs to {taken.__qualname__}; an event's tag is never reused")
        cls.tag, cls.tag_version, cls.personal = tag, version, personal
        _registered[tag] = cls
        return cls

    return register


def event_types() -> dict[str, type[Event]]:
    """Every known event class by its tag."""
    return dict(_registered)


def personal_fields(tag: str) -> PersonalFields:
    """The personal fields of the events of a tag; none for a tag that is not known."""
    cls = _registered.get(tag)
    return {} if cls is None else cls.personal


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What surrounds an event: who asked for it, as part of what, because of what.

    `correlation_id` groups everything one request or one schedule slot set in motion; `causation_id` is the
    event (or request) that directly led here; `command_id` is a hash of the caller's idempotency key; `actor` is a
    person's id or the name of a worker; `traceparent` is W3C trace context.
    """

    correlation_id: UUID
    causation_id: UUID | None = None
    command_id: str | None = None
    actor: str
    traceparent: str | None = None


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it stands in its stream: `version` counts from 1 without gaps."""

    stream_id: UUID
    version: int
    owner_id: UUID
    event: Event
    metadata: Metadata
    event_id: UUID
    recorded_at: datetime


class NewEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Events decided for one stream, to be appended after `expected_version` (0: the stream must be new)."""

    stream_id: UUID
    owner_id: UUID
    expected_version: int
    events: tuple[Event, ...]
