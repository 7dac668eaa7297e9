"""Batchers that die at any step, and several at once: each call is sent once, paid once and answered."""

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from adapters.postgres_batches import PostgresBatches
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_model_ledger import PostgresModelLedger
from domain.operation import INSTALLATION
from tests.conftest import as_application
from tests.workers.batch_world import Everybody, Killed, Unhurrying, costs
from tests.workers.world import Page
from workers.batcher import GATHERED_FOR, LOOKED_FOR_AFTER

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

DYING = """
import asyncio, os, signal, sys
from datetime import datetime
from uuid_utils.compat import uuid7
from adapters.claude_batches import ClaudeBatches
from adapters.model_prices import ModelPrices
from adapters.model_tracing import ModelTracing
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
        accounts = BatchAccounts(inquiries=batches, records=ledger, prices=prices, answers=answers, now=now,
                                 tracing=ModelTracing())
        await Batcher(providers=[ClaudeBatches("key", "claude-haiku-4-5", server)], batches=batches, ledger=ledger,
                      accounts=accounts, leases=PostgresLeases(pool), holder="dying", now=now).step()

asyncio.run(run())
"""


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
