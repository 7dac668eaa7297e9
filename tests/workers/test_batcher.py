"""The batcher: what waits goes out together, and each answer comes to whom it belongs."""

from collections.abc import Callable
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from commands.batching import BatchCall
from domain.evaluation import Verdict
from domain.model_call import CallOutcome
from domain.operation import INSTALLATION
from tests.batch_server import Lines, batch_server
from tests.model_server import REFUSAL, TRUNCATED, Answer, failing, ok
from tests.reading_model import USED, reads
from tests.workers.batch_world import BATCH_PRICES, MODEL, Unhurrying, costs
from tests.workers.world import Page, RestlessStop
from workers import batcher as module
from workers.batcher import FORGOTTEN_AFTER, GATHERED_FOR


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
