"""Accounts and refresh sessions in PostgreSQL."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from adapters.postgres_pool import Pool
from commands.identity import EMAIL_SCOPE

log = structlog.get_logger()

SESSION_LIFETIME = timedelta(days=30)
"""From logging in, however often it is refreshed (ASVS 7.3.2)."""

TOKEN_BYTES = 32
SPENT_KEPT_MAX = 200
"""How many spent tokens of a session are known again; older ones are refused, but no longer end it."""

_USER_WITH = "select stream_id from reservation where scope = %s and value = %s"
_PASSWORD_HASH = "select password_hash from credential where user_id = %s"  # noqa: S105  a query, no secret
_KEEP_PASSWORD_HASH = "update credential set password_hash = %s, changed_at = %s where user_id = %s"  # noqa: S105  a query

_OPEN = """
insert into session (id, user_id, token_hash, created_at, refreshed_at, expires_at)
values (%(id)s, %(user_id)s, %(token)s, %(now)s, %(now)s, %(expires_at)s)
"""

# One statement, so that of all who bring the same token at once the row lock lets one through; the others find the
# token changed when they get the row.
_ROTATE = """
update session
set token_hash = %(next)s, spent_hashes = (array_prepend(token_hash, spent_hashes))[1:%(kept_max)s], refreshed_at = %(now)s
where token_hash = %(token)s and ended_at is null and expires_at > %(now)s
returning user_id
"""

_END_REUSED = """
update session set ended_at = %(now)s
where spent_hashes @> array[%(token)s::bytea] and ended_at is null
returning id, user_id
"""

_END = """
update session set ended_at = %(now)s
where (token_hash = %(token)s or spent_hashes @> array[%(token)s::bytea]) and ended_at is null
"""


class PostgresAccounts:
    """Fulfils the port `commands.identity_ports.Accounts`. `blind` says how an address stands among the reservations; without it
    it stands there as it is."""

    def __init__(self, pool: Pool, *, blind: Callable[[str, str], Awaitable[str]] | None = None) -> None:
        self._pool = pool
        self._blind = blind

    async def user_with(self, email: str) -> UUID | None:
        """Who registered this (normalised) address."""
        value = email if self._blind is None else await self._blind(EMAIL_SCOPE, email)
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_USER_WITH, (EMAIL_SCOPE, value))).fetchone()
        return None if row is None else row[0]

    async def password_hash(self, user_id: UUID) -> str | None:
        """The stored hash."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_PASSWORD_HASH, (user_id,))).fetchone()
        return None if row is None else row[0]

    async def keep_password_hash(self, user_id: UUID, password_hash: str, *, now: datetime) -> None:
        """Replace the stored hash; a person without one gets none."""
        async with self._pool.connection() as connection:
            await connection.execute(_KEEP_PASSWORD_HASH, (password_hash, now, user_id))


class PostgresSessions:
    """Fulfils the port `commands.identity_ports.Sessions`.

    A refresh token is 256 random bits that mean nothing; only its SHA-256 is stored, which is enough for so many bits
    (ASVS 11.5.1). It works once. A spent token that comes back was stolen, from the person or by them: its whole session
    ends (RFC 9700, 4.14.2). So does a client that refreshes twice at once, which is the price of not having a grace.
    """

    def __init__(self, pool: Pool, *, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._new_id = new_id

    async def open(self, user_id: UUID, *, now: datetime) -> str:
        """A new session's refresh token."""
        token = _new_token()
        row = {
            "id": self._new_id(),
            "user_id": user_id,
            "token": _hash(token),
            "now": now,
            "expires_at": now + SESSION_LIFETIME,
        }
        async with self._pool.connection() as connection:
            await connection.execute(_OPEN, row)
        return token

    async def refresh(self, token: str, *, now: datetime) -> tuple[UUID, str] | None:
        """The person and the next token; None when the token is spent (then its session ends), ended or unknown."""
        next_token = _new_token()
        values = {"token": _hash(token), "next": _hash(next_token), "now": now, "kept_max": SPENT_KEPT_MAX}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_ROTATE, values)).fetchone()
            if row is not None:
                return row[0], next_token
            reused = await (await connection.execute(_END_REUSED, values)).fetchone()
        if reused is not None:
            # The name is the OWASP logging vocabulary's.
            log.warning("authn_token_reuse", session_id=str(reused[0]), user_id=str(reused[1]))
        return None

    async def end(self, token: str, *, now: datetime) -> None:
        """End the session of this token, also when it is spent; for any other token nothing happens."""
        async with self._pool.connection() as connection:
            await connection.execute(_END, {"token": _hash(token), "now": now})


def _new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
