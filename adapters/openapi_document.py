"""The OpenAPI document as it is published: what Litestar derives from the routes, completed with what it cannot know."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

import msgspec

from adapters.openapi_examples import EXAMPLES
from adapters.openapi_texts import EVERY_SCHEMA, FIELDS, PARAMETERS, TAGS
from commands.http.error_catalogue import ErrorCode, Reach
from commands.http.form import ErrorEnvelope

METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
"""The operations of a path item (OpenAPI 3.1.0, 4.8.9), in the order they are shown."""

API_PREFIX = "/api/"
"""Only what lies below answers in the API's form; health checks do not."""

CODES_KEY = "x-error-codes"
"""An extension of ours in responses: the codes an answer of this status can carry."""

SCHEMAS = "#/components/schemas/"

ONE_OF = {"Schedule": ("every", "cron")}
"""Schemas of which exactly one of these fields is given."""

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A key of your own for this command, up to 255 printable characters. Sent again with the same request"
    " it changes nothing and brings the first answer back, however late.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The version you have seen, as `ETag` gave it: `"3"`. When it is no longer the present one, nothing'
    " changes and the answer is 412.",
    "schema": {"type": "string"},
}
WRITE_HEADERS = {
    "ETag": {"description": "The thing's version, for `If-Match`.", "schema": {"type": "string"}},
    "Vigil-Position": {
        "description": "The place of this write in the log, for `Vigil-Min-Position`. Missing when the read tables took"
        " longer than the answer could wait.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "Present when the command was carried out before and this is what it was answered then.",
        "schema": {"type": "string", "const": "true"},
    },
}
STORES_NOTHING = frozenset({"validate_change", "backtest_monitor"})
"""Operations that are sent to a thing as if they changed it, and only answer."""

MANY_AT_ONCE = frozenset({"import_monitors", "import_backup"})
"""Commands that start any number of things: they take a key, and there is no one version to tell."""

LOCATION = {"Location": {"description": "The path of the new thing.", "schema": {"type": "string"}}}

STATUS_TEXT = {
    200: "Done.",
    201: "Created.",
    202: "Taken on; it happens soon.",
    204: "Done; the answer has no body.",
    400: "The request is malformed; `details` name each field.",
    401: "You are not logged in.",
    403: "You may not do this.",
    404: "There is no such thing, or it is not yours.",
    409: "It does not fit the present state.",
    412: "Your `If-Match` is out of date.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A rule forbids it.",
    429: "Too many requests; see `Retry-After`.",
    500: "A defect of Vigil.",
    503: "Try again soon; see `Retry-After`.",
}


