"""The signal aggregate: one message from outside.

Each signal is a stream of its own whose id follows from its source and its sender's id for it, so that the same one is
received once however often it comes.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from domain.event import Event, stored_as
from domain.personal_data import Personal


@stored_as("signal.received", personal={"webhook_id": Personal.TEXT, "body": Personal.TEXT})
class SignalReceived(Event, frozen=True, kw_only=True):
    """A signal came, and asked for these evaluations. `webhook_id` and `sent_at` are its sender's; `body` is JSON text."""

    source_id: UUID
    webhook_id: str
    body: str
    evaluations: tuple[UUID, ...]
    sent_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal as its one event tells it."""

    received: SignalReceived | None = None


def evolve(_signal: Signal, event: SignalReceived) -> Signal:
    """The signal after `event`."""
    return Signal(received=event)


def signal_id(source_id: UUID, webhook_id: str) -> UUID:
    """The id of a signal: what a sender sends twice under one id is one signal (RFC 9562, version 5)."""
    return uuid5(source_id, webhook_id)


def evaluation_of(monitor_id: UUID, signal_id: UUID) -> UUID:
    """The id of the evaluation that a signal asks for of a monitor."""
    return uuid5(monitor_id, str(signal_id))
