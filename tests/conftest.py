"""Real servers for the tests: one embedded PostgreSQL and one Redis for each test process, a fresh database for each test."""

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import redis as sync_redis
from hypothesis import settings
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from adapters import yoyo_migrations
from adapters.postgres_pool import APPLICATION_ROLE, open_pool
from tests.loopback_only import loopback_only

# How long an example takes depends on who else works on the machine, and is no test of what it shows.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

AT = datetime(2026, 1, 1, tzinfo=UTC)
"""A moment for tests that need one and do not care which."""


@pytest.fixture(scope="session", autouse=True)
def no_way_out() -> Iterator[list[str]]:
    """What tests of this process tried to reach outside of this machine; it is refused."""
    with loopback_only() as tried:
        yield tried


@pytest.fixture(autouse=True)
def reached_out(no_way_out: list[str]) -> Iterator[list[str]]:
    """The same for one test, which fails by it: whoever tried may have swallowed the refusal."""
    no_way_out.clear()
    yield no_way_out
    assert not no_way_out, f"the test reached for {no_way_out}: use a stand-in on loopback (tests/model_server.py)"


MEMORY = Path("/dev/shm")  # noqa: S108  where Linux keeps files in memory
MEMORY_BYTES_MIN = 4 * 2**30


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """Where the servers keep their files: in memory where there is room, because a disk would be most of what tests wait for."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    with tempfile.TemporaryDirectory(prefix="vigil-test-", dir=MEMORY if in_memory else None) as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103  the server's own user must reach its folder
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_url(servers_folder: Path) -> Iterator[str]:
    """The URL of a cluster's maintenance database; fsync is off, which no test relies on."""
    from adapters.embedded_postgres import EmbeddedPostgres  # noqa: PLC0415  only tests that need it pay for it

    server = EmbeddedPostgres(servers_folder, fsync=False)
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """A migrated database that tests copy: migrating costs a second, copying milliseconds."""
    name = "vigil_template"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create database vigil_template")
    yoyo_migrations.up(database_url(postgres_url, name))
    return name


def database_url(server_url: str, name: str) -> str:
    before, _, query = server_url.partition("?")
    return f"{before.rsplit('/', 1)[0]}/{name}?{query}"


def as_application(url: str) -> str:
    """The same database for the role of the API and the workers, which may not change events."""
    return url.replace("//postgres@", f"//{APPLICATION_ROLE}@")


@pytest.fixture
def application_database(database: str) -> str:
    """What VIGIL_DATABASE_URL says where the roles are set up as they should be."""
    return as_application(database)


@pytest.fixture
async def application_pool(
    application_database: str,
) -> AsyncIterator[AsyncConnectionPool[psycopg.AsyncConnection[tuple[object, ...]]]]:
    async with open_pool(application_database, size_max=10) as opened:
        yield opened


@pytest.fixture
def database(postgres_url: str, template_database: str) -> Iterator[str]:
    """The URL of a fresh, migrated database, for its owner."""
    name = f"t{uuid.uuid1().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        create = sql.SQL("create database {} template {} strategy file_copy")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template_database)))
        yield database_url(postgres_url, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
async def pool(database: str) -> AsyncIterator[AsyncConnectionPool[psycopg.AsyncConnection[tuple[object, ...]]]]:
    async with open_pool(database, size_max=10) as opened:
        yield opened


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[str]:
    from adapters.embedded_redis import EmbeddedRedis  # noqa: PLC0415

    server = EmbeddedRedis(servers_folder)
    yield server.start()
    server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis."""
    with sync_redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: a third of the tests' time is waiting."""
    return (os.cpu_count() or 1) + 1


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names that are the same in every process: xdist compares them, and made-up keys and addresses of functions differ."""
    if isinstance(val, str) and len(val) <= 30 and val.isprintable():
        return None
    return None if isinstance(val, int | float | bool) or val is None else argname
