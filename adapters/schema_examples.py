"""Making an example from a schema: what the schema gives as one, else the smallest value it allows."""

from collections.abc import Mapping
from typing import Any

from adapters.schema_reading import SchemaReader, variants_of

DEPTH_MAX = 8

BY_FORMAT = {
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
    "date-time": "2026-01-01T08:00:00Z",
    "date": "2026-01-01",
    "duration": "PT5M",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}
BY_NAME = {
    "url": "https://example.com/",
    "email": "ada@example.com",
    "timezone": "Europe/Berlin",
    "name": "A name",
    "prompt": "Tell me when the price is under 50",
}


def example_of(reader: SchemaReader, schema: Any, *, name: str = "", depth: int = 0) -> Any:  # noqa: ANN401  any JSON value
    """A value of the schema. Objects have their required fields, or the first one where none is required; below
    `DEPTH_MAX` levels everything is null."""
    if depth > DEPTH_MAX:
        return None
    found = reader.resolved(schema)
    given = _given(found)
    if given is not None:
        return given
    variants = [variant for variant in variants_of(found) if reader.resolved(variant).get("type") != "null"]
    if variants:
        return example_of(reader, variants[0], name=name, depth=depth + 1)
    kind = found.get("type", "object" if "properties" in found else "array" if "items" in found else None)
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    match kind:
        case "object":
            return _object(reader, found, depth)
        case "array":
            return [example_of(reader, found.get("items", {}), depth=depth + 1)]
        case "string":
            return BY_FORMAT.get(str(found.get("format"))) or BY_NAME.get(name) or "text"
        case "integer" | "number":
            return found.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return None


def _given(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401  any JSON value
    """A value the schema itself names; None when it names none."""
    named = [schema.get("examples"), [schema.get("example")], [schema.get("const")], [schema.get("default")]]
    named.append(schema.get("enum"))
    values = [value for list_ in named if isinstance(list_, list | tuple) for value in list_[:1]]
    return next((value for value in values if value not in (None, [], {})), None)


def _object(reader: SchemaReader, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    required = schema.get("required")
    wanted = [name for name in properties if isinstance(required, list) and name in required] or list(properties)[:1]
    return {name: example_of(reader, properties[name], name=name, depth=depth + 1) for name in wanted}
