"""How long after it is due an evaluation starts, and how long after somebody asked for it, under a steady load.

Run as `python -m benchmarks.starting`. Relay, projector and scheduler are a process, the evaluator is one, the site is one.
"""

import argparse
import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import structlog
import uvloop
from uuid_utils.compat import uuid7

from benchmarks.evaluate import BESIDE, Processes, be_roles, make_monitors, open_the_parts, until_answered
from benchmarks.machine import Machine, describe
from benchmarks.report import Quantiles, quantiles, report
from benchmarks.servers import Servers, durable_servers
from benchmarks.site import free_port, serve
from bootstrap.now_and_new import utc_now
from bootstrap.parts import Parts
from commands.caller import Caller

AIM_DUE_P99_MS, AIM_ASKED_MS = 1000.0, 100.0
LEAD_SECONDS = 3.0
ASK_SECONDS = 0.1

_SPREAD = """
with numbered as (select monitor_id, row_number() over (order by monitor_id) as n from schedule)
update schedule s set due_at = %(begin)s + n * %(gap)s, ready_at = %(begin)s + n * %(gap)s, enqueued_at = null
from numbered where s.monitor_id = numbered.monitor_id
"""
_STARTED = """
select extract(epoch from (data->>'started_at')::timestamptz - (data->>'due_at')::timestamptz)::float
from event where type in ('evaluation.completed', 'evaluation.failed') and (data->>'due_at')::timestamptz >= %s
  and stream_id <> all (%s)
"""
_STARTED_ASKED = """
select extract(epoch from (c.data->>'started_at')::timestamptz - (r.data->>'requested_at')::timestamptz)::float
from event r join event c on c.stream_id = r.stream_id and c.version > r.version
where r.stream_id = any (%s) and r.type = 'evaluation.requested' and c.type like 'evaluation.%%ed'
  and c.type <> 'evaluation.fact_extracted'
"""
_OWNERS = "select owner_id, monitor_id from schedule order by monitor_id limit 200"


class StartingFigures(msgspec.Struct, frozen=True):
    """From due to started, and from asked to started."""

    rate: float
    evaluations: int
    asked: int
    due: Quantiles
    asked_for: Quantiles


async def measure(servers: Servers, *, rate: float, seconds: float) -> StartingFigures:
    """A first round that reads everything, then slots that become due one after the other, with questions among them."""
    count, site = round(rate * seconds), free_port()
    async with AsyncExitStack() as stack:
        processes = Processes()
        stack.callback(processes.kill_all)
        parts = await stack.enter_async_context(open_the_parts(servers))
        await make_monitors(parts, count, site)
        processes.start(serve, site)
        processes.start(be_roles, servers, BESIDE)
        processes.start(be_roles, servers, ("evaluator",))
        await until_answered(site)
        await _round(parts, begin=utc_now() + timedelta(seconds=LEAD_SECONDS), rate=rate, seconds=seconds)
        begin = utc_now() + timedelta(seconds=LEAD_SECONDS)
        asking = asyncio.create_task(_ask(parts, begin=begin, seconds=seconds))
        await _round(parts, begin=begin, rate=rate, seconds=seconds)
        asked = await asking
        await asyncio.sleep(2)
        async with parts.pool.connection() as connection:
            due = await (await connection.execute(_STARTED, (begin, asked))).fetchall()
            answered = await (await connection.execute(_STARTED_ASKED, (asked,))).fetchall()
    return StartingFigures(
        rate=rate,
        evaluations=len(due),
        asked=len(answered),
        due=quantiles([late for (late,) in due]),
        asked_for=quantiles([late for (late,) in answered]),
    )


async def _round(parts: Parts, *, begin: datetime, rate: float, seconds: float) -> None:
    async with parts.pool.connection() as connection:
        await connection.execute(_SPREAD, {"begin": begin, "gap": timedelta(seconds=1 / rate)})
        async with asyncio.timeout(seconds * 5 + 60):
            left = "select count(*) from schedule where due_at < %s"
            end = begin + timedelta(seconds=seconds + 60)
            while (await (await connection.execute(left, (end,))).fetchall())[0][0]:  # noqa: ASYNC110  nobody tells it
                await asyncio.sleep(0.2)


async def _ask(parts: Parts, *, begin: datetime, seconds: float) -> list[UUID]:
    """Ask for an evaluation again and again while slots become due, as the API does."""
    monitors = parts.monitors()
    async with parts.pool.connection() as connection:
        rows = await (await connection.execute(_OWNERS)).fetchall()
    await asyncio.sleep((begin - utc_now()).total_seconds())
    asked: list[UUID] = []
    for turn in range(int(seconds / ASK_SECONDS)):
        owner_id, monitor_id = rows[turn % len(rows)]
        caller = Caller(user_id=owner_id, roles=frozenset(), correlation_id=uuid7())
        written = await monitors.evaluate(caller, monitor_id, answer=lambda done: {"id": done.stream_id})
        asked.append(written.stream_id)
        await asyncio.sleep(ASK_SECONDS)
    return asked


def run(servers: Servers, *, rate: float, seconds: float, json: Path | None = None) -> StartingFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, rate=rate, seconds=seconds))
    report("starting", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: StartingFigures, machine: Machine) -> list[str]:
    return [
        f"{figures.evaluations} slots at {figures.rate:g}/s, {figures.asked} asked for among them (fsync={machine.fsync})",
        f"due to started     {figures.due}   (aim: p99 under {AIM_DUE_P99_MS:g})",
        f"asked to started   {figures.asked_for}   (aim: under {AIM_ASKED_MS:g})",
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starting", description=__doc__)
    parser.add_argument("--rate", type=float, default=300, help="slots a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, rate=given.rate, seconds=given.seconds, json=given.json)


if __name__ == "__main__":
    main()
