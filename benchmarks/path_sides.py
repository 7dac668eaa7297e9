"""The two ends of the measured path: who appends at a steady rate, and who looks until each event is readable.

Both note moments of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

import msgspec
import psycopg
import uvloop
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool, open_pool
from domain.evaluation import EvaluationCompleted
from domain.event import Metadata, NewEvents

POLL_PAUSE_SECONDS = 0.0005
LATE_SECONDS_MAX = 30.0
CONNECTIONS = 8
_FIRST = UUID("0fffffff-ffff-7000-8000-000000000000").int

# The evaluations of this benchmark have consecutive ids, so that looking for unseen ones costs next to nothing.
_SEEN = "select id from read_model.evaluations where id >= %s and id < %s"


class Load(msgspec.Struct, frozen=True):
    """What is appended: `count` events, `rate` a second, each completing an evaluation of one of these monitors (owner,
    monitor); `start_at` is a moment of the monotonic clock."""

    monitors: Sequence[tuple[UUID, UUID]]
    template: EvaluationCompleted
    rate: float
    count: int
    start_at: float

    def due_at(self, number: int) -> float:
        """When the event of this number is to be appended."""
        return self.start_at + number / self.rate


class Appended(msgspec.Struct, frozen=True):
    """By number: just before the append was called, and when it had returned."""

    called_at: list[float]
    returned_at: list[float]


class Watched(msgspec.Struct, frozen=True):
    """By number: when a query first returned it; and how far apart the queries were."""

    seen_at: list[float]
    gaps: list[float]


def evaluation_id(number: int) -> UUID:
    """The stream of the event of this number."""
    return UUID(int=_FIRST + number)


async def append_steadily(pool: Pool, load: Load) -> Appended:
    """Append every event when it is due, whether or not those before it are done: a slow store does not get less to do."""
    store = PostgresEventStore(pool, new_id=uuid7)
    metadata = Metadata(correlation_id=uuid7(), actor="evaluator")
    called_at, returned_at = [0.0] * load.count, [0.0] * load.count

    async def append(number: int) -> None:
        owner_id, monitor_id = load.monitors[number % len(load.monitors)]
        event = msgspec.structs.replace(load.template, monitor_id=monitor_id)
        new = NewEvents(stream_id=evaluation_id(number), owner_id=owner_id, expected_version=0, events=(event,))
        called_at[number] = time.monotonic()
        await store.append([new], metadata=metadata)
        returned_at[number] = time.monotonic()

    async with asyncio.TaskGroup() as tasks:
        for number in range(load.count):
            pause = load.due_at(number) - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            tasks.create_task(append(number))
    return Appended(called_at, returned_at)


def be_ready() -> None:
    """Having run means that the process is up and has imported what it needs."""


def append_elsewhere(database_url: str, load: Load) -> Appended:
    """The same in a process of its own, with connections of its own."""
    return uvloop.run(_append_elsewhere(database_url, load))


async def _append_elsewhere(database_url: str, load: Load) -> Appended:
    async with open_pool(database_url, size_min=CONNECTIONS, size_max=CONNECTIONS) as pool:
        await pool.wait()
        return await append_steadily(pool, load)


def watch(database_url: str, load: Load) -> Watched:
    """Look at the read table over and over on one connection until every event was seen.

    Raises `TimeoutError` when one is not readable `LATE_SECONDS_MAX` after the last was due.
    """
    seen_at = [0.0] * load.count
    gaps: list[float] = []
    lowest_unseen, last = 0, time.monotonic()
    end = evaluation_id(load.count)
    with psycopg.connect(database_url, autocommit=True) as connection:
        while lowest_unseen < load.count:
            ids = connection.execute(_SEEN, (evaluation_id(lowest_unseen), end), prepare=True).fetchall()
            now = time.monotonic()
            for (found,) in ids:
                number = found.int - _FIRST
                seen_at[number] = seen_at[number] or now
            while lowest_unseen < load.count and seen_at[lowest_unseen]:
                lowest_unseen += 1
            if now > load.start_at:
                gaps.append(now - last)
            if now > load.due_at(load.count) + LATE_SECONDS_MAX:
                raise TimeoutError(f"{seen_at.count(0.0)} of {load.count} events did not become readable")
            last = now
            time.sleep(POLL_PAUSE_SECONDS)
    return Watched(seen_at, gaps)
