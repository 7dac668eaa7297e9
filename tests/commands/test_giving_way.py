"""Evaluations that give their place to others while they wait for a model, as long as there is memory for all."""

import asyncio

from commands.giving_way import HELD_BYTES_MAX, GivenWay


class Waiting:
    """Tasks that wait with so much in their hands, and who gave way."""

    def __init__(self) -> None:
        self.given_way, self.told = GivenWay(), 0
        self.given_way.tell(self._tell)
        self.done = asyncio.Event()

    async def waits(self, held_bytes: int) -> asyncio.Task[None]:
        task = asyncio.create_task(self._wait(held_bytes))
        await asyncio.sleep(0)
        return task

    async def _wait(self, held_bytes: int) -> None:
        self.given_way.give_way(held_bytes)
        self.given_way.give_way(held_bytes)
        await self.done.wait()

    def _tell(self) -> None:
        self.told += 1


async def test_who_gives_way_has_done_so_until_it_ends() -> None:
    waiting = Waiting()
    task = await waiting.waits(1)
    assert (task in waiting.given_way, waiting.told) == (True, 1)
    waiting.done.set()
    await task
    assert task not in waiting.given_way


async def test_who_holds_more_than_there_is_room_for_keeps_its_place() -> None:
    waiting = Waiting()
    first, second = await waiting.waits(HELD_BYTES_MAX - 1), await waiting.waits(2)
    small = await waiting.waits(1)
    assert [task in waiting.given_way for task in (first, second, small)] == [True, False, True]
    waiting.done.set()
    await asyncio.gather(first, second, small)
    waiting.done.clear()
    assert await waiting.waits(HELD_BYTES_MAX) in waiting.given_way
