"""GET /api/v1/actions."""

from collections.abc import Callable
from uuid import UUID

from domain.action import ActionDeleted
from read_api.paging import THING_ORDERS
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes

As = Callable[[UUID], Reader]


async def test_an_action_is_read_with_its_configuration(world: World, reader: As) -> None:
    ada = await world.person()
    action = await world.action(ada)
    await world.project()
    response = await reader(ada).answer(f"/actions/{action}")
    shape = response.json()["data"]
    assert response.headers["ETag"] == '"1"'
    del shape["updated_at"]
    assert shape == {
        "id": str(action),
        "name": "Mail me",
        "type": "email",
        "to": ["ada@example.org"],
        "subject_template": "{monitor}: {state}",
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
    }


async def test_a_deleted_action_is_neither_read_nor_listed(world: World, reader: As) -> None:
    ada = await world.person()
    kept, gone = await world.action(ada), await world.action(ada)
    await world.append(ada, gone, ActionDeleted(deleted_at=AT))
    await world.project()
    await reader(ada).refusal(f"/actions/{gone}", 404)
    page = await reader(ada).get("/actions")
    assert ([item["id"] for item in page["data"]], page["pagination"]["total"]) == ([str(kept)], 1)


async def test_actions_are_sorted_as_asked_for(world: World, reader: As) -> None:
    ada = await world.person()
    b = str(await world.action(ada, "b", at=minutes(0)))
    a = str(await world.action(ada, "a", at=minutes(1)))
    await world.project()
    assert await reader(ada).ids("/actions") == [a, b]
    assert await reader(ada).ids("/actions", sort="created_at:asc", limit=1) == [b]
    assert await reader(ada).ids("/actions", sort="name:asc", offset=1) == [b]
    for order in THING_ORDERS:
        assert set(await reader(ada).ids("/actions", sort=order)) == {a, b}
    assert await reader(ada).refused_field("/actions", sort="config:asc") == "sort"
