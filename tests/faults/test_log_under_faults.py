"""Relays and projectors, two of each at once, killed with -9 again and again while Redis is flushed and four writers append
as fast as they can: nothing lost, nothing doubled. The fault suite (test_fault_suite.py) breaks everything else."""

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
SEED = 1


@pytest.fixture
def installation(tmp_path: Path, database: str) -> Iterator[Installation]:
    opened = Installation(tmp_path / "data", database)
    yield opened
    opened.close()


async def test_kills_and_flushes_lose_and_double_nothing(installation: Installation, database: str) -> None:
    chaos = Chaos(installation, SEED, [("relay",), ("projector",)])
    chaos.start()
    histories = [list(History(SEED * 100 + n, people=4, monitors_each=2).entries(500)) for n in range(WRITERS)]
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
