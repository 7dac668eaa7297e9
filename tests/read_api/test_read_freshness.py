"""Reading one's own writes."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import httpx
from psycopg_pool import PoolClosed

from adapters.postgres_pool import open_pool
from domain.log_entry import PARTITIONS, LogEntry, partition_of
from read_api.freshness import ProjectionWait
from tests.read_api.conftest import Reader
from tests.read_api.world import World

As = Callable[[UUID], Reader]


def asked(position: str) -> dict[str, str]:
    return {"Vigil-Min-Position": position}


async def sequenced(world: World) -> list[LogEntry]:
    """The entries that are not projected yet."""
    entries = await world.sequence()
    while not entries:
        entries = await world.sequence()
    return entries


async def test_a_read_waits_until_the_position_is_projected(world: World, reader: As) -> None:
    ada = await world.person()
    await world.project()
    monitor = await world.monitor(ada)
    entries = await sequenced(world)
    position = f"{entries[-1].partition}.{entries[-1].place}"
    await reader(ada).refusal(f"/monitors/{monitor}", 404)
    waiting = asyncio.create_task(reader(ada).answer(f"/monitors/{monitor}", headers=asked(position)))
    await world.apply(entries)
    response = await waiting
    assert response.status_code == 200
    assert (await reader(ada).answer("/monitors", headers=asked(position))).json()["data"][0]["id"] == str(monitor)


async def test_a_position_that_does_not_come_in_time_is_answered_with_a_stale_read(world: World, reader: As) -> None:
    ada = await world.person()
    await world.project()
    for path in ("/me", "/monitors"):
        response = await reader(ada).answer(path, headers=asked(f"{partition_of(ada)}.2"))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "STALE_READ")
        assert int(response.headers["Retry-After"]) > 0


async def test_a_position_of_another_partition_is_passed_over(world: World, reader: As) -> None:
    ada = await world.person()
    await world.project()
    other = (partition_of(ada) + 1) % PARTITIONS
    response = await reader(ada).answer("/me", headers=asked(f"{other}.999999"))
    assert response.status_code == 200


MALFORMED = ["x", "1", "1.", ".1", "16.1", "-1.2", "1.-2", "1.2.3", "01.2", "1.02", "1.\u0663", "1." + "9" * 19]


async def test_a_malformed_position_is_refused_by_the_name_of_its_header(
    world: World, client: httpx.AsyncClient
) -> None:
    ada = await world.person()
    for position in MALFORMED:
        headers = [(b"Authorization", f"Bearer {ada}".encode()), (b"Vigil-Min-Position", position.encode())]
        response = await client.get("/api/v1/me", headers=headers)
        assert response.status_code == 400, position
        assert response.json()["error"]["details"][0]["field"] == "Vigil-Min-Position"


async def test_a_write_learns_its_position_when_it_is_projected_and_not_before(world: World) -> None:
    ada = await world.person()
    await world.project()
    hasty = ProjectionWait(world.pool, wait_seconds=0.02)
    assert await hasty.wait_for(ada, 1, owner_id=ada) == f"{partition_of(ada)}.1"
    monitor = await world.monitor(ada)
    assert await hasty.wait_for(monitor, 1, owner_id=ada) is None, "not sequenced yet"
    entries = await sequenced(world)
    assert await hasty.wait_for(monitor, 1, owner_id=ada) is None, "not projected yet"
    patient = asyncio.create_task(ProjectionWait(world.pool, wait_seconds=5).wait_for(monitor, 1, owner_id=ada))
    await world.apply(entries)
    assert await patient == f"{partition_of(ada)}.2"
    assert await hasty.wait_for(monitor, 2, owner_id=ada) is None, "there is no such version"


async def test_who_wait_at_the_same_time_are_looked_for_together_and_each_is_told_their_own(
    world: World, database: str
) -> None:
    people = [await world.person() for _ in range(20)]
    await world.project()
    async with open_pool(database, size_max=1) as one_connection:
        waits = ProjectionWait(one_connection, wait_seconds=0.02)
        alone = [await waits.wait_for(person, 1, owner_id=person) for person in people]
        asked_alone = one_connection.get_stats()["requests_num"]
        there = [waits.wait_for(person, 1, owner_id=person) for person in people]
        assert await asyncio.gather(*there) == alone
        assert one_connection.get_stats()["requests_num"] == asked_alone + 1
        never = [waits.wait_for(person, 2, owner_id=person) for person in people]
        assert await asyncio.gather(*never) == [None] * len(people)
    assert all(found is not None for found in alone)


async def test_whoever_waits_learns_that_the_database_is_away_and_may_wait_again(world: World, database: str) -> None:
    ada = await world.person()
    await world.project()
    async with open_pool(database, size_max=1) as pool:
        waits = ProjectionWait(pool)
        await pool.close()
        for _ in range(2):
            outcomes = await asyncio.gather(
                *(waits.wait_for(ada, 1, owner_id=ada) for _ in range(3)), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [PoolClosed] * 3
