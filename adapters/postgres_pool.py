"""Connections to PostgreSQL, pooled and set up the same everywhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

APPLICATION_ROLE = "vigil_app"
"""Whom the migrations let add events, and change everything but events. The API and the workers connect as this role, or
as one that has been granted it."""
CURE_OF_ROLE = "connect as vigil_app, and set VIGIL_DATABASE_OWNER_URL for migrations; see docs/operations.md"

LOCK_SECONDS_MAX = 20
# A transaction that idles would hold back the sequencer for everybody, so the server ends it.
SESSION_SETTINGS = (
    "-c search_path=read_model,public -c timezone=UTC -c idle_in_transaction_session_timeout=30s"
    f" -c statement_timeout=60s -c lock_timeout={LOCK_SECONDS_MAX}s"
)

AFTER_PIPELINE = "select"
"""After a pipeline (`executemany` is one) PostgreSQL does not count how long a transaction idles until the next statement ends:
without one, whoever is stopped there would hold back the sequencer for as long as it is stopped."""

CONNECT_SECONDS_MAX = 5
UNACKNOWLEDGED_MS_MAX = 15_000
"""How long what we sent may stay unacknowledged by the other machine (TCP_USER_TIMEOUT, RFC 5482), which also ends the wait
of keepalive probes. Without it Linux sends again for a quarter of an hour (tcp(7), tcp_retries2)."""
ANSWER_GRACE_SECONDS = 2.0
"""How much longer than the server's own time-out we wait for it to say that it gave up."""
RECONNECT_SECONDS_MAX = 8.0
"""The pool's pauses between attempts double; begun anew this often, none is longer than half of it."""

R = TypeVar("R")


class PatientConnection(psycopg.AsyncConnection[TupleRow]):
    """Closes itself when the server does not answer: a cut that only one direction notices, or a server that hangs, keeps
    acknowledging what it never answers, and no time-out of TCP ends that wait. `answer_seconds_max` None: wait for ever."""

    answer_seconds_max: float | None = None

    async def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:  # noqa: ASYNC109  psycopg's
        """As psycopg's, for at most `answer_seconds_max`; raises `OperationalError` on a closed connection after that."""
        if timeout is not None or self.answer_seconds_max is None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, self.answer_seconds_max)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  it has no public name
            self.pgconn.finish()
            raise psycopg.OperationalError(f"PostgreSQL did not answer in {self.answer_seconds_max:g} s") from None


def is_outage(error: Exception) -> bool:
    """Whether the server, or the way to it, is to blame and not what was asked of it. A statement that takes too long may be
    either, and counts as the asker's fault."""
    return isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.QueryCanceled)


@asynccontextmanager
async def unhurried_transaction(connection: Connection) -> AsyncIterator[None]:
    """A transaction whose statements take the time they take: neither does the server give them up, nor do we the server."""
    async with connection.transaction():
        await connection.execute("set local statement_timeout = 0")
        patient = cast("PatientConnection", connection)  # as every pool's
        limit, patient.answer_seconds_max = patient.answer_seconds_max, None
        try:
            yield
        finally:
            patient.answer_seconds_max = limit


async def keep_trying(pool: AsyncConnectionPool[PatientConnection]) -> None:
    """Have the pool begin a new round of attempts: asking it for a connection does."""
    with suppress(PoolTimeout):
        async with pool.connection(timeout=0.01):
            pass


@asynccontextmanager
async def open_pool(
    database_url: str,
    *,
    size_max: int,
    size_min: int = 1,
    name: str = "vigil",
    settings: str = "",
    answer_seconds_max: float | None = None,
) -> AsyncIterator[Pool]:
    """A pool of autocommit connections, opened on entering and closed on leaving. It finds a server that comes back after
    any time away within a few seconds.

    With `answer_seconds_max` the server gives up a statement after that time, and we give up the server soon after.
    `settings` come after all others. Raises `psycopg_pool.PoolTimeout` on use when no connection is to be had within 10 s.
    """
    limits = "" if answer_seconds_max is None else _limits(answer_seconds_max)

    async def set_patience(connection: PatientConnection) -> None:
        if answer_seconds_max is not None:
            connection.answer_seconds_max = answer_seconds_max + ANSWER_GRACE_SECONDS

    pool = AsyncConnectionPool(
        database_url,
        connection_class=PatientConnection,
        configure=set_patience,
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        reconnect_failed=keep_trying,
        min_size=size_min,
        max_size=size_max,
        timeout=10,
        open=False,
        kwargs={
            "autocommit": True,
            "application_name": name,
            "options": f"{SESSION_SETTINGS} {limits} {settings}",
            "connect_timeout": CONNECT_SECONDS_MAX,
            "tcp_user_timeout": UNACKNOWLEDGED_MS_MAX,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )
    async with pool:
        yield cast("Pool", pool)


def _limits(answer_seconds_max: float) -> str:
    # A lock is given up first, so that an append which waits for a rival is told from a server that is slow.
    lock_seconds_max = min(LOCK_SECONDS_MAX, answer_seconds_max * 2 / 3)
    return f"-c statement_timeout={round(answer_seconds_max * 1000)} -c lock_timeout={round(lock_seconds_max * 1000)}"
