"""What is wrong with a request body: every field, not only the first."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

import msgspec
from msgspec import NODEFAULT, inspect
from msgspec.inspect import Type, type_info

from commands.http.form import ErrorDetail

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


class BodyInvalid(Exception):
    """The body is not what the route takes; `details` name everything that is wrong."""

    def __init__(self, details: Sequence[ErrorDetail]) -> None:
        self.details = details
        super().__init__()


def body_errors(body: Any, target: type[Any]) -> list[ErrorDetail]:  # noqa: ANN401  any JSON value
    """Everything that keeps `body` (parsed JSON) from being a `target` struct that can be stored.

    Types are strict: "3" is no number. A NUL has no place in PostgreSQL's text and jsonb.
    """
    if not isinstance(body, dict):
        return [ErrorDetail(field=None, issue="type", message="send a JSON object as the body")]
    wrong = list(_field_errors(body, target))
    return wrong or [error for name, value in body.items() for error in _nul_errors(name, value)]


def _field_errors(body: dict[str, Any], target: type[Any]) -> Iterator[ErrorDetail]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(target)}
    types = get_type_hints(target, include_extras=True)
    for name in body:
        if name not in fields:
            known = ", ".join(sorted(fields))
            yield ErrorDetail(field=name, issue="unknown", message=f"there is no field {name!r}; known are: {known}")
    for name, field in fields.items():
        if name not in body:
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                yield ErrorDetail(field=name, issue="required", message=f"{name} is required")
            continue
        try:
            msgspec.convert(body[name], types[field.name])
        except msgspec.ValidationError as error:
            yield _detail(name, str(error), types[field.name])


def _detail(name: str, message: str, annotation: Any) -> ErrorDetail:  # noqa: ANN401  any type
    """Msgspec says `Expected `str`, got `int` - at `$.path``; a person wants `name.path: expected text, got a whole number`,
    and of a value that is not among those known, which are."""
    reason, _, path = message.partition(" - at `$")
    where = name + path.rstrip("`").replace("[...]", "[]")
    if reason.startswith("Object contains unknown field"):
        unknown = reason.split("`")[1]
        return ErrorDetail(field=f"{where}.{unknown}", issue="unknown", message=f"there is no field {unknown!r} here")
    if reason.startswith("Object missing required field"):
        missing = reason.split("`")[1]
        return ErrorDetail(field=f"{where}.{missing}", issue="required", message=f"{missing} is required")
    if reason.startswith(("Invalid enum value", "Invalid value")):
        known = ", ".join(sorted(_known_values(type_info(annotation), _STEPS.findall(path.rstrip("`")))))
        reason = f"{reason}; known are: {known}" if known else reason
    return ErrorDetail(field=where, issue="invalid", message=_lower_first(_TYPES.sub(_in_words, reason)))


def _in_words(types: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types[1].split(" | "))


def _known_values(info: Type, path: Sequence[str]) -> set[str]:
    """The values that may stand at a path within a type, where they are an enumeration or tell variants apart."""
    match info, path:
        case inspect.UnionType(types), _:
            return {value for each in types for value in _known_values(each, path)}
        case (inspect.ListType() | inspect.VarTupleType()) as several, [_, *rest]:
            return _known_values(several.item_type, rest)
        case inspect.StructType(), [name] if name == info.tag_field:
            return {str(info.tag)}
        case inspect.StructType(), [name, *rest]:
            return {v for field in info.fields if field.encode_name == name for v in _known_values(field.type, rest)}
        case inspect.EnumType(cls), []:
            return {str(member.value) for member in cls}
        case inspect.LiteralType(values), []:
            return {str(value) for value in values}
        case _:
            return set()


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


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
