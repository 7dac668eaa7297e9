"""Many seeds: several installations share the machine, because most of a seed's time is waiting for leases and claims to run
out; each plays one seed after the other, because setting one up is most of the rest."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from faults.report import Report, report_of
from faults.run import Outcome, installed, play
from faults.scenarios import scenarios_of
from faults.servers import Servers

INSTALLATIONS = 4

Told = Callable[[Outcome], None]


async def play_seeds(
    servers: Servers,
    seeds: Sequence[int],
    *,
    at_once: int = INSTALLATIONS,
    long: bool = False,
    told: Told = lambda _outcome: None,
) -> Report:
    """Play all seeds in `at_once` installations, with the long scenarios or without; `told` hears each outcome as it comes."""
    began, outcomes, left = time.monotonic(), list[Outcome](), list(seeds)

    def hear(outcome: Outcome) -> None:
        outcomes.append(outcome)
        told(outcome)

    names = (f"installation-{number}" for number in itertools.count(1))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(seeds))):
            group.create_task(_play_while_any(servers, left, names, hear, long=long))
    return report_of(outcomes, first_seed=min(seeds), seeds=len(seeds), seconds=time.monotonic() - began)


async def _play_while_any(servers: Servers, left: list[int], names: Iterator[str], told: Told, *, long: bool) -> None:
    """Play what is left in one installation, and after a finding in a new one."""
    while left:
        async with installed(servers, next(names)) as run:
            sound = True
            while left and sound:
                seed = left.pop(0)
                for outcome in await play(run, seed, scenarios_of(seed, long=long)):
                    told(outcome)
                    sound = sound and not outcome.findings
