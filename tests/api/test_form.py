"""The form every answer has: envelopes, ids, versions, headers (API.md, Form)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from bootstrap.now_and_new import program_version
from commands.caller import key_in_events
from commands.http.error_catalogue import ERROR_CATALOGUE
from commands.http.form import API_VERSION
from tests.api.people import Installation, Json, Person, wish

STATUS_OF = {entry.code: entry.status for entry in ERROR_CATALOGUE}


def is_now(text: str) -> bool:
    assert text.endswith("Z"), "times are RFC 3339 in UTC with Z"
    return abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(minutes=1)


def meta_of(response: httpx.Response) -> Json:
    """The meta part, which every answer with a body has."""
    meta: Json = response.json()["meta"]
    assert set(meta) == {"request_id", "version", "timestamp"}
    assert meta["request_id"] == response.headers["X-Request-ID"]
    assert meta["version"] == response.headers["Api-Version"]
    assert is_now(meta["timestamp"])
    return meta


def error_of(response: httpx.Response) -> Json:
    """The error part, whose form is the same whatever went wrong."""
    meta_of(response)
    assert set(response.json()) == {"error", "meta"}
    error: Json = response.json()["error"]
    assert set(error) == {"code", "message", "details", "documentation_url", "correlation_id", "timestamp"}
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", error["code"])
    assert STATUS_OF[error["code"]] == response.status_code
    assert error["message"]
    assert error["documentation_url"] == f"http://vigil.test/api/v1/docs/errors#{error['code']}"
    assert error["correlation_id"] == response.headers["X-Correlation-ID"]
    assert is_now(error["timestamp"])
    for detail in error["details"]:
        assert set(detail) == {"field", "issue", "message"}
    return error


def safe(response: httpx.Response) -> bool:
    """The headers of OWASP's REST Security Cheat Sheet."""
    headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    return True


async def test_the_status_has_the_version_of_the_program_and_every_answer_that_of_the_api(ada: Person) -> None:
    client = ada.installation.client
    assert (await client.get("/api/v1/status")).status_code == 401, "a token is needed"
    response = await ada.asks("GET", "/status")
    assert response.status_code == 200
    schema = (await client.get("/api/v1/docs/openapi.json")).json()
    assert response.json()["data"]["version"] == program_version()
    assert meta_of(response)["version"] == schema["info"]["version"] == API_VERSION
    said = schema["components"]["schemas"]["Status"]["properties"]["version"]["description"]
    assert said == "The version of the program; that of the API is in `meta`."


async def test_a_creation_is_answered_with_the_thing_its_place_and_its_version(ada: Person) -> None:
    response = await ada.asks("POST", "/monitors", wish())
    assert response.status_code == 201
    assert set(response.json()) == {"data", "meta"}
    meta_of(response)
    assert safe(response)
    made = response.json()["data"]
    assert UUID(made["id"]).version == 7
    assert response.headers["Location"] == f"/api/v1/monitors/{made['id']}"
    assert response.headers["ETag"] == '"1"'
    assert re.fullmatch(r"\d+\.\d+", response.headers["Vigil-Position"])
    at_its_place = await ada.installation.client.get(response.headers["Location"], headers=ada.authorization)
    assert at_its_place.json()["data"]["id"] == made["id"]
    assert at_its_place.headers["ETag"] == response.headers["ETag"]


