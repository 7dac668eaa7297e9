"""What was recorded stays: the application's role may not change it, and nobody changes it by mistake."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from uuid_utils.compat import uuid7

from adapters import yoyo_migrations
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import APPLICATION_ROLE, Pool, open_pool
from adapters.postgres_rebuild import Rebuild
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from projections.core import CORE
from tests.conftest import AT, database_url

FORBIDDEN_TO_THE_APPLICATION = [
    "update event set data = '{}'",
    "update event set data = null, metadata = null",
    "update event set recorded_at = now()",
    "delete from event",
    "truncate event",
    "select from event for update",
    "alter table event disable trigger all",
    "alter table event add column note text",
    "drop trigger event_only_lets_go on event",
    "drop table event",
    "set session_replication_role = replica",
    "update event_log set hash = sha256('x')",
    "delete from event_log",
    "truncate event_log",
    "update signed_head set position = 2",
    "delete from signed_head",
    "delete from log_head",
    "truncate log_head",
    "insert into log_head select * from log_head",
    "create or replace function refuse_change_of_event() returns trigger language plpgsql as 'begin return new; end'",
    "create schema of_my_own",
    "reset role; set role postgres",
]
MISTAKES = [
    "update event set data = '{}'",
    "update event set data = null, metadata = null, type = 'user.role_revoked'",
    "update event set tx = '7'",
    "delete from event",
    "truncate event",
    "update event_log set hash = sha256('x')",
    "delete from event_log",
    "truncate event_log, event",
    "truncate signed_head",
]
APPEND_WITH = (
    "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id, {}) values"
)


async def append(pool: Pool, role: str = "auditor") -> UUID:
    stream_id = uuid7()
    new = NewEvents(
        stream_id=stream_id,
        owner_id=stream_id,
        expected_version=0,
        events=(RoleGranted(role=role, granted_at=AT),),
    )
    store = PostgresEventStore(pool, new_id=uuid7)
    await store.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"))
    while await PostgresLog(pool).sequence_batch():
        pass
    return stream_id


async def everything(pool: Pool) -> list[tuple[object, ...]]:
    async with pool.connection() as connection:
        rows = await (
            await connection.execute("select e::text, l::text from event e natural join event_log l")
        ).fetchall()
    return sorted(rows)


async def refused_as(pool: Pool, statements: Sequence[str], error: type[Exception]) -> list[str]:
    """The statements that were refused so."""
    refused = []
    for statement in statements:
        try:
            async with pool.connection() as connection:
                await connection.execute(statement.encode())
        except error:
            refused.append(statement)
    return refused


async def test_the_application_may_not_change_what_was_recorded(application_pool: Pool) -> None:
    await append(application_pool)
    before = await everything(application_pool)
    refusal = psycopg.errors.InsufficientPrivilege
    assert await refused_as(application_pool, FORBIDDEN_TO_THE_APPLICATION, refusal) == FORBIDDEN_TO_THE_APPLICATION
    assert await everything(application_pool) == before


@pytest.mark.parametrize("column", ["recorded_at", "tx"])
async def test_the_database_alone_says_when_and_in_which_transaction(application_pool: Pool, column: str) -> None:
    insert = sql.SQL(APPEND_WITH).format(sql.Identifier(column))
    values = sql.SQL(" (%s, 1, %s, 'user.role_granted', 1, '{{}}', '{{}}', %s, {})").format(
        sql.SQL("'2000-01-01'" if column == "recorded_at" else "'3'")
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with application_pool.connection() as connection:
            await connection.execute(insert + values, (uuid7(), uuid7(), uuid7()))


async def test_the_owner_does_not_change_it_by_mistake(pool: Pool) -> None:
    await append(pool)
    before = await everything(pool)
    assert await refused_as(pool, MISTAKES, psycopg.errors.RestrictViolation) == MISTAKES
    assert await everything(pool) == before


async def test_the_owner_may_let_go_of_content_and_of_all_of_it_only(pool: Pool) -> None:
    kept, gone = await append(pool), await append(pool)
    async with pool.connection() as connection:
        for half in ("update event set data = null", "update event set metadata = null"):
            with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.RestrictViolation)):
                await connection.execute(half)
        let_go = "update event set data = null, metadata = null where stream_id = %s"
        for _ in range(2):
            assert (await connection.execute(let_go, (gone,))).rowcount == 1
        with pytest.raises(psycopg.errors.RestrictViolation):
            await connection.execute("update event set data = '{}', metadata = '{}' where stream_id = %s", (gone,))
        rows = await (await connection.execute("select stream_id from event where data is null")).fetchall()
    assert rows == [(gone,)]
    assert [stored.event for stored in await PostgresEventStore(pool, new_id=uuid7).load(kept)] == [
        RoleGranted(role="auditor", granted_at=AT)
    ]


async def test_who_could_change_events_is_told(pool: Pool, application_pool: Pool, database: str) -> None:
    assert await PostgresGuard(pool).may_change_events()
    assert not await PostgresGuard(application_pool).may_change_events()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("drop role if exists vigil_may_delete")
        owner.execute("create role vigil_may_delete login in role vigil_app")
        owner.execute("grant delete on signed_head to vigil_may_delete")
    try:
        async with open_pool(database.replace("//postgres@", "//vigil_may_delete@"), size_max=1) as other:
            assert await PostgresGuard(other).may_change_events()
    finally:
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("drop owned by vigil_may_delete")
            owner.execute("drop role vigil_may_delete")


async def test_the_application_knows_its_migrations_and_works_on_tables_that_were_rebuilt(
    pool: Pool, application_pool: Pool, application_database: str
) -> None:
    await append(application_pool)
    assert all(each.applied for each in yoyo_migrations.status(application_database))
    for _ in range(2):
        async for _ in Rebuild(pool, CORE, PostgresLog(pool)).run():
            pass
    async with application_pool.connection() as connection:
        tables = await (
            await connection.execute(
                "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where c.relkind = 'r' and n.nspname in ('public', 'read_model', 'read_model_previous')"
                " and not has_table_privilege(c.oid, 'select')"
            )
        ).fetchall()
        assert tables == []
        await connection.execute("delete from read_model.users")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async for _ in Rebuild(application_pool, CORE, PostgresLog(application_pool)).run():
            pass


@pytest.fixture
def without_roles(postgres_url: str) -> Iterator[str]:
    """An empty database owned by a role that may make no roles."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database if exists t_plain with (force)")
        connection.execute("drop role if exists vigil_plain_owner")
        connection.execute("create role vigil_plain_owner login")
        connection.execute("create database t_plain owner vigil_plain_owner")
        yield database_url(postgres_url, "t_plain").replace("//postgres@", "//vigil_plain_owner@")
        connection.execute("drop database t_plain with (force)")
        connection.execute("drop role vigil_plain_owner")


