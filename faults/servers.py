"""What all seeds share: a PostgreSQL cluster with a migrated template of a database, and the nursery of the processes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from adapters import yoyo_migrations
from adapters.embedded_postgres import EmbeddedPostgres
from faults.launcher import Launcher

TEMPLATE = "vigil_faults_template"
_numbers = count(1)


@dataclass
class Servers:
    """`url` leads to the cluster as its owner, `template` is the database that others are copied from, `postgres_log` what the
    cluster writes; installations live in `folder`."""

    url: str
    template: str
    launcher: Launcher
    folder: Path
    postgres_log: Path

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of a fresh, migrated database, dropped on leaving."""
        name = f"faults_{next(_numbers)}"
        create = sql.SQL("create database {} template {}")
        await self._execute(create.format(sql.Identifier(name), sql.Identifier(self.template)))
        try:
            yield named(self.url, name)
        finally:
            await self._execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    async def _execute(self, statement: sql.Composed) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(statement)


@contextmanager
def servers_of_our_own(folder: Path) -> Iterator[Servers]:
    """Start both, and stop them on leaving."""
    postgres = EmbeddedPostgres(folder / "shared", fsync=False)
    launcher = Launcher()
    try:
        url = postgres.start()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        yoyo_migrations.up(named(url, TEMPLATE))
        yield Servers(url, TEMPLATE, launcher, folder, folder / "shared" / "postgres.log")
    finally:
        launcher.close()
        postgres.stop()


def named(url: str, database: str) -> str:
    """The URL of another database of the same cluster."""
    before, _, query = url.partition("?")
    return f"{before.rpartition('/')[0]}/{database}?{query}"
