"""How long the API lets people wait who read and change their monitors, a hundred of them at once, and what a request costs.

Run as `python -m benchmarks.api`. The API is a process as `vigil api`, the workers are one, the people are one.
"""

import argparse
import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from socket import create_server, socket

import msgspec
import psutil
import structlog
import uvloop

from adapters.postgres_pool import Pool
from benchmarks.api_people import make_people
from benchmarks.api_users import READS, WRITES, Answered, Load, live
from benchmarks.evaluate import Processes, be_roles, open_the_parts
from benchmarks.machine import Machine, describe
from benchmarks.path import in_process, own_process, until_projected
from benchmarks.report import Quantiles, quantiles, report
from benchmarks.servers import Servers, durable_servers
from benchmarks.site import free_port, serve
from bootstrap.application import make_application
from bootstrap.roles import BACKLOG, serving, url_of
from bootstrap.running import ROLES
from workers.lifecycle import Stop

AIM_WRITES_P95_MS, AIM_READS_P95_MS = 50.0, 20.0
NEEDED = ("relay", "projector")
WRITES_SHARE = 0.2
REST_SECONDS = 1.0
"""Between two rounds, so that none has to do with what the one before left undone."""

_BACKENDS = "select pid from pg_stat_activity"


class Plan(msgspec.Struct, frozen=True):
    """What a round asks of the API: a share of writes, at a rate (requests a second; None: as its people think)."""

    name: str
    writes: float
    rate: float | None


class Class(msgspec.Struct, frozen=True):
    """Requests of one class: how many a second, from when they were due until their answer was there, and how many had
    another answer than the one they were to have."""

    rate: float
    latency: Quantiles
    refused: int


class Round(msgspec.Struct, frozen=True):
    """What came of a plan. `cpu_ms` is what a request cost each process, in milliseconds of a core, with all they did
    meanwhile; `kinds` are the quantiles of each kind of request; `load_average` is the machine's at the round's end."""

    plan: Plan
    reads: Class | None
    writes: Class | None
    kinds: dict[str, Quantiles]
    statuses: dict[str, int]
    cpu_ms: dict[str, float]
    load_average: float


class ApiFigures(msgspec.Struct, frozen=True):
    """All rounds."""

    users: int
    roles: tuple[str, ...]
    rounds: list[Round]


def be_api(servers: Servers, listening: socket) -> None:
    """Serve the API until killed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_be_api(servers, listening))


async def _be_api(servers: Servers, listening: socket) -> None:
    async with open_the_parts(servers) as parts, serving(make_application(parts), listening, Stop()):
        await asyncio.Event().wait()


async def measure(
    servers: Servers,
    plans: Sequence[Plan],
    *,
    users: int,
    pause: float,
    warm_up: float,
    seconds: float,
    roles: tuple[str, ...],
) -> ApiFigures:
    """Make people, start the processes, and let the people do what each plan says."""
    rounds, site = list[Round](), free_port()
    async with AsyncExitStack() as stack:
        processes = Processes()
        stack.callback(processes.kill_all)
        crowd = stack.enter_context(own_process())
        listening = stack.enter_context(create_server(("127.0.0.1", 0), backlog=BACKLOG))
        parts = await stack.enter_async_context(open_the_parts(servers))
        people, events = await make_people(parts, users, site)
        if "evaluator" in roles:
            processes.start(serve, site)
        watched = {
            "api": processes.start(be_api, servers, listening),
            "workers": processes.start(be_roles, servers, roles),
            "redis": psutil.Process((await parts.redis.info("server"))["process_id"]),
            "people": psutil.Process(await in_process(crowd, os.getpid)),
        }
        await until_projected(parts.pool, events)
        await _know_the_tables(parts.pool)
        for seed, plan in enumerate(plans):
            load = Load(
                url=url_of(listening),
                users=people,
                site=site,
                writes=plan.writes,
                rate=plan.rate,
                pause=pause,
                warm_up=warm_up,
                seconds=seconds,
                start_at=time.monotonic() + REST_SECONDS,
                seed=seed,
            )
            asked = asyncio.create_task(in_process(crowd, live, load))
            await asyncio.sleep(load.counts_from - time.monotonic())
            before = await _cpu(watched, parts.pool)
            answers: list[Answered] = await asked
            after = await _cpu(watched, parts.pool)
            rounds.append(_round(plan, seconds, answers, {name: after[name] - before[name] for name in after}))
    return ApiFigures(users, roles, rounds)


async def _know_the_tables(pool: Pool) -> None:
    """As autovacuum does within minutes: without it, plans are made for empty tables."""
    async with pool.connection() as connection:
        await connection.execute("analyze")


async def _cpu(watched: Mapping[str, psutil.Process], pool: Pool) -> dict[str, float]:
    """The seconds of a core that each used so far; PostgreSQL's are those of all its processes."""
    async with pool.connection() as connection:
        backends = await (await connection.execute(_BACKENDS)).fetchall()
    used = {name: _seconds(process) for name, process in watched.items()}
    return {**used, "postgresql": sum(_seconds(psutil.Process(pid)) for (pid,) in backends)}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _round(plan: Plan, seconds: float, answers: Sequence[Answered], used: Mapping[str, float]) -> Round:
    kinds = sorted({one.name for one in answers})
    return Round(
        plan=plan,
        reads=_class([one for one in answers if one.name in READS], seconds),
        writes=_class([one for one in answers if one.name in WRITES], seconds),
        kinds={kind: quantiles([one.seconds for one in answers if one.name == kind]) for kind in kinds},
        statuses={str(status): count for status, count in sorted(Counter(one.status for one in answers).items())},
        cpu_ms={name: round(1000 * cpu / len(answers), 2) for name, cpu in used.items()},
        load_average=round(psutil.getloadavg()[0], 2),
    )


