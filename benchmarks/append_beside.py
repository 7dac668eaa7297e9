"""How many events a second are appended while everything else works: relay, projector and all other workers, which run in
a process of their own and have to do with every event.

Run as `python -m benchmarks.append_beside`.
"""

import argparse
import asyncio
import logging
import multiprocessing
import time
from contextlib import AsyncExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec
import structlog
import uvloop
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import open_pool
from benchmarks.filling import copy_events
from benchmarks.history import History
from benchmarks.machine import Machine, describe
from benchmarks.path import steady_load, until_projected
from benchmarks.path_sides import Load, evaluation_id
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from bootstrap.parts import Endpoints, open_parts
from bootstrap.roles import running
from bootstrap.running import ROLES
from bootstrap.settings import read_settings
from domain.event import Metadata, NewEvents
from workers.lifecycle import Stop

AIM_PER_SECOND = 10_000
POOL_SIZE = 8
CAUGHT_UP_WITHIN_SECONDS = 300


class BesideFigures(msgspec.Struct, frozen=True):
    """Events a second appended; how many of them were sequenced and projected when the last was appended, and how long
    after that everything was."""

    writers: int
    seconds: float
    events: int
    appended_per_second: float
    sequenced_meanwhile: int
    projected_seconds_later: float


async def measure(servers: Servers, *, writers: int, seconds: float) -> BesideFigures:
    """Start the workers, append for a while, and wait until they have caught up."""
    entries = list(History(1, people=20, monitors_each=5).entries(0))
    copied = await asyncio.to_thread(copy_events, servers.database_url, entries)
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    workers = context.Process(target=be_workers, args=(servers, ended), daemon=True)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(servers.database_url, size_min=POOL_SIZE, size_max=POOL_SIZE))
        workers.start()
        stack.callback(workers.join)
        stack.callback(ended.set)
        await until_projected(pool, copied)
        store, load = PostgresEventStore(pool, new_id=uuid7), steady_load(entries, rate=1, count=0)
        started = time.perf_counter()
        events = sum(
            await asyncio.gather(*(_write(store, load, n, writers, started + seconds) for n in range(writers)))
        )
        took = time.perf_counter() - started
        sequenced = sum(await PostgresLog(pool).places()) - copied
        await until_projected(pool, copied + events, within_seconds=CAUGHT_UP_WITHIN_SECONDS)
        later = time.perf_counter() - started - took
    return BesideFigures(
        writers=writers,
        seconds=seconds,
        events=events,
        appended_per_second=round(events / took),
        sequenced_meanwhile=sequenced,
        projected_seconds_later=round(later, 2),
    )


async def _write(store: PostgresEventStore, load: Load, first: int, step: int, until: float) -> int:
    """Complete evaluations of the monitors in turn, one event in each call; how many."""
    metadata, number = Metadata(correlation_id=uuid7(), actor="evaluator"), first
    while time.perf_counter() < until:
        owner_id, monitor_id = load.monitors[number % len(load.monitors)]
        event = msgspec.structs.replace(load.template, monitor_id=monitor_id)
        new = NewEvents(stream_id=evaluation_id(number), owner_id=owner_id, expected_version=0, events=(event,))
        await store.append([new], metadata=metadata)
        number += step
    return (number - first) // step


def be_workers(servers: Servers, ended: Event) -> None:
    """All workers, in a process of their own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_work(servers, ended))


async def _work(servers: Servers, ended: Event) -> None:
    settings = read_settings(data_dir=servers.folder, database_url=servers.database_url, redis_url=servers.redis_url)
    endpoints = Endpoints(servers.database_url, servers.redis_url, "smtp://127.0.0.1:9", "http://127.0.0.1")
    async with (
        open_parts(settings, endpoints, bytes(32)) as parts,
        running({name: make(parts) for name, make in ROLES.items()}, Stop()),
    ):
        await asyncio.to_thread(ended.wait)


def run(servers: Servers, *, writers: int = 32, seconds: float = 10, json: Path | None = None) -> BesideFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, writers=writers, seconds=seconds))
    report("append_beside", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: BesideFigures, machine: Machine) -> list[str]:
    return [
        f"{figures.writers} writers for {figures.seconds:g} s beside {', '.join(ROLES)} (fsync={machine.fsync})",
        f"appended    {figures.appended_per_second:9,.0f} events/s   (aim: at least {AIM_PER_SECOND:,})",
        f"sequenced   {figures.sequenced_meanwhile:9,.0f} of {figures.events:,} meanwhile",
        f"all of it projected {figures.projected_seconds_later:.1f} s after the last was appended",
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.append_beside", description=__doc__)
    parser.add_argument("--writers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, writers=given.writers, seconds=given.seconds, json=given.json)


if __name__ == "__main__":
    main()
