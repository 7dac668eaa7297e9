"""Load, decide, append: what happens when somebody else is faster, with the real store."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.cel_condition import CelConditionLanguage
from adapters.network_guard import NetworkGuard
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from commands.caller import Caller
from commands.event_store import ConcurrentAppend, Reserve
from commands.monitors import MONITOR, MonitorCommands
from commands.plan_compiler import PlanCompiler, Wish
from commands.shell import ATTEMPTS_MAX, Shell, Written
from commands.streams import load
from domain import monitor
from domain.errors import DuplicateName, NotFound, StaleVersion
from domain.event import Metadata, NewEvents
from domain.fact import FactSpec, FactType
from domain.monitor import Monitor, MonitorEvent, MonitorPaused, Status
from domain.name import numbered
from domain.source import HttpSource
from tests.conftest import AT

ADA = Caller(user_id=uuid7(), roles=frozenset({"member"}), correlation_id=uuid7())

WISH = Wish(
    prompt="Tell me when the price is under 50",
    name=None,
    sources=(HttpSource(url="https://shop.example/"),),
    schedule=None,
    condition="price < 50.0",
    facts=(FactSpec(name="price", type=FactType.NUMBER),),
    confirmations=1,
    min_confidence=0.5,
    fires=None,
)


class RacedStore(PostgresEventStore):
    """Lets somebody else do something before each of the next appends."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, new_id=uuid7)
        self.races: list[Callable[[], Awaitable[object]]] = []
        self.loads = 0

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> Any:  # noqa: ANN401  as the store
        self.loads += 1
        return await super().load(stream_id, after_version=after_version)

    async def append(self, batch: Sequence[NewEvents], **named: Any) -> None:  # noqa: ANN401  as the store
        if self.races:
            await self.races.pop(0)()
        await super().append(batch, **named)


@dataclasses.dataclass
class World:
    store: RacedStore
    monitors: MonitorCommands
    calm: PostgresEventStore

    async def create(self, wish: Wish = WISH) -> UUID:
        return (await self.monitors.create(ADA, wish, answer=lambda _: {})).stream_id

    async def present(self, monitor_id: UUID) -> Monitor:
        return (await load(self.calm, MONITOR, monitor_id)).state

    def somebody_else(self, monitor_id: UUID, *, changes: Callable[[Monitor], Sequence[MonitorEvent]]) -> None:
        """They will have changed the monitor by the time of the next append."""

        async def race() -> None:
            loaded = await load(self.calm, MONITOR, monitor_id)
            new = NewEvents(
                stream_id=monitor_id,
                owner_id=ADA.user_id,
                expected_version=loaded.version,
                events=tuple(changes(loaded.state)),
            )
            await self.calm.append([new], metadata=Metadata(correlation_id=uuid7(), actor="somebody else"))

        self.store.races.append(race)


class NoSignals:
    """Nobody has signal sources."""

    async def own(self, _owner_id: UUID, _source_ids: Sequence[UUID]) -> frozenset[UUID]:
        return frozenset()


@pytest.fixture
def world(pool: Pool) -> World:
    store = RacedStore(pool)
    monitors = MonitorCommands(
        shell=Shell(store, now=lambda: AT, new_id=uuid7),
        compiler=PlanCompiler(
            classifier=RulesProvider(),
            conditions=CelConditionLanguage(),
            sources=SourceRules(NetworkGuard()),
            signals=NoSignals(),
            interval_seconds_min=60,
            now=lambda: AT,
        ),
        active_max=100,
        total_max=100,
    )
    return World(store, monitors, PostgresEventStore(pool, new_id=uuid7))


def renamed(name: str) -> Callable[[Monitor], Sequence[MonitorEvent]]:
    return lambda present: monitor.rename(present, name=name, now=AT)


async def test_a_decision_is_made_again_on_what_somebody_else_left(world: World) -> None:
    monitor_id = await world.create()
    world.somebody_else(monitor_id, changes=renamed("Theirs"))
    written = await world.monitors.pause(ADA, monitor_id, if_version=None)
    assert (written.version, written.state.name, written.state.status) == (3, "Theirs", Status.PAUSED)
    assert written.events == (MonitorPaused(paused_at=AT),)
    assert await world.present(monitor_id) == written.state


async def test_what_somebody_else_has_done_already_is_not_done_again(world: World) -> None:
    monitor_id = await world.create()
    world.somebody_else(monitor_id, changes=lambda present: monitor.pause(present, now=AT))
    written = await world.monitors.pause(ADA, monitor_id, if_version=None)
    assert (written.version, written.events) == (2, ())


async def test_who_named_a_version_is_not_put_on_top_of_another(world: World) -> None:
    monitor_id = await world.create()
    world.somebody_else(monitor_id, changes=renamed("Theirs"))
    with pytest.raises(StaleVersion):
        await world.monitors.pause(ADA, monitor_id, if_version=1)
    assert (await world.present(monitor_id)).status is Status.ACTIVE


async def test_a_change_of_a_part_is_merged_with_what_somebody_else_left(world: World) -> None:
    monitor_id = await world.create()
    more = replace(WISH, confirmations=7)
    theirs = (await world.monitors.compiler.compile(more, owner_id=ADA.user_id))[1]
    world.somebody_else(
        monitor_id, changes=lambda present: monitor.revise(present, prompt=WISH.prompt, plan=theirs, now=AT)
    )

    def schedule_only(present: Monitor) -> Wish:
        return replace(WISH, name="Mine", confirmations=present.current_plan.confirmations)

    written = await world.monitors.change(ADA, monitor_id, schedule_only, if_version=None)
    assert (written.state.name, written.state.current_plan.confirmations) == ("Mine", 7)


async def test_who_is_overtaken_every_time_gives_up(world: World) -> None:
    monitor_id = await world.create()
    commands: list[Callable[[], Awaitable[Written[Monitor]]]] = [
        lambda: world.monitors.pause(ADA, monitor_id, if_version=None),
        lambda: world.monitors.change(ADA, monitor_id, lambda _: replace(WISH, name="Mine"), if_version=None),
    ]
    for n, command in enumerate(commands):
        for i in range(ATTEMPTS_MAX):
            world.somebody_else(monitor_id, changes=renamed(f"Theirs {n} {i}"))
        with pytest.raises(ConcurrentAppend):
            await command()
        assert world.store.races == []
    assert (await world.present(monitor_id)).name == f"Theirs 1 {ATTEMPTS_MAX - 1}"


async def test_what_is_not_there_is_told_before_anything_is_decided(world: World) -> None:
    with pytest.raises(NotFound):
        await world.monitors.pause(ADA, uuid7(), if_version=None)
    with pytest.raises(NotFound):
        await world.monitors.change(ADA, uuid7(), lambda _: WISH, if_version=None)
    assert world.store.loads == 2


async def test_a_person_with_a_thousand_monitors_of_one_name_has_to_choose_one(world: World) -> None:
    name, _ = await world.monitors.compiler.compile(WISH, owner_id=ADA.user_id)
    taken = list(numbered(name))
    world.monitors = replace(world.monitors, total_max=2 * len(taken))
    scope = f"monitor-name:{ADA.user_id}"
    reserved = [Reserve(scope, one.casefold(), uuid7()) for one in taken[:-1]]
    await world.calm.append([], metadata=ADA.metadata(), companions=reserved)
    last = await world.create()
    assert (await world.present(last)).name == taken[-1]
    with pytest.raises(DuplicateName):
        await world.create()
    assert (await world.present(await world.create(replace(WISH, name="Chosen")))).name == "Chosen"
