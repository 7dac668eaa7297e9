"""The batcher: whatever goes wrong, and whenever a process is killed, each call is sent once, paid once and answered."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import pytest
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.claude_batches import ClaudeBatches
from adapters.claude_provider import ClaudeProvider
from adapters.evidence_text import EvidenceText
from adapters.model_prices import ModelPrices
from adapters.openai_batches import OpenAIBatches
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_waiting import PostgresWaitingInquiries, PostgresWaitingLooks
from commands.answer_reading import LookFor
from commands.asking import Asking, Inquiry
from commands.batching import LOST, BatchCall
from commands.event_store import ErasePerson
from commands.kept_answers import KeptAnswer
from commands.model_reading import ModelReading
from commands.model_searching import ModelSearching
from commands.unhurried import NO_BATCHER, WAITED_MAX, Unhurried, WaitingInquiry
from commands.waiting_looks import LOOK_AGAIN, WaitingLook
from domain.budget import Budgets
from domain.evaluation import EvaluationCompleted, EvaluationJob, Verdict
from domain.fact import FactSpec, FactType, ReadBy
from domain.model_call import CallOutcome, ModelCalled, OnBehalf, Task, TokenUsage
from domain.operation import INSTALLATION
from domain.source import HttpSource, SearchSource, SignalSource
from domain.user import UserErased
from tests.batch_server import DROPPED, BatchServer, Lines, batch_server
from tests.commands.model_world import CALL_MICROS, Books, document
from tests.conftest import AT, as_application
from tests.model_server import REFUSAL, TRUNCATED, Answer, Found, ModelServer, failing, model_server, ok
from tests.reading_model import USED, reads
from tests.workers.world import Page, RestlessStop, World, plan
from workers import batcher as module
from workers.batch_accounts import BatchAccounts
from workers.batcher import FORGOTTEN_AFTER, GATHERED_FOR, LOOKED_FOR_AFTER, OVER_AFTER, REST_SECONDS, Batcher
from workers.call_sweeper import CallSweeper
from workers.evaluator import Evaluator
from workers.later import NotYet
from workers.lifecycle import Leases

MODEL = "claude-haiku-4-5"
PRICE = FactSpec(
    name="price", type=FactType.NUMBER, unit="EUR", description="the price of the kettle", read_by=ReadBy.MODEL
)
STOCK = FactSpec(name="stock", type=FactType.NUMBER, description="how many there are", read_by=ReadBy.MODEL)
PRICES, BATCH_PRICES = ModelPrices(), ModelPrices(batch=True)
MILLION = TokenUsage(input_tokens=10**6, output_tokens=10**6)
TABLES: tuple[LiteralString, ...] = (
    "select count(*) from model_batch",
    "select count(*) from model_batch_call",
    "select count(*) from model_call_open",
    "select count(*) from waiting_inquiry where outcome is null",
)


class Killed(BaseException):
    """The process is gone."""


class Everybody(Leases):
    """A lease that everybody believes to hold, as who was paused for long does."""

    async def hold(self, names: Sequence[str], holder: str, *, lifetime: timedelta) -> dict[str, int]:
        return dict.fromkeys(names, 1)

    async def let_go(self, names: Sequence[str], holder: str) -> None:
        """Nothing to give back."""


class Unhurrying:
    """Monitors in no hurry, a stand-in of a provider's batches, and one for calls made alone."""

    def __init__(self, world: World, fetcher: AiohttpFetcher, page: Page, server: BatchServer, name: str) -> None:
        self.world, self.fetcher, self.page, self.server = world, fetcher, page, server
        self.provider: ClaudeBatches | OpenAIBatches = (
            ClaudeBatches("key", MODEL, server.url)
            if name == "claude"
            else OpenAIBatches("key", MODEL, server.openai_url)
        )
        self.batches = PostgresBatches(world.pool, new_id=uuid7)
        self.answers = PostgresModelAnswers(world.pool)
        self.budgets = Budgets()
        self.alone: list[ClaudeProvider] = []

    async def close(self) -> None:
        for provider in (self.provider, *self.alone):
            await provider.close()

    def ledger(self) -> PostgresModelLedger:
        return PostgresModelLedger(self.world.pool, self.world.store, BATCH_PRICES, self.budgets, now=self.world.clock)

    def batcher(self, holder: str = "one", *, leases: Leases | None = None, **others: Any) -> Batcher:  # noqa: ANN401  its fields
        ledger = self.ledger()
        accounts = BatchAccounts(
            inquiries=self.batches, records=ledger, prices=BATCH_PRICES, answers=self.answers, now=self.world.clock
        )
        fields: dict[str, Any] = {"providers": [self.provider], **others}
        return Batcher(
            batches=self.batches,
            ledger=ledger,
            accounts=accounts,
            leases=leases or PostgresLeases(self.world.pool),
            holder=holder,
            now=self.world.clock,
            **fields,
        )

    def evaluator(self, direct: ModelServer | None = None) -> Evaluator:
        """One whose models are asked alone at `direct`."""
        world, books = self.world, Books()
        providers = [] if direct is None else [ClaudeProvider("key", MODEL, direct.url)]
        self.alone += providers
        asking = Asking(providers=providers, ledger=books, breakers=books, tracing=books, now=world.clock, new_id=uuid7)
        unhurried = Unhurried(self.answers, PostgresWaitingInquiries(world.pool), world.clock)
        models = ModelReading(asking, EvidenceText(), self.answers, now=world.clock, unhurried=unhurried)
        return world.evaluator(self.fetcher, models=models, waiting=PostgresWaitingLooks(world.pool))

    async def monitor(self, owner_id: UUID, *urls: str, **others: object) -> UUID:
        fields: dict[str, Any] = {"facts": (PRICE,), "batch": True, **others}
        return await self.world.monitor(owner_id, plan(*(urls or (self.page.url,)), **fields))

    async def slot(self, owner_id: UUID, *urls: str, **others: object) -> EvaluationJob:
        return await self.world.slot(owner_id, await self.monitor(owner_id, *urls, **others))

    def says(self, text: str) -> None:
        self.page.text = f"<p>{text}</p>".encode(), "text/html"

    async def waits(self, job: EvaluationJob, direct: ModelServer | None = None) -> None:
        with pytest.raises(NotYet) as later:
            await self.evaluator(direct).evaluate(job)
        assert (later.value.until, later.value.is_attempt) == (self.world.clock() + LOOK_AGAIN, False)

    async def evaluated(self, job: EvaluationJob, direct: ModelServer | None = None) -> EvaluationCompleted:
        await self.evaluator(direct).evaluate(job)
        return await self.world.verdict(job)

    async def sent(self, **others: Any) -> Batcher:  # noqa: ANN401  fields of a batcher
        """What waits is sent."""
        self.world.clock.move(GATHERED_FOR.total_seconds())
        batcher = self.batcher(**others)
        assert await batcher.step() == REST_SECONDS
        return batcher

    async def over(self) -> None:
        """Batches are over, and fetched."""
        self.server.end()
        await self.batcher().step()

    async def left(self) -> list[int]:
        return [int(str(await self.world.value(table))) for table in TABLES]

    async def kept(self) -> list[int]:
        """How many inquiries and looks there are, whether they wait or not."""
        tables: tuple[LiteralString, ...] = (
            "select count(*) from waiting_inquiry",
            "select count(*) from waiting_look",
        )
        return [int(str(await self.world.value(table))) for table in tables]

    async def sums(self, *scopes: UUID) -> list[int]:
        query: LiteralString = "select coalesce(sum(spent_micros), 0)::bigint from model_spending where scope = %s"
        return [int(str(await self.world.value(query, scope))) for scope in scopes]

    async def called(self) -> list[ModelCalled]:
        return await self.world.all(ModelCalled)


