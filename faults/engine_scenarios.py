"""Harm to the evaluation engine: workers that stand still or die of a job, sites that want to harm, and a thousand monitors
that two of each worker share while they are replaced one after the other."""

import asyncio
import os
import signal
from collections import Counter
from typing import Any

import msgspec
import psutil

from faults.fleet import Ship, each_evaluated
from faults.installation import LAYOUT
from faults.process_scenarios import replaced
from faults.run import Run
from faults.world import HOSTILE

BURIED_WITHIN_SECONDS = 150.0
"""Five workers die with the job, and each time it lies for 10 s before the next one takes it over."""
HONEST_WITHIN_SECONDS = 120.0
"""A slot whose job was lost is handed out again after 45 s, and then others may be busy; a scenario that waits longer hangs."""
MEMORY_MB_MAX = 64.0
"""Row 29: what sites may make an evaluator take more than honest ones do: two pages of the largest size (5 MB), each as it
came, decoded and as text, for each kind, and some air."""
DEATHS = 5
ACT_SECONDS_MAX = 30.0
CROWD = 1000
CROWD_EVERY_SECONDS = 15
_FAILURES = """
select data->>'monitor_id', data->>'code' from event where type = 'evaluation.failed' and (data->>'monitor_id')::uuid = any (%s)
"""
_VERDICTS = "select count(*) from event where type = 'evaluation.completed' and (data->>'monitor_id')::uuid = any (%s)"
TOLD = {
    "bomb": "SOURCE_TOO_LARGE",
    "endless": "SOURCE_TOO_LARGE",
    "loop": "SOURCE_REFUSED",
    "inside": "SOURCE_REFUSED",
}
"""What becomes of a site that wants to harm; the drips end too late to be waited for."""


async def stands_still(run: Run) -> None:
    """One of two evaluators stands still, as one whose event loop is blocked or whose machine swaps, and goes on: with some
    luck before anybody took its jobs over, else after."""
    run.installation.start("work-2", *LAYOUT["work"])
    run.on_heal.push_async_callback(run.installation.dismiss, "work-2")
    process = run.installation.members["work"].process
    if process is None:
        return
    os.kill(process.pid, signal.SIGSTOP)
    run.on_heal.callback(run.installation.signal, "work", signal.SIGCONT)
    seconds = run.random.choice((5.0, 13.0))
    await run.bulk.append(40)
    await asyncio.sleep(seconds)
    async with run.pool.connection() as connection:
        await each_evaluated(connection, run.fleet.ships, 1, within_seconds=HONEST_WITHIN_SECONDS)


async def kills_its_worker(run: Run) -> None:
    """A job that every worker dies of is put away, where an operator finds it, and all others go on; the page mended, it is
    handed out again and done."""
    deaths = 0

    def strike() -> None:
        nonlocal deaths
        deaths += 1
        run.installation.kill("work")

    run.world.ambushes["deadly-0"] = strike
    [deadly] = await run.fleet.grow(run.world.shop_urls("deadly", 1), every_seconds=3600)
    run.on_heal.push_async_callback(run.fleet.retire, [deadly])
    async with asyncio.timeout(BURIED_WITHIN_SECONDS):
        while not (buried := await _dead(run)):  # noqa: ASYNC110  a command tells nobody when it would say something else
            await asyncio.sleep(1)
    del run.world.ambushes["deadly-0"]
    if len(buried) != 1 or buried[0]["monitor_id"] != str(deadly.monitor_id) or deaths < DEATHS:
        run.ledger.troubles.append(f"after {deaths} deaths these are given up: {buried}")
    others = [ship for ship in run.fleet.ships if ship is not deadly]
    async with run.pool.connection() as connection:
        await each_evaluated(connection, others, 1, within_seconds=HONEST_WITHIN_SECONDS)
    await _told(run, "retry", "--all")
    async with run.pool.connection() as connection:
        verdicts = 0
        async with asyncio.timeout(HONEST_WITHIN_SECONDS):
            while not verdicts:
                row = await (await connection.execute(_VERDICTS, ([deadly.monitor_id],))).fetchone()
                verdicts = row[0] if row else 0
                await asyncio.sleep(0.2)
    if left := await _dead(run):
        run.ledger.troubles.append(f"still given up after they were handed out again: {left}")


