"""Monitors that are remembered: never older than they are asked for, and not without end. Real store."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from adapters.postgres_event_store import PostgresEventStore
from commands.event_store import Snapshot
from domain.event import StreamEvent
from domain.monitor import MonitorRenamed
from tests.conftest import AT
from tests.workers.world import World, plan
from workers.known_monitors import KnownMonitors


class Counting(PostgresEventStore):
    """Counts what is loaded; `slow` is a turn at which the first load waits after it read."""

    loads = 0
    slow: asyncio.Event | None = None

    async def load_since_snapshot(
        self, stream_id: UUID, *, shape: str
    ) -> tuple[Snapshot | None, Sequence[StreamEvent]]:
        self.loads += 1
        found = await super().load_since_snapshot(stream_id, shape=shape)
        if (slow := self.slow) is not None:
            self.slow = None
            await slow.wait()
        return found


@pytest.fixture
def store(world: World) -> Counting:
    return Counting(world.pool, new_id=lambda: UUID(int=0))


async def rename(world: World, owner: UUID, monitor: UUID, name: str) -> None:
    await world.append(owner, monitor, MonitorRenamed(name=name, renamed_at=AT))


async def test_a_monitor_is_loaded_once_for_each_version_that_is_asked_for(world: World, store: Counting) -> None:
    owner = await world.person()
    monitor, known = await world.monitor(owner, plan()), KnownMonitors(store)
    assert [(await known.at_least(monitor, 1)).version for _ in range(3)] == [1, 1, 1]
    assert store.loads == 1
    await rename(world, owner, monitor, "Pot")
    assert (await known.at_least(monitor, 1)).state.name == "Kettle"
    found = await known.at_least(monitor, 2)
    assert (found.version, found.state.name, store.loads) == (2, "Pot", 2)
    assert (await known.at_least(monitor, 1)).version == 2
    known.forget(monitor)
    known.forget(monitor)
    assert (await known.at_least(monitor, 1)).version == 2
    assert store.loads == 3


async def test_a_slow_load_does_not_make_anybody_see_an_older_monitor_than_they_ask_for(
    world: World, store: Counting
) -> None:
    owner = await world.person()
    monitor, known = await world.monitor(owner, plan()), KnownMonitors(store)
    store.slow = held = asyncio.Event()
    late = asyncio.create_task(known.at_least(monitor, 1))
    while store.slow is not None:
        await asyncio.sleep(0)
    await rename(world, owner, monitor, "Pot")
    assert (await known.at_least(monitor, 2)).state.name == "Pot"
    held.set()
    assert (await late).version == 1
    assert (await known.at_least(monitor, 2)).state.name == "Pot"


async def test_of_more_than_there_is_room_for_most_stay_known_round_after_round(
    world: World, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.known_monitors.KNOWN_MAX", 3)
    owner = await world.person()
    monitors, known = [await world.monitor(owner, plan()) for _ in range(5)], KnownMonitors(store)
    for monitor in monitors:
        await known.at_least(monitor, 1)
    assert store.loads == 5
    for _ in range(2):
        for monitor in monitors:
            assert (await known.at_least(monitor, 1)).state.name == "Kettle"
    assert len(known._known) == 3
    assert store.loads == 5 + 2 * 3
