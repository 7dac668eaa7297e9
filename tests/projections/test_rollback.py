"""Going back to the tables from before a rebuild, and forth again, loses nothing and repeats nothing."""

import asyncio
from dataclasses import replace

import pytest

from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE, PostgresReadTables
from adapters.postgres_rebuild import Rebuild, RebuildRefused
from adapters.postgres_status import tables_status
from benchmarks.history import History
from domain.log_entry import PARTITIONS
from projections.core import CORE
from tests.projections.projecting import project, projector, rebuilt, rows, store
from tests.projections.test_rebuild import dumped
from workers.lifecycle import Stop

HISTORY = list(History(21, people=3, monitors_each=2).entries(300))
PLACES = "select partition, position from checkpoint where consumer = 'core' order by 1"


@pytest.fixture
async def rebuilt_once(pool: Pool, database: str) -> Pool:
    """A first part of the history, projected and rebuilt."""
    await store(pool, database, HISTORY[:200])
    await project(pool, projector(pool))
    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool)))
    return pool


async def test_the_projector_goes_on_from_where_the_previous_tables_were(rebuilt_once: Pool, database: str) -> None:
    pool, rebuild = rebuilt_once, Rebuild(rebuilt_once, CORE, PostgresLog(rebuilt_once))
    before, places = await dumped(pool, LIVE), await rows(pool, PLACES)
    await store(pool, database, HISTORY[200:])
    await project(pool, projector(pool))
    after = await dumped(pool, LIVE)
    await rebuild.roll_back()
    assert await rows(pool, PLACES) == places
    assert await dumped(pool, LIVE) == before
    assert await dumped(pool, PREVIOUS) == after
    await project(pool, projector(pool))
    assert await dumped(pool, LIVE) == after


async def test_twice_is_where_one_was(rebuilt_once: Pool, database: str) -> None:
    pool, rebuild = rebuilt_once, Rebuild(rebuilt_once, CORE, PostgresLog(rebuilt_once))
    await store(pool, database, HISTORY[200:])
    await project(pool, projector(pool))
    what = "select projection, schema, version, fingerprint, built_at, places is null from projection_tables order by 2"
    before = [await dumped(pool, LIVE), await dumped(pool, PREVIOUS), await rows(pool, PLACES), await rows(pool, what)]
    await rebuild.roll_back()
    await rebuild.roll_back()
    assert before == [
        await dumped(pool, LIVE), await dumped(pool, PREVIOUS), await rows(pool, PLACES), await rows(pool, what)
    ]  # fmt: skip


async def test_a_projector_at_work_meanwhile_loses_and_doubles_nothing(rebuilt_once: Pool, database: str) -> None:
    pool, rebuild = rebuilt_once, Rebuild(rebuilt_once, CORE, PostgresLog(rebuilt_once))
    stop = Stop()
    live = asyncio.create_task(projector(pool).run(stop))
    for start in range(200, len(HISTORY), 20):
        await store(pool, database, HISTORY[start : start + 20])
        await rebuild.roll_back()
    heads = dict(enumerate(await PostgresLog(pool).places()))
    while await PostgresReadTables(pool, CORE).places(range(PARTITIONS)) != heads:
        await asyncio.sleep(0.01)
    stop.ask()
    await live
    assert (await rebuild.verify()).is_right
    assert await rows(pool, "select * from parked") == []


async def test_without_tables_from_before_it_is_refused(pool: Pool) -> None:
    with pytest.raises(RebuildRefused, match="no tables of core from before a rebuild are kept"):
        await Rebuild(pool, CORE, PostgresLog(pool)).roll_back()
    assert await rows(pool, "select nspname from pg_namespace where nspname like 'read_model%'") == [(LIVE,)]


async def test_tables_that_the_program_cannot_use_are_not_taken_back(rebuilt_once: Pool) -> None:
    await rows(rebuilt_once, "alter table read_model.users add column nickname text")
    with pytest.raises(RebuildRefused, match="have another shape than this program's"):
        await Rebuild(rebuilt_once, CORE, PostgresLog(rebuilt_once)).roll_back()
    assert "nickname" in str(
        await rows(rebuilt_once, "select column_name from information_schema.columns where table_schema = 'read_model'")
    )


async def test_it_is_told_by_which_version_the_tables_are_made(pool: Pool, database: str) -> None:
    newer = replace(CORE, version=CORE.version + 1)
    nothing = await tables_status(pool, CORE)
    assert (nothing.version, nothing.rebuild_needed, nothing.previous) == (None, False, False)
    await store(pool, database, HISTORY[:100])
    await project(pool, projector(pool))
    assert not (await tables_status(pool, CORE)).rebuild_needed
    assert (await tables_status(pool, newer)).rebuild_needed
    other_sql = replace(CORE, handlers=CORE.handlers[:-1])
    assert (await tables_status(pool, other_sql)).rebuild_needed
    await PostgresReadTables(pool, newer).places(range(PARTITIONS))
    assert (await tables_status(pool, newer)).rebuild_needed
    await rebuilt(Rebuild(pool, newer, PostgresLog(pool)))
    made = await tables_status(pool, newer)
    assert (made.version, made.rebuild_needed, made.previous) == (newer.version, False, True)
    await Rebuild(pool, newer, PostgresLog(pool)).roll_back()
    assert (await tables_status(pool, newer)).rebuild_needed
