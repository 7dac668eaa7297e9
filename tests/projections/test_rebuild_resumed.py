"""A rebuild that was killed, at whatever it was doing, is ended by the next one; but only its own work is gone on with."""

import asyncio
import signal
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from typing import LiteralString

import pytest

from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE
from adapters.postgres_rebuild import SHADOW, Rebuild, RebuildRefused
from benchmarks.history import History
from projections.core import CORE
from tests.projections.projecting import project, projector, rebuilt, rows, store
from tests.projections.test_rebuild import dumped

REBUILD = """
import asyncio, sys
import adapters.postgres_rebuild as rebuilding
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import open_pool
from projections.core import CORE

async def main():
    async with open_pool(sys.argv[1], size_max=6) as pool:
        async for _ in rebuilding.Rebuild(pool, CORE, PostgresLog(pool)).run():
            pass

rebuilding.CLOSE_ENOUGH_ENTRIES = 0
asyncio.run(main())
"""
WAITING = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
KEYS = """
select relname, indexdef, indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_indexes x on x.indexname = c.relname and x.schemaname = c.relnamespace::regnamespace::text
where schemaname = 'read_model' order by 1
"""
PHASES: list[LiteralString] = [
    "select from checkpoint where consumer = 'core.rebuild' for update",
    "lock table read_model_next.facts in share update exclusive mode",
    "lock table read_model_next.users in row exclusive mode",
    "select from checkpoint where consumer = 'core' for update",
    "lock table read_model_previous.users in access share mode",
]


@pytest.fixture
async def filled(pool: Pool, database: str) -> Pool:
    await store(pool, database, History(7, people=3, monitors_each=2).entries(300))
    await project(pool, projector(pool))
    return pool


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    monkeypatch.setattr("adapters.postgres_rebuild.BATCH_ENTRIES", 20)


async def interrupted(rebuild: Rebuild) -> None:
    """Leave a rebuild after its first step."""
    async with aclosing(rebuild.run()) as running:
        await anext(running)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("lock", PHASES, ids=["replaying", "indexes", "foreign keys", "hand-over", "switch"])
async def test_killed_at_any_moment_it_is_ended_by_the_next(filled: Pool, database: str, lock: LiteralString) -> None:
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    before, keys = await dumped(filled, LIVE), await rows(filled, KEYS)
    await interrupted(Rebuild(filled, CORE, PostgresLog(filled)))
    async with filled.connection() as blocking, blocking.transaction():
        await blocking.execute(lock)
        process = subprocess.Popen([sys.executable, "-c", REBUILD, database])  # noqa: ASYNC220  it is killed
        try:
            while not await rows(filled, WAITING):
                assert process.poll() is None
                await asyncio.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert await dumped(filled, LIVE) == before
    while await rows(filled, "select 1 from pg_locks where locktype = 'advisory' and granted"):
        await asyncio.sleep(0.01)
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    assert await dumped(filled, LIVE) == before == await dumped(filled, PREVIOUS)
    assert await rows(filled, KEYS) == keys
    assert await rows(filled, "select distinct consumer from checkpoint") == [("core",)]


@pytest.mark.usefixtures("small_steps")
async def test_an_index_that_was_not_finished_is_made_again(filled: Pool) -> None:
    keys = await rows(filled, KEYS)
    await interrupted(Rebuild(filled, CORE, PostgresLog(filled)))
    await rows(filled, "create index facts_series on read_model_next.facts (monitor_id, name, observed_at desc)")
    await rows(
        filled, "update pg_index set indisvalid = false where indexrelid = 'read_model_next.facts_series'::regclass"
    )
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    assert await rows(filled, KEYS) == keys


@pytest.mark.usefixtures("small_steps")
async def test_what_another_projection_began_is_begun_anew(filled: Pool) -> None:
    handler = CORE.handlers[0]
    other = replace(CORE, handlers=(replace(handler, statements=(*handler.statements, "select")), *CORE.handlers[1:]))
    await interrupted(Rebuild(filled, other, PostgresLog(filled)))
    async with filled.connection() as connection:
        await connection.execute("update read_model_next.users set name = 'of the other'")
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    assert await dumped(filled, LIVE) == await dumped(filled, PREVIOUS)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(
    "change",
    [
        "alter table read_model.users add column nickname text",
        "alter table read_model.users alter column timezone set default 'UTC'",
        "alter table read_model.facts add check (confidence <= 1)",
        "alter table read_model.users add constraint one_name unique (name, id)",
        "drop index read_model.users_email",
    ],
)
async def test_what_was_begun_in_another_shape_is_begun_anew(filled: Pool, change: str) -> None:
    await interrupted(Rebuild(filled, CORE, PostgresLog(filled)))
    async with filled.connection() as connection:
        await connection.execute("update read_model_next.users set name = 'of the other'")
        await connection.execute(change.encode())
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    assert await dumped(filled, LIVE) == await dumped(filled, PREVIOUS)


@pytest.mark.usefixtures("small_steps")
async def test_what_was_begun_by_the_same_program_is_gone_on_with(filled: Pool) -> None:
    await interrupted(Rebuild(filled, CORE, PostgresLog(filled)))
    async with filled.connection() as connection:
        await connection.execute("update read_model_next.users set name = 'from before'")
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    assert ("from before",) in await rows(filled, "select distinct name from users")


async def test_a_migration_meanwhile_keeps_the_switch_from_being_done(filled: Pool) -> None:
    class Migrated(PostgresLog):
        async def places(self) -> tuple[int, ...]:
            await rows(filled, "alter table read_model.users add column if not exists nickname text")
            return await super().places()

    with pytest.raises(RebuildRefused, match="a migration changed the live tables"):
        await rebuilt(Rebuild(filled, CORE, Migrated(filled)))
    assert ("read_model_previous",) not in await rows(filled, "select nspname from pg_namespace")
    await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
    assert await dumped(filled, LIVE) == await dumped(filled, PREVIOUS)
    assert SHADOW not in {name for (name,) in await rows(filled, "select nspname from pg_namespace")}
