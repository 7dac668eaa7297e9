"""How fast one process projects all read tables: live, from Redis, or as a rebuild of the whole log.

Run as `python -m benchmarks.project` for the live projection of a backlog, with `--rebuild N` for a rebuild.
"""

import argparse
import logging
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import redis.asyncio as redis
import structlog
import uvloop

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_read_tables import PostgresReadTables
from adapters.postgres_rebuild import Rebuild
from adapters.redis_log import RedisLog
from benchmarks.filling import crowd, people_for, sequence_all, store_crowd
from benchmarks.machine import Machine, describe
from benchmarks.project_peer import library_rate
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from domain.log_entry import LogEntry
from projections.core import CORE
from workers.log_reader import LogReader
from workers.partitions import PartitionLeases
from workers.projector import Projector
from workers.relay import Relay

LIVE_EVENTS, REBUILT_EVENTS = 50_000, 1_000_000
LIBRARY_EVENTS = 5_000
"""So many are enough for the library, which takes one after the other."""
AIM_OF_LIBRARY = 10.0
POOL_SIZE = 8

_CLAIM_PROJECTED = """
insert into checkpoint (consumer, partition, position)
select %s, n - 1, place from log_head, unnest(partition_positions) with ordinality as p (place, n)
"""


class ProjectFigures(msgspec.Struct, frozen=True):
    """Events a second of each step on the way: made and stored, sequenced (and, for the live projection, published to
    Redis by the relay), projected; what share of the last each phase of a rebuild had, in seconds. Memory is this
    process's: its peak before and after, in MiB. `library_per_second` is what the `eventsourcing` library's runner projects
    of such events, measured after the live projection in the same run."""

    mode: str
    events: int
    people: int
    stored_per_second: float
    sequenced_per_second: float
    projected_per_second: float
    projected_seconds: float
    phase_seconds: dict[str, float]
    memory_before_mib: float
    memory_peak_mib: float
    library_per_second: float | None = None


