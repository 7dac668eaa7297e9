"""A slot or a request that is handed out twice is paid for once, also by two processes, and it is never dropped by both: where
its entries know nothing of each other it is handed out once more, 45 s later at most. Real PostgreSQL and Redis, and a stand-in
of a model that processes share, with no answers of each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis
from structlog.testing import capture_logs

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
from workers.evaluation_queue import ATTEMPTS_MAX, RENEWAL_SECONDS, TAKE_OVER_IDLE_MS, Evaluating, EvaluationQueue
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


class Waiting:
    """Begins nothing before `goes_on`, as behind a slow database."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator, self.goes_on = evaluator, asyncio.Event()

    async def evaluate(self, job: EvaluationJob) -> None:
        await self.goes_on.wait()
        await self.evaluator.evaluate(job)


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

    def process(
        self, name: str, *, places: int = 1, does: Callable[[Evaluator], Evaluating] = lambda evaluator: evaluator
    ) -> Process:
        self.providers.append(ClaudeProvider("key", "claude-haiku-4-5", self.model.url))
        evaluator, ticks = self.world.evaluator(self.fetcher, models=reading(self.providers[-1])), Ticks()
        queue = EvaluationQueue(
            RedisJobs(self.client, namespace="t", consumer=name, lane=self.lane),
            does(evaluator),
            self.world.schedule,
            places=places,
            now=self.world.clock,
            monotonic=ticks,
            is_outage=is_outage,
        )
        self.processes.append(Process(evaluator, queue, ticks))
        return self.processes[-1]

    async def monitor(self, *, owner: UUID | None = None, **others: Any) -> UUID:  # noqa: ANN401  fields of a plan
        """One that is due, or about which somebody asks."""
        self.owner = owner or await self.world.person()
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
    before = await fleet.waiting()
    await fleet.scheduler.step()
    fleet.world.clock.at += LOST_AFTER
    await fleet.scheduler.step()
    assert await fleet.waiting() == before + 2


async def one_is_at_work_and_who_took_the_other_died(
    fleet: Fleet,
    page: Page,
    process: Process,
    **others: Any,  # noqa: ANN401  fields of a plan
) -> None:
    await fleet.monitor(**others)
    await handed_out_twice(fleet)
    [(receipt, _)] = await fleet.jobs.take(1, block_ms=1)
    page.hold = asyncio.Event()
    await process.step()
    await until(lambda: len(page.seen) == 1)
    await fleet.client.xclaim(KEYS[fleet.lane], GROUP, "first", 0, [receipt], idle=TAKE_OVER_IDLE_MS, justid=True)


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
            await other.step()
            await other.idle()
            assert fleet.model.count == 0, "who takes it over cannot know that who holds it is who died"
            clock.at += LOST_AFTER
            await fleet.scheduler.step()
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


async def test_an_entry_that_leaves_room_for_others_leaves_what_another_holds(
    fleet: Fleet, page: Page, clock: Clock
) -> None:
    page.hold = asyncio.Event()
    one, crowded, third = fleet.process("a"), fleet.process("b"), fleet.process("c")
    await fleet.monitor(facts=(PRICE,))
    slow = await fleet.claim()
    await fleet.jobs.enqueue([slow])
    await crowded.step()
    await until(lambda: len(page.seen) == 1)
    await fleet.world.schedule.put_back(slow, until=AT + timedelta(days=1), attempts=0)
    await fleet.monitor(owner=fleet.owner)
    await handed_out_twice(fleet)
    await one.step()
    await until(lambda: len(page.seen) == 2)
    await crowded.step()
    await until(lambda: len(crowded.queue._running) == 1 and crowded.queue._acknowledging is None)
    assert await fleet.waiting() == 2, "it was let go"
    clock.move(25)  # it would be ready again by then, and an evaluation may take 30 s
    await fleet.scheduler.step()
    await third.step()
    await until(lambda: not third.queue._running or len(page.seen) == 3)
    page.hold.set()
    for process in fleet.processes:
        await process.idle()
    assert fleet.model.count == 1


async def test_what_a_dead_worker_left_is_not_begun_while_another_holds_it_and_the_death_counts(
    fleet: Fleet, page: Page
) -> None:
    one, third = fleet.process("a"), fleet.process("c")
    await one_is_at_work_and_who_took_the_other_died(fleet, page, one)
    held = await fleet.row()
    await third.step()
    await until(lambda: not third.queue._running or len(page.seen) == 2)
    assert await fleet.row() == held
    table = "evaluation_request" if fleet.lane is Lane.ASKED else "schedule"
    assert await fleet.world.value(f"select attempts from {table}") == 1  # noqa: S608  one of two
    assert page.hold is not None
    page.hold.set()
    await one.idle()
    await third.idle()
    assert await fleet.was_paid_once()


