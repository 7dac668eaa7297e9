"""Who is calling: the person behind the bearer token, and the ids that tie a request to what it sets in motion."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from domain.event import Metadata

KEY_DIGITS = 32
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

ANONYMOUS_ROUTE = "anonymous"
"""The `opt` key of routes that need no token."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a token speaks for, and until when; None: as long as it is not taken back."""

    user_id: UUID
    roles: frozenset[str]
    expires_at: datetime | None = None


class TokenInvalid(Exception):
    """The token is missing, malformed, expired, or not one of ours."""


class TokenReader(Protocol):
    """Reads access tokens."""

    def read(self, token: str) -> Principal:
        """Who the token speaks for; raises `TokenInvalid`."""
        ...


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A principal and the context of their request."""

    user_id: UUID
    roles: frozenset[str]
    correlation_id: UUID
    command_id: str | None = None
    fingerprint: bytes = b""
    traceparent: str | None = None
    expires_at: datetime | None = None

    def metadata(self) -> Metadata:
        """The metadata of events this request leads to."""
        return Metadata(
            correlation_id=self.correlation_id,
            command_id=None if self.command_id is None else key_in_events(self.user_id, self.command_id),
            actor=str(self.user_id),
            traceparent=self.traceparent,
        )


def key_in_events(user_id: UUID, command_id: str) -> str:
    """How an idempotency key stands in events, which are for ever: it may be any text, and so hold anything personal. Whoever
    has the key can find its events."""
    return hashlib.sha256(f"{user_id} {command_id}".encode()).hexdigest()[:KEY_DIGITS]


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """Requires a bearer token (RFC 6750) on every route that does not say it is anonymous. Cookies are ignored."""

    def __init__(self, app: ASGIApp, tokens: TokenReader, is_erased: Callable[[UUID], Awaitable[bool]]) -> None:
        """`is_erased` is asked about everybody whose token is good, since an access token outlives its person."""
        super().__init__(app, exclude_from_auth_key=ANONYMOUS_ROUTE)
        self._tokens = tokens
        self._is_erased = is_erased

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """The caller, or 401."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthorizedException("send an access token: Authorization: Bearer ...")
        try:
            principal = self._tokens.read(token)
        except TokenInvalid as invalid:
            raise NotAuthorizedException("the access token is not valid or has expired; log in again") from invalid
        if await self._is_erased(principal.user_id):
            raise NotAuthorizedException("this account was erased")
        caller = Caller(
            user_id=principal.user_id,
            roles=principal.roles,
            expires_at=principal.expires_at,
            correlation_id=connection.scope["vigil.correlation_id"],  # type: ignore[typeddict-item]  # set by RequestIds
            traceparent=_traceparent(connection.headers.get("traceparent", "")),
        )
        return AuthenticationResult(user=caller, auth=None)


def _traceparent(given: str) -> str | None:
    """The header if it is one (W3C Trace Context, 2.2.1); it would stand in events for ever."""
    return given if _TRACEPARENT.fullmatch(given) else None


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header's value without surrounding space, None when absent or empty."""
    value = headers.get(name, "").strip()
    return value or None
