"""Replayed inside PostgreSQL the log gives the tables that the live projection gave, however it is cut and whatever takes
the way through Python."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE, as_they_are
from adapters.postgres_rebuild import Rebuild
from adapters.postgres_replay import LogIncomplete
from benchmarks.history import History
from domain.event import personal_fields
from domain.log_entry import LogEntry
from projections.core import CORE
from projections.projection import split_into_runs
from tests.projections.projecting import project, projector, rebuilt, rows, store
from tests.projections.test_rebuild import dumped

LET_GO = "update event set data = null, metadata = null where type like 'evaluation.%' returning stream_id"


def with_erasures(entries: Sequence[LogEntry], random: Random) -> list[LogEntry]:
    """The same history, in which some people are erased while their monitors are still evaluated."""
    told = list(entries)
    people = {entry.stream_id for entry in told if entry.type == "user.registered"}
    for person in sorted(people, key=str)[: random.randint(0, 2)]:
        own = [n for n, entry in enumerate(told) if entry.stream_id == person]
        at = random.randint(own[-1] + 1, len(told))
        erased = msgspec.structs.replace(
            told[own[-1]],
            version=told[own[-1]].version + 1,
            type="user.erased",
            data='{"erased_at": "2026-02-01T00:00:00Z"}',
        )
        told.insert(at, erased)
    return told


async def shouted(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
    """Stands for opening: personal fields are not as they are stored."""
    assert all(personal_fields(entry.type) for entry in entries)
    return [msgspec.structs.replace(entry, data=entry.data.replace("price", "PRICE")) for entry in entries]


async def shouted_where_personal(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
    """The same for those who hand over everything."""
    return [(await shouted([entry]))[0] if personal_fields(entry.type) else entry for entry in entries]


@given(seed=st.integers(0, 2**32), batch=st.integers(1, 400), opening=st.sampled_from(["nothing", "personal fields"]))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_replay_gives_what_the_live_projection_gave(
    pool: Pool, database: str, seed: int, batch: int, opening: str
) -> None:
    async with pool.connection() as connection:
        await connection.execute("delete from projection_tables")
        await connection.execute("update checkpoint set position = 0")
        for (table,) in await (
            await connection.execute("select tablename from pg_tables where schemaname = 'read_model'")
        ).fetchall():
            await connection.execute(f"truncate read_model.{table} cascade".encode())
    history = with_erasures(list(History(seed, people=3, monitors_each=2).entries(200)), Random(seed))
    await store(pool, database, history)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
        patched.setattr("adapters.postgres_rebuild.BATCH_ENTRIES", batch)
        some = opening == "personal fields"
        await project(pool, projector(pool, open_entries=shouted_where_personal if some else as_they_are))
        rebuild = Rebuild(pool, CORE, PostgresLog(pool), open_entries=shouted if some else as_they_are)
        await rebuilt(rebuild)
    assert await rows(pool, "select * from parked") == []
    assert await dumped(pool, LIVE) == await dumped(pool, PREVIOUS)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_within_a_run_a_stream_never_goes_back(seed: int) -> None:
    handlers = CORE.by_type()
    entries = with_erasures(list(History(seed, people=2, monitors_each=2).entries(120)), Random(seed))
    for run in split_into_runs(entries, handlers.get):
        ranks: dict[object, int] = {}
        for entry in run:
            handler = handlers[entry.type]
            assert len(run) == 1 or not handler.alone
            if not handler.repeatable:
                assert ranks.get(entry.stream_id, 0) < handler.rank
                ranks[entry.stream_id] = handler.rank


async def test_what_the_store_let_go_of_is_replayed_as_the_archive_has_it(pool: Pool, database: str) -> None:
    history = list(History(5, people=2, monitors_each=2).entries(120))
    await store(pool, database, history)
    await project(pool, projector(pool))
    kept = {(entry.stream_id, entry.version): entry for entry in history}
    assert await rows(pool, LET_GO)

    async def filled(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        return [
            entry if entry.data else msgspec.structs.replace(entry, data=kept[entry.stream_id, entry.version].data)
            for entry in entries
        ]

    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool), open_entries=filled))
    assert await dumped(pool, LIVE) == await dumped(pool, PREVIOUS)


async def test_without_the_archive_nothing_is_made_of_half_a_log(pool: Pool, database: str) -> None:
    await store(pool, database, History(5, people=2, monitors_each=2).entries(120))
    await project(pool, projector(pool))
    before = await dumped(pool, LIVE)
    await rows(pool, LET_GO)
    with pytest.raises(LogIncomplete, match="stands in the archive"):
        await rebuilt(Rebuild(pool, CORE, PostgresLog(pool)))
    assert await dumped(pool, LIVE) == before


async def test_an_event_that_is_missing_from_the_store_ends_a_rebuild(pool: Pool, database: str) -> None:
    await store(pool, database, History(5, people=2, monitors_each=2).entries(120))
    await project(pool, projector(pool))
    async with pool.connection() as connection:
        await connection.execute("alter table event disable trigger user")
        await connection.execute("delete from event where ctid = (select ctid from event where version = 1 limit 1)")
    with pytest.raises(LogIncomplete, match=r"of \d+ events of the log \d+ are in the store"):
        await rebuilt(Rebuild(pool, CORE, PostgresLog(pool)))


async def test_a_former_version_of_an_event_is_replayed_as_the_present_one(pool: Pool, database: str) -> None:
    requested = CORE.by_type()["notification.requested"]
    told = requested.statements[0].replace("data->>'subject'", "(data ? 'expires_at')::text")
    assert told != requested.statements[0]
    curious = replace(
        CORE,
        handlers=(*(each for each in CORE.handlers if each is not requested), replace(requested, statements=(told,))),
    )
    former = [
        msgspec.structs.replace(entry, type_version=1, data=entry.data.replace('"expires_at":null,', ""))
        if entry.type == "notification.requested"
        else entry
        for entry in History(6, people=3, monitors_each=3).entries(300)
    ]
    await store(pool, database, former)
    await project(pool, projector(pool))
    await rebuilt(Rebuild(pool, curious, PostgresLog(pool)))
    assert await rows(pool, "select distinct subject from notifications") == [("true",)]
