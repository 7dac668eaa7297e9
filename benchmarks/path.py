"""How long an event takes from the call of append until it can be read from its read table, at a steady rate.

Run as `python -m benchmarks.path`. The relay and the projector run as in `vigil up`, in one asyncio process with the one
who appends (or, with `--separate`, without it); a process of its own looks at the read table.
"""

import argparse
import asyncio
import logging
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import uvloop

from adapters.postgres_pool import Pool
from benchmarks.filling import copy_events
from benchmarks.history import History
from benchmarks.machine import Machine, describe
from benchmarks.path_sides import Appended, Load, Watched, append_elsewhere, append_steadily, be_ready, watch
from benchmarks.report import Quantiles, quantiles, report
from benchmarks.servers import Servers, durable_servers
from bootstrap.parts import Endpoints, open_parts
from bootstrap.roles import running
from bootstrap.running import ROLES
from bootstrap.settings import read_settings
from domain.evaluation import EvaluationCompleted
from domain.event_codec import decode_entry
from domain.log_entry import LogEntry
from domain.monitor import MonitorCreated
from projections.core import CORE
from workers.lifecycle import Stop

AIM_P50_MS, AIM_P99_MS = 8.0, 40.0
WARM_UP_SECONDS = 1.0
"""What was appended in the first second is not counted: connections are opened and statements prepared in it."""
PATH_ROLES = ("relay", "projector")

_PROJECTED = "select coalesce(sum(position), 0) from checkpoint where consumer = %s"

T = TypeVar("T")


class PathFigures(msgspec.Struct, frozen=True):
    """`latency` is from before the call of append until readable; `since_due` counts from when the event was due, so
    that a stalled process cannot hide what it delayed; `append` is the call alone; `resolution` is the time between two
    looks, by at most which a latency is told too long."""

    rate: float
    seconds: float
    separate: bool
    roles: tuple[str, ...]
    events: int
    latency: Quantiles
    since_due: Quantiles
    append: Quantiles
    resolution: Quantiles


async def measure(
    servers: Servers, *, rate: float, seconds: float, separate: bool, roles: tuple[str, ...]
) -> PathFigures:
    """Run the roles, append, watch."""
    settings = read_settings(data_dir=servers.folder, database_url=servers.database_url, redis_url=servers.redis_url)
    endpoints = Endpoints(servers.database_url, servers.redis_url, "smtp://127.0.0.1:9", "http://127.0.0.1")
    entries = list(History(1, people=20, monitors_each=5).entries(0))
    await asyncio.to_thread(copy_events, servers.database_url, entries)
    async with AsyncExitStack() as stack:
        watcher, elsewhere = stack.enter_context(own_process()), stack.enter_context(own_process())
        await asyncio.gather(*(in_process(process, be_ready) for process in (watcher, elsewhere)))
        parts = await stack.enter_async_context(open_parts(settings, endpoints, bytes(32)))
        await stack.enter_async_context(running({name: ROLES[name](parts) for name in roles}, Stop()))
        await until_projected(parts.pool, len(entries))
        load = steady_load(entries, rate=rate, count=round(rate * (seconds + WARM_UP_SECONDS)))
        watching = asyncio.create_task(in_process(watcher, watch, servers.database_url, load))
        appended = await (
            in_process(elsewhere, append_elsewhere, servers.database_url, load)
            if separate
            else append_steadily(parts.pool, load)
        )
        watched = await watching
    return _figures(load, appended, watched, seconds=seconds, separate=separate, roles=roles)


def _figures(
    load: Load, appended: Appended, watched: Watched, *, seconds: float, separate: bool, roles: tuple[str, ...]
) -> PathFigures:
    counted = range(round(load.rate * WARM_UP_SECONDS), load.count)
    return PathFigures(
        rate=load.rate,
        seconds=seconds,
        separate=separate,
        roles=roles,
        events=len(counted),
        latency=quantiles([watched.seen_at[n] - appended.called_at[n] for n in counted]),
        since_due=quantiles([watched.seen_at[n] - load.due_at(n) for n in counted]),
        append=quantiles([appended.returned_at[n] - appended.called_at[n] for n in counted]),
        resolution=quantiles(watched.gaps),
    )


def steady_load(entries: list[LogEntry], *, rate: float, count: int) -> Load:
    """Evaluations of the monitors that are created in `entries`, all like one that could have happened."""
    monitors = [(entry.owner_id, entry.stream_id) for entry in entries if entry.type == MonitorCreated.tag]
    events = (decode_entry(entry).event for entry in History(2, people=1, monitors_each=1).entries(100))
    template = next(event for event in events if isinstance(event, EvaluationCompleted))
    return Load(monitors=monitors, template=template, rate=rate, count=count, start_at=time.monotonic() + 0.5)


async def until_projected(pool: Pool, events: int, *, within_seconds: float = 60) -> None:
    """Return when so many events are in the read tables; raises `TimeoutError`."""
    async with asyncio.timeout(within_seconds), pool.connection() as connection:
        while (await (await connection.execute(_PROJECTED, (CORE.name,))).fetchall())[0][0] < events:  # noqa: ASYNC110  nobody tells it
            await asyncio.sleep(0.02)


def own_process() -> ProcessPoolExecutor:
    """One process of its own, started fresh: a fork would share this one's connections."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


async def in_process(process: ProcessPoolExecutor, function: Callable[..., T], *arguments: object) -> T:
    """Call a function there."""
    return await asyncio.get_running_loop().run_in_executor(process, function, *arguments)


def run(
    servers: Servers,
    *,
    rate: float = 1000,
    seconds: float = 20,
    separate: bool = False,
    roles: tuple[str, ...] = PATH_ROLES,
    json: Path | None = None,
) -> PathFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, rate=rate, seconds=seconds, separate=separate, roles=roles))
    report("path", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: PathFigures, machine: Machine) -> list[str]:
    who = "in a process of its own, beside" if figures.separate else "in one process with"
    load = f"{figures.events} events at {figures.rate:g}/s for {figures.seconds:g} s"
    return [
        f"{load}, appended {who} {', '.join(figures.roles)} (fsync={machine.fsync})",
        f"append to readable   {figures.latency}   (aim: p50 under {AIM_P50_MS:g}, p99 under {AIM_P99_MS:g})",
        f"due to readable      {figures.since_due}",
        f"the append alone     {figures.append}",
        f"between two looks    {figures.resolution}",
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.path", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="events a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--separate", action="store_true", help="append in a process of its own")
    parser.add_argument("--everything", action="store_true", help="run all workers, not only relay and projector")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    roles = tuple(ROLES) if given.everything else PATH_ROLES
    with durable_servers() as servers:
        run(servers, rate=given.rate, seconds=given.seconds, separate=given.separate, roles=roles, json=given.json)


if __name__ == "__main__":
    main()
