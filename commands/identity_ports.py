"""What the commands on identity ask of the outside: passwords, secrets in links, addresses, sessions and access tokens."""

from datetime import datetime
from typing import Protocol
from uuid import UUID


class LinkInvalid(Exception):
    """A link token is not one of ours."""


class Passwords(Protocol):
    """Hashes passwords, slowly and off the event loop."""

    async def hash(self, password: str) -> str:
        """An Argon2id hash."""
        ...

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it fits; with None the same work is done for nothing, so that time tells nobody who exists."""
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with weaker parameters than today's."""
        ...


class LinkTokens(Protocol):
    """Secrets in mailed links, derived from an id with the installation's key, so that they are stored nowhere."""

    def make(self, purpose: str, user_id: UUID, token_id: UUID) -> str:
        """The token for a purpose."""
        ...

    def read(self, purpose: str, token: str) -> tuple[UUID, UUID]:
        """The user's and the token's id; raises `LinkInvalid`."""
        ...


class Accounts(Protocol):
    """Addresses and credentials."""

    async def user_with(self, email: str) -> UUID | None:
        """Who registered this (normalised) address."""
        ...

    async def password_hash(self, user_id: UUID) -> str | None:
        """The stored hash."""
        ...

    async def keep_password_hash(self, user_id: UUID, password_hash: str, *, now: datetime) -> None:
        """Replace the stored hash."""
        ...


class Sessions(Protocol):
    """Refresh sessions."""

    async def open(self, user_id: UUID, *, now: datetime) -> str:
        """A new session's refresh token."""
        ...

    async def refresh(self, token: str, *, now: datetime) -> tuple[UUID, str] | None:
        """The person and the next token; None when the token is spent (then its whole session ends), ended or unknown."""
        ...

    async def end(self, token: str, *, now: datetime) -> None:
        """End the session of this token."""
        ...


class AccessTokens(Protocol):
    """Short-lived bearer tokens."""

    def issue(self, user_id: UUID, roles: frozenset[str], *, now: datetime) -> tuple[str, int]:
        """A token and how many seconds it lives."""
        ...
