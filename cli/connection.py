"""What most commands begin with: the settings, the loop, and a database that answers."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
import uvloop

from adapters.data_dir import read_endpoints
from adapters.postgres_person_keys import PersonKeys, installation_person_keys
from adapters.postgres_pool import Pool, open_pool
from bootstrap.crashing import arm_crash_points
from bootstrap.logs import configure_logs
from bootstrap.settings import EndpointsUnknown, Settings, read_settings, unknown_settings
from cli.output import warn

CONNECT_SECONDS = 5
POOL_SIZE = 4

T = TypeVar("T")


def configured(**given: object) -> Settings:
    """The settings, with a warning for each variable that looks like one and is none. Raises `SettingsInvalid`."""
    settings = read_settings(**given)
    for name in unknown_settings():
        warn(f"{name} is not a setting of Vigil and has no effect")
    configure_logs(settings)
    arm_crash_points(settings)
    return settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work on a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def database_url(settings: Settings) -> str:
    """Where the database is: as configured, or that of the `vigil up` which runs in the data folder.

    Raises `EndpointsUnknown`.
    """
    return _known(settings.database_url or read_endpoints(settings.data_dir).get("postgres"), settings)


def owner_database_url(settings: Settings) -> str:
    """The same database for the role that owns its tables: for what the application may not do.

    Raises `EndpointsUnknown`.
    """
    if settings.database_url is not None:
        return settings.database_owner_url or settings.database_url
    return _known(read_endpoints(settings.data_dir).get("postgres_owner"), settings)


def _known(url: str | None, settings: Settings) -> str:
    if url is None:
        raise EndpointsUnknown(
            f"no Vigil runs in {settings.data_dir}, and VIGIL_DATABASE_URL is not set; start `vigil up` or set it"
        )
    return url


async def check_answers(url: str) -> None:
    """Raise `psycopg.OperationalError` soon when the database does not answer: a pool would try again for long."""
    connection = await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_SECONDS)
    await connection.close()


async def keys_of_people(settings: Settings, pool: Pool) -> PersonKeys:
    """The keys of people in this database. Raises `WrappingKeyMissing` when this host cannot unwrap them."""
    return await installation_person_keys(pool, settings.data_dir, settings.secret_key, settings.wrapping_keys)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Pool]:
    """Connections to the database. Raises `EndpointsUnknown`, `psycopg.OperationalError`."""
    async with _opened(database_url(settings)) as pool:
        yield pool


@asynccontextmanager
async def open_owner_database(settings: Settings) -> AsyncIterator[Pool]:
    """Connections as the owner of the tables. Raises `EndpointsUnknown`, `psycopg.OperationalError`."""
    async with _opened(owner_database_url(settings)) as pool:
        yield pool


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Pool]:
    await check_answers(url)
    async with open_pool(url, size_max=POOL_SIZE) as pool:
        yield pool
