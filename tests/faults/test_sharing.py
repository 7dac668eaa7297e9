"""Projectors in processes of their own: they share the partitions, whoever comes and goes; the work goes on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_status import consumer_status
from benchmarks.history import History
from projections.core import CORE
from tests.faults.installation import Installation, check_log, check_read_tables, converged
from tests.projections.test_rebuild import append_all

SECONDS_MAX = 60

_OWNED = "select holder from lease where name like 'core:%%' and expires_at > now()"


class Crew:
    """An installation and the database it works on."""

    def __init__(self, installation: Installation, pool: Pool) -> None:
        self.installation, self.pool = installation, pool

    async def owned(self) -> Counter[int]:
        """How many partitions each process owns, by its number."""
        async with self.pool.connection() as connection:
            rows = await (await connection.execute(_OWNED)).fetchall()
        return Counter(int(holder.split(":")[1]) for (holder,) in rows)

    async def until(self, holds: Callable[[Counter[int]], bool]) -> None:
        """Return when the partitions are owned so."""
        async with asyncio.timeout(SECONDS_MAX):
            while not holds(await self.owned()):
                await asyncio.sleep(0.05)

    def number(self, name: str) -> int:
        return self.installation.running[name].pid


@pytest.fixture
async def crew(tmp_path: Path, database: str) -> AsyncIterator[Crew]:
    installation = Installation(tmp_path / "data", database)
    async with open_pool(database, size_max=5) as pool:
        yield Crew(installation, pool)
    installation.close()


async def test_processes_share_the_partitions_whoever_comes_dies_or_leaves(crew: Crew) -> None:
    installation, entries = crew.installation, list(History(4, people=20, monitors_each=1).entries(600))
    installation.start("relay", "relay")
    installation.start("one", "projector")
    one = crew.number("one")
    await crew.until(lambda owned: owned == {one: 16})
    await append_all(crew.pool, entries[:150])
    installation.start("two", "projector")
    two = crew.number("two")
    await crew.until(lambda owned: owned == {one: 8, two: 8})
    await append_all(crew.pool, entries[150:300])
    await converged(crew.pool)
    [status] = await consumer_status(crew.pool)
    assert (status.consumer, len(status.holders), status.lag_events) == (CORE.name, 2, 0)

    installation.kill("one")
    await append_all(crew.pool, entries[300:450])
    await converged(crew.pool)
    assert await crew.owned() == {two: 16}

    installation.start("three", "projector")
    three = crew.number("three")
    await crew.until(lambda owned: owned == {two: 8, three: 8})
    process = installation.running.pop("two")
    process.terminate()
    await append_all(crew.pool, entries[450:])
    await converged(crew.pool)
    await crew.until(lambda owned: owned == {three: 16})
    assert await asyncio.to_thread(process.wait, SECONDS_MAX) == 0
    await check_log(crew.pool)
    await check_read_tables(crew.pool)
