"""What is wrong with a request body: every field, not only the first."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect
from msgspec.inspect import Type, type_info

from commands.http.form import ErrorDetail

ERRORS_TOLD_MAX = 100
"""Each unknown field is told with all that are known: a body of nothing else would be answered with twenty times its size."""
_TYPES = re.compile("`([a-z |]+)`")
_STEPS = re.compile(r"\[[^\]]*\]|[^.\[]+")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""The types of JSON (RFC 8259), which msgspec tells by their names in Python."""
_CURES = {
    "Invalid RFC3339 encoded datetime": "this is not a time (RFC 3339); write for example 2026-01-31T08:00:00Z",
    "Invalid UUID": "this is not an id; take it as Vigil gave it, such as 0197b4a2-6c1e-7a05-9d3b-2f40c1d2e3f4",
}


def body_errors(body: Any, target: type[msgspec.Struct]) -> list[ErrorDetail]:  # noqa: ANN401  any JSON value
    """Everything that keeps `body` (parsed JSON) from being a `target` struct that can be stored, the first 100 things.

    Types are strict: "3" is no number. A NUL has no place in PostgreSQL's text and jsonb.
    """
    if not isinstance(body, dict):
        return [ErrorDetail(field=None, issue="type", message="send a JSON object as the body")]
    wrong = list(islice(_field_errors(body, target), ERRORS_TOLD_MAX))
    nuls = (error for name, value in body.items() for error in _nul_errors(name, value))
    return wrong or list(islice(nuls, ERRORS_TOLD_MAX))


def _field_errors(body: dict[str, Any], target: type[msgspec.Struct]) -> Iterator[ErrorDetail]:
    fields = _fields_of(target)
    for name in body:
        if name not in fields:
            yield _unknown(name, name, fields)
    for name, field in fields.items():
        if name not in body:
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                yield _required(name, name, _values(_types_at(type_info(field.type), [], None)))
            continue
        try:
            msgspec.convert(body[name], field.type)
        except msgspec.ValidationError as error:
            yield _detail(name, body[name], str(error), field.type)


@cache
def _fields_of(target: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """A struct's fields by their names in JSON; finding out their types takes longer than all checks."""
    return {field.encode_name: field for field in msgspec.structs.fields(target)}


def _detail(name: str, value: Any, message: str, annotation: Any) -> ErrorDetail:  # noqa: ANN401  any JSON, any type
    """Msgspec says `Expected `str`, got `int` - at `$.path``; a person wants `name.path: expected text, got a whole number`,
    and of a field or a value that is not among those known, which are."""
    reason, _, path = message.partition(" - at `$")
    path = path.rstrip("`")
    where, steps = name + path.replace("[...]", "[]"), _STEPS.findall(path)
    if reason.startswith("Object contains unknown field"):
        unknown = reason.split("`")[1]
        return _unknown(f"{where}.{unknown}", unknown, _fields(_types_at(type_info(annotation), steps, value)))
    if reason.startswith("Object missing required field"):
        missing = reason.split("`")[1]
        return _required(
            f"{where}.{missing}", missing, _values(_types_at(type_info(annotation), [*steps, missing], value))
        )
    if reason.startswith(("Invalid enum value", "Invalid value")):
        known = ", ".join(sorted(_values(_types_at(type_info(annotation), steps, value))))
        reason = f"{reason}; known are: {known}" if known else reason
    return ErrorDetail(field=where, issue="invalid", message=in_words(reason))


def _required(where: str, name: str, known: Iterable[str]) -> ErrorDetail:
    these = ", ".join(sorted(set(known)))
    message = f"{name} is required: one of {these}" if these else f"{name} is required"
    return ErrorDetail(field=where, issue="required", message=message)


def _unknown(where: str, name: str, known: Iterable[str]) -> ErrorDetail:
    these = ", ".join(sorted(set(known)))
    message = f"there is no field {name!r}; known are: {these}" if these else f"there is no field {name!r} here"
    return ErrorDetail(field=where, issue="unknown", message=message)


def in_words(reason: str) -> str:
    """What msgspec says of a value, for people: without the names that Python has for the types of JSON."""
    if reason in _CURES:
        return _CURES[reason]
    told = _TYPES.sub(lambda types: " or ".join(_WORDS.get(name, name) for name in types[1].split(" | ")), reason)
    return told[:1].lower() + told[1:]


def _types_at(info: Type, path: Sequence[str], value: Any) -> Iterator[Type]:  # noqa: ANN401  any JSON value
    """The types that may stand at a path within a type, given the value that was to be of it."""
    match info, path, value:
        case inspect.UnionType(types), _, _:
            for each in _variants(types, value):
                yield from _types_at(each, path, value)
        case _, [], _:
            yield info
        case (inspect.ListType() | inspect.VarTupleType()) as several, [index, *rest], list():
            yield from _types_at(several.item_type, rest, value[int(index.strip("[]"))])
        case inspect.StructType(), [name], dict() if name == info.tag_field:
            yield inspect.LiteralType((info.tag,))
        case inspect.StructType(), [name, *rest], dict():
            for field in info.fields:
                if field.encode_name == name:
                    yield from _types_at(field.type, rest, value.get(name))
        case _:
            pass


def _variants(types: Sequence[Type], value: Any) -> Sequence[Type]:  # noqa: ANN401  any JSON value
    """The one of them whose tag the value has; all, if it has the tag of none."""
    if not isinstance(value, dict):
        return types
    structs = [each for each in types if isinstance(each, inspect.StructType) and each.tag_field]
    return [each for each in structs if value.get(each.tag_field) == each.tag] or types


def _fields(types: Iterable[Type]) -> Iterator[str]:
    """The fields of structs, also the one that tells variants apart."""
    for info in types:
        if isinstance(info, inspect.StructType):
            yield from (field.encode_name for field in info.fields)
            yield from [info.tag_field] if info.tag_field else []


def _values(types: Iterable[Type]) -> Iterator[str]:
    """The values of enumerations, and the tags that tell variants apart."""
    for info in types:
        match info:
            case inspect.EnumType(cls):
                yield from (str(member.value) for member in cls)
            case inspect.LiteralType(values):
                yield from (str(value) for value in values)
            case _:
                pass


def _nul_errors(where: str, value: Any) -> Iterator[ErrorDetail]:  # noqa: ANN401  any JSON value
    """The places of NUL characters in a value of the right type, which bounds its depth."""
    match value:
        case str() if "\0" in value:
            yield ErrorDetail(field=where, issue="invalid", message="a text has no NUL character (U+0000)")
        case dict():
            for name, member in value.items():
                yield from _nul_errors(f"{where}.{name}", member)
        case list():
            for i, item in enumerate(value):
                yield from _nul_errors(f"{where}[{i}]", item)
        case _:
            pass
