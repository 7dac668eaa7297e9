"""A large store is counted although every other answer of PostgreSQL is waited for only so long."""

import asyncio

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import COUNT, PostgresLog
from adapters.postgres_pool import Pool, open_pool
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from tests.conftest import AT, as_application

ANSWER_SECONDS_MAX = 0.3
HELD = "select pg_advisory_xact_lock_shared(7)"
WAITING = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
SLOW_COUNT = COUNT.replace("from log_head h", "from log_head h, (select pg_advisory_xact_lock_shared(7)) as held")
"""Ends when the test lets go of its lock, as the count of a large store ends after minutes."""


async def append(pool: Pool) -> None:
    stream_id = uuid7()
    event = RoleGranted(role="member", granted_at=AT)
    new = NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=0, events=(event,))
    await PostgresEventStore(pool, new_id=uuid7).append([new], metadata=Metadata(correlation_id=uuid7(), actor="test"))


async def test_a_store_in_another_cluster_is_counted_however_long_that_takes(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_log.COUNT", SLOW_COUNT)
    monkeypatch.setattr("adapters.postgres_pool.ANSWER_GRACE_SECONDS", 0.2)
    unlimited_locks = "-c lock_timeout=0"
    async with (
        open_pool(
            as_application(database), size_max=3, answer_seconds_max=ANSWER_SECONDS_MAX, settings=unlimited_locks
        ) as pool,
        await psycopg.AsyncConnection.connect(database) as owner,
    ):
        log = PostgresLog(pool)
        await append(pool)
        assert len(await log.sequence_batch()) == 1
        await owner.execute("update log_head set cluster = 1")
        await owner.commit()
        await owner.execute("select pg_advisory_xact_lock(7)")
        counting = asyncio.create_task(log.is_from_another_cluster())
        while await (await owner.execute(WAITING)).fetchone() != (1,):
            assert not counting.done()
        async with pool.connection() as other:  # whose patience ends later, since it began later
            await other.execute("set statement_timeout = 0")
            with pytest.raises(psycopg.OperationalError, match="did not answer"):
                await other.execute(HELD)
        assert not counting.done()
        await owner.rollback()
        assert await counting is False
        assert await log.is_from_another_cluster() is False
        await append(pool)
        assert [entry.position for entry in await log.sequence_batch()] == [2]


async def test_after_the_count_the_limits_are_as_they_were(database: str) -> None:
    async with (
        open_pool(as_application(database), size_max=1, answer_seconds_max=ANSWER_SECONDS_MAX) as pool,
        await psycopg.AsyncConnection.connect(database) as owner,
    ):
        await owner.execute("update log_head set cluster = 1")
        await owner.commit()
        assert await PostgresLog(pool).is_from_another_cluster() is False
        await owner.execute("select pg_advisory_xact_lock(7)")
        async with pool.connection() as same:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await same.execute(HELD)
            await same.execute("set lock_timeout = 0")
            with pytest.raises(psycopg.errors.QueryCanceled):
                await same.execute(HELD)
            await same.execute("set statement_timeout = 0")
            with pytest.raises(psycopg.OperationalError, match="did not answer"):
                await same.execute(HELD)