async def test_a_change_a_request_and_a_deletion_are_answered_in_their_own_ways(ada: Person) -> None:
    made = await ada.monitor()
    path = f"/monitors/{made['id']}"
    changed = await ada.asks("PATCH", path, {"name": "Pot"})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    asked = await ada.asks("POST", f"{path}/evaluate")
    assert asked.status_code == 202
    assert list(asked.json()["data"]) == ["id"]
    deleted = await ada.asks("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    places = [response.headers["Vigil-Position"] for response in (changed, asked, deleted)]
    partition, _, place = places[-1].partition(".")
    assert [one.partition(".")[0] for one in places] == [partition] * 3, "everything of a person is in one partition"
    assert places == sorted(places, key=lambda one: int(one.partition(".")[2]))
    later = await ada.asks("GET", "/monitors", headers={"Vigil-Min-Position": f"{partition}.{place}"})
    assert later.json()["data"] == []


async def test_a_list_tells_where_its_page_lies(ada: Person) -> None:
    for name in ("One", "Two"):
        await ada.monitor(name=name)
    response = await ada.asks("GET", "/monitors?limit=1&sort=name:asc")
    meta_of(response)
    assert [monitor["name"] for monitor in response.json()["data"]] == ["One"]
    assert response.json()["pagination"] == {
        "limit": 1,
        "offset": 0,
        "total": 2,
        "has_more": True,
        "next_cursor": None,
    }


async def test_another_method_is_refused_with_those_that_are_taken(ada: Person) -> None:
    response = await ada.asks("DELETE", "/monitors")
    assert error_of(response)["message"] == f"this path takes only {response.headers['Allow']}"
    assert set(response.headers["Allow"].split(", ")) == {"GET", "OPTIONS", "POST"}


REFUSED: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "no such route": ("GET", "/nothing", {}, 404, "NOT_FOUND"),
    "no such route to write to": ("POST", "/nothing", {"json": {}}, 404, "NOT_FOUND"),
    "an id that is none": ("GET", "/monitors/abc", {}, 404, "NOT_FOUND"),
    "an id nobody has": ("GET", f"/monitors/{UUID(int=1)}", {}, 404, "NOT_FOUND"),
    "another method": ("DELETE", "/monitors", {}, 405, "METHOD_NOT_ALLOWED"),
    "not JSON": ("POST", "/monitors", {"content": "{"}, 400, "VALIDATION_ERROR"),
    "another type": ("POST", "/monitors", {"content": "a", "headers": {"Content-Type": "text/plain"}}, 415, ""),
    "too large": ("POST", "/monitors", {"content": "x" * 300_000}, 413, "BODY_TOO_LARGE"),
    "a field that is wrong": ("POST", "/monitors", {"json": wish(name="")}, 400, "VALIDATION_ERROR"),
    "a prompt nobody reads": ("POST", "/monitors", {"json": wish(facts=None, condition=None, prompt="abc")}, 422, ""),
    "a stale version": ("DELETE", "/monitors/{id}", {"headers": {"If-Match": '"7"'}}, 412, "PRECONDITION_FAILED"),
    "a state it does not fit": ("POST", "/monitors/{id}/evaluate", {}, 409, "CONFLICT"),
    "an unknown parameter": ("GET", "/monitors?colour=red", {}, 400, "VALIDATION_ERROR"),
}


@pytest.fixture(scope="module")
async def paused(installation: Installation) -> tuple[Person, str]:
    """Somebody with one paused monitor."""
    person = await installation.person()
    monitor = await person.monitor()
    await person.gets("POST", f"/monitors/{monitor['id']}/pause")
    return person, monitor["id"]


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_has_the_one_form_and_echoes_the_ids(paused: tuple[Person, str], case: str) -> None:
    method, path, options, status, code = REFUSED[case]
    person, monitor_id = paused
    correlation = "01890a5d-ac96-774b-bcce-b302099a8057"
    ids = {"X-Request-ID": "frontend-42", "X-Correlation-ID": correlation}
    response = await person.asks(
        method,
        path.format(id=monitor_id),
        headers={**ids, **options.get("headers", {})},
        **{name: value for name, value in options.items() if name != "headers"},
    )
    assert response.status_code == status, response.text
    error = error_of(response)
    assert not code or error["code"] == code
    assert (response.headers["X-Request-ID"], error["correlation_id"]) == ("frontend-42", correlation)
    assert safe(response)


async def test_a_method_that_is_not_there_names_those_that_are(ada: Person) -> None:
    response = await ada.asks("DELETE", "/monitors")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


