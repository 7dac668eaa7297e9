"""Connections to PostgreSQL, pooled and set up the same everywhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]

# A transaction that idles would hold back the sequencer for everybody, so the server ends it.
SESSION_SETTINGS = (
    "-c search_path=read_model,public -c timezone=UTC -c idle_in_transaction_session_timeout=30s"
    " -c statement_timeout=60s -c lock_timeout=20s"
)


@asynccontextmanager
async def open_pool(
    database_url: str, *, size_max: int, size_min: int = 1, name: str = "vigil", settings: str = ""
) -> AsyncIterator[Pool]:
    """A pool of autocommit connections, opened on entering and closed on leaving.

    Raises `psycopg_pool.PoolTimeout` on use when no connection is to be had within 10 s.
    """
    pool: Pool = AsyncConnectionPool(
        database_url,
        min_size=size_min,
        max_size=size_max,
        timeout=10,
        open=False,
        kwargs={
            "autocommit": True,
            "application_name": name,
            "options": f"{SESSION_SETTINGS} {settings}".strip(),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )
    async with pool:
        yield pool