@pytest.mark.parametrize("is_paid", [True, False], ids=["read by a model", "read by a selector"])
async def test_what_a_dead_worker_left_is_not_begun_beside_what_is_at_work_here(
    fleet: Fleet, page: Page, *, is_paid: bool
) -> None:
    page.text = page.text if is_paid else None
    alone = fleet.process("a", places=20)
    others: dict[str, Any] = {} if is_paid else {"facts": (PRICE,)}
    await one_is_at_work_and_who_took_the_other_died(fleet, page, alone, **others)
    await alone.step()
    await until(lambda: len(alone.queue._running) == 2)
    assert page.hold is not None
    page.hold.set()
    await alone.idle()
    assert (len(page.seen), len(await fleet.world.all(EvaluationCompleted)), await fleet.waiting()) == (1, 1, 0)
    assert fleet.model.count == is_paid


async def test_who_dies_while_it_holds_a_job_counts_until_the_job_is_put_away(
    fleet: Fleet, page: Page, clock: Clock
) -> None:
    await fleet.world.execute("delete from dead_job")
    await fleet.monitor()
    await handed_out_twice(fleet)
    page.hold = asyncio.Event()
    with capture_logs():
        for deaths in range(ATTEMPTS_MAX):
            process = fleet.process(str(deaths))
            await process.step()
            await until(lambda: len(page.seen) > deaths)  # noqa: B023  awaited here
            await process.die()
            await fleet.let_entries_be_left()
            heir = fleet.process(f"heir of {deaths}")
            for _ in range(3):
                await heir.step()
                await heir.idle()
            assert await fleet.waiting() == 0
            clock.at += LOST_AFTER
            await fleet.scheduler.step()
    assert await fleet.world.value("select attempts from dead_job") == ATTEMPTS_MAX
    assert (fleet.model.count, await fleet.waiting()) == (0, 0)


async def test_what_is_not_begun_is_put_back_unless_somebody_else_holds_it(fleet: Fleet, clock: Clock) -> None:
    await fleet.monitor()
    schedule, briefings = fleet.world.schedule, PostgresBriefings(fleet.world.pool)
    job = await fleet.claim()
    clock.move(20)
    held = await briefings.hold(job, now=clock(), lost_after=LOST_AFTER)
    assert held is not None
    at_work = await fleet.row()
    await schedule.put_back_unbegun(job, until=clock(), attempts=2)
    assert await fleet.row() == at_work
    older = msgspec.structs.replace(job, handed_out_at=None)
    for one in (held, older):  # its own, and one that says nothing of when
        await schedule.put_back_unbegun(one, until=AT + timedelta(days=1), attempts=0)
        await schedule.put_back_unbegun(job, until=clock(), attempts=0)  # what was put back is nobody's
        again = await fleet.claim()
        assert (again.attempts, again.handed_out_at) == (2, clock())
        clock.move(1)
        await briefings.hold(again, now=clock(), lost_after=LOST_AFTER)
    await schedule.put_back(job, until=clock(), attempts=0)
    assert (await fleet.claim()).handed_out_at == clock(), "what was begun is put back whoever holds it"


async def test_what_is_handed_out_anew_while_the_same_process_has_not_begun_it_is_done_after_that_went_by(
    fleet: Fleet, page: Page, clock: Clock
) -> None:
    """What was handed out before the queue was lost is no more what the row says. Another entry of what waited is let go."""
    await fleet.monitor()
    await fleet.scheduler.step()
    clock.move(20)
    waiting: list[Waiting] = []

    def does(evaluator: Evaluator) -> Waiting:
        waiting.append(Waiting(evaluator))
        return waiting[-1]

    process = fleet.process("a", places=5, does=does)
    await process.step()
    await lose_the_queue(fleet, process)
    page.hold = asyncio.Event()
    waiting[0].goes_on.set()
    await until(lambda: len(page.seen) == 1 and len(process.queue._running) == 1)
    clock.at += LOST_AFTER
    await fleet.scheduler.step()
    await process.step()
    await until(lambda: process.queue._acknowledging is None)
    assert len(process.queue._running) == 1
    page.hold.set()
    await process.idle()
    assert await fleet.was_paid_once()


async def test_what_is_handed_out_anew_is_not_begun_beside_what_the_same_process_has_at_work(
    fleet: Fleet, page: Page, clock: Clock
) -> None:
    await fleet.monitor()
    await fleet.scheduler.step()
    page.hold = asyncio.Event()
    process = fleet.process("a", places=5)
    await process.step()
    await until(lambda: len(page.seen) == 1)
    clock.move(3)
    await lose_the_queue(fleet, process)
    page.hold.set()
    await process.idle()
    assert await fleet.was_paid_once()
    assert len(page.seen) == 1


async def lose_the_queue(fleet: Fleet, process: Process) -> None:
    """And hand out anew what was in it, to this process."""
    await fleet.client.flushall()
    await fleet.scheduler.step()
    assert await fleet.waiting() == 1
    for _ in range(2):  # the first makes the group
        await process.step()


async def test_who_begins_soon_and_who_pays_nothing_writes_nothing(fleet: Fleet, page: Page, clock: Clock) -> None:
    cases: list[tuple[dict[str, Any], timedelta]] = [({}, LATE_AFTER), ({"facts": (PRICE,)}, LOST_AFTER)]
    for others, late in cases:
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
