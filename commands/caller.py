"""Who gives a command: a person, and the ids that tie a request to what it sets in motion."""

import hashlib
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.event import Metadata

KEY_DIGITS = 32


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
