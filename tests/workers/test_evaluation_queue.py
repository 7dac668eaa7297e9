"""Working off the queue: nothing is acknowledged before it is recorded, nothing that died stays lying. Real Redis."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.postgres_pool import is_outage
from adapters.redis_jobs import GROUP, RedisJobs
from domain.evaluation import EvaluationCompleted, EvaluationJob, Lane
from tests.conftest import AT
from tests.workers.world import Page, RestlessStop, Ticks, World, plan, until
from workers.evaluation_queue import RENEWAL_SECONDS, TAKE_OVER_IDLE_MS, Evaluating, EvaluationQueue
from workers.room import PLACES


class Bench:
    """Does jobs as the test tells it: at once, when it is released, or not at all."""

    def __init__(self) -> None:
        self.begun: list[UUID] = []
        self.done: list[UUID] = []
        self.hold: asyncio.Event | None = None
        self.fails = 0

    async def evaluate(self, job: EvaluationJob) -> None:
        self.begun.append(job.evaluation_id)
        if self.hold is not None:
            await self.hold.wait()
        if self.fails > 0:
            self.fails -= 1
            raise ConnectionError("the store is away")
        self.done.append(job.evaluation_id)


class Shelf:
    """Where jobs go that are not done, as long as the database is there."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.put: list[tuple[UUID, datetime, int]] = []
        self.buried: list[tuple[UUID, str]] = []

    async def put_back(self, job: EvaluationJob, *, until: datetime, attempts: int) -> None:
        if self.away:
            raise ConnectionError("the store is away")
        self.put.append((job.evaluation_id, until, attempts))

    async def put_back_unbegun(self, job: EvaluationJob, *, until: datetime, attempts: int) -> None:
        await self.put_back(job, until=until, attempts=attempts)

    async def bury(self, job: EvaluationJob, *, error: str, now: datetime) -> None:
        if self.away:
            raise ConnectionError("the store is away")
        self.buried.append((job.evaluation_id, error))


