"""The evaluator from pages to events: real store, real history, real pages, real conditions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

import msgspec
import pytest
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.fact_reader import FactReader
from adapters.postgres_history import PostgresHistory
from commands.answer_reading import PARSED_IN_PLACE_BYTES_MAX
from commands.event_store import ConcurrentAppend, DropSchedule, EventStore, KeepSchedule
from commands.streams import Loaded
from domain.evaluation import EvaluationCompleted, EvaluationFailed, EvaluationJob, FactExtracted, Verdict
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, Select
from domain.monitor import (
    ConditionMetAgain,
    Monitor,
    MonitorDeleted,
    MonitorPaused,
    MonitorRenamed,
    MonitorRestored,
    PlanRevised,
    State,
    StateChanged,
    revise,
)
from domain.plan import Fires, Kind, Plan
from domain.schedule import Every
from domain.source import Source
from tests.conftest import AT
from tests.workers.world import EVERY_SECONDS, Clock, Page, World, plan, until
from workers.evaluator import ATTEMPTS_MAX, CATCH_UP_SECONDS_MAX, Evaluator, HistoryBehind
from workers.known_monitors import KnownMonitors


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

    edition = "doubting"

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


async def test_an_evaluation_that_left_nothing_to_the_next_one_only_ends_the_row(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url))
    await watch.look()
    await world.execute(
        "update schedule set last_evaluation_id = %s where monitor_id = %s", uuid7(), watch.monitor
    )  # as a release did that knew of no row of what came before
    assert (await watch.verdict()).streak == 1
    assert (await watch.verdict()).streak == 2


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


class Counting:
    """Reads as the reader does, and counts."""

    def __init__(self) -> None:
        self.times, self.edition = 0, "one"

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        self.times += 1
        return FactReader().read(facts, source, document)


async def test_content_that_stays_is_read_once_by_readers_of_one_edition(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    page.content, page.etag = {"price": 150.0}, '"one"'
    reading = Counting()
    watch = await watching(world, world.evaluator(fetcher, reading=reading), plan(page.url))
    verdicts = [await watch.verdict() for _ in range(3)]
    assert reading.times == 1
    assert [one.inputs for one in verdicts] == [{"price": 150.0}] * 3
    facts = [one.fact for one in await world.all(FactExtracted)]
    assert [fact.observed_at for fact in facts] == [one.evidence[0].fetched_at for one in verdicts]
    assert len({(fact.value, fact.quote, fact.evidence_hash) for fact in facts}) == 1
    world.clock.move(30 * 24 * 3600)
    await watch.verdict()
    assert reading.times == 1
    reading.edition = "two"
    for _ in range(2):
        assert (await watch.verdict()).inputs == {"price": 150.0}
    assert reading.times == 2


async def test_content_that_stays_is_read_again_when_something_else_is_wanted_of_it(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    page.content, page.etag = {"price": 150.0, "old": 250.0}, '"one"'
    reading = Counting()
    watch = await watching(world, world.evaluator(fetcher, reading=reading), plan(page.url))
    await watch.look()
    old = FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.old"))
    revised = PlanRevised(prompt="Another", plan=plan(page.url, facts=(old,)), state_reset=True, revised_at=AT)
    await world.append(watch.owner, watch.monitor, revised)
    assert [(await watch.verdict()).inputs for _ in range(2)] == [{"price": 250.0}] * 2
    assert reading.times == 2
    assert [headers.get("If-None-Match") for headers in page.seen] == [None, '"one"', '"one"']


async def test_a_page_that_was_modified_after_all_is_read_anew(watch: Watch, page: Page) -> None:
    page.content, page.etag = {"price": 150.0}, '"one"'
    await watch.look()
    page.content, page.etag = {"price": 250.0}, '"two"'
    assert (await watch.verdict()).inputs == {"price": 250.0}
    page.content = {"price": 1.0}
    assert (await watch.verdict()).inputs == {"price": 250.0}


@pytest.mark.parametrize("charsets", [("utf-8", "iso-8859-1"), ("iso-8859-1", "utf-8")])
async def test_kept_bytes_are_read_as_the_monitors_own_source_called_them(
    world: World, evaluator: Evaluator, page: Page, other_page: Page, charsets: tuple[str, str]
) -> None:
    said = {"utf-8": "caf\u00e9", "iso-8859-1": "caf\u00c3\u00a9"}
    drink = FactSpec(name="drink", type=FactType.TEXT, select=Select(css="h1"))
    pages, watches, owner = (page, other_page), [], await world.person()
    for one, charset in zip(pages, charsets, strict=True):
        one.text, one.etag = ("<!doctype html><h1>caf\u00e9</h1>".encode(), f"text/html; charset={charset}"), '"one"'
        monitor = await world.monitor(owner, plan(one.url, facts=(drink,), condition='drink != ""'))
        watches.append(Watch(world, evaluator, owner, monitor))
    for watch, charset in zip(watches, charsets, strict=True):
        verdicts = [await watch.verdict() for _ in range(3)]
        assert [one.evidence[0].outcome for one in verdicts] == ["ok", "not_modified", "not_modified"]
        assert [one.inputs for one in verdicts] == [{"drink": said[charset]}] * 3
    assert await world.value("select count(*) from evidence") == 1


async def test_each_monitor_remembers_what_its_source_called_the_same_bytes(
    world: World, evaluator: Evaluator, page: Page, other_page: Page
) -> None:
    history, found, owner = PostgresHistory(world.pool), [], await world.person()
    for one, content_type in ((page, "application/json"), (other_page, "text/plain; charset=iso-8859-1")):
        one.text = (b'{"price": 150.0}', content_type)
        monitor = await world.monitor(owner, plan(one.url))
        await Watch(world, evaluator, owner, monitor).look()
        remembered = (await history.memory(monitor))[one.url]
        answer = Document(url=one.url, outcome=FetchOutcome.NOT_MODIFIED, fetched_at=AT)
        kept = await history.evidence(answer, remembered)
        assert kept is not None
        assert kept.hash == remembered.evidence_hash
        found.append((kept.body, kept.content_type, kept.charset))
    assert found == [(b'{"price": 150.0}', "application/json", None), (b'{"price": 150.0}', "text/plain", "iso-8859-1")]


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
    assert len(page.seen) == 4  # the loser looks again: what it has seen may be older than what was recorded
    assert sorted(one.streak for one in await watch.world.all(EvaluationCompleted)) == [1, 2, 3]


async def test_what_was_seen_before_a_look_that_is_recorded_already_changes_nothing(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url))
    await watch.look()
    slow, asked = await watch.job(), await world.request(watch.owner, watch.monitor)

    async def fall() -> None:
        page.content = {"price": 150.0}

    async def be_overtaken() -> None:  # this answer was made before the price fell, and arrives after that was recorded
        page.on_request = fall
        await evaluator.evaluate(asked)
        page.content = {"price": 250.0}

    page.on_request = be_overtaken
    await evaluator.evaluate(slow)
    assert [(await world.verdict(job)).inputs for job in (asked, slow)] == [{"price": 150.0}] * 2
    assert [one.to_state for one in await watch.changes()] == [State.INACTIVE, State.ACTIVE]


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
    assert len(page.seen) == 2  # the revised plan might have asked for something else
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


@pytest.mark.parametrize(
    ("condition", "states"),
    [
        ('price < 200 && held_for("PT4M")', [State.INACTIVE, State.ACTIVE]),
        ('price < 190 && held_for("PT4M")', [State.INACTIVE, State.ACTIVE, State.INACTIVE]),
    ],
)
async def test_what_has_held_goes_on_holding_while_a_revised_plan_asks_the_same(
    world: World,
    evaluator: Evaluator,
    page: Page,
    condition: str,
    states: list[State],
) -> None:
    page.content = {"price": 150.0}
    watch = await watching(world, evaluator, plan(page.url, condition='price < 200 && held_for("PT4M")'))
    await watch.look()
    await watch.look()
    assert await watch.state() is State.ACTIVE
    revised = plan(page.url, condition=condition, schedule=Every(seconds=60))
    await world.append(
        watch.owner,
        watch.monitor,
        *revise(await world.state(watch.monitor), prompt="More often", plan=revised, now=AT),
    )
    await watch.look()
    assert [one.to_state for one in await watch.changes()] == states


async def test_what_has_held_goes_on_holding_when_a_monitor_is_restored(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    page.content = {"price": 150.0}
    of = plan(page.url, condition='price < 200 && held_for("PT4M")')
    watch = await watching(world, evaluator, of)
    await watch.look()
    await watch.look()
    gone, back = (
        [DropSchedule(watch.monitor)],
        KeepSchedule(watch.monitor, watch.owner, of.schedule, active=True, due_at=world.clock()),
    )
    await world.append(watch.owner, watch.monitor, MonitorDeleted(deleted_at=AT), companions=gone)
    await world.append(watch.owner, watch.monitor, MonitorRestored(restored_at=AT), companions=[back])
    for _ in range(2):
        await watch.look()
    assert await watch.state() is State.ACTIVE
    assert len(await watch.changes()) == 2
    page.content = {"price": 250.0}
    await watch.look()
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


@pytest.fixture
async def comparing(world: World, evaluator: Evaluator, page: Page) -> Watch:
    """A condition that compares with what was seen before."""
    of = plan(page.url, condition="changed(price)", kind=Kind.HISTORICAL_CHANGE)
    return await watching(world, evaluator, of)


async def test_a_condition_over_the_present_alone_waits_for_no_read_table(watch: Watch) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(await watch.job())
        await watch.evaluator.evaluate(jobs[-1])
    assert [(await watch.world.verdict(job)).streak for job in jobs] == [1, 2, 3]


async def test_history_that_lags_is_waited_for_after_the_look(comparing: Watch, page: Page) -> None:
    await comparing.evaluator.evaluate(await comparing.job())
    page.content = {"price": 150.0}
    job = await comparing.job()
    waiting = asyncio.create_task(comparing.evaluator.evaluate(job))
    await until(lambda: len(page.seen) == 2)
    await asyncio.sleep(0.02)
    assert await comparing.world.outcome(job) is None
    assert not waiting.done()
    await comparing.world.project()
    await waiting
    assert len(page.seen) == 2
    assert (await comparing.world.verdict(job)).state_before is State.INACTIVE


async def test_history_that_lags_is_asked_for_less_and_less_often(
    comparing: Watch, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def restless(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr("workers.evaluator.asyncio", SimpleNamespace(sleep=restless, timeout=asyncio.timeout))
    await comparing.evaluator.evaluate(await comparing.job())
    with pytest.raises(HistoryBehind):
        await comparing.evaluator.evaluate(await comparing.job())
    assert rests[:8] == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25]
    assert set(rests[8:]) == {0.25}
    assert sum(rests[:-1]) < CATCH_UP_SECONDS_MAX <= sum(rests)
    assert len(page.seen) == 2


async def test_history_that_never_comes_leaves_the_job_undone(
    comparing: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.evaluator.CATCH_UP_SECONDS_MAX", 0.01)
    await comparing.evaluator.evaluate(await comparing.job())
    job = await comparing.job()
    with pytest.raises(HistoryBehind):
        await comparing.evaluator.evaluate(job)
    assert await comparing.world.outcome(job) is None
    assert await comparing.world.due_at(comparing.monitor) == job.due_at


async def test_a_look_that_takes_too_long_is_recorded_as_slow_and_closes_the_slot(
    watch: Watch, page: Page, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sight.EVALUATION_SECONDS_MAX", 0.02)
    page.hold = asyncio.Event()
    job = await handed_out(watch)
    await watch.evaluator.evaluate(job)
    page.hold.set()
    failed = await watch.world.outcome(job)
    assert isinstance(failed, EvaluationFailed)
    assert (failed.code, failed.evidence, failed.due_at) == ("SOURCE_SLOW", (), job.due_at)
    assert failed.message.startswith("the sources could not be read within")
    assert (failed.started_at, failed.completed_at) == (clock(), clock())
    assert await watch.state() is State.UNKNOWN
    await the_slot_is_closed(watch, job)


class Broken:
    """Reads nothing, for a reason that no source can have."""

    edition = "broken"

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        if self.error is not None:
            raise self.error
        return FactReader().read(facts, source, document)


@pytest.mark.parametrize("error", [RuntimeError("s3cret"), LookupError("s3cret"), MemoryError("s3cret")])
@pytest.mark.parametrize("padding", [0, PARSED_IN_PLACE_BYTES_MAX])
async def test_a_look_that_raises_is_recorded_as_a_failure_of_ours_and_closes_the_slot(
    world: World, fetcher: AiohttpFetcher, page: Page, error: Exception, padding: int
) -> None:
    page.content = {"text": "x" * padding, "price": 250.0}
    watch = await watching(world, world.evaluator(fetcher, reading=Broken(error)), plan(page.url))
    job = await handed_out(watch)
    await watch.evaluator.evaluate(job)
    failed = await world.outcome(job)
    assert isinstance(failed, EvaluationFailed)
    assert (failed.code, failed.evidence) == ("INTERNAL", ())
    assert type(error).__name__ in failed.message
    assert "s3cret" not in failed.message
    assert await world.all(FactExtracted) == []
    await the_slot_is_closed(watch, job)


async def test_after_a_failure_of_ours_the_row_goes_on(world: World, fetcher: AiohttpFetcher, page: Page) -> None:
    reading = Broken(RuntimeError())
    reading.error = None
    watch = await watching(world, world.evaluator(fetcher, reading=reading), plan(page.url, confirmations=2))
    page.content = {"price": 150.0}
    await watch.look()
    reading.error = RuntimeError()
    assert isinstance(await world.outcome(await watch.look()), EvaluationFailed)
    reading.error = None
    assert (await watch.verdict()).streak == 2
    assert await watch.state() is State.ACTIVE


async def test_a_worker_that_is_stopped_in_the_middle_of_a_look_records_nothing(watch: Watch, page: Page) -> None:
    page.hold = asyncio.Event()
    job = await watch.job()
    evaluating = asyncio.create_task(watch.evaluator.evaluate(job))
    await until(lambda: len(page.seen) == 1)
    evaluating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await evaluating
    page.hold.set()
    assert await watch.world.outcome(job) is None
    assert await watch.world.due_at(watch.monitor) == job.due_at


async def handed_out(watch: Watch) -> EvaluationJob:
    """The present slot, claimed as the scheduler does."""
    slot = await watch.job()
    [job] = await watch.world.schedule.claim(now=watch.world.clock(), lost_after=timedelta(45), slots_max=10)
    assert job == msgspec.structs.replace(slot, handed_out_at=watch.world.clock())
    return job


async def the_slot_is_closed(watch: Watch, job: EvaluationJob) -> None:
    """The next slot follows, and nobody holds it yet."""
    next_due_at = job.due_at + timedelta(seconds=EVERY_SECONDS)
    assert await watch.world.due_at(watch.monitor) == next_due_at
    [following] = await watch.world.schedule.claim(now=next_due_at, lost_after=timedelta(45), slots_max=10)
    assert following.due_at == next_due_at


class Overtaken(KnownMonitors):
    """The monitors as they are; each time one is asked for, somebody changes it before that is of use."""

    def __init__(self, store: EventStore, overtake: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(store)
        self.overtake, self.asked = overtake, 0

    async def at_least(self, monitor_id: UUID, version: int) -> Loaded[Monitor]:
        self.asked += 1
        found = await super().at_least(monitor_id, version)
        await self.overtake(self.asked)
        return found


async def test_an_evaluator_that_lost_a_race_decides_again_with_the_same_look(
    watch: Watch, page: Page, clock: Clock
) -> None:
    page.content = {"price": 150.0}

    async def overtake(asked: int) -> None:
        if asked == 1:
            await watch.world.append(watch.owner, watch.monitor, MonitorRenamed(name="Pot", renamed_at=AT))
            return
        page.content = {"price": 250.0}
        clock.move(3)

    monitors = Overtaken(watch.world.store, overtake)
    job = await watch.job()
    began = clock()
    await replace(watch.evaluator, monitors=monitors).evaluate(job)
    completed = await watch.world.verdict(job)
    assert (len(page.seen), monitors.asked) == (1, 2)
    assert (completed.verdict, completed.inputs) == (Verdict.MET, {"price": 150.0})
    assert (completed.started_at, completed.duration_ms) == (began, 3000)
    assert len(await watch.world.all(FactExtracted)) == 1
    assert [one.to_state for one in await watch.changes()] == [State.ACTIVE]


async def test_an_evaluator_that_always_loses_gives_up_and_records_nothing(watch: Watch, page: Page) -> None:
    async def overtake(asked: int) -> None:
        renamed = MonitorRenamed(name=f"Kettle {asked}", renamed_at=AT)
        await watch.world.append(watch.owner, watch.monitor, renamed)

    monitors = Overtaken(watch.world.store, overtake)
    job = await watch.job()
    with pytest.raises(ConcurrentAppend):
        await replace(watch.evaluator, monitors=monitors).evaluate(job)
    assert (len(page.seen), monitors.asked) == (1, ATTEMPTS_MAX)
    assert await watch.world.outcome(job) is None
    assert await watch.world.due_at(watch.monitor) == job.due_at


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


async def delete(watch: Watch) -> None:
    deleted = MonitorDeleted(deleted_at=AT)
    await watch.world.append(watch.owner, watch.monitor, deleted, companions=[DropSchedule(watch.monitor)])


async def told_of_the_deletion(watch: Watch, asked: EvaluationJob) -> None:
    failed = await watch.world.outcome(asked)
    assert isinstance(failed, EvaluationFailed)
    assert (failed.code, failed.monitor_id, failed.due_at) == ("MONITOR_DELETED", watch.monitor, asked.due_at)
    assert await watch.world.value("select count(*) from evaluation_request") == 0


async def test_who_asked_for_an_evaluation_before_a_deletion_is_told_that_there_is_none(
    watch: Watch, page: Page
) -> None:
    asked = await watch.world.request(watch.owner, watch.monitor)
    await delete(watch)
    await watch.evaluator.evaluate(asked)
    assert page.seen == []
    await told_of_the_deletion(watch, asked)
    await watch.evaluator.evaluate(asked)
    assert len(await watch.world.store.load(asked.evaluation_id)) == 2


async def test_who_asked_for_an_evaluation_is_told_of_a_deletion_in_the_middle_of_it(watch: Watch, page: Page) -> None:
    await watch.look()  # the next verdict is the same, so only the schedule's row tells of the deletion

    async def delete_first() -> None:
        page.on_request = None
        await delete(watch)

    page.on_request = delete_first
    asked = await watch.world.request(watch.owner, watch.monitor)
    await watch.evaluator.evaluate(asked)
    await told_of_the_deletion(watch, asked)
    assert len(await watch.world.all(FactExtracted)) == 1
    assert len(await watch.world.all(EvaluationCompleted)) == 1


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
    later = await watch.world.schedule.claim(now=clock(), lost_after=timedelta(seconds=45), slots_max=10)
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
