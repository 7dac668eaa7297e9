"""Who is handed out first: nobody's second before everybody's first; how much; and when the clock jumps. Real servers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.errors import UndefinedColumn
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_schedule import PostgresSchedule
from adapters.redis_jobs import RedisJobs
from domain.evaluation import EvaluationCompleted, EvaluationJob, Lane
from domain.schedule import Cron, spread
from tests.conftest import AT
from tests.workers.world import EVERY_SECONDS, Clock, Page, Ticks, World, plan
from workers.scheduler import BEAT_SECONDS, LOST_AFTER, Scheduler

_SLOTS = """
insert into schedule (monitor_id, owner_id, schedule, active, due_at, ready_at)
select m, o, '{"kind": "every", "seconds": 300}', true, at, at
from unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) as t (m, o, at)
"""
_REQUESTS = """
insert into evaluation_request (evaluation_id, monitor_id, owner_id, requested_at, ready_at, signal_id)
select e, m, o, at, at, gen_random_uuid() from unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::timestamptz[]) as t (e, m, o, at)
"""


async def slots(pool: Pool, due: Sequence[tuple[UUID, int]]) -> list[UUID]:
    """A monitor for each owner and how many seconds it has waited at `AT`."""
    monitors = [uuid7() for _ in due]
    columns = (monitors, [owner for owner, _ in due], [AT - timedelta(seconds=waited) for _, waited in due])
    async with pool.connection() as connection:
        await connection.execute(_SLOTS, columns)
    return monitors


async def requests(pool: Pool, asked: Sequence[tuple[UUID, UUID, int]]) -> list[UUID]:
    """A signal's request for each monitor, owner, and how many seconds it has waited at `AT`."""
    ids = [uuid7() for _ in asked]
    at = [AT - timedelta(seconds=waited) for *_, waited in asked]
    columns = (ids, [monitor for monitor, *_ in asked], [owner for _, owner, _ in asked], at)
    async with pool.connection() as connection:
        await connection.execute(_REQUESTS, columns)
    return ids


async def claimed(schedule: PostgresSchedule, slots_max: int) -> list[EvaluationJob]:
    return await schedule.claim(now=AT, lost_after=LOST_AFTER, slots_max=slots_max)


async def test_who_has_many_slots_does_not_hold_up_who_has_one(world: World) -> None:
    greedy, others = uuid7(), [uuid7() for _ in range(20)]
    await slots(world.pool, [(greedy, 1000 + n) for n in range(500)] + [(other, n) for n, other in enumerate(others)])
    first = await claimed(world.schedule, 30)
    assert len(first) == 30
    assert {job.owner_id for job in first} == {greedy, *others}
    assert {job.owner_id for job in await claimed(world.schedule, 30)} == {greedy}


async def test_who_asks_for_much_does_not_hold_up_who_asks_for_little(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_schedule.REQUESTS_AT_ONCE_MAX", 30)
    greedy, others = uuid7(), [uuid7() for _ in range(20)]
    asked = [(uuid7(), greedy, 1000 + n) for n in range(500)] + [(uuid7(), other, n) for n, other in enumerate(others)]
    await requests(world.pool, asked)
    first = await claimed(world.schedule, 0)
    assert len(first) == 30
    assert {job.owner_id for job in first} == {greedy, *others}


async def test_of_people_with_one_slot_each_who_waited_longest_is_first(world: World) -> None:
    monitors = await slots(world.pool, [(uuid7(), waited) for waited in (5, 9, 1, 7, 3)])
    assert {job.monitor_id for job in await claimed(world.schedule, 3)} == {monitors[1], monitors[3], monitors[0]}
    assert {job.monitor_id for job in await claimed(world.schedule, 3)} == {monitors[4], monitors[2]}


@pytest.fixture(scope="module")
async def own_pool(workers_database: str) -> AsyncIterator[Pool]:
    async with open_pool(workers_database, size_max=2) as opened:
        yield opened


waits = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=25)


