"""What a condition looks back on when clocks jump and plans are revised: evaluator, read tables, store and backtest together."""

from collections.abc import Callable
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.aiohttp_fetcher import AiohttpFetcher
from commands.backtest import Period
from domain.evaluation import EvaluationCompleted, Verdict
from domain.fact import FactSpec, FactType, Select
from domain.monitor import MonitorEvent, revise
from domain.plan import Fires, Kind, Plan
from domain.schedule import Every
from tests.workers.test_backtest import Past
from tests.workers.test_notifier import House
from tests.workers.world import PRICE, Page, Ticks, World, plan
from workers.evaluator import Evaluator

HOUR, MINUTES_10 = 3600, 600
STOCK = Select(jsonpath="$.stock")
replace = msgspec.structs.replace


class Watch:
    """A monitor that is looked at whenever the test says so, whatever the clock says then."""

    def __init__(self, world: World, evaluator: Evaluator, page: Page, house: House) -> None:
        self.world, self.evaluator, self.page, self.house = world, evaluator, page, house
        self.ids: list[UUID] = []

    async def asks(self, condition: str) -> None:
        of = plan(self.page.url, condition=condition, kind=Kind.HISTORICAL_CHANGE)
        self.house.monitor = await self.world.monitor(self.house.owner, replace(of, fires=Fires.EACH_TIME))

    async def look(self, price: float, *, seconds: float = 1) -> EvaluationCompleted:
        """What an evaluation comes to after the clock moved so far."""
        self.world.clock.move(seconds)
        self.page.content = {"price": price, "stock": price + 1000}
        job = await self.world.request(self.house.owner, self.house.monitor)
        await self.evaluator.evaluate(job)
        await self.house.react()
        self.ids.append(job.evaluation_id)
        return await self.world.verdict(job)

    async def revise(self, change: Callable[[Plan], Plan]) -> None:
        present = await self.world.state(self.house.monitor)
        events: list[MonitorEvent] = revise(
            present, prompt=present.prompt, plan=change(present.current_plan), now=self.world.clock()
        )
        await self.world.append(self.house.owner, self.house.monitor, *events)
        await self.house.react()


@pytest.fixture
async def watch(world: World, fetcher: AiohttpFetcher, page: Page, no_redis: redis.Redis, ticks: Ticks) -> Watch:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url))
    house = House(world, no_redis, ticks, owner, monitor, await world.action(owner))
    return Watch(world, world.evaluator(fetcher), page, house)


async def test_after_a_clock_went_back_a_price_that_stays_has_not_changed(watch: Watch) -> None:
    await watch.asks("changed(price)")
    await watch.look(100)
    assert (await watch.look(90, seconds=HOUR)).verdict is Verdict.MET
    assert (await watch.look(80, seconds=-HOUR)).verdict is Verdict.MET
    assert [(await watch.look(80)).verdict for _ in range(3)] == [Verdict.NOT_MET] * 3


async def test_what_a_clock_ahead_saw_leaves_a_window_no_later_than_what_was_seen_after_it(watch: Watch) -> None:
    await watch.asks('max_over(price, "PT20M") > 85')
    await watch.look(100)
    await watch.look(90, seconds=HOUR)
    await watch.look(80, seconds=-HOUR)
    assert (await watch.look(80, seconds=MINUTES_10)).inputs['max_over(price, "PT20M")'] == 100
    assert (await watch.look(80, seconds=2 * MINUTES_10)).inputs['max_over(price, "PT20M")'] == 80


async def test_while_a_clock_is_back_the_value_in_force_is_the_last_that_was_seen(watch: Watch) -> None:
    await watch.asks('ago(price, "PT10M") > 0')
    await watch.look(100)
    await watch.look(90, seconds=HOUR)
    await watch.look(80, seconds=-HOUR)
    assert (await watch.look(70, seconds=MINUTES_10)).inputs['ago(price, "PT10M")'] == 80


async def test_what_was_told_last_is_what_was_seen_then(watch: Watch) -> None:
    await watch.asks("!has(last_notified(price)) || price < last_notified(price) - 5")
    await watch.house.trigger()
    seen = [(await watch.look(price, seconds=s)).inputs for price, s in ((100, 1), (90, HOUR), (88, -HOUR), (87, 1))]
    assert [one["last_notified(price)"] for one in seen] == [None, 100, 90, 90]


