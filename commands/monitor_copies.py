"""Commands that make monitors of what is there already: a fork of one, and imports of many."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import msgspec

from commands.caller import Caller
from commands.monitors import MONITOR, MonitorCommands, NewMonitor
from commands.plan_compiler import Wish
from commands.shell import IdempotencyKeyReused, IdempotentReplay, Written
from commands.streams import load_own
from domain import monitor
from domain.errors import MonitorLimitExceeded, MonitorTotalExceeded, RuleViolation
from domain.monitor import Monitor
from domain.schedule import Every, Schedule

ENTRIES_MAX = 1_000
SPREAD_SECONDS_MAX = 3_600
"""How far the first evaluations of an import are spread at most: whoever imports wants to see something come of it."""


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
        """Create a monitor of each entry that can be one, one after the other: of a small budget, what is set aside for some
        would be missing for others. Once no place is left, nothing more is compiled. With an idempotency key each entry has
        one of its own, so that an import which broke off goes on where it was; one that was carried out raises
        `IdempotentReplay` with its answer."""
        shell = self.monitors.shell
        await shell.refuse_repeated(caller)
        met: set[type[RuleViolation]] = set()
        done: list[Imported] = []
        for i, entry in enumerate(entries):
            one = await self._import(_part_of(caller, i), entry, met, spread_over=(i, len(entries)))
            met |= {type(why) for why in one.refusals}
            done.append(one)
        whole: Written[None] = Written(stream_id=caller.user_id, state=None, version=0, events=())
        await shell.keep_as_it_is(caller, whole, answer=lambda _: answer(done), status=200)
        return done

    async def _import(
        self, caller: Caller, entry: Entry, met: Collection[type[RuleViolation]], *, spread_over: tuple[int, int]
    ) -> Imported:
        if entry.wish is None:
            return Imported(entry=entry, refusals=entry.refusals)
        try:
            await self.monitors.shell.refuse_repeated(caller)
            await self._check_place(caller, entry, entry.wish, met)
            name, plan = await self.monitors.compiler.compile(entry.wish, owner_id=caller.user_id)
            new = NewMonitor(
                name=name,
                prompt=entry.wish.prompt,
                plan=plan,
                paused=entry.paused,
                first_look_after=spread(plan.schedule, *spread_over),
            )
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

    async def _check_place(
        self, caller: Caller, entry: Entry, wish: Wish, met: Collection[type[RuleViolation]]
    ) -> None:
        """Raise the limit that entries before this one `met`, where it holds for this one, too: compiling it may be paid for.
        Its own mistakes come first, as if it was compiled. A paused one takes no place among the active ones."""
        for limit in (MonitorTotalExceeded, *(() if entry.paused else (MonitorLimitExceeded,))):
            if limit in met:
                await self.monitors.compiler.check(wish, owner_id=caller.user_id)
                raise limit


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
