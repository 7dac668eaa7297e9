"""Harm to processes: they die at crash points, are killed from outside, are asked to stop under load, or are too many."""

import asyncio
import time

from domain.crash_points import CrashPoint
from faults.installation import LAYOUT
from faults.run import Run, Scenario

HOST = {role: place for place, roles in LAYOUT.items() for role in roles}
"""Which process a role lives in."""

DEATH_SECONDS_MAX = 70.0
"""A second death at `scheduler.before_enqueue` may have to wait for the 45 s after which the slots of the first are handed out."""
DRAIN_SECONDS_MAX = 15.0
"""Row 30: how long a process that was asked to stop may need. An evaluation may take 30 s, but not one of these shops'."""
SENT_BEFORE_SECONDS = 0.5
"""A request that was sent so long before a process was asked to stop had been accepted by it."""


def dying_at(point: CrashPoint, row: int) -> Scenario:
    """The process of a crash point's role dies there once or twice, with a chance that the seed decides."""

    async def harm(run: Run) -> None:
        rare = point is CrashPoint.NOTARY_BEFORE_KEEPING  # once a minute, and at each start
        deaths, chance = run.random.choice((1, 1, 2)), 1.0 if rare else run.random.choice((1.0, 0.5, 0.3))
        place, earlier = HOST[point.partition(".")[0]], len(run.ledger.deaths)
        await run.installation.arm(place, f"{point}:{chance}", run.random.getrandbits(16), deaths=deaths)
        await died_at(run, point, deaths, earlier=earlier)

    return Scenario(row, f"dies at {point}", harm)


async def died_at(run: Run, point: CrashPoint, deaths: int, *, earlier: int) -> None:
    """Return when so many processes died at the point after the first `earlier` deaths of the ledger; on a busy machine the
    first of them may have died before anybody waits for it. Raises `TimeoutError`."""

    def so_far() -> int:
        return sum(1 for death in run.ledger.deaths[earlier:] if death.crash_point == point)

    async with asyncio.timeout(DEATH_SECONDS_MAX):
        while so_far() < deaths:
            await run.bulk.append(20)
            await asyncio.sleep(0.25)


async def two_of_each(run: Run) -> None:
    """A second process beside each of the workers', and some of them killed with -9 while they divide the work."""
    names = [name for name in LAYOUT if name != "api"]
    for name in names:
        run.installation.start(f"{name}-2", *LAYOUT[name])
        run.on_heal.push_async_callback(run.installation.dismiss, f"{name}-2")
    for _ in range(run.random.randint(2, 4)):
        await asyncio.sleep(run.random.uniform(0.3, 1.0))
        run.installation.kill(run.random.choice(names) + run.random.choice(("", "-2")))
        await run.bulk.append(60)


async def asked_to_stop(run: Run) -> None:
    """SIGTERM to one process after the other: each finishes what it has accepted and ends in time, with status 0."""
    names = [*LAYOUT, "api"]
    run.random.shuffle(names)
    for name in names:
        await asyncio.sleep(run.random.uniform(0.3, 0.8))
        asked_at = time.monotonic()
        await replaced(run, name)
        if name == "api":
            _blame_cut_requests(run, asked_at)


async def replaced(run: Run, name: str) -> None:
    """Ask a process to stop, and return when the next one is in its place; it ends in time, with status 0."""
    earlier = len(run.ledger.deaths)
    await run.installation.restart(name)
    death = next(death for death in run.ledger.deaths[earlier:] if death.process == name)
    if death.status != 0:
        run.ledger.troubles.append(f"{name} ended with status {death.status} when it was asked to stop")
    if death.seconds > DRAIN_SECONDS_MAX:
        run.ledger.troubles.append(f"{name} took {death.seconds:.1f} s to stop")


def _blame_cut_requests(run: Run, asked_at: float) -> None:
    """What the API had accepted before it was asked to stop has an answer, and not one that says it broke."""
    for command in run.ledger.commands:
        for attempt in command.attempts:
            accepted = attempt.began_at < asked_at - SENT_BEFORE_SECONDS and attempt.ended_at > asked_at
            if accepted and (attempt.status is None or attempt.status in {500, 502, 504}):
                asked = f"{command.method} {command.path}"
                run.ledger.troubles.append(f"{asked} was accepted before the stop and got {attempt.status}")
