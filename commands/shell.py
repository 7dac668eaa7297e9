"""The generic shell around every decision: load the stream, decide, append with the expected version.

This is the whole application layer of the write side; what differs between commands are the pure decisions in `domain`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import msgspec

from commands.caller import Caller
from commands.event_store import (
    AlreadyAnswered,
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    EventStore,
    KeepReceipt,
    QuotaExceeded,
    Receipt,
)
from commands.streams import Aggregate, Loaded, load_own
from domain.crash_points import CrashPoint, reached
from domain.errors import RuleViolation, StaleVersion
from domain.event import Event, NewEvents

S = TypeVar("S")

ATTEMPTS_MAX = 5
"""How often a decision is made again when somebody else appended first."""


@dataclass(frozen=True, slots=True)
class Written(Generic[S]):
    """What a command led to: the new state and version, and the events between (none: there was nothing to do)."""

    stream_id: UUID
    state: S
    version: int
    events: tuple[Event, ...]


class IdempotentReplay(Exception):
    """The command was carried out before; `receipt` tells what it led to, and its first answer if one was given."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        super().__init__()


class IdempotencyKeyReused(RuleViolation):
    """The Idempotency-Key was used for another request. Make a new key for each command."""

    code = "IDEMPOTENCY_KEY_REUSED"


_PERHAPS_ITS_TWIN = (AlreadyAnswered, AlreadyReserved, ConcurrentAppend, QuotaExceeded, RuleViolation)
"""How a command fails that was sent twice at the same moment and overtaken by itself."""


@dataclass(frozen=True, slots=True)
class Shell:
    """Carries out decisions for callers."""

    store: EventStore
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def create(
        self,
        caller: Caller,
        aggregate: Aggregate[S],
        stream_id: UUID,
        events: Sequence[Event],
        *,
        companions: Sequence[Companion] = (),
        answer: Callable[[Written[S]], Any],
        status: int = 201,
    ) -> Written[S]:
        """Start a stream. With an idempotency key the answer is kept with the events, and a repeated command raises
        `IdempotentReplay` with it, also when both arrive at the same moment."""
        state = aggregate.fold(events)
        written = Written(stream_id=stream_id, state=state, version=len(events), events=tuple(events))
        receipt = _receipt(caller, written, status, answer(written))
        new = NewEvents(stream_id=stream_id, owner_id=caller.user_id, expected_version=0, events=written.events)
        try:
            await self.store.append([new], metadata=caller.metadata(), companions=[*receipt, *companions])
            reached(CrashPoint.API_AFTER_COMMIT)
        except _PERHAPS_ITS_TWIN:
            await self.refuse_repeated(caller)
            raise
        return written

    async def keep_as_it_is(
        self, caller: Caller, written: Written[S], *, answer: Callable[[Written[S]], Any], status: int
    ) -> Written[S]:
        """End a command that found what it asks for done already. With an idempotency key that is kept too, because the
        same command may come again when it is no longer so."""
        if receipt := _receipt(caller, written, status, answer(written)):
            try:
                await self.store.append([], metadata=caller.metadata(), companions=receipt)
            except AlreadyAnswered:
                await self.refuse_repeated(caller)
                raise
        return written

    async def keep_answer(self, caller: Caller, answer: Any) -> None:  # noqa: ANN401  any struct
        """Keep the answer to a change before it is given, so that the same command gets the very same again. Raises
        `IdempotentReplay` when the same command, sent at the same moment, kept another one first."""
        if caller.command_id is None:
            return
        kept = cast("dict[str, Any]", msgspec.to_builtins(answer))
        if not await self.store.complete_receipt(caller.user_id, caller.command_id, kept):
            await self.refuse_repeated(caller)

    async def refuse_repeated(self, caller: Caller) -> None:
        """Raise `IdempotentReplay` when this command was carried out before, `IdempotencyKeyReused` when another was."""
        if caller.command_id is None:
            return
        receipt = await self.store.find_receipt(caller.user_id, caller.command_id)
        if receipt is None:
            return
        if receipt.fingerprint != caller.fingerprint:
            raise IdempotencyKeyReused
        raise IdempotentReplay(receipt)

    async def change(
        self,
        caller: Caller,
        aggregate: Aggregate[S],
        stream_id: UUID,
        decide: Callable[[S], Sequence[Event]],
        *,
        if_version: int | None = None,
        present: Loaded[S] | None = None,
        companions: Callable[[S, S], Sequence[Companion]] = lambda _before, _after: (),
        status: int = 200,
    ) -> Written[S]:
        """Decide on a stream the caller owns and append the outcome; decides again when somebody was faster. `present` is
        the stream as it was just loaded, if it was.

        With an idempotency key a receipt is kept with the events, and a repeated command raises `IdempotentReplay`. Its
        answer is what the read tables tell afterwards: whoever makes it has `keep_answer` keep it (204 has none).

        Raises `NotFound`, `StaleVersion` when `if_version` is not the present version, and what `decide` raises.
        """
        await self.refuse_repeated(caller)
        try:
            return await self._change(caller, aggregate, stream_id, decide, if_version, present, companions, status)
        except _PERHAPS_ITS_TWIN:
            await self.refuse_repeated(caller)
            raise

    async def _change(
        self,
        caller: Caller,
        aggregate: Aggregate[S],
        stream_id: UUID,
        decide: Callable[[S], Sequence[Event]],
        if_version: int | None,
        present: Loaded[S] | None,
        companions: Callable[[S, S], Sequence[Companion]],
        status: int,
    ) -> Written[S]:
        for _ in range(ATTEMPTS_MAX):
            loaded = present or await load_own(self.store, aggregate, stream_id, caller.user_id)
            present = None  # it is older the next time
            if if_version is not None and if_version != loaded.version:
                raise StaleVersion
            events = tuple(decide(loaded.state))
            after, version = aggregate.fold(events, loaded.state), loaded.version + len(events)
            written = Written(stream_id=stream_id, state=after, version=version, events=events)
            if not events:
                return await self.keep_as_it_is(caller, written, answer=lambda _: None, status=status)
            new = NewEvents(
                stream_id=stream_id, owner_id=caller.user_id, expected_version=loaded.version, events=events
            )
            receipt = _receipt(caller, written, status, None)
            kept = [*receipt, *companions(loaded.state, after)]
            try:
                await self.store.append([new], metadata=caller.metadata(), companions=kept)
                reached(CrashPoint.API_AFTER_COMMIT)
            except ConcurrentAppend:
                continue
            return written
        raise ConcurrentAppend


def _receipt(caller: Caller, written: Written[Any], status: int, answer: Any) -> list[KeepReceipt]:  # noqa: ANN401  any struct or None
    if caller.command_id is None:
        return []
    receipt = Receipt(
        fingerprint=caller.fingerprint,
        status=status,
        stream_id=written.stream_id,
        version=written.version,
        answer=cast("dict[str, Any] | None", msgspec.to_builtins(answer)),
    )
    return [KeepReceipt(owner_id=caller.user_id, command_id=caller.command_id, receipt=receipt)]
