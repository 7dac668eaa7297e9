"""Events that had positions and are gone, as after the promotion of a standby that lacked them, stop the log and are told."""

import asyncio

import psycopg
import pytest
import redis.asyncio as redis
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog, read_head
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_repair import APPLICATION_NAME, StoreRepair
from adapters.redis_log import RedisLog
from domain.event import Metadata, NewEvents
from domain.log_state import EventsLost
from domain.user import RoleGranted
from tests.conftest import AT
from workers.relay import Relay, StoreRestored


async def append(pool: Pool, count: int) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    for _ in range(count):
        stream = uuid7()
        event = RoleGranted(role="member", granted_at=AT)
        new = NewEvents(stream_id=stream, owner_id=stream, expected_version=0, events=(event,))
        await store.append([new], metadata=Metadata(correlation_id=stream, actor="test"))


async def sequence(log: PostgresLog) -> None:
    while await log.sequence_batch():
        pass


class Rewinder:
    """Brings the log back to what it was, with or without the events, as a crash or a promotion does."""

    def __init__(self, pool: Pool, database: str) -> None:
        self._pool = pool
        self._database = database

    async def remember(self) -> None:
        async with self._pool.connection() as connection:
            self._head = await read_head(connection)

    async def rewind(self, *, with_events: bool) -> None:
        head = self._head
        async with await psycopg.AsyncConnection.connect(self._database) as owner:
            await owner.execute("set session_replication_role = replica")
            if with_events:
                await owner.execute(
                    "delete from event e using event_log l"
                    " where l.stream_id = e.stream_id and l.version = e.version and l.position > %s",
                    (head.position,),
                )
            await owner.execute("delete from event_log where position > %s", (head.position,))
            await owner.execute(
                "update log_head set tx = %s::xid8, seq = %s, position = %s, hash = %s, partition_positions = %s",
                (head.tx, head.seq, head.position, head.hash, list(head.places)),
            )


@pytest.fixture
async def rewinder(pool: Pool, database: str) -> Rewinder:
    await append(pool, 5)
    await sequence(PostgresLog(pool))
    made = Rewinder(pool, database)
    await made.remember()
    return made


async def test_positions_that_a_crash_took_back_are_given_again_to_the_same_events(
    pool: Pool, rewinder: Rewinder
) -> None:
    log = PostgresLog(pool)
    await append(pool, 3)
    await sequence(log)
    before = await log.head()
    await rewinder.rewind(with_events=False)
    await sequence(log)
    assert await log.head() == before
    await append(pool, 1)
    await sequence(log)
    assert (await log.head()).position == before.position + 1


@pytest.mark.parametrize("appended_later", [0, 1, 3, 8])
async def test_lost_events_are_noticed_whatever_comes_after_them(
    pool: Pool, rewinder: Rewinder, appended_later: int
) -> None:
    log = PostgresLog(pool)
    await append(pool, 3)
    await sequence(log)
    await rewinder.rewind(with_events=True)
    await append(pool, appended_later)
    with pytest.raises(EventsLost, match="vigil store repair"):
        await sequence(log)
        await append(pool, 3)
        await sequence(log)
    assert (await PostgresGuard(pool).state()).restored


async def test_nobody_sequences_until_the_store_was_repaired(
    pool: Pool, database: str, rewinder: Rewinder, redis_url: str
) -> None:
    log, client = PostgresLog(pool), redis.from_url(redis_url)
    relay = Relay(log, RedisLog(client, namespace="t"), PostgresLeases(pool), holder="one", monotonic=lambda: 0.0)
    await append(pool, 3)
    await relay.step()
    await rewinder.rewind(with_events=True)
    await append(pool, 4)
    with pytest.raises(EventsLost):
        await relay.step()
    for _ in range(3):
        with pytest.raises(StoreRestored):
            await relay.step()
    assert await PostgresLog(pool).sequence_batch() == []
    assert await PostgresLog(pool).is_from_another_cluster()
    await PostgresLeases(pool).let_go(["relay"], "one")
    async with open_pool(database, size_max=1, name=APPLICATION_NAME) as owner:
        repair = StoreRepair(owner)
        assert await repair.is_needed()
    await client.aclose()
    await pool.close()
    async with open_pool(database, size_max=1, name=APPLICATION_NAME) as owner:
        await StoreRepair(owner).run()
        await StoreRepair(owner).settle()
        after = PostgresLog(owner)
        assert not await after.is_from_another_cluster()
        await sequence(after)
        assert (await after.head()).position == 5 + 4


async def test_a_repair_waits_for_whoever_is_just_leaving(pool: Pool, database: str) -> None:
    await append(pool, 1)
    leaving = asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(pool.close()))
    async with open_pool(database, size_max=1, name=APPLICATION_NAME) as owner:
        repaired = await StoreRepair(owner).run()
    assert (leaving.cancelled(), repaired.events) == (False, 1)
