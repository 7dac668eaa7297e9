"""Commands on signal sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec

from commands.caller import Caller
from commands.event_store import (
    Companion,
    DropSignalSource,
    KeepSignalSecret,
    PersonErased,
    QuotaExceeded,
    Receipt,
    Release,
    Reserve,
)
from commands.http.form import ErrorDetail
from commands.shell import IdempotentReplay, Shell, Written
from commands.streams import Aggregate
from domain import signal_source
from domain.signal_source import (
    OVERLAP_MAX,
    RegisteredSource,
    SignalSecretRotated,
    SignalSourceCreated,
    SignalSourceEvent,
    SignalSourceLimitExceeded,
    Terms,
)

SOURCE = Aggregate(initial=RegisteredSource(), evolve=signal_source.evolve)

SOURCES_MAX = 20
OVERLAP_DEFAULT = timedelta(days=1)


class OpenSource(msgspec.Struct, frozen=True, kw_only=True):
    """A signal source that takes signals: its owner, the secrets that are good now, and the active monitors that watch it."""

    owner_id: UUID
    secrets: tuple[str, ...]
    monitors: tuple[UUID, ...]


class KeptSignals(Protocol):
    """What is kept of signal sources beside their events."""

    async def open_source(self, source_id: UUID, *, now: datetime) -> OpenSource | None:
        """A signal source; None when no signals are taken there."""
        ...

    async def sealed(self, owner_id: UUID, source_id: UUID, secret_id: UUID, secret: str) -> bytes | None:
        """A secret as it is kept; None for somebody who was erased."""
        ...

    async def secret(self, secret_id: UUID) -> str | None:
        """A secret that is still kept."""
        ...

    async def note_refusal(self, source_id: UUID, reason: str, *, now: datetime) -> None:
        """A signal with a good signature was refused. `reason` holds nothing that its sender wrote."""
        ...


class SchemaMistake(msgspec.Struct, frozen=True):
    """What keeps a JSON value from being what a schema asks for: `detail` tells it to who sent it, `known_place` where it is
    in words of the schema alone: a JSON pointer (RFC 6901) with `*` for each name that the schema does not declare."""

    detail: ErrorDetail
    known_place: str = ""


class Schemas(Protocol):
    """JSON Schema."""

    def check(self, schema: str) -> None:
        """Raise `InvalidInput` for a schema nothing can be checked with."""
        ...

    def mistakes(self, schema: str, body: Any) -> Sequence[SchemaMistake]:  # noqa: ANN401  any JSON value
        """What keeps a JSON value from being what the schema asks for."""
        ...


@dataclass(frozen=True, slots=True)
class SignalSourceCommands:
    """The write side of signal sources. Secrets come in as arguments and are in no event and no receipt."""

    shell: Shell
    kept: KeptSignals
    schemas: Schemas

    async def create(
        self,
        caller: Caller,
        *,
        terms: Terms,
        secret: str,
        answer: Callable[[Written[RegisteredSource], str | None], Any],
    ) -> Written[RegisteredSource]:
        """A new signal source with this secret. `answer` tells of it with a secret or without; a repeated command is
        answered with its first secret, as long as that is kept."""
        try:
            await self.shell.refuse_repeated(caller)
            source_id, secret_id, now = self.shell.new_id(), self.shell.new_id(), self.shell.now()
            events = signal_source.create(terms, secret_id=secret_id, now=now)
            if terms.schema is not None:
                self.schemas.check(terms.schema)
            companions: list[Companion] = [
                Reserve(_place_scope(caller), str(source_id), source_id, SOURCES_MAX),
                await self._secret(caller, source_id, secret_id, secret, now, others_end_at=now),
            ]
            return await self.shell.create(
                caller,
                SOURCE,
                source_id,
                events,
                companions=companions,
                answer=lambda written: answer(written, None),
            )
        except QuotaExceeded:
            raise SignalSourceLimitExceeded from None
        except IdempotentReplay as replay:
            raise await self._again(replay.receipt) from None

    async def revise(
        self,
        caller: Caller,
        source_id: UUID,
        terms_of: Callable[[Terms], Terms],
        *,
        if_version: int | None,
    ) -> Written[RegisteredSource]:
        """Change what is said about it."""
        now = self.shell.now()

        def decide(present: RegisteredSource) -> list[SignalSourceEvent]:
            terms = terms_of(present.current)
            events = signal_source.revise(present, terms, now=now)
            if terms.schema is not None and terms.schema != present.current.schema:
                self.schemas.check(terms.schema)
            return events

        return await self.shell.change(caller, SOURCE, source_id, decide, if_version=if_version)

    async def rotate(
        self, caller: Caller, source_id: UUID, *, secret: str, overlap: timedelta, if_version: int | None
    ) -> Written[RegisteredSource]:
        """Sign with this secret from now on; the one before stays good for `overlap`, any older one ends."""
        now, secret_id = self.shell.now(), self.shell.new_id()
        try:
            await self.shell.refuse_repeated(caller)
            end_at = now + min(max(overlap, timedelta()), OVERLAP_MAX)  # another overlap is refused below
            keep = await self._secret(caller, source_id, secret_id, secret, now, others_end_at=end_at)
            return await self.shell.change(
                caller,
                SOURCE,
                source_id,
                lambda present: signal_source.rotate(present, secret_id=secret_id, overlap=overlap, now=now),
                if_version=if_version,
                companions=lambda _before, _after: [keep],
            )
        except IdempotentReplay as replay:
            raise await self._again(replay.receipt) from None

    async def delete(self, caller: Caller, source_id: UUID, *, if_version: int | None) -> Written[RegisteredSource]:
        """Take no more signals there. What came stays in the history of its monitors."""
        now = self.shell.now()
        return await self.shell.change(
            caller,
            SOURCE,
            source_id,
            lambda present: signal_source.delete(present, now=now),
            if_version=if_version,
            companions=lambda _before, _after: [
                Release(_place_scope(caller), str(source_id)),
                DropSignalSource(source_id),
            ],
            status=204,
        )

    async def _secret(
        self, caller: Caller, source_id: UUID, secret_id: UUID, secret: str, now: datetime, *, others_end_at: datetime
    ) -> KeepSignalSecret:
        sealed = await self.kept.sealed(caller.user_id, source_id, secret_id, secret)
        if sealed is None:
            raise PersonErased
        return KeepSignalSecret(secret_id, source_id, caller.user_id, sealed, now, others_end_at)

    async def _again(self, receipt: Receipt) -> IdempotentReplay:
        """The first answer with its secret, which no receipt holds."""
        for stored in await self.shell.store.load(receipt.stream_id):
            match stored.event:
                case SignalSourceCreated(secret_id=secret_id) if stored.version == receipt.version:
                    answered = {**(receipt.answer or {}), "secret": await self.kept.secret(secret_id)}
                    return IdempotentReplay(msgspec.structs.replace(receipt, answer=answered))
                case SignalSecretRotated(secret_id=secret_id) if stored.version == receipt.version:
                    answered = {
                        "id": receipt.stream_id,
                        "secret": await self.kept.secret(secret_id),
                        "older_valid_until": stored.event.overlap_ends_at,
                        "version": receipt.version,
                    }
                    return IdempotentReplay(msgspec.structs.replace(receipt, answer=answered))
                case _:
                    pass
        return IdempotentReplay(receipt)


def _place_scope(caller: Caller) -> str:
    return f"signal-source:{caller.user_id}"