@given(due=waits, places=st.integers(1, 8))
@example(due=[(0, 20)] * 9 + [(1, 0)], places=2)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_nobody_gets_a_second_place_before_everybody_has_one(
    due: list[tuple[int, int]], places: int, pool: Pool, own_pool: Pool
) -> None:
    async with own_pool.connection() as connection:
        await connection.execute("delete from schedule")
    people = [uuid7() for _ in range(5)]
    monitors = await slots(own_pool, [(people[person], waited) for person, waited in due])
    waited = {monitor: seconds for monitor, (_, seconds) in zip(monitors, due, strict=True)}
    left = {monitor: people[person] for monitor, (person, _) in zip(monitors, due, strict=True)}
    while left:
        jobs = await claimed(PostgresSchedule(own_pool), places)
        assert len(jobs) == min(places, len(left))
        got = [job.owner_id for job in jobs]
        for owner in set(left.values()):
            own = sorted((waited[monitor] for monitor, of in left.items() if of == owner), reverse=True)
            mine = sorted((waited[job.monitor_id] for job in jobs if job.owner_id == owner), reverse=True)
            assert mine == own[: len(mine)], "of one person, who waited longest"
            if len(mine) < len(own):
                assert max(map(got.count, got)) <= len(mine) + 1
        for job in jobs:
            del left[job.monitor_id]


async def test_requests_of_a_monitor_come_one_by_one_in_the_order_they_were_made_whatever_the_clock_said(
    world: World,
) -> None:
    owner, monitor = uuid7(), uuid7()
    asked = await requests(world.pool, [(monitor, owner, waited) for waited in (3, 9, 5)])
    await requests(world.pool, [(uuid7(), uuid7(), 0)])
    order: list[UUID] = []
    for _ in range(3):
        [job] = [job for job in await claimed(world.schedule, 0) if job.monitor_id == monitor]
        assert (job.lane, job.signal_id is None) == (Lane.ASKED, False)
        order.append(job.evaluation_id)
        assert [job for job in await claimed(world.schedule, 0) if job.monitor_id == monitor] == []
        await world.execute("delete from evaluation_request where evaluation_id = %s", job.evaluation_id)
    assert order == asked


# How much is handed out


@pytest.fixture
async def queue(client: redis.Redis) -> RedisJobs:
    opened = RedisJobs(client, namespace="t", consumer="test")
    assert await opened.was_lost()
    for lane in Lane:
        assert await opened.of(lane).take(1, block_ms=1) == []  # makes the group
    return opened


@pytest.fixture
def scheduler(world: World, queue: RedisJobs, clock: Clock, ticks: Ticks) -> Scheduler:
    return Scheduler(world.schedule, queue, holder="one", now=clock, monotonic=ticks)


async def taken(queue: RedisJobs, count: int = 1000) -> list[EvaluationJob]:
    """Take, and be done with it, as evaluators are."""
    jobs = await queue.take(count, block_ms=1)
    if jobs:
        await queue.done([receipt for receipt, _ in jobs])
    return [job for _, job in jobs]