async def hostile_sites(run: Run) -> None:
    """Sites that send bombs, drip, never end, lead round in circles or inside: each fails by itself, the monitors beside them
    keep their slots, and the evaluator stays as small as it was."""
    honest = list(run.fleet.ships)
    async with run.pool.connection() as connection:
        await each_evaluated(connection, honest, 2, within_seconds=HONEST_WITHIN_SECONDS)
    before = _memory_mb(run)
    pages = {kind: run.world.hostile_urls(kind, 2) for kind in HOSTILE}
    hostile: dict[str, list[Ship]] = {}
    for kind, urls in pages.items():
        hostile[kind] = await run.fleet.grow(urls, every_seconds=1)
        run.on_heal.push_async_callback(run.fleet.retire, hostile[kind])
    sizes = [before]
    measuring = asyncio.create_task(_measure(run, sizes))
    try:
        async with run.pool.connection() as connection:
            await each_evaluated(connection, honest, 8, within_seconds=HONEST_WITHIN_SECONDS)
            ended = [ship for kind in TOLD for ship in hostile[kind]]
            await each_evaluated(connection, ended, 1, within_seconds=HONEST_WITHIN_SECONDS)
    finally:
        measuring.cancel()
    if max(sizes) - before > MEMORY_MB_MAX:
        run.ledger.troubles.append(f"hostile sites made the evaluator grow from {before:.0f} to {max(sizes):.0f} MB")
    await _blame_wrong_ends(run, hostile)


async def crowd_replaced(run: Run) -> None:
    """A thousand monitors, two of each worker, and one process after the other is asked to stop and replaced under load."""
    names = [name for name in LAYOUT if name != "api"]
    for name in names:
        run.installation.start(f"{name}-2", *LAYOUT[name])
        run.on_heal.push_async_callback(run.installation.dismiss, f"{name}-2")
    crowd = await run.fleet.grow(run.world.shop_urls("crowd", CROWD), every_seconds=CROWD_EVERY_SECONDS)
    run.on_rest.push_async_callback(run.fleet.retire, crowd)
    async with run.pool.connection() as connection:
        await each_evaluated(connection, crowd, 1, within_seconds=90)
        for name in ("work", "log-2", "work-2", "mail", "log", "mail-2"):
            await replaced(run, name)
        run.installation.kill(run.random.choice(("work", "work-2")))
        await each_evaluated(connection, crowd, 2, within_seconds=90)


async def _measure(run: Run, sizes: list[float]) -> None:
    while True:
        sizes.append(_memory_mb(run))
        await asyncio.sleep(0.1)


def _memory_mb(run: Run) -> float:
    process = run.installation.members["work"].process
    return 0.0 if process is None else float(psutil.Process(process.pid).memory_info().rss) / 1024**2


async def _blame_wrong_ends(run: Run, hostile: dict[str, list[Ship]]) -> None:
    kinds = {str(ship.monitor_id): kind for kind, ships in hostile.items() for ship in ships}
    ids = [ship.monitor_id for ships in hostile.values() for ship in ships]
    async with run.pool.connection() as connection:
        told = Counter(await (await connection.execute(_FAILURES, (ids,))).fetchall())
        [(verdicts,)] = await (await connection.execute(_VERDICTS, (ids,))).fetchall()
    if verdicts:
        run.ledger.troubles.append(f"{verdicts} verdicts on what hostile sites sent")
    for monitor_id, code in told:
        kind = kinds[monitor_id]
        if code != TOLD.get(kind, "SOURCE_SLOW"):
            run.ledger.troubles.append(f"a site of the kind {kind} was told of as {code}")


async def _dead(run: Run) -> list[dict[str, Any]]:
    """What `vigil evaluations dead list` shows."""
    found: list[dict[str, Any]] = msgspec.json.decode((await _told(run, "list")) or b"[]")
    return found


async def _told(run: Run, *arguments: str) -> str:
    process = run.installation.run(["evaluations", "dead", *arguments, "--json"], "dead.log")
    status = await asyncio.to_thread(process.wait, ACT_SECONDS_MAX)
    if status != 0:
        run.ledger.troubles.append(
            f"`evaluations dead {' '.join(arguments)}` ended with {status}: {process.said()[-500:]}"
        )
        return ""
    return process.said()
