"""A rebuild gives what the live projection gave, beside live traffic, and survives being killed."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE, PostgresReadTables
from adapters.postgres_rebuild import Rebuild
from benchmarks.history import History
from domain.event import Metadata, NewEvents
from domain.event_codec import decode_entry
from domain.log_entry import PARTITIONS, LogEntry
from projections.core import CORE
from tests.projections.test_core_projection import dump
from workers.lifecycle import Stop
from workers.log_reader import LogReader
from workers.partitions import PartitionLeases
from workers.projector import Projector


async def append_all(pool: Pool, entries: Sequence[LogEntry]) -> None:
    """Append a made history event by event, as commands would."""
    store = PostgresEventStore(pool, new_id=uuid7)
    for entry in entries:
        stored = decode_entry(entry)
        new = NewEvents(
            stream_id=stored.stream_id,
            owner_id=stored.owner_id,
            expected_version=stored.version - 1,
            events=(stored.event,),
        )
        await store.append([new], metadata=Metadata(correlation_id=uuid7(), actor="test"))


async def sequence_all(pool: Pool) -> None:
    while await PostgresLog(pool).sequence_batch():
        pass


async def project_all(pool: Pool) -> None:
    log, tables = PostgresLog(pool), PostgresReadTables(pool, CORE)
    places = await tables.places(range(PARTITIONS))
    for partition, place in places.items():
        entries = await log.read(partition, after_place=place, limit=10_000)
        if entries:
            assert await tables.apply(entries, places=places, epochs=dict.fromkeys(range(PARTITIONS), 1))


async def dumped(pool: Pool, schema: str) -> object:
    async with pool.connection() as connection:
        return await dump(connection, schema)


@pytest.fixture
async def filled(pool: Pool) -> Pool:
    await append_all(pool, list(History(7, people=3, monitors_each=2).entries(400)))
    await sequence_all(pool)
    await project_all(pool)
    return pool


async def test_a_rebuild_equals_the_live_tables_and_keeps_the_old_ones(filled: Pool) -> None:
    before = await dumped(filled, LIVE)
    progress = [step async for step in Rebuild(filled, CORE, PostgresLog(filled)).run()]
    assert progress[-1].phase == "switched"
    assert progress[-1].done == progress[-1].total >= 400
    assert await dumped(filled, LIVE) == before
    assert await dumped(filled, PREVIOUS) == before


async def test_a_rebuild_mends_a_table_that_was_changed_by_hand(filled: Pool) -> None:
    before = await dumped(filled, LIVE)
    async with filled.connection() as connection:
        await connection.execute("update monitors set name = 'tampered'")
    assert await dumped(filled, LIVE) != before
    async for _ in Rebuild(filled, CORE, PostgresLog(filled)).run():
        pass
    assert await dumped(filled, LIVE) == before


async def test_a_rebuild_makes_the_same_constraints_and_indexes(filled: Pool) -> None:
    shape = """
        select c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) from pg_constraint c
        join pg_namespace n on n.oid = c.connamespace where n.nspname = 'read_model' order by 1, 2
    """

    async def constraints() -> list[tuple[object, ...]]:
        async with filled.connection() as connection:
            return await (await connection.execute(shape)).fetchall()

    before = await constraints()
    async for _ in Rebuild(filled, CORE, PostgresLog(filled)).run():
        pass
    assert await constraints() == before


async def test_an_interrupted_rebuild_goes_on_where_it_was(filled: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    monkeypatch.setattr("adapters.postgres_rebuild.BATCH_ENTRIES", 50)
    async with aclosing(Rebuild(filled, CORE, PostgresLog(filled)).run()) as interrupted:
        first = await anext(interrupted)
    resumed = [step async for step in Rebuild(filled, CORE, PostgresLog(filled)).run()]
    assert resumed[0].done > first.done
    assert await dumped(filled, LIVE) == await dumped(filled, PREVIOUS)


async def test_a_rebuild_beside_live_traffic_loses_nothing(filled: Pool) -> None:
    stop = Stop()
    log = PostgresLog(filled)
    partitions = PartitionLeases(
        PostgresLeases(filled), consumer=CORE.name, holder="test", monotonic=asyncio.get_running_loop().time
    )
    projector = Projector(
        LogReader(_NoTail(), log, monotonic=asyncio.get_running_loop().time),
        PostgresReadTables(filled, CORE),
        partitions,
    )
    live = asyncio.create_task(projector.run(stop))
    more = list(History(8, people=3, monitors_each=2).entries(300))

    async def traffic() -> None:
        for start in range(0, len(more), 10):
            await append_all(filled, more[start : start + 10])
            await sequence_all(filled)

    async def rebuild() -> None:
        async for _ in Rebuild(filled, CORE, PostgresLog(filled)).run():
            pass

    await asyncio.gather(traffic(), rebuild())
    await rebuild()
    places = await PostgresReadTables(filled, CORE).places(range(PARTITIONS))
    while tuple(places[p] for p in range(PARTITIONS)) != await log.places():
        places = await PostgresReadTables(filled, CORE).places(range(PARTITIONS))
        await asyncio.sleep(0.01)
    stop.ask()
    await live
    after_traffic = await dumped(filled, LIVE)
    async for _ in Rebuild(filled, CORE, PostgresLog(filled)).run():
        pass
    assert await dumped(filled, LIVE) == after_traffic


class _NoTail:
    """A Redis that never has anything."""

    async def read(self, after: object, *, limit: int, block_ms: int) -> list[LogEntry]:
        await asyncio.sleep(0.005)
        return []
