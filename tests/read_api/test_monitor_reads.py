"""GET /api/v1/monitors and their changes."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from domain.monitor import MonitorDeleted, MonitorPaused, MonitorRenamed, MonitorResumed, PlanRevised, State
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.plan import Kind
from read_api.monitors import _ORDERS
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes, plan

As = Callable[[UUID], Reader]


async def test_a_monitor_is_read_with_its_plan_and_its_version_as_etag(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada, "Laptop", prompt="Tell me when it is cheap")
    await world.append(ada, monitor, MonitorRenamed(name="Notebook", renamed_at=AT))
    await world.project()
    response = await reader(ada).answer(f"/monitors/{monitor}")
    shape = response.json()["data"]
    assert response.headers["ETag"] == '"2"'
    assert shape.pop("updated_at").endswith("Z")
    assert shape == {
        "id": str(monitor),
        "name": "Notebook",
        "prompt": "Tell me when it is cheap",
        "kind": "current_state",
        "status": "active",
        "failing": None,
        "state": "unknown",
        "facts": [{"name": "price", "type": "number", "unit": "EUR"}],
        "condition": "price < 50.0",
        "sources": [{"type": "http", "url": "https://shop.example/price.json"}],
        "schedule": {"every": "PT5M"},
        "confirmations": 1,
        "min_confidence": 0.5,
        "reset_condition": None,
        "provider": None,
        "batch": False,
        "forecast": None,
        "compile_cost_micros": None,
        "fires": "on_entry",
        "explanation": "Fires when the price falls under 50 EUR.",
        "last_evaluated_at": None,
        "next_due_at": None,
        "version": 2,
        "created_at": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(("active", "shown"), [(True, "2026-01-01T00:05:00Z"), (False, None)])
async def test_a_monitor_is_next_due_when_its_active_schedule_says(
    world: World, reader: As, *, active: bool, shown: str | None
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with world.pool.connection() as connection:
        await connection.execute(
            "insert into schedule (monitor_id, owner_id, schedule, active, due_at) values (%s, %s, %s, %s, %s)",
            (monitor, ada, Jsonb({}), active, minutes(5)),
        )
    assert (await reader(ada).data(f"/monitors/{monitor}"))["next_due_at"] == shown
    assert [m["next_due_at"] for m in await reader(ada).data("/monitors")] == [shown]


async def test_a_deleted_monitor_is_gone_but_listed_as_archived_and_its_history_stays(world: World, reader: As) -> None:
    ada = await world.person()
    kept, gone = await world.monitor(ada, "Kept"), await world.monitor(ada, "Gone")
    evaluation = await world.evaluation(ada, gone, minutes(1))
    await world.append(ada, gone, MonitorDeleted(deleted_at=minutes(2)))
    await world.project()
    assert (await reader(ada).refusal(f"/monitors/{gone}", 404))["code"] == "NOT_FOUND"
    assert await reader(ada).ids("/monitors") == [str(kept)]
    assert await reader(ada).ids("/monitors", status="archived") == [str(gone)]
    assert await reader(ada).ids(f"/monitors/{gone}/history") == [str(evaluation)]


async def test_each_filter_leaves_out_what_does_not_match(world: World, reader: As) -> None:
    ada = await world.person()
    paused = await world.monitor(ada, "Paused")
    await world.append(ada, paused, MonitorPaused(paused_at=AT))
    active = await world.monitor(ada, "Active")
    await world.evaluation(ada, active, AT, before=State.UNKNOWN, after=State.ACTIVE)
    changing = await world.monitor(ada, "Changing", of=plan(kind=Kind.HISTORICAL_CHANGE))
    await world.project()
    ask = reader(ada).ids
    assert await ask("/monitors", status="paused") == [str(paused)]
    assert await ask("/monitors", state="active") == [str(active)]
    assert await ask("/monitors", kind="historical_change") == [str(changing)]
    assert await ask("/monitors", kind="historical_change", status="paused") == []


async def test_a_failing_monitor_says_since_when_and_why_until_it_is_well_again(world: World, reader: As) -> None:
    ada = await world.person()
    monitor, well = await world.monitor(ada, "Failing"), await world.monitor(ada, "Well")
    failing = MonitorFailing(
        failures=3,
        code="SOURCE_GONE",
        message="it is gone (410)",
        evaluation_id=UUID(int=1),
        since=minutes(1),
        failed_at=minutes(11),
    )
    said = {"since": "2026-01-01T00:01:00Z", "failures": 3, "code": "SOURCE_GONE", "message": "it is gone (410)"}
    await world.append(ada, monitor, failing)
    await world.project()
    shape = await reader(ada).data(f"/monitors/{monitor}")
    assert (shape["status"], shape["failing"], shape["version"]) == ("failing", said, 2)
    assert await reader(ada).ids("/monitors", status="failing") == [str(monitor)]
    assert await reader(ada).ids("/monitors", status="active") == [str(well)]
    for event in (
        MonitorRecovered(evaluation_id=UUID(int=2), failed_since=minutes(1), recovered_at=minutes(16)),
        failing,
        PlanRevised(prompt="Tell me", plan=plan(), state_reset=False, revised_at=minutes(20)),
        failing,
        MonitorResumed(resumed_at=minutes(21)),
    ):
        await world.append(ada, monitor, event)
        await world.project()
        shape = await reader(ada).data(f"/monitors/{monitor}")
        expected = ("failing", said) if event is failing else ("active", None)
        assert (shape["status"], shape["failing"]) == expected
    await world.append(ada, monitor, failing, MonitorPaused(paused_at=minutes(22)))
    await world.project()
    shape = await reader(ada).data(f"/monitors/{monitor}")
    assert (shape["status"], shape["failing"]) == ("paused", None)


async def test_a_monitor_that_was_failing_is_read_so_as_of_then(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.append(
        ada,
        monitor,
        MonitorFailing(
            failures=3, code="SOURCE_GONE", message="gone", evaluation_id=UUID(int=1), since=AT, failed_at=minutes(11)
        ),
    )
    await world.append(ada, monitor, MonitorDeleted(deleted_at=minutes(20)))
    await world.project()
    shape = await reader(ada).data(f"/monitors/{monitor}", as_of=minutes(11).isoformat())
    assert shape["status"] == "failing"
    assert shape["failing"] == {
        "since": "2026-01-01T00:00:00Z",
        "failures": 3,
        "code": "SOURCE_GONE",
        "message": "gone",
    }


async def test_text_is_found_in_name_and_prompt_as_it_is_written_without_regard_to_case(
    world: World, reader: As
) -> None:
    ada = await world.person()
    named = await world.monitor(ada, "100% Wool_Coat")
    prompted = await world.monitor(ada, "Other", prompt="tell me about the WOOL price")
    await world.monitor(ada, "Nothing of it")
    await world.project()
    ask = reader(ada).ids
    assert set(await ask("/monitors", q="wool")) == {str(named), str(prompted)}
    assert await ask("/monitors", q="0% W") == [str(named)]
    assert await ask("/monitors", q="wool_") == [str(named)]
    assert await ask("/monitors", q="wo%l") == []
    assert await ask("/monitors", q="'; drop table monitors; --") == []


async def test_pages_of_a_list_with_equal_sort_keys_hold_each_monitor_once(world: World, reader: As) -> None:
    ada = await world.person()
    made = {str(await world.monitor(ada, "Same name")) for _ in range(7)}
    await world.project()
    seen: list[str] = []
    for offset in (0, 3, 6):
        page = await reader(ada).get("/monitors", sort="name:desc", limit=3, offset=offset)
        seen += [item["id"] for item in page["data"]]
        assert page["pagination"] == {
            "limit": 3,
            "offset": offset,
            "total": 7,
            "has_more": offset < 6,
            "next_cursor": None,
        }
    assert len(seen) == 7
    assert set(seen) == made
    beyond = await reader(ada).get("/monitors", limit=3, offset=50)
    assert (beyond["data"], beyond["pagination"]["total"], beyond["pagination"]["has_more"]) == ([], 7, False)


async def test_monitors_come_newest_first_or_in_the_order_asked_for(world: World, reader: As) -> None:
    ada = await world.person()
    b = str(await world.monitor(ada, "b", at=AT))
    a = str(await world.monitor(ada, "A", at=AT + timedelta(hours=1)))
    c = str(await world.monitor(ada, "c", at=AT + timedelta(hours=2)))
    await world.project()
    ask = reader(ada).ids
    assert await ask("/monitors") == [c, a, b]
    assert await ask("/monitors", sort="name") == [a, b, c]
    assert await ask("/monitors", sort="name:desc") == [c, b, a]
    for order in _ORDERS:
        assert set(await ask("/monitors", sort=order)) == {a, b, c}


BAD_PARAMETERS: list[tuple[dict[str, object], str, str]] = [
    ({"limit": 0}, "limit", "1"),
    ({"limit": 101}, "limit", "100"),
    ({"limit": "x"}, "limit", "expected a whole number, got text"),
    ({"offset": -1}, "offset", "0"),
    ({"offset": 10**30}, "offset", ""),
    ({"sort": "prompt:asc"}, "sort", "created_at, last_evaluated_at, name"),
    ({"sort": "name:up"}, "sort", "field:asc or field:desc"),
    ({"sort": "name;drop table monitors"}, "sort", ""),
    ({"status": "new"}, "status", "active, paused, failing, archived"),
    ({"state": "on"}, "state", "unknown, inactive, active"),
    ({"kind": "x"}, "kind", "current_state, historical_change"),
    ({"q": "x" * 201}, "q", "200"),
    ({"q": "a\0b"}, "q", "NUL"),
    ({"colour": "red"}, "colour", "kind, limit, offset, q, sort, state, status"),
    ({"in_state": "active"}, "in_state", "no parameter"),
    ({"min_position": "0.1"}, "min_position", "no parameter"),
    ({"cursor": "x"}, "cursor", "no parameter"),
]


async def test_a_bad_parameter_is_refused_by_name_with_what_would_do(world: World, reader: As) -> None:
    ada = await world.person()
    for parameters, field, hint in BAD_PARAMETERS:
        error = await reader(ada).refusal("/monitors", 400, **parameters)
        assert error["code"] == "VALIDATION_ERROR"
        assert [detail["field"] for detail in error["details"]] == [field]
        assert hint in error["details"][0]["message"]
        assert error["details"][0]["issue"] == (
            "unknown" if "no parameter" in error["details"][0]["message"] else "invalid"
        )


async def test_all_unknown_parameters_are_named_at_once(world: World, reader: As) -> None:
    error = await reader(await world.person()).refusal("/monitors", 400, colour=["red", "blue"], limit=5, size=7)
    assert error["message"] == "the request is not valid; see details"
    assert [(detail["field"], detail["issue"]) for detail in error["details"]] == [
        ("colour", "unknown"),
        ("size", "unknown"),
    ]


async def test_changes_tell_from_which_state_to_which_and_why_newest_first(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    first = await world.evaluation(ada, monitor, minutes(1), before=State.UNKNOWN, after=State.INACTIVE)
    second = await world.evaluation(ada, monitor, minutes(2), before=State.INACTIVE, after=State.ACTIVE)
    await world.project()
    changes = await reader(ada).data(f"/monitors/{monitor}/changes")
    assert [(c["from"], c["to"], c["evaluation_id"], c["at"]) for c in changes] == [
        ("inactive", "active", str(second), "2026-01-01T00:02:00Z"),
        ("unknown", "inactive", str(first), "2026-01-01T00:01:00Z"),
    ]
    assert {c["monitor_id"] for c in changes} == {str(monitor)}


async def test_a_monitor_without_changes_has_an_empty_list_of_them(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    page = await reader(ada).get(f"/monitors/{monitor}/changes")
    assert page["data"] == []
    assert page["pagination"] == {"limit": 100, "offset": None, "total": None, "has_more": False, "next_cursor": None}
