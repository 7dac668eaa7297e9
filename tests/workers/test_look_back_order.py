"""In which order values are looked back on: that of the log, whatever the clocks said and wherever the rows lie."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import redis.asyncio as redis

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.postgres_history import PostgresHistory
from adapters.postgres_past_evaluations import PostgresPastEvaluations
from adapters.postgres_pool import Pool, open_pool
from domain.fact import FactValue
from domain.trigger import Frequency
from tests.conftest import AT, as_application
from tests.workers.test_history_order import HOUR, READ_ALIKE, Watch
from tests.workers.test_notifier import House
from tests.workers.world import Page, Ticks, World, plan

LATER = AT + timedelta(days=2)


class Back:
    """Looks back on the prices of a watched monitor: as an evaluation does, and as a backtest that stands before its last."""

    def __init__(self, watch: Watch, pool: Pool) -> None:
        self.watch = watch
        self.past = PostgresPastEvaluations(pool)
        self.history = PostgresHistory(pool)

    async def shuffle(self, price: float) -> None:
        """The row of this price lies behind all others from now on."""
        await self.watch.world.execute("update facts set quote = quote where number = %s", price)

    async def series(self, since: datetime | None) -> list[FactValue]:
        found = await self.history.series(
            self.watch.house.monitor, "price", since=since, since_revision=1, confidence_min=0
        )
        return [one.value for one in found]

    async def series_before(self, evaluation_id: UUID, since: datetime | None) -> list[FactValue]:
        found = await self.past.facts_before(
            self.watch.house.monitor, "price", since=since, since_revision=1, before=evaluation_id, confidence_min=0
        )
        return [one.value for one in found]

    async def told(self) -> FactValue | None:
        found = await self.history.last_notified(self.watch.house.monitor, "price", since_revision=1, confidence_min=0)
        return None if found is None else found.value

    async def told_before(self, evaluation_id: UUID) -> FactValue | None:
        found = await self.past.told_before(
            self.watch.house.monitor, "price", since_revision=1, before=evaluation_id, confidence_min=0
        )
        return None if found is None else found.value


@pytest.fixture(scope="module")
async def pool_without_indexes(workers_database: str) -> AsyncIterator[Pool]:
    """Connections that find rows in the order they lie: an index could give the right one, asked for or not."""
    off = "-c enable_indexscan=off -c enable_indexonlyscan=off -c enable_bitmapscan=off"
    async with open_pool(as_application(workers_database), size_max=2, settings=off) as opened:
        yield opened


@pytest.fixture
async def back(
    world: World,
    fetcher: AiohttpFetcher,
    page: Page,
    no_redis: redis.Redis,
    ticks: Ticks,
    pool_without_indexes: Pool,
) -> Back:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url))
    house = House(world, no_redis, ticks, owner, monitor, await world.action(owner))
    return Back(Watch(world, world.evaluator(fetcher), page, house), pool_without_indexes)


async def test_values_of_one_moment_and_of_a_clock_that_went_back_come_as_they_were_seen(
    back: Back, monkeypatch: pytest.MonkeyPatch
) -> None:
    await back.watch.asks("changed(price)")
    for price, seconds in ((100, HOUR), (90, 0), (80, 0), (70, -HOUR), (60, 0), (50, 0)):
        await back.watch.look(price, seconds=seconds)
    for price in (90, 60, 100, 50, 70, 80):
        await back.shuffle(price)
    last = back.watch.ids[-1]
    assert await back.series(AT - timedelta(days=1)) == [100, 90, 80, 70, 60, 50]
    assert await back.series_before(last, AT - timedelta(days=1)) == [100, 90, 80, 70, 60]
    assert (await back.series(None), await back.series_before(last, None)) == ([50], [60])
    monkeypatch.setattr("adapters.postgres_past_evaluations.OBSERVATIONS_MAX", 2)
    assert await back.series_before(last, AT - timedelta(days=1)) == [70, 60], "the last ones, when there are too many"


async def test_the_value_in_force_is_the_last_that_was_seen_and_leads_what_was_seen_after_it(back: Back) -> None:
    await back.watch.asks("changed(price)")
    for price, seconds in ((100, HOUR), (90, 0), (80, 60 - HOUR), (70, -60), (60, HOUR), (50, 0), (40, 0)):
        await back.watch.look(price, seconds=seconds)
    for price in (70, 50, 100, 60, 40, 90, 80):
        await back.shuffle(price)
    last, ahead = back.watch.ids[-1], AT + timedelta(seconds=HOUR)
    assert await back.series(LATER) == [40]
    assert await back.series_before(last, LATER) == [50]
    assert await back.series(ahead) == [70, 60, 50, 40], "what the clock ahead saw first is older than what is in force"
    assert await back.series_before(last, ahead) == [70, 60, 50]


async def test_what_was_seen_before_there_were_places_comes_by_its_plan_and_then_by_its_time(back: Back) -> None:
    await back.watch.asks("price > 0")
    for price, seconds in ((100, 2 * HOUR), (90, 60)):
        await back.watch.look(price, seconds=seconds)
    await back.watch.revise(READ_ALIKE[1])
    await back.watch.house.trigger()
    for price, seconds in ((80, -HOUR), (70, 60), (60, 60)):
        await back.watch.look(price, seconds=seconds)
    await back.watch.world.execute("update facts set place = 0")
    await back.watch.world.execute("update evaluations set place = 0")
    for price in (70, 90, 60, 100, 80):
        await back.shuffle(price)
    last = back.watch.ids[-1]
    assert await back.series(AT) == [100, 90, 80, 70, 60]
    assert await back.series_before(last, AT) == [100, 90, 80, 70]
    assert (await back.series(None), await back.series(LATER)) == ([60], [60])
    assert (await back.series_before(last, None), await back.series_before(last, LATER)) == ([70], [70])
    assert (await back.told(), await back.told_before(last)) == (60, 70)


async def test_what_was_told_last_is_what_the_log_has_last_whichever_trigger_told_it(back: Back) -> None:
    await back.watch.asks("price > 0")
    await back.watch.look(120)
    for frequency in (Frequency.ONCE, Frequency.EVERY_TIME, Frequency.ONCE):
        await back.watch.house.trigger(frequency=frequency)
    for price, seconds in ((110, HOUR), (100, 0), (90, -HOUR), (80, 0)):
        await back.watch.look(price, seconds=seconds)
        if price > 80:
            continue
        for moved in (100, 120, 80, 110, 90):
            await back.shuffle(moved)
    assert await back.told() == 80
    assert await back.told_before(back.watch.ids[-1]) == 90


async def test_what_was_seen_after_it_was_not_told(back: Back) -> None:
    await back.watch.asks("price > 0")
    await back.watch.look(120, seconds=HOUR)
    await back.watch.house.trigger(cooldown_seconds=86_400)
    for price, seconds in ((110, -HOUR), (100, 0), (90, 0)):
        await back.watch.look(price, seconds=seconds)
    for moved in (110, 90, 120, 100):
        await back.shuffle(moved)
    assert await back.told() == 110
    assert await back.told_before(back.watch.ids[-1]) == 110
