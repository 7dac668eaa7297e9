"""GET /api/v1/status: what calls that were made lately say of the providers, and no call is made for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
import redis.asyncio as redis
from litestar import Litestar, Router
from litestar.middleware import DefineMiddleware
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool
from adapters.redis_breakers import RedisBreakers
from commands.http.bearer import BearerAuthentication
from commands.http.failures import EXCEPTION_HANDLERS
from commands.http.request import BodyKeepingRequest, RequestIds
from domain.breaker import REST_SECONDS
from domain.budget import BudgetExhausted, budget_stream, day_of
from domain.event import Metadata, NewEvents
from domain.model_call import CallOutcome
from domain.operation import INSTALLATION
from read_api.status import CALLS_MAX, Statuses, StatusReads
from tests.conftest import AT
from tests.read_api.conftest import IdTokens, Reader, given, nobody_is_erased

MODELS = {"claude": "opus", "openai": "gpt"}
LIMIT = 5_000_000
WELL = {"failures": 0, "down_since": None, "because": None, "is_shared": True}
NOTHING_KNOWN = {"last_ok_at": None, "latency_ms": None, "failed_percent": None, "rests_until": None, **WELL}

_CALL = """
insert into read_model.model_calls
    (id, task, provider, model, outcome, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, searches,
     cost_micros, prices, is_estimated, started_at, duration_ms)