class CountedTables:
    """Read tables that tell how many entries were applied to them."""

    def __init__(self, tables: PostgresReadTables) -> None:
        self._tables = tables
        self.applied = 0

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """As the tables do."""
        return await self._tables.places(partitions)

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """As the tables do."""
        moved = await self._tables.apply(entries, places=places, epochs=epochs)
        if moved is not None:
            self.applied += len(entries)
        return moved

    async def park(
        self, entry: LogEntry, error: str, *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """As the tables do; a benchmark's history has nothing to park."""
        return await self._tables.park(entry, error, places=places, epochs=epochs)


class Progress:
    """A line that tells how far something is, written over itself about five times a second."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.perf_counter()
        self._told_at = 0.0

    def tell(self, done: int, total: int) -> None:
        """Tell, unless it was just told."""
        now = time.perf_counter()
        if done < total and now < self._told_at + 0.2:
            return
        self._told_at = now
        rate = done / max(now - self._started, 1e-9)
        left = (total - done) / rate if rate else 0
        end = "\n" if done >= total else ""
        print(f"\r{self._what} {done:,} of {total:,}, {rate:,.0f}/s, {left:.0f} s left ", end=end, flush=True)


async def measure_live(servers: Servers, *, events: int) -> ProjectFigures:
    """Fill the store and, through the relay, Redis; then project until the lag is zero."""
    people = people_for(events)
    async with open_pool(servers.database_url, size_max=POOL_SIZE) as pool:
        client = redis.from_url(servers.redis_url)
        tail, log, leases = RedisLog(client, namespace="bench"), PostgresLog(pool), PostgresLeases(pool)
        try:
            count, storing_seconds = await store_crowd(servers.database_url, events, people)
            stored = time.perf_counter()
            await _relay(Relay(log, tail, leases, holder="bench", monotonic=time.monotonic), log, count)
            sequenced = time.perf_counter()
            before = _memory_peak_mib()
            tables = CountedTables(PostgresReadTables(pool, CORE))
            partitions = PartitionLeases(leases, consumer=CORE.name, holder="bench", monotonic=time.monotonic)
            await _project(Projector(LogReader(tail, log, monotonic=time.monotonic), tables, partitions), tables, count)
            projected = time.perf_counter()
        finally:
            await client.aclose()
    return _figures("live", count, people, (storing_seconds, sequenced - stored, projected - sequenced), before)


async def _relay(relay: Relay, log: PostgresLog, events: int) -> None:
    progress = Progress("relayed")
    done = 0
    while done < events:
        await relay.step()
        done = sum(await log.places())
        progress.tell(done, events)


async def _project(projector: Projector, tables: CountedTables, events: int) -> None:
    progress = Progress("projected")
    while tables.applied < events:
        await projector.step()
        progress.tell(tables.applied, events)


async def measure_rebuild(servers: Servers, *, events: int) -> ProjectFigures:
    """Fill the store, then rebuild all read tables from it into a shadow and switch to that."""
    people = people_for(events)
    async with open_pool(servers.database_url, size_max=POOL_SIZE) as pool:
        count, storing_seconds = await store_crowd(servers.database_url, events, people)
        stored = time.perf_counter()
        if await sequence_all(pool) != count:
            raise RuntimeError(f"not all of {count} events were sequenced")
        sequenced = time.perf_counter()
        await _claim_projected(pool)
        before = _memory_peak_mib()
        rebuilding, phases = time.perf_counter(), await _rebuild(pool)
        projected = time.perf_counter()
        await _check_rebuilt(pool, people)
    took = (storing_seconds, sequenced - stored, projected - rebuilding)
    return _figures("rebuild", count, people, took, before, phases)


async def _rebuild(pool: Pool) -> dict[str, float]:
    """Rebuild; how long each phase took, in seconds."""
    progress, began = Progress("rebuilt"), {"replaying": time.perf_counter()}
    async for step in Rebuild(pool, CORE, PostgresLog(pool)).run():
        began.setdefault(step.phase, time.perf_counter())
        progress.tell(step.done, step.total)
    ends = [*began.values()][1:]
    return {phase: round(end - since, 2) for (phase, since), end in zip(began.items(), ends, strict=False)}


async def _claim_projected(pool: Pool) -> None:
    """Put the live checkpoints to the end of the log, where they are in an installation that is up to date: a rebuild
    has to catch up with them before it switches."""
    async with pool.connection() as connection:
        await connection.execute(_CLAIM_PROJECTED, (CORE.name,))


async def _check_rebuilt(pool: Pool, people: int) -> None:
    """A rebuild that left events out would be a fast one."""
    async with pool.connection() as connection:
        row = await (await connection.execute("select count(*) from read_model.users")).fetchone()
    if row != (people,):
        raise RuntimeError(f"of {people} people {row} were rebuilt")


def _figures(
    mode: str,
    events: int,
    people: int,
    took_seconds: tuple[float, float, float],
    before_mib: float,
    phase_seconds: dict[str, float] | None = None,
) -> ProjectFigures:
    storing, sequencing, projecting = took_seconds
    return ProjectFigures(
        mode=mode,
        events=events,
        people=people,
        stored_per_second=round(events / storing),
        sequenced_per_second=round(events / sequencing),
        projected_per_second=round(events / projecting),
        projected_seconds=round(projecting, 2),
        phase_seconds=phase_seconds or {},
        memory_before_mib=before_mib,
        memory_peak_mib=_memory_peak_mib(),
    )


def _memory_peak_mib() -> float:
    """The most memory this process ever held; the kernel counts it in KiB, macOS in bytes (getrusage(2))."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def run(
    servers: Servers, *, events: int = LIVE_EVENTS, rebuild: int | None = None, json: Path | None = None
) -> ProjectFigures:
    """Measure on these servers and report: the live projection of `events`, or the rebuild of `rebuild` events."""
    machine = describe(servers.database_url, servers.redis_url)
    measuring = measure_live(servers, events=events) if rebuild is None else measure_rebuild(servers, events=rebuild)
    figures = uvloop.run(measuring)
    if rebuild is None:
        compared = list(crowd(min(events, LIBRARY_EVENTS), people=people_for(events)))
        rate = round(library_rate(servers.database_url, compared))
        figures = msgspec.structs.replace(figures, library_per_second=rate)
    report("project", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: ProjectFigures, machine: Machine) -> list[str]:
    published = ", and published" if figures.mode == "live" else ""
    load = f"{figures.events:,} events of {figures.people:,} people with 5 monitors each"
    return [
        f"{figures.mode}: {load} (fsync={machine.fsync})",
        f"made and stored   {figures.stored_per_second:9,.0f} events/s",
        f"sequenced         {figures.sequenced_per_second:9,.0f} events/s{published}",
        f"projected         {figures.projected_per_second:9,.0f} events/s, in {figures.projected_seconds:,.1f} s",
        *(f"  {phase:<16}{seconds:9,.1f} s" for phase, seconds in figures.phase_seconds.items()),
        *_compared(figures),
        f"memory            peak {figures.memory_peak_mib:,.0f} MiB, {figures.memory_before_mib:,.0f} MiB before",
    ]


def _compared(figures: ProjectFigures) -> list[str]:
    if figures.library_per_second is None:
        return []
    times = figures.projected_per_second / figures.library_per_second
    return [
        f"the library       {figures.library_per_second:9,.0f} events/s, so {times:.1f} times (aim: at least {AIM_OF_LIBRARY:g})"
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.project", description=__doc__)
    parser.add_argument("--events", type=int, default=LIVE_EVENTS, help="events to project live")
    parser.add_argument(
        "--rebuild", type=int, nargs="?", const=REBUILT_EVENTS, metavar="N", help="rebuild N events instead"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, events=given.events, rebuild=given.rebuild, json=given.json)


if __name__ == "__main__":
    main()
