"""One database for all tests of the workers, emptied before each: copying the template would take most of their time."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import redis.asyncio as redis
from psycopg import sql
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.network_guard import NetworkGuard
from adapters.postgres_pool import Pool, open_pool
from tests.batch_server import batch_server
from tests.conftest import as_application, database_url
from tests.reading_model import reads
from tests.workers.batch_world import Unhurrying
from tests.workers.world import Clock, Page, Ticks, World

_TABLES = (
    "lease",
    "checkpoint",
    "parked",
    "schedule",
    "evaluation_request",
    "source_memory",
    "evidence",
    "delivery_claim",
    "signal_watch",
    "signal_source",
    "model_call_open",
    "model_spending",
    "model_answer",
    "waiting_inquiry",
    "model_batch",
    "waiting_look",
    "users",
)
_LOG_BEGINS = """
update log_head set tx = '0', seq = 0, position = 0, hash = decode(repeat('00', 32), 'hex'),
                    partition_positions = array_fill(0::bigint, array[16])
"""


@pytest.fixture(scope="session")
def workers_database(postgres_url: str, template_database: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        create = sql.SQL("create database vigil_workers template {}")
        connection.execute(create.format(sql.Identifier(template_database)))
        yield database_url(postgres_url, "vigil_workers")
        connection.execute("drop database vigil_workers with (force)")


@pytest.fixture(scope="session")
async def workers_pool(workers_database: str) -> AsyncIterator[Pool]:
    async with open_pool(as_application(workers_database), size_min=4, size_max=12) as opened:
        yield opened


@pytest.fixture(scope="session")
async def owner_pool(workers_database: str) -> AsyncIterator[Pool]:
    """Connections that may do what the workers may not."""
    async with open_pool(workers_database, size_max=2) as opened:
        yield opened


@pytest.fixture
async def pool(workers_pool: Pool, owner_pool: Pool) -> Pool:
    """Connections to an empty, migrated database, as the workers have them."""
    async with owner_pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("delete from event")
        await connection.execute("delete from event_log")
        await connection.execute("set local session_replication_role = origin")
        for table in _TABLES:
            await connection.execute(sql.SQL("delete from {}").format(sql.Identifier(table)))
        await connection.execute(_LOG_BEGINS)
    return workers_pool


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def world(pool: Pool, owner_pool: Pool, clock: Clock) -> World:
    return World(pool, owner_pool, clock)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.Redis]:
    """A connection to an empty Redis."""
    async with redis.from_url(redis_url, retry=Retry(NoBackoff(), 0)) as opened:
        yield opened


@pytest.fixture
async def no_redis() -> AsyncIterator[redis.Redis]:
    """A client of a Redis that is away."""
    async with redis.Redis(unix_socket_path="/nonexistent/redis.sock", retry=Retry(NoBackoff(), 0)) as opened:
        yield opened


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    opened = Page()
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def other_page() -> AsyncIterator[Page]:
    opened = Page()
    await opened.start()
    yield opened
    await opened.stop()


def _fetcher(clock: Clock, deadline_seconds: float) -> AiohttpFetcher:
    guard = NetworkGuard(["127.0.0.0/8"])
    return AiohttpFetcher(guard, now=clock, user_agent="test", deadline_seconds=deadline_seconds)


@pytest.fixture
async def fetcher(page: Page, other_page: Page, clock: Clock) -> AsyncIterator[AiohttpFetcher]:
    """Reads loopback pages."""
    opened = _fetcher(clock, deadline_seconds=10)
    yield opened
    await opened.close()


@pytest.fixture
async def impatient_fetcher(page: Page, clock: Clock) -> AsyncIterator[AiohttpFetcher]:
    """Finds every page slow that does not answer at once."""
    opened = _fetcher(clock, deadline_seconds=0.05)
    yield opened
    await opened.close()


@pytest.fixture(params=["claude", "openai"])
async def here(
    request: pytest.FixtureRequest, world: World, fetcher: AiohttpFetcher, page: Page
) -> AsyncIterator[Unhurrying]:
    """Monitors in no hurry, with a provider of each kind."""
    async with batch_server(reads, now=world.clock) as server:
        found = Unhurrying(world, fetcher, page, server, request.param)
        found.says("price 149 EUR")
        yield found
        await found.close()
