"""The port to the event store, and what may be written in one transaction with events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.evaluation import Previous
from domain.event import Metadata, NewEvents, StreamEvent
from domain.evidence import Document, Reading
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
    """From now on the monitor is due after `schedule`, first at `due_at`, and, while it is active, at each signal of these
    signal sources."""

    monitor_id: UUID
    owner_id: UUID
    schedule: Schedule
    active: bool
    due_at: datetime
    signals: tuple[UUID, ...] = ()


class DropSchedule(msgspec.Struct, frozen=True):
    """The monitor is never due again."""

    monitor_id: UUID


class CloseEvaluation(msgspec.Struct, frozen=True):
    """An evaluation is done: if it was the slot `due_at`, the next is `next_due_at`, handed out at `next_ready_at`; if it was
    asked for, the request is fulfilled. Fails with `ConcurrentAppend` unless the monitor's last evaluation is still `previous_id`."""

    monitor_id: UUID
    evaluation_id: UUID
    previous_id: UUID | None
    leaves: Previous
    due_at: datetime
    next_due_at: datetime
    next_ready_at: datetime


class KeepRequest(msgspec.Struct, frozen=True):
    """Somebody asked for an evaluation now. Fails with `AlreadyReserved` while another request of the monitor waits. With
    `signal_id` that signal asked: each one is evaluated, in the order they came, however many wait."""

    evaluation_id: UUID
    monitor_id: UUID
    owner_id: UUID
    requested_at: datetime
    signal_id: UUID | None = None


class DropRequest(msgspec.Struct, frozen=True):
    """The evaluation somebody asked for can no longer be made."""

    evaluation_id: UUID


class KeepSignalSecret(msgspec.Struct, frozen=True):
    """From now on signals are taken that are signed with this secret, sealed for its owner, also with the newest before it
    until `others_end_at`, and with none before that."""

    secret_id: UUID
    source_id: UUID
    owner_id: UUID
    sealed: bytes
    made_at: datetime
    others_end_at: datetime


class DropSignalSource(msgspec.Struct, frozen=True):
    """No more signals are taken there; its secrets are gone."""

    source_id: UUID


class KeepLastSignal(msgspec.Struct, frozen=True):
    """This is the last signal of its source, unless a later one was. Fails with `ConcurrentAppend` when the source is gone."""

    source_id: UUID
    signal_id: UUID
    received_at: datetime


class KeepEvidence(msgspec.Struct, frozen=True):
    """Keep the content of a document by its hash, its validators for the next conditional request, and what was read from
    it for as long as it stays."""

    monitor_id: UUID
    source_url: str
    document: Document
    reading: Reading | None = None


class KeepCredential(msgspec.Struct, frozen=True):
    """Keep the Argon2id hash of a password."""

    user_id: UUID
    password_hash: str
    changed_at: datetime


class Receipt(msgspec.Struct, frozen=True):
    """What a command led to: the SHA-256 of its request, the status of its answer, the stream and version it wrote or
    found, and the answer's data: None when there is none to give (204), or none was given so far."""

    fingerprint: bytes
    status: int
    stream_id: UUID
    version: int
    answer: dict[str, Any] | None = None


class KeepReceipt(msgspec.Struct, frozen=True):
    """Keep what a command with an idempotency key led to; fails with `AlreadyAnswered` when there is a receipt for it."""

    owner_id: UUID
    command_id: str
    receipt: Receipt


class ErasePerson(msgspec.Struct, frozen=True):
    """Destroy the person's key, and everything that is kept of them beside their events."""

    user_id: UUID


Companion = (
    Reserve
    | Release
    | KeepSchedule
    | DropSchedule
    | CloseEvaluation
    | KeepRequest
    | DropRequest
    | KeepSignalSecret
    | DropSignalSource
    | KeepLastSignal
    | KeepEvidence
    | KeepCredential
    | KeepReceipt
    | ErasePerson
)
"""What is written with events or not at all."""


WAITING_REQUEST = "waiting-evaluation-request"
"""The scope of `AlreadyReserved` when a monitor has a request already that nobody has begun."""


class ConcurrentAppend(Exception):
    """Somebody appended to the stream first. Load it again and decide again."""


class AlreadyReserved(Exception):
    """The value is held by another stream."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(scope)


class PersonErased(Exception):
    """The person was erased; nothing more is kept for them."""


class QuotaExceeded(Exception):
    """The scope holds as many values as it may."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(scope)


class AlreadyAnswered(Exception):
    """A command with this idempotency key was carried out before."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a stream after its event `event_id`, which has this `version` in it.

    `state` is JSON; `shape` says which programs can read it.
    """

    stream_id: UUID
    owner_id: UUID
    version: int
    event_id: UUID
    shape: str
    state: bytes


class EventStore(Protocol):
    """Streams of events, each with versions from 1 without gaps."""

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> list[StreamEvent]:
        """The events of a stream in order; an unknown stream is empty."""
        ...

    async def load_since_snapshot(
        self, stream_id: UUID, *, shape: str
    ) -> tuple[Snapshot | None, Sequence[StreamEvent]]:
        """The snapshot of this shape and the events after it; without one that can be trusted, all events.

        One is trusted when the stream has the very event it was made after: a restored store may have another.
        """
        ...

    async def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of an older one of its stream; a store may also not keep it."""
        ...

    async def append(
        self, batch: Sequence[NewEvents], *, metadata: Metadata, companions: Sequence[Companion] = ()
    ) -> None:
        """Append the events of all streams and write the companions, all or nothing, durably.

        Raises `ConcurrentAppend`, `AlreadyReserved`, `QuotaExceeded`, `AlreadyAnswered`, `PersonErased`; then nothing was
        written.
        """
        ...

    async def find_receipt(self, owner_id: UUID, command_id: str) -> Receipt | None:
        """What this person's command led to, if it was carried out."""
        ...

    async def complete_receipt(self, owner_id: UUID, command_id: str, answer: dict[str, Any]) -> bool:
        """Keep the answer of a command whose receipt has none; False when it has one, which stays."""
        ...

    async def is_erased(self, owner_id: UUID) -> bool:
        """Whether this person was erased."""
        ...

    async def reserved(self, scope: str, values: Sequence[str]) -> frozenset[str]:
        """Which of these values are held within `scope`."""
        ...

    async def find_waiting_request(self, monitor_id: UUID) -> UUID | None:
        """The evaluation of this monitor that was asked for and not begun, if any."""
        ...
