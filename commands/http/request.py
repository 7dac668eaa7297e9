"""The request as Vigil reads it: its ids, and its body, refused with everything that is wrong with it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.exceptions import ClientException, SerializationException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from commands.caller import Caller
from commands.http.body import body_errors
from commands.http.form import API_VERSION, ErrorDetail, RequestInvalid

REQUEST_ID_CHARS_MAX = 128


class BodyKeepingRequest(Request[Caller, Any, Any]):
    """Checks the body before Litestar converts it, which takes "3" for a number and names the first wrong field only."""

    async def json(self) -> Any:  # noqa: ANN401  any JSON value
        """The parsed body. Raises `RequestInvalid`, `SerializationException`, and `ClientException` 415 for another type."""
        given, _ = self.content_type
        if given and given != "application/json":
            raise ClientException("send JSON and say so: Content-Type: application/json", status_code=415)
        try:
            body = await super().json()
        except RecursionError:
            raise RequestInvalid(
                [ErrorDetail(field=None, issue="depth", message="the body is nested too deeply")]
            ) from None
        except UnicodeDecodeError as error:
            raise SerializationException(str(error)) from error
        data = self.route_handler.parsed_data_field
        if data is not None and (wrong := body_errors(body, data.annotation)):
            raise RequestInvalid(wrong)
        return body


class RequestIds:
    """ASGI middleware: takes or makes the request id and correlation id, answers both, and sets the safe headers that
    every answer carries (OWASP REST Security Cheat Sheet)."""

    def __init__(self, app: ASGIApp, new_id: Callable[[], UUID]) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        given = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        made = self._new_id()
        request_id = _acceptable(given.get(b"x-request-id")) or str(made)
        correlation = _as_uuid(given.get(b"x-correlation-id")) or made
        scope["vigil.request_id"] = request_id  # type: ignore[typeddict-unknown-key]  # own keys beside ASGI's
        scope["vigil.correlation_id"] = correlation  # type: ignore[typeddict-unknown-key]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders(message)
                headers["X-Request-ID"] = request_id
                headers["X-Correlation-ID"] = str(correlation)
                headers["Api-Version"] = API_VERSION
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _acceptable(value: str | None) -> str | None:
    if value and len(value) <= REQUEST_ID_CHARS_MAX and value.isascii() and value.isprintable():
        return value
    return None


def _as_uuid(value: str | None) -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError:
        return None
