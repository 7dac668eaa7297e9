"""Verification finds every row that is not what the log says, beside live traffic, and changes nothing."""

import asyncio

import pytest

from adapters.postgres_drift import RowDrift
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE, PostgresReadTables
from adapters.postgres_rebuild import Rebuild, RebuildProgress
from benchmarks.history import History
from domain.log_entry import PARTITIONS
from projections.core import CORE
from tests.projections.projecting import project, projector, rows, store
from tests.projections.test_core_projection import dump
from tests.projections.test_rebuild import dumped
from workers.lifecycle import Stop

LEFT = "select nspname from pg_namespace where nspname like 'read_model%' order by 1"


@pytest.fixture
async def filled(pool: Pool, database: str) -> Pool:
    await store(pool, database, History(31, people=3, monitors_each=2).entries(300))
    await project(pool, projector(pool))
    return pool


async def test_tables_as_the_log_says_are_right(filled: Pool) -> None:
    told: list[RebuildProgress] = []
    before = await dumped(filled, LIVE)
    verified = await Rebuild(filled, CORE, PostgresLog(filled)).verify(told=told.append)
    assert verified.is_right
    async with filled.connection() as connection:
        read = await dump(connection)
    assert {table.table: table.rows for table in verified.tables} == {name: len(rows) for name, rows in read.items()}
    assert told[-1].phase == "comparing"
    assert verified.events == told[-1].total >= 300
    assert await dumped(filled, LIVE) == before
    assert await rows(filled, LEFT) == [(LIVE,)]
    assert await rows(filled, "select distinct consumer from checkpoint") == [("core",)]
    assert await rows(filled, "select schema from projection_tables") == [(LIVE,)]


async def test_a_changed_a_missing_and_an_unknown_row_are_named(filled: Pool) -> None:
    ((changed,),) = await rows(
        filled,
        "update monitors set name = 'x', plan_revision = 99 where ctid = (select min(ctid) from monitors) returning id",
    )
    ((gone, name),) = await rows(
        filled, "delete from facts where ctid = (select min(ctid) from facts) returning evaluation_id, name"
    )
    ((made,),) = await rows(
        filled, "insert into users (select gen_random_uuid(), 'a@b.example', name, timezone, verified, roles, version,"
        " created_at, updated_at from users limit 1) returning id",
    )  # fmt: skip
    ((empty,),) = await rows(
        filled, "update evaluations set condition = null where id in"
        " (select id from evaluations where condition is not null limit 1) returning id",
    )  # fmt: skip
    verified = await Rebuild(filled, CORE, PostgresLog(filled)).verify()
    assert not verified.is_right
    found = {table.table: table.examples for table in verified.tables if table.differing}
    assert found == {
        "monitors": (RowDrift("changed", {"id": str(changed)}, ("name", "plan_revision")),),
        "facts": (RowDrift("missing", {"evaluation_id": str(gone), "name": name}, ()),),
        "users": (RowDrift("unknown", {"id": str(made)}, ()),),
        "evaluations": (RowDrift("changed", {"id": str(empty)}, ("condition",)),),
    }
    assert all(table.differing == 1 for table in verified.tables if table.examples)


async def test_of_many_rows_so_many_are_named_as_are_asked_for(filled: Pool) -> None:
    changed = len(await rows(filled, "update facts set quote = 'x' returning 1"))
    for examples in (0, 3):
        verified = await Rebuild(filled, CORE, PostgresLog(filled)).verify(examples_max=examples)
        (facts,) = (table for table in verified.tables if table.differing)
        assert (facts.table, facts.differing, len(facts.examples)) == ("facts", changed, examples)


async def test_it_is_right_beside_live_traffic(filled: Pool, database: str) -> None:
    stop = Stop()
    live = asyncio.create_task(projector(filled).run(stop))
    more = list(History(32, people=3, monitors_each=2).entries(200))

    async def traffic() -> None:
        for start in range(0, len(more), 10):
            await store(filled, database, more[start : start + 10])

    async def verify() -> None:
        while not written.done():
            assert (await Rebuild(filled, CORE, PostgresLog(filled)).verify()).is_right

    written = asyncio.create_task(traffic())
    await verify()
    await written
    stop.ask()
    await live


async def test_a_projector_that_is_behind_is_compared_where_it_is(filled: Pool, database: str) -> None:
    await store(filled, database, History(33, people=2, monitors_each=2).entries(100))
    verified = await Rebuild(filled, CORE, PostgresLog(filled)).verify()
    assert verified.is_right
    places = await PostgresReadTables(filled, CORE).places(range(PARTITIONS))
    assert verified.events == sum(places.values()) < sum(await PostgresLog(filled).places())


async def test_an_interrupted_verification_leaves_nothing_that_matters(filled: Pool) -> None:
    rebuild = Rebuild(filled, CORE, PostgresLog(filled))
    reached = asyncio.Event()

    def stay(progress: RebuildProgress) -> None:
        if progress.phase == "making indexes":
            reached.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rebuild.verify(told=stay)
    assert reached.is_set()
    assert await rows(filled, LEFT) == [(LIVE,)]
    await rows(filled, "create schema read_model_check")
    await rows(filled, "create table read_model_check.users ()")
    assert (await rebuild.verify()).is_right
    assert await rows(filled, LEFT) == [(LIVE,)]
