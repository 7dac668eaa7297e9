"""The whole application in front of real servers, with the relay and the projector beside it; one for each module."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bootstrap.parts import Endpoints, Parts, open_parts
from bootstrap.roles import running
from bootstrap.settings import read_settings
from tests.api.people import Installation, Person
from tests.conftest import as_application, database_url
from workers.lifecycle import Stop

SECRET = b"a secret of an installation in tests"
MONITOR_LIMIT = 3


@pytest.fixture(scope="module")
def module_database(postgres_url: str, template_database: str) -> Iterator[str]:
    """The URL of a fresh, migrated database that the tests of one module share: each has its own people in it."""
    name = f"m{uuid.uuid1().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        create = sql.SQL("create database {} template {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template_database)))
        yield database_url(postgres_url, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
async def parts(
    module_database: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Parts]:
    async with vigil(module_database, redis_server, tmp_path_factory.mktemp("api")) as opened:
        yield opened


@asynccontextmanager
async def vigil(
    database: str, redis_server: str, folder: Path, *, monitor_total: int = 10_000, **given: object
) -> AsyncIterator[Parts]:
    """The parts of an installation with what its answers wait for. Nobody evaluates: the tests say what was seen. `given` are
    further settings."""
    settings = read_settings(
        data_dir=folder,
        redis_namespace=f"t{uuid.uuid1().hex[:16]}",
        fetch_allow_networks="127.0.0.0/8",
        monitor_limit=MONITOR_LIMIT,
        monitor_total=monitor_total,
        log_level="error",
        **given,
    )
    endpoints = Endpoints(
        database_url=as_application(database),
        redis_url=redis_server,
        smtp_url="smtp://127.0.0.1:25",
        public_url="http://vigil.test",
    )
    async with (
        open_parts(settings, endpoints, SECRET) as opened,
        running({"relay": opened.relay(), "projector": opened.projector()}, Stop()),
    ):
        yield opened


@pytest.fixture(scope="module")
async def installation(parts: Parts) -> AsyncIterator[Installation]:
    async with Installation(parts) as open_one:
        yield open_one


@pytest.fixture
async def ada(installation: Installation) -> Person:
    """Somebody new, with nothing of theirs stored yet."""
    return await installation.person()


@pytest.fixture
async def ben(installation: Installation) -> Person:
    """Somebody else."""
    return await installation.person()
