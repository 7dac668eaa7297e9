"""What most commands begin with: the settings, the loop, and a database that answers."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
import uvloop

from adapters.data_dir import read_endpoints
from adapters.postgres_pool import Pool, open_pool
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
    return settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work on a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def database_url(settings: Settings) -> str:
    """Where the database is: as configured, or that of the `vigil up` which runs in the data folder.

    Raises `EndpointsUnknown`.
    """
    url = settings.database_url or read_endpoints(settings.data_dir).get("postgres")
    if url is None:
        raise EndpointsUnknown(
            f"no Vigil runs in {settings.data_dir}, and VIGIL_DATABASE_URL is not set; start `vigil up` or set it"
        )
    return url


async def check_answers(url: str) -> None:
    """Raise `psycopg.OperationalError` soon when the database does not answer: a pool would try again for long."""
    connection = await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_SECONDS)
    await connection.close()


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Pool]:
    """Connections to the database. Raises `EndpointsUnknown`, `psycopg.OperationalError`."""
    url = database_url(settings)
    await check_answers(url)
    async with open_pool(url, size_max=POOL_SIZE) as pool:
        yield pool
