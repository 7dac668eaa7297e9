"""A slot or a request that is handed out twice is paid for once, also by two processes, and it is never dropped by both. Real
PostgreSQL and Redis, and a stand-in of a model that processes share, with no answers of each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.claude_provider import ClaudeProvider
from adapters.postgres_briefings import PostgresBriefings
from adapters.postgres_dead_jobs import PostgresDeadJobs
from adapters.postgres_pool import is_outage
from adapters.redis_jobs import GROUP, RedisJobs
from commands.model_reading import ModelRead
from domain.evaluation import EvaluationCompleted, EvaluationJob, Lane
from domain.evidence import Document
from domain.fact import ReadBy
from domain.schedule import Every
from domain.source import SearchSource
from tests.commands.model_world import reading
from tests.conftest import AT
from tests.model_server import ModelServer, model_server
from tests.reading_model import reads
from tests.workers.test_unread import Searching
from tests.workers.world import PRICE, Clock, Page, Ticks, World, plan, until
from workers.evaluation_queue import RENEWAL_SECONDS, TAKE_OVER_IDLE_MS, EvaluationQueue
from workers.evaluator import LATE_AFTER, Evaluator
from workers.scheduler import LOST_AFTER, Scheduler

READ_BY_MODEL = msgspec.structs.replace(PRICE, read_by=ReadBy.MODEL, select=None, description="the price of the kettle")
DAILY = Every(seconds=86_400)
KEYS = {Lane.ASKED: "t:jobs:asked", Lane.SCHEDULED: "t:jobs"}
A_MOMENT = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_MS", 1)
    monkeypatch.setattr("workers.evaluation_queue.BLOCK_SOON_MS", 1)


class Process:
    """A process with one lane of the queue, which asks the model for itself."""

    def __init__(self, evaluator: Evaluator, queue: EvaluationQueue, ticks: Ticks) -> None:
        self.evaluator, self.queue, self.ticks = evaluator, queue, ticks

    async def step(self) -> None:
        """Take what is there, and what was left behind."""
        self.ticks.move(RENEWAL_SECONDS)
        for _ in range(2):
            await self.queue.step()
            await asyncio.sleep(0)  # what was taken begins now, and not when the clock moves next

    async def idle(self) -> None:
        await until(lambda: not self.queue._running and self.queue._acknowledging is None)

    async def die(self) -> None:
        tasks = list(self.queue._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Fleet:
    """A scheduler, and processes that share a model which is paid for each time it is asked."""

    def __init__(
        self, world: World, client: redis.Redis, fetcher: AiohttpFetcher, page: Page, model: ModelServer, lane: Lane
    ) -> None:
        self.world, self.client, self.fetcher = world, client, fetcher
        self.page, self.model, self.lane = page, model, lane
        self.jobs = RedisJobs(client, namespace="t", consumer="first", lane=lane)
        self.scheduler = Scheduler(world.schedule, self.jobs, holder="one", now=world.clock, monotonic=Ticks())
        self.providers: list[ClaudeProvider] = []
        self.processes: list[Process] = []
        self.owner = UUID(int=0)
        page.text = b"<p>price 149</p>", "text/html"

    def process(self, name: str, *, places: int = 1) -> Process:
        self.providers.append(ClaudeProvider("key", "claude-haiku-4-5", self.model.url))
        evaluator, ticks = self.world.evaluator(self.fetcher, models=reading(self.providers[-1])), Ticks()
        queue = EvaluationQueue(
            RedisJobs(self.client, namespace="t", consumer=name, lane=self.lane),
            evaluator,
            self.world.schedule,
            places=places,
            now=self.world.clock,
            monotonic=ticks,
            is_outage=is_outage,
        )
        self.processes.append(Process(evaluator, queue, ticks))
        return self.processes[-1]

    async def monitor(self, **others: Any) -> UUID:  # noqa: ANN401  fields of a plan
        """One that is due, or about which somebody asks."""
        self.owner = await self.world.person()
        fields = {"facts": (READ_BY_MODEL,), "schedule": DAILY, **others}
        of = msgspec.structs.replace(plan(self.page.url), **fields)
        far = AT + timedelta(days=1000)
        monitor = await self.world.monitor(self.owner, of, due_at=far if self.lane is Lane.ASKED else None)
        if self.lane is Lane.ASKED:
            await self.world.request(self.owner, monitor)
        return monitor

    async def waiting(self) -> int:
        return int(await self.client.xlen(KEYS[self.lane]))

    async def let_entries_be_left(self) -> None:
        """So long has passed that who took what is not done is dead."""
        pending = await self.client.xpending_range(KEYS[self.lane], GROUP, "-", "+", 100)
        receipts: list[bytes | str | int | memoryview[int]] = [one["message_id"] for one in pending]
        await self.client.xclaim(KEYS[self.lane], GROUP, "first", 0, receipts, idle=TAKE_OVER_IDLE_MS, justid=True)

    async def claim(self) -> EvaluationJob:
        [job] = await self.world.schedule.claim(now=self.world.clock(), lost_after=LOST_AFTER, slots_max=10)
        return job

    async def row(self) -> tuple[object, object]:
        """When it was handed out, or held, and when it counts as lost."""
        if self.lane is Lane.ASKED:
            return (
                await self.world.value("select enqueued_at from evaluation_request"),
                await self.world.value("select ready_at from evaluation_request"),
            )
        return (
            await self.world.value("select enqueued_at from schedule"),
            await self.world.value("select ready_at from schedule"),
        )

    async def was_paid_once(self) -> bool:
        """And recorded once, and nothing is left of it."""
        recorded = len(await self.world.all(EvaluationCompleted))
        return (self.model.count, recorded, await self.waiting()) == (1, 1, 0)


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with model_server(reads) as opened:
        yield opened


@pytest.fixture(params=Lane)
async def fleet(
    world: World,
    client: redis.Redis,
    fetcher: AiohttpFetcher,
    page: Page,
    model: ModelServer,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Fleet]:
    made = Fleet(world, client, fetcher, page, model, request.param)
    await made.scheduler.step()  # which brings back what a clock ahead put off
    await made.jobs.take(1, block_ms=1)  # makes the group
    yield made
    for process in made.processes:
        await process.die()
    for provider in made.providers:
        await provider.close()


async def handed_out_twice(fleet: Fleet) -> None:
    """Nobody took it for too long, and both entries wait."""
    await fleet.scheduler.step()
    fleet.world.clock.at += LOST_AFTER
    await fleet.scheduler.step()
    assert await fleet.waiting() == 2


async def test_of_two_entries_that_wait_two_processes_pay_for_one(fleet: Fleet, page: Page) -> None:
    await fleet.monitor()
    await handed_out_twice(fleet)
    page.hold = asyncio.Event()
    one, other = fleet.process("a"), fleet.process("b")
    await asyncio.gather(one.step(), other.step())
    await until(lambda: len(page.seen) + (not one.queue._running) + (not other.queue._running) == 2)
    page.hold.set()
    await one.idle()
    await other.idle()
    assert await fleet.was_paid_once()
    assert len(page.seen) == 1


async def test_of_two_entries_that_one_process_takes_one_is_evaluated_at_once(fleet: Fleet) -> None:
    """It lets the second go because the first is at work: should that go by for the second, nobody would look."""
    await fleet.monitor()
    await handed_out_twice(fleet)
    alone = fleet.process("a", places=20)
    await alone.step()
    await alone.idle()
    assert await fleet.was_paid_once()


async def test_of_two_entries_of_a_search_one_is_paid_for(fleet: Fleet) -> None:
    class HeldSearching(Searching):
        async def search(self, *given: Any, **named: Any) -> tuple[Document, ModelRead]:  # noqa: ANN401  as it comes
            found = await super().search(*given, **named)
            await goes_on.wait()
            return found

    goes_on, searching = asyncio.Event(), HeldSearching()
    await fleet.monitor(sources=(SearchSource(query="a kettle"),), facts=(PRICE,))
    job = await fleet.claim()
    fleet.world.clock.at += LOST_AFTER
    again = await fleet.claim()
    evaluator = fleet.process("a").evaluator
    looker = replace(evaluator.sight.looker, searching=searching)
    evaluator = replace(evaluator, sight=replace(evaluator.sight, looker=looker))
    both = [asyncio.create_task(evaluator.evaluate(one)) for one in (job, again)]
    await until(lambda: searching.searches + sum(one.done() for one in both) == 2)
    goes_on.set()
    await asyncio.gather(*both)
    assert searching.searches == 1
    assert isinstance(await fleet.world.outcome(job), EvaluationCompleted)


async def test_what_begins_after_a_backlog_is_not_handed_out_once_more_while_it_is_under_way(
    fleet: Fleet, page: Page, clock: Clock
) -> None:
    await fleet.monitor()
    await fleet.scheduler.step()
    clock.move(20)
    page.hold = asyncio.Event()
    one, other = fleet.process("a"), fleet.process("b")
    await one.step()
    await until(lambda: len(page.seen) == 1)
    for _ in range(3):
        clock.move(10)
        await fleet.scheduler.step()
        await other.step()
        await until(lambda: not other.queue._running or len(page.seen) == 2)
    page.hold.set()
    await one.idle()
    await other.idle()
    assert await fleet.was_paid_once()


@pytest.mark.parametrize("comes_back", ["taken over", "lost with the queue", "handed out once more"])
async def test_what_a_process_held_that_was_killed_is_evaluated_by_another(
    fleet: Fleet, page: Page, clock: Clock, comes_back: str
) -> None:
    await fleet.monitor()
    await handed_out_twice(fleet)
    page.hold = asyncio.Event()
    killed, other = fleet.process("a"), fleet.process("b")
    await killed.step()
    await until(lambda: len(page.seen) == 1)
    await killed.die()
    page.hold = None
    await other.step()
    await other.idle()
    assert fleet.model.count == 0, "the second entry cannot know that the first is dead"
    match comes_back:
        case "taken over":
            await fleet.let_entries_be_left()
        case "lost with the queue":
            await fleet.client.flushall()
            await fleet.scheduler.step()
        case _:
            clock.at += LOST_AFTER
            await fleet.scheduler.step()
    await other.step()
    await other.step()
    await other.idle()
    assert (fleet.model.count, len(await fleet.world.all(EvaluationCompleted))) == (1, 1)
    if await fleet.waiting():
        await fleet.let_entries_be_left()
        await other.step()
        await other.idle()
    assert await fleet.was_paid_once()


async def test_who_begins_soon_and_who_pays_nothing_writes_nothing(fleet: Fleet, page: Page, clock: Clock) -> None:
    for others, late in (({}, LATE_AFTER), ({"facts": (PRICE,)}, LOST_AFTER)):
        page.text = None if others else page.text
        page.hold, clock.at, page.seen = asyncio.Event(), AT, []
        await fleet.monitor(**others)
        job = await fleet.claim()
        before = await fleet.row()
        clock.at += late
        await fleet.jobs.enqueue([job])
        process = fleet.process("a")
        await process.step()
        await until(lambda: len(page.seen) == 1)
        assert await fleet.row() == before == (AT, AT + LOST_AFTER)
        page.hold.set()
        await process.idle()
        await fleet.world.execute("delete from schedule")


async def test_who_begins_late_says_so(fleet: Fleet, page: Page, clock: Clock) -> None:
    await fleet.monitor()
    await fleet.scheduler.step()
    clock.at += LATE_AFTER + A_MOMENT
    page.hold = asyncio.Event()
    process = fleet.process("a")
    await process.step()
    await until(lambda: len(page.seen) == 1)
    assert await fleet.row() == (clock.at, clock.at + LOST_AFTER)
    page.hold.set()
    await process.idle()
    assert await fleet.was_paid_once()


async def test_who_has_to_look_again_is_not_taken_for_somebody_else(fleet: Fleet, page: Page, clock: Clock) -> None:
    """An evaluation that was recorded meanwhile makes what was seen too old."""
    monitor = await fleet.monitor()
    job = await fleet.claim()
    evaluator = fleet.process("a").evaluator
    clock.move(1)
    meanwhile = await fleet.world.request(fleet.owner, monitor)

    async def another_is_recorded() -> None:
        page.on_request = None
        clock.at += LATE_AFTER + A_MOMENT
        await evaluator.evaluate(meanwhile)

    page.on_request = another_is_recorded
    clock.at += LOST_AFTER
    await evaluator.evaluate(job)
    assert await fleet.world.outcome(job) is not None


async def test_of_any_number_who_begin_late_at_once_one_does(fleet: Fleet, clock: Clock) -> None:
    await fleet.monitor()
    first = await fleet.claim()
    for _ in range(3):
        clock.at += LOST_AFTER
        again = await fleet.claim()
        assert again == first, "whoever takes any of the entries finds in it what the row says"
    briefings = PostgresBriefings(fleet.world.pool)

    async def hold(job: EvaluationJob) -> EvaluationJob | None:
        return await briefings.hold(job, now=clock(), lost_after=LOST_AFTER)

    held = await asyncio.gather(*(hold(first) for _ in range(8)))
    assert [one for one in held if one is not None] == [msgspec.structs.replace(first, handed_out_at=clock())]
    clock.at += LOST_AFTER
    third = await fleet.claim()
    assert (await hold(first), await hold(third)) == (None, msgspec.structs.replace(third, handed_out_at=clock()))


async def put_back(fleet: Fleet, job: EvaluationJob) -> None:
    await fleet.world.schedule.put_back(job, until=fleet.world.clock(), attempts=job.attempts)


async def give_back(fleet: Fleet, job: EvaluationJob) -> None:
    await fleet.world.schedule.give_back([job])


async def give_all_back(fleet: Fleet, _job: EvaluationJob) -> None:
    await fleet.world.schedule.give_back_all()


async def turn_the_clock_back(fleet: Fleet, _job: EvaluationJob) -> None:
    fleet.world.clock.at = AT + timedelta(seconds=1)
    await fleet.world.schedule.clock_went_back(fleet.world.clock(), lost_after=LOST_AFTER, tolerance=timedelta())


async def give_up_and_retry(fleet: Fleet, job: EvaluationJob) -> None:
    async def unrecorded(_id: UUID) -> None:
        """Nobody writes down who did it."""

    await fleet.world.schedule.bury(job, error="x", now=fleet.world.clock())
    await PostgresDeadJobs(fleet.world.pool).retry(job.evaluation_id, record=unrecorded)
    await fleet.world.execute("update evaluation_request set ready_at = requested_at")


async def wait(fleet: Fleet, _job: EvaluationJob) -> None:
    fleet.world.clock.at += LOST_AFTER


Reset = Callable[[Fleet, EvaluationJob], Awaitable[None]]


@pytest.mark.parametrize("held", [False, True], ids=["waiting", "held by who is gone"])
@pytest.mark.parametrize("before_first", [False, True], ids=["the later entry first", "the earlier entry first"])
@pytest.mark.parametrize("reset", [put_back, give_back, give_all_back, turn_the_clock_back, give_up_and_retry, wait])
@pytest.mark.parametrize("later_by", [timedelta(), timedelta(seconds=20), 2 * LOST_AFTER])
async def test_of_an_entry_from_before_and_one_from_after_one_is_done_whichever_comes_first(
    fleet: Fleet, clock: Clock, reset: Reset, later_by: timedelta, *, before_first: bool, held: bool
) -> None:
    await fleet.world.execute("delete from dead_job")
    await fleet.monitor()
    clock.at = AT + timedelta(hours=1)
    before = await fleet.claim()
    clock.at += timedelta(seconds=20)
    if held:
        assert await PostgresBriefings(fleet.world.pool).hold(before, now=clock(), lost_after=LOST_AFTER)
    await reset(fleet, before)
    after = await fleet.claim()
    clock.at += later_by
    evaluator = fleet.process("a").evaluator
    for job in (before, after) if before_first else (after, before):
        await evaluator.evaluate(job)
    assert isinstance(await fleet.world.outcome(before), EvaluationCompleted)
    assert fleet.model.count == 1


async def test_a_job_that_says_nothing_of_when_is_never_somebody_elses(fleet: Fleet, clock: Clock) -> None:
    """A release before this one queued it, or one after it took it up."""

    class OlderJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
        evaluation_id: UUID
        monitor_id: UUID
        owner_id: UUID
        due_at: datetime
        signal_id: UUID | None = None
        lane: Lane = Lane.SCHEDULED
        attempts: int = 0

    await fleet.monitor()
    older = msgspec.json.decode(msgspec.json.encode(await fleet.claim()), type=OlderJob)
    job = msgspec.json.decode(msgspec.json.encode(older), type=EvaluationJob)
    assert job.handed_out_at is None
    clock.at += 2 * LOST_AFTER
    await fleet.process("a").evaluator.evaluate(job)
    assert isinstance(await fleet.world.outcome(job), EvaluationCompleted)
