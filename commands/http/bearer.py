"""Who is calling: the person behind the bearer token."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from commands.caller import Caller, TokenInvalid, TokenReader

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

ANONYMOUS_ROUTE = "anonymous"
"""The `opt` key of routes that need no token."""


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
