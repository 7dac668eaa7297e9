"""A source that does not answer well is asked again before that is said of it; and requests that need no evaluation any more.
Real store, real pages."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.postgres_dead_jobs import PostgresDeadJobs
from commands.event_store import DropSchedule, KeepSchedule
from domain.evaluation import EvaluationCompleted, EvaluationFailed, EvaluationJob, EvaluationRequested, Lane
from domain.monitor import MonitorDeleted, MonitorPaused, MonitorResumed, Status
from tests.conftest import AT
from tests.workers.world import EVERY_SECONDS, Clock, Page, World, plan
from workers.evaluator import Evaluator
from workers.later import NotYet, pause_after
from workers.scheduler import LOST_AFTER
from workers.sight import RETRIES_MAX

UNREACHABLE = "http://127.0.0.1:9/"


@pytest.fixture
def evaluator(world: World, fetcher: AiohttpFetcher) -> Evaluator:
    return world.evaluator(fetcher, retries_max=RETRIES_MAX)


async def asked_for(world: World, lane: Lane, url: str) -> EvaluationJob:
    """A slot that is due, or a request for a monitor whose slot is not."""
    owner = await world.person()
    if lane is Lane.SCHEDULED:
        return await world.slot(owner, await world.monitor(owner, plan(url)))
    return await world.request(owner, await world.monitor(owner, plan(url), due_at=AT + timedelta(days=1)))


async def ready(world: World) -> list[EvaluationJob]:
    return await world.schedule.claim(now=world.clock(), lost_after=LOST_AFTER, slots_max=10)


async def tried(world: World, evaluator: Evaluator, job: EvaluationJob) -> NotYet:
    """An attempt in vain, put back as the queue does."""
    with pytest.raises(NotYet) as later:
        await evaluator.evaluate(job)
    assert later.value.is_attempt
    await world.schedule.put_back(job, until=later.value.until, attempts=job.attempts + 1)
    return later.value


@pytest.mark.parametrize("lane", Lane)
async def test_a_source_is_asked_again_after_growing_pauses_and_then_the_failure_is_recorded(
    world: World, evaluator: Evaluator, page: Page, clock: Clock, lane: Lane
) -> None:
    page.status = 500
    job = await asked_for(world, lane, page.url)
    slot_before = await world.due_at(job.monitor_id)
    for attempt in range(1, RETRIES_MAX + 1):
        [handed_out] = await ready(world)
        assert (handed_out.evaluation_id, handed_out.attempts) == (job.evaluation_id, attempt - 1)
        later = await tried(world, evaluator, handed_out)
        assert later.until == clock() + pause_after(attempt, job)
        assert 0.5 * 2 ** (attempt - 1) <= (later.until - clock()).total_seconds() < 1.5 * 2 ** (attempt - 1)
        assert await world.outcome(job) is None
        assert await world.due_at(job.monitor_id) == slot_before
        clock.at = later.until - timedelta(milliseconds=1)
        assert await ready(world) == []
        clock.at = later.until
    [last] = await ready(world)
    await evaluator.evaluate(last)
    failed = await world.outcome(job)
    assert isinstance(failed, EvaluationFailed)
    assert (failed.code, failed.due_at) == ("SOURCE_SERVER_ERROR", job.due_at)
    assert len(page.seen) == 1 + RETRIES_MAX
    following = AT + timedelta(seconds=EVERY_SECONDS) if lane is Lane.SCHEDULED else slot_before
    assert await world.due_at(job.monitor_id) == following
    assert await world.value("select attempts from schedule where monitor_id = %s", job.monitor_id) == 0


@pytest.mark.parametrize("lane", Lane)
async def test_a_source_that_recovers_at_the_second_attempt_never_failed(
    world: World, evaluator: Evaluator, page: Page, clock: Clock, lane: Lane
) -> None:
    page.status = 503
    job = await asked_for(world, lane, page.url)
    [first] = await ready(world)
    clock.at = (await tried(world, evaluator, first)).until
    page.status = 200
    [second] = await ready(world)
    await evaluator.evaluate(second)
    completed = await world.verdict(job)
    assert (completed.due_at, completed.streak, completed.started_at) == (job.due_at, 1, clock())
    assert await world.all(EvaluationFailed) == []
    if lane is Lane.SCHEDULED:
        assert await world.due_at(job.monitor_id) == AT + timedelta(seconds=EVERY_SECONDS)


async def test_an_address_where_nobody_answers_is_asked_again(world: World, evaluator: Evaluator) -> None:
    job = await asked_for(world, Lane.SCHEDULED, UNREACHABLE)
    await tried(world, evaluator, job)


async def test_a_slow_source_is_asked_again(world: World, impatient_fetcher: AiohttpFetcher, page: Page) -> None:
    page.hold = asyncio.Event()
    evaluator = world.evaluator(impatient_fetcher, retries_max=RETRIES_MAX)
    await tried(world, evaluator, await asked_for(world, Lane.SCHEDULED, page.url))
    page.hold.set()


@pytest.mark.parametrize(("status", "code"), [(404, "SOURCE_GONE"), (403, "SOURCE_BLOCKED")])
async def test_what_asking_again_would_not_change_is_recorded_at_once(
    world: World, evaluator: Evaluator, page: Page, status: int, code: str
) -> None:
    page.status = status
    job = await asked_for(world, Lane.SCHEDULED, page.url)
    await evaluator.evaluate(job)
    failed = await world.outcome(job)
    assert isinstance(failed, EvaluationFailed)
    assert (failed.code, len(page.seen)) == (code, 1)


# What needs no evaluation any more


async def paused(world: World, job: EvaluationJob) -> None:
    resting = KeepSchedule(job.monitor_id, job.owner_id, plan().schedule, active=False, due_at=AT)
    await world.append(job.owner_id, job.monitor_id, MonitorPaused(paused_at=AT), companions=[resting])


async def deleted(world: World, job: EvaluationJob) -> None:
    gone = DropSchedule(job.monitor_id)
    await world.append(job.owner_id, job.monitor_id, MonitorDeleted(deleted_at=AT), companions=[gone])


async def unrecorded(_evaluation_id: object) -> None:
    return None


async def retried(world: World, job: EvaluationJob) -> EvaluationJob:
    """Given up, retried by an operator, and handed out."""
    dead = PostgresDeadJobs(world.pool)
    await world.schedule.bury(job, error="x", now=world.clock())
    await dead.retry(job.evaluation_id, record=unrecorded)
    await world.execute(
        "update evaluation_request set ready_at = requested_at"
    )  # the database's clock is not the test's
    [again] = [one for one in await ready(world) if one.evaluation_id == job.evaluation_id]
    assert (again.lane, again.attempts, again.due_at) == (Lane.ASKED, 0, job.due_at)
    return again


async def waiting(world: World) -> object:
    return await world.value("select count(*) from evaluation_request")


async def test_an_evaluation_that_is_retried_is_made_under_its_own_id_and_closes_nothing_else(
    world: World, evaluator: Evaluator, page: Page, clock: Clock
) -> None:
    job = await asked_for(world, Lane.SCHEDULED, page.url)
    again = await retried(world, job)
    following = await world.due_at(job.monitor_id)
    assert following == AT + timedelta(seconds=EVERY_SECONDS)
    await evaluator.evaluate(again)
    assert (await world.verdict(job)).due_at == job.due_at
    assert await waiting(world) == 0
    assert await world.due_at(job.monitor_id) == following
    clock.at = following
    [slot] = await ready(world)
    await evaluator.evaluate(slot)
    assert (await world.verdict(slot)).streak == 2


@pytest.mark.parametrize("meanwhile", [paused, deleted])
@pytest.mark.parametrize("lane", Lane)
async def test_a_retried_evaluation_of_a_monitor_that_was_paused_or_deleted_does_not_stay_for_ever(
    world: World,
    evaluator: Evaluator,
    page: Page,
    lane: Lane,
    meanwhile: Callable[[World, EvaluationJob], Awaitable[None]],
) -> None:
    job = await asked_for(world, lane, page.url)
    await meanwhile(world, job)
    await evaluator.evaluate(await retried(world, job))
    assert await waiting(world) == 0
    outcome = await world.outcome(job)
    if lane is Lane.SCHEDULED:  # nobody waits for it, and the monitor has no slots any more
        assert outcome is None
    else:
        assert isinstance(outcome, EvaluationCompleted if meanwhile is paused else EvaluationFailed)


async def test_a_retried_evaluation_that_had_been_made_does_not_hold_up_its_monitor(
    world: World, evaluator: Evaluator, page: Page, clock: Clock
) -> None:
    job = await asked_for(world, Lane.SCHEDULED, page.url)
    await evaluator.evaluate(job)
    await evaluator.evaluate(await retried(world, job))
    assert (len(page.seen), await waiting(world)) == (1, 0)
    clock.move(EVERY_SECONDS)
    assert [one.due_at for one in await ready(world)] == [AT + timedelta(seconds=EVERY_SECONDS)]


async def test_while_a_retried_evaluation_waits_somebody_may_ask_and_is_answered_after_it(
    world: World, evaluator: Evaluator, page: Page, clock: Clock
) -> None:
    job = await asked_for(world, Lane.SCHEDULED, page.url)
    clock.move(1)
    again = await retried(world, job)
    asked = await world.request(job.owner_id, job.monitor_id)
    assert await ready(world) == []
    await evaluator.evaluate(again)
    assert await ready(world) == [asked]
    assert len(await world.all(EvaluationRequested)) == 1


# A monitor that changes while its job is in flight


async def test_a_monitor_that_is_paused_while_its_job_waits_is_not_looked_at(
    world: World, evaluator: Evaluator, page: Page, clock: Clock
) -> None:
    job = await asked_for(world, Lane.SCHEDULED, page.url)
    assert await ready(world) == [job]
    await paused(world, job)
    await evaluator.evaluate(job)
    assert (page.seen, await world.outcome(job)) == ([], None)
    assert (await world.state(job.monitor_id)).status is Status.PAUSED
    clock.move(EVERY_SECONDS)
    assert await ready(world) == []


@pytest.mark.parametrize("resets", [True, False])
async def test_a_monitor_that_is_resumed_while_its_old_job_waits_is_looked_at_once(
    world: World, evaluator: Evaluator, page: Page, clock: Clock, *, resets: bool
) -> None:
    job = await asked_for(world, Lane.SCHEDULED, page.url)
    await ready(world)
    clock.move(1)
    if resets:
        await paused(world, job)
        due = KeepSchedule(job.monitor_id, job.owner_id, plan().schedule, active=True, due_at=clock())
        await world.append(job.owner_id, job.monitor_id, MonitorResumed(resumed_at=clock()), companions=[due])
    else:
        await world.schedule.bury(job, error="another copy of it was given up", now=clock())
    await evaluator.evaluate(job)
    assert (page.seen, await world.outcome(job)) == ([], None)
    clock.at = await world.due_at(job.monitor_id)
    [slot] = await ready(world)
    await evaluator.evaluate(slot)
    assert len(await world.all(EvaluationCompleted)) == 1