def costs(provider: str, count: int = 1) -> int:
    return count * BATCH_PRICES.cost_micros(provider, MODEL, USED, at=AT, asked_for=MODEL)


@pytest.fixture(params=["claude", "openai"])
async def here(
    request: pytest.FixtureRequest, world: World, fetcher: AiohttpFetcher, page: Page
) -> AsyncIterator[Unhurrying]:
    async with batch_server(reads, now=world.clock) as server:
        found = Unhurrying(world, fetcher, page, server, request.param)
        found.says("price 149 EUR")
        yield found
        await found.close()


async def test_a_monitor_in_no_hurry_is_evaluated_when_a_batch_has_answered(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    await here.batcher().step()
    assert here.server.taken == [], "others may come to go with it"
    await here.sent()
    await here.waits(job)
    await here.batcher().step()
    await here.waits(job)
    await here.over()
    completed = await here.evaluated(job)
    name = here.provider.name
    assert (completed.verdict, completed.provider, completed.inputs) == (Verdict.MET, name, {"price": 149.0})
    assert (completed.cost_micros, completed.saved_micros) == (costs(name), 0)
    [called] = await here.called()
    assert (called.outcome, called.cost_micros, called.evaluation_id) == (
        CallOutcome.OK,
        costs(name),
        job.evaluation_id,
    )
    assert called.usage == USED
    assert called.prices == BATCH_PRICES.version
    assert await here.sums(ada, INSTALLATION) == [costs(name)] * 2
    assert (await here.left(), len(here.page.seen), len(here.server.calls)) == ([0, 0, 0, 0], 1, 1)


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


async def test_a_page_that_says_something_else_each_time_is_read_as_it_was(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.says("price 999 EUR")
    await here.sent()
    await here.over()
    completed = await here.evaluated(job)
    assert (completed.inputs, len(here.page.seen), len(here.server.calls)) == ({"price": 149.0}, 1, 1)
    [evidence] = completed.evidence
    assert evidence.fetched_at == AT


async def test_what_is_known_by_then_is_not_taken_back_by_what_was_seen_before(here: Unhurrying) -> None:
    ada = await here.world.person()
    of = plan(here.page.url, facts=(PRICE,), batch=True)
    monitor_id = await here.world.monitor(ada, of, due_at=AT + timedelta(seconds=60))
    request = await here.world.request(ada, monitor_id)
    here.world.clock.move(60)
    job = await here.world.slot(ada, monitor_id)
    await here.waits(job)
    here.says("price 300 EUR")
    async with model_server(reads) as direct:
        asked = await here.evaluated(request, direct)
        assert (asked.inputs, direct.count) == ({"price": 300.0}, 1)
        await here.sent()
        await here.over()
        completed = await here.evaluated(job, direct)
        assert (completed.inputs, direct.count) == ({"price": 300.0}, 1)


async def test_a_slot_that_was_served_meanwhile_waits_no_more(here: Unhurrying) -> None:
    ada = await here.world.person()
    monitor_id = await here.monitor(ada)
    job = await here.world.slot(ada, monitor_id)
    await here.waits(job)
    async with model_server(reads) as direct:
        await here.evaluated(await here.world.request(ada, monitor_id), direct)
    await here.evaluator().evaluate(job)
    assert await here.world.outcome(job) is None


async def test_who_asks_by_hand_does_not_wait(here: Unhurrying) -> None:
    ada = await here.world.person()
    monitor_id = await here.monitor(ada)
    async with model_server(reads) as direct:
        completed = await here.evaluated(await here.world.request(ada, monitor_id), direct)
        assert (completed.verdict, direct.count) == (Verdict.MET, 1)
    assert await here.left() == [0, 0, 0, 0]


async def test_what_somebody_in_a_hurry_was_told_meanwhile_is_not_asked_again(here: Unhurrying) -> None:
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    job = await here.slot(ada)
    await here.waits(job)
    async with model_server(reads) as direct:
        await here.evaluated(await here.world.request(bob, await here.monitor(bob)), direct)
    await here.sent()
    completed = await here.evaluated(job)
    assert (completed.verdict, completed.cost_micros, here.server.taken) == (Verdict.MET, 0, [])
    assert completed.saved_micros > 0


async def test_who_asks_the_same_is_told_the_same_for_nothing(here: Unhurrying) -> None:
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    jobs = [await here.slot(ada), await here.slot(bob), await here.slot(ada)]
    for job in jobs:
        await here.waits(job)
    await here.sent()
    await here.over()
    found = [await here.evaluated(job) for job in jobs]
    cost = costs(here.provider.name)
    assert [(one.verdict, one.cost_micros, one.saved_micros) for one in found] == [
        (Verdict.MET, cost, 0),
        (Verdict.MET, 0, cost),
        (Verdict.MET, 0, cost),
    ]
    assert await here.sums(ada, bob) == [cost, 0]
    assert len(here.server.calls) == 1


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (TRUNCATED, CallOutcome.TRUNCATED, "too long"),
        (REFUSAL, CallOutcome.REFUSED, "refused"),
        (ok({"price": 1}, USED), CallOutcome.MALFORMED, "form"),
        (failing(400, error="invalid_request_error"), CallOutcome.BAD_REQUEST, "such a request"),
        (failing(529, error="overloaded_error"), CallOutcome.OVERLOADED, "does not work"),
    ],
)
async def test_what_a_batch_does_not_answer_is_inconclusive_and_asked_anew(
    here: Unhurrying, answer: Answer, outcome: CallOutcome, words: str
) -> None:
    here.server.script = lambda _: answer
    ada = await here.world.person()
    monitor_id = await here.monitor(ada)
    job = await here.world.slot(ada, monitor_id)
    await here.waits(job)
    await here.sent()
    await here.over()
    completed = await here.evaluated(job)
    assert completed.verdict is Verdict.INCONCLUSIVE
    assert words in str(completed.reason)
    [called] = await here.called()
    assert called.outcome is outcome
    assert await here.sums(ada) == [called.cost_micros]
    here.server.script = reads
    here.world.clock.at = await here.world.due_at(monitor_id)
    again = await here.world.slot(ada, monitor_id)
    await here.waits(again)
    await here.sent()
    await here.over()
    assert (await here.evaluated(again)).verdict is Verdict.MET
    assert len(here.server.calls) == 2


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


