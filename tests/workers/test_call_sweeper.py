"""The call sweeper: whatever the moment at which a process died, each call is counted once."""

import asyncio
import signal
import subprocess
import sys
from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.model_prices import ModelPrices
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_model_ledger import PostgresModelLedger
from commands.asking import Inquiry, PlannedCall, Reply
from commands.event_store import ErasePerson
from domain.budget import Budgets
from domain.model_call import CallOutcome, ModelCalled, OnBehalf, Task, TokenUsage
from domain.operation import INSTALLATION
from domain.user import UserErased
from tests.conftest import AT, as_application
from tests.patient_ledger import PatientLedger
from tests.workers.world import Clock, RestlessStop, World
from workers.call_sweeper import BATCH_CALLS_MAX, LEFT_AFTER, MESSAGE, REST_SECONDS, CallSweeper

PRICES = ModelPrices()
REPLY = Reply(outcome=CallOutcome.OK, usage=TokenUsage(input_tokens=10_000, output_tokens=200))
COST = 11_000


@pytest.fixture
def ledger(world: World, clock: Clock) -> PostgresModelLedger:
    return PatientLedger(world.pool, world.store, PRICES, Budgets(person_day_micros=10**9), now=clock)


def sweeper(world: World, ledger: PostgresModelLedger, holder: str = "one") -> CallSweeper:
    return CallSweeper(ledger, PostgresLeases(world.pool), prices=PRICES.version, holder=holder, now=world.clock)


def planned(world: World, owner_id: UUID, evaluation_id: UUID | None = None) -> PlannedCall:
    return PlannedCall(
        id=uuid7(),
        inquiry=Inquiry(task=Task.EXTRACT, instructions="Read.", content="a page", schema={}, output_tokens_max=500),
        provider="claude",
        model="claude-haiku-4-5",
        on_behalf=OnBehalf(owner_id=owner_id, evaluation_id=evaluation_id),
        started_at=world.clock(),
    )


async def sums(world: World, *scopes: UUID) -> list[int]:
    query = "select coalesce(sum(spent_micros), 0)::bigint from model_spending where scope = %s"
    return [int(str(await world.value(query, scope))) for scope in scopes]


async def left(world: World) -> int:
    return int(str(await world.value("select count(*) from model_call_open")))


async def set_aside(world: World, call: PlannedCall) -> int:
    return int(str(await world.value("select set_aside_micros from model_call_open where id = %s", call.id)))


async def test_a_call_whose_caller_died_counts_as_the_most_it_can_have_cost(
    world: World, clock: Clock, ledger: PostgresModelLedger
) -> None:
    ada, evaluation_id = uuid7(), uuid7()
    call = planned(world, ada, evaluation_id)
    await ledger.admit(call)
    most = await set_aside(world, call)
    clock.move(LEFT_AFTER.total_seconds() + 1)
    assert await sweeper(world, ledger).step() == REST_SECONDS
    assert await world.events(call.id, ModelCalled) == [
        ModelCalled(
            task=Task.EXTRACT,
            provider="claude",
            model="claude-haiku-4-5",
            outcome=CallOutcome.TIMEOUT,
            usage=TokenUsage(),
            cost_micros=most,
            prices=PRICES.version,
            is_estimated=True,
            evaluation_id=evaluation_id,
            message=MESSAGE,
            started_at=AT,
            duration_ms=121_000,
        )
    ]
    assert await left(world) == 0
    assert await sums(world, ada, INSTALLATION) == [most, most]


