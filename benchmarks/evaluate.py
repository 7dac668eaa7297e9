"""How many evaluations a second evaluator processes make, of monitors whose pages stay the same and of ones that changed.

Run as `python -m benchmarks.evaluate`. Relay, projector and scheduler are a process, each evaluator is one, the site is one;
all monitors become due at once, again and again.
"""

import argparse
import asyncio
import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import MappingProxyType

import aiohttp
import msgspec
import psutil
import structlog
import uvloop
from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from benchmarks.machine import Machine, describe
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from benchmarks.site import HOSTS, free_port, serve
from bootstrap.collector import spare_what_stays
from bootstrap.now_and_new import utc_now
from bootstrap.parts import Endpoints, Parts, open_parts
from bootstrap.roles import running
from bootstrap.running import ROLES
from bootstrap.settings import read_settings
from commands.event_store import KeepSchedule
from domain.event import Metadata, NewEvents
from domain.fact import FactSpec, FactType, Select
from domain.monitor import MonitorCreated
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from domain.user import UserRegistered
from workers.lifecycle import Stop

AIM_UNCHANGED, AIM_CHANGED, AIM_SCALING, AIM_MEMORY_MIB = 600, 250, 1.5, 200
MONITORS_EACH = 100
BESIDE = ("relay", "projector", "scheduler")
ROUND_SECONDS_MAX = 900
NO_SETTINGS: Mapping[str, object] = MappingProxyType({})

_MAKE_DUE = "update schedule set due_at = now(), ready_at = now(), enqueued_at = null"
_NOT_DONE = "select count(*) from schedule where due_at <= %s"
_OUTCOMES = """
select count(*) filter (where type = 'evaluation.completed'), count(*) filter (where type = 'evaluation.failed')
from event where recorded_at >= %s
"""


class Round(msgspec.Struct, frozen=True):
    """One round over all monitors: evaluations a second from the first that was due to the last that was recorded, what
    the evaluator processes used of a core each, and how large the largest got."""

    name: str
    evaluators: int
    monitors: int
    rate: float
    failed: int
    cpu_each: float
    cpu_beside: float
    memory_mib: float
    answers: dict[str, int]


class EvaluateFigures(msgspec.Struct, frozen=True):
    """All rounds."""

    rounds: list[Round]


