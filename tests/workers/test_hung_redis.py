"""A Redis that takes connections and never answers (its process is stopped) holds nobody up: real PostgreSQL, real Redis.

Its clients would wait two minutes for an answer, so that whoever waited for it would not be done in time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.embedded_redis import EmbeddedRedis
from adapters.postgres_leases import PostgresLeases
from adapters.redis_log import RedisLog
from projections.core import CORE
from tests.workers.test_relay import held, relay
from tests.workers.world import Ticks, World, somebody_in, until
from workers.lifecycle import Stop
from workers.log_reader import LogReader
from workers.partitions import PartitionLeases
from workers.projector import Projector
from workers.relay import Relay

SECONDS = 120


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[redis.Redis]:
    """A client of a Redis of its own."""
    server = EmbeddedRedis(tmp_path)
    try:
        async with redis.from_url(server.start(), socket_timeout=SECONDS, retry=Retry(NoBackoff(), 0)) as client:
            yield client
    finally:
        server.stop()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def process_of(client: redis.Redis) -> int:
    return int((await client.info("server"))["process_id"])


async def all_sequenced(relay: Relay, world: World) -> None:
    async with asyncio.timeout(SECONDS / 10):
        while await world.unsequenced():
            await relay.step()


async def test_sequencing_goes_on_and_redis_has_it_all_when_it_answers_again(
    world: World, own: redis.Redis, ticks: Ticks
) -> None:
    leader, owner = relay(world, own, ticks), somebody_in(0)
    await world.notes(owner, 2)
    await all_sequenced(leader, world)
    await leader._publication.settle(SECONDS)
    with stopped(await process_of(own)):
        for _ in range(3):
            await world.notes(owner, 2)
            await all_sequenced(leader, world)
        assert (await world.log.places())[0] == 8
        assert leader._publication._attempt is not None
        assert leader._publication.behind == {0}
    await leader._publication.settle(SECONDS)
    await leader.step()
    await leader._publication.settle(SECONDS)
    assert leader._publication.behind == set()
    assert await held(own, 0) == list(range(1, 9))


async def test_a_relay_that_is_told_to_stop_does_not_wait_for_it(
    world: World, own: redis.Redis, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.relay.LAST_PUBLICATION_SECONDS", 0.01)
    leader, stop = relay(world, own, ticks), Stop()
    await world.notes(somebody_in(0), 2)
    with stopped(await process_of(own)):
        running = asyncio.create_task(leader.run(stop))
        await until(lambda: leader._publication._attempt is not None)
        stop.ask()
        async with asyncio.timeout(SECONDS / 10):
            await running
    other = relay(world, own, ticks, "two")
    await all_sequenced(other, world)
    await other.step()  # the lease was given back
    await other._publication.settle(SECONDS)
    assert await held(own, 0) == [1, 2]


async def test_projecting_goes_on_from_postgresql(world: World, own: redis.Redis, ticks: Ticks) -> None:
    partitions = PartitionLeases(PostgresLeases(world.pool), consumer=CORE.name, holder="one", monotonic=ticks)
    reader = LogReader(RedisLog(own, namespace="t"), world.log, monotonic=ticks)
    projector, leader = Projector(reader, world.tables, partitions), relay(world, own, ticks)
    with stopped(await process_of(own)):
        for number in range(3):
            await world.person(email=f"{number}@example.org")
            await all_sequenced(leader, world)
            async with asyncio.timeout(SECONDS / 10):
                while await world.value("select count(*) from users") != number + 1:
                    await projector.step()
    await leader._publication.close()
