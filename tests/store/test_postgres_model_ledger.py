"""The ledger of model calls: nobody spends more than the budget, nothing is counted twice or forgotten, and a stop is told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.model_prices import ModelPrices
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_pool import Pool, open_pool
from commands.asking import Inquiry, PlannedCall, Reply
from commands.event_store import ErasePerson
from domain.budget import BudgetExhausted, Budgets, budget_stream, dollars, ends_at, micros_of
from domain.event import Metadata, NewEvents
from domain.model_call import CallOutcome, ModelCalled, OnBehalf, Task, TokenUsage
from domain.operation import INSTALLATION
from domain.user import UserErased
from tests.patient_ledger import PatientLedger

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TODAY = NOON.date()
HAIKU, PRICES = "claude-haiku-4-5", ModelPrices()
USED = TokenUsage(input_tokens=10_000, output_tokens=200)
COST = 11_000
"""Of `USED` at 1 and 5 USD for a million tokens."""


def planned(
    owner_id: UUID,
    at: datetime = NOON,
    *,
    content: str = "what a page says",
    evaluation_id: UUID | None = None,
    model: str = HAIKU,
) -> PlannedCall:
    return PlannedCall(
        id=uuid7(),
        inquiry=Inquiry(
            task=Task.EXTRACT, instructions="Read.", content=content, schema={"type": "object"}, output_tokens_max=500
        ),
        provider="claude",
        model=model,
        on_behalf=OnBehalf(owner_id=owner_id, evaluation_id=evaluation_id),
        started_at=at,
    )


def ledger(pool: Pool, *, person: int | None = None, installation: int | None = None) -> PostgresModelLedger:
    budgets = Budgets(person_day_micros=person, installation_day_micros=installation)
    return PatientLedger(pool, PostgresEventStore(pool, new_id=uuid7), PRICES, budgets, now=lambda: NOON)


def most(call: PlannedCall) -> int:
    length = len(call.inquiry.instructions) + len(call.inquiry.content) + len('{"type":"object"}')
    return PRICES.most_micros(call.provider, call.model, length, 500, at=call.started_at)


def ok(usage: TokenUsage = USED, outcome: CallOutcome = CallOutcome.OK) -> Reply:
    return Reply(outcome=outcome, usage=usage, model=HAIKU)


async def spent(pool: Pool, scope: UUID, day: date = TODAY) -> int:
    async with pool.connection() as connection:
        query = "select spent_micros from model_spending where scope = %s and day = %s"
        row = await (await connection.execute(query, (scope, day))).fetchone()
    return 0 if row is None else int(row[0])


async def open_calls(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute("select count(*) from model_call_open")).fetchone()
    assert row is not None
    return int(row[0])


async def stops(pool: Pool) -> list[BudgetExhausted]:
    store = PostgresEventStore(pool, new_id=uuid7)
    async with pool.connection() as connection:
        query = "select stream_id from event where type = 'budget.exhausted' order by seq"
        rows = await (await connection.execute(query)).fetchall()
    found = [stored.event for row in rows for stored in await store.load(row[0])]
    return [event for event in found if isinstance(event, BudgetExhausted)]


async def calls(pool: Pool) -> list[ModelCalled]:
    store = PostgresEventStore(pool, new_id=uuid7)
    async with pool.connection() as connection:
        rows = await (await connection.execute("select stream_id from event where type = 'model.called'")).fetchall()
    found = [stored.event for row in rows for stored in await store.load(row[0])]
    return [event for event in found if isinstance(event, ModelCalled)]


async def erase(pool: Pool, person_id: UUID) -> None:
    gone = NewEvents(stream_id=person_id, owner_id=person_id, expected_version=0, events=(UserErased(erased_at=NOON),))
    store = PostgresEventStore(pool, new_id=uuid7)
    await store.append(
        [gone], metadata=Metadata(correlation_id=uuid7(), actor="t"), companions=[ErasePerson(person_id)]
    )


@pytest.fixture
async def another_pool(application_database: str) -> AsyncIterator[Pool]:
    async with open_pool(application_database, size_max=4) as opened:
        yield opened


async def test_of_a_hundred_calls_at_once_exactly_those_are_admitted_that_the_budget_fits(
    application_pool: Pool,
) -> None:
    ada = uuid7()
    each = most(planned(ada))
    made = ledger(application_pool, person=40 * each)
    refused = await asyncio.gather(*(made.admit(planned(ada)) for _ in range(100)))
    assert refused.count(None) == 40
    assert await open_calls(application_pool) == 40
    budget = f"your AI budget of {dollars(40 * each)} for today"
    assert {why for why in refused if why is not None} == {
        f"what is left of {budget} is set aside for calls under way until they have ended"
    }


async def test_what_was_set_aside_for_a_call_that_has_ended_is_there_for_the_next_one(application_pool: Pool) -> None:
    """The sums follow the records: who asks once more, as with a prompt whose plan is to be mended, must not be faster."""
    ada, used, count = uuid7(), TokenUsage(input_tokens=50, output_tokens=5), 20
    cost = PRICES.cost_micros("claude", HAIKU, used, at=NOON)
    limit = most(planned(ada)) + count * cost
    assert limit < 2 * most(planned(ada)), "two do not fit at once"
    store = PostgresEventStore(application_pool, new_id=uuid7)
    made = PostgresModelLedger(application_pool, store, PRICES, Budgets(person_day_micros=limit), now=lambda: NOON)
    for _ in range(count):
        call = planned(ada)
        assert await made.admit(call) is None
        await made.record(call, ok(used), duration_ms=1)
    await made.settled()


async def test_two_processes_at_once_do_not_spend_the_same_money(application_pool: Pool, another_pool: Pool) -> None:
    people = [uuid7() for _ in range(10)]
    each = most(planned(people[0]))
    one, other = (ledger(pool, installation=40 * each) for pool in (application_pool, another_pool))
    refused = await asyncio.gather(
        *(made.admit(planned(person)) for _ in range(10) for person in people for made in (one, other))
    )
    assert refused.count(None) == await open_calls(application_pool) == 40


async def test_within_a_group_calls_are_decided_in_their_order_and_a_smaller_one_may_still_fit(
    application_pool: Pool,
) -> None:
    ada = uuid7()
    large, small = planned(ada, content="x" * 30_000), planned(ada)
    made = ledger(application_pool, person=most(large) + most(small))
    outcomes = await asyncio.gather(*(made.admit(call) for call in (large, planned(ada, content="y" * 30_000), small)))
    assert [outcome is None for outcome in outcomes] == [True, False, True]


async def test_one_persons_budget_is_not_anothers(application_pool: Pool) -> None:
    ada, ben = uuid7(), uuid7()
    made = ledger(application_pool, person=most(planned(ada)), installation=100 * most(planned(ada)))
    assert await made.admit(planned(ada)) is None
    assert await made.admit(planned(ada)) is not None
    assert await made.admit(planned(ben)) is None


async def test_without_limits_everything_is_admitted_and_accounted_for(application_pool: Pool) -> None:
    ada = uuid7()
    made, call = ledger(application_pool), planned(ada)
    assert await made.admit(call) is None
    assert await open_calls(application_pool) == 1
    await made.record(call, ok(), duration_ms=5)
    assert await open_calls(application_pool) == 0
    assert await spent(application_pool, ada) == await spent(application_pool, INSTALLATION) == COST


async def test_a_budget_of_nothing_admits_what_costs_nothing(application_pool: Pool) -> None:
    free = ModelPrices({"mine": (Decimal(0), Decimal(0))})
    store = PostgresEventStore(application_pool, new_id=uuid7)
    made = PatientLedger(
        application_pool, store, free, Budgets(person_day_micros=0, installation_day_micros=0), now=lambda: NOON
    )
    assert await made.admit(planned(uuid7(), model="mine")) is None
    assert await made.admit(planned(uuid7())) is not None


async def test_calls_cost_what_they_used_and_are_told_by_an_event(application_pool: Pool) -> None:
    ada, evaluation_id = uuid7(), uuid7()
    made, call = ledger(application_pool, person=10**6), planned(ada, evaluation_id=evaluation_id)
    assert await made.admit(call) is None
    called = await made.record(call, ok(), duration_ms=321)
    [stored] = await PostgresEventStore(application_pool, new_id=uuid7).load(call.id)
    assert (
        stored.event
        == called
        == ModelCalled(
            task=Task.EXTRACT,
            provider="claude",
            model=HAIKU,
            outcome=CallOutcome.OK,
            usage=USED,
            cost_micros=COST,
            prices=PRICES.version,
            evaluation_id=evaluation_id,
            started_at=NOON,
            duration_ms=321,
        )
    )
    assert stored.owner_id == ada
    assert stored.metadata == Metadata(correlation_id=evaluation_id, actor="ai")


usages = st.builds(
    TokenUsage,
    input_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**5),
    cache_read_tokens=st.integers(0, 10**5),
    searches=st.integers(0, 5),
)


@given(replies=st.lists(st.tuples(st.sampled_from(list(CallOutcome)), usages), min_size=1, max_size=12))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_sums_are_the_usage_times_the_price_whatever_came_of_the_calls(
    application_pool: Pool, replies: list[tuple[CallOutcome, TokenUsage]]
) -> None:
    ada = uuid7()
    made = ledger(application_pool)
    before = await spent(application_pool, INSTALLATION)
    planned_calls = [planned(ada) for _ in replies]
    await asyncio.gather(*(made.admit(call) for call in planned_calls))
    recorded = await asyncio.gather(
        *(
            made.record(call, ok(usage, outcome), duration_ms=1)
            for call, (outcome, usage) in zip(planned_calls, replies, strict=True)
        )
    )
    told = sum(
        most(planned_calls[0])
        if outcome is CallOutcome.TIMEOUT and usage == TokenUsage()
        else PRICES.cost_micros("claude", HAIKU, usage, at=NOON)
        for outcome, usage in replies
    )
    assert sum(called.cost_micros for called in recorded) == told
    assert await spent(application_pool, ada) == told
    assert await spent(application_pool, INSTALLATION) - before == told


async def test_what_nobody_heard_the_end_of_counts_as_the_most_it_can_have_cost(application_pool: Pool) -> None:
    ada = uuid7()
    made, call = ledger(application_pool), planned(ada)
    await made.admit(call)
    called = await made.record(call, Reply(outcome=CallOutcome.TIMEOUT), duration_ms=30_000)
    assert (called.is_estimated, called.cost_micros) == (True, most(call))
    assert await spent(application_pool, ada) == most(call)


async def test_an_answer_that_was_made_and_never_came_counts_as_the_most_it_can_have_cost(
    application_pool: Pool,
) -> None:
    made = ledger(application_pool)
    replies = {
        "broken off": Reply(outcome=CallOutcome.OVERLOADED, is_unheard=True),
        "not reached": Reply(outcome=CallOutcome.OVERLOADED),
        "told after all": Reply(outcome=CallOutcome.OVERLOADED, is_unheard=True, usage=USED),
    }
    ada, told = uuid7(), dict[str, tuple[bool, int]]()
    most_micros = most(planned(ada))
    for name, reply in replies.items():
        call = planned(ada)
        await made.admit(call)
        called = await made.record(call, reply, duration_ms=1)
        told[name] = (called.is_estimated, called.cost_micros)
    assert told == {"broken off": (True, most_micros), "not reached": (False, 0), "told after all": (False, COST)}
    assert await spent(application_pool, ada) == most_micros + COST


async def test_a_call_is_recorded_once_however_often_that_is_tried(application_pool: Pool) -> None:
    ada = uuid7()
    made, call = ledger(application_pool), planned(ada)
    await made.admit(call)
    first, second = await asyncio.gather(
        made.record(call, ok(), duration_ms=1), made.record(call, Reply(outcome=CallOutcome.TIMEOUT), duration_ms=2)
    )
    assert first == second == (await calls(application_pool))[0]
    assert await spent(application_pool, ada) == first.cost_micros


async def test_a_call_that_is_settled_twice_at_the_same_moment_costs_once(application_pool: Pool) -> None:
    ada = uuid7()
    made, call = ledger(application_pool), planned(ada)
    await made.admit(call)
    await asyncio.gather(*(made._settled.ask((call.id, COST)) for _ in range(2)))
    assert await spent(application_pool, ada) == COST


async def test_what_a_provider_says_of_itself_is_stored_whatever_it_is(application_pool: Pool) -> None:
    ada = uuid7()
    made, call = ledger(application_pool), planned(ada)
    await made.admit(call)
    odd = TokenUsage(input_tokens=-5, output_tokens=10**30, cache_read_tokens=7)
    reply = Reply(outcome=CallOutcome.OK, usage=odd, model="a\x00b\ud800\n" + "c" * 1000, message="\x00")
    called = await made.record(call, reply, duration_ms=1)
    assert called.usage == TokenUsage(input_tokens=7, output_tokens=10**9, cache_read_tokens=7)
    assert called.model == "ab " + "c" * 196 + "…"
    assert await calls(application_pool) == [called]
    assert await spent(application_pool, ada) == called.cost_micros


async def test_a_model_that_is_not_named_is_the_one_that_was_asked_for(application_pool: Pool) -> None:
    made, call = ledger(application_pool), planned(uuid7())
    await made.admit(call)
    called = await made.record(call, Reply(outcome=CallOutcome.OVERLOADED), duration_ms=1)
    assert (called.model, called.cost_micros, called.is_estimated) == (HAIKU, 0, False)


async def test_when_the_money_is_spent_that_is_told_once_a_day(application_pool: Pool, another_pool: Pool) -> None:
    ada = uuid7()
    limit = COST + most(planned(ada)) - 1
    made, elsewhere = (ledger(pool, person=limit) for pool in (application_pool, another_pool))
    call = planned(ada)
    await made.admit(call)
    await made.record(call, ok(), duration_ms=1)
    for again in [made, elsewhere] * 2:
        assert await again.admit(planned(ada)) == (
            f"of your AI budget of {dollars(limit)} for today {dollars(limit - COST)} is left, and this call may cost"
            f" {dollars(most(planned(ada)))}; the next budget begins at midnight UTC"
        )
    assert await stops(application_pool) == [
        BudgetExhausted(scope=ada, day=TODAY, limit_micros=limit, spent_micros=COST, exhausted_at=NOON)
    ]
    [stored] = await PostgresEventStore(application_pool, new_id=uuid7).load(budget_stream(ada, TODAY))
    assert stored.owner_id == ada
    assert stored.metadata.correlation_id == stored.stream_id


async def test_a_call_that_may_cost_more_than_is_left_is_refused_and_a_smaller_one_is_made(
    application_pool: Pool,
) -> None:
    ada = uuid7()
    small, large = planned(ada), planned(ada, content="x" * 30_000)
    made = ledger(application_pool, installation=COST + most(small))
    await made.admit(small)
    await made.record(small, ok(), duration_ms=1)
    why = str(await made.admit(large))
    assert f"{dollars(most(small))} is left, and this call may cost {dollars(most(large))};" in why
    assert await made.admit(planned(ada)) is None, "the money is not spent"


async def test_calls_under_way_alone_are_no_alarm(application_pool: Pool) -> None:
    ada = uuid7()
    made, call = ledger(application_pool, person=most(planned(ada))), planned(ada)
    assert await made.admit(call) is None
    assert "set aside for calls under way" in str(await made.admit(planned(ada)))
    assert await stops(application_pool) == []
    await made.record(call, ok(TokenUsage()), duration_ms=1)
    assert await made.admit(planned(ada)) is None


async def test_the_installations_budget_stops_everybody_and_is_told_as_its_own(application_pool: Pool) -> None:
    ada, ben = uuid7(), uuid7()
    made, call = ledger(application_pool, installation=COST), planned(ada)
    await made.admit(call)
    await made.record(call, ok(), duration_ms=1)
    assert await made.admit(planned(ben)) == (
        "of this installation's AI budget of 0.011 USD for today nothing is left, and this call may cost"
        f" {dollars(most(planned(ben)))}; the next budget begins at midnight UTC"
    )
    assert [(stop.scope, stop.spent_micros) for stop in await stops(application_pool)] == [(INSTALLATION, COST)]


async def test_what_the_installation_asks_itself_counts_against_its_own_budget_alone(application_pool: Pool) -> None:
    made, check = ledger(application_pool, person=0, installation=10**6), planned(INSTALLATION)
    assert await made.admit(check) is None
    await made.record(check, ok(), duration_ms=1)
    assert await spent(application_pool, INSTALLATION) == COST


async def test_at_midnight_utc_another_budget_begins(application_pool: Pool) -> None:
    ada = uuid7()
    last = datetime(2026, 11, 2, 0, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=1)))
    midnight = last + timedelta(microseconds=1)
    made, call = ledger(application_pool, person=COST), planned(ada, last)
    assert await made.admit(call) is None
    await made.record(call, ok(), duration_ms=1)
    assert await made.admit(planned(ada, last)) is not None
    assert await made.admit(planned(ada, midnight)) is None
    assert [stop.day for stop in await stops(application_pool)] == [date(2026, 11, 1)]
    assert ends_at(date(2026, 11, 1)) == midnight


async def test_a_call_that_ends_after_midnight_is_paid_from_the_day_it_began_on(application_pool: Pool) -> None:
    call = planned(uuid7(), datetime(2026, 11, 1, 23, 59, 50, tzinfo=UTC))
    made = ledger(application_pool, person=10**6)
    await made.admit(call)
    await made.record(call, ok(), duration_ms=20_000)
    assert await spent(application_pool, call.on_behalf.owner_id, date(2026, 11, 1)) == COST


async def test_of_an_erased_person_nothing_is_kept_and_the_installation_still_pays(application_pool: Pool) -> None:
    ada = uuid7()
    made = ledger(application_pool, person=10**6)
    before, during = planned(ada), planned(ada)
    await made.admit(before)
    await made.record(before, ok(), duration_ms=1)
    await made.admit(during)
    await erase(application_pool, ada)
    assert await spent(application_pool, ada) == 0
    async with application_pool.connection() as connection:
        rows = await (await connection.execute("select owner_id from model_call_open")).fetchall()
    assert rows == [(INSTALLATION,)]
    after = planned(ada)
    await made.admit(after)
    for call in (during, after):
        await made.record(call, ok(), duration_ms=1)
    assert len(await calls(application_pool)) == 1
    assert await open_calls(application_pool) == 0
    assert await spent(application_pool, ada) == 0
    assert await spent(application_pool, INSTALLATION) == 3 * COST


def test_money_is_written_as_people_write_it() -> None:
    shown = {500_000: "0.50 USD", 0: "0.00 USD", 5_000_000: "5.00 USD", 1: "0.000001 USD", 12_345_000: "12.345 USD"}
    assert {micros: dollars(micros) for micros in shown} == shown


def test_dollars_are_rounded_up_to_millionths_and_cannot_be_less_than_none() -> None:
    assert [micros_of(Decimal(text)) for text in ("0.50", "0.0000001", "0")] == [500_000, 1, 0]
    for wrong in ("-1", "NaN", "Infinity"):
        with pytest.raises(ValueError, match="an amount of money"):
            micros_of(Decimal(wrong))
