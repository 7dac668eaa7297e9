"""Taking signals from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.event_store import Companion, ConcurrentAppend, KeepLastSignal, KeepRequest, PersonErased
from commands.http.form import ErrorDetail, RequestInvalid
from commands.shell import Shell
from commands.signal_signature import SignatureRefused, Signed, key_of, read_signed
from commands.signals import SOURCE, KeptSignals, OpenSource, SchemaMistake, Schemas
from commands.streams import Aggregate, load
from domain import signal
from domain.evaluation import EvaluationRequested
from domain.event import Metadata, NewEvents
from domain.signal import Signal, SignalReceived

SIGNAL = Aggregate(initial=Signal(), evolve=signal.evolve)

REASON_CHARS_MAX = 200
PER_SECOND, BURST = 10.0, 100
"""How many signals a source takes: each may ask for as many evaluations as there are monitors that watch it."""


class SignalsTooMany(Exception):
    """This signal source takes fewer signals in so short a time; the next one in `wait_seconds`."""

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = wait_seconds
        super().__init__()


class NotJson(Exception):
    """The signal does not call itself JSON."""


class Pace(Protocol):
    """How often something may happen."""

    async def take(self, key: str, *, per_second: float, burst: int) -> float:
        """0 when it may happen now, else in how many seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """A signal that was taken: its id, what is known of it, and whether it had come before."""

    id: UUID
    event: SignalReceived
    again: bool


@dataclass(frozen=True, slots=True)
class SignalReceiver:
    """Takes signals from outside: who has a secret may send, nobody else learns even that there is a source."""

    shell: Shell
    kept: KeptSignals
    schemas: Schemas
    pace: Pace

    async def receive(
        self, source_id: UUID, headers: Mapping[str, str], body: bytes, *, is_json: bool, correlation_id: UUID
    ) -> Received:
        """Take a signal, once: one that came before is answered as it was then, and asks for nothing.

        Raises `SignatureRefused`, then `SignalsTooMany`, then `NotJson` and `RequestInvalid` with what is wrong in it."""
        now = self.shell.now()
        signed = read_signed(headers, now=now)
        source = await self.kept.open_source(source_id, now=now)
        if source is None or not signed.is_by(map(key_of, source.secrets), body):
            raise SignatureRefused
        wait_seconds = await self.pace.take(f"signal:{source_id}", per_second=PER_SECOND, burst=BURST)
        if wait_seconds > 0:
            await self.kept.note_refusal(source_id, "too many in too short a time", now=now)
            raise SignalsTooMany(wait_seconds)
        if not is_json:
            await self.kept.note_refusal(source_id, "the Content-Type is not application/json", now=now)
            raise NotJson
        await self._refuse_wrong(source_id, body, now)
        return await self._keep(source_id, source, signed, body.decode(), correlation_id, now)

    async def _refuse_wrong(self, source_id: UUID, body: bytes, now: datetime) -> None:
        mistakes: Sequence[SchemaMistake] = _mistakes_of_json(body)
        if not mistakes:
            terms = (await load(self.shell.store, SOURCE, source_id)).state.terms
            schema = None if terms is None else terms.schema
            mistakes = [] if schema is None else self.schemas.mistakes(schema, msgspec.json.decode(body))
        if mistakes:
            first = mistakes[0]
            told = f"{first.detail.issue} at {first.known_place}" if first.known_place else first.detail.issue
            # A schema may declare names that hold anything, also NUL.
            reason = "".join(char if char.isprintable() else "?" for char in told[:REASON_CHARS_MAX])
            await self.kept.note_refusal(source_id, reason, now=now)
            raise RequestInvalid([mistake.detail for mistake in mistakes])

    async def _keep(
        self, source_id: UUID, source: OpenSource, signed: Signed, body: str, correlation_id: UUID, now: datetime
    ) -> Received:
        signal_id = signal.signal_id(source_id, signed.webhook_id)
        evaluations = {signal.evaluation_of(monitor_id, signal_id): monitor_id for monitor_id in source.monitors}
        received = SignalReceived(
            source_id=source_id,
            webhook_id=signed.webhook_id,
            body=body,
            evaluations=tuple(evaluations),
            sent_at=signed.sent_at,
            received_at=now,
        )
        batch = [_first(signal_id, source.owner_id, received)]
        companions: list[Companion] = [KeepLastSignal(source_id, signal_id, now)]
        for evaluation_id, monitor_id in evaluations.items():
            requested = EvaluationRequested(monitor_id=monitor_id, requested_at=now, signal_id=signal_id)
            batch.append(_first(evaluation_id, source.owner_id, requested))
            companions.append(KeepRequest(evaluation_id, monitor_id, source.owner_id, now, signal_id))
        context = Metadata(correlation_id=correlation_id, actor="signal")
        try:
            await self.shell.store.append(batch, metadata=context, companions=companions)
        except ConcurrentAppend:
            known = (await load(self.shell.store, SIGNAL, signal_id)).state.received
            if known is None:  # the source was deleted at this moment
                raise SignatureRefused from None
            return Received(signal_id, known, again=True)
        except PersonErased:
            raise SignatureRefused from None
        return Received(signal_id, received, again=False)


def _first(stream_id: UUID, owner_id: UUID, event: SignalReceived | EvaluationRequested) -> NewEvents:
    return NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=0, events=(event,))


def _mistakes_of_json(body: bytes) -> list[SchemaMistake]:
    """Why a body is not JSON that can be kept (RFC 8259)."""
    try:
        msgspec.json.decode(body)
    except RecursionError:
        return [SchemaMistake(ErrorDetail(field=None, issue="depth", message="the body is nested too deeply"))]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).removeprefix("JSON is malformed: ").partition(" - at `$")[0]
        message = f"the body is not valid JSON (RFC 8259): {reason}"
        return [SchemaMistake(ErrorDetail(field=None, issue="json", message=message))]
    return []
