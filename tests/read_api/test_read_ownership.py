"""What belongs to somebody else is not there: every GET route, found from the application itself."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
from litestar import Litestar, Router
from litestar.routes import HTTPRoute
from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from commands.actions_http import ActionWrites
from commands.monitors_http import MonitorWrites
from commands.triggers_http import TriggerWrites
from domain.monitor import State
from read_api.actions import ActionReads
from read_api.monitors import MonitorReads
from read_api.triggers import TriggerReads
from tests.conftest import AT
from tests.read_api.conftest import Reader, given
from tests.read_api.world import World, price

As = Callable[[UUID], Reader]


def get_paths(app: Litestar) -> list[str]:
    """The paths of all GET routes below /api/v1 as templates: `/monitors/{monitor_id}`."""
    found = [r.path_format for r in app.routes if isinstance(r, HTTPRoute) and "GET" in r.methods]
    return [path.removeprefix("/api/v1") for path in found if path.startswith("/api/v1")]


def own_paths(app: Litestar) -> list[str]:
    """Those over what belongs to somebody. Auditors read what is everybody's, and only they do."""
    return [path for path in get_paths(app) if not path.startswith("/audit/")]


async def everything_of(world: World, owner_id: UUID) -> dict[str, str]:
    """One thing of each kind; the parameters that lead to them."""
    monitor, action = await world.monitor(owner_id), await world.action(owner_id)
    trigger = await world.trigger(owner_id, monitor, action)
    evaluation = await world.evaluation(owner_id, monitor, AT, price(1.0, AT), before=State.UNKNOWN, after=State.ACTIVE)
    await world.firing(owner_id, trigger, monitor, evaluation, AT)
    notification = await world.notification(owner_id, monitor_id=monitor)
    source = await world.signal_source(owner_id)
    await world.model_call(owner_id)
    return {
        "monitor_id": str(monitor),
        "evaluation_id": str(evaluation),
        "action_id": str(action),
        "trigger_id": str(trigger),
        "source_id": str(source),
        "notification_id": str(notification),
        "name": "price",
        "stream": str(monitor),
    }


def told(response: Any) -> tuple[int, object, set[str]]:  # noqa: ANN401
    """What an answer tells, apart from what names the request itself."""
    error = response.json()["error"]
    kept = {name: error[name] for name in error if name not in {"correlation_id", "timestamp"}}
    return response.status_code, kept, set(response.headers)


async def test_nobody_reads_what_belongs_to_somebody_else(world: World, app: Litestar, reader: As) -> None:
    ada, eve = await world.person("Ada"), await world.person("Eve")
    things = await everything_of(world, ada)
    await world.project()
    paths = [path for path in own_paths(app) if "{" in path]
    assert len(paths) == 11
    for path in paths:
        assert (await reader(ada).answer(path.format(**things))).status_code == 200, path
        unknown = {name: "price" if name == "name" else str(uuid7()) for name in things}
        foreign = await reader(eve).answer(path.format(**things))
        assert foreign.status_code == 404, path
        assert told(foreign) == told(await reader(eve).answer(path.format(**unknown))), path


async def test_an_own_monitor_leads_to_nothing_of_somebody_else(world: World, app: Litestar, reader: As) -> None:
    ada, eve = await world.person("Ada"), await world.person("Eve")
    hers, own = await everything_of(world, ada), await everything_of(world, eve)
    await world.project()
    nested = f"/monitors/{own['monitor_id']}/evaluations/{hers['evaluation_id']}"
    await reader(eve).refusal(nested, 404)
    for path in ("/triggers", "/notifications"):
        assert await reader(eve).ids(path, monitor_id=hers["monitor_id"]) == []


async def test_lists_hold_only_what_is_ones_own(world: World, app: Litestar, reader: As) -> None:
    ada, eve = await world.person("Ada"), await world.person("Eve")
    await everything_of(world, ada)
    await world.project()
    sums = {"/ai/usage", "/ai/budget"}
    lists = [path for path in own_paths(app) if "{" not in path and path not in {"/me", *sums}]
    assert sorted(lists) == ["/actions", "/ai/calls", "/monitors", "/notifications", "/signal-sources", "/triggers"]
    for path in lists:
        assert len(await reader(ada).data(path)) == 1, path
        page = await reader(eve).get(path)
        assert (page["data"], page["pagination"]["total"] or 0) == ([], 0), path
    usage = [(await reader(person).data("/ai/usage"))["calls"] for person in (ada, eve)]
    assert usage == [1, 0]


async def test_every_read_needs_a_token(world: World, app: Litestar, client: httpx.AsyncClient) -> None:
    ada = await world.person()
    things = await everything_of(world, ada)
    await world.project()
    for path in get_paths(app):
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Basic {ada}"}):
            response = await client.get(f"/api/v1{path.format(**things)}", headers=headers)
            assert response.status_code == 401, path


async def test_every_read_refuses_a_parameter_nobody_declared(
    world: World, app: Litestar, client: httpx.AsyncClient
) -> None:
    ada = await world.person()
    asks = Reader(client, ada, role="auditor")
    things = await everything_of(world, ada)
    await world.project()
    for path in get_paths(app):
        assert await asks.refused_field(path.format(**things), owner_id=str(ada)) == "owner_id", path


async def test_every_read_is_documented_with_its_refusals(app: Litestar) -> None:
    documented = app.openapi_schema.to_schema()["paths"]
    for path in get_paths(app):
        operation = documented[f"/api/v1{path}"]["get"]
        assert operation["summary"], path
        assert {"200", "400", "401", "503"} <= set(operation["responses"]), path
        assert "Vigil-Min-Position" in {p["name"] for p in operation["parameters"]}, path


async def test_reads_and_writes_share_their_paths(pool: Pool) -> None:
    names = [
        "forecasting",
        "past_monitors",
        "monitor_views",
        "evaluation_views",
        "action_views",
        "trigger_views",
        "monitors",
        "actions",
        "triggers",
    ]
    routes = [MonitorReads, MonitorWrites, ActionReads, ActionWrites, TriggerReads, TriggerWrites]
    app = Litestar(
        route_handlers=[Router(path="/api/v1", route_handlers=routes)],
        dependencies={name: given(None) for name in [*names, "projected"]},
    )
    methods = {route.path_format: route.methods for route in app.routes if isinstance(route, HTTPRoute)}
    for path in ("/api/v1/monitors", "/api/v1/actions", "/api/v1/triggers"):
        assert {"GET", "POST"} <= set(methods[path])
