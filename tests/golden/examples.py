"""Examples of an event made from its type alone: each alternative of each union and each case of each enum, lists that are
empty and that are not, optional fields with and without a value. The same type gives the same examples."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec import inspect

from domain.event import Event

_NAMESPACE = UUID("00000000-0000-7000-8000-000000000001")
LEAVES: Mapping[type[inspect.Type], Any] = {
    inspect.BoolType: lambda _name, n: n % 2 == 1,
    inspect.IntType: lambda _name, n: 3 * n + 1,
    inspect.FloatType: lambda _name, n: n + 0.5,
    inspect.StrType: lambda name, n: f'{name} {n}: ä ✓ "quoted"',
    inspect.DateTimeType: lambda _name, n: f"2026-01-0{n % 9 + 1}T12:30:15.00012{n % 10}Z",
    inspect.DateType: lambda _name, n: f"2026-01-0{n % 9 + 1}",
    inspect.UUIDType: lambda name, n: str(uuid5(_NAMESPACE, f"{name} {n}")),
    inspect.NoneType: lambda _name, _n: None,
}


def examples_of(event_type: type[Event]) -> list[Event]:
    """Events of this type that differ in all that its fields can differ in but the content of leaves."""
    info = inspect.type_info(event_type)
    # Every third list is empty, so that some examples more are needed for all alternatives to show inside of lists.
    return [msgspec.convert(_value(info, "", n), event_type) for n in range(max(_widths(info)) + 2)]


def _widths(info: inspect.Type) -> Iterator[int]:
    yield 1
    match info:
        case inspect.Metadata(type=inner):
            yield from _widths(inner)
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from _widths(field.type)
        case inspect.EnumType(cls=cls):
            yield len(list(cls))
        case inspect.UnionType(types=types):
            yield len(types)
            for alternative in types:
                yield from _widths(alternative)
        case inspect.CollectionType(item_type=inner) | inspect.DictType(value_type=inner):
            yield from _widths(inner)
        case _:
            pass


def _value(info: inspect.Type, name: str, n: int) -> Any:  # noqa: ANN401  JSON
    match info:
        case inspect.Metadata(type=inner):
            return _value(inner, name, n)
        case inspect.StructType(fields=fields, tag_field=tag_field, tag=tag):
            given = [field for field in fields if field.required or n > 0]
            tagged = {} if tag_field is None else {tag_field: tag}
            return tagged | {f.encode_name: _value(f.type, f.encode_name, n) for f in given}
        case inspect.EnumType(cls=cls):
            return list(cls)[n % len(list(cls))].value
        case inspect.UnionType(types=types):
            # Without a value first, as in the plainest event there can be.
            alternatives = sorted(types, key=lambda kind: not isinstance(kind, inspect.NoneType))
            return _value(alternatives[n % len(alternatives)], name, n)
        case inspect.DictType(value_type=inner):
            return {f"{name} {i}": _value(inner, name, n + i) for i in range(n % 3)}
        case inspect.CollectionType(item_type=inner):
            return [_value(inner, name, n + i) for i in range(n % 3)]
        case _:
            return LEAVES[type(info)](name, n)
