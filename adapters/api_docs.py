"""The API's documentation as pages for people: rendered here, with no script and nothing loaded from anywhere."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from adapters.openapi_document import CODES_KEY, operations
from adapters.schema_examples import example_of
from adapters.schema_reading import Field, SchemaReader, Word, bounds_of
from commands.http.error_catalogue import ErrorCode

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For the `Content-Security-Policy` of these pages (CSP Level 3): one inline style sheet, nothing else."""

BODY_DEPTH, ANSWER_DEPTH, SCHEMA_DEPTH = 2, 2, 1
"""How many levels of fields are shown in place; what lies deeper is behind a link to its schema."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of an operation: `codes` are error codes, `headers` names with descriptions."""

    status: str
    description: str
    type: tuple[Word, ...]
    fields: Sequence[Field]
    headers: Mapping[str, str]
    codes: Sequence[str]

    @property
    def is_error(self) -> bool:
        """Whether the status says that it did not work (RFC 9110, 15.5 and 15.6)."""
        return self.status[:1] in {"4", "5"}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as it is shown; `anchor` is unique on the page."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    tag: str
    needs_token: bool
    deprecated: bool
    parameters: Sequence[tuple[str, Field]]
    body_type: tuple[Word, ...]
    body_description: str
    body_fields: Sequence[Field]
    curl: str
    answers: Sequence[Answer]


class SchemaSection(msgspec.Struct, frozen=True, kw_only=True):
    """A schema as it is shown: the fields of an object, or the type and choices of anything else."""

    name: str
    description: str
    type: tuple[Word, ...]
    choices: Sequence[str]
    bounds: Sequence[str]
    fields: Sequence[Field]
    is_closed: bool


class ApiDocs:
    """Renders the reference and the catalogue of errors; each names the other by its path."""

    def __init__(
        self,
        *,
        reference_path: str = "/api/v1/docs",
        errors_path: str = "/api/v1/docs/errors",
        document_path: str = "/api/v1/openapi.json",
    ) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "docs_templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(prose=prose, slug=slug, breakable=breakable)
        self._templates.globals.update(
            reference_path=reference_path, errors_path=errors_path, document_path=document_path
        )

    def render_reference(self, schema: Mapping[str, Any]) -> str:
        """The page of all operations and schemas of an OpenAPI 3.1 document. What it does not understand it shows as
        `any`; it never fails."""
        page, info = _Reference(schema), _mapping(schema.get("info"))
        return self._templates.get_template("reference.html.j2").render(
            title=str(info.get("title") or "API"),
            version=str(info.get("version") or ""),
            description=str(info.get("description") or ""),
            tags=page.tags(),
            schemas=page.schemas(),
        )

    def render_errors(self, catalogue: Sequence[ErrorCode]) -> str:
        """The page of all error codes; each code is the anchor of its section, as `documentation_url` names it."""
        return self._templates.get_template("errors.html.j2").render(catalogue=catalogue)


