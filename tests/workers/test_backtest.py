"""Backtests over histories that the real evaluator and notifier made."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.fact_reader import FactReader
from adapters.network_guard import NetworkGuard
from adapters.postgres_evidence import PostgresEvidence
from adapters.postgres_past_evaluations import PostgresPastEvaluations
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from commands import backtest
from commands.backtest import Backtested, Backtesting, BacktestTooLong, Over, Period
from commands.plan_compiler import PlanCompiler, Wish
from domain.errors import ConditionInvalid, InvalidInput, NotFound
from domain.evaluation import EvaluationCompleted, EvaluationFailed
from domain.fact import FactSpec, FactType, Select
from domain.monitor import Monitor, PlanRevised, State
from domain.plan import Fires, Kind, Plan
from domain.trigger import TriggerFired
from tests.conftest import AT
from tests.workers.test_notifier import House
from tests.workers.world import CONDITIONS, Page, Ticks, World, plan
from workers.evaluator import Evaluator

STOCK = FactSpec(name="stock", type=FactType.NUMBER, select=Select(jsonpath="$.stock"))


class NobodysSignals:
    """Nobody has signal sources here."""

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        del owner_id, source_ids
        return frozenset()


class Past:
    """A monitor with a history, and backtests of it."""

    def __init__(self, world: World, evaluator: Evaluator, page: Page, house: House) -> None:
        self.world, self.evaluator, self.page, self.house = world, evaluator, page, house
        self.made: dict[UUID, EvaluationCompleted | EvaluationFailed] = {}
        self.backtests = Backtesting(
            store=world.store,
            past=PostgresPastEvaluations(world.pool),
            contents=PostgresEvidence(world.pool),
            reading=FactReader(),
            conditions=CONDITIONS,
            compiler=PlanCompiler(
                classifier=RulesProvider(),
                conditions=CONDITIONS,
                sources=SourceRules(NetworkGuard(["127.0.0.0/8"])),
                signals=NobodysSignals(),
                interval_seconds_min=60,
                now=world.clock,
            ),
            now=world.clock,
        )

    async def watch(self, of: Plan) -> None:
        """From now on it is about a new monitor."""
        self.house.monitor = await self.world.monitor(self.house.owner, of)
        self.made = {}

    async def look(self, price: float | str | None, *, notified: bool = True) -> None:
        """Evaluate the present slot when this stands on the page; None: nothing, "gone": the page is not there."""
        self.page.status = 404 if price == "gone" else 200
        self.page.content = {"name": "Kettle"} if price is None else {"price": price, "stock": len(self.made)}
        job = await self.world.slot(self.house.owner, self.house.monitor)
        self.world.clock.at = max(self.world.clock.at, job.due_at) + timedelta(seconds=2)
        await self.evaluator.evaluate(job)
        await (self.house.react() if notified else self.world.project())
        outcome = await self.world.outcome(job)
        assert outcome is not None
        self.made[job.evaluation_id] = outcome

    async def looks(self, *prices: float | str | None) -> None:
        for price in prices:
            await self.look(price)

    async def run(self, period: Period = Period(), **changes: object) -> Backtested:  # noqa: B008  frozen
        """A backtest of the plan with these changes, or as it is."""

        def wish_of(present: Monitor) -> Wish:
            of = present.current_plan
            kept = {name: getattr(of, name) for name in Wish.__dataclass_fields__ if hasattr(of, name)}
            return Wish(**{**kept, "prompt": present.prompt, "name": None, **changes})

        self.world.clock.move(1)
        await self.world.project()
        return await self.backtests.run(self.house.owner, self.house.monitor, wish_of if changes else None, period)

    def really(self) -> list[tuple[object, object]]:
        """The verdict of each evaluation, or its failure, and the state after it."""
        told, state = list[tuple[object, object]](), State.UNKNOWN
        for outcome in self.made.values():
            if isinstance(outcome, EvaluationCompleted):
                state = outcome.state_after
                told.append((outcome.verdict, state))
            else:
                told.append((outcome.code, state))
        return told


def replayed(done: Backtested) -> list[tuple[object, object]]:
    return [(one.verdict or one.happened.error_code, one.state_after) for one in done.evaluations]


def firings(done: Backtested) -> tuple[list[int], list[int]]:
    """Which evaluations would have fired, and which did."""
    would = [i for i, one in enumerate(done.evaluations) if one.would_fire]
    return would, [i for i, one in enumerate(done.evaluations) if one.did_fire]


@pytest.fixture
async def past(world: World, fetcher: AiohttpFetcher, page: Page, no_redis: redis.Redis, ticks: Ticks) -> Past:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(page.url, condition="price < 200.0"))
    house = House(world, no_redis, ticks, owner, monitor, await world.action(owner))
    return Past(world, world.evaluator(fetcher), page, house)


MADE_CONDITIONS = [
    "price < 200",
    'price < 200 && held_for("PT12M")',
    'changed(price) || price > max_over(price, "PT20M") * 0.5 && price < 200',
    'price < avg_over(price, "PT30M")',
    'silent_for(price, "PT9M")',
]
MADE_RESETS = [None, None, "price > 220", 'price > 220 && held_for("PT4M")']


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    condition=st.sampled_from(MADE_CONDITIONS),
    reset=st.sampled_from(MADE_RESETS),
    confirmations=st.integers(1, 2),
    fires=st.sampled_from(list(Fires)),
    prices=st.lists(st.sampled_from([150, 160, 210, 250, None, "gone"]), min_size=1, max_size=9),
    begin=st.integers(0, 8),
)
async def test_the_plan_as_it_is_comes_to_exactly_what_was_recorded(
    past: Past,
    condition: str,
    reset: str | None,
    confirmations: int,
    fires: Fires,
    prices: list[float | str | None],
    begin: int,
) -> None:
    of = plan(past.page.url, condition=condition, kind=Kind.HISTORICAL_CHANGE, confirmations=confirmations)
    fires = fires if reset is None else Fires.ON_ENTRY
    await past.watch(msgspec.structs.replace(of, reset_condition=reset, fires=fires))
    for price in prices:
        await past.look(price, notified=False)
    done = await past.run()
    assert [one.evaluation_id for one in done.evaluations] == list(past.made)
    assert replayed(done) == past.really()
    assert all(one.would_fire == one.did_fire for one in done.evaluations)
    outcomes = list(past.made.values())
    later = Period(begin=outcomes[min(begin, len(outcomes) - 1)].started_at)
    part = await past.run(later)
    assert replayed(part) == past.really()[min(begin, len(outcomes) - 1) :]
    assert all(one.not_repeatable is None for one in part.evaluations)


async def test_a_period_of_nothing_but_failures_leaves_the_state_it_begins_in(past: Past) -> None:
    await past.watch(plan(past.page.url))
    for price in (150, "gone"):
        await past.look(price, notified=False)
    [_, failed] = past.made.values()
    [replayed_failure] = replayed(await past.run(Period(begin=failed.started_at)))
    assert replayed_failure[-1] is State.ACTIVE


async def test_what_was_told_last_comes_out_as_it_did(past: Past) -> None:
    moved = "!has(last_notified(price)) || abs(price - last_notified(price)) / last_notified(price) >= 0.05"
    await past.watch(plan(past.page.url, condition=moved, kind=Kind.HISTORICAL_CHANGE, fires=Fires.EACH_TIME))
    await past.house.trigger()
    await past.looks(100, 102, 105, 111, 112, 100)
    assert firings(await past.run()) == ([0, 2, 3, 5], [0, 2, 3, 5])
    third = list(past.made.values())[2]
    assert firings(await past.run(Period(begin=third.started_at))) == ([0, 1, 3], [0, 1, 3])


async def test_another_condition_shows_what_would_be_new_and_what_would_be_gone(past: Past) -> None:
    await past.house.trigger()
    await past.looks(250, 190, 250, 120, 250, 120)
    done = await past.run(condition="price < 150.0", confirmations=1)
    assert done.over is Over.FACTS
    assert done.plan.condition == "price < 150.0"
    assert firings(done) == ([3, 5], [1, 3, 5])
    assert [one.happened.state_after for one in done.evaluations][1] is State.ACTIVE
    twice = await past.run(confirmations=2)
    assert firings(twice) == ([], [1, 3, 5])


async def test_a_backtest_stores_nothing(past: Past) -> None:
    await past.looks(250, 150)
    events = await past.world.value("select count(*) from event")
    await past.run(condition="price < 300.0")
    assert await past.world.value("select count(*) from event") == events
    assert (await past.world.state(past.house.monitor)).current_plan.condition == "price < 200.0"


async def test_triggers_count_as_they_are_now(past: Past) -> None:
    await past.house.trigger(cooldown_seconds=900)
    await past.looks(150, 250, 150, 250, 150, 250, 150)
    done = await past.run()
    assert firings(done) == ([0, 4], [0, 4])
    assert len(await past.world.all(TriggerFired)) == 2


async def test_without_triggers_becoming_active_counts(past: Past) -> None:
    await past.looks(250, 150, 250)
    assert firings(await past.run(condition="price > 200.0")) == ([0, 2], [1])


async def test_other_facts_are_read_from_the_evidence(past: Past) -> None:
    await past.looks(250, 150, 250, 150)
    done = await past.run(facts=(STOCK,), condition="stock >= 2.0")
    assert done.over is Over.EVIDENCE
    assert replayed(done) == [
        ("not_met", "inactive"),
        ("not_met", "inactive"),
        ("met", "active"),
        ("met", "active"),
    ]
    with pytest.raises(InvalidInput, match="did not read") as refused:
        await past.run(Period(over=Over.FACTS), facts=(STOCK,), condition="stock >= 2.0")
    assert refused.value.field == "over"


async def test_evidence_gives_the_same_as_the_facts_that_were_read_from_it(past: Past) -> None:
    await past.looks(250, 150, None, "gone", 190)
    from_facts, from_evidence = await past.run(), await past.run(Period(over=Over.EVIDENCE))
    assert from_evidence.evaluations == from_facts.evaluations


async def test_evidence_that_was_let_go_cannot_be_repeated_and_says_so(past: Past) -> None:
    await past.looks(150, 250, 160)
    first = next(iter(past.made.values())).evidence[0].hash
    assert first is not None
    await PostgresEvidence(past.world.pool).forget(first, at=AT + timedelta(days=3))
    done = await past.run(Period(over=Over.EVIDENCE))
    assert replayed(done) == [(None, "unknown"), ("not_met", "inactive"), ("met", "active")]
    said = [one.not_repeatable for one in done.evaluations]
    assert said[1:] == [None, None]
    assert said[0] is not None
    assert "let go on 2026-01-04" in said[0]
    await past.world.execute("delete from source_memory")
    await past.world.execute("delete from evidence")
    gone = await past.run(Period(over=Over.EVIDENCE))
    assert all("was not kept" in str(one.not_repeatable) for one in gone.evaluations)


async def test_what_other_sources_said_is_not_read_as_if_these_had(past: Past) -> None:
    await past.look(150)
    moved = plan("http://127.0.0.1:9/", condition="price < 200.0")
    revised = PlanRevised(prompt="Tell me", plan=moved, state_reset=True, revised_at=past.world.clock())
    await past.world.append(past.house.owner, past.house.monitor, revised)
    done = await past.run(Period(over=Over.EVIDENCE))
    assert [one.not_repeatable for one in done.evaluations] == ["the monitor watched other sources then"]
    assert replayed(await past.run()) == [("met", "active")]


async def test_archived_evaluations_are_judged_from_the_read_tables(past: Past) -> None:
    await past.watch(plan(past.page.url, condition='price < 200 && held_for("PT9M")', kind=Kind.HISTORICAL_CHANGE))
    await past.looks(150, 150, 150, 150)
    await past.world.tamper("update event set data = null, metadata = null where type like 'evaluation.%%'")
    assert replayed(await past.run()) == past.really()
    last = list(past.made.values())[3]
    part = await past.run(Period(begin=last.started_at))
    assert replayed(part) == [("not_met", "inactive")]  # since when it held stood in the archived event only


async def test_a_period_has_an_end_and_a_bound(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    await past.looks(250, 150, 250)
    outcomes = list(past.made.values())
    some = await past.run(Period(begin=outcomes[1].started_at, end=outcomes[2].started_at))
    assert [one.at for one in some.evaluations] == [outcomes[1].started_at]
    with pytest.raises(InvalidInput, match="begins after it ends"):
        await past.run(Period(begin=past.world.clock() + timedelta(days=1)))
    monkeypatch.setattr(backtest, "EVALUATIONS_MAX", 2)
    with pytest.raises(InvalidInput, match=f"{outcomes[2].started_at:%H:%M:%S}Z: give that as `to`") as refused:
        await past.run()
    assert refused.value.field == "from"


async def test_a_history_is_read_in_pieces(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    await past.looks(250, 150, 250, 150, 150)
    whole = await past.run()
    monkeypatch.setattr(backtest, "CHUNK", 2)
    assert (await past.run()).evaluations == whole.evaluations


async def test_one_backtest_of_a_person_at_a_time(past: Past) -> None:
    await past.look(250)
    results = await asyncio.gather(past.run(), past.run(), return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["BacktestRunning", "Backtested"]
    assert isinstance(await past.run(), Backtested)


async def test_a_backtest_that_takes_too_long_is_given_up(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    await past.look(250)
    monkeypatch.setattr(backtest, "SECONDS_MAX", 0)
    with pytest.raises(BacktestTooLong):
        await past.run()


async def test_what_is_wrong_is_refused(past: Past) -> None:
    await past.look(250)
    with pytest.raises(ConditionInvalid, match="Did you mean price"):
        await past.run(condition="prise < 3")
    with pytest.raises(ConditionInvalid) as refused:
        await past.run(reset_condition="prise > 3")
    assert refused.value.field == "reset_condition"
    with pytest.raises(NotFound):
        await past.backtests.run(await past.world.person(email="b@example.org"), past.house.monitor, None, Period())
    with pytest.raises(NotFound):
        await past.backtests.run(past.house.owner, UUID(int=7), None, Period())
