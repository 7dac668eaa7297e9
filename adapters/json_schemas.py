"""JSON Schema, draft 2020-12, without network: the port `commands.signals.Schemas`.

A schema is a small program that a person gives us to run over what strangers send, and nothing can interrupt it. So
references stay inside it and never come back to themselves, unfolded it is small, and schema times signal, which is what a
check costs at most, is bounded too.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from commands.http.form import ErrorDetail
from commands.signals import SchemaMistake
from domain.errors import InvalidInput

SUBSCHEMAS_MAX = 1_000
DEPTH_MAX = 32
MISTAKES_TOLD_MAX = 20
STEPS_MAX = 500_000
"""Objects of a schema times values of a signal: at 0.3 us a step, as `contains` was measured, a check takes 0.15 s at most."""
TOLD_STEPS_MAX = 20_000
"""Each alternative that a value is not (`anyOf`) is a mistake of its own: 900,000 were measured at 19 s and 1.5 GB."""
_STEP_CHARS = 16
_WHOLE = re.compile(r"\+?[0-9]{1,20}")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = "array, boolean, integer, null, number, object, string"
_NOT_TAKEN = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary")
"""What would let a reference lead elsewhere than where it points."""
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=256 * 1024)
"""Regular expressions of linear time, none larger than this when compiled."""


class JsonSchemas:
    """Checks schemas, and JSON against them."""

    def check(self, schema: str) -> None:
        """Raise `InvalidInput` naming the place in a schema (JSON text) that is wrong with it."""
        document = msgspec.json.decode(schema)
        if str(document.get("$schema", DIALECT)).rstrip("#") != DIALECT:
            raise InvalidInput(f"the dialect is {DIALECT}; leave $schema out or say so", field="schema.$schema")
        try:
            for count, _ in enumerate(_unfolded(document, document, "schema", ())):
                if count >= SUBSCHEMAS_MAX:
                    message = f"with its references written out, a schema has at most {SUBSCHEMAS_MAX} objects"
                    raise InvalidInput(message, field="schema")
            _compiled(schema)
        except jsonschema_rs.ValidationError as error:
            raise InvalidInput(_said_of_schema(error), field="schema" + _path(error.instance_path)) from None
        except (RecursionError, ValueError):  # jsonschema_rs goes 255 levels deep
            raise InvalidInput("a schema is nested less deeply", field="schema") from None

    def mistakes(self, schema: str, body: Any) -> list[SchemaMistake]:  # noqa: ANN401  any JSON value
        """What keeps a JSON value from being what a schema asks for, the first 20: where (a path as `readings[0].celsius`,
        None for the whole), the keyword that refuses it, and why; of a large one only that there are some."""
        validator, objects, declared = _compiled(schema)
        steps = objects * _size(body)
        if steps > STEPS_MAX:
            message = (
                f"this is too much to be checked: {objects} objects of the schema times its size; send less at once"
            )
            return [_of_the_whole("size", message)]
        try:
            if validator.is_valid(body):
                return []
            if steps > TOLD_STEPS_MAX:
                message = (
                    "this is not what the schema asks for, and too large to say where; send less at once to see it"
                )
                return [_of_the_whole("schema", message)]
            return [_mistake(error, body, declared) for error in islice(validator.iter_errors(body), MISTAKES_TOLD_MAX)]
        except (RecursionError, ValueError):  # as above
            return [_of_the_whole("depth", "the body is nested too deeply")]


@lru_cache(maxsize=128)
def _compiled(schema: str) -> tuple[jsonschema_rs.Draft202012Validator, int, frozenset[str]]:
    """A compiled schema, for which nothing is retrieved and formats count, how many objects it has unfolded, and the names
    of properties that it declares."""
    document = msgspec.json.decode(schema)
    validator = jsonschema_rs.Draft202012Validator(
        document, offline=True, validate_formats=True, pattern_options=_PATTERNS
    )
    return validator, sum(1 for _ in _unfolded(document, document, "schema", ())), frozenset(_declared(document))


def _declared(document: Any) -> Iterator[str]:  # noqa: ANN401  JSON
    """The names in `properties` and `required`, wherever they stand."""
    found = [document]
    while found:
        node = found.pop()
        if isinstance(node, list):
            found.extend(node)
        elif isinstance(node, dict):
            found.extend(node.values())
            for names in (node.get("properties"), node.get("required")):
                if isinstance(names, dict | list):
                    yield from (name for name in names if isinstance(name, str))


def _size(body: Any) -> int:  # noqa: ANN401  any JSON value
    """How many values there are in a JSON value; long texts count for several."""
    size, found = 0, [body]
    while found:
        value = found.pop()
        size += 1
        if isinstance(value, dict):
            size += sum(len(name) for name in value) // _STEP_CHARS
            found.extend(value.values())
        elif isinstance(value, list):
            found.extend(value)
        elif isinstance(value, str):
            size += len(value) // _STEP_CHARS
    return size


def _unfolded(node: Any, root: Any, place: str, within: tuple[str, ...]) -> Iterator[None]:  # noqa: ANN401  JSON
    """Something for each object in a schema, again for each reference to it. `within` are the references on the way."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            if isinstance(item, dict | list):  # an enum may have thousands of texts
                yield from _unfolded(item, root, f"{place}[{i}]", within)
    if not isinstance(node, dict):
        return
    yield None
    for name, value in node.items():
        if name in _NOT_TAKEN and isinstance(value, str):
            raise InvalidInput(f"{name} is not taken here; refer with $ref to #/$defs/...", field=f"{place}.{name}")
        if name == "$ref" and isinstance(value, str):
            yield from _unfolded(
                _target(value, root, f"{place}.$ref", within),
                root,
                "schema" + value[1:].replace("/", "."),
                (*within, value),
            )
        elif node is not root or name != "$defs":
            yield from _unfolded(value, root, f"{place}.{name}", within)


