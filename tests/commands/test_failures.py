"""From exceptions to answers, and the ids around every answer."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get
from litestar.exceptions import HTTPException, MethodNotAllowedException, SerializationException, ValidationException
from litestar.params import FromPath
from litestar.types import Message, Receive, Scope, Send
from uuid_utils.compat import uuid7

from commands.event_store import ConcurrentAppend
from commands.http.failures import EXCEPTION_HANDLERS
from commands.http.request import RequestIds
from commands.identity import SessionInvalid
from domain.errors import AiUnavailable, Conflict, DuplicateName, InvalidInput, NotFound

FAILURES: dict[str, Exception] = {
    "input": InvalidInput("a name is 1 to 120 printable characters", field="name"),
    "not-found": NotFound(),
    "conflict": Conflict(),
    "duplicate": DuplicateName(field="name"),
    "session": SessionInvalid(),
    "overtaken": ConcurrentAppend(),
    "no-answer": TimeoutError("the secret host 10.0.0.1 does not answer"),
    "refused": ConnectionRefusedError(),
    "model": AiUnavailable(),
    "model-rests": AiUnavailable("claude rests", rest_seconds=42.1),
    "model-tried": AiUnavailable("claude is tried", rest_seconds=0.0),
    "bug": KeyError("a secret"),
    "framework": HTTPException("a secret", status_code=507),
    "teapot": HTTPException(status_code=418, headers={"X-Kept": "yes"}),
    "forbidden": HTTPException("not for you", status_code=403),
    "parameter": ValidationException(
        extra=[{"key": "limit", "message": "Expected `int | null`, got `str`", "source": "query"}]
    ),
    "answer": SerializationException("a secret"),
    "method": MethodNotAllowedException(),
    "parameters": ValidationException(extra={"limit": "expected `int`"}),
}


@get("/raise/{name:str}")
async def raises(name: FromPath[str]) -> None:
    raise FAILURES[name]


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar([raises], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)
    wrapped = RequestIds(cast("Any", app), new_id=uuid7)
    transport = httpx.ASGITransport(app=cast("Any", wrapped), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigil.test") as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "status", "code", "fields"),
    [
        ("input", 400, "VALIDATION_ERROR", ["name"]),
        ("not-found", 404, "NOT_FOUND", []),
        ("conflict", 409, "CONFLICT", []),
        ("duplicate", 409, "DUPLICATE_NAME", ["name"]),
        ("session", 401, "SESSION_INVALID", []),
        ("overtaken", 409, "VERSION_CONFLICT", []),
        ("no-answer", 503, "SERVICE_UNAVAILABLE", []),
        ("refused", 503, "SERVICE_UNAVAILABLE", []),
        ("model", 503, "AI_UNAVAILABLE", []),
        ("bug", 500, "INTERNAL_ERROR", []),
        ("framework", 500, "INTERNAL_ERROR", []),
        ("teapot", 418, "REQUEST_REFUSED", []),
        ("forbidden", 403, "FORBIDDEN", []),
        ("parameter", 400, "VALIDATION_ERROR", ["limit"]),
        ("answer", 400, "VALIDATION_ERROR", []),
        ("method", 405, "METHOD_NOT_ALLOWED", []),
        ("parameters", 400, "VALIDATION_ERROR", []),
    ],
)
async def test_each_failure_has_its_status_its_code_and_the_field(
    client: httpx.AsyncClient, name: str, status: int, code: str, fields: list[str]
) -> None:
    response = await client.get(f"/raise/{name}")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert [detail["field"] for detail in error["details"]] == fields
    assert "secret" not in response.text
    assert error["correlation_id"] == response.headers["X-Correlation-ID"]


async def test_who_may_come_again_is_told_when_and_who_may_log_in_is_told_how(client: httpx.AsyncClient) -> None:
    assert (await client.get("/raise/no-answer")).headers["Retry-After"] == "2"
    assert (await client.get("/raise/model")).headers["Retry-After"] == "30"
    assert (await client.get("/raise/model-rests")).headers["Retry-After"] == "43"
    assert (await client.get("/raise/model-tried")).headers["Retry-After"] == "1"
    assert (await client.get("/raise/session")).headers["WWW-Authenticate"] == "Bearer"
    assert (await client.get("/raise/teapot")).headers["X-Kept"] == "yes"


async def test_a_parameter_of_another_type_is_told_in_words_and_never_that_null_would_do(
    client: httpx.AsyncClient,
) -> None:
    (detail,) = (await client.get("/raise/parameter")).json()["error"]["details"]
    assert detail == {"field": "limit", "issue": "invalid", "message": "expected a whole number, got text"}


async def test_what_is_no_request_passes_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    async def receive() -> Any:  # noqa: ANN401  never called
        raise AssertionError

    async def send(_message: Message) -> None:
        raise AssertionError

    scope: Any = {"type": "lifespan"}
    await RequestIds(app, new_id=uuid7)(scope, receive, send)
    assert seen == [({"type": "lifespan"}, receive, send)]


async def test_the_answer_to_a_bug_is_json_also_when_its_message_is_not(client: httpx.AsyncClient) -> None:
    assert json.loads((await client.get("/raise/bug")).content)["meta"]["version"]
