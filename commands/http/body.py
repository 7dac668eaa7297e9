"""What is wrong with a request body: every field, not only the first."""

from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec
from msgspec import NODEFAULT

from commands.http.form import ErrorDetail


def body_errors(body: Any, target: type[Any]) -> list[ErrorDetail]:  # noqa: ANN401  any JSON value
    """Everything that keeps `body` (parsed JSON) from being a `target` struct."""
    if not isinstance(body, dict):
        return [ErrorDetail(field=None, issue="type", message="send a JSON object as the body")]
    return list(_field_errors(body, target))


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
            yield _detail(name, str(error))


def _detail(name: str, message: str) -> ErrorDetail:
    """Msgspec says `Expected ..., got ... - at `$.path``; a person wants `name.path: expected ..., got ...`."""
    reason, _, path = message.partition(" - at `$")
    where = name + path.rstrip("`").replace("[...]", "[]")
    if reason.startswith("Object contains unknown field"):
        return ErrorDetail(field=where, issue="unknown", message=_lower_first(reason))
    if reason.startswith("Object missing required field"):
        return ErrorDetail(field=f"{where}.{reason.split('`')[1]}", issue="required", message=_lower_first(reason))
    return ErrorDetail(field=where, issue="invalid", message=_lower_first(reason))


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
