"""One rebuild at a time, no faster than it may, and with what others may do with the tables left as it was."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import psycopg
import pytest

from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_rebuild import SHADOW, Rebuild, RebuildRefused
from adapters.postgres_replay import Replay, ReplayOvertaken
from adapters.postgres_shadow import Shadow
from benchmarks.history import History
from projections.core import CORE
from tests.projections.projecting import project, projector, rebuilt, rows, store


@pytest.fixture
async def filled(pool: Pool, database: str) -> Pool:
    await store(pool, database, History(41, people=3, monitors_each=2).entries(200))
    await project(pool, projector(pool))
    return pool


async def test_a_second_rebuild_is_refused_and_told_whom_to_wait_for(filled: Pool) -> None:
    rebuild = Rebuild(filled, CORE, PostgresLog(filled))
    async with aclosing(rebuild.run()) as running:
        await anext(running)
        ((holder,),) = await rows(filled, "select pid from pg_locks where locktype = 'advisory' and granted")
        for act in (rebuilt(rebuild), rebuild.verify(), rebuild.roll_back()):
            with pytest.raises(RebuildRefused, match=rf"runs already: wait for it.*pg_terminate_backend\({holder}\)"):
                await act
    assert (await rebuilt(rebuild))[-1] == "switched"


async def test_of_two_that_replay_into_the_same_tables_one_stops(filled: Pool) -> None:
    """The lock ends with its session; whoever goes on without it finds the places moved."""
    shadow = Shadow(CORE, SHADOW, "core.rebuild")
    replay = Replay(CORE, shadow)
    async with filled.connection() as connection:
        await shadow.prepare(connection)
        ranges = await replay.next_ranges(
            connection, await shadow.places(connection), dict(enumerate(await PostgresLog(filled).places())), events=10
        )
        await replay.replay(connection, ranges, may_park=False)
        with pytest.raises(ReplayOvertaken):
            await replay.replay(connection, ranges, may_park=True)


async def test_it_is_no_faster_than_the_throttle(filled: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    slept: list[float] = []
    sleep = asyncio.sleep

    async def asleep(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("adapters.postgres_rebuild.asyncio.sleep", asleep)
    steps = [step async for step in Rebuild(filled, CORE, PostgresLog(filled), events_per_second_max=400).run()]
    done = [0, *(step.done for step in steps if step.phase == "replaying")]
    sizes = [after - before for before, after in pairwise(done)]
    assert len(slept) == len(sizes) > 1
    assert max(sizes) <= 100
    assert all(0 <= seconds <= 0.25 for seconds in slept)


async def test_who_may_read_the_live_tables_may_read_the_new_ones(filled: Pool) -> None:
    grants = (
        "select grantee::regrole::text, privilege_type, is_grantable, relname from pg_class c, aclexplode(c.relacl)"
        " where relnamespace = %s::regnamespace and relkind = 'r' and grantee <> relowner order by 4, 1, 2"
    )
    usage = "select has_schema_privilege('vigil_reader_of_tests', 'read_model', 'usage')"
    try:
        await rows(filled, "create role vigil_reader_of_tests")
        await rows(filled, "grant usage on schema read_model to vigil_reader_of_tests")
        await rows(filled, "grant select on read_model.users to vigil_reader_of_tests with grant option")
        await rows(filled, "grant select on read_model.facts to public")
        before = await rows(filled, grants, "read_model")
        assert any("vigil_reader_of_tests" in row for row in before)
        assert "-" in {row[0] for row in before}
        await rebuilt(Rebuild(filled, CORE, PostgresLog(filled)))
        assert await rows(filled, grants, "read_model") == before
        assert await rows(filled, usage) == [(True,)]
    finally:
        await rows(filled, "drop owned by vigil_reader_of_tests")
        await rows(filled, "drop role vigil_reader_of_tests")


async def test_a_rebuild_that_loses_its_database_says_so_and_can_be_started_again(filled: Pool) -> None:
    async with aclosing(Rebuild(filled, CORE, PostgresLog(filled)).run()) as running:
        await anext(running)
        await rows(filled, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted")
        with pytest.raises(psycopg.OperationalError):
            [step async for step in running]
    assert (await rebuilt(Rebuild(filled, CORE, PostgresLog(filled))))[-1] == "switched"
