"""Row 17 of the fault matrix: a wall clock that jumps an hour. Schedules neither flood nor stall, and what was asked for is
answered. A scheduler and workers on one clock, with real PostgreSQL and Redis; no process is told a wrong time."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
import redis.asyncio as redis

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.postgres_pool import is_outage
from adapters.redis_jobs import RedisJobs
from domain.evaluation import EvaluationCompleted, EvaluationFailed, Lane
from domain.schedule import Cron, Every
from tests.conftest import AT
from tests.workers.test_evaluation_queue import idle
from tests.workers.world import EVERY_SECONDS, Clock, Page, Ticks, World, plan
from workers.evaluation_queue import EvaluationQueue
from workers.evaluator import Evaluator
from workers.scheduler import LOST_AFTER, Scheduler

HOUR = 3600
MONITORS = 6


class Engine:
    """A scheduler and a worker for each lane, on the world's clock."""

    def __init__(self, world: World, client: redis.Redis, evaluator: Evaluator) -> None:
        self.world = world
        self._jobs = RedisJobs(client, namespace="t", consumer="one")
        self.evaluator = evaluator
        self.start_again()

    def start_again(self) -> None:
        """Processes that know nothing of what was before."""
        self._scheduler = Scheduler(
            self.world.schedule, self._jobs, holder="one", now=self.world.clock, monotonic=Ticks()
        )
        self._workers = [
            EvaluationQueue(
                self._jobs.of(lane),
                self.evaluator,
                self.world.schedule,
                places=20,
                now=self.world.clock,
                monotonic=Ticks(),
                is_outage=is_outage,
            )
            for lane in Lane
        ]

    async def turn(self) -> Counter[UUID]:
        """Hand out what is ready until there is nothing more; how often each monitor came to an outcome."""
        before = await self.outcomes()
        for _ in range(3):
            await self._scheduler.step()
            for worker in self._workers:
                await worker.step()
                await worker.step()
                await idle(worker)
        return await self.outcomes() - before

    async def outcomes(self) -> Counter[UUID]:
        completed, failed = await self.world.all(EvaluationCompleted), await self.world.all(EvaluationFailed)
        return Counter([one.monitor_id for one in completed]) + Counter([one.monitor_id for one in failed])


@pytest.fixture
async def engine(world: World, client: redis.Redis, fetcher: AiohttpFetcher, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_MS", 1)
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_SOON_MS", 1)
    made = Engine(world, client, world.evaluator(fetcher, retries_max=2))
    await made.turn()  # makes the groups
    return made


async def some_monitors(world: World, page: Page) -> list[UUID]:
    """Due one after the other within an interval."""
    owner = await world.person()
    due = (AT + timedelta(seconds=EVERY_SECONDS * n / MONITORS) for n in range(MONITORS))
    return [await world.monitor(owner, plan(page.url), due_at=at) for at in due]


async def test_a_clock_that_jumps_ahead_leads_to_one_evaluation_of_each_and_not_to_all_that_were_missed(
    engine: Engine, world: World, page: Page, clock: Clock
) -> None:
    monitors = await some_monitors(world, page)
    clock.move(HOUR)
    assert await engine.turn() == Counter(monitors)
    assert await engine.turn() == Counter()
    clock.move(EVERY_SECONDS)
    assert await engine.turn() == Counter(monitors)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_jumps_back_keeps_nobody_waiting_longer_than_their_interval_and_brings_no_slot_twice(
    engine: Engine, world: World, page: Page, clock: Clock, *, restarted: bool
) -> None:
    monitors = await some_monitors(world, page)
    clock.move(HOUR)
    assert await engine.turn() == Counter(monitors)
    clock.move(-HOUR)
    if restarted:
        engine.start_again()
    assert sum((await engine.turn()).values()) <= MONITORS
    for _ in range(3):
        clock.move(EVERY_SECONDS)
        assert await engine.turn() == Counter(monitors)
    done = [(one.monitor_id, one.due_at) for one in await world.all(EvaluationCompleted)]
    assert len(done) == len(set(done))


async def test_a_slot_that_was_put_back_by_a_clock_ahead_is_tried_again_by_the_right_one(
    engine: Engine, world: World, page: Page, clock: Clock
) -> None:
    monitor = await world.monitor(await world.person(), plan(page.url))
    page.status = 500
    clock.move(HOUR)
    assert await engine.turn() == Counter()  # a hiccup so far
    page.status = 200
    clock.move(-HOUR)
    clock.move(5)
    assert await engine.turn() == Counter([monitor])


async def test_what_somebody_asked_for_is_answered_wherever_the_clock_jumps(
    engine: Engine, world: World, page: Page, clock: Clock
) -> None:
    owner = await world.person()
    rare = plan(page.url, schedule=Every(seconds=48 * HOUR))
    monitor = await world.monitor(owner, rare, due_at=AT + timedelta(days=1))
    page.status = 500
    clock.move(HOUR)
    ahead = await world.request(owner, monitor)
    assert await engine.turn() == Counter()
    page.status = 200
    clock.move(-HOUR)
    assert await engine.turn() == Counter([monitor])
    behind = await world.request(owner, monitor)
    clock.move(HOUR)
    assert await engine.turn() == Counter([monitor])
    for job in (ahead, behind):
        assert isinstance(await world.outcome(job), EvaluationCompleted)


async def test_what_a_host_with_a_clock_ahead_handed_out_is_handed_out_again_by_a_scheduler_that_starts(
    engine: Engine, world: World, page: Page, clock: Clock
) -> None:
    monitor = await world.monitor(await world.person(), plan(page.url))
    clock.move(HOUR)
    [taken] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert taken.monitor_id == monitor  # and its scheduler died before it queued it
    clock.move(-HOUR)
    assert await engine.turn() == Counter()
    engine.start_again()
    assert await engine.turn() == Counter([monitor])


async def test_a_calendar_goes_on_with_its_next_instant_after_a_jump_back(
    engine: Engine, world: World, page: Page, clock: Clock
) -> None:
    monitor = await world.monitor(await world.person(), plan(page.url, schedule=Cron(line="0 * * * *")))
    clock.move(HOUR)
    assert await engine.turn() == Counter([monitor])
    clock.move(-HOUR)
    assert await engine.turn() == Counter()
    clock.move(2 * HOUR + 5)
    assert await engine.turn() == Counter([monitor])
