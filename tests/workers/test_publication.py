"""What becomes of the entries that Redis should have when PostgreSQL fails meanwhile: real PostgreSQL, real Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import redis as sync_redis
import redis.asyncio as redis

from adapters.postgres_pool import Pool
from adapters.redis_log import RedisLog
from domain.crash_points import CrashPoint, arm
from tests.workers.test_relay import held, relay, work
from tests.workers.world import RestlessStop, Ticks, World, somebody_in, until
from workers.publication import Publication

PATIENCE_SECONDS = 10


@asynccontextmanager
async def unreadable_log(owner_pool: Pool) -> AsyncIterator[None]:
    """PostgreSQL gives positions and fails to read the log."""
    async with owner_pool.connection() as owner:
        await owner.execute("revoke select on event_log from vigil_app")
        try:
            yield
        finally:
            await owner.execute("grant select on event_log to vigil_app")


def publication_of(world: World, client: redis.Redis, ticks: Ticks) -> Publication:
    return Publication(world.log, RedisLog(client, namespace="t"), monotonic=ticks)


async def test_what_is_offered_when_an_earlier_attempt_turns_out_to_have_failed_is_published_later(
    world: World, client: redis.Redis, ticks: Ticks, owner_pool: Pool
) -> None:
    publication = publication_of(world, client, ticks)
    await world.notes(somebody_in(0), 1)
    await world.notes(somebody_in(5), 1)
    first = await world.sequence()
    await world.notes(somebody_in(3), 1)
    second = await world.sequence()
    async with unreadable_log(owner_pool):
        publication.behind.add(5)
        await publication.offer(first, patience_seconds=0)
        attempt = publication._attempt
        assert attempt is not None
        await until(attempt.done)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await publication.offer(second, patience_seconds=0)
    assert publication.behind == {3, 5}
    await publication.offer([], patience_seconds=PATIENCE_SECONDS)
    assert [await held(client, partition) for partition in (0, 3, 5)] == [[1], [1], [1]]


async def test_a_relay_whose_last_publication_fails_hands_over_at_once(
    world: World, client: redis.Redis, ticks: Ticks, owner_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.relay.PUBLICATION_PATIENCE_SECONDS", 0)
    await world.notes(somebody_in(0), 1)
    async with unreadable_log(owner_pool):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await relay(world, client, ticks, "one").run(RestlessStop(rests_max=1))
    other = relay(world, client, ticks, "two")
    await world.notes(somebody_in(0), 1)
    await other.step()
    assert not await world.unsequenced()
    await work(other, world)
    assert await held(client, 0) == [1, 2]


async def test_where_the_relay_may_die_after_publishing_redis_has_the_events(
    world: World, client: redis.Redis, ticks: Ticks, redis_url: str
) -> None:
    publication, owner = publication_of(world, client, ticks), somebody_in(0)
    found: list[tuple[CrashPoint, object]] = []
    with sync_redis.from_url(redis_url) as asking:
        arm(lambda point: found.append((point, asking.xlen("t:log:{p00}"))))
        try:
            await world.notes(owner, 2)
            await publication.offer(await world.sequence(), patience_seconds=PATIENCE_SECONDS)
            await world.notes(owner, 2)
            await world.sequence()  # by somebody who died before publishing
            await world.notes(owner, 1)
            await publication.offer(await world.sequence(), patience_seconds=PATIENCE_SECONDS)
        finally:
            arm(None)
    assert found == [(CrashPoint.RELAY_AFTER_PUBLISHING, 2), (CrashPoint.RELAY_AFTER_PUBLISHING, 5)]