def _class(answers: Sequence[Answered], seconds: float) -> Class | None:
    if not answers:
        return None
    refused = sum(1 for one in answers if not 200 <= one.status < 300)
    return Class(round(len(answers) / seconds, 1), quantiles([one.seconds for one in answers]), refused)


def plans_for(rates: Sequence[float]) -> list[Plan]:
    """A round of people who think; one for each rate; and reads and writes alone, at half of the lowest rate, for what
    each costs."""
    slow = min(rates) / 2
    return [
        Plan("thinking", WRITES_SHARE, None),
        *(Plan("open", WRITES_SHARE, rate) for rate in rates),
        Plan("reads alone", 0, slow),
        Plan("writes alone", 1, slow),
    ]


def run(
    servers: Servers,
    *,
    users: int = 100,
    pause: float = 1.0,
    warm_up: float = 2.0,
    seconds: float = 10,
    rates: Sequence[float] = (50, 100, 150),
    roles: tuple[str, ...] = NEEDED,
    json: Path | None = None,
) -> ApiFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    plans = plans_for(rates)
    measuring = measure(servers, plans, users=users, pause=pause, warm_up=warm_up, seconds=seconds, roles=roles)
    figures = uvloop.run(measuring)
    report("api", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: ApiFigures, machine: Machine) -> list[str]:
    aims = f"aims: p95 of writes under {AIM_WRITES_P95_MS:g} ms, of reads under {AIM_READS_P95_MS:g} ms"
    beside = ", ".join(figures.roles)
    lines = [f"{figures.users} people; beside the API: {beside} (fsync={machine.fsync}); {aims}"]
    for one in figures.rounds:
        how = "" if one.plan.rate is None else f" at {one.plan.rate:g}/s"
        cpu = ", ".join(f"{name} {cost:g}" for name, cost in one.cpu_ms.items())
        lines.append(
            f"{one.plan.name}{how}: ms of a core a request: {cpu}; answers {one.statuses}; load {one.load_average}"
        )
        lines += [
            f"  {name:<7}{found.rate:7.1f}/s  {found.latency}"
            for name, found in (("reads", one.reads), ("writes", one.writes))
            if found is not None
        ]
        lines.append("  p95 " + ", ".join(f"{kind} {found.p95:.1f}" for kind, found in one.kinds.items()))
    return lines


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds a person thinks, on average")
    parser.add_argument("--seconds", type=float, default=10, help="of each round")
    parser.add_argument("--rates", type=float, nargs="+", default=[50, 100, 150], help="of the open rounds, requests/s")
    parser.add_argument("--everything", action="store_true", help="run all workers, not only relay and projector")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    roles = tuple(ROLES) if given.everything else NEEDED
    with durable_servers() as servers:
        run(
            servers,
            users=given.users,
            pause=given.pause,
            seconds=given.seconds,
            rates=given.rates,
            roles=roles,
            json=given.json,
        )


if __name__ == "__main__":
    main()
