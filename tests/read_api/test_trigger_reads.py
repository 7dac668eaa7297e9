"""GET /api/v1/triggers and their firings."""

from collections.abc import Callable
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from domain.monitor import State
from domain.trigger import TriggerDeleted, TriggerDisabled, TriggerSuppressed
from read_api.paging import THING_ORDERS
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes

As = Callable[[UUID], Reader]


@pytest.mark.parametrize(("cooldown_seconds", "shown"), [(0, None), (5400, "PT1H30M")])
async def test_a_trigger_is_read_with_its_cooldown_as_a_duration(
    world: World, reader: As, cooldown_seconds: int, shown: str | None
) -> None:
    ada = await world.person()
    monitor, action = await world.monitor(ada), await world.action(ada)
    trigger = await world.trigger(ada, monitor, action, cooldown_seconds=cooldown_seconds)
    await world.append(ada, trigger, TriggerDisabled(disabled_at=AT))
    await world.project()
    response = await reader(ada).answer(f"/triggers/{trigger}")
    shape = response.json()["data"]
    assert response.headers["ETag"] == '"2"'
    del shape["updated_at"]
    assert shape == {
        "id": str(trigger),
        "monitor_id": str(monitor),
        "action_id": str(action),
        "name": "Alert",
        "condition": "becomes_active",
        "frequency": "every_time",
        "cooldown": shown,
        "enabled": False,
        "snoozed_until": None,
        "version": 2,
        "created_at": "2026-01-01T00:00:00Z",
    }


async def test_triggers_are_listed_all_or_those_of_a_monitor_without_deleted_ones(world: World, reader: As) -> None:
    ada = await world.person()
    one, other, action = await world.monitor(ada), await world.monitor(ada), await world.action(ada)
    of_one, of_other = await world.trigger(ada, one, action), await world.trigger(ada, other, action)
    gone = await world.trigger(ada, one, action)
    await world.append(ada, gone, TriggerDeleted(deleted_at=AT))
    await world.project()
    assert set(await reader(ada).ids("/triggers")) == {str(of_one), str(of_other)}
    assert await reader(ada).ids("/triggers", monitor_id=str(one)) == [str(of_one)]
    assert await reader(ada).ids("/triggers", monitor_id=str(uuid7())) == []
    assert await reader(ada).refused_field("/triggers", monitor_id="1") == "monitor_id"
    await reader(ada).refusal(f"/triggers/{gone}", 404)
    for order in THING_ORDERS:
        assert len(await reader(ada).ids("/triggers", sort=order)) == 2


async def test_firings_tell_what_was_done_and_what_was_held_back_and_why(world: World, reader: As) -> None:
    ada = await world.person()
    monitor, action = await world.monitor(ada), await world.action(ada)
    trigger = await world.trigger(ada, monitor, action)
    evaluation = await world.evaluation(ada, monitor, minutes(1), before=State.UNKNOWN, after=State.ACTIVE)
    again = await world.evaluation(ada, monitor, minutes(2), before=State.ACTIVE, after=State.ACTIVE)
    fired = await world.firing(ada, trigger, monitor, evaluation, minutes(1))
    held = TriggerSuppressed(
        firing_id=uuid7(),
        monitor_id=monitor,
        evaluation_id=again,
        occasion=2,
        reason="cooldown",
        suppressed_at=minutes(2),
    )
    await world.append(ada, trigger, held, TriggerDeleted(deleted_at=minutes(3)))
    await world.project()
    change = (await reader(ada).ids(f"/monitors/{monitor}/changes"))[0]
    assert await reader(ada).data(f"/triggers/{trigger}/firings") == [
        {
            "id": str(held.firing_id),
            "trigger_id": str(trigger),
            "outcome": "suppressed",
            "reason": "cooldown",
            "change_id": None,
            "evaluation_id": str(again),
            "at": "2026-01-01T00:02:00Z",
        },
        {
            "id": str(fired),
            "trigger_id": str(trigger),
            "outcome": "fired",
            "reason": None,
            "change_id": change,
            "evaluation_id": str(evaluation),
            "at": "2026-01-01T00:01:00Z",
        },
    ]


async def test_a_trigger_that_never_fired_has_an_empty_list_of_firings(world: World, reader: As) -> None:
    ada = await world.person()
    trigger = await world.trigger(ada, await world.monitor(ada), await world.action(ada))
    await world.project()
    assert await reader(ada).data(f"/triggers/{trigger}/firings") == []
