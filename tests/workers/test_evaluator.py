"""The evaluator from pages to events: real store, real history, real pages, real conditions."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.fact_reader import FactReader
from commands.event_store import ConcurrentAppend, DropSchedule, KeepSchedule
from domain.evaluation import EvaluationCompleted, EvaluationFailed, EvaluationJob, FactExtracted, Verdict
from domain.evidence import Document
from domain.fact import Fact, FactSpec
from domain.monitor import (
    ConditionMetAgain,
    MonitorDeleted,
    MonitorPaused,
    MonitorRenamed,
    PlanRevised,
    State,
    StateChanged,
)
from domain.plan import Fires, Plan
from domain.source import Source
from tests.conftest import AT
from tests.workers.world import EVERY_SECONDS, Clock, Page, World, plan
from workers.evaluator import Evaluator, HistoryBehind
from workers.look import PARSED_IN_PLACE_BYTES_MAX


class Watch:
    """One monitor of one person, evaluated slot by slot."""

    def __init__(self, world: World, evaluator: Evaluator, owner: UUID, monitor: UUID) -> None:
        self.world, self.evaluator, self.owner, self.monitor = world, evaluator, owner, monitor

    async def job(self) -> EvaluationJob:
        """The present slot, two seconds after it became due."""
        job = await self.world.slot(self.owner, self.monitor)
        self.world.clock.at = max(self.world.clock.at, job.due_at) + timedelta(seconds=2)
        return job

    async def look(self) -> EvaluationJob:
        """Evaluate the present slot and let the read tables follow."""
        job = await self.job()
        await self.evaluator.evaluate(job)
        await self.world.project()
        return job

    async def verdict(self) -> EvaluationCompleted:
        return await self.world.verdict(await self.look())

    async def state(self) -> State:
        return (await self.world.state(self.monitor)).state

    async def changes(self) -> list[StateChanged]:
        return await self.world.events(self.monitor, StateChanged)


async def watching(world: World, evaluator: Evaluator, of: Plan) -> Watch:
    owner = await world.person()
    return Watch(world, evaluator, owner, await world.monitor(owner, of))


@pytest.fixture
def evaluator(world: World, fetcher: AiohttpFetcher) -> Evaluator:
    return world.evaluator(fetcher)


@pytest.fixture
async def watch(world: World, evaluator: Evaluator, page: Page) -> Watch:
    return await watching(world, evaluator, plan(page.url))


@pytest.mark.parametrize(("price", "state"), [(150.0, State.ACTIVE), (250.0, State.INACTIVE)])
async def test_the_first_evaluation_leaves_unknown(watch: Watch, page: Page, price: float, state: State) -> None:
    page.content = {"price": price}
    completed = await watch.verdict()
    assert (completed.state_before, completed.state_after) == (State.UNKNOWN, state)
    assert completed.inputs == {"price": price}
    assert completed.condition == "price < 200"
    assert [fact.fact.value for fact in await watch.world.all(FactExtracted)] == [price]
    assert [(one.from_state, one.to_state) for one in await watch.changes()] == [(State.UNKNOWN, state)]
    assert await watch.state() is state


async def test_a_verdict_that_stays_the_same_changes_nothing(watch: Watch) -> None:
    verdicts = [await watch.verdict() for _ in range(3)]
    assert [one.streak for one in verdicts] == [1, 2, 3]
    assert len(await watch.changes()) == 1


async def test_a_switch_needs_its_confirmations_in_a_row(world: World, evaluator: Evaluator, page: Page) -> None:
    watch = await watching(world, evaluator, plan(page.url, confirmations=3))
    states = []
    for price in (250, 150, 150, 250, 150, 150, 150, 250, 250, 250):
        page.content = {"price": price}
        await watch.look()
        states.append(str(await watch.state()))
    assert states == ["inactive"] * 6 + ["active"] * 3 + ["inactive"]


async def test_the_first_switch_into_active_needs_its_confirmations_too(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url, confirmations=2))
    page.content = {"price": 150}
    await watch.look()
    assert await watch.state() is State.UNKNOWN
    await watch.look()
    assert await watch.state() is State.ACTIVE


async def test_an_inconclusive_verdict_neither_counts_nor_breaks_the_row(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url, confirmations=2))
    await watch.look()
    page.content = {"price": 150}
    await watch.look()
    page.content = {"name": "Kettle"}
    assert (await watch.verdict()).verdict is Verdict.INCONCLUSIVE
    assert await watch.state() is State.INACTIVE
    page.content = {"price": 150}
    await watch.look()
    assert await watch.state() is State.ACTIVE


@pytest.mark.parametrize("price", [250.0, 150.0])
async def test_a_missing_fact_never_changes_the_state(watch: Watch, page: Page, price: float) -> None:
    page.content = {"price": price}
    await watch.look()
    before = await watch.state()
    page.content = {"name": "Kettle"}
    completed = await watch.verdict()
    assert completed.verdict is Verdict.INCONCLUSIVE
    assert completed.reason is not None
    assert "price" in completed.reason
    assert completed.inputs == {"price": None}
    assert await watch.state() is before
    assert len(await watch.changes()) == 1


class Doubting:
    """Reads as the real reader does, and is as certain as the page says."""

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        certain = msgspec.json.decode(document.body).get("certain", 1.0)
        found = FactReader().read(facts, source, document)
        return {name: msgspec.structs.replace(fact, confidence=certain) for name, fact in found.items()}


async def test_a_fact_that_is_too_uncertain_never_changes_the_state(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    watch = await watching(world, world.evaluator(fetcher, reading=Doubting()), plan(page.url, min_confidence=0.7))
    await watch.look()
    page.content = {"price": 150.0, "certain": 0.69}
    assert (await watch.verdict()).verdict is Verdict.INCONCLUSIVE
    assert await watch.state() is State.INACTIVE
    page.content = {"price": 150.0, "certain": 0.7}
    assert (await watch.verdict()).verdict is Verdict.MET
    assert await watch.state() is State.ACTIVE


@pytest.mark.parametrize(
    ("status", "code"), [(500, "SOURCE_SERVER_ERROR"), (403, "SOURCE_BLOCKED"), (404, "SOURCE_GONE")]
)
async def test_a_failing_source_is_recorded_and_never_changes_the_state(
    watch: Watch, page: Page, status: int, code: str
) -> None:
    await watch.look()
    page.content, page.status = {"price": 1.0}, status
    failed = await watch.world.outcome(await watch.look())
    assert isinstance(failed, EvaluationFailed)
    assert failed.code == code
    assert str(status) in failed.message
    assert [one.outcome for one in failed.evidence] == [code.removeprefix("SOURCE_").lower()]
    assert await watch.state() is State.INACTIVE
    assert len(await watch.changes()) == 1
    assert len(await watch.world.all(FactExtracted)) == 1


async def test_a_source_that_does_not_answer_is_recorded_as_slow(
    world: World, impatient_fetcher: AiohttpFetcher, page: Page
) -> None:
    watch = await watching(world, world.evaluator(impatient_fetcher), plan(page.url))
    page.hold = asyncio.Event()
    failed = await watch.world.outcome(await watch.look())
    page.hold.set()
    assert isinstance(failed, EvaluationFailed)
    assert failed.code == "SOURCE_SLOW"
    assert await watch.state() is State.UNKNOWN


async def test_after_a_failure_the_row_goes_on(world: World, evaluator: Evaluator, page: Page) -> None:
    watch = await watching(world, evaluator, plan(page.url, confirmations=2))
    await watch.look()
    page.content = {"price": 150}
    await watch.look()
    page.status = 500
    await watch.look()
    page.status = 200
    assert (await watch.verdict()).streak == 2
    assert await watch.state() is State.ACTIVE


async def test_an_answer_that_nothing_was_modified_is_judged_by_the_kept_evidence(watch: Watch, page: Page) -> None:
    page.content, page.etag = {"price": 150.0}, '"one"'
    first = await watch.verdict()
    second = await watch.verdict()
    assert page.seen[1]["If-None-Match"] == '"one"'
    assert [one.outcome for one in second.evidence] == ["not_modified"]
    assert [one.hash for one in second.evidence] == [one.hash for one in first.evidence]
    assert (second.verdict, second.inputs, second.streak) == (Verdict.MET, {"price": 150.0}, 2)


async def test_a_page_that_was_modified_after_all_is_read_anew(watch: Watch, page: Page) -> None:
    page.content, page.etag = {"price": 150.0}, '"one"'
    await watch.look()
    page.content, page.etag = {"price": 250.0}, '"two"'
    assert (await watch.verdict()).inputs == {"price": 250.0}
    page.content = {"price": 1.0}
    assert (await watch.verdict()).inputs == {"price": 250.0}


async def test_one_job_done_by_two_evaluators_at_once_is_one_evaluation(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    page.content = {"price": 150.0}
    watch = await watching(world, world.evaluator(fetcher), plan(page.url))
    job = await watch.job()
    all_have_come = asyncio.Barrier(4)

    async def wait_for_the_others() -> None:
        await all_have_come.wait()

    page.on_request = wait_for_the_others
    await asyncio.gather(*(world.evaluator(fetcher).evaluate(job) for _ in range(4)))
    assert len(page.seen) == 4
    assert len(await world.all(EvaluationCompleted)) == 1
    assert len(await world.all(FactExtracted)) == 1
    assert len(await watch.changes()) == 1


async def test_a_job_that_was_done_is_not_done_again(watch: Watch, page: Page) -> None:
    job = await watch.look()
    await watch.evaluator.evaluate(job)
    assert len(page.seen) == 1
    assert len(await watch.world.all(EvaluationCompleted)) == 1


async def test_two_jobs_of_one_monitor_at_once_follow_one_another(watch: Watch, page: Page) -> None:
    await watch.look()  # what follows changes no state, so that only the schedule's row keeps the two in a row
    both_have_come = asyncio.Barrier(2)

    async def wait_for_the_other() -> None:
        if len(page.seen) <= 3:
            await both_have_come.wait()

    page.on_request = wait_for_the_other
    slot, asked = await watch.job(), await watch.world.request(watch.owner, watch.monitor)
    both = asyncio.gather(watch.evaluator.evaluate(slot), watch.evaluator.evaluate(asked))
    while not both.done():
        await watch.world.project()
        await asyncio.sleep(0.001)
    await both
    assert len(page.seen) == 4
    assert sorted(one.streak for one in await watch.world.all(EvaluationCompleted)) == [1, 2, 3]


async def test_a_plan_revised_in_the_middle_is_the_one_that_decides(watch: Watch, page: Page, clock: Clock) -> None:
    page.content = {"price": 150.0}
    revised = plan(page.url, condition="price < 100")

    async def revise() -> None:
        page.on_request = None
        clock.move(1)
        event = PlanRevised(prompt="Under 100", plan=revised, state_reset=True, revised_at=clock())
        due = KeepSchedule(watch.monitor, watch.owner, revised.schedule, active=True, due_at=clock())
        await watch.world.append(watch.owner, watch.monitor, event, companions=[due])

    page.on_request = revise
    completed = await watch.verdict()
    assert (completed.plan_revision, completed.condition, completed.verdict) == (2, "price < 100", Verdict.NOT_MET)
    assert [one.to_state for one in await watch.changes()] == [State.INACTIVE]
    assert await watch.world.due_at(watch.monitor) == clock()


async def test_verdicts_on_an_older_plan_do_not_confirm(world: World, evaluator: Evaluator, page: Page) -> None:
    watch = await watching(world, evaluator, plan(page.url, confirmations=2))
    await watch.look()
    page.content = {"price": 150.0}
    await watch.look()
    revised = plan(page.url, confirmations=2, condition="price < 190")
    event = PlanRevised(prompt="Under 190", plan=revised, state_reset=False, revised_at=AT)
    await world.append(watch.owner, watch.monitor, event)
    assert (await watch.verdict()).streak == 1
    assert await watch.state() is State.INACTIVE


async def test_what_changed_is_told_from_the_history_that_was_projected(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    condition = "changed(price) && price < previous(price)"
    watch = await watching(world, evaluator, plan(page.url, condition=condition, fires=Fires.EACH_TIME))
    verdicts = []
    for price in (100.0, 100.0, 90.0, 95.0, 80.0, 70.0):
        page.content = {"price": price}
        verdicts.append(await watch.verdict())
    assert [str(one.verdict) for one in verdicts] == ["not_met", "not_met", "met", "not_met", "met", "met"]
    assert verdicts[0].reason is not None
    assert verdicts[2].inputs == {"price": 90.0, "changed(price)": True, "previous(price)": 100.0}


async def test_a_window_of_history_holds_the_value_in_force_at_its_start(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url, condition='max_over(price, "PT6M") >= 100.0'))
    inputs = []
    for price in (100.0, 50.0, 40.0, 30.0):
        page.content = {"price": price}
        inputs.append((await watch.verdict()).inputs.get('max_over(price, "PT6M")'))
    assert inputs == [None, 100.0, 100.0, 50.0]


async def test_a_condition_that_fires_each_time_says_so_each_time(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url, fires=Fires.EACH_TIME))
    verdicts = []
    for price in (150, 150, 250, 150, 150):
        page.content = {"price": price}
        verdicts.append(await watch.verdict())
    again = await world.events(watch.monitor, ConditionMetAgain)
    assert [one.met_at for one in again] == [verdicts[1].completed_at, verdicts[4].completed_at]
    assert [str(one.to_state) for one in await watch.changes()] == ["active", "inactive", "active"]


async def test_history_that_lags_is_waited_for(watch: Watch, page: Page) -> None:
    await watch.evaluator.evaluate(await watch.job())
    page.content = {"price": 150.0}
    job = await watch.job()
    waiting = asyncio.create_task(watch.evaluator.evaluate(job))
    await asyncio.sleep(0.02)
    assert len(page.seen) == 1
    await watch.world.project()
    await waiting
    assert (await watch.world.verdict(job)).state_before is State.INACTIVE


async def test_history_that_never_comes_leaves_the_job_undone(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.evaluator.CATCH_UP_SECONDS_MAX", 0.01)
    await watch.evaluator.evaluate(await watch.job())
    job = await watch.job()
    with pytest.raises(HistoryBehind):
        await watch.evaluator.evaluate(job)
    assert await watch.world.outcome(job) is None
    assert await watch.world.due_at(watch.monitor) == job.due_at


async def test_an_evaluation_that_takes_too_long_leaves_the_job_undone(
    watch: Watch, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.evaluator.EVALUATION_SECONDS_MAX", 0.02)
    monkeypatch.setattr("workers.evaluator.CATCH_UP_SECONDS_MAX", 0.01)
    page.hold = asyncio.Event()
    job = await watch.job()
    with pytest.raises(TimeoutError):
        await watch.evaluator.evaluate(job)
    page.hold.set()
    assert await watch.world.outcome(job) is None


async def test_an_evaluator_that_always_loses_gives_up_and_records_nothing(watch: Watch, page: Page) -> None:
    async def interfere() -> None:
        renamed = MonitorRenamed(name=f"Kettle {len(page.seen)}", renamed_at=AT)
        await watch.world.append(watch.owner, watch.monitor, renamed)

    page.on_request = interfere
    job = await watch.job()
    with pytest.raises(ConcurrentAppend):
        await watch.evaluator.evaluate(job)
    assert len(page.seen) == 5
    assert await watch.world.outcome(job) is None


async def test_a_slot_of_a_paused_monitor_is_let_go(watch: Watch, page: Page) -> None:
    job = await watch.job()
    await watch.world.append(watch.owner, watch.monitor, MonitorPaused(paused_at=AT))
    await watch.evaluator.evaluate(job)
    assert page.seen == []
    assert await watch.world.outcome(job) is None


async def test_what_was_asked_for_before_a_pause_is_still_answered(watch: Watch) -> None:
    asked = await watch.world.request(watch.owner, watch.monitor)
    await watch.world.append(watch.owner, watch.monitor, MonitorPaused(paused_at=AT))
    await watch.evaluator.evaluate(asked)
    assert (await watch.world.verdict(asked)).verdict is Verdict.NOT_MET


async def test_a_deleted_monitor_is_not_looked_at(watch: Watch, page: Page) -> None:
    job = await watch.job()
    deleted = MonitorDeleted(deleted_at=AT)
    await watch.world.append(watch.owner, watch.monitor, deleted, companions=[DropSchedule(watch.monitor)])
    await watch.evaluator.evaluate(job)
    assert page.seen == []


async def test_a_monitor_nobody_made_is_not_looked_at(world: World, evaluator: Evaluator) -> None:
    job = EvaluationJob(evaluation_id=uuid7(), monitor_id=uuid7(), owner_id=uuid7(), due_at=AT)
    await evaluator.evaluate(job)
    assert await world.outcome(job) is None


async def test_a_monitor_deleted_in_the_middle_records_nothing(watch: Watch, page: Page) -> None:
    await watch.look()  # the next verdict is the same, so only the schedule's row tells of the deletion

    async def delete() -> None:
        deleted = MonitorDeleted(deleted_at=AT)
        await watch.world.append(watch.owner, watch.monitor, deleted, companions=[DropSchedule(watch.monitor)])

    page.on_request = delete
    job = await watch.job()
    await watch.evaluator.evaluate(job)
    assert await watch.world.outcome(job) is None


async def test_each_fact_comes_from_the_first_source_that_has_it(
    world: World, evaluator: Evaluator, page: Page, other_page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url, other_page.url))
    other_page.content = {"price": 150.0}
    first = await watch.verdict()
    page.content = {"name": "Kettle"}
    second = await watch.verdict()
    assert (first.inputs, second.inputs) == ({"price": 250.0}, {"price": 150.0})
    assert [one.url for one in second.evidence] == [page.url, other_page.url]
    facts = await world.all(FactExtracted)
    assert [one.fact.source_url for one in facts] == [page.url, other_page.url]


async def test_one_failing_source_of_several_is_a_failure(
    world: World, evaluator: Evaluator, page: Page, other_page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url, other_page.url))
    page.content, other_page.status = {"price": 150.0}, 503
    failed = await world.outcome(await watch.look())
    assert isinstance(failed, EvaluationFailed)
    assert [one.outcome for one in failed.evidence] == ["ok", "server_error"]
    assert await world.all(FactExtracted) == []
    assert await watch.state() is State.UNKNOWN


async def test_a_large_page_is_read_as_well(watch: Watch, page: Page) -> None:
    page.content = {"text": "x" * PARSED_IN_PLACE_BYTES_MAX, "price": 150.0}
    assert (await watch.verdict()).inputs == {"price": 150.0}


async def test_the_next_slot_follows_the_last_one_and_does_not_drift(watch: Watch) -> None:
    due = [(await watch.look()).due_at for _ in range(5)]
    assert due == [AT + timedelta(seconds=EVERY_SECONDS * number) for number in range(5)]


async def test_slots_missed_while_nothing_ran_are_passed_over(watch: Watch, clock: Clock) -> None:
    clock.move(10 * EVERY_SECONDS + 7)
    await watch.look()
    assert await watch.world.due_at(watch.monitor) == AT + timedelta(seconds=11 * EVERY_SECONDS)


async def test_an_evaluation_that_was_asked_for_leaves_the_schedule_alone(watch: Watch, clock: Clock) -> None:
    before = await watch.world.due_at(watch.monitor)
    clock.move(1)
    asked = await watch.world.request(watch.owner, watch.monitor)
    await watch.evaluator.evaluate(asked)
    assert (await watch.world.verdict(asked)).verdict is Verdict.NOT_MET
    assert await watch.world.due_at(watch.monitor) == before
    later = await watch.world.schedule.claim(now=clock(), lost_after=timedelta(seconds=45), limit=10)
    assert [job.evaluation_id for job in later] == [(await watch.world.slot(watch.owner, watch.monitor)).evaluation_id]


async def test_an_evaluation_asked_for_before_an_overdue_slot_counts_in_the_order_they_were_done(
    world: World, evaluator: Evaluator, page: Page, clock: Clock
) -> None:
    watch = await watching(world, evaluator, plan(page.url, confirmations=2))
    clock.move(60)
    asked = await world.request(watch.owner, watch.monitor)
    await evaluator.evaluate(asked)
    await world.project()
    page.content = {"price": 150.0}
    assert (await watch.verdict()).streak == 1
    assert (await watch.verdict()).streak == 2
    assert await watch.state() is State.ACTIVE


async def test_a_value_that_was_too_uncertain_to_count_is_no_history(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    reads = world.evaluator(fetcher, reading=Doubting())
    watch = await watching(world, reads, plan(page.url, condition="changed(price)"))
    verdicts = []
    for content in ({"price": 100.0}, {"price": 150.0, "certain": 0.2}, {"price": 100.0}):
        page.content = dict(content)
        verdicts.append((await watch.verdict()).verdict)
    assert verdicts == [Verdict.NOT_MET, Verdict.INCONCLUSIVE, Verdict.NOT_MET]