values (gen_random_uuid(), 'extract', %s, 'any', %s, 1, 1, 0, 0, 0, 1, 't', false, %s, %s)
"""


class Installation:
    """What an installation's status is told from. Its breakers' clock stands until it is moved."""

    def __init__(self, pool: Pool, client: redis.Redis) -> None:
        self.pool, self.seconds = pool, 0.0
        self.breakers = RedisBreakers(client, namespace="t", holder="one", monotonic=lambda: self.seconds)
        self.providers: tuple[str, ...] = ("claude", "openai", "rules")
        self.budget: int | None = LIMIT

    @property
    def statuses(self) -> Statuses:
        return Statuses(
            self.pool,
            self.breakers,
            providers=self.providers,
            models={name: model for name, model in MODELS.items() if name in self.providers},
            budget_micros=self.budget,
            version="1.2.3",
            now=lambda: AT,
        )

    async def calls(
        self, provider: str, outcome: CallOutcome, *, ms: int = 100, ago: timedelta = timedelta(), count: int = 1
    ) -> None:
        async with self.pool.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(_CALL, [(provider, outcome, AT - ago, ms)] * count)

    async def rests(self) -> None:
        for _ in range(5):
            assert await self.breakers.allows("claude", "opus")
            self.breakers.note("claude", "opus", CallOutcome.OVERLOADED)
        await self.breakers.close()

    async def spends(self, *, limit: int = LIMIT, ago: timedelta = timedelta()) -> None:
        day = day_of(AT - ago)
        event = BudgetExhausted(
            scope=INSTALLATION, day=day, limit_micros=limit, spent_micros=limit, exhausted_at=AT - ago
        )
        stream = budget_stream(INSTALLATION, day)
        new = NewEvents(stream_id=stream, owner_id=INSTALLATION, expected_version=0, events=(event,))
        store = PostgresEventStore(self.pool, new_id=uuid7)
        await store.append([new], metadata=Metadata(correlation_id=stream, actor="ai"))


@pytest.fixture
async def installation(pool: Pool, redis_url: str) -> AsyncIterator[Installation]:
    async with redis.from_url(redis_url) as client:
        made = Installation(pool, client)
        yield made
        await made.breakers.close()


async def read(installation: Installation, user_id: UUID | None = None) -> Any:  # noqa: ANN401  the parsed body
    """What a person gets who asks."""
    app = Litestar(
        route_handlers=[Router(path="/api/v1", route_handlers=[StatusReads])],
        middleware=[
            DefineMiddleware(RequestIds, new_id=uuid7),
            DefineMiddleware(BearerAuthentication, tokens=IdTokens(), is_erased=nobody_is_erased),
        ],
        dependencies={"statuses": given(installation.statuses)},
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=BodyKeepingRequest,
    )
    transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigil.test") as client:
        return await Reader(client, user_id or uuid7()).data("/status")


async def first(installation: Installation) -> Any:  # noqa: ANN401  the parsed body
    return (await read(installation))["ai"]["providers"][0]


async def test_an_installation_that_asked_nobody_yet_is_well_and_says_that_it_does_not_know(
    installation: Installation,
) -> None:
    assert await read(installation) == {
        "status": "ok",
        "version": "1.2.3",
        "ai": {
            "providers": [
                {"name": "claude", "model": "opus", "state": "unknown", **NOTHING_KNOWN},
                {"name": "openai", "model": "gpt", "state": "unknown", **NOTHING_KNOWN},
                {"name": "rules", "model": None, "state": "ok", **NOTHING_KNOWN},
            ],
            "budget": "ok",
        },
    }


async def test_with_rules_alone_it_is_well(installation: Installation) -> None:
    installation.providers = ("rules",)
    told = await read(installation)
    assert (told["status"], [each["name"] for each in told["ai"]["providers"]]) == ("ok", ["rules"])


async def test_a_provider_that_answers_has_a_latency_and_a_share_of_failures(installation: Installation) -> None:
    for ms in (200, 400, 9000):
        await installation.calls("claude", CallOutcome.OK, ms=ms, ago=timedelta(minutes=3))
    await installation.calls("claude", CallOutcome.TIMEOUT, ms=30_000)
    assert await first(installation) == {
        "name": "claude",
        "model": "opus",
        "state": "ok",
        "last_ok_at": "2025-12-31T23:57:00Z",
        "latency_ms": 400,
        "failed_percent": 25,
        "rests_until": None,
        **WELL,
    }


async def test_a_provider_that_never_answers_is_failing_though_nothing_rests(installation: Installation) -> None:
    await installation.calls("claude", CallOutcome.BAD_REQUEST, count=3)
    told = await read(installation)
    assert (told["status"], told["ai"]["providers"][0]["state"]) == ("degraded", "failing")
    assert told["ai"]["providers"][1]["state"] == "unknown"


async def test_only_the_latest_calls_of_a_day_count(installation: Installation) -> None:
    await installation.calls("claude", CallOutcome.OK, ago=timedelta(days=1, seconds=1))
    assert (await first(installation))["state"] == "unknown"
    await installation.calls("claude", CallOutcome.OK, ago=timedelta(hours=2))
    assert (await first(installation))["failed_percent"] == 0
    await installation.calls("claude", CallOutcome.OVERLOADED, ago=timedelta(hours=1), count=CALLS_MAX)
    assert (await first(installation))["state"] == "failing"


async def test_a_provider_that_rests_says_until_when_and_then_that_it_is_tried(installation: Installation) -> None:
    await installation.calls("claude", CallOutcome.OK)
    await installation.rests()
    told = await read(installation)
    claude, openai, _ = told["ai"]["providers"]
    assert (told["status"], claude["state"], openai["state"]) == ("degraded", "resting", "unknown")
    assert (claude["failures"], claude["down_since"]) == (5, "2026-01-01T00:00:00Z")
    assert (claude["rests_until"], claude["because"]) == ("2026-01-01T00:00:05Z", "overloaded")
    installation.seconds += REST_SECONDS
    tried = await first(installation)
    assert (tried["state"], tried["rests_until"], tried["because"]) == ("trying", None, "overloaded")
    assert tried["down_since"] == "2025-12-31T23:59:55Z"


async def test_a_second_provider_that_rests_leaves_the_installation_well(installation: Installation) -> None:
    installation.providers = ("openai", "claude")
    await installation.rests()
    assert (await read(installation))["status"] == "ok"


async def test_a_spent_budget_is_told_until_the_day_ends_or_the_limit_is_raised(installation: Installation) -> None:
    await installation.spends(ago=timedelta(days=1))
    assert (await read(installation))["ai"]["budget"] == "ok"
    await installation.spends()
    told = await read(installation)
    assert (told["status"], told["ai"]["budget"]) == ("degraded", "spent")
    installation.budget = LIMIT + 1
    assert (await read(installation))["ai"]["budget"] == "ok"
    installation.budget = None
    assert (await read(installation))["ai"]["budget"] == "ok"


async def test_what_is_spent_today_is_told_to_whoever_runs_it_and_to_nobody_else(
    installation: Installation, application_pool: Pool
) -> None:
    assert await installation.statuses.spent_micros() == 0
    async with application_pool.connection() as connection:
        await connection.cursor().executemany(
            "insert into model_spending (scope, day, spent_micros) values (%s, %s, %s)",
            [
                (INSTALLATION, day_of(AT), 396),
                (INSTALLATION, day_of(AT - timedelta(days=1)), 7),
                (uuid7(), day_of(AT), 5),
            ],
        )
    assert await installation.statuses.spent_micros() == 396
    assert set((await read(installation))["ai"]) == {"providers", "budget"}


async def test_everybody_sees_the_same_and_nothing_of_anybody(installation: Installation) -> None:
    await installation.calls("claude", CallOutcome.OK)
    told = await asyncio.gather(*(read(installation, uuid7()) for _ in range(2)))
    assert told[0] == told[1]
