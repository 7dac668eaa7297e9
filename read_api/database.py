"""How the read API asks PostgreSQL: one statement, rows by column name. Connections are autocommit and see the schema
`read_model` first."""

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]


async def fetch_rows(
    pool: Pool, statement: LiteralString | sql.Composed, parameters: Mapping[str, Any]
) -> list[DictRow]:
    """All rows of a query."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()


async def fetch_row(
    pool: Pool, statement: LiteralString | sql.Composed, parameters: Mapping[str, Any]
) -> DictRow | None:
    """The first row of a query, None when there is none."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchone()
