"""An erasure waits for nothing that is parked, and what is parked of the person goes with it."""

from typing import Any
from uuid import UUID

import pytest

from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE
from adapters.postgres_rebuild import Rebuild
from domain.errors import NotFound
from domain.monitor import MonitorPaused, MonitorRenamed, MonitorResumed
from domain.user import RoleGranted, UserErased
from projections.core import CORE
from tests.conftest import AT
from tests.projections.projecting import rebuilt, rows
from tests.projections.test_core_projection import dump
from tests.projections.test_parked_commands import NAMELESS, Crew
from tests.read_api.world import World

GRANTED = {"role": "auditor", "granted_at": "2026-01-01T00:00:00Z"}
People = tuple[UUID, UUID, UUID, UUID]


@pytest.fixture
async def crew(pool: Pool) -> Crew:
    return Crew(World(pool))


@pytest.fixture
async def people(crew: Crew) -> People:
    """Ada and her monitor, Bob and his; of each of the four streams something is parked, and something behind it."""
    ada, bob = await crew.world.person("Ada"), await crew.world.person("Bob")
    hers, his = await crew.world.monitor(ada, "Ada's kettle"), await crew.world.monitor(bob, "Bob's kettle")
    for person, monitor in ((ada, hers), (bob, his)):
        await crew.poison(person, person, "user.role_granted", GRANTED, tag_version=9)
        await crew.poison(person, monitor, "monitor.renamed", NAMELESS)
        await crew.world.append(person, person, RoleGranted(role="operator", granted_at=AT))
        await crew.world.append(person, monitor, MonitorPaused(paused_at=AT))
    await crew.project()
    return ada, hers, bob, his


async def erase(crew: Crew, person: UUID, monitor: UUID) -> None:
    """The erasure, with events around it that come from the same moment."""
    await crew.world.append(person, monitor, MonitorRenamed(name="Ada's other kettle", renamed_at=AT))
    await crew.world.append(person, person, UserErased(erased_at=AT))
    await crew.world.append(person, monitor, MonitorResumed(resumed_at=AT))
    await crew.world.append(person, person, RoleGranted(role="member", granted_at=AT))


async def parked(crew: Crew) -> list[tuple[Any, ...]]:
    """The consumers and streams that have something parked, and how much."""
    return await rows(crew.pool, "select consumer, stream_id, count(*) from parked group by 1, 2 order by 1, 2")


async def told(crew: Crew, person: UUID, schema: str = LIVE) -> str:
    """Everything the tables say of a person."""
    async with crew.pool.connection() as connection:
        tables = await dump(connection, schema)
    return str([row for found in tables.values() for row in found if str(person) in str(row)])


@pytest.mark.parametrize("entries_at_once", [1, 3, 2_000])
async def test_the_live_tables_lose_the_person_at_once_and_others_keep_what_is_parked(
    crew: Crew, people: People, entries_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.projector.SLICE_ENTRIES_MAX", entries_at_once)
    ada, hers, bob, his = people
    await erase(crew, ada, hers)
    await crew.project()
    assert "Ada" not in await told(crew, ada)
    assert "Bob" in await told(crew, bob)
    assert await parked(crew) == sorted([("core", bob, 2), ("core", his, 2)])
    assert await crew.row(hers) == ("erased", "active", "unknown", 5), "what comes later is held back no more"
    with pytest.raises(NotFound):
        await crew.retry(hers)


@pytest.mark.parametrize("events_at_once", [1, 3, 10_000])
async def test_a_rebuild_parks_nothing_of_the_person_and_gives_the_same_tables(
    crew: Crew, people: People, events_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    monkeypatch.setattr("adapters.postgres_rebuild.BATCH_ENTRIES", events_at_once)
    ada, hers, bob, his = people
    await erase(crew, ada, hers)
    await crew.project()
    async with crew.pool.connection() as connection:
        before = await dump(connection, LIVE)
    await rebuilt(Rebuild(crew.pool, CORE, PostgresLog(crew.pool)))
    async with crew.pool.connection() as connection:
        assert await dump(connection, LIVE) == before
    assert "Ada" not in await told(crew, ada)
    kept = [("core.previous", bob, 2), ("core.previous", his, 2)]
    assert await parked(crew) == sorted([("core", bob, 2), ("core", his, 2), *kept])


async def test_kept_tables_lose_the_person_too_and_after_a_rollback_nothing_of_theirs_stays_parked(
    crew: Crew, people: People
) -> None:
    ada, hers, bob, his = people
    rebuild = Rebuild(crew.pool, CORE, PostgresLog(crew.pool))
    await rebuilt(rebuild)
    assert "Ada" in await told(crew, ada, PREVIOUS)
    await erase(crew, ada, hers)
    await crew.project()
    assert "Ada" not in await told(crew, ada, PREVIOUS)
    await rebuild.roll_back()
    crew = Crew(crew.world)
    await crew.project()
    assert "Ada" not in await told(crew, ada)
    assert [row for row in await parked(crew) if row[0] == "core"] == sorted([("core", bob, 2), ("core", his, 2)])


async def test_an_erasure_that_was_refused_itself_is_retried_without_what_was_parked_before(
    crew: Crew, people: People
) -> None:
    ada, hers, bob, his = people
    await crew.execute("alter table read_model.users add constraint named check (name <> 'erased')")
    await erase(crew, ada, hers)
    await crew.project()
    assert await crew.versions(ada) == [(2, False), (3, True), (4, False), (5, True)]
    assert await crew.retry(ada) == (0, 4)
    assert await crew.versions(ada) == [(2, False), (3, True), (4, False), (5, True)]
    await crew.execute("alter table read_model.users drop constraint named")
    assert await crew.retry(ada) == (2, 0)
    assert crew.done == [2]
    assert await crew.versions(ada) == []
    assert await crew.versions(hers) == [(5, True)], "it comes after the erasure, which does not tell of it"
    assert await crew.retry(hers) == (1, 0)
    assert "Ada" not in await told(crew, ada)
    assert await parked(crew) == sorted([("core", bob, 2), ("core", his, 2)])
