"""A job that kills the process it is done in: how many die of it, and what becomes of those that were begun beside it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.postgres_dead_jobs import PostgresDeadJobs
from adapters.postgres_pool import is_outage
from adapters.redis_jobs import GROUP, RedisJobs
from domain.evaluation import EvaluationCompleted, EvaluationJob, Lane
from domain.schedule import Every
from tests.conftest import AT
from tests.workers.test_evaluation_queue import Shelf
from tests.workers.world import Clock, Page, Ticks, World, plan, until
from workers.evaluation_queue import ATTEMPTS_MAX, RENEWAL_SECONDS, TAKE_OVER_IDLE_MS, EvaluationQueue
from workers.later import NotYet
from workers.scheduler import LOST_AFTER, Scheduler

KEYS = ("t:jobs:asked", "t:jobs")
DAILY = Every(seconds=86_400)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_MS", 1)
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_SOON_MS", 1)


class Fleet:
    """A scheduler, and processes with both lanes that are killed and started again. Who reads `deadly` dies of it."""

    def __init__(self, world: World, client: redis.Redis, fetcher: AiohttpFetcher, deadly: Page) -> None:
        self.world, self.client, self.deadly = world, client, deadly
        self.jobs = RedisJobs(client, namespace="t", consumer="first")
        self.scheduler = Scheduler(world.schedule, self.jobs, holder="one", now=world.clock, monotonic=Ticks())
        self.evaluator = world.evaluator(fetcher)
        self.deaths = 0
        self.lanes: list[EvaluationQueue] = []
        deadly.hold = asyncio.Event()

    async def turn(self) -> bool:
        """A process begins and works until there is nothing to do, or it dies; whether it died."""
        read, suspect, ticks = len(self.deadly.seen), asyncio.Lock(), Ticks()
        self.lanes = lanes = [
            EvaluationQueue(
                self.jobs.of(lane),
                self.evaluator,
                self.world.schedule,
                places=20,
                now=self.world.clock,
                monotonic=ticks,
                is_outage=is_outage,
                suspect=suspect,
            )
            for lane in (Lane.ASKED, Lane.SCHEDULED)
        ]
        await self.scheduler.step()
        for _ in range(200):
            for one, key in zip(lanes, KEYS, strict=True):
                if await self.client.xlen(key):  # who asks an empty lane waits
                    await one.step()
            if len(self.deadly.seen) > read:
                await self.die()
                return True
            ticks.move(RENEWAL_SECONDS)
            if not any(one._running for one in lanes) and not await self.waiting():
                break
            await asyncio.sleep(0.001)
        return False

    def is_doing(self, job: EvaluationJob) -> bool:
        return any(begun.owner_id == job.owner_id for one in self.lanes for begun in one._running.values())

    async def die(self) -> None:
        """The process is killed, and nobody says any more that its jobs are worked on."""
        self.deaths += 1
        begun = [task for one in self.lanes for task in one._running]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        for key in KEYS:
            pending = await self.client.xpending_range(key, GROUP, "-", "+", 100)
            receipts: list[bytes | str | int | memoryview[int]] = [one["message_id"] for one in pending]
            if receipts:
                await self.client.xclaim(key, GROUP, "first", 0, receipts, idle=TAKE_OVER_IDLE_MS, justid=True)

    async def waiting(self) -> int:
        """How many entries are in the queue."""
        return sum([int(await self.client.xlen(key)) for key in KEYS])

    async def job(self, lane: Lane, page: Page) -> EvaluationJob:
        owner = await self.world.person()
        if lane is Lane.SCHEDULED:
            return await self.world.slot(owner, await self.world.monitor(owner, plan(page.url, schedule=DAILY)))
        far = AT + timedelta(days=1000)
        return await self.world.request(owner, await self.world.monitor(owner, plan(page.url), due_at=far))


@pytest.fixture
async def fleet(world: World, client: redis.Redis, fetcher: AiohttpFetcher, page: Page) -> AsyncIterator[Fleet]:
    await world.execute("delete from dead_job")
    made = Fleet(world, client, fetcher, page)
    held = page.hold
    assert held is not None
    await made.scheduler.step()  # which brings back what a clock ahead put off
    for lane in Lane:
        await made.jobs.of(lane).take(1, block_ms=1)  # makes the group
    yield made
    held.set()


@pytest.fixture
async def dead(world: World) -> PostgresDeadJobs:
    return PostgresDeadJobs(world.pool)


@pytest.mark.parametrize("seconds", [15, 60, 150])
@pytest.mark.parametrize("lane", Lane)
async def test_a_job_kills_no_more_processes_than_it_may_be_tried_however_long_they_take_to_come_back(
    fleet: Fleet, dead: PostgresDeadJobs, clock: Clock, lane: Lane, seconds: float
) -> None:
    deadly = await fleet.job(lane, fleet.deadly)
    with capture_logs():
        for _ in range(ATTEMPTS_MAX):
            assert await fleet.turn()
            assert await dead.all() == []
            for _ in range(
                int(seconds // LOST_AFTER.total_seconds())
            ):  # the scheduler lives, and hands out what is lost
                clock.move(LOST_AFTER.total_seconds())
                await fleet.scheduler.step()
            clock.move(seconds % LOST_AFTER.total_seconds())
        for _ in range(4):
            assert not await fleet.turn()
            clock.move(60)
    [buried] = await dead.all()
    assert (buried.evaluation_id, buried.attempts) == (deadly.evaluation_id, ATTEMPTS_MAX)
    assert fleet.deaths == ATTEMPTS_MAX
    assert await fleet.waiting() == 0


@pytest.mark.parametrize("lane", Lane)
async def test_deaths_count_also_when_the_job_was_put_back_between_them(
    fleet: Fleet, dead: PostgresDeadJobs, clock: Clock, world: World, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.job(lane, fleet.deadly)
    evaluator, turns = fleet.evaluator, 0

    class Hesitating:
        """Says "later" each second time, as for a host that wants a pause."""

        async def evaluate(self, job: EvaluationJob) -> None:
            nonlocal turns
            turns += 1
            if turns % 2 == 0:
                raise NotYet(clock() + timedelta(seconds=1), is_attempt=False)
            await evaluator.evaluate(job)

    monkeypatch.setattr(fleet, "evaluator", Hesitating())
    with capture_logs():
        for _ in range(4 * ATTEMPTS_MAX):
            await fleet.turn()
            clock.move(15)
    assert len(await dead.all()) == 1
    assert fleet.deaths == ATTEMPTS_MAX


@pytest.mark.parametrize("lane", Lane)
async def test_what_is_done_beside_a_deadly_job_loses_no_evaluation_and_is_not_put_away(
    fleet: Fleet, dead: PostgresDeadJobs, clock: Clock, world: World, other_page: Page, lane: Lane
) -> None:
    other_page.hold = asyncio.Event()
    innocent = [await fleet.job(one, other_page) for one in Lane for _ in range(4)]
    deadly = await fleet.job(lane, fleet.deadly)
    innocent += [await fleet.job(one, other_page) for one in Lane for _ in range(4)]

    async def until_it_died() -> None:
        """Nothing that is begun beside it, or after it, is over before the process is."""
        while fleet.is_doing(deadly):
            await asyncio.sleep(0.001)

    with capture_logs():
        assert await fleet.turn()
        other_page.hold.set()
        other_page.hold = None
        other_page.on_request = until_it_died
        for _ in range(20 * ATTEMPTS_MAX):
            await fleet.turn()
            clock.move(12)
            if await dead.all():
                break
        clock.move(60)
        assert not await fleet.turn()
        clock.move(60)
        assert not await fleet.turn()
    assert [one.evaluation_id for one in await dead.all()] == [deadly.evaluation_id]
    assert fleet.deaths == ATTEMPTS_MAX
    for job in innocent:
        assert isinstance(await world.outcome(job), EvaluationCompleted)


async def test_who_cannot_write_down_that_a_worker_died_does_not_begin_the_job_and_counts_no_death_of_its_own(
    fleet: Fleet, world: World
) -> None:
    job, shelf, ticks = await fleet.job(Lane.SCHEDULED, fleet.deadly), Shelf(away=True), Ticks()
    assert await fleet.turn()
    other = EvaluationQueue(
        fleet.jobs,
        fleet.evaluator,
        shelf,
        places=20,
        now=world.clock,
        monotonic=ticks,
        is_outage=is_outage,
    )
    for _ in range(ATTEMPTS_MAX):
        with pytest.raises(ConnectionError):
            await other.step()
        [entry] = await fleet.client.xpending_range("t:jobs", GROUP, "-", "+", 10)
        assert entry["times_delivered"] == 1
        await fleet.client.xclaim("t:jobs", GROUP, "first", 0, [entry["message_id"]], idle=10**6, justid=True)
        ticks.move(RENEWAL_SECONDS)
    shelf.away, read = False, len(fleet.deadly.seen)
    await other.step()
    await until(lambda: len(fleet.deadly.seen) > read)
    assert shelf.put == [(job.evaluation_id, world.clock() + LOST_AFTER, 1)]
    fleet.lanes = [other]
    await fleet.die()


async def test_an_entry_that_is_older_than_its_job_is_let_go(
    fleet: Fleet, world: World, page: Page, clock: Clock
) -> None:
    """A job that was put back since is handed out anew; one whose request is gone is done, or given up."""
    page.hold = None
    slot, asked = await fleet.job(Lane.SCHEDULED, page), await fleet.job(Lane.ASKED, page)
    for job in (slot, asked):
        await world.schedule.put_back(job, until=clock(), attempts=2)
        await world.schedule.put_back(job, until=clock(), attempts=1)  # by who knew less
        await fleet.evaluator.evaluate(job)
    with capture_logs():
        await world.schedule.bury(asked, error="deadly", now=clock())
    await fleet.evaluator.evaluate(asked)
    assert page.seen == []
    [again] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert (again.evaluation_id, again.attempts) == (slot.evaluation_id, 2)
    await fleet.evaluator.evaluate(again)
    assert isinstance(await world.outcome(slot), EvaluationCompleted)
