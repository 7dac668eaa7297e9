"""What was being confirmed when a monitor was put away or paused, and which program judged."""

from dataclasses import replace

import pytest

from adapters.aiohttp_fetcher import AiohttpFetcher
from commands.event_store import Companion, DropSchedule, KeepSchedule
from domain.monitor import MonitorDeleted, MonitorPaused, MonitorRestored, MonitorResumed, State
from tests.conftest import AT
from tests.workers.test_evaluator import Watch, watching
from tests.workers.world import Page, World, plan
from workers.evaluator import Evaluator

LOOKS_NEEDED = 3


@pytest.fixture
def evaluator(world: World, fetcher: AiohttpFetcher) -> Evaluator:
    return world.evaluator(fetcher)


async def confirming(world: World, evaluator: Evaluator, page: Page) -> Watch:
    """One look is missing until the state changes."""
    page.content = {"price": 150.0}
    watch = await watching(world, evaluator, plan(page.url, condition="price < 200", confirmations=LOOKS_NEEDED))
    for _ in range(LOOKS_NEEDED - 1):
        await watch.look()
    assert await watch.changes() == []
    return watch


def schedule_of(watch: Watch, *, active: bool) -> list[Companion]:
    of = plan("http://127.0.0.1/").schedule
    return [KeepSchedule(watch.monitor, watch.owner, of, active=active, due_at=watch.world.clock())]


async def looks_until_active(watch: Watch) -> int:
    for looks in range(1, 10):
        await watch.look()
        if await watch.state() is State.ACTIVE:
            return looks
    return 0


async def test_a_pause_is_no_look_and_what_is_being_confirmed_goes_on_after_it(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await confirming(world, evaluator, page)
    paused, resumed = MonitorPaused(paused_at=AT), MonitorResumed(resumed_at=AT)
    await world.append(watch.owner, watch.monitor, paused, companions=schedule_of(watch, active=False))
    await world.append(watch.owner, watch.monitor, resumed, companions=schedule_of(watch, active=True))
    assert await looks_until_active(watch) == 1


async def test_what_was_being_confirmed_when_a_monitor_was_deleted_begins_again(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await confirming(world, evaluator, page)
    gone: list[Companion] = [DropSchedule(watch.monitor)]
    await world.append(watch.owner, watch.monitor, MonitorDeleted(deleted_at=AT), companions=gone)
    restored = MonitorRestored(restored_at=AT)
    await world.append(watch.owner, watch.monitor, restored, companions=schedule_of(watch, active=True))
    assert await looks_until_active(watch) == LOOKS_NEEDED


async def test_a_verdict_is_recorded_with_the_version_of_the_program_that_came_to_it(
    world: World, evaluator: Evaluator, page: Page
) -> None:
    watch = await watching(world, evaluator, plan(page.url))
    assert (await watch.verdict()).program is None
    watch.evaluator = replace(evaluator, program="1.2.3")
    assert (await watch.verdict()).program == "1.2.3"