def repeated(lines: Lines) -> Lines:
    return [*lines, *lines]


def strange(lines: Lines) -> Lines:
    return [{**lines[0], "custom_id": str(uuid7())}, {**lines[0], "custom_id": "x"}, *lines[::-1]]


@pytest.mark.parametrize("mangle", [repeated, strange])
async def test_answers_in_any_order_twice_or_to_nobody_are_each_given_to_whom_they_belong(
    here: Unhurrying, other_page: Page, mangle: Callable[[Lines], Lines]
) -> None:
    here.server.mangle = mangle
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    ada = await here.world.person()
    jobs = [await here.slot(ada), await here.slot(ada, other_page.url)]
    for job in jobs:
        await here.waits(job)
    await here.sent()
    await here.over()
    assert [(await here.evaluated(job)).inputs["price"] for job in jobs] == [149.0, 249.0]
    assert await here.sums(ada) == [costs(here.provider.name, 2)]
    assert (len(await here.called()), await here.left()) == (2, [0, 0, 0, 0])


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


async def test_a_batch_that_is_never_over_is_given_up_after_a_day(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    await here.sent()
    here.world.clock.move(OVER_AFTER.total_seconds())
    await here.batcher().step()
    assert await here.left() == [1, 1, 1, 1]
    here.world.clock.move(1)
    await here.batcher().step()
    completed = await here.evaluated(job)
    assert (completed.verdict, await here.left()) == (Verdict.INCONCLUSIVE, [0, 0, 0, 0])
    [called] = await here.called()
    assert (called.outcome, called.is_estimated) == (CallOutcome.TIMEOUT, True)


async def test_where_no_batcher_runs_an_evaluation_says_so_after_a_day(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.world.clock.move(WAITED_MAX.total_seconds())
    await here.waits(job)
    here.world.clock.move(1)
    completed = await here.evaluated(job)
    assert completed.verdict is Verdict.INCONCLUSIVE
    assert NO_BATCHER in str(completed.reason)
    assert len(here.page.seen) == 1


async def test_a_batch_that_did_not_arrive_is_sent_again_once_that_is_certain(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.server.faults["create"] = [500]
    batcher = await here.sent()
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds() - 1)
    await batcher.step()
    assert (here.server.taken, "list" in here.server.asked) == ([], False)
    here.world.clock.move(1)
    here.server.faults["list"] = [500]
    await batcher.step()
    assert here.server.taken == [], "nobody could say"
    await batcher.step()
    assert len(here.server.calls) == 1
    await here.over()
    assert (await here.evaluated(job)).verdict is Verdict.MET
    assert len(await here.called()) == 1


async def test_a_batch_whose_arrival_nobody_heard_of_is_found_and_not_sent_again(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.server.faults["create"] = [DROPPED]
    batcher = await here.sent()
    here.server.end()
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
    await batcher.step()
    await batcher.step()
    assert (await here.evaluated(job)).verdict is Verdict.MET
    assert (len(here.server.calls), len(await here.called())) == (1, 1)


async def test_what_may_have_arrived_and_cannot_be_found_is_given_up_after_a_day(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    here.server.faults = {"create": [DROPPED], "list": [500] * 5}
    batcher = await here.sent()
    here.world.clock.move(OVER_AFTER.total_seconds())
    await batcher.step()
    assert await here.left() == [1, 1, 1, 1]
    here.world.clock.move(1)
    await batcher.step()
    assert ((await here.evaluated(job)).verdict, len(here.server.calls)) == (Verdict.INCONCLUSIVE, 1)
    assert [called.is_estimated for called in await here.called()] == [True]


async def test_what_never_arrives_is_not_sent_for_ever(here: Unhurrying) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    here.server.faults["create"] = [500] * 10
    batcher = await here.sent()
    [made] = await here.batches.under_way()
    for _ in range(2):
        here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
        await batcher.step()
    assert here.server.asked.count("create") == 3
    here.world.clock.at = made.made_at + OVER_AFTER + timedelta(seconds=1)
    await batcher._try((await here.batches.under_way())[0])
    assert (await here.left(), await here.sums(ada)) == ([0, 0, 0, 1], [0])


async def test_too_many_requests_are_sent_later(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.server.faults["create"] = [429]
    batcher = await here.sent()
    assert (await here.left(), await here.called()) == ([0, 0, 0, 1], [])
    await batcher.step()
    await here.over()
    assert ((await here.evaluated(job)).verdict, len(here.server.calls)) == (Verdict.MET, 1)


async def test_a_key_that_is_not_taken_is_said(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    here.server.faults["create"] = [401]
    await here.sent()
    completed = await here.evaluated(job)
    assert completed.verdict is Verdict.INCONCLUSIVE
    assert "key" in str(completed.reason)
    assert [(called.outcome, called.cost_micros) for called in await here.called()] == [(CallOutcome.AUTH, 0)]
    assert (await here.left(), await here.sums(ada)) == ([0, 0, 0, 0], [0])


async def test_results_that_cannot_be_fetched_are_fetched_later(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    here.server.faults = {"retrieve": [500], "results": [503]}
    for _ in range(2):
        await here.over()
        await here.waits(job)
    await here.over()
    assert (await here.evaluated(job)).verdict is Verdict.MET


async def test_one_batch_that_cannot_be_gone_on_with_keeps_no_other_from_it(
    here: Unhurrying, other_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    ada = await here.world.person()
    jobs = [await here.slot(ada), await here.slot(ada, other_page.url)]
    for job in jobs:
        await here.waits(job)
        await here.sent()
    bad = (await here.batches.under_way())[0]
    calls = here.batches.calls

    async def broken(batch_id: UUID) -> list[BatchCall]:
        if batch_id == bad.id:
            raise RuntimeError
        return await calls(batch_id)

    monkeypatch.setattr(here.batches, "calls", broken)
    await here.over()
    await here.waits(jobs[0])
    assert (await here.evaluated(jobs[1])).verdict is Verdict.NOT_MET


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


async def test_two_batchers_at_once_send_each_call_once_and_count_it_once(here: Unhurrying, other_page: Page) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    ada = await here.world.person()
    jobs = [await here.slot(ada), await here.slot(ada, other_page.url)]
    for job in jobs:
        await here.waits(job)
    here.world.clock.move(GATHERED_FOR.total_seconds())
    two = [here.batcher(holder, leases=Everybody()) for holder in ("one", "two")]
    for _ in range(3):
        await asyncio.gather(*(one.step() for one in two), return_exceptions=True)
    assert sorted(here.server.calls) == sorted(set(here.server.calls))
    assert len(here.server.calls) == 2
    here.server.end()
    for _ in range(3):
        await asyncio.gather(*(one.step() for one in two), return_exceptions=True)
    assert [(await here.evaluated(job)).inputs["price"] for job in jobs] == [149.0, 249.0]
    assert (len(await here.called()), await here.sums(ada)) == (2, [costs(here.provider.name, 2)])
    assert await here.left() == [0, 0, 0, 0]


async def test_two_that_take_over_the_same_batch_send_it_once(
    here: Unhurrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)

    async def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PostgresBatches, "claim", dies)
        with pytest.raises(Killed):
            await here.sent(leases=Everybody())
    assert await here.left() == [1, 1, 1, 1]
    [batch] = await here.batches.under_way()
    calls = await here.batches.calls(batch.id)
    two = [here.batcher(holder, leases=Everybody()) for holder in ("one", "two")]
    await asyncio.gather(*(one._send(batch, calls, here.provider) for one in two))
    assert len(here.server.calls) == 1
    [sent] = await here.batches.under_way()
    await asyncio.gather(*(one._send(replace(batch, sent_at=batch.sent_at), calls, here.provider) for one in two))
    assert (len(here.server.calls), sent.provider_id) == (1, here.server.taken[0].id)


async def test_only_who_has_the_lease_works_and_gives_it_back(here: Unhurrying) -> None:
    one, other = here.batcher(), here.batcher("two")
    await one.step()
    await here.waits(await here.slot(await here.world.person()))
    here.world.clock.move(GATHERED_FOR.total_seconds())
    await other.step()
    assert here.server.taken == []
    await one.run(RestlessStop(1))
    assert len(here.server.taken) == 1
    here.server.end()
    await other.step()
    assert await here.left() == [0, 0, 0, 0]


async def test_as_many_as_may_be_go_at_once(
    here: Unhurrying, other_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    ada = await here.world.person()
    for url in (here.page.url, other_page.url):
        await here.waits(await here.slot(ada, url))
    monkeypatch.setattr(module, "BATCH_BYTES_MAX", 10)
    await here.batcher().step()
    assert [len(batch.calls) for batch in here.server.taken] == [1], "one is full, and the other one waits for more"
    await here.sent()
    assert [len(batch.calls) for batch in here.server.taken] == [1, 1]
    monkeypatch.setattr(module, "BATCH_BYTES_MAX", 10**9)
    monkeypatch.setattr(module, "BATCH_CALLS_MAX", 1)
    here.says("price 5 EUR")
    await here.waits(await here.slot(ada))
    await here.batcher().step()
    assert [len(batch.calls) for batch in here.server.taken] == [1, 1, 1]


async def test_what_was_made_for_a_model_that_is_not_set_up_any_more_waits_for_another(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    made = await here.batches.make(
        here.provider.name,
        "another-model",
        able=[here.provider.name],
        at=here.world.clock(),
        waiting_since=here.world.clock(),
        count_max=10,
        bytes_max=10**6,
    )
    assert made is not None
    await here.sent()
    assert await here.world.value("select model from model_call_open") == MODEL
    await here.over()
    assert (await here.evaluated(job)).verdict is Verdict.MET


async def test_who_is_in_a_hurry_waits_for_nothing(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person(), batch=False)
    async with model_server(reads) as direct:
        assert ((await here.evaluated(job, direct)).verdict, direct.count) == (Verdict.MET, 1)
    assert await here.kept() == [0, 0]


async def test_an_answer_that_comes_while_it_is_asked_for_is_taken(
    here: Unhurrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    find, asked = PostgresModelAnswers.find, 0

    async def comes(answers: PostgresModelAnswers, key: bytes, *, at: datetime) -> KeptAnswer | None:
        nonlocal asked
        asked += 1
        return None if asked == 1 else await find(answers, key, at=at)

    await here.over()
    monkeypatch.setattr(PostgresModelAnswers, "find", comes)
    assert ((await here.evaluated(job)).verdict, asked) == (Verdict.MET, 2)


async def test_an_answer_that_was_forgotten_is_asked_anew(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    await here.over()
    await here.world.execute("delete from model_answer")
    here.world.clock.move(1)
    await here.waits(job)
    await here.sent()
    await here.over()
    assert ((await here.evaluated(job)).verdict, len(here.server.calls)) == (Verdict.MET, 2)


async def test_other_batches_of_ours_are_not_taken_for_the_one_that_is_missing(here: Unhurrying) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    await here.sent()
    here.says("price 5 EUR")
    await here.waits(await here.slot(ada))
    here.server.faults["create"] = [500]
    batcher = await here.sent()
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
    await batcher.step()
    assert (len(here.server.calls), len(set(here.server.calls))) == (2, 2)


async def test_who_prefers_a_provider_is_asked_there(here: Unhurrying) -> None:
    async with batch_server(reads, now=here.world.clock) as second:
        name = "openai" if here.provider.name == "claude" else "claude"
        other = Unhurrying(here.world, here.fetcher, here.page, second, name)
        ada = await here.world.person()
        await here.waits(await here.slot(ada, provider=name))
        await here.sent(providers=[here.provider, other.provider])
        assert (len(here.server.calls), len(second.calls)) == (0, 1)
        here.says("price 5 EUR")
        await here.waits(await here.slot(ada, provider="nobody"))
        await here.sent(providers=[here.provider, other.provider])
        assert (len(here.server.calls), len(second.calls)) == (1, 1)
        await other.close()


async def test_without_a_provider_there_is_nothing_to_do(here: Unhurrying) -> None:
    await here.waits(await here.slot(await here.world.person()))
    await here.sent(providers=[])
    assert await here.left() == [0, 0, 0, 1]


async def test_what_is_old_is_forgotten(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    await here.over()
    assert await here.world.value("select octet_length(inquiry) from waiting_inquiry") is None
    here.world.clock.move(FORGOTTEN_AFTER.total_seconds() + 1)
    await here.batcher().step()
    assert await here.kept() == [0, 0]


STEPS = (
    (PostgresBatches, "make", "after"),
    (PostgresModelLedger, "admit", "after"),
    (PostgresBatches, "claim", "after"),
    ("provider", "submit", "after"),
    (PostgresBatches, "arrived", "after"),
    ("provider", "fetch", "after"),
    (PostgresModelAnswers, "keep", "after"),
    (PostgresModelLedger, "keep", "after"),
    (PostgresBatches, "end", "after"),
    (PostgresBatches, "close", "before"),
    (PostgresBatches, "close", "after"),
)


@pytest.mark.parametrize(("owner", "name", "when"), STEPS)
async def test_whoever_dies_at_any_step_leaves_what_the_next_one_needs(
    here: Unhurrying,
    other_page: Page,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,  # noqa: ANN401  a class, or the provider's
    name: str,
    when: str,
) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    ada = await here.world.person()
    jobs = [await here.slot(ada), await here.slot(ada, other_page.url)]
    for job in jobs:
        await here.waits(job)
    of = type(here.provider) if owner == "provider" else owner
    work = getattr(of, name)

    async def dies(*args: object, **kwargs: object) -> None:
        if when == "after":
            await work(*args, **kwargs)
        raise Killed

    here.world.clock.move(GATHERED_FOR.total_seconds())
    died = False
    for _ in range(3):
        monkeypatch.setattr(of, name, dies)
        try:
            await here.batcher(leases=Everybody()).step()
        except Killed:
            died = True
        monkeypatch.undo()
        if died:
            break
        here.server.end()
    assert died
    for _ in range(4):
        here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
        await here.batcher(leases=Everybody()).step()
        here.server.end()
    assert [(await here.evaluated(job)).inputs["price"] for job in jobs] == [149.0, 249.0]
    assert (len(here.server.calls), len(set(here.server.calls))) == (2, 2), "sent once"
    assert len(await here.called()) == 2
    assert await here.sums(ada, INSTALLATION) == [costs(here.provider.name, 2)] * 2, "paid once"
    assert await here.left() == [0, 0, 0, 0]


DYING = """
import asyncio, os, signal, sys
from datetime import datetime
from uuid_utils.compat import uuid7
from adapters.claude_batches import ClaudeBatches
from adapters.model_prices import ModelPrices
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_pool import open_pool
from domain.budget import Budgets
from workers.batch_accounts import BatchAccounts
from workers.batcher import Batcher

url, server, at, step = sys.argv[1:]
of = {"arrived": PostgresBatches, "claim": PostgresBatches, "end": PostgresBatches}.get(step, PostgresModelLedger)
work = getattr(of, step)

async def dies(*args, **kwargs):
    if step != "arrived":
        await work(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(of, step, dies)

async def run():
    async with open_pool(url, size_max=4) as pool:
        now = lambda: datetime.fromisoformat(at)
        prices, batches, answers = ModelPrices(batch=True), PostgresBatches(pool, new_id=uuid7), PostgresModelAnswers(pool)
        ledger = PostgresModelLedger(pool, PostgresEventStore(pool, new_id=uuid7), prices, Budgets(), now=now)
        accounts = BatchAccounts(inquiries=batches, records=ledger, prices=prices, answers=answers, now=now)
        await Batcher(providers=[ClaudeBatches("key", "claude-haiku-4-5", server)], batches=batches, ledger=ledger,
                      accounts=accounts, leases=PostgresLeases(pool), holder="dying", now=now).step()

asyncio.run(run())
"""


@pytest.mark.parametrize("here", ["claude"], indirect=True)
@pytest.mark.parametrize("step", ["claim", "arrived", "keep", "end"])
async def test_a_process_that_is_killed_neither_loses_a_batch_nor_pays_it_twice(
    here: Unhurrying, other_page: Page, workers_database: str, step: str
) -> None:
    other_page.text = b"<p>price 249 EUR</p>", "text/html"
    world, ada = here.world, await here.world.person()
    jobs = [await here.slot(ada), await here.slot(ada, other_page.url)]
    for job in jobs:
        await here.waits(job)
    if step in {"keep", "end"}:
        await here.sent(leases=Everybody())
        here.server.end()
    world.clock.move(GATHERED_FOR.total_seconds())
    told = [as_application(workers_database), here.server.url, world.clock().isoformat(), step]
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DYING, *told], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert await world.value("select count(*) from lease where holder = 'dying'") == 1
    await here.batcher().step()
    assert len(here.server.calls) <= len(jobs), "whoever died with the lease keeps it for a while"
    await world.execute("delete from lease where holder = 'dying'")
    for _ in range(3):
        here.server.end()
        world.clock.move(LOOKED_FOR_AFTER.total_seconds())
        await here.batcher().step()
    assert [(await here.evaluated(job)).inputs["price"] for job in jobs] == [149.0, 249.0]
    assert (len(here.server.calls), len(await here.called())) == (2, 2)
    assert await here.sums(ada, INSTALLATION) == [costs("claude", 2)] * 2
    assert await here.left() == [0, 0, 0, 0]


async def test_a_search_is_paid_once_however_long_its_reading_waits(here: Unhurrying) -> None:
    found = Found(title="Kettles", url="http://shop.example/", quote="price 149 EUR")
    said = Answer(text="price 149 EUR", found=[found], usage=TokenUsage(input_tokens=9_000, searches=1))
    ada = await here.world.person()
    here.says("price 999 EUR, stock 3")
    sources = (SearchSource(query="kettles"), HttpSource(url=here.page.url))
    of = plan(facts=(PRICE, STOCK), batch=True, condition="stock < price")
    monitor_id = await here.world.monitor(ada, msgspec.structs.replace(of, sources=sources))
    job = await here.world.slot(ada, monitor_id)
    async with model_server(said) as direct:
        evaluator = here.evaluator(direct)
        models = evaluator.sight.looker.reader.models
        assert isinstance(models, ModelReading)
        searching = ModelSearching(models._asking)
        looker = replace(evaluator.sight.looker, searching=searching)
        evaluator = replace(evaluator, sight=replace(evaluator.sight, looker=looker))
        for _ in range(2):
            for _ in range(2):
                with pytest.raises(NotYet):
                    await evaluator.evaluate(job)
                await here.sent()
            await here.over()
        await evaluator.evaluate(job)
        completed = await here.world.verdict(job)
    assert (completed.verdict, direct.count) == (Verdict.MET, 1)
    assert completed.cost_micros == CALL_MICROS + costs(here.provider.name, 2)


async def test_what_a_signal_says_waits_nowhere(here: Unhurrying) -> None:
    on_behalf = OnBehalf(owner_id=await here.world.person(), monitor_id=uuid7(), evaluation_id=uuid7())
    asking = LookFor(on_behalf=on_behalf, prefer=None, until=None, unhurried_since=AT)
    async with model_server(reads) as direct:
        reader = here.evaluator(direct).sight.looker.reader
        signalled = document("price 149 EUR", "text/plain")
        facts, _ = await reader.read((PRICE,), SignalSource(id=uuid7()), signalled, asking)
    assert ([fact.value for fact in facts], await here.kept()) == ([149.0], [0, 0])


async def test_without_waiting_looks_everybody_is_in_a_hurry(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    async with model_server(reads) as direct:
        evaluator = here.evaluator(direct)
        looker = replace(evaluator.sight.looker, waiting=None)
        await replace(evaluator, sight=replace(evaluator.sight, looker=looker)).evaluate(job)
        assert direct.count == 1
    assert await here.kept() == [0, 0]


async def test_sources_are_read_one_after_the_other_so_that_no_fact_is_paid_for_twice(
    here: Unhurrying, other_page: Page
) -> None:
    other_page.text = b"<p>price 999 EUR, stock 3</p>", "text/html"
    job = await here.slot(
        await here.world.person(), here.page.url, other_page.url, facts=(PRICE, STOCK), condition="stock < price"
    )
    for _ in range(2):
        await here.waits(job)
        await here.sent()
        await here.over()
    completed = await here.evaluated(job)
    assert completed.inputs == {"price": 149.0, "stock": 3.0}
    assert (completed.cost_micros, len(here.server.calls)) == (costs(here.provider.name, 2), 2)
    assert (len(here.page.seen), len(other_page.seen)) == (1, 1)


async def test_the_price_of_a_page_that_stayed_as_it_was_is_paid_once(here: Unhurrying) -> None:
    here.page.etag = '"1"'
    ada = await here.world.person()
    monitor_id = await here.monitor(ada)
    for expected in (Verdict.MET, Verdict.MET):
        job = await here.world.slot(ada, monitor_id)
        with suppress(NotYet):
            await here.evaluator().evaluate(job)
        if await here.world.outcome(job) is None:
            await here.sent()
            await here.over()
            await here.evaluator().evaluate(job)
        assert (await here.world.verdict(job)).verdict is expected
        here.world.clock.at = await here.world.due_at(monitor_id)
    assert len(here.server.calls) == 1
