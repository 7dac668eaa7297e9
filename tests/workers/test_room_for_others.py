"""One person's slow sources hold up nobody else's monitors, and one person alone has all places. Real servers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import redis.asyncio as redis
from uuid_utils.compat import uuid7

from adapters.postgres_pool import is_outage
from adapters.redis_jobs import GROUP, RedisJobs
from commands.giving_way import GivenWay
from domain.evaluation import EvaluationJob, Lane
from tests.workers.test_evaluation_queue import idle
from tests.workers.test_fair_claims import requests, slots
from tests.workers.world import Ticks, World
from workers.evaluation_queue import EvaluationQueue
from workers.room import PLACES, SLOW_SECONDS
from workers.scheduler import Scheduler


class Sources:
    """Answer at once, but for those of people in `dripping`, and of those in `asking`, who wait for a model."""

    def __init__(self) -> None:
        self.dripping: set[UUID] = set()
        self.asking: set[UUID] = set()
        self.given_way = GivenWay()
        self.begun = Counter[UUID]()
        self.dried = asyncio.Event()

    async def evaluate(self, job: EvaluationJob) -> None:
        self.begun[job.owner_id] += 1
        if job.owner_id in self.asking:
            self.given_way.give_way(0)
        if job.owner_id in self.dripping | self.asking:
            await self.dried.wait()


class Office:
    """A scheduler and a worker, and the clocks both live by."""

    def __init__(self, world: World, client: redis.Redis, lane: Lane) -> None:
        self.world, self.client, self.lane = world, client, lane
        self.ticks, self.sources = Ticks(), Sources()
        jobs = RedisJobs(client, namespace="t", consumer="one")
        self.scheduler = Scheduler(world.schedule, jobs, holder="one", now=world.clock, monotonic=Ticks())
        self.queue = EvaluationQueue(
            jobs.of(lane),
            self.sources,
            world.schedule,
            places=PLACES[lane],
            now=world.clock,
            monotonic=self.ticks,
            is_outage=is_outage,
            given_way=self.sources.given_way,
        )

    async def work(self, seconds: float = 0) -> None:
        """Hand out and work after so long, until there is nothing more to begin."""
        self.world.clock.move(seconds)
        self.ticks.move(seconds)
        await self.scheduler.step()
        turns_in_vain = 0
        while turns_in_vain < 5:
            await asyncio.sleep(0.002)
            if self.queue._room.free > 0 and await self._unread():
                await self.queue.step()
                turns_in_vain = 0
            else:
                turns_in_vain += 1

    async def _unread(self) -> int:
        """How many jobs nobody has taken: asking for more would wait."""
        key = "t:jobs:asked" if self.lane is Lane.ASKED else "t:jobs"
        return int(await self.client.xlen(key)) - int((await self.client.xpending(key, GROUP))["pending"])

    async def due(self, person: UUID, count: int) -> None:
        """So many jobs of somebody, ready now."""
        if self.lane is Lane.ASKED:
            await requests(self.world.pool, [(uuid7(), person, 0) for _ in range(count)])
        else:
            await slots(self.world.pool, [(person, 0)] * count)

    async def put_back(self) -> object:
        """How many jobs wait in the database though they were handed out before."""
        if self.lane is Lane.ASKED:
            return await self.world.value("select count(*) from evaluation_request where enqueued_at = '-infinity'")
        return await self.world.value("select count(*) from schedule where enqueued_at is null and ready_at > due_at")


@pytest.fixture(params=Lane)
async def office(
    request: pytest.FixtureRequest, world: World, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_MS", 1)
    monkeypatch.setattr("workers.room.LOOK_FOR_ROOM_SECONDS", 0.001)
    made = Office(world, client, request.param)
    await made.queue.step()  # makes the group
    yield made
    made.sources.dried.set()
    await idle(made.queue)


async def test_who_waits_for_a_model_takes_no_place(office: Office) -> None:
    asking = [uuid7() for _ in range(3 * PLACES[office.lane])]
    office.sources.asking = set(asking)
    for person in asking:
        await office.due(person, 1)
    await office.work()
    assert office.sources.begun.total() == len(asking)


async def test_no_more_wait_for_models_than_a_process_has_memory_for(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.room.WAITING_MAX", PLACES[office.lane])
    asking = [uuid7() for _ in range(4 * PLACES[office.lane])]
    office.sources.asking = set(asking)
    for person in asking:
        await office.due(person, 1)
    await office.work()
    assert office.sources.begun.total() == 2 * PLACES[office.lane]


async def test_who_has_many_slow_sources_does_not_hold_up_who_comes_later(office: Office) -> None:
    places, slow, quick = PLACES[office.lane], uuid7(), uuid7()
    office.sources.dripping = {slow}
    await office.due(slow, 4 * places)
    await office.work()
    assert office.sources.begun == {slow: places}
    await office.due(quick, 5)
    await office.work(SLOW_SECONDS)
    assert office.sources.begun == {slow: places, quick: 5}


async def test_what_was_put_off_for_others_is_done_when_there_is_room(office: Office) -> None:
    places, slow = PLACES[office.lane], uuid7()
    office.sources.dripping = {slow}
    await office.due(slow, 2 * places)
    await office.work()
    await office.work(SLOW_SECONDS)
    assert (office.sources.begun[slow], await office.put_back()) == (places, places)
    office.sources.dripping = set()
    office.sources.dried.set()
    await office.work(7)
    assert office.sources.begun[slow] == places, "they are not asked for again at once"
    await office.work(17)
    assert (office.sources.begun[slow], await office.put_back()) == (2 * places, 0)


async def test_who_is_alone_has_all_places_and_nothing_of_theirs_is_put_off(office: Office) -> None:
    places, person = PLACES[office.lane], uuid7()
    await office.due(person, 4 * places)
    await office.work()
    assert (office.sources.begun[person], await office.put_back()) == (4 * places, 0)


async def test_of_many_slow_people_no_more_is_begun_than_twice_the_places(office: Office) -> None:
    places = PLACES[office.lane]
    people = [uuid7() for _ in range(2 * places + 5)]
    office.sources.dripping = set(people)
    for person in people:
        await office.due(person, 1)
    for begun in (places, 2 * places, 2 * places):
        await office.work(SLOW_SECONDS)
        assert office.sources.begun.total() == begun
    assert await office.put_back() == 0
    office.sources.dried.set()
    await office.work()
    assert office.sources.begun.total() == len(people)
