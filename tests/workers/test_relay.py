"""The relay sequences whatever becomes of Redis, and brings Redis to the head of the log: real PostgreSQL, real Redis."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.embedded_redis import EmbeddedRedis
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.redis_log import RedisLog
from domain.log_entry import LogEntry
from tests.faults.installation import check_log
from tests.workers.world import RestlessStop, Ticks, World, somebody_in
from workers.log_reader import LogReader
from workers.publication import REDIS_PAUSE_SECONDS
from workers.relay import (
    LEASE_RENEWAL_SECONDS,
    REST_SECONDS_MAX,
    REST_SECONDS_MIN,
    Relay,
)

EXPIRE = "update lease set expires_at = now() - interval '1 second'"


def relay(world: World, client: redis.Redis, ticks: Ticks, holder: str = "one") -> Relay:
    return Relay(world.log, RedisLog(client, namespace="t"), PostgresLeases(world.pool), holder=holder, monotonic=ticks)


async def step(relay: Relay) -> float:
    """Step, and wait until Redis has taken what there was, or not."""
    rest = await relay.step()
    await relay._publication.settle(10)
    return rest


async def work(relay: Relay, world: World) -> None:
    """Step until everything has its place, and once more."""
    while await world.unsequenced():
        await step(relay)
    await step(relay)


async def held(client: redis.Redis, partition: int) -> list[int]:
    """The places that Redis holds of a partition."""
    entries = await RedisLog(client, namespace="t").read({partition: 0}, limit=100_000, block_ms=1)
    return [entry.place for entry in entries]


async def test_redis_holds_what_was_sequenced(world: World, client: redis.Redis, ticks: Ticks) -> None:
    people = [somebody_in(partition) for partition in (0, 3, 3, 15)]
    leader = relay(world, client, ticks)
    for _ in range(3):
        await asyncio.gather(*(world.notes(one, 5) for one in people))
        await work(leader, world)
    await check_log(world.pool)
    assert sum(await world.log.places()) == 60
    for partition, count in ((0, 15), (3, 30), (15, 15)):
        assert await held(client, partition) == list(range(1, count + 1))
        in_redis = await RedisLog(client, namespace="t").read({partition: 0}, limit=100, block_ms=1)
        assert in_redis == await world.log.read(partition, after_place=0, limit=100)


async def test_a_relay_without_the_lease_stands_by(world: World, client: redis.Redis, ticks: Ticks) -> None:
    leader, other = relay(world, client, ticks, "one"), relay(world, client, ticks, "two")
    await step(leader)
    await world.notes(somebody_in(0), 1)
    for _ in range(3):
        ticks.move(LEASE_RENEWAL_SECONDS)
        assert await step(other) == LEASE_RENEWAL_SECONDS / 2
    assert await world.unsequenced()
    await work(leader, world)
    assert await held(client, 0) == [1]


async def test_a_relay_that_stops_hands_over_at_once(world: World, client: redis.Redis, ticks: Ticks) -> None:
    await relay(world, client, ticks, "one").run(RestlessStop(rests_max=1))
    other = relay(world, client, ticks, "two")
    await world.notes(somebody_in(0), 1)
    await work(other, world)
    assert await held(client, 0) == [1]


async def test_a_relay_that_takes_over_brings_redis_to_the_head(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    leader, other = relay(world, client, ticks, "one"), relay(world, client, ticks, "two")
    await world.notes(somebody_in(0), 4)
    await work(leader, world)
    await step(other)
    await client.flushall()  # nobody sees it while nothing happens
    await world.execute(EXPIRE)
    ticks.move(LEASE_RENEWAL_SECONDS)
    await step(other)
    assert await held(client, 0) == [1, 2, 3, 4]


async def test_a_relay_that_lost_the_lease_stands_by(world: World, client: redis.Redis, ticks: Ticks) -> None:
    first, other = relay(world, client, ticks, "one"), relay(world, client, ticks, "two")
    await step(first)
    await world.execute(EXPIRE)
    await step(other)
    ticks.move(LEASE_RENEWAL_SECONDS)
    assert await step(first) == LEASE_RENEWAL_SECONDS / 2


async def test_two_relays_that_both_believe_to_lead_neither_lose_nor_double(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    first, other = relay(world, client, ticks, "one"), relay(world, client, ticks, "two")
    await step(first)
    await world.execute(EXPIRE)
    await step(other)  # now both lead until the first asks again
    people = [somebody_in(partition) for partition in (0, 0, 5)]
    for _ in range(10):
        await asyncio.gather(step(first), step(other), *(world.notes(one, 2) for one in people))
    while await world.unsequenced():
        await asyncio.gather(step(first), step(other))
    await asyncio.gather(step(first), step(other))
    await check_log(world.pool)
    for partition, head in ((0, 40), (5, 20)):
        places = await held(client, partition)
        assert places == list(range(places[0], head + 1))


async def test_redis_that_refuses_what_does_not_follow_is_brought_to_the_head(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    leader, owner = relay(world, client, ticks), somebody_in(0)
    await world.notes(owner, 2)
    await work(leader, world)
    await world.notes(owner, 2)
    await world.sequence()  # by somebody who died before publishing
    await world.notes(owner, 1)
    await work(leader, world)
    assert await held(client, 0) == [1, 2, 3, 4, 5]


async def test_a_busy_relay_still_brings_a_quiet_partition_to_the_head(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    leader, quiet, busy = relay(world, client, ticks), somebody_in(0), somebody_in(1)
    await world.notes(quiet, 1)
    await work(leader, world)
    await world.notes(quiet, 1)
    await world.sequence()
    leader._publication.behind.add(0)  # as after a publication that Redis did not answer
    await world.notes(busy, 1)
    while await world.unsequenced():
        await step(leader)
    assert await held(client, 0) == [1, 2]
    assert await held(client, 1) == [1]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path)
    yield server
    server.stop()


async def test_while_redis_is_down_sequencing_goes_on_and_redis_catches_up_later(
    world: World, own_redis: EmbeddedRedis, ticks: Ticks
) -> None:
    owner = somebody_in(0)
    async with redis.from_url(own_redis.start(), retry=Retry(NoBackoff(), 0)) as client:
        leader = relay(world, client, ticks)
        await world.notes(owner, 2)
        await work(leader, world)
        own_redis.stop()
        for _ in range(3):
            await world.notes(owner, 2)
            await work(leader, world)
        assert not await world.unsequenced()
        own_redis.start()
        await step(leader)
        assert await held(client, 0) == []  # it is left alone for a while
        await world.notes(owner, 1)
        await work(leader, world)
        assert await held(client, 0) == []
        ticks.move(REDIS_PAUSE_SECONDS)
        await step(leader)
        assert await held(client, 0) == list(range(1, 10))


async def test_a_redis_far_behind_is_given_the_end_of_the_log_only(
    world: World, client: redis.Redis, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.publication.REPUBLISHED_ENTRIES_MAX", 3)
    leader, owner = relay(world, client, ticks), somebody_in(0)
    await world.notes(owner, 2)
    await work(leader, world)
    assert await held(client, 0) == [1, 2]
    await world.notes(owner, 5)
    await world.sequence()
    await world.notes(owner, 1)
    await work(leader, world)
    assert await held(client, 0) == [6, 7, 8]


async def test_an_empty_redis_is_given_the_end_of_the_log_only(
    world: World, client: redis.Redis, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.publication.REPUBLISHED_ENTRIES_MAX", 3)
    await world.notes(somebody_in(0), 7)
    await world.sequence()
    await step(relay(world, client, ticks))
    assert await held(client, 0) == [5, 6, 7]


async def test_a_redis_with_places_ahead_of_the_log_is_forgotten(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    await world.notes(somebody_in(0), 2)
    entries = await world.sequence()
    stale = [msgspec.structs.replace(entries[0], place=place, data='{"of": "a newer copy"}') for place in range(1, 9)]
    assert await RedisLog(client, namespace="t").publish(0, stale, after=None)
    await step(relay(world, client, ticks))
    found = await RedisLog(client, namespace="t").read({0: 0}, limit=100, block_ms=1)
    assert found == entries


class Rivalled(RedisLog):
    """A Redis to which somebody else publishes the same just before us."""

    async def publish(self, partition: int, entries: Sequence[LogEntry], *, after: LogEntry | None) -> bool:
        await super().publish(partition, entries, after=after)
        return await super().publish(partition, entries, after=after)


async def test_a_relay_that_is_refused_by_a_rivals_publication_is_content_with_it(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    await world.notes(somebody_in(0), 3)
    await world.sequence()
    tail = Rivalled(client, namespace="t")
    leader = Relay(world.log, tail, PostgresLeases(world.pool), holder="one", monotonic=ticks)
    await step(leader)
    assert leader._publication.behind == {0}
    await step(leader)
    assert leader._publication.behind == set()
    assert await held(client, 0) == [1, 2, 3]


async def test_a_relay_without_news_rests_longer_and_longer_up_to_a_limit(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    leader = relay(world, client, ticks)
    rests = [await step(leader) for _ in range(12)]
    assert rests == sorted(rests)
    assert rests[-1] == REST_SECONDS_MAX
    await world.notes(somebody_in(0), 1)
    rest = REST_SECONDS_MAX
    while await world.unsequenced():
        rest = await step(leader)
    assert rest == REST_SECONDS_MIN


async def test_a_relay_asks_redis_about_partitions_only_while_it_may_be_behind(
    world: World, client: redis.Redis, ticks: Ticks
) -> None:
    leader = relay(world, client, ticks)
    assert leader._publication.behind == set()
    await step(leader)
    assert leader._publication.behind == set()
    await client.config_resetstat()
    for _ in range(5):
        await step(leader)
    calls = await client.info("commandstats")
    assert not [name for name in calls if "xrevrange" in name]


async def test_what_is_no_entry_in_redis_stops_nobody_and_goes(world: World, client: redis.Redis, ticks: Ticks) -> None:
    leader, tail = relay(world, client, ticks), RedisLog(client, namespace="t")
    reader = LogReader(tail, world.log, monotonic=ticks)
    await world.notes(somebody_in(3), 2)
    await world.notes(somebody_in(5), 2)
    await work(leader, world)
    await client.xadd("t:log:{p03}", {"e": b"[3, 3]"}, id="3-0")
    await client.xadd("t:log:{p03}", {"of": "another program"}, id="7-0")
    read = await reader.read({3: 0, 5: 0})
    assert [(entry.partition, entry.place) for entry in read] == [(3, 1), (3, 2), (5, 1), (5, 2)]
    await world.notes(somebody_in(3), 2)
    await work(leader, world)
    assert await held(client, 3) == [1, 2, 3, 4]


async def test_redis_is_filled_without_the_archive(
    world: World, client: redis.Redis, ticks: Ticks, owner_pool: Pool, tmp_path: Path
) -> None:
    archived, others = somebody_in(3), somebody_in(3)
    log = PostgresLog(world.pool, PostgresArchive(world.pool, tmp_path))  # which has no files
    leader = Relay(log, RedisLog(client, namespace="t"), PostgresLeases(world.pool), holder="one", monotonic=ticks)
    await world.notes(archived, 2)
    await world.notes(others, 2)
    await work(leader, world)
    async with owner_pool.connection() as owner:
        await owner.execute("update event set data = null, metadata = null where stream_id = %s", (archived,))
    leader._publication.begin()
    await work(leader, world)
    assert await held(client, 3) == [1, 2, 3, 4]  # what is there already stays
    await client.flushall()
    leader._publication.begin()
    await world.notes(others, 1)
    await work(leader, world)
    assert await held(client, 3) == [3, 4, 5]