class _Reference:
    """What the template of the reference needs."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._reader = SchemaReader(document)
        self._anchors: set[str] = set()

    def tags(self) -> dict[str, tuple[str, list[Operation]]]:
        """For each tag its description and operations; tags in the document's order, then as they come."""
        declared = [_mapping(tag) for tag in _list(self._document.get("tags"))]
        sections: dict[str, tuple[str, list[Operation]]] = {
            str(tag["name"]): (str(tag.get("description") or ""), []) for tag in declared if "name" in tag
        }
        for path, method, operation in operations(self._document):
            shown = self._operation(path, method, operation)
            sections.setdefault(shown.tag, ("", []))[1].append(shown)
        return {name: section for name, section in sections.items() if section[1]}

    def schemas(self) -> list[SchemaSection]:
        """Every schema of the document."""
        return [self._schema(name, schema) for name, schema in self._reader.schemas.items()]

    def _schema(self, name: str, schema: Any) -> SchemaSection:  # noqa: ANN401  any JSON value
        found = self._reader.resolved(schema)
        return SchemaSection(
            name=name,
            description=str(found.get("description") or ""),
            type=self._reader.words(schema),
            choices=[json.dumps(choice, default=str) for choice in _list(found.get("enum"))],
            bounds=bounds_of(found),
            fields=self._reader.fields(schema, depth_max=SCHEMA_DEPTH) if "properties" in found else [],
            is_closed=found.get("additionalProperties") is False,
        )

    def _operation(self, path: str, method: str, operation: Mapping[str, Any]) -> Operation:
        parameters = [self._followed(parameter) for parameter in _list(operation.get("parameters"))]
        body = self._followed(operation.get("requestBody"))
        media_type, body_schema = _content(body)
        security = _list(operation.get("security", self._document.get("security")))
        needs_token = bool(security) and {} not in security
        return Operation(
            anchor=self._anchor("op-" + str(operation.get("operationId") or f"{method}-{path}")),
            method=method.upper(),
            path=path,
            summary=str(operation.get("summary") or operation.get("operationId") or path),
            description=str(operation.get("description") or ""),
            tag=str(next(iter(_list(operation.get("tags"))), "Other")),
            needs_token=needs_token,
            deprecated=operation.get("deprecated") is True,
            parameters=[(str(found.get("in", "")), self._reader.parameter(found)) for found in parameters],
            body_type=self._reader.words(body_schema) if body else (),
            body_description=str(self._reader.resolved(body_schema).get("description") or ""),
            body_fields=self._reader.fields(body_schema, depth_max=BODY_DEPTH) if body else [],
            curl="\n".join(
                self._curl(path, method, parameters, (media_type, body_schema) if body else None, needs_token)
            ),
            answers=[
                self._answer(str(status), self._followed(answer))
                for status, answer in _mapping(operation.get("responses")).items()
            ],
        )

    def _answer(self, status: str, answer: Mapping[str, Any]) -> Answer:
        _, schema = _content(answer)
        headers = {name: self._followed(found) for name, found in _mapping(answer.get("headers")).items()}
        return Answer(
            status=status,
            description=str(answer.get("description") or ""),
            type=self._reader.words(schema) if answer.get("content") else (),
            fields=self._reader.fields(schema, depth_max=ANSWER_DEPTH),
            headers={name: str(found.get("description") or "") for name, found in headers.items()},
            codes=[str(code) for code in _list(answer.get(CODES_KEY))],
        )

    def _curl(
        self,
        path: str,
        method: str,
        parameters: Sequence[Mapping[str, Any]],
        body: tuple[str, Any] | None,
        needs_token: bool,  # noqa: FBT001  one of the operation's facts, as the others
    ) -> Iterator[str]:
        required = [found for found in parameters if found.get("required") is True]
        query = "&".join(f"{name}=..." for name in _names(required, "query"))
        url = re.sub(r"{(\w+)}", lambda found: f"${found[1].upper()}", path) + (f"?{query}" if query else "")
        verb = "" if method == "get" else f"-X {method.upper()} "
        headers = ["Authorization: Bearer $TOKEN"] if needs_token else []
        headers += [f"{name}: ..." for name in _names(required, "header")]
        headers += ['If-Match: \\"3\\"'] if "If-Match" in _names(parameters, "header") else []
        headers += ["Idempotency-Key: $(uuidgen)"] if "Idempotency-Key" in _names(parameters, "header") else []
        headers += [f"Content-Type: {body[0]}"] if body else []
        yield f'curl {verb}"$VIGIL{url}"' + (" \\" if headers else "")
        for i, header in enumerate(headers):
            yield f'  -H "{header}"' + (" \\" if body or i + 1 < len(headers) else "")
        if body:
            example = json.dumps(example_of(self._reader, body[1]), indent=2, ensure_ascii=False, default=str)
            yield "  -d '" + example.replace("'", "'\\''") + "'"

    def _followed(self, node: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON value
        """The node, or what its `$ref` points to in the document."""
        found = _mapping(node)
        reference = found.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return found
        target: Any = self._document
        for part in reference[2:].split("/"):
            target = _mapping(target).get(part)
        return _mapping(target)

    def _anchor(self, wanted: str) -> str:
        """An anchor that is not on the page yet."""
        base, number = slug(wanted), 2
        anchor = base
        while anchor in self._anchors:
            anchor, number = f"{base}-{number}", number + 1
        self._anchors.add(anchor)
        return anchor


def errors_markdown(catalogue: Sequence[ErrorCode]) -> str:
    """The catalogue as docs/errors.md."""
    lines = [
        "# Error codes",
        "",
        'Every answer that is not a success has the form `{"error": {"code", "message", "details", ...}, "meta": {...}}`.',
        "The code is stable; the message may be worded better some day. A running Vigil shows this page at",
        "`/api/v1/docs/errors`, and `error.documentation_url` of an answer leads to the entry of its code.",
        "",
        "This file is generated from `commands/http/error_catalogue.py`; write it anew with `python docs/generate_errors.py`.",
        "",
        "| status | code |",
        "|---|---|",
        *(f"| {entry.status or '4xx'} | [{entry.code}](#{entry.code.lower()}) |" for entry in catalogue),
    ]
    for entry in catalogue:
        lines += ["", f"## {entry.code}", "", f"Status {entry.status or '4xx'}. {entry.cause}", ""]
        lines += [f"**What to do:** {entry.cure}", "", f"**Example:** {entry.example}"]
        if entry.operations:
            lines += ["", f"**Met by:** {', '.join(f'`{name}`' for name in entry.operations)}"]
    return "\n".join(lines) + "\n"


def prose(text: str) -> Markup:
    """Plain text as HTML: paragraphs at blank lines, code between backticks; everything else is escaped."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", str(text)) if part.strip()]
    return Markup("").join(
        Markup("<p>") + Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(part)))) + Markup("</p>")  # noqa: S704  escaped just here
        for part in paragraphs
    )


def breakable(text: str) -> Markup:
    """A path or code as HTML that may break after its slashes and underscores."""
    return Markup(re.sub(r"([/_])", r"\1<wbr>", str(escape(text))))  # noqa: S704  escaped just here


def slug(text: str) -> str:
    """A text as it can stand in an id and, without escapes, in a link to it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _content(body: Mapping[str, Any]) -> tuple[str, Any]:
    """The media type and schema of a body; JSON is preferred."""
    content = _mapping(body.get("content"))
    media_type = "application/json" if "application/json" in content else next(iter(content), "application/json")
    return str(media_type), _mapping(content.get(media_type)).get("schema", {})


def _names(parameters: Sequence[Mapping[str, Any]], place: str) -> list[str]:
    return [str(found.get("name", "")) for found in parameters if found.get("in") == place]


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:  # noqa: ANN401  any JSON value
    return list(value) if isinstance(value, list | tuple) else []