async def test_slots_wait_in_the_database_while_the_queue_is_full_and_requests_pass(
    world: World, scheduler: Scheduler, queue: RedisJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.scheduler.QUEUED_JOBS_MAX", 5)
    due = await slots(world.pool, [(uuid7(), waited) for waited in range(12)])
    for _ in range(3):
        await scheduler.step()
        assert await queue.waiting() == 5
    [asked] = await requests(world.pool, [(uuid7(), uuid7(), 0)])
    await scheduler.step()
    assert [job.evaluation_id for job in await taken(queue.of(Lane.ASKED))] == [asked]
    assert await queue.waiting() == 5
    done = [job.monitor_id for job in await taken(queue, 2)]
    await scheduler.step()
    assert await queue.waiting() == 5
    for _ in range(3):
        done += [job.monitor_id for job in await taken(queue)]
        await scheduler.step()
    assert sorted(done) == sorted(due)


async def test_a_job_that_is_being_done_takes_room_until_it_is_done(
    world: World, scheduler: Scheduler, queue: RedisJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.scheduler.QUEUED_JOBS_MAX", 2)
    await slots(world.pool, [(uuid7(), 1) for _ in range(4)])
    await scheduler.step()
    begun = await queue.take(10, block_ms=1)
    await scheduler.step()
    assert (len(begun), await queue.waiting()) == (2, 2)
    await queue.done([receipt for receipt, _ in begun])
    await scheduler.step()
    assert len(await queue.take(10, block_ms=1)) == 2


async def work(world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, steps: int) -> int:
    """Hand out and evaluate, `steps` times; how many evaluations were made."""
    evaluator, made = world.evaluator(fetcher), 0
    for _ in range(steps):
        await scheduler.step()
        jobs = [job for lane in Lane for job in await taken(queue.of(lane))]
        made += len(jobs)
        await asyncio.gather(*(evaluator.evaluate(job) for job in jobs))
    return made


async def test_after_a_downtime_each_monitor_is_looked_at_once(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page, clock: Clock
) -> None:
    owner = await world.person()
    monitors = [await world.monitor(owner, plan(page.url), due_at=AT + timedelta(seconds=n)) for n in range(5)]
    clock.move(50 * EVERY_SECONDS + 100)
    assert await work(world, scheduler, queue, fetcher, steps=4) == 5
    assert len(await world.all(EvaluationCompleted)) == 5
    for n, monitor in enumerate(monitors):
        assert await world.due_at(monitor) == AT + timedelta(seconds=51 * EVERY_SECONDS + n)


async def test_a_monitor_of_a_calendar_is_handed_out_a_little_after_its_slots_which_stay_what_they_are(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page, clock: Clock
) -> None:
    daily = Cron(line="0 8 * * *")
    monitor = await world.monitor(await world.person(), plan(page.url, schedule=daily))
    apart = spread(daily, monitor)
    assert await work(world, scheduler, queue, fetcher, steps=1) == 1  # the first look is at once
    for day in range(3):
        slot = AT + timedelta(days=day, hours=8)
        assert await world.due_at(monitor) == slot
        assert await world.value("select ready_at from schedule where monitor_id = %s", monitor) == slot + apart
        clock.at = slot + apart - timedelta(milliseconds=1)
        assert await work(world, scheduler, queue, fetcher, steps=1) == 0
        clock.move(0.001)
        assert await work(world, scheduler, queue, fetcher, steps=1) == 1
    await world.project()
    assert max(one.due_at for one in await world.all(EvaluationCompleted)) == AT + timedelta(days=2, hours=8)


async def test_a_briefing_that_cannot_be_read_fails_its_own_evaluation_alone(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    owner = await world.person()
    jobs = [await world.slot(owner, await world.monitor(owner, plan(page.url))) for _ in range(4)]
    broken = """update schedule set previous = '{"streak": "many"}' where monitor_id = %s"""
    await world.execute(broken, jobs[1].monitor_id)
    evaluator = world.evaluator(fetcher)
    outcomes = await asyncio.gather(*(evaluator.evaluate(job) for job in jobs), return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType", "ValidationError", "NoneType", "NoneType"]
    assert len(await world.all(EvaluationCompleted)) == 3


# The clock


async def test_when_the_clock_goes_forward_each_monitor_is_looked_at_once(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page, clock: Clock
) -> None:
    owner = await world.person()
    for _ in range(3):
        await world.monitor(owner, plan(page.url))
    assert await work(world, scheduler, queue, fetcher, steps=2) == 3
    clock.move(3600)
    assert await work(world, scheduler, queue, fetcher, steps=4) == 3


async def test_when_the_clock_goes_back_monitors_go_on_within_their_intervals_and_in_their_phases(
    world: World, scheduler: Scheduler, queue: RedisJobs, fetcher: AiohttpFetcher, page: Page, clock: Clock
) -> None:
    owner = await world.person()
    monitors = [
        await world.monitor(owner, plan(page.url), due_at=AT + timedelta(seconds=phase)) for phase in (0, 100, 200)
    ]
    daily = await world.monitor(owner, plan(page.url, schedule=Cron(line="0 8 * * *")))
    for _ in range(24):  # two hours, so that the hour that comes again has its evaluations
        clock.move(EVERY_SECONDS)
        await work(world, scheduler, queue, fetcher, steps=2)
    clock.move(-3600)
    assert await work(world, scheduler, queue, fetcher, steps=3) == 0
    for phase, monitor in zip((0, 100, 200), monitors, strict=True):
        due_at = await world.due_at(monitor)
        assert clock() < due_at <= clock() + timedelta(seconds=EVERY_SECONDS)
        past_phase = (due_at - AT - timedelta(seconds=phase)) % timedelta(seconds=EVERY_SECONDS)
        assert past_phase <= timedelta(microseconds=1)
    assert await world.due_at(daily) == AT + timedelta(hours=8)
    clock.move(EVERY_SECONDS)
    before = len(await world.all(EvaluationCompleted))
    assert await work(world, scheduler, queue, fetcher, steps=3) == 3
    assert len(await world.all(EvaluationCompleted)) == before + 3
    for _ in range(2):
        clock.move(EVERY_SECONDS)
        assert await work(world, scheduler, queue, fetcher, steps=3) == 3


async def test_when_the_clock_goes_back_what_was_handed_out_or_asked_for_is_not_held_up(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock
) -> None:
    owner = await world.person()
    clock.move(3600)
    late = await world.monitor(owner, plan())
    handed_out = await world.request(owner, await world.monitor(owner, plan(), due_at=AT + timedelta(days=1)))
    await scheduler.step()
    assert {job.monitor_id for lane in Lane for job in await taken(queue.of(lane))} == {late, handed_out.monitor_id}
    waiting = await world.request(owner, await world.monitor(owner, plan(), due_at=AT + timedelta(days=1)))
    clock.move(-3600)
    await scheduler.step()
    asked = await taken(queue.of(Lane.ASKED))
    assert {job.evaluation_id for job in asked} == {handed_out.evaluation_id, waiting.evaluation_id}
    clock.move(EVERY_SECONDS)
    await scheduler.step()
    assert late in {job.monitor_id for job in await taken(queue)}


async def test_a_clock_that_is_set_back_a_little_changes_no_slot(
    world: World, scheduler: Scheduler, clock: Clock
) -> None:
    monitor = await world.monitor(await world.person(), plan(), due_at=AT + timedelta(seconds=EVERY_SECONDS))
    clock.move(-30)
    await scheduler.step()
    assert await world.due_at(monitor) == AT + timedelta(seconds=EVERY_SECONDS)


# At work


async def beats(world: World) -> dict[str, object]:
    async with world.pool.connection() as connection:
        rows = await (
            await connection.execute("select holder, beat_at from heartbeat where worker = 'scheduler'")
        ).fetchall()
    return {str(holder): at for holder, at in rows}


async def test_each_scheduler_says_every_few_seconds_that_it_is_at_work_and_old_ones_are_forgotten(
    world: World, scheduler: Scheduler, queue: RedisJobs, clock: Clock, ticks: Ticks
) -> None:
    await world.execute("delete from heartbeat")
    old = "insert into heartbeat values ('scheduler', %s, clock_timestamp() - %s::interval)"
    await world.execute(old, "gone", "25 hours")
    await world.execute(old, "resting", "23 hours")
    other = Scheduler(world.schedule, queue, holder="two", now=clock, monotonic=ticks)
    await scheduler.step()
    await other.step()
    first = await beats(world)
    assert first.keys() == {"one", "two", "resting"}
    ticks.move(BEAT_SECONDS - 0.1)
    await scheduler.step()
    assert await beats(world) == first
    ticks.move(0.1)
    await scheduler.step()
    second = await beats(world)
    assert second["one"] != first["one"]
    assert second["two"] == first["two"]


class ClaimingNothing(PostgresSchedule):
    """A schedule whose claims fail, as they do while its table is not as the program expects it."""

    async def claim(self, *, now: datetime, lost_after: timedelta, slots_max: int) -> list[EvaluationJob]:
        raise UndefinedColumn


async def test_a_scheduler_that_can_claim_nothing_does_not_say_that_it_works(
    world: World, queue: RedisJobs, clock: Clock, ticks: Ticks
) -> None:
    await world.execute("delete from heartbeat")
    failing = Scheduler(ClaimingNothing(world.pool), queue, holder="one", now=clock, monotonic=ticks)
    with pytest.raises(UndefinedColumn):
        await failing.step()
    assert await beats(world) == {}