def queue_of(jobs: RedisJobs, evaluating: Evaluating, ticks: Ticks, *, shelf: Shelf | None = None) -> EvaluationQueue:
    """A worker on the queue; without a shelf the database is away."""
    return EvaluationQueue(
        jobs,
        evaluating,
        shelf or Shelf(away=True),
        places=PLACES[Lane.SCHEDULED],
        now=lambda: AT,
        monotonic=ticks,
        is_outage=is_outage,
    )


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for jobs, and for those that are slow, takes milliseconds here."""
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_MS", 1)
    monkeypatch.setattr("workers.evaluation_queue.RENEWAL_SECONDS", 0.01)


def jobs_of(client: redis.Redis, consumer: str) -> RedisJobs:
    return RedisJobs(client, namespace="t", consumer=consumer)


@pytest.fixture
async def jobs(client: redis.Redis) -> RedisJobs:
    """The queue as one worker sees it, with its group made."""
    opened = jobs_of(client, "one")
    await opened.take(1, block_ms=1)
    return opened


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def queue(jobs: RedisJobs, bench: Bench) -> EvaluationQueue:
    return queue_of(jobs, bench, Ticks())


async def enqueue(jobs: RedisJobs, count: int = 1) -> list[UUID]:
    made = [EvaluationJob(evaluation_id=uuid7(), monitor_id=uuid7(), owner_id=uuid7(), due_at=AT) for _ in range(count)]
    await jobs.enqueue(made)
    return [job.evaluation_id for job in made]


async def pending(client: redis.Redis) -> int:
    return int((await client.xpending("t:jobs", GROUP))["pending"])


async def left(client: redis.Redis) -> int:
    return int(await client.xlen("t:jobs"))


async def age(client: redis.Redis, milliseconds: int) -> None:
    """Let this long pass since worker one last said that it works on what is pending."""
    receipts: list[bytes | str | int | memoryview[int]] = [
        one["message_id"] for one in await client.xpending_range("t:jobs", GROUP, "-", "+", 100)
    ]
    await client.xclaim("t:jobs", GROUP, "one", 0, receipts, idle=milliseconds, justid=True)


async def idle(queue: EvaluationQueue) -> None:
    """Return when nothing is running."""
    await until(lambda: not queue._running and queue._acknowledging is None)


async def test_a_job_is_acknowledged_only_after_it_is_recorded(
    queue: EvaluationQueue, jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    bench.hold = asyncio.Event()
    [job] = await enqueue(jobs)
    await queue.step()
    await until(lambda: bench.begun == [job])
    assert (await pending(client), await left(client)) == (1, 1)
    bench.hold.set()
    await idle(queue)
    assert (await pending(client), await left(client)) == (0, 0)
    assert bench.done == [job]


async def test_the_first_worker_makes_the_group_and_misses_nothing(client: redis.Redis, bench: Bench) -> None:
    jobs = jobs_of(client, "one")
    made = await enqueue(jobs, 3)
    queue = queue_of(jobs, bench, Ticks())
    await queue.step()
    await queue.step()
    await idle(queue)
    assert sorted(bench.done) == sorted(made)


async def test_workers_share_the_jobs(jobs: RedisJobs, bench: Bench, client: redis.Redis) -> None:
    made = await enqueue(jobs, 40)
    queues = [queue_of(jobs_of(client, str(n)), bench, Ticks()) for n in range(3)]
    for _ in range(3):
        await asyncio.gather(*(one.step() for one in queues))
    for one in queues:
        await idle(one)
    assert sorted(bench.done) == sorted(made)


async def test_a_job_that_failed_stays_and_is_taken_up_again_when_it_has_been_idle(
    jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    bench.fails, ticks = 1, Ticks()
    queue = queue_of(jobs, bench, ticks)
    [job] = await enqueue(jobs)
    with capture_logs() as logged:
        await queue.step()
        await idle(queue)
    assert {one["event"] for one in logged} == {"evaluation failed", "evaluation not recorded"}
    assert (bench.begun, bench.done, await pending(client)) == ([job], [], 1)
    await age(client, TAKE_OVER_IDLE_MS)
    ticks.move(RENEWAL_SECONDS)
    await queue.step()
    await idle(queue)
    assert (bench.begun, bench.done, await pending(client)) == ([job, job], [job], 0)


async def test_a_job_of_a_worker_that_died_is_taken_over_and_not_before_it_has_been_idle(
    jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    [job] = await enqueue(jobs)
    assert len(await jobs.take(1, block_ms=1)) == 1  # by a worker that dies now
    ticks = Ticks()
    other = queue_of(jobs_of(client, "two"), bench, ticks, shelf=Shelf())
    await age(client, TAKE_OVER_IDLE_MS // 2)
    await other.step()
    assert bench.begun == []
    await age(client, TAKE_OVER_IDLE_MS)
    ticks.move(RENEWAL_SECONDS)
    await other.step()
    await idle(other)
    assert bench.done == [job]


async def test_a_slow_job_of_a_living_worker_is_not_taken_over(
    jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    thief, ticks = Bench(), Ticks()
    bench.hold = asyncio.Event()
    queue = queue_of(jobs, bench, ticks)
    other = queue_of(jobs_of(client, "two"), thief, ticks, shelf=Shelf())
    await enqueue(jobs)
    await queue.step()
    for _ in range(3):
        await age(client, TAKE_OVER_IDLE_MS)
        ticks.move(RENEWAL_SECONDS)
        await queue.step()
        await other.step()
    assert (len(bench.begun), thief.begun) == (1, [])
    await age(client, TAKE_OVER_IDLE_MS)  # and the slow one renews no more
    ticks.move(RENEWAL_SECONDS)
    await other.step()
    await idle(other)
    assert len(thief.done) == 1
    bench.hold.set()
    await idle(queue)


async def test_a_job_that_is_handed_out_once_more_while_it_is_done_is_done_once(
    queue: EvaluationQueue, jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    bench.hold = asyncio.Event()
    job = EvaluationJob(evaluation_id=uuid7(), monitor_id=uuid7(), owner_id=uuid7(), due_at=AT)
    await jobs.enqueue([job])
    await queue.step()
    await until(lambda: bench.begun == [job.evaluation_id])
    await jobs.enqueue([job])
    await queue.step()
    await until(lambda: queue._acknowledging is None)
    assert (await pending(client), await left(client)) == (1, 1), "the first entry stays until it is done"
    bench.hold.set()
    await idle(queue)
    assert bench.begun == bench.done == [job.evaluation_id]
    await jobs.enqueue([job])
    await queue.step()
    await idle(queue)
    assert len(bench.done) == 2, "what comes later is judged by what is recorded"


async def test_a_worker_with_its_hands_full_waits_for_one_to_end_and_renews_meanwhile(
    jobs: RedisJobs, bench: Bench, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.workers.test_evaluation_queue.PLACES", {Lane.SCHEDULED: 2})
    bench.hold, ticks = asyncio.Event(), Ticks()
    queue = queue_of(jobs, bench, ticks)
    made = await enqueue(jobs, 3)
    await queue.step()
    await until(lambda: len(bench.begun) == 2)
    assert await queue.step() == 0.0
    ticks.move(1)
    assert await queue.step() == 0.0
    assert len(bench.begun) == 2
    bench.hold.set()
    await queue.step()
    await idle(queue)
    await queue.step()
    await idle(queue)
    assert sorted(bench.done) == sorted(made)


async def test_a_queue_that_is_flushed_under_running_jobs_goes_on(
    jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    ticks = Ticks()
    queue = queue_of(jobs, bench, ticks)
    bench.hold = asyncio.Event()
    [first] = await enqueue(jobs)
    await queue.step()
    await until(lambda: len(bench.begun) == 1)
    await client.flushall()
    ticks.move(RENEWAL_SECONDS)
    await queue.step()
    [second] = await enqueue(jobs)
    bench.hold.set()
    await queue.step()
    await idle(queue)
    assert sorted(bench.done) == sorted([first, second])
    assert await left(client) == 0


async def test_a_worker_asked_to_stop_finishes_what_is_running(
    queue: EvaluationQueue, jobs: RedisJobs, bench: Bench, client: redis.Redis
) -> None:
    bench.hold = asyncio.Event()
    made = await enqueue(jobs, 2)
    stopping = asyncio.create_task(queue.run(RestlessStop(rests_max=1)))
    await until(lambda: len(bench.begun) == 2)
    await asyncio.sleep(0.03)
    assert not stopping.done()
    bench.hold.set()
    await stopping
    assert sorted(bench.done) == sorted(made)
    assert await pending(client) == 0


async def test_a_worker_asked_to_stop_does_not_wait_for_ever(jobs: RedisJobs, bench: Bench) -> None:
    bench.hold, ticks = asyncio.Event(), Ticks()
    queue = queue_of(jobs, bench, ticks)
    await enqueue(jobs)
    stopping = asyncio.create_task(queue.run(RestlessStop(rests_max=1)))
    await until(lambda: len(bench.begun) == 1)
    ticks.move(60)
    async with asyncio.timeout(1):
        await stopping
    bench.hold.set()
    await idle(queue)


async def test_while_redis_is_away_a_worker_goes_on_with_what_it_has(no_redis: redis.Redis, bench: Bench) -> None:
    stop = RestlessStop(rests_max=3)
    await queue_of(jobs_of(no_redis, "one"), bench, Ticks()).run(stop)
    assert stop.rests == [0.5, 1.0, 2.0]


class Leaving(RedisJobs):
    """A queue whose Redis goes away once a job is taken."""

    refused = 0

    async def renew(self, receipts: Sequence[str]) -> None:
        if receipts:
            self.refused += 1
            raise ConnectionError


async def test_a_worker_asked_to_stop_finishes_what_is_running_though_redis_is_away(
    client: redis.Redis, jobs: RedisJobs, bench: Bench
) -> None:
    bench.hold = asyncio.Event()
    [job] = await enqueue(jobs)
    leaving = Leaving(client, namespace="t", consumer="one")
    queue = queue_of(leaving, bench, Ticks())
    stopping = asyncio.create_task(queue.run(RestlessStop(rests_max=1)))
    await until(lambda: leaving.refused > 0)
    bench.hold.set()
    await idle(queue)
    assert bench.done == [job]
    await stopping


async def test_from_the_queue_to_the_store(
    world: World, jobs: RedisJobs, fetcher: AiohttpFetcher, page: Page, client: redis.Redis
) -> None:
    owner = await world.person()
    monitors = [await world.monitor(owner, plan(page.url)) for _ in range(5)]
    slots = [await world.slot(owner, monitor) for monitor in monitors]
    await jobs.enqueue([*slots, *slots])
    queues = [queue_of(jobs_of(client, name), world.evaluator(fetcher), Ticks()) for name in "ab"]
    for _ in range(3):
        await asyncio.gather(*(one.step() for one in queues))
    for one in queues:
        await idle(one)
    assert len(await world.all(EvaluationCompleted)) == 5
    assert (await pending(client), await left(client)) == (0, 0)
