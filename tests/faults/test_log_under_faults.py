"""Relays and projectors, two of each at once, killed with -9 again and again while Redis is flushed: nothing lost,
nothing doubled. A failure prints the seed that repeats it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.postgres_pool import open_pool
from benchmarks.history import History
from domain.log_entry import LogEntry
from tests.faults.installation import Chaos, Installation, check_log, check_read_tables, converged
from tests.projections.test_rebuild import append_all

WRITERS = 4


@pytest.fixture
def installation(tmp_path: Path, database: str) -> Iterator[Installation]:
    opened = Installation(tmp_path / "data", database)
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_and_flushes_lose_and_double_nothing(installation: Installation, database: str, seed: int) -> None:
    chaos = Chaos(installation, seed, [("relay",), ("projector",)])
    chaos.start()
    histories = [list(History(seed * 100 + n, people=4, monitors_each=2).entries(500)) for n in range(WRITERS)]
    async with open_pool(database, size_max=10) as pool:

        async def write(entries: list[LogEntry]) -> None:
            for start in range(0, len(entries), 5):
                await append_all(pool, entries[start : start + 5])
                await asyncio.sleep(0.01)

        await asyncio.gather(chaos.rage(12, 0.5), *(write(entries) for entries in histories))
        await converged(pool)
        await check_log(pool)
        await check_read_tables(pool)
        async with pool.connection() as connection:
            row = await (await connection.execute("select count(*) from event")).fetchone()
    assert row == (sum(len(entries) for entries in histories),)
    assert chaos.kills >= 3


async def test_a_redis_that_is_away_only_slows_things_down(installation: Installation, database: str) -> None:
    installation.start("relay", "relay")
    installation.start("projector", "projector")
    entries = list(History(9, people=3, monitors_each=2).entries(300))
    async with open_pool(database, size_max=10) as pool:
        await append_all(pool, entries[:100])
        await converged(pool)
        installation.kill_redis()
        await append_all(pool, entries[100:200])
        await converged(pool)
        installation.start_redis()
        await append_all(pool, entries[200:])
        await converged(pool)
        await check_log(pool)
        await check_read_tables(pool)
