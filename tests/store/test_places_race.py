"""The first to ask for a consumer's places race each other."""

import asyncio

from adapters.postgres_checkpoints import PostgresCheckpoints
from adapters.postgres_pool import open_pool
from domain.log_entry import PARTITIONS


async def test_everybody_who_asks_first_for_places_gets_all_of_them(
    database: str,
) -> None:
    async with open_pool(database, size_min=8, size_max=8) as pool:
        await pool.wait()
        for consumer in ("a", "b", "c", "d", "e"):
            asked = (PostgresCheckpoints(pool, consumer).places(range(PARTITIONS)) for _ in range(8))
            assert await asyncio.gather(*asked) == [dict.fromkeys(range(PARTITIONS), 0)] * 8
