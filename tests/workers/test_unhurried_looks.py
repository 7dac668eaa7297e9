"""Looks that wait for a batch: what they saw is what is read, nobody asks for it twice, and who is in a hurry waits for nothing."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_model_answers import PostgresModelAnswers
from commands.answer_reading import LookFor
from commands.kept_answers import KeptAnswer
from commands.model_reading import ModelReading
from commands.model_searching import ModelSearching
from commands.unhurried import NO_BATCHER, WAITED_MAX
from domain.evaluation import Verdict
from domain.model_call import OnBehalf, TokenUsage
from domain.source import HttpSource, SearchSource, SignalSource
from tests.commands.model_world import CALL_MICROS, document
from tests.conftest import AT
from tests.model_server import Answer, Found, model_server
from tests.reading_model import reads
from tests.workers.batch_world import PRICE, STOCK, Unhurrying, costs
from tests.workers.world import Page, plan
from workers.later import NotYet


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


async def test_what_was_sent_is_waited_for_though_somebody_in_a_hurry_was_told_meanwhile(here: Unhurrying) -> None:
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    job = await here.slot(ada)
    await here.waits(job)
    await here.sent()
    async with model_server(reads) as direct:
        await here.evaluated(await here.world.request(bob, await here.monitor(bob)), direct)
    await here.waits(job)
    await here.over()
    assert ((await here.evaluated(job)).verdict, len(here.server.calls)) == (Verdict.MET, 1)


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
                await here.put_back(job, evaluator)
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
