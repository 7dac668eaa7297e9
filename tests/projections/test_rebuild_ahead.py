"""A rebuild may overtake a live projector that stood still; afterwards the projector goes on, from where the rebuild is."""

import pytest

from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE
from adapters.postgres_rebuild import Rebuild
from benchmarks.history import History
from projections.core import CORE
from tests.projections.test_rebuild import append_all, dumped, project_all, sequence_all


@pytest.mark.parametrize("projected_before", [0, 200])
async def test_a_rebuild_that_overtook_the_live_projector_hands_over_its_place(
    pool: Pool, projected_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    entries = list(History(7, people=3, monitors_each=2).entries(400))
    await append_all(pool, entries[:projected_before])
    await sequence_all(pool)
    if projected_before:
        await project_all(pool)
    await append_all(pool, entries[projected_before:])
    await sequence_all(pool)
    async for _ in Rebuild(pool, CORE, PostgresLog(pool)).run():
        pass
    await project_all(pool)
    after = await dumped(pool, LIVE)
    async for _ in Rebuild(pool, CORE, PostgresLog(pool)).run():
        pass
    assert await dumped(pool, LIVE) == after
