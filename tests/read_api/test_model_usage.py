"""GET /api/v1/ai: usage, calls and budget, of one's own alone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from domain.budget import BudgetExhausted, budget_stream
from domain.evaluation import Verdict
from domain.model_call import CallOutcome, ModelCalled, Task, TokenUsage
from domain.monitor import State
from tests.conftest import AT
from tests.read_api.conftest import BUDGETS, Reader
from tests.read_api.world import World, completed, minutes

As = Callable[[UUID], Reader]

USED = TokenUsage(input_tokens=1_000, output_tokens=100, cache_read_tokens=400)


async def call(
    world: World,
    owner_id: UUID,
    at: datetime = AT,
    *,
    provider: str = "claude",
    outcome: CallOutcome = CallOutcome.OK,
    cost_micros: int = 1_500,
    monitor_id: UUID | None = None,
    evaluation_id: UUID | None = None,
) -> str:
    call_id = uuid7()
    called = ModelCalled(
        task=Task.EXTRACT,
        provider=provider,
        model="claude-haiku-4-5",
        outcome=outcome,
        usage=USED,
        cost_micros=cost_micros,
        prices="genai-prices 0.2.3",
        monitor_id=monitor_id,
        evaluation_id=evaluation_id,
        started_at=at,
        duration_ms=812,
    )
    await world.append(owner_id, call_id, called)
    return str(call_id)


async def saved(world: World, owner_id: UUID, monitor_id: UUID, at: datetime, micros: int) -> None:
    outcome = completed(monitor_id, at, verdict=Verdict.NOT_MET, before=State.INACTIVE, after=State.INACTIVE)
    await world.append(owner_id, uuid7(), msgspec.structs.replace(outcome, provider="claude", saved_micros=micros))


async def test_usage_is_added_up_with_how_calls_ended_and_what_was_saved(world: World, reader: As) -> None:
    ada, ben = await world.person("Ada"), await world.person("Ben")
    kettle = await world.monitor(ada)
    await call(world, ada, minutes(1), monitor_id=kettle)
    await call(world, ada, minutes(2), outcome=CallOutcome.MALFORMED, cost_micros=700)
    await call(world, ada, minutes(3), outcome=CallOutcome.MALFORMED, cost_micros=300)
    await call(world, ben, minutes(3))
    await saved(world, ada, kettle, minutes(4), 9_000)
    await world.project()
    assert await reader(ada).data("/ai/usage") == {
        "from": "2025-12-03T00:00:00Z",
        "to": "2026-01-01T12:00:00Z",
        "currency": "USD",
        "calls": 3,
        "outcomes": {"ok": 1, "malformed": 2},
        "input_tokens": 3_000,
        "output_tokens": 300,
        "cache_read_tokens": 1_200,
        "cache_write_tokens": 0,
        "searches": 0,
        "cost_micros": 2_500,
        "saved_micros": 9_000,
        "groups": [],
        "groups_left_out": 0,
    }


async def test_usage_is_grouped_by_day_of_utc_by_monitor_and_by_provider(world: World, reader: As) -> None:
    ada = await world.person()
    kettle, toaster = await world.monitor(ada), await world.monitor(ada, "Toaster")
    night = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    await call(world, ada, night, monitor_id=kettle, cost_micros=5)
    await call(world, ada, AT, monitor_id=toaster, cost_micros=7, provider="openai")
    await call(world, ada, AT, cost_micros=1, provider="openai")
    await saved(world, ada, kettle, minutes(1), 3)
    await world.project()

    async def groups(by: str) -> list[tuple[str | None, int, int, int]]:
        found = (await reader(ada).data("/ai/usage", group=by))["groups"]
        return [(one["key"], one["calls"], one["cost_micros"], one["saved_micros"]) for one in found]

    assert await groups("day") == [("2026-01-01", 2, 8, 3), ("2025-12-31", 1, 5, 0)]
    assert await groups("monitor") == [(str(toaster), 1, 7, 0), (str(kettle), 1, 5, 3), (None, 1, 1, 0)]
    assert await groups("provider") == [("openai", 2, 8, 0), ("claude", 1, 5, 3)]
    assert await reader(ada).refused_field("/ai/usage", group="colour") == "group"


async def test_usage_is_that_of_the_time_asked_for(world: World, reader: As) -> None:
    ada = await world.person()
    for minute in range(4):
        await call(world, ada, minutes(minute), cost_micros=10**minute)
    await world.project()
    found = await reader(ada).data("/ai/usage", from_=minutes(1).isoformat(), to=minutes(3).isoformat())
    assert found["cost_micros"] == 110
    refused = reader(ada).refused_field
    assert await refused("/ai/usage", from_=minutes(3).isoformat(), to=minutes(1).isoformat()) == "from"
    assert await refused("/ai/usage", from_=(AT - timedelta(days=400)).isoformat()) == "from"
    assert await refused("/ai/usage", from_="2026-01-01T00:00:00") == "from"
    assert await refused("/ai/usage", owner_id=str(ada)) == "owner_id"


async def test_more_groups_than_are_shown_are_counted(world: World, reader: As, pool: Pool) -> None:
    ada = await world.person()
    await world.project()
    async with pool.connection() as connection:
        await connection.execute(
            """
            insert into model_calls (id, owner_id, monitor_id, task, provider, model, outcome, input_tokens, output_tokens,
                                     cache_read_tokens, cache_write_tokens, searches, cost_micros, prices, is_estimated,
                                     started_at, duration_ms)
            select gen_random_uuid(), %s, gen_random_uuid(), 'extract', 'claude', 'm', 'ok', 1, 1, 0, 0, 0, n, 'p', false, %s, 1
            from generate_series(1, 1002) as n
            """,
            (ada, AT),
        )
    found = await reader(ada).data("/ai/usage", group="monitor")
    assert (len(found["groups"]), found["groups_left_out"], found["calls"]) == (1000, 2, 1002)
    assert (found["groups"][0]["cost_micros"], found["groups"][-1]["cost_micros"]) == (1002, 3)


async def test_calls_are_listed_newest_first_page_by_page(world: World, reader: As) -> None:
    ada, ben = await world.person("Ada"), await world.person("Ben")
    made = [await call(world, ada, minutes(n // 2)) for n in range(5)]
    await call(world, ben)
    await world.project()
    first = await reader(ada).get("/ai/calls", limit=2)
    rest = await reader(ada).get("/ai/calls", cursor=first["pagination"]["next_cursor"])
    listed = [one["id"] for one in [*first["data"], *rest["data"]]]
    assert listed == sorted(made, reverse=True)
    assert not rest["pagination"]["has_more"]
    assert await reader(ada).refused_field("/ai/calls", cursor="abc") == "cursor"


async def test_a_call_is_told_whole(world: World, reader: As) -> None:
    ada = await world.person()
    kettle, evaluation = await world.monitor(ada), uuid7()
    made = await call(world, ada, monitor_id=kettle, evaluation_id=evaluation)
    await world.project()
    assert await reader(ada).data("/ai/calls") == [
        {
            "id": made,
            "monitor_id": str(kettle),
            "evaluation_id": str(evaluation),
            "task": "extract",
            "provider": "claude",
            "model": "claude-haiku-4-5",
            "outcome": "ok",
            "usage": {
                "input_tokens": 1_000,
                "output_tokens": 100,
                "cache_read_tokens": 400,
                "cache_write_tokens": 0,
                "searches": 0,
            },
            "cost_micros": 1_500,
            "is_estimated": False,
            "prices": "genai-prices 0.2.3",
            "message": None,
            "started_at": "2026-01-01T00:00:00Z",
            "duration_ms": 812,
        }
    ]


async def test_calls_are_filtered_by_monitor_evaluation_and_outcome(world: World, reader: As) -> None:
    ada, ben = await world.person("Ada"), await world.person("Ben")
    kettle, toaster, one, other = await world.monitor(ada), await world.monitor(ada), uuid7(), uuid7()
    a = await call(world, ada, minutes(1), monitor_id=kettle, evaluation_id=one)
    b = await call(world, ada, minutes(2), monitor_id=kettle, evaluation_id=other, outcome=CallOutcome.REFUSED)
    c = await call(world, ada, minutes(3), monitor_id=toaster)
    await world.project()
    mine = reader(ada).ids
    assert await mine("/ai/calls", monitor_id=kettle) == [b, a]
    assert await mine("/ai/calls", evaluation_id=one) == [a]
    assert await mine("/ai/calls", evaluation_id=one, monitor_id=toaster) == []
    assert await mine("/ai/calls", evaluation_id=one, monitor_id=kettle) == [a]
    assert await mine("/ai/calls", outcome="refused") == [b]
    assert await mine("/ai/calls", monitor_id=kettle, outcome="ok") == [a]
    assert await mine("/ai/calls") == [c, b, a]
    assert await reader(ben).ids("/ai/calls", monitor_id=kettle) == []
    assert await reader(ben).ids("/ai/calls", evaluation_id=one) == []
    assert await reader(ada).refused_field("/ai/calls", outcome="fine") == "outcome"


async def money(pool: Pool, owner_id: UUID, *, spent: int, set_aside: int) -> None:
    async with pool.connection() as connection:
        await connection.execute("insert into model_spending values (%s, %s, %s)", (owner_id, AT.date(), spent))
        row = {"id": str(uuid7()), "owner_id": str(owner_id), "day": str(AT.date()), "task": "extract"}
        row |= {"provider": "p", "model": "m", "set_aside_micros": set_aside, "started_at": AT.isoformat()}  # type: ignore[dict-item]  # JSON
        await connection.execute(
            "insert into model_call_open select * from jsonb_populate_record(null::model_call_open, %s)", (Jsonb(row),)
        )


async def test_a_budget_is_told_with_what_is_spent_and_set_aside_of_it(world: World, reader: As, pool: Pool) -> None:
    ada, ben = await world.person("Ada"), await world.person("Ben")
    await money(pool, ada, spent=120_000, set_aside=30_000)
    expected = {
        "limit_micros": 500_000,
        "spent_micros": 120_000,
        "set_aside_micros": 30_000,
        "currency": "USD",
        "resets_at": "2026-01-02T00:00:00Z",
        "exhausted": False,
    }
    assert await reader(ada).data("/ai/budget") == expected
    assert await reader(ben).data("/ai/budget") == expected | {"spent_micros": 0, "set_aside_micros": 0}


async def test_a_budget_is_exhausted_from_the_first_call_that_did_not_fit(world: World, reader: As, pool: Pool) -> None:
    ada, ben, eve = [await world.person(name) for name in ("Ada", "Ben", "Eve")]
    await money(pool, ada, spent=500_000, set_aside=0)
    for person, limit in ((ben, BUDGETS.person_day_micros or 0), (eve, 1)):
        stop = BudgetExhausted(scope=person, day=AT.date(), limit_micros=limit, spent_micros=9, exhausted_at=AT)
        await world.append(person, budget_stream(person, AT.date()), stop)
    told = [(await reader(person).data("/ai/budget"))["exhausted"] for person in (ada, ben, eve)]
    assert told == [True, True, False], "Eve's limit was raised since"
