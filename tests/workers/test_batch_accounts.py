"""What batches cost, whose money that is, and what becomes of it when a person is erased."""

from datetime import UTC, datetime
from decimal import Decimal

from uuid_utils.compat import uuid7

from adapters.model_prices import ModelPrices
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_waiting import PostgresWaitingInquiries, PostgresWaitingLooks
from commands.asking import Inquiry
from commands.batching import LOST
from commands.event_store import ErasePerson
from commands.unhurried import WaitingInquiry
from commands.waiting_looks import WaitingLook
from domain.budget import Budgets
from domain.evaluation import Verdict
from domain.model_call import CallOutcome, OnBehalf, Task, TokenUsage
from domain.operation import INSTALLATION
from domain.user import UserErased
from tests.conftest import AT
from tests.workers.batch_world import BATCH_PRICES, PRICE, PRICES, Unhurrying, costs
from tests.workers.world import Page
from workers.batcher import LOOKED_FOR_AFTER
from workers.call_sweeper import CallSweeper

MILLION = TokenUsage(input_tokens=10**6, output_tokens=10**6)


def test_a_batch_costs_half() -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    for provider, model in (("claude", "claude-haiku-5-5"), ("openai", "gpt-5.4-mini")):
        alone = PRICES.cost_micros(provider, model, MILLION, at=at)
        assert 2 * BATCH_PRICES.cost_micros(provider, model, MILLION, at=at) == alone


def test_a_batch_costs_what_a_call_alone_does_where_nobody_says_that_it_costs_less() -> None:
    own = {"mine": (Decimal(1), Decimal(2))}
    for prices in (ModelPrices(own), ModelPrices(own, batch=True)):
        assert prices.cost_micros("openai", "mine", MILLION, at=AT) == 3_000_000
    unknown = [prices.cost_micros("openai", "unheard-of", MILLION, at=AT) for prices in (PRICES, BATCH_PRICES)]
    assert unknown[0] == unknown[1]
    assert (ModelPrices(own).version != ModelPrices(own, batch=True).version) is True


async def test_without_money_nothing_is_sent_and_who_has_some_asks_anew(here: Unhurrying) -> None:
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    jobs = [await here.slot(ada), await here.slot(bob)]
    for job in jobs:
        await here.waits(job)
    here.budgets = Budgets(person_day_micros=1)
    await here.sent()
    assert (here.server.taken, await here.left()) == ([], [0, 0, 0, 0])
    here.budgets = Budgets()
    assert (await here.evaluated(jobs[0])).verdict is Verdict.INCONCLUSIVE
    await here.waits(jobs[1])
    await here.sent()
    await here.over()
    assert (await here.evaluated(jobs[1])).verdict is Verdict.MET
    assert await here.sums(ada, bob) == [0, costs(here.provider.name)]


async def test_an_answer_that_is_missing_counts_as_the_most_it_can_have_cost(
    here: Unhurrying, other_page: Page
) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    ada = await here.world.person()
    jobs = [await here.slot(ada), await here.slot(ada, other_page.url)]
    for job in jobs:
        await here.waits(job)
    here.server.mangle = lambda lines: lines[:1]
    await here.sent()
    await here.over()
    verdicts = [(await here.evaluated(job)).verdict for job in jobs]
    assert verdicts.count(Verdict.INCONCLUSIVE) == 1
    lost = [called for called in await here.called() if called.outcome is CallOutcome.TIMEOUT]
    assert [(one.is_estimated, one.message) for one in lost] == [(True, LOST.message)]
    assert lost[0].cost_micros > costs(here.provider.name)


async def test_the_call_sweeper_leaves_calls_of_batches_alone(here: Unhurrying) -> None:
    await here.waits(await here.slot(await here.world.person()))
    await here.sent()
    here.world.clock.move(20 * 3600)
    leases = PostgresLeases(here.world.pool)
    await CallSweeper(here.ledger(), leases, prices="test", holder="one", now=here.world.clock).step()
    assert (await here.called(), await here.left()) == ([], [1, 1, 1, 1])


async def test_of_an_erased_person_nothing_waits_any_more_and_what_was_sent_is_owed_by_the_installation(
    here: Unhurrying, other_page: Page
) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    world = here.world
    ada = await world.person()
    await here.waits(await here.slot(ada))
    await here.sent()
    later = await here.slot(ada, other_page.url)
    await here.waits(later)
    await world.append(ada, ada, UserErased(erased_at=AT), companions=[ErasePerson(ada)])
    assert await here.kept() == [0, 0]
    await here.sent()
    await here.over()
    assert len(here.server.calls) == 1
    cost = costs(here.provider.name)
    assert (await here.sums(ada, INSTALLATION), await here.left()) == ([0, cost], [0, 0, 0, 0])
    assert await world.value("select count(*) from model_answer") == 0


async def test_after_an_erasure_nothing_begins_to_wait(here: Unhurrying) -> None:
    world = here.world
    ada = await world.person()
    await world.append(ada, ada, UserErased(erased_at=AT), companions=[ErasePerson(ada)])
    on_behalf = OnBehalf(owner_id=ada, monitor_id=uuid7(), evaluation_id=uuid7())
    inquiry = Inquiry(task=Task.EXTRACT, instructions="", content="", schema={}, output_tokens_max=1)
    asked = WaitingInquiry(key=b"1", inquiry=inquiry, facts=(PRICE,), on_behalf=on_behalf, prefer=None, asked_at=AT)
    assert await PostgresWaitingInquiries(world.pool).put(asked, since=AT) is None
    await PostgresWaitingLooks(world.pool).keep(on_behalf, WaitingLook(begun_at=AT), [b"1"])
    assert await here.kept() == [0, 0]


async def test_a_call_of_somebody_who_was_erased_before_it_was_sent_is_not_made(here: Unhurrying) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    here.server.faults["create"] = [500]
    batcher = await here.sent()
    await here.world.append(ada, ada, UserErased(erased_at=AT), companions=[ErasePerson(ada)])
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
    await batcher.step()
    assert (here.server.taken, await here.left(), await here.called()) == ([], [0, 0, 0, 0], [])
