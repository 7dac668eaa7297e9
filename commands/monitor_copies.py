"""Commands that make monitors of what is there already: a fork of one, and imports of many."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from uuid import UUID

import msgspec

from commands.caller import Caller
from commands.monitors import MONITOR, MonitorCommands, NewMonitor
from commands.plan_compiler import Wish
from commands.shell import IdempotencyKeyReused, IdempotentReplay, Written
from commands.streams import load_own
from domain import monitor
from domain.errors import RuleViolation
from domain.monitor import Monitor
from domain.schedule import Every, Schedule

ENTRIES_MAX = 1_000
SPREAD_SECONDS_MAX = 3_600
"""How far the first evaluations of an import are spread at most: whoever imports wants to see something come of it."""
COMPILED_AT_ONCE = 5
"""Of an import: a model takes seconds for a prompt. More would take providers' limits, and places in the pool, from others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A monitor to be imported: where it stood in what was sent, and what it asks for (None: `refusals` say why there is
    nothing to ask for). `warnings` tell what could not be taken over."""

    place: str
    wish: Wish | None = None
    paused: bool = False
    refusals: tuple[RuleViolation, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of an entry: a monitor, or refusals."""

    entry: Entry
    monitor_id: UUID | None = None
    version: int = 0
    name: str | None = None
    refusals: tuple[RuleViolation, ...] = ()


class _Kept(msgspec.Struct, frozen=True):
    """What is kept with the receipt of an entry."""

    name: str


@dataclass(frozen=True, slots=True)
class MonitorCopies:
    """Makes monitors through the same compiler and under the same limits as creating them one by one."""

    monitors: MonitorCommands

    async def fork(
        self,
        caller: Caller,
        monitor_id: UUID,
        wish_of: Callable[[Monitor], Wish],
        *,
        keeps_plan: bool,
        answer: Callable[[Written[Monitor]], object],
    ) -> Written[Monitor]:
        """A new monitor like another one, with a state and a history of its own, made of the wish that comes of the other
        one's present state. One that `keeps_plan` gets the very plan. Raises `NotFound`, and what creating raises."""
        monitors = self.monitors
        await monitors.shell.refuse_repeated(caller)
        present = (await load_own(monitors.shell.store, MONITOR, monitor_id, caller.user_id)).state
        monitor.check_exists(present)
        wish = wish_of(present)
        if keeps_plan:
            await monitors.compiler.check(wish, owner_id=caller.user_id)
            plan = present.current_plan
        else:
            _, plan = await monitors.compiler.compile(wish, owner_id=caller.user_id)
        new = NewMonitor(
            name=present.name if wish.name is None else wish.name,
            prompt=wish.prompt,
            plan=plan,
            insists_on_name=wish.name is not None,
            forked_from=monitor_id,
        )
        return await monitors.start(caller, new, answer=answer)

    async def import_entries(
        self, caller: Caller, entries: Sequence[Entry], *, answer: Callable[[Sequence[Imported]], object]
    ) -> Sequence[Imported]:
        """Create a monitor of each entry that can be one. With an idempotency key each entry has one of its own, so that an
        import which broke off goes on where it was; one that was carried out raises `IdempotentReplay` with its answer."""
        shell = self.monitors.shell
        await shell.refuse_repeated(caller)
        done = await self._import_all(caller, entries)
        whole: Written[None] = Written(stream_id=caller.user_id, state=None, version=0, events=())
        await shell.keep_as_it_is(caller, whole, answer=lambda _: answer(done), status=200)
        return done

    async def _import_all(self, caller: Caller, entries: Sequence[Entry]) -> list[Imported]:
        """One after the other in their order, which decides on names and places, while the next ones are compiled."""
        parts = [(_part_of(caller, i), entry) for i, entry in enumerate(entries)]
        coming = (self._new(*part, i, len(parts)) for i, part in enumerate(parts))
        compiling: deque[asyncio.Task[NewMonitor | None]] = deque()
        done: list[Imported] = []
        try:
            for part in parts:
                compiling += map(asyncio.ensure_future, islice(coming, COMPILED_AT_ONCE - len(compiling)))
                done.append(await self._import(*part, compiling.popleft()))
        finally:
            for task in compiling:
                task.cancel()
            await asyncio.gather(*compiling, return_exceptions=True)
        return done

    async def _import(self, caller: Caller, entry: Entry, compiling: asyncio.Task[NewMonitor | None]) -> Imported:
        try:
            new = await compiling
            if new is None:
                return Imported(entry=entry, refusals=entry.refusals)
            written = await self.monitors.start(caller, new, answer=lambda written: _Kept(written.state.name))
        except IdempotentReplay as replay:
            kept = msgspec.convert(replay.receipt.answer, _Kept)
            receipt = replay.receipt
            return Imported(entry=entry, monitor_id=receipt.stream_id, version=receipt.version, name=kept.name)
        except IdempotencyKeyReused:
            raise
        except RuleViolation as refused:
            return Imported(entry=entry, refusals=(refused,))
        return Imported(entry=entry, monitor_id=written.stream_id, version=written.version, name=written.state.name)

    async def _new(self, caller: Caller, entry: Entry, index: int, of: int) -> NewMonitor | None:
        """The monitor that an entry is compiled into."""
        wish = entry.wish
        if wish is None:
            return None
        await self.monitors.shell.refuse_repeated(caller)
        name, plan = await self.monitors.compiler.compile(wish, owner_id=caller.user_id)
        return NewMonitor(
            name=name,
            prompt=wish.prompt,
            plan=plan,
            paused=entry.paused,
            first_look_after=spread(plan.schedule, index, of),
        )


def spread(schedule: Schedule, index: int, of: int) -> timedelta:
    """How long the `index`-th of so many new monitors waits for its first evaluation, less than its interval: all at once
    they would be a burst, then and at each interval after it."""
    span = min(schedule.seconds, SPREAD_SECONDS_MAX) if isinstance(schedule, Every) else SPREAD_SECONDS_MAX
    return timedelta(seconds=span * index / of)


def _part_of(caller: Caller, index: int) -> Caller:
    """The caller with a key of the entry's own, made of the import's."""
    if caller.command_id is None:
        return caller
    own = hashlib.sha256(f"{caller.command_id}\n{index}".encode()).hexdigest()
    return msgspec.structs.replace(caller, command_id=own)
