"""What it costs to hand out 100,000 monitors that are due at once.

Run as `python -m benchmarks.schedule`. The scheduler is a process of its own; jobs are taken from Redis and thrown away as
fast as they come, so that only handing out is measured.
"""

import argparse
import asyncio
import logging
import time
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import msgspec
import psutil
import structlog
import uvloop

from adapters.postgres_pool import Pool
from benchmarks.evaluate import Processes, be_roles, make_monitors, open_the_parts
from benchmarks.machine import Machine, describe
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from bootstrap.parts import Parts

AIM_CPU_SECONDS = 5.0
WITHIN_SECONDS = 300

_MAKE_DUE = "update schedule set due_at = now(), ready_at = now(), enqueued_at = null"
_LEFT = "select count(*) from schedule where enqueued_at is null"


class ScheduleFigures(msgspec.Struct, frozen=True):
    """Handing out `monitors` slots: how long it took, what of a core the scheduler process used, and PostgreSQL's processes
    together, in seconds; and how many jobs came out."""

    monitors: int
    seconds: float
    scheduler_cpu_seconds: float
    postgres_cpu_seconds: float
    jobs: int
    memory_mib: float


async def measure(servers: Servers, *, monitors: int) -> ScheduleFigures:
    """Make all due, and wait until all are handed out."""
    async with AsyncExitStack() as stack:
        processes = Processes()
        stack.callback(processes.kill_all)
        parts = await stack.enter_async_context(open_the_parts(servers))
        await make_monitors(parts, monitors, site=9)
        async with parts.pool.connection() as connection:
            await connection.execute("vacuum analyze schedule")
        scheduler = processes.start(be_roles, servers, ("scheduler",))
        await asyncio.sleep(3)
        thrown: list[UUID] = []
        throwing = asyncio.create_task(throw_away(parts, thrown))
        postgres = _postgres_of(servers)
        before = _cpu([scheduler])
        async with parts.pool.connection() as connection:
            await connection.execute(_MAKE_DUE)
        made_due, began = _cpu(postgres), time.monotonic()
        await _until_handed_out(parts.pool)
        seconds = time.monotonic() - began
        figures = ScheduleFigures(
            monitors=monitors,
            seconds=round(seconds, 2),
            scheduler_cpu_seconds=round(_cpu([scheduler]) - before, 2),
            postgres_cpu_seconds=round(_cpu(_postgres_of(servers)) - made_due, 2),
            jobs=0,
            memory_mib=round(scheduler.memory_info().rss / 2**20, 1),
        )
        await asyncio.sleep(0.5)
        throwing.cancel()
        return msgspec.structs.replace(figures, jobs=len(set(thrown)))


async def throw_away(parts: Parts, thrown: list[UUID]) -> None:
    """Take jobs and note whose evaluations they are."""
    jobs = parts.jobs()
    while True:
        taken = await jobs.take(1000, block_ms=100)
        if taken:
            await jobs.done([receipt for receipt, _ in taken])
            thrown += [job.evaluation_id for _, job in taken]


async def _until_handed_out(pool: Pool) -> None:
    async with asyncio.timeout(WITHIN_SECONDS), pool.connection() as connection:
        while (await (await connection.execute(_LEFT)).fetchall())[0][0]:  # noqa: ASYNC110  nobody tells it
            await asyncio.sleep(0.1)


def _postgres_of(servers: Servers) -> list[psutil.Process]:
    folder = str(servers.folder)
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and (process.info["cwd"] or "").startswith(folder)
    ]


def _cpu(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def run(servers: Servers, *, monitors: int, json: Path | None = None) -> ScheduleFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, monitors=monitors))
    report("schedule", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: ScheduleFigures, machine: Machine) -> list[str]:
    return [
        (
            f"{figures.monitors} monitors due at once, {figures.jobs} jobs handed out in {figures.seconds:g} s "
            f"(fsync={machine.fsync})"
        ),
        (
            f"the scheduler used {figures.scheduler_cpu_seconds:g} s of a core and {figures.memory_mib:g} MiB, PostgreSQL "
            f"{figures.postgres_cpu_seconds:g} s   (aim: under {AIM_CPU_SECONDS:g} s of one core)"
        ),
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule", description=__doc__)
    parser.add_argument("--monitors", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, monitors=given.monitors, json=given.json)


if __name__ == "__main__":
    main()