REREAD: list[Callable[[Plan], Plan]] = [
    lambda of: replace(of, facts=(replace(PRICE, select=STOCK),)),
    lambda of: replace(of, facts=(replace(PRICE, unit="EUR"),)),
    lambda of: replace(of, sources=tuple(replace(one, headers={"Accept": "application/json"}) for one in of.sources)),
]
READ_ALIKE: list[Callable[[Plan], Plan]] = [
    lambda of: replace(of, condition="changed(price) || price < 0"),
    lambda of: replace(of, schedule=Every(seconds=900)),
    lambda of: replace(of, facts=(replace(PRICE, description="what it costs"),)),
    lambda of: replace(of, facts=(PRICE, FactSpec(name="stock", type=FactType.NUMBER, select=STOCK))),
]


@pytest.mark.parametrize("change", REREAD)
async def test_what_was_read_in_another_way_is_nothing_to_compare_with(
    watch: Watch, change: Callable[[Plan], Plan]
) -> None:
    await watch.asks("changed(price)")
    await watch.look(100)
    await watch.revise(change)
    first = await watch.look(110)
    assert (first.verdict, first.inputs["changed(price)"]) == (Verdict.NOT_MET, None)
    assert (await watch.look(120)).verdict is Verdict.MET


@pytest.mark.parametrize("change", READ_ALIKE)
async def test_what_is_read_as_before_goes_on(watch: Watch, change: Callable[[Plan], Plan]) -> None:
    await watch.asks("changed(price)")
    await watch.look(100)
    await watch.revise(change)
    assert (await watch.look(110)).verdict is Verdict.MET


async def test_windows_and_what_was_told_begin_anew_with_another_way_of_reading(watch: Watch) -> None:
    await watch.asks('!has(last_notified(price)) || price > max_over(price, "P1D") + 5000')
    await watch.house.trigger()
    await watch.look(100)
    assert (await watch.look(101)).inputs["last_notified(price)"] == 100
    await watch.revise(REREAD[0])
    inputs = (await watch.look(100)).inputs
    assert inputs["last_notified(price)"] is None
    assert inputs['max_over(price, "P1D")'] is None
    assert (await watch.look(101)).inputs == {
        "price": 1101,
        "last_notified(price)": 1100,
        'max_over(price, "P1D")': 1101,
    }


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    condition=st.sampled_from(
        [
            "changed(price)",
            'changes(price, "PT20M") > 1.0',
            'price < max_over(price, "PT15M")',
            'price > avg_over(price, "PT30M")',
            'silent_for(price, "PT10M")',
        ]
    ),
    looks=st.lists(
        st.tuples(st.sampled_from([100, 90, 80]), st.sampled_from([60, 300, MINUTES_10, HOUR, -HOUR, -300])),
        min_size=2,
        max_size=8,
    ),
    revised_before=st.integers(0, 8),
    begin=st.integers(0, 7),
)
async def test_a_backtest_comes_to_what_was_recorded_though_clocks_jumped_and_plans_were_revised(
    watch: Watch, condition: str, looks: list[tuple[float, int]], revised_before: int, begin: int
) -> None:
    await watch.asks(condition)
    made: list[EvaluationCompleted] = []
    for i, (price, seconds) in enumerate(looks):
        if i == revised_before:
            await watch.revise(REREAD[0])
        made.append(await watch.look(price, seconds=seconds))
    ids = watch.ids[-len(made) :]
    first = min(begin, len(made) - 1)
    watch.world.clock.at = max(one.completed_at for one in made)
    past = Past(watch.world, watch.evaluator, watch.page, watch.house)
    done = await past.run()
    assert [one.evaluation_id for one in done.evaluations] == ids
    now = made[-1].plan_revision
    told = {id_: one.verdict for id_, one in zip(ids, made, strict=True) if one.plan_revision == now}
    assert {one.evaluation_id: one.verdict for one in done.evaluations if one.evaluation_id in told} == told
    part = await past.run(Period(begin=made[first].started_at))
    assert ids[len(ids) - len(part.evaluations) :] == [one.evaluation_id for one in part.evaluations]
    assert {
        one.evaluation_id: one.verdict for one in part.evaluations if one.evaluation_id in told
    }.items() <= told.items()
