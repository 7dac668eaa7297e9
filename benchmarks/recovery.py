"""How long events wait when a projector process dies or Redis loses everything, under a steady load.

Run as `python -m benchmarks.recovery`. Two projectors run in processes of their own and share the partitions; one of them is
killed with -9, over and over, and another one started in its place. Then Redis is flushed, over and over.
"""

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from multiprocessing.context import SpawnProcess
from pathlib import Path

import msgspec
import structlog
import uvloop

from adapters.postgres_pool import Pool
from benchmarks.filling import copy_events
from benchmarks.history import History
from benchmarks.machine import Machine, describe
from benchmarks.path import in_process, own_process, steady_load, until_projected
from benchmarks.path_sides import Appended, Load, Watched, append_elsewhere, be_ready, watch
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from bootstrap.parts import Endpoints, Parts, open_parts
from bootstrap.roles import running
from bootstrap.running import ROLES
from bootstrap.settings import read_settings
from domain.log_entry import PARTITIONS
from projections.core import CORE
from workers.lifecycle import Stop

AIM_TAKE_OVER_SECONDS = 5.0
PROJECTORS = 2
HELD_UP_SECONDS = 0.25
"""An event that waits longer was held up; undisturbed, one in a hundred waits 20 ms."""
QUIET_SECONDS = 1.0
"""When no event was held up for so long, the incident is over; what comes later has other reasons."""
LEAD_SECONDS = 2.0
TAKE_OVER_SECONDS, FLUSH_SECONDS = 15.0, 3.0
REPLACED_AFTER_SECONDS = 6.0

_OWNED = "select count(*) from lease where starts_with(name, %s) and expires_at > now() group by holder"


class Incident(msgspec.Struct, frozen=True):
    """What one did: how long the event waited that waited longest, and how long after the incident the last one became
    readable that was held up; 0 when none was."""

    longest_wait_seconds: float
    recovered_seconds: float


class RecoveryFigures(msgspec.Struct, frozen=True):
    """Incidents in the order in which they were brought about."""

    rate: float
    projectors: int
    events: int
    kills: list[Incident]
    flushes: list[Incident]


class Crew:
    """Projectors in processes of their own."""

    def __init__(self, servers: Servers, pool: Pool) -> None:
        self._servers = servers
        self._pool = pool
        self._processes: list[SpawnProcess] = []

    def start(self) -> None:
        """One more."""
        process = multiprocessing.get_context("spawn").Process(target=be_projector, args=(self._servers,), daemon=True)
        process.start()
        self._processes.append(process)

    def kill(self) -> None:
        """The one that was there first ends as in a power cut."""
        process = self._processes.pop(0)
        process.kill()
        process.join()

    def kill_all(self) -> None:
        """The end."""
        while self._processes:
            self.kill()

    async def share(self) -> None:
        """Return when each owns its share; raises `TimeoutError` when that does not come."""
        share = PARTITIONS // PROJECTORS
        async with asyncio.timeout(60):
            while True:
                async with self._pool.connection() as connection:
                    rows = await (await connection.execute(_OWNED, (f"{CORE.name}:",))).fetchall()
                if [owned for (owned,) in rows] == [share] * PROJECTORS:
                    return
                await asyncio.sleep(0.05)


