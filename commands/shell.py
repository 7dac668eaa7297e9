"""The generic shell around every decision: load the stream, decide, append with the expected version.

This is the whole application layer of the write side; what differs between commands are the pure decisions in `domain`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import msgspec

from commands.event_store import (
    AlreadyAnswered,
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    EventStore,
    KeepReceipt,
    Receipt,
)
from commands.http.caller import Caller
from commands.streams import Aggregate, load_own
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
    """The command was carried out before; its first answer is in `receipt`."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        super().__init__()


class IdempotencyKeyReused(RuleViolation):
    """The Idempotency-Key was used for another request. Make a new key for each command."""

    code = "IDEMPOTENCY_KEY_REUSED"


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
        await self.refuse_repeated(caller)
        state = aggregate.fold(events)
        written = Written(stream_id=stream_id, state=state, version=len(events), events=tuple(events))
        receipt = _receipt(caller, answer(written), status)
        new = NewEvents(stream_id=stream_id, owner_id=caller.user_id, expected_version=0, events=written.events)
        try:
            await self.store.append([new], metadata=caller.metadata(), companions=[*receipt, *companions])
        except (AlreadyAnswered, AlreadyReserved):
            await self.refuse_repeated(caller)
            raise
        return written

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
        companions: Callable[[S, S], Sequence[Companion]] = lambda _before, _after: (),
    ) -> Written[S]:
        """Decide on a stream the caller owns and append the outcome; decides again when somebody was faster.

        Raises `NotFound`, `StaleVersion` when `if_version` is not the present version, and what `decide` raises.
        """
        for _ in range(ATTEMPTS_MAX):
            loaded = await load_own(self.store, aggregate, stream_id, caller.user_id)
            if if_version is not None and if_version != loaded.version:
                raise StaleVersion
            events = decide(loaded.state)
            if not events:
                return Written(stream_id=stream_id, state=loaded.state, version=loaded.version, events=())
            after = aggregate.fold(events, loaded.state)
            new = NewEvents(
                stream_id=stream_id,
                owner_id=caller.user_id,
                expected_version=loaded.version,
                events=tuple(events),
            )
            try:
                await self.store.append([new], metadata=caller.metadata(), companions=companions(loaded.state, after))
            except ConcurrentAppend:
                continue
            version = loaded.version + len(events)
            return Written(stream_id=stream_id, state=after, version=version, events=new.events)
        raise ConcurrentAppend


def _receipt(caller: Caller, answer: Any, status: int) -> list[KeepReceipt]:  # noqa: ANN401  any struct
    if caller.command_id is None:
        return []
    kept = cast("dict[str, Any]", msgspec.to_builtins(answer))
    return [
        KeepReceipt(
            owner_id=caller.user_id,
            command_id=caller.command_id,
            fingerprint=caller.fingerprint,
            status=status,
            answer=kept,
        )
    ]
