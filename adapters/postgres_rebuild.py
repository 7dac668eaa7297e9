"""Making the read tables again from the log, beside live traffic: to take the place of the live ones, or to compare.

Everything that needs the owner of the tables goes through the pool that is given here.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import LiteralString

import msgspec
import psycopg

from adapters.audited_acts import Record, unrecorded
from adapters.postgres_checkpoints import ALL, places_of
from adapters.postgres_drift import TableDrift, compare
from adapters.postgres_exchange import exchange, hold_live, return_to_previous
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Connection, Pool
from adapters.postgres_read_tables import LIVE, OpenEntries, as_they_are
from adapters.postgres_replay import Ranges, Replay, ReplayOvertaken
from adapters.postgres_shadow import Shadow
from domain.crash_points import CrashPoint, reached
from projections.projection import CannotApply, Projection

Goals = Callable[[], Awaitable[Mapping[int, int]]]

SHADOW, CHECKED = "read_model_next", "read_model_check"
WORKERS = 2
"""Partitions share no rows, so several connections write at once; more than the server has processors gain nothing."""
BATCH_ENTRIES = 10_000
"""Events in a transaction of a worker: less than half a second. Until it ends nothing that was appended meanwhile is
sequenced; half as many cost 7 % more time, twice as many gain nothing."""
BATCH_SECONDS_THROTTLED = 0.25
"""So much of what a throttle lets through in a second goes in one step; the rest of the time is a pause."""
CLOSE_ENOUGH_ENTRIES = 500
"""So few entries behind, the rest is replayed while the live projector waits."""

_ALONE = "select pg_try_advisory_lock(hashtextextended(%s, 0))"
_NOT_ALONE = "select pg_advisory_unlock(hashtextextended(%s, 0))"
_WHO = """
select l.pid from pg_locks l, hashtextextended(%s, 0) as key
where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.database = (
    select oid from pg_database where datname = current_database()
) and (l.classid::bigint << 32 | l.objid::bigint) = key
"""


class RebuildRefused(Exception):
    """It cannot be done now; the message says what would cure it."""


class RebuildProgress(msgspec.Struct, frozen=True):
    """How far it is: events replayed of the events there are, and what it is doing."""

    done: int
    total: int
    phase: str


class Comparison(msgspec.Struct, frozen=True):
    """Live tables compared with the log they were made from, at places that are `events` in all."""

    events: int
    tables: tuple[TableDrift, ...]

    @property
    def is_right(self) -> bool:
        """Whether no row differs."""
        return not any(table.differing for table in self.tables)


class Rebuild:
    """What is done to a projection from outside: one of it at a time, on a database."""

    def __init__(
        self,
        pool: Pool,
        projection: Projection,
        log: PostgresLog,
        *,
        open_entries: OpenEntries = as_they_are,
        events_per_second_max: int | None = None,
    ) -> None:
        """`open_entries` gives what is sealed or archived; `events_per_second_max` leaves the rest to live traffic."""
        self._pool = pool
        self._projection = projection
        self._log = log
        self._open_entries = open_entries
        self._events_per_second_max = events_per_second_max

    async def run(self, *, record: Record[int] = unrecorded) -> AsyncGenerator[RebuildProgress, None]:
        """Rebuild, telling progress after each step; at the end the new tables are the live ones and the old ones stay as
        `read_model_previous`. `record` gets the number of events.

        Killed at any moment and started again, it goes on where it was. Raises `RebuildRefused`, `LogIncomplete`."""
        shadow = Shadow(self._projection, SHADOW, f"{self._projection.name}.rebuild")
        async with self._alone():
            async with self._pool.connection() as connection:
                await shadow.prepare(connection)
            async for progress in self._catch_up(shadow, self._heads):
                yield progress
            total = sum((await self._heads()).values())
            yield RebuildProgress(total, total, "switching")
            async with self._pool.connection() as connection, connection.transaction():
                live = await hold_live(connection, self._projection)
                await self._reach(connection, shadow, live)
                total = sum(live.values())
                if not await shadow.is_like_live(connection):
                    raise RebuildRefused("a migration changed the live tables meanwhile; start the rebuild again")
                reached(CrashPoint.REBUILD_BEFORE_SWITCH)
                await exchange(connection, self._projection, shadow, live)
                await record(total)
        yield RebuildProgress(total, total, "switched")

    async def verify(
        self, *, told: Callable[[RebuildProgress], object] = lambda _progress: None, examples_max: int = 20
    ) -> Comparison:
        """Replay beside the live tables and compare with them where both are at the same places. Changes nothing, and
        leaves nothing behind. Raises as `run` does."""
        shadow = Shadow(self._projection, CHECKED, f"{self._projection.name}.verify")
        async with self._alone():
            try:
                async with self._pool.connection() as connection:
                    await shadow.begin(connection, complete=False)
                async for progress in self._catch_up(shadow, self._live_places):
                    told(progress)
                return await self._compare(shadow, told, examples_max)
            finally:
                async with self._pool.connection() as connection:
                    await shadow.discard(connection)

    async def roll_back(self, *, record: Callable[[], Awaitable[object]] = unrecorded) -> None:
        """Exchange the live tables for those from before the last rebuild, with the places that each have come to; the
        projector goes on from there. Done twice, it changes nothing. Raises `RebuildRefused`."""
        async with self._alone(), self._pool.connection() as connection, connection.transaction():
            obstacle = await return_to_previous(connection, self._projection)
            if obstacle is not None:
                raise RebuildRefused(obstacle)
            await record()

    async def _catch_up(self, shadow: Shadow, goals_of: Goals) -> AsyncGenerator[RebuildProgress, None]:
        """Replay until there is next to nothing left, make the keys that are missing, and replay what came meanwhile."""
        replay = Replay(self._projection, shadow, open_entries=self._open_entries)
        while True:
            goals, places, complete = await goals_of(), *await self._state(shadow)
            total = sum(goals.values())
            left = sum(max(0, goals[p] - places[p]) for p in goals)
            if left <= CLOSE_ENOUGH_ENTRIES and complete:
                return
            if left > CLOSE_ENOUGH_ENTRIES:
                async with self._throttled(left):
                    replayed = await self._replay(replay, places, goals, may_park=complete)
                if replayed is None:
                    # What the tables refuse can be told from what only refers to it when all keys are there.
                    await self._complete(shadow)
                    continue
                reached(CrashPoint.REBUILD_BETWEEN_BATCHES)
                left -= replayed
                yield RebuildProgress(total - left, total, "replaying")
            else:
                yield RebuildProgress(total - left, total, "making indexes")
                await self._complete(shadow)

    async def _state(self, shadow: Shadow) -> tuple[dict[int, int], bool]:
        async with self._pool.connection() as connection:
            return await shadow.places(connection), await shadow.is_complete(connection)

    async def _replay(
        self, replay: Replay, places: Mapping[int, int], goals: Mapping[int, int], *, may_park: bool
    ) -> int | None:
        """Replay a batch with each worker; how many events they were, None when one was refused and may not be parked."""
        events = BATCH_ENTRIES
        if self._events_per_second_max is not None:
            events = min(events, max(1, round(self._events_per_second_max * BATCH_SECONDS_THROTTLED / WORKERS)))

        async def work(worker: int) -> int:
            own = {p: goal for p, goal in goals.items() if p % WORKERS == worker}
            async with self._pool.connection() as connection:
                ranges = await replay.next_ranges(connection, places, own, events=events * WORKERS)
                if ranges:
                    await replay.replay(connection, ranges, may_park=may_park)
            return _size(ranges)

        try:
            async with asyncio.TaskGroup() as workers:
                tasks = [workers.create_task(work(worker)) for worker in range(WORKERS)]
        except ExceptionGroup as group:
            worst = next((error for error in group.exceptions if not isinstance(error, CannotApply)), None)
            if isinstance(worst, ReplayOvertaken):
                raise RebuildRefused(f"{worst}; wait until that has ended") from None
            if worst is not None:
                raise worst from None
            return None
        return sum(task.result() for task in tasks)

    async def _complete(self, shadow: Shadow) -> None:
        """Make the keys that are missing. Where rows refer to what is not there everything is begun anew with the keys, so
        that the events which would have been refused are told from the others."""
        async with self._pool.connection() as connection:
            try:
                await shadow.complete(connection)
            except psycopg.errors.ForeignKeyViolation:
                await shadow.begin(connection, complete=True)

    async def _reach(self, connection: Connection, shadow: Shadow, goals: Mapping[int, int]) -> None:
        """Replay up to exactly these places, with somebody waiting."""
        replay = Replay(self._projection, shadow, open_entries=self._open_entries)
        while ranges := await replay.next_ranges(
            connection, await shadow.places(connection), goals, events=BATCH_ENTRIES
        ):
            await replay.replay(connection, ranges, may_park=True)

    async def _compare(
        self, shadow: Shadow, told: Callable[[RebuildProgress], object], examples_max: int
    ) -> Comparison:
        """Compare in a snapshot that is taken while the live projector waits at the places the shadow has reached; it goes
        on while the comparison runs."""
        async with self._pool.connection() as reading:
            async with self._pool.connection() as holding, holding.transaction():
                live = await hold_live(holding, self._projection)
                await self._reach(reading, shadow, live)
                await reading.execute("begin isolation level repeatable read read only")
                await reading.execute("select")
            total = sum(live.values())
            told(RebuildProgress(total, total, "comparing"))
            try:
                tables = await compare(reading, live=LIVE, replayed=shadow.schema, examples_max=examples_max)
            finally:
                await reading.execute("rollback")
        return Comparison(events=total, tables=tuple(tables))

    async def _heads(self) -> dict[int, int]:
        return dict(enumerate(await self._log.places()))

    async def _live_places(self) -> dict[int, int]:
        async with self._pool.connection() as connection:
            return dict.fromkeys(ALL, 0) | await places_of(connection, self._projection.name)

    @asynccontextmanager
    async def _throttled(self, left: int) -> AsyncIterator[None]:
        """Take as long for a step as the throttle says."""
        clock = asyncio.get_running_loop()
        began = clock.time()
        yield
        if self._events_per_second_max is not None:
            events = min(left, self._events_per_second_max * BATCH_SECONDS_THROTTLED)
            await asyncio.sleep(max(0.0, events / self._events_per_second_max - (clock.time() - began)))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Let nobody else rebuild, verify or roll back this projection; the lock ends with this process, however it ends."""
        name = f"vigil rebuild {self._projection.name}"
        async with self._pool.connection() as connection:
            if await _value(connection, _ALONE, name) is not True:
                raise RebuildRefused(
                    f"a rebuild, verification or rollback of {self._projection.name} runs already: wait for it, or stop it"
                    f" where it runs (on the database: select pg_terminate_backend({await _value(connection, _WHO, name)}))"
                )
            try:
                yield
            finally:
                if not connection.closed:
                    await _value(connection, _NOT_ALONE, name)


def _size(ranges: Ranges) -> int:
    return sum(until - after for after, until in ranges.values())


async def _value(connection: Connection, query: LiteralString, name: str) -> object:
    row = await (await connection.execute(query, (name,))).fetchone()
    return row[0] if row else None
