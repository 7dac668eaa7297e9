"""Jobs that are not done at the first attempt: put back, given up, or left where they are. Real PostgreSQL and Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest
import redis.asyncio as redis
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapters.postgres_dead_jobs import PostgresDeadJobs
from adapters.postgres_pool import is_outage, open_pool
from adapters.postgres_schedule import PostgresSchedule
from adapters.redis_jobs import GROUP, RedisJobs
from commands.event_store import DropSchedule, ErasePerson, KeepSchedule
from domain.evaluation import EvaluationJob, Lane
from domain.event import Metadata
from domain.monitor import MonitorDeleted
from domain.user import UserErased
from tests.conftest import AT
from tests.workers.test_evaluation_queue import age, idle, left, pending
from tests.workers.world import EVERY_SECONDS, Clock, Ticks, World, plan
from workers.evaluation_queue import (
    ATTEMPTS_MAX,
    RENEWAL_SECONDS,
    TAKE_OVER_IDLE_MS,
    EvaluationQueue,
    UnfinishedJobs,
)
from workers.later import NotYet, pause_after
from workers.scheduler import LOST_AFTER, Scheduler


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_MS", 1)
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_SOON_MS", 1)


class Hands:
    """Does jobs as the test says: `does` may raise. One that is in `kills` is never over."""

    def __init__(self, does: Callable[[EvaluationJob], None] = lambda _job: None) -> None:
        self.does = does
        self.kills: set[UUID] = set()
        self.begun: list[EvaluationJob] = []
        self.never = asyncio.Event()

    async def evaluate(self, job: EvaluationJob) -> None:
        self.begun.append(job)
        if job.evaluation_id in self.kills:
            await self.never.wait()
        self.does(job)


def defect(_job: EvaluationJob) -> None:
    raise RuntimeError("boom \x00")


def worker(
    client: redis.Redis,
    hands: Hands,
    unfinished: UnfinishedJobs,
    clock: Clock,
    *,
    name: str = "one",
    ticks: Ticks | None = None,
    lane: Lane = Lane.SCHEDULED,
) -> EvaluationQueue:
    return EvaluationQueue(
        RedisJobs(client, namespace="t", consumer=name, lane=lane),
        hands,
        unfinished,
        places=20,
        now=clock,
        monotonic=ticks or Ticks(),
        is_outage=is_outage,
    )


class Engine:
    """A scheduler and a worker for each lane, on one clock."""

    def __init__(self, world: World, client: redis.Redis, hands: Hands) -> None:
        self.world, self.hands, self.client = world, hands, client
        self.jobs = RedisJobs(client, namespace="t", consumer="one")
        self.scheduler = Scheduler(world.schedule, self.jobs, holder="one", now=world.clock, monotonic=Ticks())
        self.workers = [worker(client, hands, world.schedule, world.clock, lane=lane) for lane in Lane]

    async def turn(self) -> list[EvaluationJob]:
        """Hand out what is ready and work it off; the jobs that were begun."""
        before = len(self.hands.begun)
        await self.scheduler.step()
        for one in self.workers:
            await one.step()
            await one.step()
            await idle(one)
        return self.hands.begun[before:]

    async def ready_at(self, job: EvaluationJob) -> object:
        if job.lane is Lane.ASKED:
            query = "select ready_at from evaluation_request where evaluation_id = %s"
            return await self.world.value(query, job.evaluation_id)
        return await self.world.value("select ready_at from schedule where monitor_id = %s", job.monitor_id)


@pytest.fixture
async def engine(world: World, client: redis.Redis) -> Engine:
    await world.execute("delete from dead_job")
    made = Engine(world, client, Hands())
    await made.turn()  # makes the groups
    return made


@pytest.fixture
async def dead(world: World) -> PostgresDeadJobs:
    return PostgresDeadJobs(world.pool)


async def a_job(world: World, lane: Lane) -> EvaluationJob:
    owner = await world.person()
    if lane is Lane.SCHEDULED:
        return await world.slot(owner, await world.monitor(owner, plan()))
    return await world.request(owner, await world.monitor(owner, plan(), due_at=AT + timedelta(days=1)))


@given(attempts=st.integers(1, 60), number=st.uuids())
def test_pauses_double_up_to_a_minute_and_differ_by_half(attempts: int, number: UUID) -> None:
    job = EvaluationJob(evaluation_id=number, monitor_id=number, owner_id=number, due_at=AT)
    seconds = min(2.0 ** (attempts - 1), 60.0)
    assert 0.5 * seconds <= pause_after(attempts, job).total_seconds() < 1.5 * seconds
    assert pause_after(attempts, job) == pause_after(attempts, job)


@pytest.mark.parametrize("lane", Lane)
async def test_a_job_that_raises_is_tried_again_after_growing_pauses_and_then_given_up(
    engine: Engine, world: World, dead: PostgresDeadJobs, clock: Clock, lane: Lane
) -> None:
    job = await a_job(world, lane)
    other = await a_job(world, lane)
    engine.hands.does = lambda begun: defect(begun) if begun.monitor_id == job.monitor_id else None
    for attempt in range(1, ATTEMPTS_MAX):
        tried = [one for one in await engine.turn() if one.monitor_id == job.monitor_id]
        assert [(one.evaluation_id, one.due_at, one.attempts) for one in tried] == [
            (job.evaluation_id, job.due_at, attempt - 1)
        ]
        ready_at = clock.at + pause_after(attempt, job)
        assert await engine.ready_at(job) == ready_at
        assert await dead.all() == []
        clock.at = ready_at - timedelta(milliseconds=1)
        assert [one for one in await engine.turn() if one.monitor_id == job.monitor_id] == []
        clock.at = ready_at
    with capture_logs() as logged:
        await engine.turn()
    assert "evaluation given up" in {one["event"] for one in logged}
    [buried] = await dead.all()
    assert (buried.evaluation_id, buried.monitor_id, buried.owner_id) == (
        job.evaluation_id,
        job.monitor_id,
        job.owner_id,
    )
    assert (buried.due_at, buried.attempts, buried.died_at) == (job.due_at, ATTEMPTS_MAX, clock())
    assert buried.error.startswith("RuntimeError('boom ")
    assert other.evaluation_id != buried.evaluation_id
    assert await world.value("select count(*) from evaluation_request where monitor_id = %s", job.monitor_id) == 0
    assert (await pending(engine.client), await left(engine.client)) == (0, 0)
    if lane is Lane.SCHEDULED:
        assert await world.due_at(job.monitor_id) == AT + timedelta(seconds=EVERY_SECONDS)
        clock.move(EVERY_SECONDS)
        [following] = [one for one in await engine.turn() if one.monitor_id == job.monitor_id]
        assert (following.due_at, following.attempts) == (AT + timedelta(seconds=EVERY_SECONDS), 0)


@pytest.mark.parametrize("lane", Lane)
async def test_a_job_that_can_only_be_done_later_is_never_given_up(
    engine: Engine, world: World, dead: PostgresDeadJobs, clock: Clock, lane: Lane
) -> None:
    job = await a_job(world, lane)

    def later(_job: EvaluationJob) -> None:
        raise NotYet(clock() + timedelta(seconds=1), is_attempt=False)

    engine.hands.does = later
    for _ in range(2 * ATTEMPTS_MAX):
        assert await engine.turn() == [msgspec.structs.replace(job, handed_out_at=clock())]
        clock.move(0.999)
        assert await engine.turn() == []
        clock.move(0.001)
    for _ in range(4 * ATTEMPTS_MAX):
        await engine.world.schedule.put_back(job, until=clock(), attempts=job.attempts)
    assert await engine.turn() == [msgspec.structs.replace(job, handed_out_at=clock())]
    assert await dead.all() == []


async def test_a_failing_database_counts_for_nothing_also_when_it_is_back_at_once(
    engine: Engine, world: World, dead: PostgresDeadJobs, clock: Clock
) -> None:
    job = await a_job(world, Lane.SCHEDULED)

    def away(_job: EvaluationJob) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    engine.hands.does = away
    for _ in range(3 * ATTEMPTS_MAX):
        assert await engine.turn() == [msgspec.structs.replace(job, handed_out_at=clock())]
        clock.move(2)
    engine.hands.does = lambda _job: None
    assert await engine.turn() == [msgspec.structs.replace(job, handed_out_at=clock())]
    assert await dead.all() == []


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (psycopg.OperationalError(), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.QueryCanceled(), False),
        (psycopg.errors.UndefinedColumn(), False),
        (RuntimeError(), False),
    ],
)
def test_what_a_server_that_is_away_says_is_an_outage(error: Exception, *, outage: bool) -> None:
    assert is_outage(error) is outage


@pytest.fixture
async def no_database() -> AsyncIterator[PostgresSchedule]:
    async with open_pool("postgresql://postgres@127.0.0.1:9/none", size_max=1, size_min=0) as pool:
        pool.timeout = 0.01
        yield PostgresSchedule(pool)


async def test_while_the_database_is_away_a_job_stays_in_the_queue_however_often_it_is_taken_up(
    engine: Engine, world: World, dead: PostgresDeadJobs, clock: Clock, no_database: PostgresSchedule
) -> None:
    job = await a_job(world, Lane.SCHEDULED)
    await engine.scheduler.step()
    hands, ticks = Hands(defect), Ticks()
    cut_off = worker(engine.client, hands, no_database, clock, ticks=ticks)
    await cut_off.step()
    await cut_off.step()
    for _ in range(3 * ATTEMPTS_MAX):
        await idle(cut_off)
        assert await pending(engine.client) == 1
        await age(engine.client, TAKE_OVER_IDLE_MS)
        ticks.move(RENEWAL_SECONDS)
        await cut_off.step()
    await idle(cut_off)
    assert hands.begun == [job] * (1 + 3 * ATTEMPTS_MAX)
    await age(engine.client, TAKE_OVER_IDLE_MS)
    hands, ticks = Hands(), Ticks()
    back = worker(engine.client, hands, world.schedule, clock, ticks=ticks)
    await back.step()
    await idle(back)
    assert hands.begun == [job]
    assert await dead.all() == []
    assert (await pending(engine.client), await left(engine.client)) == (0, 0)


async def die(queue: EvaluationQueue) -> None:
    """A worker that is killed with everything it has begun."""
    for task in list(queue._running):
        task.cancel()
    await asyncio.gather(*list(queue._running), return_exceptions=True)


async def test_a_job_that_kills_its_workers_is_given_up_and_those_begun_beside_it_are_not(
    engine: Engine, world: World, dead: PostgresDeadJobs, clock: Clock
) -> None:
    owner = await world.person()

    async def fresh(count: int) -> list[EvaluationJob]:
        slots = [await world.slot(owner, await world.monitor(owner, plan())) for _ in range(count)]
        await engine.scheduler.step()
        return slots

    innocent = await fresh(4)
    [deadly] = await fresh(1)
    innocent += await fresh(4)
    hands = Hands()
    for death in range(ATTEMPTS_MAX):
        innocent += (beside := await fresh(2))
        # Of those that are taken over only the deadly one is not over soon; of the new ones, none.
        slow = beside if death else innocent
        hands.kills = {deadly.evaluation_id, *(job.evaluation_id for job in slow)}
        ticks, begun = Ticks(), len(hands.begun)
        one = worker(engine.client, hands, world.schedule, clock, name=f"victim {death}", ticks=ticks)
        while not {deadly.evaluation_id, beside[0].evaluation_id} <= {job.evaluation_id for job in hands.begun[begun:]}:
            await one.step()
            await asyncio.sleep(0.001)
        for _ in range(4):  # it lives for a while, and says so
            ticks.move(RENEWAL_SECONDS)
            await one.step()
        assert await dead.all() == []
        await die(one)
        await age(engine.client, TAKE_OVER_IDLE_MS)
    hands.kills = {deadly.evaluation_id}
    hands.begun.clear()
    survivor = worker(engine.client, hands, world.schedule, clock, name="survivor")
    with capture_logs() as logged:
        while await left(engine.client):
            await survivor.step()
            await idle(survivor)
    assert {job.evaluation_id for job in hands.begun} <= {job.evaluation_id for job in innocent}
    assert "evaluation given up: workers die with it" in {one["event"] for one in logged}
    [buried] = await dead.all()
    assert (buried.evaluation_id, buried.attempts) == (deadly.evaluation_id, ATTEMPTS_MAX)
    assert buried.error == f"tried {ATTEMPTS_MAX} times, and {ATTEMPTS_MAX} workers died with it"
    assert await world.due_at(deadly.monitor_id) == AT + timedelta(seconds=EVERY_SECONDS)


async def test_what_a_dead_worker_left_is_taken_over_job_by_job_without_a_rest(
    engine: Engine, world: World, clock: Clock
) -> None:
    owner = await world.person()
    for _ in range(12):
        await world.monitor(owner, plan())
    await engine.scheduler.step()
    assert len(await engine.jobs.take(20, block_ms=1)) == 12
    await age(engine.client, TAKE_OVER_IDLE_MS)
    hands = Hands()
    other = worker(engine.client, hands, world.schedule, clock, name="two")
    for _ in range(13):
        await other.step()
        await idle(other)
    assert len(hands.begun) == 12
    assert await left(engine.client) == 0


async def test_an_entry_that_is_no_job_is_dropped_and_holds_up_no_other(
    engine: Engine, world: World, clock: Clock
) -> None:
    job = await a_job(world, Lane.SCHEDULED)
    for fields in ({"j": b"{"}, {"k": b""}, {"j": b'{"lane": "express"}'}, {"j": b"\xff\xfe"}):
        await engine.client.xadd("t:jobs", dict(fields))  # type: ignore[arg-type]  # redis-py's own invariance
    with capture_logs() as logged:
        assert await engine.turn() == [job]
    assert [one["event"] for one in logged] == ["no job"] * 4
    assert (await pending(engine.client), await left(engine.client)) == (0, 0)


async def test_a_left_entry_that_is_no_job_does_not_keep_others_from_being_taken_over(
    engine: Engine, world: World, clock: Clock
) -> None:
    await engine.client.xadd("t:jobs", {"j": b"{"})
    job = await a_job(world, Lane.SCHEDULED)
    await engine.scheduler.step()
    await engine.client.xreadgroup(GROUP, "one", {"t:jobs": ">"}, count=10)
    await age(engine.client, TAKE_OVER_IDLE_MS)
    hands, ticks = Hands(), Ticks()
    other = worker(engine.client, hands, world.schedule, clock, name="two", ticks=ticks)
    with capture_logs():
        for _ in range(3):
            await other.step()
            await idle(other)
            ticks.move(RENEWAL_SECONDS)
    assert [one.evaluation_id for one in hands.begun] == [job.evaluation_id]
    assert await left(engine.client) == 0


async def test_a_slot_that_was_moved_meanwhile_is_not_put_back(engine: Engine, world: World, clock: Clock) -> None:
    job = await a_job(world, Lane.SCHEDULED)
    await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    resumed = KeepSchedule(job.monitor_id, job.owner_id, plan().schedule, active=True, due_at=AT + timedelta(seconds=9))
    context = Metadata(correlation_id=job.monitor_id, actor="test")
    await world.store.append([], metadata=context, companions=[resumed])
    await world.schedule.put_back(job, until=AT + timedelta(hours=1), attempts=4)
    await world.schedule.bury(job, error="late", now=clock())
    clock.move(9)
    [moved] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert (moved.due_at, moved.attempts) == (AT + timedelta(seconds=9), 0)


async def test_what_was_put_back_keeps_its_pause_when_the_queue_is_lost(
    engine: Engine, world: World, clock: Clock
) -> None:
    slot, asked = await a_job(world, Lane.SCHEDULED), await a_job(world, Lane.ASKED)
    jobs = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert jobs == [asked, slot]
    for job in jobs:
        await world.schedule.put_back(job, until=AT + timedelta(seconds=60), attempts=2)
    await world.schedule.give_back_all()
    assert await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10) == []
    clock.move(60)
    again = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert [(job.evaluation_id, job.attempts) for job in again] == [(asked.evaluation_id, 2), (slot.evaluation_id, 2)]


async def test_nothing_is_kept_of_an_erased_person(world: World, engine: Engine, dead: PostgresDeadJobs) -> None:
    jobs = [await a_job(world, lane) for lane in Lane]
    await world.schedule.bury(jobs[0], error="before", now=AT)
    for job in jobs:
        erased = [ErasePerson(job.owner_id)]
        await world.append(job.owner_id, job.owner_id, UserErased(erased_at=AT), companions=erased)
        await world.schedule.bury(job, error="after", now=AT)
    assert await dead.all() == []


async def test_a_job_of_a_deleted_monitor_can_be_given_up(world: World, engine: Engine, dead: PostgresDeadJobs) -> None:
    job = await a_job(world, Lane.SCHEDULED)
    await world.append(
        job.owner_id, job.monitor_id, MonitorDeleted(deleted_at=AT), companions=[DropSchedule(job.monitor_id)]
    )
    await world.schedule.bury(job, error="x", now=AT)
    await world.schedule.bury(job, error="y", now=AT + timedelta(seconds=1))
    assert [(one.evaluation_id, one.error) for one in await dead.all()] == [(job.evaluation_id, "y")]
