"""A destroyed key stays destroyed, a lost one is not made anew, and an erasure leaves nothing that stands beside events."""

import asyncio
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.personal_data import PersonKeyMissing
from adapters.postgres_pool import Pool
from commands.event_store import Reserve
from domain.operation import INSTALLATION
from tests.store.test_personal_data import ADA, Sealing

PUT_BACK = (
    "update person_key set wrapped = %s, wrapping_key_id = %s, destroyed_at = null where owner_id = %s returning 1"
)
A_HASH = "a" * 64


async def test_a_destroyed_key_is_not_put_back(pool: Pool, application_pool: Pool) -> None:
    for role in (application_pool, pool):
        sealing = Sealing(role)
        owner_id = await sealing.person()
        ((wrapped, by),) = await sealing.rows(
            "select wrapped, wrapping_key_id from person_key where owner_id = %s", owner_id
        )
        await sealing.erase(owner_id)
        with pytest.raises(psycopg.errors.RestrictViolation):
            await sealing.rows(PUT_BACK, wrapped, by, owner_id)
        with pytest.raises(psycopg.errors.RestrictViolation):
            await sealing.rows("update person_key set owner_id = %s where owner_id = %s returning 1", uuid7(), owner_id)
        assert await sealing.store.is_erased(owner_id)


async def test_the_application_removes_no_row_of_a_key(application_pool: Pool) -> None:
    sealing = Sealing(application_pool)
    await sealing.person()
    for statement in (
        "delete from person_key",
        "truncate person_key",
        "drop trigger person_key_stays_destroyed on person_key",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await sealing.rows(statement)


async def test_a_lost_key_is_told_and_no_other_takes_its_place(pool: Pool) -> None:
    sealing = Sealing(pool)
    owner_id = await sealing.person()
    ((wrapped, by),) = await sealing.rows("select wrapped, wrapping_key_id from person_key")
    await sealing.rows("delete from person_key returning 1")
    for act in (sealing.append(owner_id, ADA, after=1), sealing.store.load(owner_id)):
        with pytest.raises(PersonKeyMissing, match=str(owner_id)):
            await act
    assert await sealing.people.seal(owner_id, b"state", associated=b"place") is None
    assert await sealing.rows("select * from person_key") == []
    restored = "insert into person_key (owner_id, wrapped, wrapping_key_id) values (%s, %s, %s) returning 1"
    await sealing.rows(restored, owner_id, wrapped, by)
    await sealing.append(owner_id, ADA, after=1)
    assert await sealing.events(owner_id) == [ADA, ADA]


async def test_a_store_whose_keys_were_not_restored_is_not_worked_on(pool: Pool) -> None:
    sealing = Sealing(pool)
    await sealing.people.check()
    owner_id = uuid7()
    await sealing.append(owner_id, ADA, companions=(Reserve("user-email", ADA.email, owner_id),))
    await sealing.people.check()
    await sealing.rows("delete from person_key returning 1")
    restarted = Sealing(pool, *sealing.wrapping)
    with pytest.raises(PersonKeyMissing, match=str(INSTALLATION)):
        await restarted.people.check()


async def test_what_a_source_answered_while_its_person_was_erased_is_not_remembered(pool: Pool) -> None:
    sealing = Sealing(pool)
    owner_id, monitor_id = await sealing.person(), uuid7()
    async with pool.connection() as evaluator:
        await evaluator.execute("insert into schedule values (%s, %s, '{}', true, now())", (monitor_id, owner_id))
        await evaluator.execute("insert into evidence values (%s, '', 0, now())", (A_HASH,))
        async with evaluator.transaction():
            await remember(evaluator, monitor_id)
            await evaluator.execute("update schedule set enqueued_at = now() where monitor_id = %s", (monitor_id,))
            erasing = asyncio.create_task(sealing.erase(owner_id))
            waiting = "select from pg_locks where not granted and pid in (select pid from pg_stat_activity where datname = current_database())"
            while not await sealing.rows(waiting):
                await asyncio.sleep(0)
    await erasing
    assert await sealing.rows("select monitor_id from source_memory") == []
    assert await sealing.rows("select monitor_id from schedule") == []


async def remember(connection: psycopg.AsyncConnection[tuple[object, ...]], monitor_id: UUID) -> None:
    await connection.execute(
        "insert into source_memory (monitor_id, url, content_type, evidence_hash, read_at)"
        " values (%s, 'https://shop.example', 'text/html', %s, now())",
        (monitor_id, A_HASH),
    )


async def test_states_that_other_programs_kept_of_a_person_go_too(application_pool: Pool) -> None:
    sealing = Sealing(application_pool)
    gone, stays = await sealing.person(), await sealing.person()
    for each in (gone, stays):
        await sealing.rows(
            "insert into eventsourcing_snapshot values (%s, 1, 'app:Person', 'Ada Lovelace') returning 1", each
        )
    await sealing.erase(gone)
    assert await sealing.rows("select originator_id from eventsourcing_snapshot") == [(stays,)]


def test_the_servers_log_does_not_quote_rows(database: str, servers_folder: Path) -> None:
    """PostgreSQL's details of a refused row are the row."""
    insert = (
        "insert into read_model.users (id, email, name, timezone, verified, roles, version, created_at, updated_at)"
        " values (gen_random_uuid(), %s, 'n', 'UTC', false, '{}', 1, now(), now())"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(insert, ("unmistakable@example.org",))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(insert, ("unmistakable@example.org",))
    said = next(servers_folder.rglob("postgres.log")).read_text()
    assert "users_email" in said
    assert "unmistakable" not in said