def be_projector(servers: Servers) -> None:
    """Project until killed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_project(servers))


async def _project(servers: Servers) -> None:
    async with _parts(servers) as parts:
        await parts.projector().run(Stop())


def _parts(servers: Servers) -> AbstractAsyncContextManager[Parts]:
    settings = read_settings(data_dir=servers.folder, database_url=servers.database_url, redis_url=servers.redis_url)
    endpoints = Endpoints(servers.database_url, servers.redis_url, "smtp://127.0.0.1:9", "http://127.0.0.1")
    return open_parts(settings, endpoints, bytes(32))


class Plan(msgspec.Struct, frozen=True):
    """How often each incident is brought about, and how much time is given to each, in seconds."""

    kills: int
    flushes: int
    take_over_seconds: float = TAKE_OVER_SECONDS
    flush_seconds: float = FLUSH_SECONDS

    @property
    def seconds(self) -> float:
        """How long all of it takes."""
        return LEAD_SECONDS + self.kills * self.take_over_seconds + self.flushes * self.flush_seconds


async def measure(servers: Servers, *, rate: float, plan: Plan) -> RecoveryFigures:
    """Relay here, project elsewhere, append and watch from elsewhere, and do harm."""
    entries = list(History(1, people=20, monitors_each=5).entries(0))
    await asyncio.to_thread(copy_events, servers.database_url, entries)
    async with AsyncExitStack() as stack:
        watcher, elsewhere = stack.enter_context(own_process()), stack.enter_context(own_process())
        await asyncio.gather(*(in_process(process, be_ready) for process in (watcher, elsewhere)))
        parts = await stack.enter_async_context(_parts(servers))
        crew = Crew(servers, parts.pool)
        stack.callback(crew.kill_all)
        for _ in range(PROJECTORS):
            crew.start()
        await stack.enter_async_context(running({"relay": ROLES["relay"](parts)}, Stop()))
        await until_projected(parts.pool, len(entries))
        await crew.share()
        load = steady_load(entries, rate=rate, count=round(rate * plan.seconds))
        watching = asyncio.create_task(in_process(watcher, watch, servers.database_url, load))
        appending = asyncio.create_task(in_process(elsewhere, append_elsewhere, servers.database_url, load))
        killed_at, flushed_at = await _harm(crew, parts, load, plan)
        appended, watched = await appending, await watching
    moments = [*killed_at, *flushed_at, load.due_at(load.count)]
    incidents = [_incident(load, appended, watched, *within) for within in itertools.pairwise(moments)]
    return RecoveryFigures(
        rate=rate,
        projectors=PROJECTORS,
        events=load.count,
        kills=incidents[: plan.kills],
        flushes=incidents[plan.kills :],
    )


async def _harm(crew: Crew, parts: Parts, load: Load, plan: Plan) -> tuple[list[float], list[float]]:
    """When somebody was killed, and when Redis was flushed: moments of the monotonic clock."""
    killed_at, flushed_at = [], []
    await _until(load.start_at + LEAD_SECONDS)
    for number in range(plan.kills):
        await crew.share()
        killed_at.append(time.monotonic())
        crew.kill()
        if number + 1 < plan.kills or plan.flushes:
            await _until(killed_at[-1] + REPLACED_AFTER_SECONDS)
            crew.start()
        await _until(load.start_at + LEAD_SECONDS + (number + 1) * plan.take_over_seconds)
    for number in range(plan.flushes):
        flushed_at.append(time.monotonic())
        await parts.redis.flushall()
        await _until(flushed_at[0] + (number + 1) * plan.flush_seconds)
    return killed_at, flushed_at


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _incident(load: Load, appended: Appended, watched: Watched, at: float, until: float) -> Incident:
    """What happened to events that were appended from shortly before `at`, or waited then, until the next incident."""
    concerned = [n for n in range(load.count) if watched.seen_at[n] > at and appended.called_at[n] < until]
    longest, over_at = 0.0, at
    for n in sorted(concerned, key=lambda n: appended.called_at[n]):
        if appended.called_at[n] > over_at + QUIET_SECONDS:
            break
        wait = watched.seen_at[n] - appended.called_at[n]
        longest = max(longest, wait)
        if wait > HELD_UP_SECONDS:
            over_at = max(over_at, watched.seen_at[n])
    return Incident(longest_wait_seconds=round(longest, 3), recovered_seconds=round(over_at - at, 3))


def run(servers: Servers, *, rate: float = 200, plan: Plan | None = None, json: Path | None = None) -> RecoveryFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, rate=rate, plan=plan or Plan(kills=5, flushes=10)))
    report("recovery", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: RecoveryFigures, machine: Machine) -> list[str]:
    lines = [f"{figures.projectors} projectors, {figures.events} events at {figures.rate:g}/s (fsync={machine.fsync})"]
    for what, incidents, aim in (
        ("kill -9", figures.kills, f"   (aim: under {AIM_TAKE_OVER_SECONDS:g})"),
        ("FLUSHALL", figures.flushes, ""),
    ):
        if incidents:
            lines.append(f"{what:8} {len(incidents)} times")
            lines.append(f"  longest wait of an event       {_range([i.longest_wait_seconds for i in incidents])}{aim}")
            lines.append(f"  until no event is held up      {_range([i.recovered_seconds for i in incidents])}{aim}")
    return lines


def _range(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--rate", type=float, default=200, help="events a second")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--flushes", type=int, default=10)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, rate=given.rate, plan=Plan(kills=given.kills, flushes=given.flushes), json=given.json)


if __name__ == "__main__":
    main()
