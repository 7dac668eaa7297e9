"""How signal sources and signals are answered, shared by writes and reads."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from commands.shapes import duration_text
from domain.signal_source import Terms

Health = Literal["never", "live", "silent"]


class SignalSourceDetailsShape(msgspec.Struct, frozen=True, kw_only=True):
    """A signal source and how it does. `status` is `never` before the first signal, `silent` when the last one is longer ago
    than `silent_after`."""

    id: UUID
    name: str
    url: str
    schema: dict[str, Any] | None
    silent_after: str | None
    status: Health
    last_received_at: datetime | None
    silent_for: str | None
    received: int
    refused: int
    last_refused_at: datetime | None
    last_refusal: str | None
    older_secret_valid_until: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class NewSignalSourceShape(msgspec.Struct, frozen=True, kw_only=True):
    """A new signal source with its secret, which is shown this once."""

    id: UUID
    name: str
    url: str
    schema: dict[str, Any] | None
    silent_after: str | None
    secret: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class NewSecretShape(msgspec.Struct, frozen=True, kw_only=True):
    """A new secret, shown this once, and until when the one before it is good."""

    id: UUID
    secret: str | None
    older_valid_until: datetime
    version: int


class SignalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was taken, and the evaluations it asked for."""

    id: UUID
    source_id: UUID
    received_at: datetime
    evaluations: tuple[UUID, ...]


class SignalShape(msgspec.Struct, frozen=True, kw_only=True):
    """A signal as it came, and the evaluations it asked for."""

    id: UUID
    source_id: UUID
    webhook_id: str
    body: Any
    sent_at: datetime
    received_at: datetime
    evaluations: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class SignalAddresses:
    """Where signals are sent to: the whole address where it is configured at which one this Vigil is reached (`public_url`),
    else the path alone, for whoever asks may reach it at another address than senders do."""

    public_url: str | None

    def of(self, source_id: UUID) -> str:
        """Where signals for a source are sent to."""
        return f"{(self.public_url or '').rstrip('/')}/api/v1/signals/{source_id}"


def schema_json(schema: str | None) -> Any:  # noqa: ANN401  JSON
    """A schema as it is answered."""
    return None if schema is None else msgspec.json.decode(schema)


def new_source_shape(
    source_id: UUID, terms: Terms, secret: str | None, *, url: str, version: int, created_at: datetime
) -> NewSignalSourceShape:
    """The answer to the creation of a signal source."""
    return NewSignalSourceShape(
        id=source_id,
        name=terms.name,
        url=url,
        schema=schema_json(terms.schema),
        silent_after=duration_of(terms.silent_after_seconds),
        secret=secret,
        version=version,
        created_at=created_at,
        updated_at=created_at,
    )


def duration_of(seconds: float | None) -> str | None:
    """So many seconds as ISO 8601 writes them, whole ones."""
    return None if seconds is None else duration_text(timedelta(seconds=int(seconds)))
