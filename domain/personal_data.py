"""Personal data in events: which fields hold it, how it stands there sealed, and what stands there after erasure.

Event classes declare their personal fields by path (`domain.event.stored_as`): `email`, or `config.to` inside a field, or
`plan.sources.*.headers` inside each member of a list. A declaration holds for every version of its tag that was ever
stored, so a path stays when its field gets another name. What is personal, and why, is told in docs/personal-data.md.

Stored, the value at such a path is `{"sealed": "<text>"}`: whatever it was, under a key that its person alone has.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, assert_never
from uuid import UUID

SEALED = "sealed"
ERASED = "erased"
HIDDEN = "(sealed)"


class Personal(StrEnum):
    """What a personal field holds, which decides what is read in its place after erasure."""

    TEXT = "text"
    ADDRESS = "address"
    LIST = "list"
    MAPPING = "mapping"


PersonalFields = Mapping[str, Personal]
"""The personal fields of an event, by path."""

Change = Callable[[str, Personal, Any], Any]
"""Gives the new value of a field from its place (`plan.sources.0.headers`), its kind and its value."""


def erased_address(owner_id: UUID) -> str:
    """What stands for every address of an erased person. `invalid` is a domain that never will be (RFC 6761, 6.4)."""
    return f"{owner_id}@erased.invalid"


def placeholder(kind: Personal, owner_id: UUID) -> Any:  # noqa: ANN401  any JSON value
    """What is read for ever in place of what an erased person said: of the field's type, and always the same."""
    return _instead(kind, text=ERASED, address=erased_address(owner_id))


def hidden(kind: Personal) -> Any:  # noqa: ANN401  any JSON value
    """What is shown to those who are not to read a personal field."""
    return _instead(kind, text=HIDDEN, address=HIDDEN)


def sealed_text(value: object) -> str | None:
    """The text inside of a sealed value, None for a value that is not sealed."""
    if isinstance(value, dict) and len(value) == 1:
        text = value.get(SEALED)
        return text if isinstance(text, str) else None
    return None


def change_personal(data: Any, fields: PersonalFields, change: Change) -> None:  # noqa: ANN401  JSON, whatever was stored
    """Change, in place, the values at all personal paths of an event's JSON. What is absent or null stays so: that
    somebody gave nothing is no data about them."""
    for path, kind in fields.items():
        _change(data, path.split("."), "", kind, change)


def _change(inside: Any, steps: list[str], place: str, kind: Personal, change: Change) -> None:  # noqa: ANN401
    step, *further = steps
    for key in _keys(inside, step):
        value, at = inside[key], f"{place}.{key}" if place else str(key)
        if further:
            _change(value, further, at, kind, change)
        elif value is not None:
            inside[key] = change(at, kind, value)


def _keys(inside: Any, step: str) -> list[Any]:  # noqa: ANN401
    if isinstance(inside, list):
        return list(range(len(inside))) if step == "*" else []
    return [step] if isinstance(inside, dict) and step in inside else []


def _instead(kind: Personal, *, text: str, address: str) -> Any:  # noqa: ANN401
    match kind:
        case Personal.TEXT:
            return text
        case Personal.ADDRESS:
            return address
        case Personal.LIST:
            return []
        case Personal.MAPPING:
            return {}
        case _:
            assert_never(kind)
