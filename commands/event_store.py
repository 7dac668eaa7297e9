"""The port to the event store, and what may be written in one transaction with events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.event import Metadata, NewEvents, StreamEvent
from domain.evidence import Document
from domain.schedule import Schedule


class Reserve(msgspec.Struct, frozen=True):
    """Hold `value` within `scope` for one stream; the append fails with `AlreadyReserved` when it is taken.

    With `places_max` the scope is a quota: the append fails with `QuotaExceeded` when it holds more values than that.
    """

    scope: str
    value: str
    stream_id: UUID
    places_max: int | None = None


class Release(msgspec.Struct, frozen=True):
    """Let go of what was reserved; releasing what is not held changes nothing."""

    scope: str
    value: str


class KeepSchedule(msgspec.Struct, frozen=True):
    """From now on the monitor is due after `schedule`, first at `due_at`."""

    monitor_id: UUID
    owner_id: UUID
    schedule: Schedule
    active: bool
    due_at: datetime


class DropSchedule(msgspec.Struct, frozen=True):
    """The monitor is never due again."""

    monitor_id: UUID


class CloseEvaluation(msgspec.Struct, frozen=True):
    """An evaluation is done: if it was the slot `due_at`, the next is `next_due_at`; if it was asked for, the request is
    fulfilled. Fails with `ConcurrentAppend` unless the monitor's last evaluation is still `previous_id`."""

    monitor_id: UUID
    evaluation_id: UUID
    previous_id: UUID | None
    due_at: datetime
    next_due_at: datetime


class KeepRequest(msgspec.Struct, frozen=True):
    """Somebody asked for an evaluation now. Fails with `AlreadyReserved` while another request of the monitor waits."""

    evaluation_id: UUID
    monitor_id: UUID
    owner_id: UUID
    requested_at: datetime


class DropRequest(msgspec.Struct, frozen=True):
    """The evaluation somebody asked for can no longer be made."""

    evaluation_id: UUID


class KeepEvidence(msgspec.Struct, frozen=True):
    """Keep the content of a document by its hash, and its validators for the next conditional request."""

    monitor_id: UUID
    source_url: str
    document: Document


class KeepCredential(msgspec.Struct, frozen=True):
    """Keep the Argon2id hash of a password."""

    user_id: UUID
    password_hash: str
    changed_at: datetime


class KeepReceipt(msgspec.Struct, frozen=True):
    """Keep the answer to a command with an idempotency key; fails with `AlreadyAnswered` when there is one."""

    owner_id: UUID
    command_id: str
    fingerprint: bytes
    status: int
    answer: dict[str, Any]


Companion = (
    Reserve
    | Release
    | KeepSchedule
    | DropSchedule
    | CloseEvaluation
    | KeepRequest
    | DropRequest
    | KeepEvidence
    | KeepCredential
    | KeepReceipt
)
"""What is written with events or not at all."""


class Receipt(msgspec.Struct, frozen=True):
    """The answer that was given to a command, and the SHA-256 of the request it answered."""

    fingerprint: bytes
    status: int
    answer: dict[str, Any]


WAITING_REQUEST = "waiting-evaluation-request"
"""The scope of `AlreadyReserved` when a monitor has a request already that nobody has begun."""


class ConcurrentAppend(Exception):
    """Somebody appended to the stream first. Load it again and decide again."""


class AlreadyReserved(Exception):
    """The value is held by another stream."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(scope)


class QuotaExceeded(Exception):
    """The scope holds as many values as it may."""


class AlreadyAnswered(Exception):
    """A command with this idempotency key was carried out before."""


class EventStore(Protocol):
    """Streams of events, each with versions from 1 without gaps."""

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> list[StreamEvent]:
        """The events of a stream in order; an unknown stream is empty."""
        ...

    async def append(
        self, batch: Sequence[NewEvents], *, metadata: Metadata, companions: Sequence[Companion] = ()
    ) -> None:
        """Append the events of all streams and write the companions, all or nothing, durably.

        Raises `ConcurrentAppend`, `AlreadyReserved`, `QuotaExceeded`, `AlreadyAnswered`; then nothing was written.
        """
        ...

    async def find_receipt(self, owner_id: UUID, command_id: str) -> Receipt | None:
        """The answer this person's command was given, if it was carried out."""
        ...

    async def find_waiting_request(self, monitor_id: UUID) -> UUID | None:
        """The evaluation of this monitor that was asked for and not begun, if any."""
        ...
