"""Projections read the fields of the present versions alone, whatever version an event was stored in."""

import psycopg

from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from domain.log_entry import LogEntry
from domain.notification import NotificationRequested
from projections.projection import On, Projection
from tests.golden.histories import entries_of, histories

TOLD = Projection(
    name="told",
    version=1,
    handlers=(
        On(
            NotificationRequested.tag,
            rank=1,
            statements=(
                "insert into told select stream_id, (data->>'expires_at')::timestamptz, data ? 'expires_at' from batch",
            ),
        ),
    ),
)


async def test_sql_sees_the_field_that_an_older_version_did_not_have(pool: Pool) -> None:
    requests: list[LogEntry] = [
        entry for history in histories() for entry in entries_of(history) if entry.type == NotificationRequested.tag
    ]
    assert {entry.type_version for entry in requests} == {1, 2, 3, 4}
    async with pool.connection() as connection, connection.transaction() as transaction:
        await connection.execute("create temporary table told (id uuid, expires_at timestamptz, has_field boolean)")
        await PostgresReadTables(pool, TOLD).write(connection, requests)
        rows = await (await connection.execute("select expires_at, has_field from told")).fetchall()
        raise psycopg.Rollback(transaction)
    assert len(rows) == len(requests)
    assert all(has_field for _, has_field in rows)
    assert sum(expires_at is not None for expires_at, _ in rows) == len(histories()), (
        "one request in each history has a link"
    )