def _target(reference: str, root: Any, place: str, within: tuple[str, ...]) -> Any:  # noqa: ANN401  JSON
    """What a reference points at, which has to lie in the same schema (RFC 6901) and not around the reference."""
    if not reference.startswith("#/$defs/"):
        raise InvalidInput("a reference is #/$defs/<name>; nothing is fetched from elsewhere", field=place)
    if reference in within or len(within) >= DEPTH_MAX:
        raise InvalidInput("a schema that refers to itself is not taken here; write the levels out", field=place)
    node = root
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or name not in node:
            raise InvalidInput(f"there is no {reference} in this schema", field=place)
        node = node[name]
    return node


def _said_of_schema(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong with a schema. Of a keyword that takes several things the library names none of them."""
    match error.instance_path:
        case [*_, "type"]:
            return f"a type is one of {_TYPES}, or a list of them"
        case [*_, "pattern"]:
            return "this is no regular expression that is read here: they are RE2-like, without look-around and back-references"
        case _:
            return error.message


def _of_the_whole(issue: str, message: str) -> SchemaMistake:
    return SchemaMistake(ErrorDetail(field=None, issue=issue, message=message))


def _mistake(error: jsonschema_rs.ValidationError, body: Any, declared: frozenset[str]) -> SchemaMistake:  # noqa: ANN401  JSON
    """What is wrong and where: of what is missing, where it would be."""
    steps = list(_steps(error.instance_path, body))
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Required(property=missing):
            steps.append(missing)
        case _:
            pass
    detail = ErrorDetail(field=_path(steps).removeprefix(".") or None, issue=error.kind.name, message=error.message)
    return SchemaMistake(detail, "".join(f"/{_known(step, declared)}" for step in steps))


def _steps(path: Sequence[str | int], body: Any) -> Iterator[str | int]:  # noqa: ANN401  JSON
    """The path with numbers for places in lists alone. The library takes names for places that are whole numbers (`7`,
    `+49151`), and leaves out those that are empty: what comes after one counts as a name too."""
    for step in path:
        if isinstance(body, list) and isinstance(step, int) and step < len(body):
            yield step
            body = body[step]
            continue
        names = body if isinstance(body, dict) else {}
        alike = (name for name in names if _WHOLE.fullmatch(name) and int(name) == step)
        name = step if isinstance(step, str) else next(alike, str(step))
        yield name
        body = names.get(name)


def _known(step: str | int, declared: frozenset[str]) -> str:
    """A step of a JSON pointer, as RFC 6901 writes it. A name that only the signal has may be anybody's address."""
    if isinstance(step, int):
        return str(step)
    return step.replace("~", "~0").replace("/", "~1") if step in declared else "*"


def _path(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
