"""The scheduler hands out what is due, once, to a queue that may be lost: real PostgreSQL, real Redis."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.network_guard import NetworkGuard
from adapters.redis_jobs import RedisJobs
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from commands.caller import Caller
from commands.event_store import WAITING_REQUEST, AlreadyReserved, KeepSchedule
from commands.monitors import MonitorCommands
from commands.plan_compiler import PlanCompiler
from commands.shell import Shell, Written
from domain.evaluation import Evaluation, EvaluationCompleted, EvaluationJob, EvaluationRequested, Lane
from domain.monitor import MonitorPaused, MonitorResumed
from domain.schedule import Cron
from tests.conftest import AT
from tests.workers.world import CONDITIONS, EVERY_SECONDS, Clock, Page, RestlessStop, Ticks, World, plan
from workers.scheduler import LOST_AFTER, REST_SECONDS, Scheduler


@pytest.fixture
async def queue(client: redis.Redis) -> RedisJobs:
    """A queue that is known not to be lost."""
    opened = RedisJobs(client, namespace="t", consumer="test")
    assert await opened.was_lost()
    for lane in Lane:
        assert await opened.of(lane).take(1, block_ms=1) == []  # makes the group
    return opened


def scheduler_of(world: World, queue: RedisJobs) -> Scheduler:
    return Scheduler(world.schedule, queue, holder="test", now=world.clock, monotonic=Ticks())


@pytest.fixture
def scheduler(world: World, queue: RedisJobs, clock: Clock) -> Scheduler:
    return scheduler_of(world, queue)


@pytest.fixture
async def full_redis(client: redis.Redis, redis_url: str) -> AsyncIterator[redis.Redis]:
    """A Redis that answers, and takes no new entries."""
    await client.acl_setuser(
        "full", enabled=True, passwords=["+full"], keys=["*"], categories=["+@all"], commands=["-xadd"]
    )
    async with redis.from_url(redis_url, username="full", password="full", retry=Retry(NoBackoff(), 0)) as opened:
        yield opened
    await client.acl_deluser("full")


async def queued(queue: RedisJobs) -> list[EvaluationJob]:
    """What was asked for, then what is scheduled."""
    return [job for lane in (queue.of(Lane.ASKED), queue) for _, job in await lane.take(1000, block_ms=1)]


async def test_what_is_due_is_handed_out_once(world: World, scheduler: Scheduler, queue: RedisJobs) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan())
    assert await scheduler.step() == REST_SECONDS
    assert await queued(queue) == [await world.slot(owner, monitor)]
    await scheduler.step()
    assert await queued(queue) == []


async def test_what_is_not_due_yet_waits(world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock) -> None:
    await world.monitor(await world.person(), plan(), due_at=AT + timedelta(seconds=1))
    await scheduler.step()
    assert await queued(queue) == []
    clock.move(1)
    await scheduler.step()
    assert len(await queued(queue)) == 1


async def test_of_many_schedulers_at_the_same_moment_one_hands_out_each_job(
    world: World, queue: RedisJobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.scheduler.BATCH_JOBS_MAX", 7)
    owner = await world.person()
    monitors = [await world.monitor(owner, plan()) for _ in range(30)]
    asked = [await world.request(owner, await resting(world, owner)) for _ in range(10)]
    schedulers = [scheduler_of(world, queue) for _ in range(6)]
    for _ in range(6):
        await asyncio.gather(*(one.step() for one in schedulers))
    counts = Counter(job.evaluation_id for job in await queued(queue))
    slots = [(await world.slot(owner, monitor)).evaluation_id for monitor in monitors]
    assert counts == Counter([*slots, *(job.evaluation_id for job in asked)])


async def resting(world: World, owner: UUID) -> UUID:
    """A monitor whose next slot is far away."""
    return await world.monitor(owner, plan(), due_at=world.clock() + timedelta(days=1))


async def test_what_another_scheduler_is_just_claiming_is_passed_over(world: World, clock: Clock) -> None:
    owner = await world.person()
    claimed, free = await world.monitor(owner, plan()), await world.monitor(owner, plan())
    taken = await world.request(owner, await resting(world, owner))
    asked = await world.request(owner, await resting(world, owner))
    async with world.pool.connection() as connection, connection.transaction():
        await connection.execute("select from schedule where monitor_id = %s for update", (claimed,))
        await connection.execute(
            "select from evaluation_request where evaluation_id = %s for update", (taken.evaluation_id,)
        )
        async with asyncio.timeout(5):
            jobs = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert jobs == [asked, await world.slot(owner, free)]


async def test_a_full_batch_is_followed_at_once(
    world: World, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.scheduler.BATCH_JOBS_MAX", 2)
    owner = await world.person()
    for _ in range(3):
        await world.monitor(owner, plan())
    assert [await scheduler.step() for _ in range(3)] == [0.0, REST_SECONDS, REST_SECONDS]


async def test_what_was_asked_for_comes_before_slots(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock
) -> None:
    owner = await world.person()
    monitors = [await world.monitor(owner, plan()) for _ in range(3)]
    clock.move(60)
    asked = await world.request(owner, monitors[2])
    await scheduler.step()
    jobs = await queued(queue)
    assert jobs[0] == asked
    assert sorted(job.monitor_id for job in jobs[1:]) == sorted(monitors[:2])


async def test_the_slot_of_a_monitor_waits_until_what_was_asked_for_is_done(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page, clock: Clock
) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url))
    clock.move(1)  # asked for after the slot was due, and not in its place
    asked = await world.request(owner, monitor)
    await scheduler.step()
    await scheduler.step()
    assert await queued(queue) == [asked]
    await world.evaluator(fetcher).evaluate(asked)
    await scheduler.step()
    assert await queued(queue) == [await world.slot(owner, monitor)]


async def test_what_was_asked_for_does_not_wait_for_a_slot_of_its_monitor_that_was_handed_out_before(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page
) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url))
    await scheduler.step()
    [slot] = await queued(queue)
    asked = await world.request(owner, monitor)
    await scheduler.step()
    assert await queued(queue) == [asked]
    await asyncio.gather(*(world.evaluator(fetcher).evaluate(job) for job in (slot, asked)))
    await world.verdict(slot)
    await world.verdict(asked)
    assert await world.due_at(monitor) == slot.due_at + timedelta(seconds=EVERY_SECONDS)


async def test_what_was_asked_for_again_waits_until_the_first_is_done(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page
) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url), due_at=AT + timedelta(days=1))
    first = await world.request(owner, monitor)
    await scheduler.step()
    assert await queued(queue) == [first]
    second = await world.request(owner, monitor)
    await scheduler.step()
    assert await queued(queue) == []
    await world.evaluator(fetcher).evaluate(first)
    await scheduler.step()
    assert await queued(queue) == [second]


async def test_what_was_asked_for_and_lost_is_handed_out_again_and_the_slot_of_its_monitor_after_it(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock, fetcher: AiohttpFetcher, page: Page
) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url))
    clock.move(1)
    asked = await world.request(owner, monitor)
    for _ in range(2):
        await scheduler.step()
        assert await queued(queue) == [asked]
        clock.at += LOST_AFTER
    await world.evaluator(fetcher).evaluate(asked)
    await scheduler.step()
    assert await queued(queue) == [await world.slot(owner, monitor)]


async def test_of_one_monitor_at_most_one_request_waits(world: World, clock: Clock) -> None:
    owner = await world.person()
    monitor = await resting(world, owner)
    first = await world.request(owner, monitor)
    with pytest.raises(AlreadyReserved) as refused:
        await world.request(owner, monitor)
    assert refused.value.scope == WAITING_REQUEST
    assert await world.streams_with(EvaluationRequested) == [first.evaluation_id]
    assert await world.store.find_waiting_request(monitor) == first.evaluation_id
    await world.request(owner, await resting(world, owner))
    await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert await world.store.find_waiting_request(monitor) is None
    second = await world.request(owner, monitor)
    assert await world.store.find_waiting_request(monitor) == second.evaluation_id


@pytest.fixture
def commands(world: World, clock: Clock) -> MonitorCommands:
    return MonitorCommands(
        shell=Shell(world.store, now=clock, new_id=uuid7),
        compiler=PlanCompiler(
            classifier=RulesProvider(),
            conditions=CONDITIONS,
            sources=SourceRules(NetworkGuard([])),
            signals=world.signals,
            interval_seconds_min=60,
            now=clock,
        ),
        active_max=10,
        total_max=10,
    )


async def test_who_asks_while_a_request_waits_is_answered_with_that_one(
    world: World, commands: MonitorCommands, clock: Clock
) -> None:
    owner = await world.person()
    monitor = await resting(world, owner)
    caller = Caller(user_id=owner, roles=frozenset(), correlation_id=uuid7())

    async def evaluate() -> Written[Evaluation]:
        return await commands.evaluate(caller, monitor, answer=lambda written: {"id": written.stream_id})

    at_once = await asyncio.gather(*(evaluate() for _ in range(5)))
    later = await evaluate()
    [only] = await world.streams_with(EvaluationRequested)
    assert {one.stream_id for one in [*at_once, later]} == {only}
    assert sorted(len(one.events) for one in at_once) == [0, 0, 0, 0, 1]
    assert (later.version, later.events) == (1, ())
    [job] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert job.evaluation_id == only
    assert (await evaluate()).stream_id != only  # what has begun may have looked already


async def test_what_is_given_back_leaves_one_request_of_a_monitor_waiting(world: World, clock: Clock) -> None:
    owner = await world.person()
    monitor, due = await resting(world, owner), await world.monitor(owner, plan())
    first = await world.request(owner, monitor)
    jobs = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert jobs == [first, await world.slot(owner, due)]
    second = await world.request(owner, monitor)
    await world.schedule.give_back(jobs)
    assert await world.store.find_waiting_request(monitor) == second.evaluation_id
    again = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert again == [first, await world.slot(owner, due)]


async def test_when_all_is_given_back_one_request_of_a_monitor_waits(world: World, clock: Clock) -> None:
    owner = await world.person()
    monitor, due, other = await resting(world, owner), await world.monitor(owner, plan()), await resting(world, owner)
    first, alone = await world.request(owner, monitor), await world.request(owner, other)
    assert len(await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)) == 3
    second = await world.request(owner, monitor)
    await world.schedule.give_back_all()
    assert await world.store.find_waiting_request(monitor) == second.evaluation_id
    again = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert sorted(job.evaluation_id for job in again[:2]) == sorted([first.evaluation_id, alone.evaluation_id])
    assert again[2:] == [await world.slot(owner, due)]


async def test_a_paused_monitor_is_never_due(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock
) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan())
    await keep(world, owner, monitor, MonitorPaused(paused_at=AT), active=False)
    for _ in range(3):
        clock.move(EVERY_SECONDS)
        await scheduler.step()
    assert await queued(queue) == []
    await keep(world, owner, monitor, MonitorResumed(resumed_at=AT), active=True)
    await scheduler.step()
    assert [job.due_at for job in await queued(queue)] == [clock()]


async def keep(
    world: World, owner: UUID, monitor: UUID, event: MonitorPaused | MonitorResumed, *, active: bool
) -> None:
    due = KeepSchedule(monitor, owner, plan().schedule, active=active, due_at=world.clock())
    await world.append(owner, monitor, event, companions=[due])


async def test_while_redis_is_away_nothing_is_claimed(
    world: World, scheduler: Scheduler, queue: RedisJobs, no_redis: redis.Redis, clock: Clock
) -> None:
    await world.monitor(await world.person(), plan())
    away = scheduler_of(world, RedisJobs(no_redis, namespace="t", consumer="test"))
    with pytest.raises(OSError, match="redis"):
        await away.step()
    await scheduler.step()
    assert len(await queued(queue)) == 1


async def test_what_could_not_be_queued_is_given_back(
    world: World, scheduler: Scheduler, queue: RedisJobs, full_redis: redis.Redis, clock: Clock
) -> None:
    owner = await world.person()
    slot = await world.slot(owner, await world.monitor(owner, plan()))
    asked = await world.request(owner, await resting(world, owner))
    refused = scheduler_of(world, RedisJobs(full_redis, namespace="t", consumer="test"))
    with pytest.raises(OSError, match="can't run this command"):
        await refused.step()
    assert await queued(queue) == []
    await scheduler.step()
    assert await queued(queue) == [asked, slot]


async def test_a_queue_that_was_lost_is_handed_out_again(
    world: World, scheduler: Scheduler, queue: RedisJobs, client: redis.Redis
) -> None:
    owner = await world.person()
    slot = await world.slot(owner, await world.monitor(owner, plan()))
    asked = await world.request(owner, await resting(world, owner))
    await scheduler.step()
    await client.flushall()
    await scheduler.step()
    assert await queued(queue) == []  # makes the group again
    assert await queued(queue) == [asked, slot]
    await scheduler.step()
    assert await queued(queue) == []


async def test_a_slot_that_nobody_finished_is_handed_out_again_and_not_before_its_time(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock
) -> None:
    owner = await world.person()
    await world.request(owner, await world.monitor(owner, plan()))
    await scheduler.step()
    first = await queued(queue)
    clock.at += LOST_AFTER - timedelta(milliseconds=1)
    await scheduler.step()
    assert await queued(queue) == []
    clock.move(0.001)
    await scheduler.step()
    assert await queued(queue) == first


async def test_an_overdue_slot_runs_once_after_a_downtime(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock, fetcher: AiohttpFetcher, page: Page
) -> None:
    monitor = await world.monitor(await world.person(), plan(page.url))
    clock.move(20 * EVERY_SECONDS + 1)
    for _ in range(3):
        await scheduler.step()
        for job in await queued(queue):
            await world.evaluator(fetcher).evaluate(job)
            await world.project()
    assert len(await world.all(EvaluationCompleted)) == 1
    assert await world.due_at(monitor) == AT + timedelta(seconds=21 * EVERY_SECONDS)


async def test_slots_do_not_drift_however_late_they_are_handed_out(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock, fetcher: AiohttpFetcher, page: Page
) -> None:
    monitor = await world.monitor(await world.person(), plan(page.url))
    due = []
    for late_seconds in (0.0, 3.0, 299.0, 0.5):
        clock.at = await world.due_at(monitor) + timedelta(seconds=late_seconds)
        await scheduler.step()
        for job in await queued(queue):
            due.append(job.due_at)
            await world.evaluator(fetcher).evaluate(job)
            await world.project()
    assert due == [AT + timedelta(seconds=EVERY_SECONDS * number) for number in range(4)]


async def test_a_slot_of_a_calendar_is_followed_by_the_next_of_the_calendar(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock, fetcher: AiohttpFetcher, page: Page
) -> None:
    monitor = await world.monitor(await world.person(), plan(page.url, schedule=Cron(line="0 8 * * *")))
    clock.move(3600 * 50)
    await scheduler.step()
    for job in await queued(queue):
        await world.evaluator(fetcher).evaluate(job)
    assert await world.due_at(monitor) == AT + timedelta(days=2, hours=8)


async def test_a_scheduler_works_until_it_is_asked_to_stop(
    world: World, scheduler: Scheduler, queue: RedisJobs
) -> None:
    await world.monitor(await world.person(), plan())
    await scheduler.run(RestlessStop(rests_max=2))
    assert len(await queued(queue)) == 1
