"""The published OpenAPI document: readable, complete, and true about what the routes take."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from litestar import Controller, Litestar, Router, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from adapters.openapi_document import METHODS, operations, published
from adapters.openapi_examples import EXAMPLES
from adapters.openapi_texts import EVERY_SCHEMA, FIELDS, PARAMETERS, TAGS
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
from commands.shapes import ScheduleShape, schedule_of
from commands.signals_http import SignalIntake, SignalSourceWrites
from commands.triggers_http import TriggerWrites
from read_api.actions import ActionReads
from read_api.audit import AuditReads
from read_api.evaluations import EvaluationReads
from read_api.facts import FactReads
from read_api.health import Health
from read_api.monitor_exports import MonitorExportReads
from read_api.monitor_stream import MonitorStream
from read_api.monitors import MonitorReads
from read_api.notifications import NotificationReads
from read_api.signals import SignalReads
from read_api.status import StatusReads
from read_api.triggers import TriggerReads
from read_api.users import UserReads

CONTROLLERS: list[type[Controller]] = [
    *(AccountWrites, ActionWrites, IdentityWrites, MonitorWrites, TriggerWrites),
    *(ActionReads, EvaluationReads, FactReads, MonitorReads, NotificationReads, TriggerReads, UserReads),
    *(AuditReads, StatusReads),
    MonitorStream,
    *(MonitorTrials, MonitorCopiesWrites, MonitorExportReads, BacktestRoute),
    *(SignalIntake, SignalReads, SignalSourceWrites),
]
PARTS = [
    *("identity", "monitors", "actions", "triggers", "projected", "health", "statuses"),
    *("monitor_views", "evaluation_views", "fact_views", "action_views", "trigger_views"),
    *("notification_views", "user_views", "live_monitors"),
    *("previews", "forecasting", "monitor_exports", "backtests", "explanations"),
    *("past_monitors", "audit_log", "log_verifier"),
    *("signal_sources", "signal_addresses", "signal_receiver", "signal_source_views"),
]


def provider() -> Callable[[], None]:
    def provide() -> None: ...

    return provide


@pytest.fixture(scope="module")
def app() -> Litestar:
    @get("/", name="not_shown", include_in_schema=False)
    async def not_shown() -> None: ...

    return Litestar(
        [Router("/api/v1", route_handlers=[*CONTROLLERS, not_shown]), Health],
        dependencies={name: Provide(provider(), sync_to_thread=False) for name in PARTS},
        plugins=[DescribedStructs()],
        openapi_config=OpenAPIConfig(
            title="Vigil",
            version="1.0.0",
            components=Components(
                security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
            ),
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
def by_id(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for _, _, operation in operations(document)}


def parameter_names(operation: dict[str, Any]) -> set[str]:
    return {parameter["name"] for parameter in operation["parameters"]}


def codes(operation: dict[str, Any]) -> dict[str, list[str]]:
    return {status: answer.get("x-error-codes", []) for status, answer in operation["responses"].items()}


def references(node: Any) -> Iterator[str]:  # noqa: ANN401  any JSON value
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    for value in node if isinstance(node, list) else []:
        yield from references(value)


def test_operation_ids_are_the_names_of_the_handlers(by_id: dict[str, Any]) -> None:
    assert {"create_monitor", "change_monitor", "log_in", "list_monitors", "enable_trigger"} <= set(by_id)
    assert all(name.isidentifier() and name.islower() for name in by_id)


def test_every_operation_says_what_it_does_and_has_a_tag(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)
        assert len(operation["tags"]) == 1, (method, path)
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)


def test_schemas_have_readable_names(document: dict[str, Any]) -> None:
    names = set(document["components"]["schemas"])
    assert {"Monitor", "MonitorBody", "MonitorEnvelope", "MonitorPage", "Schedule", "ErrorEnvelope"} <= names
    assert all(name.isalnum() and not name.endswith("Shape") for name in names), names
    assert all(schema["title"] == name for name, schema in document["components"]["schemas"].items())


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    known = {SCHEMAS + name for name in document["components"]["schemas"]}
    found = set(references(document))
    assert found
    assert found <= known


def test_two_schemas_that_would_get_one_name_keep_their_own() -> None:
    raw = {"components": {"schemas": {"Thing": {"title": "Thing"}, "ThingShape": {"title": "ThingShape"}}}, "paths": {}}
    schemas = published(raw, catalogue=(), anonymous=())["components"]["schemas"]
    assert {"Thing", "ThingShape"} <= set(schemas)


def test_the_document_it_was_made_from_is_not_changed(app: Litestar) -> None:
    raw = app.openapi_schema.to_schema()
    before = json.dumps(raw, default=str)
    published(raw, catalogue=ERROR_CATALOGUE, anonymous=())
    assert json.dumps(raw, default=str) == before


def test_routes_without_a_token_say_so_and_the_others_need_the_bearer(
    document: dict[str, Any], by_id: dict[str, Any]
) -> None:
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["security"] == [{"bearer": []}]
    assert {name for name, operation in by_id.items() if operation.get("security") == []} == {
        *("log_in", "log_out", "refresh", "register", "verify_email", "live", "ready", "send_signal")
    }


def test_commands_take_a_key_and_changes_take_a_version(by_id: dict[str, Any]) -> None:
    keyed = {name for name, operation in by_id.items() if "Idempotency-Key" in parameter_names(operation)}
    assert keyed == {
        *("create_monitor", "create_action", "create_trigger", "evaluate_monitor", "pause_monitor", "resume_monitor"),
        *(
            "replace_monitor",
            "change_monitor",
            "replace_action",
            "replace_trigger",
            "enable_trigger",
            "disable_trigger",
        ),
        *("delete_monitor", "delete_action", "delete_trigger"),
        *("restore_monitor", "fork_monitor", "import_monitors", "import_backup"),
        *("create_signal_source", "change_signal_source", "rotate_secret", "delete_signal_source"),
    }
    versioned = {name for name, operation in by_id.items() if "If-Match" in parameter_names(operation)}
    assert {"replace_monitor", "change_monitor", "pause_monitor", "delete_trigger"} <= versioned
    assert not versioned & {
        "create_monitor",
        "fork_monitor",
        "import_monitors",
        "validate_change",
        "evaluate_monitor",
        "log_in",
        "list_monitors",
    }


def test_an_answer_to_a_command_promises_its_headers(by_id: dict[str, Any]) -> None:
    written = {"ETag", "Vigil-Position", "Idempotency-Replayed"}
    assert set(by_id["create_monitor"]["responses"]["201"]["headers"]) == {*written, "Location"}
    assert set(by_id["change_monitor"]["responses"]["200"]["headers"]) == written
    assert set(by_id["import_backup"]["responses"]["200"]["headers"]) == written - {"ETag"}
    assert "ETag" not in by_id["validate_change"]["responses"]["200"].get("headers", {})
    assert "ETag" not in by_id["register"]["responses"]["201"].get("headers", {})
    assert "ETag" not in by_id["list_monitors"]["responses"]["200"].get("headers", {})


def test_each_operation_names_the_error_codes_it_can_meet(by_id: dict[str, Any]) -> None:
    creating = codes(by_id["create_monitor"])
    assert creating["409"] == ["DUPLICATE_NAME"]
    assert creating["422"] == [
        *("IDEMPOTENCY_KEY_REUSED", "MONITOR_LIMIT_EXCEEDED", "MONITOR_TOTAL_EXCEEDED", "PROMPT_NOT_UNDERSTOOD"),
        *("PROMPT_AMBIGUOUS", "AI_BUDGET_EXCEEDED"),
    ]
    assert creating["503"] == ["SERVICE_UNAVAILABLE", "AI_UNAVAILABLE"]
    assert codes(by_id["log_in"])["401"] == ["INVALID_CREDENTIALS"]
    assert codes(by_id["read_monitor"])["404"] == ["NOT_FOUND"]
    assert codes(by_id["read_monitor"])["503"] == ["SERVICE_UNAVAILABLE", "STALE_READ"]
    assert "412" not in codes(by_id["read_monitor"])
    assert "STALE_READ" not in codes(by_id["change_monitor"])["503"]


def test_every_refusal_of_the_api_has_the_form_of_an_error(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if path.startswith("/api/") and status >= "400":
                assert answer["content"]["application/json"]["schema"] == {"$ref": SCHEMAS + "ErrorEnvelope"}
                assert answer["description"], (path, status)


def test_health_checks_promise_no_error_in_the_form_of_the_api(by_id: dict[str, Any]) -> None:
    assert not any(codes(by_id["live"]).values())


def test_the_catalogue_names_only_operations_there_are(by_id: dict[str, Any]) -> None:
    named = {name for entry in ERROR_CATALOGUE for name in entry.operations}
    assert named <= set(by_id)


def test_the_sources_are_a_union_told_apart_by_their_type(document: dict[str, Any]) -> None:
    items = document["components"]["schemas"]["MonitorBody"]["properties"]["sources"]["items"]
    assert items["discriminator"] == {
        "propertyName": "type",
        "mapping": {kind: f"{SCHEMAS}{kind.title()}Source" for kind in ("http", "feed", "signal", "search")},
    }


def test_a_schedule_has_either_an_interval_or_a_cron_line(document: dict[str, Any]) -> None:
    schedule = document["components"]["schemas"]["Schedule"]
    assert [variant["required"] for variant in schedule["oneOf"]] == [["every"], ["cron"]]
    for example in schedule["examples"]:
        schedule_of(msgspec.convert(example, ScheduleShape))


def test_bodies_refuse_unknown_fields_and_tell_defaults(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["MonitorBody"]["additionalProperties"] is False
    assert schemas["TriggerBody"]["properties"]["frequency"]["default"] == "every_time"
    assert "default" not in schemas["TriggerBody"]["properties"]["condition"]
    assert schemas["TriggerBody"]["required"] == ["monitor_id", "action_id", "condition"]


def test_the_docstring_of_a_struct_describes_its_schema(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["MonitorBody"]["description"].startswith("What to watch.")
    assert "\n    " not in document["components"]["schemas"]["TriggerCondition"]["description"]


def test_every_field_is_described(document: dict[str, Any]) -> None:
    bare = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, content in schema.get("properties", {}).items()
        if not content.get("description")
    ]
    assert not bare, "say what these mean in adapters/openapi_texts.py"


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    bare = {
        f"{path} {parameter['name']}"
        for path, _, operation in operations(document)
        for parameter in operation["parameters"]
        if not parameter.get("description")
    }
    assert not bare, "say what these mean where the route declares them, or in adapters/openapi_texts.py"


def test_no_words_are_left_over_for_fields_that_are_gone(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {f"{name}.{field}" for name, texts in FIELDS.items() for field in texts} <= {
        f"{name}.{field}" for name, schema in schemas.items() for field in schema.get("properties", {})
    }
    assert set(EXAMPLES) <= set(schemas)
    used = {field for schema in schemas.values() for field in schema.get("properties", {})}
    assert set(EVERY_SCHEMA) <= used
    assert set(PARAMETERS) <= {name for _, _, found in operations(document) for name in parameter_names(found)}


def bodies(app: Litestar) -> Iterator[tuple[str, Any]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler) and handler.parsed_data_field is not None:
                yield operation_id(handler, "POST", []), handler.parsed_data_field.annotation


def test_the_example_of_every_body_is_accepted_by_its_route(app: Litestar, document: dict[str, Any]) -> None:
    reader = SchemaReader(document)
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}
    checked = 0
    for name, struct in bodies(app):
        schema = by_id[name]["requestBody"]["content"]["application/json"]["schema"]
        for example in [example_of(reader, schema), *reader.resolved(schema).get("examples", [])]:
            msgspec.convert(example, struct)
            checked += 1
    assert checked > len(CONTROLLERS)


def test_an_example_made_from_the_schema_alone_is_accepted_too(app: Litestar, document: dict[str, Any]) -> None:
    bare = deepcopy(document)
    for schema in bare["components"]["schemas"].values():
        schema.pop("examples", None)
    reader = SchemaReader(bare)
    by_id = {operation["operationId"]: operation for _, _, operation in operations(bare)}
    for name, struct in bodies(app):
        schema = by_id[name]["requestBody"]["content"]["application/json"]["schema"]
        msgspec.convert(example_of(reader, schema), struct)


def test_operations_are_found_in_the_order_they_are_shown() -> None:
    item = {method: {"n": method} for method in reversed(METHODS)}
    found = [(path, method) for path, method, _ in operations({"paths": {"/b": item, "/a": {"get": {}}}})]
    assert found == [("/a", "get"), *(("/b", method) for method in METHODS)]
