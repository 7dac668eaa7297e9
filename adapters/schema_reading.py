"""Reading JSON Schema (draft 2020-12, as OpenAPI 3.1 uses it) for people: types in words, fields as rows.

Nothing here fails: what is not understood is called `any`, and what refers to itself or nests too deep is cut off.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

SCHEMAS = "#/components/schemas/"
REFERENCES_MAX = 20
"""A chain of references longer than this is a circle."""

FORMATS = {"date-time": "time", "uuid": "UUID", "date": "date", "duration": "duration", "email": "e-mail", "uri": "URI"}
"""Formats that say more than `string`."""

BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "minItems": "{} or more entries",
    "maxItems": "at most {} entries",
    "pattern": "matches {}",
}


class Word(msgspec.Struct, frozen=True):
    """A part of a type in words; `schema` is the component it names, if it names one."""

    text: str
    schema: str | None = None


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an object as a row: `depth` counts from 0, `default` is JSON text, `choices` are JSON texts. A row with
    `variant` is no field but a heading over the fields of one variant of a union."""

    name: str
    depth: int
    type: tuple[Word, ...] = ()
    required: bool = False
    description: str = ""
    default: str | None = None
    choices: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    deprecated: bool = False
    variant: str | None = None


class SchemaReader:
    """Reads the schemas of one OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.schemas: dict[str, Any] = _mapping(_mapping(document.get("components")).get("schemas"))

    def named(self, schema: Any) -> str | None:  # noqa: ANN401  any JSON value
        """The component a schema is only another word for."""
        reference = _mapping(schema).get("$ref")
        if isinstance(reference, str) and reference.startswith(SCHEMAS):
            name = reference.removeprefix(SCHEMAS)
            return name if name in self.schemas else None
        alone = _list(_mapping(schema).get("allOf"))
        return self.named(alone[0]) if len(alone) == 1 and "properties" not in schema else None

    def resolved(self, schema: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON value
        """The schema with its references followed and the parts of `allOf` laid over each other."""
        found = _mapping(schema)
        for _ in range(REFERENCES_MAX):
            name = self.named({"$ref": found.get("$ref")})
            if name is None:
                break
            found = {**_mapping(self.schemas[name]), **{k: v for k, v in found.items() if k != "$ref"}}
        else:
            return {}
        parts = _list(found.get("allOf"))
        if not parts:
            return found
        merged: dict[str, Any] = {}
        for part in [*parts, {key: value for key, value in found.items() if key != "allOf"}]:
            inner = _mapping(part) if "$ref" not in _mapping(part) else self._followed(part)
            properties = {**_mapping(merged.get("properties")), **_mapping(inner.get("properties"))}
            required = [*_list(merged.get("required")), *_list(inner.get("required"))]
            merged = {**merged, **inner, "properties": properties, "required": required}
        return merged

    def _followed(self, schema: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON value
        name = self.named(schema)
        return {} if name is None else _mapping(self.schemas[name])

    def words(self, schema: Any) -> tuple[Word, ...]:  # noqa: ANN401  any JSON value
        """The type in words: `list of Source or null`."""
        return tuple(_joined(self._words(schema, depth=0)))

    def _words(self, schema: Any, *, depth: int) -> Iterator[Word]:  # noqa: ANN401  any JSON value
        found, name = _mapping(schema), self.named(schema)
        if name is not None:
            yield Word(name, schema=name)
        elif depth > REFERENCES_MAX:
            yield Word("any")
        elif "const" in found:
            yield Word(_json(found["const"]))
        elif variants := variants_of(found):
            yield from _separated([self._words(variant, depth=depth + 1) for variant in variants], " or ")
        elif parts := _list(found.get("allOf")):
            yield from _separated([self._words(part, depth=depth + 1) for part in parts], " and ")
        else:
            yield from _separated([self._plain(kind, found, depth) for kind in _types(found)], " or ")

    def _plain(self, kind: str, schema: dict[str, Any], depth: int) -> Iterator[Word]:
        if kind == "array":
            union = len(variants_of(_mapping(schema.get("items")))) > 1
            yield Word("list of (" if union else "list of ")
            yield from self._words(schema.get("items", {}), depth=depth + 1)
            yield Word(")" if union else "")
        elif kind == "object" and isinstance(schema.get("additionalProperties"), dict) and "properties" not in schema:
            yield Word("map of string to ")
            yield from self._words(schema["additionalProperties"], depth=depth + 1)
        elif kind == "string":
            yield Word(FORMATS.get(str(schema.get("format")), "string"))
        else:
            yield Word(kind)

    def fields(self, schema: Any, *, depth_max: int, depth: int = 0) -> list[Field]:  # noqa: ANN401  any JSON value
        """The fields of an object (or of the objects in a list, or of each variant) as rows, `depth_max` levels deep."""
        found = self.resolved(schema)
        if "properties" not in found:
            return self._fields_within(found, depth_max=depth_max, depth=depth, hops=0)
        required = _list(found.get("required"))
        rows: list[Field] = []
        for name, field in _mapping(found["properties"]).items():
            rows.append(self._field(str(name), field, depth=depth, required=name in required))
            if depth + 1 < depth_max:
                rows += self._fields_within(field, depth_max=depth_max, depth=depth + 1, hops=0)
        return rows

    def _fields_within(self, schema: Any, *, depth_max: int, depth: int, hops: int) -> list[Field]:  # noqa: ANN401  any JSON value
        """The rows of what a field holds: an object's fields, a list's entries, each variant of a union under its name."""
        found = self.resolved(schema)
        if hops > REFERENCES_MAX:
            return []
        if "properties" in found:
            return self.fields(found, depth_max=depth_max, depth=depth)
        held = [found[key] for key in ("items", "additionalProperties") if isinstance(found.get(key), dict)]
        held += [variant for variant in variants_of(found) if self.resolved(variant).get("type") != "null"]
        if len(held) == 1:
            return self._fields_within(held[0], depth_max=depth_max, depth=depth, hops=hops + 1)
        rows: list[Field] = []
        for variant in filter(self._is_object, held):
            name = self.named(variant) or "object"
            rows.append(Field(name=name, depth=depth, variant=name))
            rows += self.fields(variant, depth_max=depth_max, depth=depth)
        return rows

    def _is_object(self, schema: Any) -> bool:  # noqa: ANN401  any JSON value
        return "properties" in self.resolved(schema)

    def _field(self, name: str, schema: Any, *, depth: int, required: bool) -> Field:  # noqa: ANN401  any JSON value
        found, own = self.resolved(schema), _mapping(schema)  # what a reference leads to may be described, too
        alternatives = [found, *(self.resolved(variant) for variant in variants_of(found))]
        choices = [value for one in alternatives for value in _list(one.get("enum")) if value is not None]
        return Field(
            name=name,
            depth=depth,
            type=self.words(schema),
            required=required,
            description=str(own.get("description") or found.get("description") or ""),
            default=_json(found["default"]) if found.get("default") is not None else None,
            choices=tuple(_json(choice) for choice in choices),
            bounds=tuple(bound for one in alternatives for bound in bounds_of(one)),
            deprecated=found.get("deprecated") is True,
        )

    def parameter(self, parameter: Mapping[str, Any]) -> Field:
        """A parameter of an operation as a row."""
        schema = _mapping(parameter.get("schema"))
        row = self._field(str(parameter.get("name", "")), schema, depth=0, required=parameter.get("required") is True)
        description = str(parameter.get("description") or row.description)
        return msgspec.structs.replace(row, type=self.words(_without_null(schema)), description=description)


def bounds_of(schema: Mapping[str, Any]) -> list[str]:
    """What a value must hold to besides its type, in words."""
    bounds = [words.format(_plain_number(schema[key])) for key, words in BOUNDS.items() if key in schema]
    if "properties" in schema:
        alternatives = [_list(_mapping(one).get("required")) for one in _list(schema.get("oneOf"))]
        names = [str(name) for required in alternatives for name in required]
        bounds += [f"exactly one of {', '.join(names)}"] if len(names) > 1 else []
    return bounds


def variants_of(schema: Mapping[str, Any]) -> list[Any]:
    """The variants of a union. An object of which only some fields must be given is none, though it is written alike."""
    variants = [*_list(schema.get("oneOf")), *_list(schema.get("anyOf"))]
    return [] if "properties" in schema else variants


def _types(schema: Mapping[str, Any]) -> list[str]:
    if "enum" in schema and "type" not in schema:
        return ["string"]
    kind = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else "any")
    kinds = [str(one) for one in kind] if isinstance(kind, list) else [str(kind)]
    return sorted(kinds, key=lambda one: one == "null")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that is left out rather than null, as parameters are."""
    variants = [variant for variant in variants_of(schema) if _mapping(variant).get("type") != "null"]
    if len(variants) == 1:
        return _mapping(variants[0])
    kinds = [kind for kind in _list(schema.get("type")) if kind != "null"]
    return {**schema, **({"oneOf": variants} if "oneOf" in schema else {}), **({"type": kinds} if kinds else {})}


def _plain_number(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """`1.0`, as Litestar writes every bound, as `1`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _separated(parts: list[Iterator[Word]], separator: str) -> Iterator[Word]:
    for i, part in enumerate(parts):
        if i:
            yield Word(separator)
        yield from part


def _joined(words: Iterator[Word]) -> Iterator[Word]:
    """Neighbours without a link are one word."""
    text = ""
    for word in words:
        if word.schema is None:
            text += word.text
            continue
        if text:
            yield Word(text)
        yield word
        text = ""
    if text:
        yield Word(text)


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:  # noqa: ANN401  any JSON value
    return list(value) if isinstance(value, list | tuple) else []


def _json(value: Any) -> str:  # noqa: ANN401  any JSON value
    return json.dumps(value, ensure_ascii=False, default=str)
