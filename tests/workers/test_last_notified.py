"""A condition that compares with what was told last: evaluator, notifier, read tables and store together."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
import redis.asyncio as redis

import workers.evaluator
from adapters.aiohttp_fetcher import AiohttpFetcher
from domain.evaluation import EvaluationCompleted, Verdict
from domain.monitor import State
from domain.plan import Fires, Kind
from domain.source import SearchSource
from domain.trigger import TriggerDeleted, TriggerFired, TriggerSuppressed
from tests.conftest import AT
from tests.workers.test_notifier import House
from tests.workers.test_unread import Searching
from tests.workers.world import Page, Ticks, World, plan
from workers.evaluator import Evaluator, HistoryBehind

MOVED = "!has(last_notified(price)) || abs(price - last_notified(price)) / last_notified(price) >= 0.05"


class Told:
    """A person who is told each time the price moved five percent from what they were told."""

    def __init__(self, world: World, evaluator: Evaluator, page: Page, house: House) -> None:
        self.world, self.evaluator, self.page, self.house = world, evaluator, page, house

    async def look(self, price: float | None) -> EvaluationCompleted:
        """Evaluate the present slot when this stands on the page, and let the read tables follow."""
        self.page.content = {"name": "Kettle"} if price is None else {"price": price}
        return await self.evaluate()

    async def evaluate(self) -> EvaluationCompleted:
        """The present slot, and let the read tables follow."""
        job = await self.world.slot(self.house.owner, self.house.monitor)
        self.world.clock.at = max(self.world.clock.at, job.due_at) + timedelta(seconds=2)
        await self.evaluator.evaluate(job)
        await self.world.project()
        return await self.world.verdict(job)

    async def prices_told(self) -> list[object]:
        fired = await self.world.all(TriggerFired)
        evaluations = [await self.world.store.load(one.evaluation_id) for one in fired]
        found = [stored[-1].event for stored in evaluations]
        return [one.inputs["price"] for one in found if isinstance(one, EvaluationCompleted)]


@pytest.fixture
async def told(world: World, fetcher: AiohttpFetcher, page: Page, no_redis: redis.Redis, ticks: Ticks) -> Told:
    owner = await world.person()
    of = plan(page.url, condition=MOVED, kind=Kind.HISTORICAL_CHANGE, fires=Fires.EACH_TIME)
    monitor = await world.monitor(owner, of)
    house = House(world, no_redis, ticks, owner, monitor, await world.action(owner))
    return Told(world, world.evaluator(fetcher), page, house)


async def test_a_person_is_told_each_time_the_price_moved_from_what_they_were_told_last(told: Told) -> None:
    await told.house.trigger()
    for price in (100, 102, 104.9, 105, 111, None, 108, 105.4, 100):
        await told.look(price)
        await told.house.react()
    assert await told.prices_told() == [100, 105, 111, 105.4, 100]


async def test_what_was_told_last_stands_among_the_inputs(told: Told) -> None:
    await told.house.trigger()
    first = await told.look(100)
    await told.house.react()
    second = await told.look(104)
    assert first.inputs == {"price": 100, "last_notified(price)": None}
    assert second.inputs == {"price": 104, "last_notified(price)": 100}
    assert (first.verdict, second.verdict) == (Verdict.MET, Verdict.NOT_MET)


async def test_what_was_suppressed_was_not_told(told: Told) -> None:
    await told.house.trigger(cooldown_seconds=900)
    seen = []
    for price in (100, 110, 111, 112, 112):  # five minutes apart, and told at most every fifteen
        seen.append((await told.look(price)).inputs["last_notified(price)"])
        await told.house.react()
    assert seen == [None, 100, 100, 100, 112]
    assert await told.prices_told() == [100, 112]
    assert [one.reason for one in await told.world.all(TriggerSuppressed)] == ["cooldown"] * 2


async def test_a_trigger_that_was_deleted_tells_nothing_any_more(told: Told) -> None:
    trigger = await told.house.trigger()
    await told.look(100)
    await told.house.react()
    await told.world.append(told.house.owner, trigger, TriggerDeleted(deleted_at=AT))
    await told.house.react()
    assert (await told.look(101)).inputs["last_notified(price)"] is None


async def test_the_value_in_force_counts_where_the_evaluation_that_was_told_of_did_not_read_it(told: Told) -> None:
    await told.house.trigger()
    await told.look(100)
    missing = await told.world.change(told.house.owner, told.house.monitor)  # of 187.5, which nobody compares with
    await told.house.react()
    assert [one.evaluation_id for one in await told.world.all(TriggerFired)][-1] == missing
    await told.world.execute("delete from facts where evaluation_id = %s", missing)
    assert (await told.look(101)).inputs["last_notified(price)"] == 100


async def test_an_evaluation_waits_until_it_is_decided_whether_the_one_before_is_told(told: Told) -> None:
    await told.house.trigger()
    await told.look(100)  # and the notifier has not come to it yet
    looking = asyncio.create_task(told.look(101))
    await asyncio.sleep(0.03)
    assert not looking.done()
    await told.house.react()
    async with asyncio.timeout(5):
        assert (await looking).inputs["last_notified(price)"] == 100


async def test_a_notifier_that_is_away_too_long_puts_the_evaluation_off(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.evaluator, "CATCH_UP_SECONDS_MAX", 0.02)
    await told.house.trigger()
    await told.look(100)
    with pytest.raises(HistoryBehind):
        await told.look(120)
    assert (await told.world.state(told.house.monitor)).state is State.ACTIVE
    await told.house.react()
    assert (await told.look(120)).inputs["last_notified(price)"] == 100


@pytest.mark.parametrize("is_reset", [False, True], ids=["its condition", "the condition that resets it"])
async def test_nothing_is_searched_for_while_it_is_not_decided_whether_the_change_before_is_told(
    told: Told, monkeypatch: pytest.MonkeyPatch, *, is_reset: bool
) -> None:
    """Each search is paid for, and what was found could not be judged."""
    monkeypatch.setattr(workers.evaluator, "CATCH_UP_SECONDS_MAX", 0.02)
    world, owner, searching = told.world, told.house.owner, Searching()
    conditions = {"condition": "price < 200", "reset_condition": f"!({MOVED})"} if is_reset else {"condition": MOVED}
    fires = Fires.ON_ENTRY if is_reset else Fires.EACH_TIME
    of = plan(kind=Kind.HISTORICAL_CHANGE, fires=fires, **conditions)
    told.house.monitor = await world.monitor(
        owner, msgspec.structs.replace(of, sources=(SearchSource(query="kettle"),))
    )
    sight = told.evaluator.sight
    looker = replace(sight.looker, searching=searching)
    told.evaluator = replace(told.evaluator, sight=replace(sight, looker=looker))
    await told.house.trigger()
    assert (await told.evaluate()).state_after is State.ACTIVE
    for _ in range(3):
        with pytest.raises(HistoryBehind):
            await told.evaluate()
    assert searching.searches == 1
    await told.house.react()
    assert (await told.evaluate()).inputs["last_notified(price)"] == 100
    assert searching.searches == 2