async def test_an_owner_without_any_special_right_can_migrate_where_the_role_is_there(without_roles: str) -> None:
    """As on most hosted servers: the database is one's own, the server is not."""
    assert yoyo_migrations.up(without_roles)
    async with open_pool(without_roles.replace("vigil_plain_owner@", f"{APPLICATION_ROLE}@"), size_max=2) as pool:
        await append(pool)
        assert not await PostgresGuard(pool).may_change_events()
        assert not (await PostgresGuard(pool).state()).restored
    async with open_pool(without_roles, size_max=1) as owner:
        assert await PostgresGuard(owner).may_change_events()


async def test_nobody_makes_functions_that_the_owner_would_call(without_roles: str) -> None:
    """Before PostgreSQL 15 everybody could make them in the schema public, and an upgrade keeps that."""
    before_15, plant = (
        "grant create on schema public to public",
        "create function public.hashtextextended(text, integer)",
    )
    with psycopg.connect(without_roles, autocommit=True) as owner:
        owner.execute(before_15)
    assert yoyo_migrations.up(without_roles)
    application = without_roles.replace("vigil_plain_owner@", f"{APPLICATION_ROLE}@")
    body = " returns bigint language sql as 'select 1'"
    with psycopg.connect(application) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute((plant + body).encode())
    async with open_pool(application, size_max=1) as pool:
        assert not await PostgresGuard(pool).may_change_events()
        with psycopg.connect(without_roles, autocommit=True) as owner:
            owner.execute(before_15)
        assert await PostgresGuard(pool).may_change_events()