def be_roles(servers: Servers, names: Sequence[str], given: Mapping[str, object] = NO_SETTINGS) -> None:
    """Run workers with these settings until killed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_be_roles(servers, names, given))


async def _be_roles(servers: Servers, names: Sequence[str], given: Mapping[str, object]) -> None:
    async with (
        open_the_parts(servers, **given) as parts,
        running({name: ROLES[name](parts) for name in names}, Stop()),
    ):
        spare_what_stays()
        await asyncio.Event().wait()


def open_the_parts(servers: Servers, **given: object) -> AbstractAsyncContextManager[Parts]:
    """The parts of a process of `vigil up`, which may read loopback addresses."""
    settings = read_settings(
        data_dir=servers.folder,
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        fetch_allow_networks=("127.0.0.0/8",),
        **given,
    )
    endpoints = Endpoints(servers.database_url, servers.redis_url, "smtp://127.0.0.1:9", "http://127.0.0.1")
    return open_parts(settings, endpoints, bytes(32))


class Processes:
    """Processes of this benchmark, killed at its end."""

    def __init__(self) -> None:
        self._started: list[SpawnProcess] = []

    def start(self, target: object, *arguments: object) -> psutil.Process:
        """One more."""
        process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # a function
        process.start()
        self._started.append(process)
        return psutil.Process(process.pid)

    def kill_all(self) -> None:
        """The end."""
        for process in self._started:
            process.kill()
            process.join()
        self._started.clear()


def plan_of(number: int, site: int) -> Plan:
    """A plan for one page of the site on that port, as most are: a value, and a limit."""
    return Plan(
        kind=Kind.CURRENT_STATE,
        facts=(FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.price")),),
        condition="price < 50.0",
        schedule=Every(seconds=86_400),
        sources=(HttpSource(url=f"http://{HOSTS[number % len(HOSTS)]}:{site}/{number}"),),
        explanation="Met while the price is under 50.",
    )


async def make_monitors(parts: Parts, count: int, site: int, *, plan_of: Callable[[int, int], Plan] = plan_of) -> None:
    """People with a hundred monitors each, of the pages of the site on that port, none of them due."""
    now = utc_now()
    for first in range(0, count, MONITORS_EACH):
        owner = uuid7()
        person = UserRegistered(email=f"p{first}@example.org", name="P", timezone="UTC", registered_at=now)
        new = [NewEvents(stream_id=owner, owner_id=owner, expected_version=0, events=(person,))]
        companions = []
        for number in range(first, min(first + MONITORS_EACH, count)):
            monitor_id, plan = uuid7(), plan_of(number, site)
            created = MonitorCreated(
                name=f"Item {number}", prompt="Tell me when it is cheap", plan=plan, created_at=now
            )
            new.append(NewEvents(stream_id=monitor_id, owner_id=owner, expected_version=0, events=(created,)))
            companions.append(
                KeepSchedule(monitor_id, owner, plan.schedule, active=True, due_at=now.replace(year=now.year + 1))
            )
        await parts.store.append(new, metadata=Metadata(correlation_id=owner, actor="benchmark"), companions=companions)


async def one_round(
    pool: Pool,
    site: int,
    name: str,
    monitors: int,
    evaluators: Sequence[psutil.Process],
    beside: Sequence[psutil.Process],
) -> Round:
    """Make all due and wait until all are done."""
    answered = await site_counts(site)
    async with pool.connection() as connection:
        await connection.execute("checkpoint")
        row = await (await connection.execute("select clock_timestamp()")).fetchone()
        began_at = row[0] if row else None
        cpu, cpu_beside = [_cpu(one) for one in evaluators], [_cpu(one) for one in beside]
        began = time.monotonic()
        await connection.execute(_MAKE_DUE)
        async with asyncio.timeout(ROUND_SECONDS_MAX):
            while (await (await connection.execute(_NOT_DONE, (utc_now(),))).fetchall())[0][0]:  # noqa: ASYNC110  nobody tells it
                await asyncio.sleep(0.2)
        seconds = time.monotonic() - began
        used = [_cpu(one) - before for one, before in zip(evaluators, cpu, strict=True)]
        used_beside = sum(_cpu(one) - before for one, before in zip(beside, cpu_beside, strict=True))
        outcomes = (await (await connection.execute(_OUTCOMES, (began_at,))).fetchall())[0]
    now_answered = await site_counts(site)
    return Round(
        name=name,
        evaluators=len(evaluators),
        monitors=monitors,
        rate=round(sum(outcomes) / seconds, 1),
        failed=outcomes[1],
        cpu_each=round(sum(used) / len(used) / seconds, 2),
        cpu_beside=round(used_beside / seconds, 2),
        memory_mib=round(max(one.memory_info().rss for one in evaluators) / 2**20, 1),
        answers={status: now_answered[status] - answered[status] for status in answered},
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def site_counts(site: int) -> dict[str, int]:
    """How many answers of each kind the site gave so far."""
    async with aiohttp.ClientSession() as session:
        found: dict[str, int] = await (await session.get(f"http://127.0.0.1:{site}/counts")).json()
    return found


async def change_the_site(site: int) -> None:
    """Every page is another one from now on."""
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://127.0.0.1:{site}/change")


async def measure(servers: Servers, *, monitors: int, evaluators_max: int, times: int) -> EvaluateFigures:
    """All rounds: a first one, in which everything is new; then unchanged and changed, with one evaluator and more."""
    rounds, site = list[Round](), free_port()
    async with AsyncExitStack() as stack:
        processes = Processes()
        stack.callback(processes.kill_all)
        parts = await stack.enter_async_context(open_the_parts(servers))
        await make_monitors(parts, monitors, site)
        beside = [processes.start(serve, site), processes.start(be_roles, servers, BESIDE)]
        await until_answered(site)
        evaluators: list[psutil.Process] = []
        for count in range(1, evaluators_max + 1):
            evaluators.append(processes.start(be_roles, servers, ("evaluator",)))
            await asyncio.sleep(3)
            if count == 1:
                rounds.append(await one_round(parts.pool, site, "first", monitors, evaluators, beside))
            for _ in range(times):
                rounds.append(await one_round(parts.pool, site, "unchanged", monitors, evaluators, beside))
                await change_the_site(site)
                rounds.append(await one_round(parts.pool, site, "changed", monitors, evaluators, beside))
    return EvaluateFigures(rounds)


async def until_answered(site: int) -> None:
    """Return when the site answers; raises `TimeoutError`."""
    async with asyncio.timeout(30):
        while True:
            try:
                await site_counts(site)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
            else:
                return


def run(
    servers: Servers, *, monitors: int, evaluators_max: int, times: int = 2, json: Path | None = None
) -> EvaluateFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, monitors=monitors, evaluators_max=evaluators_max, times=times))
    report("evaluate", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: EvaluateFigures, machine: Machine) -> list[str]:
    return [
        (
            f"fsync={machine.fsync}; aims of one process: {AIM_UNCHANGED}/s unchanged, {AIM_CHANGED}/s changed, under "
            f"{AIM_MEMORY_MIB} MiB; of two: {AIM_SCALING} times"
        ),
        *(
            f"{one.name:<10} {one.monitors} monitors, {one.evaluators} evaluator(s): {one.rate:7.1f}/s, "
            f"{one.cpu_each:.2f} of a core each, {one.cpu_beside:.2f} beside, {one.memory_mib:.0f} MiB, "
            f"{one.failed} failed, answers {one.answers}"
            for one in figures.rounds
        ),
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--monitors", type=int, default=10_000)
    parser.add_argument("--evaluators", type=int, default=2, help="rounds are run with 1 to so many")
    parser.add_argument("--times", type=int, default=2, help="how often the rounds of each are run")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, monitors=given.monitors, evaluators_max=given.evaluators, times=given.times, json=given.json)


if __name__ == "__main__":
    main()
