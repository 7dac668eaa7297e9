"""Who is calling: the person behind the bearer token, and the ids that tie a request to what it sets in motion."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from domain.event import Metadata

ANONYMOUS_ROUTE = "anonymous"
"""The `opt` key of routes that need no token."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a token speaks for."""

    user_id: UUID
    roles: frozenset[str]


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

    def metadata(self) -> Metadata:
        """The metadata of events this request leads to."""
        return Metadata(
            correlation_id=self.correlation_id,
            command_id=self.command_id,
            actor=str(self.user_id),
            traceparent=self.traceparent,
        )


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """Requires a bearer token (RFC 6750) on every route that does not say it is anonymous. Cookies are ignored."""

    def __init__(self, app: ASGIApp, tokens: TokenReader) -> None:
        super().__init__(app, exclude_from_auth_key=ANONYMOUS_ROUTE)
        self._tokens = tokens

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """The caller, or 401."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthorizedException("send an access token: Authorization: Bearer ...")
        try:
            principal = self._tokens.read(token)
        except TokenInvalid as invalid:
            raise NotAuthorizedException("the access token is not valid or has expired; log in again") from invalid
        caller = Caller(
            user_id=principal.user_id,
            roles=principal.roles,
            correlation_id=connection.scope["vigil.correlation_id"],  # type: ignore[typeddict-item]  # set by RequestIds
            traceparent=connection.headers.get("traceparent"),
        )
        return AuthenticationResult(user=caller, auth=None)


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header's value without surrounding space, None when absent or empty."""
    value = headers.get(name, "").strip()
    return value or None
