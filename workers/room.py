"""Room for jobs: how many one worker does at once, and whose do not keep others from it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from commands.giving_way import GivenWay
from domain.evaluation import Lane
from workers.lifecycle import Monotonic

PLACES = MappingProxyType({Lane.SCHEDULED: 50, Lane.ASKED: 10})
"""How many evaluations of each lane one process does at once. One that takes longer than `SLOW_SECONDS` gives its place to
another, until there are twice as many: a few people's slow sources do not hold up everybody else."""
WAITING_MAX = 500
"""How many evaluations of a lane that gave their places away may wait for models: that costs memory alone."""
SLOW_SECONDS = 2.0
LOOK_FOR_ROOM_SECONDS = 0.25
TAKEN_TOGETHER = 10
"""Places that are free before more jobs are taken, unless no more get free for `REFILL_SECONDS`: a round trip for each
job would be a tenth of its cost."""
REFILL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that is being done, since `at` of the monotonic clock."""

    receipt: str
    evaluation_id: UUID
    owner_id: UUID
    at: float


class Room:
    """The places of one lane, and the jobs that are being done. Who gave way takes no place any more."""

    def __init__(self, places: int, given_way: GivenWay, monotonic: Monotonic) -> None:
        self._places = places
        self._given_way = given_way
        self._monotonic = monotonic
        self._freed = asyncio.Event()
        self._given_way.tell(self._freed.set)
        self.running: dict[asyncio.Task[None], Begun] = {}

    @property
    def receipts(self) -> list[str]:
        """Of the jobs that are being done."""
        return [begun.receipt for begun in self.running.values()]

    def take(self, task: asyncio.Task[None], receipt: str, evaluation_id: UUID, owner_id: UUID) -> None:
        """A job is begun."""
        self.running[task] = Begun(receipt, evaluation_id, owner_id, self._monotonic())

    def leave(self, task: asyncio.Task[None]) -> Begun:
        """A job is over."""
        self._freed.set()
        return self.running.pop(task)

    def is_crowded_by(self, owner_id: UUID) -> bool:
        """Whether as many evaluations of this person are slow as there are places."""
        since = self._monotonic() - SLOW_SECONDS
        slow = (begun for begun in self.running.values() if begun.at <= since)
        return sum(begun.owner_id == owner_id for begun in slow) >= self._places

    @property
    def free(self) -> int:
        """How many jobs may be begun now."""
        here = [begun for task, begun in self.running.items() if task not in self._given_way]
        waiting = len(self.running) - len(here)
        since = self._monotonic() - SLOW_SECONDS
        quick = sum(begun.at > since for begun in here)
        return min(self._places - quick, 2 * self._places - len(here), WAITING_MAX + self._places - waiting - quick)

    async def is_there(self) -> bool:
        """Wait until there are places for several jobs, or for one and no more get free soon."""
        if self.free <= 0:
            self._freed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_FOR_ROOM_SECONDS):  # those that become slow tell nobody
                    await self._freed.wait()
        if 0 < self.free < min(TAKEN_TOGETHER, self._places):
            await asyncio.sleep(REFILL_SECONDS)
        return self.free > 0
