"""A store that was replaced by an older copy goes on with other events at the same places. What Redis still has of the
history that is no more reaches nobody: real PostgreSQL, real Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest
import redis.asyncio as redis

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import LogHead, PostgresLog
from adapters.postgres_operators import PostgresOperators
from adapters.postgres_outbox import PostgresTriggers
from adapters.postgres_parking import PostgresParking
from adapters.postgres_pool import Connection
from adapters.redis_log import RedisLog
from domain.log_entry import LogEntry, partition_of
from domain.monitor import State
from domain.notification import NotificationRequested
from domain.trigger import TriggerFired
from projections.core import CORE
from tests.workers.test_relay import relay, step, work
from tests.workers.world import Ticks, World, plan
from workers.log_reader import LogReader
from workers.notifier import CONSUMER, Notifier
from workers.partitions import PartitionLeases
from workers.projector import Projector
from workers.relay import LEASE_RENEWAL_SECONDS


@dataclass
class Backup:
    """Where the log ended, and where its consumers were."""

    head: tuple[str, int, int, bytes, list[int]]
    checkpoints: list[tuple[str, int, int]]


class ForgetfulLog(PostgresLog):
    """Does not notice that events are lost, as one that begins after the restore: what is proved here must hold without."""

    async def _compare_with_seen(self, connection: Connection, head: LogHead, hashes: Sequence[bytes]) -> None:
        pass


class House:
    """Somebody whose monitor has a trigger, everybody who consumes the log, and a relay."""

    def __init__(self, world: World, client: redis.Redis, ticks: Ticks) -> None:
        self.world, self.ticks, self._client = world, ticks, client
        world.log = ForgetfulLog(world.pool)
        self.tail = RedisLog(client, namespace="t")
        self.relay = relay(world, client, ticks)
        self.projector = Projector(self._reader(), world.tables, self._partitions(CORE.name))
        self.notifier = Notifier(
            self._reader(),
            PostgresParking(world.pool, CONSUMER),
            self._partitions(CONSUMER),
            world.store,
            PostgresTriggers(world.pool),
            PostgresOperators(world.pool),
            now=world.clock,
        )

    def _reader(self) -> LogReader:
        return LogReader(self.tail, self.world.log, monotonic=self.ticks)

    def _partitions(self, consumer: str) -> PartitionLeases:
        return PartitionLeases(PostgresLeases(self.world.pool), consumer=consumer, holder="one", monotonic=self.ticks)

    async def settle(self) -> None:
        self.owner = await self.world.person()
        self.partition = partition_of(self.owner)
        self.monitor = await self.world.monitor(self.owner, plan())
        await self.world.trigger(self.owner, self.monitor, await self.world.action(self.owner))
        await self.relayed()
        await self.consumed()

    async def relayed(self) -> None:
        await work(self.relay, self.world)

    async def consumed(self) -> None:
        """Projector and notifier go on until both are at the end of the log."""
        head = sum(await self.world.log.places())
        for consumer, worker in ((CORE.name, self.projector), (CONSUMER, self.notifier)):
            query = "select sum(position) from checkpoint where consumer = %s"
            while await self.world.value(query, consumer) != head:
                await worker.step()

    async def places(self) -> list[tuple[int, UUID]]:
        """The places and events of our partition that Redis has."""
        entries = await self.tail.read({self.partition: 0}, limit=1000, block_ms=1)
        return [(entry.place, entry.event_id) for entry in entries]

    async def true_places(self) -> list[tuple[int, UUID]]:
        entries = await self.world.log.read(self.partition, after_place=0, limit=1000)
        return [(entry.place, entry.event_id) for entry in entries]

    async def back_up(self) -> Backup:
        async with self.world.pool.connection() as connection:
            head = await (
                await connection.execute("select tx::text, seq, position, hash, partition_positions from log_head")
            ).fetchone()
            rows = await (await connection.execute("select consumer, partition, position from checkpoint")).fetchall()
        assert head is not None
        return Backup((head[0], head[1], head[2], bytes(head[3]), list(head[4])), [(c, p, n) for c, p, n in rows])

    async def restore(self, backup: Backup) -> None:
        """The store as it was then. Redis does not know."""
        tx, seq, position, digest, places = backup.head
        await self.world.tamper("delete from event_log where position > %s", position)
        await self.world.tamper("delete from event where (tx, seq) > (%s::xid8, %s)", tx, seq)
        await self.world.tamper(
            "update log_head set tx = %s::xid8, seq = %s, position = %s, hash = %s, partition_positions = %s",
            tx,
            seq,
            position,
            digest,
            places,
        )
        for consumer, partition, place in backup.checkpoints:
            await self.world.execute(
                "update checkpoint set position = %s where consumer = %s and partition = %s", place, consumer, partition
            )


@pytest.fixture
async def house(world: World, client: redis.Redis, ticks: Ticks) -> House:
    opened = House(world, client, ticks)
    await opened.settle()
    return opened


async def haunted(house: House) -> list[tuple[int, UUID]]:
    """A change is published, and the store restored to before it; the ghosts that Redis keeps."""
    backup = await house.back_up()
    await house.world.change(house.owner, house.monitor)
    await house.relayed()
    before = set(await house.true_places())
    await house.restore(backup)
    ghosts = [one for one in await house.places() if one not in await house.true_places()]
    assert len(ghosts) == 3
    assert before >= set(ghosts)
    return ghosts


async def told(house: House) -> tuple[int, int, object]:
    """Firings, notifications, and changes in the read tables."""
    fired = await house.world.streams_with(TriggerFired)
    asked = await house.world.streams_with(NotificationRequested)
    return len(fired), len(asked), await house.world.value("select count(*) from changes")


async def test_ghosts_at_places_that_the_log_does_not_have_reach_nobody(house: House) -> None:
    await haunted(house)
    for _ in range(3):
        await house.notifier.step()
        await house.projector.step()
    assert await told(house) == (0, 0, 0)


async def test_ghosts_at_places_that_the_log_has_otherwise_reach_nobody_before_the_relay_looks(house: House) -> None:
    ghosts = await haunted(house)
    await house.world.notes(house.owner, len(ghosts) + 2)
    await house.world.sequence()
    assert await house.places() != await house.true_places()
    await house.consumed()
    assert await told(house) == (0, 0, 0)
    assert await house.world.value("select version from users") == 2 + len(ghosts) + 2


async def test_a_relay_that_goes_on_after_the_restore_replaces_the_ghosts(house: House) -> None:
    ghosts = await haunted(house)
    await house.world.notes(house.owner, len(ghosts) + 2)
    await house.relayed()
    assert await house.places() == await house.true_places()
    await house.consumed()
    assert await told(house) == (0, 0, 0)


@pytest.mark.parametrize("more", [-2, 0, 2])
async def test_a_relay_that_takes_over_after_the_restore_replaces_the_ghosts(house: House, more: int) -> None:
    ghosts = await haunted(house)
    await house.world.notes(house.owner, len(ghosts) + more)
    await house.world.sequence()
    house.ticks.move(LEASE_RENEWAL_SECONDS)
    await house.world.execute("update lease set expires_at = now() - interval '1 second'")
    await step(relay(house.world, house._client, house.ticks, "two"))
    assert await house.places() == await house.true_places()


async def test_a_zombie_that_publishes_its_history_after_the_restore_reaches_nobody(house: House) -> None:
    """It has sequenced before the restore, and reaches Redis when others have emptied and filled it."""
    last = (await house.world.log.read(house.partition, after_place=0, limit=1000))[-1]
    backup = await house.back_up()
    await house.world.change(house.owner, house.monitor)
    ghosts: list[LogEntry] = await house.world.sequence()
    await house.restore(backup)
    assert await house.tail.publish(house.partition, ghosts, after=last)
    await house.world.change(house.owner, house.monitor, State.ACTIVE, State.INACTIVE)  # no trigger waits for this
    await house.world.sequence()
    await house.consumed()
    assert await told(house) == (0, 0, 1)
    await house.world.notes(house.owner, 1)
    await house.relayed()
    assert not await house.tail.publish(house.partition, ghosts, after=last)
    assert await house.places() == await house.true_places()


async def test_a_relay_adds_nothing_behind_what_a_zombie_published_from_its_history(house: House) -> None:
    """The zombie's entries end at the very place that the relay has published last, and Redis was flushed in between."""
    backup = await house.back_up()
    await house.world.notes(house.owner, 3)
    ghosts = await house.world.sequence()
    await house.restore(backup)
    await house.world.notes(house.owner, 3)
    await house.relayed()
    await house._client.flushall()
    assert await house.tail.publish(house.partition, ghosts, after=None)
    await house.world.notes(house.owner, 1)
    await house.relayed()
    assert await house.places() == await house.true_places()
