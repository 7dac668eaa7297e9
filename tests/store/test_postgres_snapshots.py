"""The table of snapshots: what stands in it can be read by nobody who may not."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_person_keys import PersonKeys
from adapters.postgres_pool import Pool
from adapters.postgres_snapshots import PostgresSnapshots
from adapters.wrapping_keys import WrappingKeys
from commands.event_store import Snapshot
from domain.event import Metadata, NewEvents
from domain.monitor import MonitorPaused, MonitorRenamed
from tests.conftest import AT

SHAPE = "monitor.1.0123456789abcdef"
STATE = b'{"name":"my new job"}'


@dataclass
class Kept:
    """Three streams with a snapshot each: two of Ada's, one of Bob's."""

    pool: Pool
    snapshots: PostgresSnapshots
    ada: UUID
    bob: UUID
    streams: list[UUID]

    async def state(self, stream: UUID, *, shape: str = SHAPE) -> bytes | None:
        """What is read, None when that is nothing."""
        found = await self.snapshots.load(stream, shape=shape)
        return None if found is None or found[0] is None else found[0].state

    async def execute(self, statement: str, *values: object) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(statement.encode(), values)

    async def erase(self, owner: UUID) -> None:
        await self.execute(
            "update person_key set wrapped = null, wrapping_key_id = null, destroyed_at = now() where owner_id = %s",
            owner,
        )


@pytest.fixture
async def kept(pool: Pool) -> Kept:
    keys = PersonKeys(pool, WrappingKeys([bytes(32)]))
    store, snapshots = PostgresEventStore(pool, new_id=uuid7, people=keys), PostgresSnapshots(pool, keys)
    world = Kept(pool, snapshots, ada=uuid7(), bob=uuid7(), streams=[uuid7() for _ in range(3)])
    for stream, owner in zip(world.streams, (world.ada, world.ada, world.bob), strict=True):
        events = (MonitorRenamed(name="my new job", renamed_at=AT), MonitorPaused(paused_at=AT))
        new = NewEvents(stream_id=stream, owner_id=owner, expected_version=0, events=events)
        await store.append([new], metadata=Metadata(correlation_id=stream, actor="test"))
        first = (await store.load(stream))[0]
        await snapshots.keep(snapshot_of(stream, owner, first.event_id))
    return world


def snapshot_of(stream: UUID, owner: UUID, event_id: UUID) -> Snapshot:
    return Snapshot(stream_id=stream, owner_id=owner, version=1, event_id=event_id, shape=SHAPE, state=STATE)


async def test_a_snapshot_comes_back_with_the_rows_after_it(kept: Kept) -> None:
    found = await kept.snapshots.load(kept.streams[0], shape=SHAPE)
    assert found is not None
    snapshot, rows = found
    assert snapshot is not None
    assert snapshot == snapshot_of(kept.streams[0], kept.ada, snapshot.event_id)
    assert [(row[0], row[1], row[2]) for row in rows] == [(2, kept.ada, "monitor.paused")]


async def test_without_a_snapshot_all_rows_come(kept: Kept) -> None:
    found = await kept.snapshots.load(kept.streams[0], shape="monitor.2.0123456789abcdef")
    assert found is not None
    assert found[0] is None
    assert [row[0] for row in found[1]] == [1, 2]
    assert await kept.snapshots.load(uuid7(), shape=SHAPE) == (None, [])


async def test_each_of_many_that_are_loaded_at_once_gets_its_own(kept: Kept) -> None:
    later = "monitor.2.0123456789abcdef"
    asked = [(stream, shape) for stream in (*kept.streams, uuid7()) for shape in (SHAPE, later)] * 30
    alone = {one: await kept.snapshots.load(one[0], shape=one[1]) for one in asked}
    together = await asyncio.gather(*(kept.snapshots.load(stream, shape=shape) for stream, shape in asked))
    assert together == [alone[one] for one in asked]
    assert [None if found is None else len(found[1]) for found in together[:8]] == [1, 2, 1, 2, 1, 2, 0, 0]


async def test_many_that_are_loaded_at_once_take_few_round_trips(kept: Kept) -> None:
    calls = kept.pool.get_stats()["requests_num"]
    await asyncio.gather(*(kept.snapshots.load(stream, shape=SHAPE) for stream in kept.streams * 100))
    assert kept.pool.get_stats()["requests_num"] - calls < 30


async def test_what_a_person_said_stands_in_no_snapshot_in_the_clear(kept: Kept) -> None:
    async with kept.pool.connection() as connection:
        rows = await (await connection.execute("select state, s::text from snapshot s")).fetchall()
    assert len(rows) == 3
    for state, row in rows:
        assert b"job" not in bytes(state)
        assert "job" not in row
        assert b"job".hex() not in row


@pytest.mark.parametrize("from_stream", [1, 2], ids=["of the same person", "of somebody else"])
async def test_a_state_does_not_pass_for_that_of_another_stream(kept: Kept, from_stream: int) -> None:
    take_over = "update snapshot s set state = o.state from snapshot o where s.stream_id = %s and o.stream_id = %s"
    await kept.execute(take_over, kept.streams[0], kept.streams[from_stream])
    assert await kept.snapshots.load(kept.streams[0], shape=SHAPE) is None


async def test_a_state_does_not_pass_for_that_of_another_moment_or_program(kept: Kept) -> None:
    later = "update snapshot s set version = 2, event_id = e.event_id from event e where s.stream_id = %s and (e.stream_id, e.version) = (s.stream_id, 2)"
    await kept.execute(later, kept.streams[0])
    assert await kept.snapshots.load(kept.streams[0], shape=SHAPE) is None
    await kept.execute("update snapshot set shape = 'monitor.2' where stream_id = %s", kept.streams[1])
    assert await kept.snapshots.load(kept.streams[1], shape="monitor.2") is None


async def test_snapshots_of_an_erased_person_cannot_be_read_and_no_more_are_kept(kept: Kept) -> None:
    await kept.erase(kept.ada)
    assert [await kept.state(stream) for stream in kept.streams] == [None, None, STATE]
    await kept.execute("truncate snapshot")
    for stream, owner in zip(kept.streams, (kept.ada, kept.ada, kept.bob), strict=True):
        event_id = uuid7()
        await kept.snapshots.keep(snapshot_of(stream, owner, event_id))
    async with kept.pool.connection() as connection:
        rows = await (await connection.execute("select stream_id from snapshot")).fetchall()
    assert rows == [(kept.streams[2],)]


async def test_the_application_s_role_reads_and_keeps_snapshots(kept: Kept, application_pool: Pool) -> None:
    snapshots = PostgresSnapshots(application_pool, PersonKeys(application_pool, WrappingKeys([bytes(32)])))
    found = await snapshots.load(kept.streams[0], shape=SHAPE)
    assert found is not None
    assert found[0] is not None
    await kept.execute("truncate snapshot")
    await snapshots.keep(found[0])
    assert await kept.state(kept.streams[0]) == STATE