@pytest.mark.parametrize("given", ["", "x" * 129, "höflich", "two\twords"])
async def test_a_request_id_that_cannot_be_trusted_gives_way_to_a_made_one(ada: Person, given: str) -> None:
    response = await ada.asks("GET", "/monitors", headers={"X-Request-ID": given.encode("latin-1")})  # type: ignore[dict-item]  # httpx sends bytes as they are
    assert UUID(response.headers["X-Request-ID"]).version == 7
    meta_of(response)


@pytest.mark.parametrize("given", ["", "not-a-uuid", "0" * 31])
async def test_a_correlation_id_that_is_no_uuid_gives_way_to_a_made_one(ada: Person, given: str) -> None:
    response = await ada.asks("GET", "/monitors", headers={"X-Correlation-ID": given})
    assert UUID(response.headers["X-Correlation-ID"]).version == 7


async def test_the_ids_of_a_request_are_in_the_metadata_of_what_it_led_to(ada: Person) -> None:
    correlation, parent = "01890a5d-ac96-774b-bcce-b302099a8057", f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"X-Correlation-ID": correlation, "traceparent": parent, "Idempotency-Key": "create-1"}
    made = await ada.gets("POST", "/monitors", wish(), expect=201, headers=headers)
    (stored,) = await ada.installation.parts.store.load(UUID(made["id"]))
    metadata = stored.metadata
    assert (str(metadata.correlation_id), metadata.command_id) == (
        correlation,
        key_in_events(ada.user_id, "create-1"),
    )
    assert (metadata.actor, metadata.traceparent) == (str(ada.user_id), parent)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic YWRhOnB3", "Bearer nonsense", "Bearer a.b.c", "bearer\ttoken"],
)
async def test_without_a_valid_token_everything_but_signing_in_is_refused(
    installation: Installation, authorization: str
) -> None:
    for method, path in (
        ("GET", "/monitors"),
        ("POST", "/monitors"),
        ("GET", "/me"),
        ("DELETE", f"/triggers/{UUID(int=1)}"),
    ):
        response = await installation.nobody(method, path, headers={"Authorization": authorization})
        assert response.status_code == 401
        assert error_of(response)["code"] == "UNAUTHENTICATED"
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_in_a_cookie_or_in_the_address_is_ignored(ada: Person) -> None:
    token = ada.authorization["Authorization"].removeprefix("Bearer ")
    for options in ({"headers": {"Cookie": f"access_token={token}"}}, {"params": {"access_token": token}}):
        response = await ada.installation.nobody("GET", "/me", **options)
        assert response.status_code == 401


async def test_the_scheme_is_read_in_any_case_of_letters(ada: Person) -> None:
    token = ada.authorization["Authorization"].removeprefix("Bearer ")
    response = await ada.installation.nobody("GET", "/me", headers={"Authorization": f"bEARER {token}"})
    assert response.status_code == 200


async def test_the_document_and_the_health_of_the_installation_need_no_token(installation: Installation) -> None:
    document = await installation.nobody("GET", "/openapi.json")
    assert document.json()["openapi"].startswith("3.1")
    live = await installation.client.get("/health/live")
    assert live.json()["status"] == "live"


async def test_a_defect_of_ours_shows_nothing_of_the_inside(
    installation: Installation, ada: Person, module_database: str
) -> None:
    """A table that is not there: whatever breaks, the answer says no more than that, and how to tell us."""
    monitor = await ada.monitor()
    with psycopg.connect(module_database, autocommit=True) as owner:
        owner.execute("alter table read_model.monitors rename to monitors_away")
        try:
            response = await ada.asks("GET", f"/monitors/{monitor['id']}")
        finally:
            owner.execute("alter table read_model.monitors_away rename to monitors")
    assert response.status_code == 500
    error = error_of(response)
    assert error["code"] == "INTERNAL_ERROR"
    assert error["message"] == "something went wrong on our side; the correlation id helps us find it"
    assert not re.search(r"\brelation|monitors_away|psycopg|select|Traceback", response.text)


async def test_the_bare_address_leads_to_the_documentation(ada: Person) -> None:
    response = await ada.installation.client.get("http://vigil.test/", follow_redirects=False)
    assert response.status_code in {301, 302, 307, 308}
    assert response.headers["Location"] == "/api/v1/docs"