async def test_a_call_that_was_written_down_and_not_added_up_is_added_up_with_what_it_cost(
    world: World, clock: Clock, ledger: PostgresModelLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = uuid7()
    call = planned(world, ada)
    await ledger.admit(call)

    async def die(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(ledger._settled, "ask", die)
    await ledger.record(call, REPLY, duration_ms=1)
    monkeypatch.undo()
    assert (await sums(world, ada), await left(world)) == ([0], 1)
    clock.move(LEFT_AFTER.total_seconds() + 1)
    await sweeper(world, ledger).step()
    assert (await sums(world, ada, INSTALLATION), await left(world)) == ([COST, COST], 0)
    assert [called.outcome for called in await world.all(ModelCalled)] == [CallOutcome.OK]


async def test_a_call_under_way_is_left_alone(world: World, clock: Clock, ledger: PostgresModelLedger) -> None:
    ada = uuid7()
    call = planned(world, ada)
    await ledger.admit(call)
    clock.move(LEFT_AFTER.total_seconds())
    await sweeper(world, ledger).step()
    assert (await left(world), await world.all(ModelCalled)) == (1, [])


async def test_who_comes_back_late_changes_nothing_any_more(
    world: World, clock: Clock, ledger: PostgresModelLedger
) -> None:
    ada = uuid7()
    call = planned(world, ada)
    await ledger.admit(call)
    most = await set_aside(world, call)
    clock.move(LEFT_AFTER.total_seconds() + 1)
    await sweeper(world, ledger).step()
    called = await ledger.record(call, REPLY, duration_ms=1)
    assert [called] == await world.events(call.id, ModelCalled)
    assert (called.is_estimated, called.cost_micros) == (True, most)
    assert await sums(world, ada) == [most]


async def test_two_that_sweep_at_once_while_callers_come_back_count_each_call_once(
    world: World, clock: Clock, ledger: PostgresModelLedger
) -> None:
    ada = uuid7()
    calls = [planned(world, ada) for _ in range(30)]
    await asyncio.gather(*(ledger.admit(call) for call in calls))
    clock.move(LEFT_AFTER.total_seconds() + 1)
    other = PatientLedger(world.pool, world.store, PRICES, Budgets(), now=clock)
    found = await ledger.left_behind(before=clock() - LEFT_AFTER, limit=100)
    sweepers = [sweeper(world, one) for one in (ledger, other)]
    await asyncio.gather(
        *(one._finish(found) for one in sweepers),
        *(ledger.record(call, REPLY, duration_ms=1) for call in calls[::3]),
    )
    kept = await world.all(ModelCalled)
    assert len(kept) == len(calls)
    assert await sums(world, ada, INSTALLATION) == [sum(called.cost_micros for called in kept)] * 2
    assert await left(world) == 0


async def test_only_who_has_the_lease_sweeps(world: World, clock: Clock, ledger: PostgresModelLedger) -> None:
    one, other = sweeper(world, ledger), sweeper(world, ledger, "two")
    await one.step()
    await ledger.admit(planned(world, uuid7()))
    clock.move(LEFT_AFTER.total_seconds() + 1)
    await other.step()
    assert await left(world) == 1
    await one.run(RestlessStop(1))
    assert await left(world) == 0
    await ledger.admit(planned(world, uuid7()))
    clock.move(LEFT_AFTER.total_seconds() + 1)
    await other.step()
    assert await left(world) == 0


async def test_more_than_a_batch_is_swept_without_a_rest(
    world: World, clock: Clock, ledger: PostgresModelLedger
) -> None:
    ada = uuid7()
    await asyncio.gather(*(ledger.admit(planned(world, ada)) for _ in range(BATCH_CALLS_MAX + 1)))
    clock.move(LEFT_AFTER.total_seconds() + 1)
    sweeps = sweeper(world, ledger)
    assert [await sweeps.step(), await left(world)] == [0.0, 1]
    assert [await sweeps.step(), await left(world)] == [REST_SECONDS, 0]


async def test_of_an_erased_person_a_call_that_was_left_behind_is_paid_by_the_installation(
    world: World, clock: Clock, ledger: PostgresModelLedger
) -> None:
    ada = await world.person()
    await ledger.admit(planned(world, ada))
    await world.append(ada, ada, UserErased(erased_at=AT), companions=[ErasePerson(ada)])
    clock.move(LEFT_AFTER.total_seconds() + 1)
    await sweeper(world, ledger).step()
    spent = await sums(world, ada, INSTALLATION)
    [stored] = [await world.store.load(stream) for stream in await world.streams_with(ModelCalled)]
    assert stored[0].owner_id == INSTALLATION
    assert spent == [0, stored[0].event.cost_micros]  # type: ignore[attr-defined]  # a call
    assert spent[1] > 0


DYING = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from uuid import UUID
from uuid_utils.compat import uuid7
from adapters.model_prices import ModelPrices
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_model_ledger import PostgresModelLedger
from tests.patient_ledger import PatientLedger
from adapters.postgres_pool import open_pool
from commands.asking import Inquiry, PlannedCall, Reply
from domain.budget import Budgets
from domain.model_call import CallOutcome, OnBehalf, Task, TokenUsage

url, owner, when = sys.argv[1:]

async def work():
    async with open_pool(url, size_max=4) as pool:
        store = PostgresEventStore(pool, new_id=uuid7)
        now = lambda: datetime(2026, 1, 1, tzinfo=UTC)
        ledger = PatientLedger(pool, store, ModelPrices(), Budgets(person_day_micros=10**9), now=now)
        inquiry = Inquiry(task=Task.EXTRACT, instructions="Read.", content="a page", schema={}, output_tokens_max=500)
        calls = [PlannedCall(id=uuid7(), inquiry=inquiry, provider="claude", model="claude-haiku-4-5",
                             on_behalf=OnBehalf(owner_id=UUID(owner)), started_at=now()) for _ in range(5)]
        for call in calls:
            assert await ledger.admit(call) is None
        async def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "admitted":
            await die()
        ledger._settled.ask = die
        await ledger.record(calls[0], Reply(outcome=CallOutcome.OK, usage=TokenUsage(input_tokens=10_000, output_tokens=200)),
                            duration_ms=1)

asyncio.run(work())
"""


@pytest.mark.parametrize(("when", "known"), [("admitted", 0), ("written down", 1)])
async def test_a_process_that_is_killed_neither_loses_money_nor_spends_it_twice(
    world: World, clock: Clock, ledger: PostgresModelLedger, workers_database: str, when: str, known: int
) -> None:
    ada = uuid7()
    command = [sys.executable, "-c", DYING, as_application(workers_database), str(ada), when]
    killed = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert await left(world) == 5
    clock.at = AT + timedelta(hours=1)
    found = await ledger.left_behind(before=clock() - LEFT_AFTER, limit=100)
    await asyncio.gather(*(sweeper(world, ledger)._finish(found) for _ in range(2)))
    kept = await world.all(ModelCalled)
    assert [called.is_estimated for called in kept].count(False) == known
    assert len(kept) == 5
    assert await sums(world, ada, INSTALLATION) == [sum(called.cost_micros for called in kept)] * 2
    assert await left(world) == 0
