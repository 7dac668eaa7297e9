"""Projectors share partitions by lease, and only who owns the checkpoint writes: real PostgreSQL."""

from collections.abc import Sequence
from uuid import UUID

import pytest
import redis.asyncio as redis

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_read_tables import PostgresReadTables
from adapters.redis_log import RedisLog
from domain.log_entry import PARTITIONS
from domain.user import RoleGranted
from projections.core import CORE
from tests.conftest import AT
from tests.workers.test_relay import EXPIRE, relay, work
from tests.workers.world import RestlessStop, Ticks, World
from workers.log_reader import LogReader, LogRewound
from workers.partitions import LEASE_LIFETIME, RENEWAL_SECONDS, PartitionLeases
from workers.projector import (
    REST_SECONDS_WITHOUT_NEWS,
    REST_SECONDS_WITHOUT_PARTITIONS,
    Projector,
    ReadTables,
)


class Crew:
    """Projectors of one installation, and what people did in it. Redis is away unless told otherwise."""

    def __init__(self, world: World, client: redis.Redis, ticks: Ticks) -> None:
        self.world, self.ticks = world, ticks
        self._client = client

    def leases(self, holder: str) -> PartitionLeases:
        return PartitionLeases(PostgresLeases(self.world.pool), consumer=CORE.name, holder=holder, monotonic=self.ticks)

    def projector(self, holder: str, *, tables: ReadTables | None = None) -> Projector:
        reader = LogReader(RedisLog(self._client, namespace="t"), self.world.log, monotonic=self.ticks)
        return Projector(reader, tables or self.world.tables, self.leases(holder))

    async def person(self, email: str) -> UUID:
        """Somebody registers and gets a place in the log."""
        owner = await self.world.person(email=email)
        await self.world.sequence()
        return owner

    async def people(self) -> object:
        """How many the read tables know."""
        return await self.world.value("select count(*) from users")


@pytest.fixture
def crew(world: World, no_redis: redis.Redis, ticks: Ticks) -> Crew:
    return Crew(world, no_redis, ticks)


async def test_a_projector_brings_the_tables_to_the_head_and_rests(crew: Crew) -> None:
    projector = crew.projector("one")
    for number in range(1, 4):
        await crew.person(f"{number}@example.org")
        assert await projector.step() == 0
        assert await crew.people() == number
        assert await projector.step() == REST_SECONDS_WITHOUT_NEWS


async def test_a_projector_follows_redis(world: World, client: redis.Redis, ticks: Ticks) -> None:
    crew, leader = Crew(world, client, ticks), relay(world, client, ticks)
    projector = crew.projector("one")
    for number in range(1, 4):
        await world.person(email=f"{number}@example.org")
        await work(leader, world)
        while await crew.people() != number:
            await projector.step()


async def test_of_two_projectors_one_owns_the_partitions_and_the_other_rests(crew: Crew) -> None:
    one, other = crew.projector("one"), crew.projector("two")
    await one.step()
    assert await other.step() == REST_SECONDS_WITHOUT_PARTITIONS
    await crew.person("ada@example.org")
    ticks = crew.ticks
    ticks.move(RENEWAL_SECONDS)
    assert await other.step() == REST_SECONDS_WITHOUT_PARTITIONS
    assert await crew.people() == 0
    await one.step()
    assert await crew.people() == 1


async def test_a_projector_that_stops_hands_its_partitions_over_at_once(crew: Crew) -> None:
    await crew.projector("one").run(RestlessStop(rests_max=1))
    other = crew.projector("two")
    await crew.person("ada@example.org")
    await other.step()
    assert await crew.people() == 1


async def test_a_projector_that_lost_its_leases_stops_writing(crew: Crew) -> None:
    one, other = crew.projector("one"), crew.projector("two")
    await one.step()
    await crew.world.execute(EXPIRE)
    await other.step()
    await crew.person("ada@example.org")
    crew.ticks.move(RENEWAL_SECONDS)
    assert await one.step() == REST_SECONDS_WITHOUT_PARTITIONS
    assert await crew.people() == 0
    await other.step()
    assert await crew.people() == 1


