"""Filling an event store fast with a history that could have happened."""

import asyncio
import multiprocessing
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import psycopg

from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from benchmarks.history import History
from domain.log_entry import LogEntry

PEOPLE_MAX = 1_000
PEOPLE_EACH = 20
"""People in one history; larger crowds are several histories side by side, which a history makes faster."""
EVENTS_A_PERSON = 50
"""In a small store there are fewer people, so that most events are evaluations still."""

_COPY = """
copy event (stream_id, version, owner_id, type, type_version, data, metadata, event_id) from stdin
"""


def people_for(events: int) -> int:
    """How many people `events` events are about: a fiftieth, but at most 1,000, each with five monitors."""
    return max(1, min(PEOPLE_MAX, events // EVENTS_A_PERSON))


def crowd(events: int, *, people: int, seed: int = 1) -> Iterator[LogEntry]:
    """At least `events` events of so many people, each with five monitors, all mixed as they would arrive.

    Histories of up to twenty people are made side by side, one event of each in turn. Their places are their own and
    mean nothing: the sequencer gives new ones.
    """
    sizes = [PEOPLE_EACH] * (people // PEOPLE_EACH) + ([people % PEOPLE_EACH] if people % PEOPLE_EACH else [])
    least = -(-events // len(sizes))
    waiting = deque(History(seed + n, people=size).entries(least) for n, size in enumerate(sizes))
    while waiting:
        history = waiting.popleft()
        for entry in history:
            waiting.append(history)
            yield entry
            break


def copy_events(database_url: str, entries: Iterable[LogEntry]) -> int:
    """Store events past the command side, in one transaction; how many they were."""
    count = 0
    with psycopg.connect(database_url) as connection:
        with connection.cursor().copy(_COPY) as copy:
            for e in entries:
                copy.write_row(
                    (e.stream_id, e.version, e.owner_id, e.type, e.type_version, e.data, e.metadata, e.event_id)
                )
                count += 1
        connection.commit()
        # As autovacuum does within minutes: without it, plans are made for an empty table.
        connection.execute("analyze event")
    return count


async def store_crowd(database_url: str, events: int, people: int) -> tuple[int, float]:
    """Make and store a crowd's events in a process of its own, so that its memory is not taken for that of what is
    measured; how many events they were, and the seconds it took."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return await asyncio.get_running_loop().run_in_executor(process, _store_crowd, database_url, events, people)


def _store_crowd(database_url: str, events: int, people: int) -> tuple[int, float]:
    started = time.perf_counter()
    count = copy_events(database_url, crowd(events, people=people))
    return count, time.perf_counter() - started


async def sequence_all(pool: Pool) -> int:
    """Give every stored event its position; how many got one."""
    log, count = PostgresLog(pool), 0
    while entries := await log.sequence_batch():
        count += len(entries)
    return count
