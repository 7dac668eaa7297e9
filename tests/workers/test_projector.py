"""Projectors share the partitions, and only who owns a checkpoint writes: real PostgreSQL, real Redis."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
import redis.asyncio as redis

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_read_tables import PostgresReadTables
from adapters.redis_log import RedisLog
from domain.log_entry import PARTITIONS, LogEntry
from domain.user import RoleGranted
from projections.core import CORE
from tests.conftest import AT
from tests.workers.test_relay import EXPIRE, relay, work
from tests.workers.world import RestlessStop, Ticks, World, somebody_in
from workers.log_reader import LogReader, LogRewound
from workers.partitions import RENEWAL_SECONDS, PartitionLeases
from workers.projector import (
    REST_SECONDS_WITHOUT_NEWS,
    REST_SECONDS_WITHOUT_PARTITIONS,
    Projector,
    ReadTables,
)


@pytest.fixture(autouse=True)
def leases_end_by_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXPIRE` ends them here; on a busy machine a step may take longer than they last in earnest."""
    monkeypatch.setattr("workers.partitions.LEASE_LIFETIME", timedelta(minutes=5))


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


class Watched(PostgresReadTables):
    """Tables that tell who wrote what."""

    def __init__(self, world: World) -> None:
        super().__init__(world.pool, CORE)
        self.written: list[LogEntry] = []

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        moved = await super().apply(entries, places=places, epochs=epochs)
        if moved is not None:
            self.written += entries
        return moved


async def test_projectors_project_side_by_side_each_its_share(world: World, client: redis.Redis, ticks: Ticks) -> None:
    crew, leader = Crew(world, client, ticks), relay(world, client, ticks)
    tables = [Watched(world) for _ in range(3)]
    projectors = [crew.projector(str(number), tables=one) for number, one in enumerate(tables)]
    for _ in range(3):
        for projector in projectors:
            await projector.step()
        ticks.move(RENEWAL_SECONDS)
    for partition in range(PARTITIONS):
        await world.notes(somebody_in(partition), 2)
    await work(leader, world)
    while sum(len(one.written) for one in tables) < 2 * PARTITIONS:
        for projector in projectors:
            await projector.step()
    shares = [{entry.partition for entry in one.written} for one in tables]
    assert sorted(len(share) for share in shares) == [5, 5, 6]
    assert set.union(*shares) == set(range(PARTITIONS))


async def test_a_projector_gives_partitions_up_between_two_batches(crew: Crew) -> None:
    """It is asked to write 5 entries of each partition; while it does, another one comes and waits for its share."""
    one, other = crew.projector("one", tables=(tables := Watched(crew.world))), crew.projector("two")
    await one.step()
    for partition in range(PARTITIONS):
        await crew.world.notes(somebody_in(partition), 5)
    await crew.world.sequence()
    await other.step()
    assert await one.step() == 0
    crew.ticks.move(RENEWAL_SECONDS)
    assert len(tables.written) == 5 * PARTITIONS
    for partition in range(PARTITIONS):
        await crew.world.notes(somebody_in(partition), 1)
    await crew.world.sequence()
    await one.step()
    await other.step()
    assert len(tables.written) == 5 * PARTITIONS + PARTITIONS // 2
    assert await crew.world.value("select sum(position) from checkpoint") == 6 * PARTITIONS


class Slow(Watched):
    """Tables that take so long to write that somebody else joins meanwhile, and the leases must be renewed."""

    def __init__(self, world: World, ticks: Ticks, other: PartitionLeases) -> None:
        super().__init__(world)
        self._ticks, self._other = ticks, other

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        self._ticks.move(RENEWAL_SECONDS)
        await self._other.renew(self.places)
        return await super().apply(entries, places=places, epochs=epochs)


async def test_in_a_long_batch_leases_are_renewed_and_what_was_given_up_is_not_written(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.projector.SLICE_ENTRIES_MAX", 3)
    other = crew.leases("two")
    projector = crew.projector("one", tables=(tables := Slow(crew.world, crew.ticks, other)))
    await projector.step()
    for partition in range(PARTITIONS):
        await crew.world.notes(somebody_in(partition), 1)
    await crew.world.sequence()
    assert await projector.step() == 0
    before = [entry.partition for entry in tables.written]  # which three come first is nobody's promise
    assert len(before) == len(set(before)) == 3
    while await projector.step() == 0:
        pass
    after = [entry.partition for entry in tables.written[3:]]
    assert sorted(after) == sorted(projector._partitions.epochs.keys() - set(before))
    assert len(projector._partitions.epochs) == PARTITIONS // 2


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
    while await crew.people() == 0:
        await other.step()
        await one.step()
        crew.ticks.move(RENEWAL_SECONDS)


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


async def test_a_log_that_was_replaced_by_one_older_than_the_checkpoints_stops_the_projector(crew: Crew) -> None:
    projector = crew.projector("one")
    await crew.person("ada@example.org")
    await projector.step()
    await crew.world.execute("update log_head set partition_positions = array_fill(0::bigint, array[16])")
    for _ in range(2):
        with pytest.raises(LogRewound):
            await projector.step()


async def test_a_store_that_was_replaced_by_an_older_copy_of_itself_is_projected_from_there(crew: Crew) -> None:
    """What `pg_restore` does under a projector that goes on running: log and checkpoints are older together."""
    projector = crew.projector("one")
    await crew.world.notes(somebody_in(0), 2)
    await crew.world.sequence()
    await projector.step()
    await crew.world.execute("update checkpoint set position = 0")
    await crew.world.execute("update log_head set partition_positions = array_fill(0::bigint, array[16])")
    with pytest.raises(LogRewound):
        await projector.step()
    assert await projector.step() == REST_SECONDS_WITHOUT_NEWS