async def test_a_projector_that_does_not_know_it_lost_its_leases_doubles_nothing(crew: Crew) -> None:
    one, other = crew.projector("one"), crew.projector("two")
    owner = await crew.person("ada@example.org")
    await one.step()
    await crew.world.execute(EXPIRE)
    await crew.world.append(owner, owner, RoleGranted(role="auditor", granted_at=AT))
    await crew.world.sequence()
    await other.step()
    await one.step()  # it has not asked for its leases again, and still reads from its old place
    assert await crew.world.value("select roles from users") == ["member", "auditor"]
    assert await crew.world.value("select max(position) from checkpoint") == 3


async def test_where_its_successor_wrote_such_a_projector_never_writes_again(crew: Crew) -> None:
    one, other = crew.projector("one"), crew.projector("two")
    owner = await crew.person("1@example.org")
    await one.step()
    await crew.world.execute(EXPIRE)
    await crew.world.notes(owner, 1)
    await crew.world.sequence()
    await other.step()
    await crew.world.notes(owner, 1)
    await crew.world.sequence()
    for _ in range(4):
        await one.step()
    assert await crew.world.value("select max(position) from checkpoint") == 3
    await other.step()
    assert await crew.world.value("select max(position) from checkpoint") == 4


async def test_a_checkpoint_that_somebody_else_moved_is_read_again(crew: Crew) -> None:
    projector = crew.projector("one")
    await projector.step()
    owner = await crew.person("1@example.org")
    await crew.world.project(epoch=1)
    assert await projector.step() == 0  # it reads from its old place, and is refused
    assert await crew.people() == 1
    await crew.world.notes(owner, 1)
    await crew.world.sequence()
    await projector.step()
    assert await crew.world.value("select sum(position) from checkpoint") == 3


class AwayAtFirst(PostgresReadTables):
    """Tables whose database does not answer the first question."""

    asked = 0

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionError
        return await super().places(partitions)


async def test_a_projector_that_could_not_read_its_places_reads_them_later(crew: Crew) -> None:
    projector = crew.projector("one", tables=AwayAtFirst(crew.world.pool, CORE))
    await crew.person("ada@example.org")
    with pytest.raises(ConnectionError):
        await projector.step()
    await projector.step()
    assert await crew.people() == 1


async def test_a_log_that_was_replaced_by_an_older_copy_stops_the_projector(crew: Crew) -> None:
    projector = crew.projector("one")
    await crew.person("ada@example.org")
    await projector.step()
    await crew.world.execute("update log_head set partition_positions = array_fill(0::bigint, array[16])")
    with pytest.raises(LogRewound):
        await projector.step()


async def test_leases_are_renewed_every_second_and_not_more_often(crew: Crew) -> None:
    leases, other = crew.leases("one"), crew.leases("two")
    assert await leases.renew()
    assert leases.epochs == dict.fromkeys(range(PARTITIONS), 1)
    assert not await leases.renew()
    crew.ticks.move(RENEWAL_SECONDS)
    assert not await leases.renew()
    assert not await other.renew()
    await crew.world.execute(EXPIRE)
    assert not await other.renew()  # not yet asked again
    crew.ticks.move(RENEWAL_SECONDS)
    assert await other.renew()
    assert other.epochs == dict.fromkeys(range(PARTITIONS), 2)
    assert await leases.renew()
    assert leases.epochs == {}
    assert LEASE_LIFETIME.total_seconds() > 2 * RENEWAL_SECONDS


async def test_leases_that_were_lost_and_came_back_unnoticed_are_other_leases(crew: Crew) -> None:
    leases, other = crew.leases("one"), crew.leases("two")
    await leases.renew()
    await crew.world.execute(EXPIRE)
    await other.renew()
    await other.let_go()
    crew.ticks.move(RENEWAL_SECONDS)
    assert await leases.renew()
    assert leases.epochs == dict.fromkeys(range(PARTITIONS), 3)


async def test_only_expired_leases_are_taken(crew: Crew) -> None:
    leases, other = crew.leases("one"), crew.leases("two")
    await leases.renew()
    await crew.world.execute("update lease set expires_at = '-infinity' where name = 'core:5'")
    assert await other.renew()
    assert other.epochs == {5: 2}


async def test_letting_go_leaves_the_leases_of_others_alone(crew: Crew) -> None:
    leases, other = crew.leases("one"), crew.leases("two")
    await leases.renew()
    await other.let_go()
    crew.ticks.move(RENEWAL_SECONDS)
    assert not await other.renew()
    await leases.let_go()
    assert leases.epochs == {}
    crew.ticks.move(RENEWAL_SECONDS)
    assert await other.renew()
