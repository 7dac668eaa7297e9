"""Sequencing, publishing, projecting and rebuilding against real servers."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog, link
from adapters.postgres_pool import Pool, open_pool
from adapters.redis_log import RedisLog
from domain.event import Metadata, NewEvents
from domain.log_entry import LogEntry
from domain.user import RoleGranted
from tests.conftest import AT


def metadata() -> Metadata:
    return Metadata(correlation_id=uuid7(), actor="test")


def granted(stream_id: UUID, role: str, *, after: int = 0, owner_id: UUID | None = None) -> NewEvents:
    return NewEvents(
        stream_id=stream_id,
        owner_id=owner_id or stream_id,
        expected_version=after,
        events=(RoleGranted(role=role, granted_at=AT),),
    )


async def sequence_all(log: PostgresLog) -> list[LogEntry]:
    entries: list[LogEntry] = []
    while batch := await log.sequence_batch():
        entries += batch
    return entries


def roles(entries: Sequence[LogEntry]) -> list[str]:
    return [entry.data for entry in entries]


async def test_positions_are_dense_and_places_are_dense_in_each_partition(pool: Pool) -> None:
    store, log = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool)
    await asyncio.gather(*(store.append([granted(uuid7(), str(i))], metadata=metadata()) for i in range(60)))
    entries = await sequence_all(log)
    assert [entry.position for entry in entries] == list(range(1, 61))
    for partition in range(16):
        places = [entry.place for entry in entries if entry.partition == partition]
        assert places == list(range(1, len(places) + 1))


async def test_an_event_of_a_slow_transaction_with_a_lower_id_is_not_skipped(pool: Pool, database: str) -> None:
    """The trap that loses events elsewhere: a later transaction commits first."""
    store, log = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool)
    async with open_pool(database, size_max=1) as other, other.connection() as slow:
        async with slow.transaction():
            await slow.execute(
                "select append_events(array[%s]::uuid[], '{1}', array[%s]::uuid[], '{user.role_granted}', '{1}',"
                " array['{\"role\":\"slow\"}']::jsonb[], array['{}']::jsonb[], array[gen_random_uuid()])",
                (uuid7(), uuid7()),
            )
            await store.append([granted(uuid7(), "fast")], metadata=metadata())
            assert await log.sequence_batch() == []
        await asyncio.sleep(0)
    entries = await sequence_all(log)
    assert ["slow" in entry.data for entry in entries] == [True, False]


async def test_order_holds_where_transaction_ids_get_another_digit(pool: Pool) -> None:
    """As texts, 1000 sorts before 999."""
    store, log = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool)
    async with pool.connection() as connection:
        row = await (await connection.execute("select pg_current_xact_id()::text")).fetchone()
        assert row is not None
        burn = 10 ** len(row[0]) - int(row[0]) - 4
        await connection.execute(
            sql.SQL("do $$ begin for i in 1..{} loop perform pg_current_xact_id(); commit; end loop; end $$").format(
                burn
            )
        )
    owner = uuid7()
    for i in range(8):
        await store.append([granted(owner, str(i), after=i)], metadata=metadata())
    entries = await sequence_all(log)
    assert [entry.version for entry in entries] == list(range(1, 9))


async def test_two_sequencers_at_once_give_each_event_one_position(pool: Pool) -> None:
    store, log, rival = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool), PostgresLog(pool)
    await asyncio.gather(*(store.append([granted(uuid7(), str(i))], metadata=metadata()) for i in range(40)))
    batches = await asyncio.gather(*(one.sequence_batch() for one in (log, rival) * 4))
    rest = await sequence_all(log)
    entries = [entry for batch in (*batches, rest) for entry in batch]
    assert sorted(entry.position for entry in entries) == list(range(1, 41))


async def test_the_chain_links_every_event_to_the_one_before(pool: Pool) -> None:
    store, log = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool)
    for i in range(5):
        await store.append([granted(uuid7(), str(i))], metadata=metadata())
    entries = await sequence_all(log)
    expected = bytes(32)
    for entry in entries:
        expected = link(expected, entry)
    assert (await log.head()).hash == expected
    tampered = [msgspec.structs.replace(entry, data="{}") for entry in entries]
    broken = bytes(32)
    for entry in tampered:
        broken = link(broken, entry)
    assert broken != expected


async def test_what_is_read_from_postgresql_is_what_was_sequenced(pool: Pool) -> None:
    store, log = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool)
    owner = uuid7()
    for i in range(7):
        await store.append([granted(uuid7(), str(i), owner_id=owner)], metadata=metadata())
    entries = await sequence_all(log)
    partition = entries[0].partition
    assert await log.read(partition, after_place=0, limit=100) == entries
    assert await log.read(partition, after_place=5, limit=1) == entries[5:6]


@pytest.fixture
async def client(redis_url: str) -> redis.Redis:
    return redis.from_url(redis_url)


async def test_redis_takes_only_entries_that_follow(pool: Pool, client: redis.Redis) -> None:
    store, log, tail = PostgresEventStore(pool, new_id=uuid7), PostgresLog(pool), RedisLog(client, namespace="t")
    owner = uuid7()
    for i in range(6):
        await store.append([granted(uuid7(), str(i), owner_id=owner)], metadata=metadata())
    entries = await sequence_all(log)
    partition = entries[0].partition
    other = msgspec.structs.replace(entries[2], data='{"of": "another history"}')
    assert await tail.publish(partition, entries[:3], after=None)
    assert not await tail.publish(partition, entries[:3], after=None)
    assert not await tail.publish(partition, entries[4:], after=entries[3])
    assert not await tail.publish(partition, entries[3:], after=other)
    assert await tail.publish(partition, entries[3:], after=entries[2])
    assert await tail.read({partition: 0}, limit=100, block_ms=1) == entries
    assert await tail.read({partition: 4}, limit=100, block_ms=1) == entries[4:]
    assert await tail.last(partition) == entries[-1]
    await client.flushall()
    assert await tail.last(partition) is None
    assert await tail.publish(partition, entries[5:], after=entries[4])
    await client.aclose()


@given(st.lists(st.binary(max_size=8), max_size=4))
@settings(max_examples=20)
def test_a_link_depends_on_everything_before_it(texts: list[bytes]) -> None:
    entry = LogEntry(0, 1, 1, uuid7(), 1, uuid7(), "t", 1, "{}", "{}", uuid7(), "2026-01-01T00:00:00Z")
    hashes = {bytes(32)}
    previous = bytes(32)
    for _ in texts:
        previous = link(previous, entry)
        assert previous not in hashes
        hashes.add(previous)
