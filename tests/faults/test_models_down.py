"""Rows 23, 24 and 26 of the fault matrix, in short: providers that are broken or away, against what a healthy installation
would have found."""

from pathlib import Path

import pytest

from faults.models import BROKEN, both_down, made, primary_down

pytestmark = pytest.mark.timeout(240)


async def test_with_the_first_provider_broken_the_second_reads_and_nothing_changes_that_should_not(
    tmp_path: Path, database: str, redis_url: str
) -> None:
    async with made(database, redis_url, tmp_path, monitors=40, seed=7) as world:
        await primary_down(world, rounds=3)
        assert world.troubles == []
        assert world.servers[0].count > 0
        assert world.servers[1].count >= world.evaluations * 9 // 10, "what two pages say alike is asked once"


async def test_with_both_providers_down_nothing_changes_and_everything_is_caught_up(
    tmp_path: Path, database: str, redis_url: str
) -> None:
    async with made(database, redis_url, tmp_path, monitors=40, seed=8) as world:
        await both_down(world)
        assert world.troubles == []
        assert len(BROKEN) > 10
