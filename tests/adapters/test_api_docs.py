"""The pages of the API's documentation: complete, linked, safe, and made of nothing but themselves."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from lxml import html

from adapters.api_docs import PAGE_POLICY, ApiDocs, breakable, errors_markdown, prose, slug
from adapters.openapi_document import operations, published
from adapters.schema_examples import example_of
from adapters.schema_reading import SCHEMAS, SchemaReader
from adapters.struct_schemas import DescribedStructs, anonymous_operations, operation_id
from commands.actions_http import ActionWrites
from commands.backtest_http import BacktestRoute
from commands.http.error_catalogue import ERROR_CATALOGUE
from commands.identity_http import AccountWrites, IdentityWrites
from commands.monitor_copies_http import MonitorCopiesWrites
from commands.monitor_trials_http import MonitorTrials
from commands.monitors_http import MonitorWrites
from commands.signals_http import SignalIntake, SignalSourceWrites
from commands.triggers_http import TriggerWrites
from read_api.audit import AuditReads
from read_api.monitor_stream import MonitorStream

ROUTES = (
    *(AccountWrites, ActionWrites, IdentityWrites, MonitorWrites, TriggerWrites, AuditReads),
    *(BacktestRoute, MonitorCopiesWrites, MonitorTrials, SignalIntake, SignalSourceWrites, MonitorStream),
)
PARTS = (
    *("identity", "monitors", "actions", "triggers", "projected", "monitor_views", "action_views", "trigger_views"),
    *(
        "audit_log",
        "log_verifier",
        "previews",
        "forecasting",
        "backtests",
        "signal_sources",
        "signal_addresses",
        "signal_receiver",
        "signal_source_views",
        "live_monitors",
    ),
)
DOCS = ApiDocs()
HOSTILE = "<script>alert(1)</script> `<img src=//evil.example>` \"quotes\" & 'ticks' {{ 7 * 7 }}"
ERRORS_FILE = Path(__file__).parents[2] / "docs" / "errors.md"


def provider() -> Callable[[], None]:
    def provide() -> None: ...

    return provide


@pytest.fixture(scope="module")
def app() -> Litestar:
    return Litestar(
        [Router("/api/v1", route_handlers=ROUTES)],
        dependencies={name: Provide(provider(), sync_to_thread=False) for name in PARTS},
        plugins=[DescribedStructs()],
        openapi_config=OpenAPIConfig(
            title="Vigil",
            version="1.0.0",
            security=[{"bearer": []}],
            use_handler_docstrings=True,
            operation_id_creator=operation_id,
            render_plugins=[JsonRenderPlugin()],
        ),
    )


@pytest.fixture(scope="module")
def document(app: Litestar) -> dict[str, Any]:
    return published(app.openapi_schema.to_schema(), catalogue=ERROR_CATALOGUE, anonymous=anonymous_operations(app))


@pytest.fixture(scope="module")
def reference(document: dict[str, Any]) -> html.HtmlElement:
    return html.document_fromstring(DOCS.render_reference(document))


@pytest.fixture(scope="module")
def errors() -> html.HtmlElement:
    return html.document_fromstring(DOCS.render_errors(ERROR_CATALOGUE))


def ids(page: html.HtmlElement) -> list[str]:
    return [str(element.get("id")) for element in page.iter() if element.get("id") is not None]


def links(page: html.HtmlElement) -> Iterator[str]:
    for element in page.iter("a"):
        yield element.get("href") or ""


def texts(elements: list[html.HtmlElement]) -> list[str]:
    return [" ".join(element.text_content().split()) for element in elements]


def in_card(page: html.HtmlElement, anchor: str) -> html.HtmlElement:
    return page.get_element_by_id(anchor)


def test_every_operation_has_an_anchor_with_its_method_path_and_summary(
    document: dict[str, Any], reference: html.HtmlElement
) -> None:
    found = list(operations(document))
    assert len(found) == len({operation["operationId"] for _, _, operation in found}) > 30
    for path, method, operation in found:
        text = in_card(reference, f"op-{operation['operationId']}").text_content()
        assert method.upper() in text
        assert path in text
        assert operation["summary"] in text
        for paragraph in operation["description"].replace("`", "").split("\n\n"):
            assert " ".join(paragraph.split()) in " ".join(text.split())


def test_every_schema_has_an_anchor_and_so_has_each_of_its_fields(
    document: dict[str, Any], reference: html.HtmlElement
) -> None:
    known = set(ids(reference))
    for name, schema in document["components"]["schemas"].items():
        assert f"schema-{name}" in known
        assert {f"schema-{name}--{field}" for field in schema.get("properties", {})} <= known


def test_every_link_leads_somewhere(reference: html.HtmlElement, errors: html.HtmlElement) -> None:
    pages = {"/api/v1/docs": reference, "/api/v1/docs/errors": errors}
    anchors = {path: set(ids(page)) for path, page in pages.items()}
    for here, page in pages.items():
        for link in links(page):
            path, _, anchor = link.partition("#")
            assert path in {"", "/api/v1/openapi.json", *pages}, link
            assert not anchor or anchor in anchors[path or here], link


def test_no_id_is_given_twice(reference: html.HtmlElement, errors: html.HtmlElement) -> None:
    for page in (reference, errors):
        found = ids(page)
        assert len(found) == len(set(found))


def test_nothing_is_scripted_and_nothing_is_loaded(reference: html.HtmlElement, errors: html.HtmlElement) -> None:
    for page in (reference, errors):
        tags = {element.tag for element in page.iter() if isinstance(element.tag, str)}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "svg", "base", "video"}
        attributes = {name for element in page.iter() for name in element.attrib}
        assert not {name for name in attributes if name.startswith("on")} | (attributes & {"src", "style", "srcset"})
        assert not any(re.search(r"url\(|@import|expression", style.text or "") for style in page.iter("style"))
    assert "script-src" not in PAGE_POLICY
    assert PAGE_POLICY.startswith("default-src 'none'")


def test_a_page_reads_on_a_phone_and_in_the_dark(reference: html.HtmlElement) -> None:
    viewport = reference.xpath("//meta[@name='viewport']/@content")
    assert viewport == ["width=device-width, initial-scale=1"]
    style = reference.xpath("string(//style)")
    assert "prefers-color-scheme: dark" in style
    assert "@media (max-width: 600px)" in style


def test_text_from_the_document_is_never_markup(document: dict[str, Any]) -> None:
    hostile = json.loads(json.dumps(document))
    hostile["info"]["title"] = hostile["info"]["description"] = HOSTILE
    for schema in hostile["components"]["schemas"].values():
        schema["description"] = HOSTILE
        for field in schema.get("properties", {}).values():
            field.update(description=HOSTILE, enum=[HOSTILE], default=HOSTILE, pattern=HOSTILE)
    hostile["components"]["schemas"][HOSTILE] = {"type": HOSTILE, "properties": {HOSTILE: {"type": "string"}}}
    for _, _, operation in operations(hostile):
        operation.update(summary=HOSTILE, description=HOSTILE, tags=[HOSTILE], operationId=HOSTILE)
        operation["parameters"].append({"name": HOSTILE, "in": HOSTILE, "required": True, "description": HOSTILE})
        for answer in operation["responses"].values():
            answer["x-error-codes"] = [HOSTILE]
            answer["description"] = HOSTILE
    text = DOCS.render_reference(hostile)
    page = html.document_fromstring(text)
    assert not list(page.iter("script"))
    assert not list(page.iter("img"))
    assert "{{ 7 * 7 }}" in text
    assert "&lt;script&gt;" in text
    assert page.get_element_by_id(slug("op-" + HOSTILE)) is not None


def test_operations_of_one_name_get_anchors_of_their_own() -> None:
    answer = {"operationId": "same", "responses": {}}
    page = html.document_fromstring(DOCS.render_reference({"paths": {"/a": {"get": answer, "post": answer}}}))
    assert {"op-same", "op-same-2"} <= set(ids(page))


def test_a_body_shows_types_requirements_defaults_and_choices(reference: html.HtmlElement) -> None:
    rows = texts(in_card(reference, "op-create_monitor").xpath(".//tr"))
    assert "prompt required string What to watch for, in plain words, 3 to 2,000 characters." in rows
    assert any(
        row.startswith("sources list of (HttpSource or FeedSource or SignalSource or SearchSource)") for row in rows
    )
    assert any(row.startswith("confirmations integer") and row.endswith("default 1") for row in rows)
    assert any(row.startswith("fires Fires or null") and '"on_entry", "each_time"' in row for row in rows)
    assert any(row.startswith("schedule Schedule or null") and "exactly one of every, cron" in row for row in rows)
    assert rows.count("FeedSource") == 1
    assert 'type required "feed" An RSS or Atom feed.' in rows


def test_parameters_say_where_they_go(reference: html.HtmlElement) -> None:
    rows = texts(in_card(reference, "op-change_monitor").xpath(".//tr"))
    assert "monitor_id required UUID in the path The monitor's id." in rows
    assert any(row.startswith("If-Match string in the header") for row in rows)


def test_an_operation_that_needs_no_token_says_so_and_shows_none(reference: html.HtmlElement) -> None:
    anonymous, guarded = in_card(reference, "op-log_in"), in_card(reference, "op-create_action")
    assert "needs no token" in anonymous.text_content()
    assert "Authorization:" not in anonymous.text_content()
    assert "needs no token" not in guarded.text_content()
    assert "Authorization: Bearer $TOKEN" in guarded.text_content()


def test_an_example_is_a_command_a_shell_can_run(document: dict[str, Any], reference: html.HtmlElement) -> None:
    for path, method, operation in operations(document):
        command = in_card(reference, f"op-{operation['operationId']}").xpath("string(.//pre)")
        words = shlex.split(command.replace("\\\n", " "))
        asked = [] if method == "get" else ["-X", method.upper()]
        assert words[: 1 + len(asked)] == ["curl", *asked]
        url = words[1 + len(asked)]
        assert url.startswith("$VIGIL" + path.split("{")[0])
        assert "{" not in url
        assert ("-d" in words) == ("requestBody" in operation)
        if "-d" in words and operation["operationId"] not in {"import_backup", "send_signal"}:  # a file, and any JSON
            assert isinstance(json.loads(words[words.index("-d") + 1]), dict)


def test_a_quote_in_an_example_does_not_end_the_command() -> None:
    body = {"content": {"application/json": {"schema": {"example": {"name": "it's; rm -rf"}}}}}
    page = html.document_fromstring(
        DOCS.render_reference({"paths": {"/a": {"put": {"operationId": "a", "requestBody": body}}}})
    )
    words = shlex.split(page.xpath("string(//article//pre)").replace("\\\n", " "))
    assert json.loads(words[-1]) == {"name": "it's; rm -rf"}


def test_error_codes_of_an_operation_lead_to_their_entries(reference: html.HtmlElement) -> None:
    found = in_card(reference, "op-resume_monitor").xpath(".//*[@class='codes']//a/@href")
    assert "/api/v1/docs/errors#MONITOR_LIMIT_EXCEEDED" in found
    assert "/api/v1/docs/errors#PROMPT_NOT_UNDERSTOOD" not in found


def test_the_introduction_explains_the_form(reference: html.HtmlElement) -> None:
    anchors = set(ids(reference))
    assert {"start", "envelopes", "errors", "lists", "idempotency", "versions", "positions", "request-ids"} <= anchors
    text = reference.text_content()
    for word in (
        *("next_cursor", "Idempotency-Key", "Idempotency-Replayed", "If-Match", "ETag", "Vigil-Position"),
        *("Vigil-Min-Position", "X-Request-ID", "X-Correlation-ID", "traceparent", "Api-Version", "Retry-After"),
    ):
        assert word in text, word


def test_every_error_code_is_an_anchor_with_cause_and_cure(errors: html.HtmlElement) -> None:
    for entry in ERROR_CATALOGUE:
        text = " ".join(in_card(errors, entry.code).text_content().split())
        assert str(entry.status or "4xx") in text
        for part in (entry.cause, entry.cure, entry.example):
            assert part.replace("`", "") in text, entry.code


def test_paths_of_the_pages_can_be_chosen() -> None:
    docs = ApiDocs(reference_path="/here", errors_path="/there", document_path="/it.json")
    found = set(links(html.document_fromstring(docs.render_errors(ERROR_CATALOGUE))))
    assert {"/here", "/there", "/it.json", "/here#op-log_in"} <= found


def test_the_document_as_litestar_makes_it_is_shown_too(app: Litestar) -> None:
    page = html.document_fromstring(DOCS.render_reference(app.openapi_schema.to_schema()))
    assert "op-create_monitor" in ids(page)


def test_unknown_constructs_are_shown_as_any() -> None:
    odd = {
        "paths": {
            "/x": {
                "get": {
                    "parameters": [{"$ref": "#/components/parameters/Page"}, {"$ref": "#/nowhere"}, 7],
                    "responses": {"200": {"content": {"text/csv": {}}}, "default": None, "404": {"$ref": "#/x/y"}},
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "elsewhere.json"}}}},
                },
                "parameters": [],
                "post": "nonsense",
            }
        },
        "components": {
            "parameters": {
                "Page": {"name": "page", "in": "query", "schema": {"type": ["null", "integer"], "maximum": 9.0}}
            },
            "schemas": {"Self": {"$ref": SCHEMAS + "Self"}, "Bare": True, "New": {"if": {}, "then": {}}},
        },
    }
    page = html.document_fromstring(DOCS.render_reference(odd))
    assert "page integer in the query at most 9" in texts(page.xpath("//tr"))
    assert "any" in in_card(page, "schema-New").text_content()


@pytest.mark.parametrize(
    "endless",
    [
        {"type": "array", "items": {"$ref": SCHEMAS + "Endless"}},
        {"oneOf": [{"$ref": SCHEMAS + "Endless"}, {"type": "null"}]},
        {"allOf": [{"$ref": SCHEMAS + "Endless"}]},
        {"properties": {"inner": {"$ref": SCHEMAS + "Endless"}}, "required": ["inner"]},
        {"$ref": SCHEMAS + "Endless"},
    ],
)
def test_a_schema_that_holds_itself_is_cut_off(endless: dict[str, Any]) -> None:
    body = {"content": {"application/json": {"schema": endless}}}
    odd = {"paths": {"/x": {"post": {"requestBody": body}}}, "components": {"schemas": {"Endless": endless}}}
    assert "schema-Endless" in ids(html.document_fromstring(DOCS.render_reference(odd)))


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
keys = st.sampled_from(
    [
        *("type", "properties", "items", "oneOf", "anyOf", "allOf", "enum", "const", "default", "required", "examples"),
        *("additionalProperties", "format", "description", "minimum", "pattern", "deprecated", "name", "in", "schema"),
    ]
)
pointers = st.fixed_dictionaries({"$ref": st.sampled_from([SCHEMAS + name for name in ("A", "B", "gone")] + ["#/x"])})
names = st.sampled_from(["object", "array", "string", "null", "integer"])
schemas = st.recursive(
    scalars | pointers | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100)
@given(first=schemas, second=schemas)
def test_no_schema_whatever_makes_it_fail(first: Any, second: Any) -> None:  # noqa: ANN401  any JSON value
    document = {
        "paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": first}}}}}},
        "components": {"schemas": {"A": first, "B": second}},
    }
    reader = SchemaReader(document)
    for schema in (first, second, {"$ref": SCHEMAS + "A"}):
        json.dumps(example_of(reader, schema))
        assert all(row.depth < 4 for row in reader.fields(schema, depth_max=4))
    DOCS.render_reference(document)


@given(text=st.text(alphabet="<>`ab&/_ \n\"'"))
def test_prose_and_breakable_text_hold_no_tags_but_their_own(text: str) -> None:
    assert set(re.findall(r"<[^>]*>?", str(prose(text)))) <= {"<p>", "</p>", "<code>", "</code>"}
    assert set(re.findall(r"<[^>]*>?", str(breakable(text)))) <= {"<wbr>"}


def test_prose_makes_paragraphs_and_code() -> None:
    assert str(prose("One `a < b`\n    line.\n\nTwo.")) == "<p>One <code>a &lt; b</code> line.</p><p>Two.</p>"


def test_the_file_of_error_codes_is_up_to_date() -> None:
    written = ERRORS_FILE.read_text(encoding="utf-8")
    assert written == errors_markdown(ERROR_CATALOGUE), "write it anew: python docs/generate_errors.py"
