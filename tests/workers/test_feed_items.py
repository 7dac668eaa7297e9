"""The items of a feed are told apart by what they are known by: fetcher, reader, evaluator, notifier and backtest together."""

import msgspec
import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.aiohttp_fetcher import AiohttpFetcher
from commands.backtest import Over, Period
from domain.evaluation import EvaluationCompleted, FactExtracted
from domain.fact import FactSpec, FactType, Select
from domain.plan import Fires, Kind, Plan
from domain.source import FeedSource
from domain.trigger import TriggerFired
from tests.workers.test_backtest import Past, firings, replayed
from tests.workers.test_notifier import House
from tests.workers.world import Page, Ticks, World, plan

TITLES = FactSpec(name="titles", type=FactType.LIST, select=Select(feed="title"))
NEW = "size(added(titles)) > 0"
MADE_CONDITIONS = [
    NEW,
    "size(removed(titles)) > 0",
    "changed(titles)",
    'changes(titles, "PT20M") >= 2.0',
    'silent_for(titles, "PT9M")',
]

Item = tuple[str, str]
"""What it is known by, and its title."""


class Feed:
    """Somebody is told of what is new in a feed."""

    def __init__(self, past: Past) -> None:
        self.past = past

    def plan(self, condition: str = NEW) -> Plan:
        of = plan(condition=condition, kind=Kind.HISTORICAL_CHANGE, fires=Fires.EACH_TIME, facts=(TITLES,))
        return msgspec.structs.replace(of, sources=(FeedSource(url=self.past.page.url),))

    async def shows(self, *items: Item, notified: bool = True) -> EvaluationCompleted:
        """Look at the feed when these items are in it."""
        shown = "".join(f"<item><title>{title}</title><guid>{known}</guid></item>" for known, title in items)
        self.past.page.text = f"<rss><channel>{shown}</channel></rss>".encode(), "application/rss+xml"
        await self.past.look(None, notified=notified)
        outcome = list(self.past.made.values())[-1]
        assert isinstance(outcome, EvaluationCompleted)
        return outcome

    async def fired(self) -> int:
        return len(await self.past.world.all(TriggerFired))


@pytest.fixture
async def feed(world: World, fetcher: AiohttpFetcher, page: Page, no_redis: redis.Redis, ticks: Ticks) -> Feed:
    owner = await world.person()
    house = House(world, no_redis, ticks, owner, owner, await world.action(owner))
    found = Feed(Past(world, world.evaluator(fetcher), page, house))
    await found.past.watch(found.plan())
    await house.trigger()
    return found


async def test_nobody_is_told_of_an_edited_title_or_of_another_order(feed: Feed) -> None:
    await feed.shows(("1", "Kettle"), ("2", "Lamp"))
    for items in ([("1", "Kettle (sold)"), ("2", "Lamp")], [("2", "Lamp!"), ("1", "Kettle")], [("2", "Lamp!")]):
        looked = await feed.shows(*items)
        assert looked.inputs["added(titles)"] == []
    assert await feed.fired() == 0


async def test_a_new_item_with_the_title_of_another_is_told_of_once(feed: Feed) -> None:
    await feed.shows(("1", "Kettle"))
    looked = await feed.shows(("2", "Kettle"), ("1", "Kettle"))
    assert looked.inputs == {"titles": ["Kettle", "Kettle"], "added(titles)": ["Kettle"]}
    assert (await feed.shows(("2", "Kettle"), ("1", "Kettle"))).inputs["added(titles)"] == []
    assert await feed.fired() == 1


async def test_what_is_unchanged_and_not_sent_again_keeps_what_its_items_are_known_by(feed: Feed) -> None:
    feed.past.page.etag = '"one"'
    await feed.shows(("1", "Kettle"))
    await feed.shows(("1", "Kettle"))
    feed.past.page.etag = '"two"'
    looked = await feed.shows(("1", "Kettle (sold)"))
    assert looked.inputs["added(titles)"] == []
    read = await feed.past.world.all(FactExtracted)
    assert [len(one.fact.keys or ()) for one in read] == [1, 1, 1]
    assert len({tuple(one.fact.keys or ()) for one in read}) == 1


async def test_titles_that_were_read_before_items_had_keys_are_compared_as_titles_once(feed: Feed) -> None:
    await feed.shows(("1", "Kettle"), ("2", "Lamp"))
    await feed.past.world.execute("update facts set keys = null")
    assert (await feed.shows(("1", "Kettle"), ("2", "Lamp"))).inputs["added(titles)"] == []
    assert (await feed.shows(("1", "Kettle (sold)"), ("2", "Lamp"))).inputs["added(titles)"] == []


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    condition=st.sampled_from(MADE_CONDITIONS),
    looks=st.lists(
        st.lists(st.tuples(st.sampled_from("1234"), st.sampled_from(["Kettle", "Lamp"])), max_size=4),
        min_size=2,
        max_size=6,
    ),
    begin=st.integers(0, 5),
)
async def test_a_backtest_comes_to_what_was_recorded_from_facts_and_from_evidence(
    feed: Feed, condition: str, looks: list[list[Item]], begin: int
) -> None:
    await feed.past.watch(feed.plan(condition))
    for items in looks:
        await feed.shows(*items, notified=False)
    first = min(begin, len(looks) - 1)
    since = list(feed.past.made.values())[first].started_at
    for over in (Over.FACTS, Over.EVIDENCE):
        whole = await feed.past.run(Period(over=over))
        assert replayed(whole) == feed.past.really()
        part = await feed.past.run(Period(over=over, begin=since))
        assert replayed(part) == feed.past.really()[first:]


async def test_a_backtest_says_of_which_items_somebody_would_have_been_told(feed: Feed) -> None:
    last = [("3", "B"), ("2", "A")]
    for items in ([("1", "A")], [("1", "A!")], [("2", "A"), ("1", "A!")], [("1", "B"), ("2", "A")], last, last):
        await feed.shows(*items)
    assert firings(await feed.past.run()) == ([2, 4], [2, 4])
    second = list(feed.past.made.values())[1]
    assert firings(await feed.past.run(Period(begin=second.started_at))) == ([1, 3], [1, 3])
    changed = await feed.past.run(condition="titles != previous(titles)")
    assert firings(changed)[0] == [1, 2, 3]