def published(
    document: Mapping[str, Any], *, catalogue: Sequence[ErrorCode], anonymous: Collection[str]
) -> dict[str, Any]:
    """A copy of Litestar's document with readable schema names, the headers that commands take and give, the security of
    each operation (`anonymous`: ids of those that need no token), examples of bodies, and for each status the error codes
    that can come with it (`x-error-codes`)."""
    result = _with_readable_names(deepcopy(dict(document)))
    schemas: dict[str, Any] = result.setdefault("components", {}).setdefault("schemas", {})
    _, own = msgspec.json.schema_components([ErrorEnvelope], ref_template=SCHEMAS + "{name}")
    result["components"]["schemas"] = schemas = dict(sorted({**own, **schemas}.items()))
    for name, schema in schemas.items():
        _sharpen(name, schema)
        if isinstance(schema.get("default"), msgspec.Struct):  # of a body that may be left out
            del schema["default"]
    _discriminate(result, schemas)
    used = {tag for _, _, operation in operations(result) for tag in operation.get("tags", ())}
    result.setdefault("tags", [{"name": tag, "description": text} for tag, text in TAGS.items() if tag in used])
    for path, method, operation in operations(result):
        _complete(path, method, operation, catalogue=catalogue, anonymous=operation.get("operationId") in anonymous)
    return result


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The path, method and content of every operation in a document, a path before what lies below it."""
    for path, item in sorted(document.get("paths", {}).items()):
        for method in METHODS:
            if isinstance(item.get(method), dict):
                yield path, method, item[method]


def _complete(
    path: str, method: str, operation: dict[str, Any], *, catalogue: Sequence[ErrorCode], anonymous: bool
) -> None:
    responses: dict[str, Any] = operation.setdefault("responses", {})
    with_id, with_body = "{" in path, "requestBody" in operation
    name = str(operation.get("operationId"))
    starts = not anonymous and method == "post" and not {"201", "202"}.isdisjoint(responses)
    writes = method in {"post", "put", "patch", "delete"} and name not in STORES_NOTHING
    changes = not anonymous and writes and with_id and not starts
    commands = starts or changes or name in MANY_AT_ONCE
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        if not parameter.get("description") and parameter.get("name") in PARAMETERS:
            parameter["description"] = PARAMETERS[parameter["name"]]
    parameters += [deepcopy(IDEMPOTENCY_KEY)] * commands + [deepcopy(IF_MATCH)] * changes
    if anonymous:
        operation["security"] = []
    for status, response in responses.items():
        if status.startswith("2"):
            told = {} if not commands or "content" not in response else _headers_of(int(status), one=starts or changes)
            _describe_success(int(status), response, told)
    reaches = {
        Reach.EVERYWHERE: path.startswith(API_PREFIX),
        Reach.TOKEN: not anonymous,
        Reach.INPUT: with_body or bool(parameters),
        Reach.BODY: with_body,
        Reach.ONE_THING: with_id or "404" in responses,
        Reach.CONDITIONAL: changes,
        Reach.COMMAND: commands,
        Reach.FRESH_READ: any(found.get("name") == "Vigil-Min-Position" for found in parameters),
        Reach.NAMED: False,
    }
    for entry in catalogue:
        if entry.status is not None and (reaches[entry.reach] or name in entry.operations):
            _add_code(responses, entry.status, entry.code)
    operation["responses"] = dict(sorted(responses.items()))


def _describe_success(status: int, response: dict[str, Any], headers: Mapping[str, Any]) -> None:
    if response.get("description") in {None, HTTPStatus(status).description}:
        response["description"] = STATUS_TEXT.get(status, "Done.")
    if headers:
        response["headers"] = {**headers, **response.get("headers", {})}


def _headers_of(status: int, *, one: bool) -> dict[str, Any]:
    """What a command tells in its headers; only of `one` thing there is a version."""
    told = {name: text for name, text in WRITE_HEADERS.items() if one or name != "ETag"}
    return deepcopy({**told, **(LOCATION if status == HTTPStatus.CREATED else {})})


def _add_code(responses: dict[str, Any], status: int, code: str) -> None:
    response = responses.setdefault(str(status), {})
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" not in schema:
        # Litestar describes errors in a form of its own, which no handler of ours answers.
        response["description"] = STATUS_TEXT.get(status, code)
        response["content"] = {"application/json": {"schema": {"$ref": SCHEMAS + "ErrorEnvelope"}}}
    elif schema["$ref"] != SCHEMAS + "ErrorEnvelope":
        return
    response[CODES_KEY] = [*response.get(CODES_KEY, []), code]


def _with_readable_names(document: dict[str, Any]) -> dict[str, Any]:
    """`Envelope_commands.shapes.MonitorShape_` becomes `MonitorEnvelope`, `MonitorShape` becomes `Monitor`; a name that
    is taken stays as it is."""
    schemas = document.get("components", {}).get("schemas", {})
    names: dict[str, str] = {}
    for name, schema in schemas.items():
        wanted = _readable(str(schema.get("title") or name)) or name
        names[name] = name if wanted in names.values() or (wanted != name and wanted in schemas) else wanted
    renamed: dict[str, Any] = _renamed(document, names)
    if schemas:
        renamed["components"]["schemas"] = {
            names[name]: {**schema, "title": names[name]} for name, schema in renamed["components"]["schemas"].items()
        }
    return renamed


def _readable(title: str) -> str:
    words: list[str] = re.findall(r"\w+", title) or [""]
    outer, *inner = [word.removesuffix("Shape") or word for word in words]
    return "Or".join(word for word in inner if word not in {"Union", "UnionType"}) + outer


def _renamed(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401  any JSON value
    match node:
        case {"$ref": str(reference), **rest}:
            name = reference.removeprefix(SCHEMAS)
            return {"$ref": SCHEMAS + names[name] if name in names else reference, **_renamed(rest, names)}
        case dict():
            return {key: _renamed(value, names) for key, value in node.items()}
        case list():
            return [_renamed(value, names) for value in node]
        case _:
            return node


def _sharpen(name: str, schema: dict[str, Any]) -> None:
    if "description" in schema:
        schema["description"] = cleandoc(schema["description"])
    for field, property_ in schema.get("properties", {}).items():
        text = FIELDS.get(name, {}).get(field) or EVERY_SCHEMA.get(field)
        if text is not None:
            property_.setdefault("description", text)
    if name in EXAMPLES:
        schema.setdefault("examples", list(EXAMPLES[name]))
    if name in ONE_OF:
        schema["oneOf"] = [{"required": [field], "properties": {field: {"type": "string"}}} for field in ONE_OF[name]]


def _discriminate(node: Any, schemas: Mapping[str, Any]) -> None:  # noqa: ANN401  any JSON value
    """Name the field that tells the variants of a tagged union apart (OpenAPI 3.1.0, 4.8.25)."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _discriminate(value, schemas)
    if not isinstance(node, dict):
        return
    variants = [str(found.get("$ref", "")) for found in node.get("oneOf", ()) if isinstance(found, dict)]
    tags = [_tags(schemas.get(variant.removeprefix(SCHEMAS), {})) for variant in variants]
    for field in tags[0] if len(tags) > 1 else ():
        if all(field in tag for tag in tags):
            mapping = {tag[field]: variant for tag, variant in zip(tags, variants, strict=True)}
            node["discriminator"] = {"propertyName": field, "mapping": mapping}


def _tags(schema: Mapping[str, Any]) -> dict[str, str]:
    properties = schema.get("properties", {})
    return {name: field["const"] for name, field in properties.items() if isinstance(field.get("const"), str)}
