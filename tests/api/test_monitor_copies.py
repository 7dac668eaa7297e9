"""Monitors made of others, taken out again after they were deleted, and taken along as a document."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from domain.monitor import MonitorCreated, State, StateChanged
from tests.api.conftest import MONITOR_LIMIT
from tests.api.people import Json, Person, wish
from tests.conftest import AT

PLAN = [
    *("prompt", "kind", "facts", "condition", "sources", "schedule", "confirmations", "min_confidence", "fires"),
    "explanation",
]
KEY = {"Idempotency-Key": "b7c9-1"}


def path_of(monitor: Json) -> str:
    return f"/monitors/{monitor['id']}"


def plan_of(monitor: Json) -> Json:
    return {name: monitor[name] for name in PLAN}


async def turned_active(person: Person, monitor: Json) -> None:
    """What an evaluation that met the condition would have left."""
    asked = await person.gets("POST", f"{path_of(monitor)}/evaluate", expect=202)
    change = StateChanged(
        from_state=State.UNKNOWN, to_state=State.ACTIVE, evaluation_id=UUID(asked["id"]), changed_at=AT
    )
    await person.installation.append(person.user_id, UUID(monitor["id"]), change)


# Forking


async def test_a_fork_has_the_same_plan_and_nothing_else_of_the_other_one(ada: Person) -> None:
    made = await ada.monitor(name="Kettle", facts=None, condition=None, confirmations=2)
    await turned_active(ada, made)
    response = await ada.asks("POST", f"{path_of(made)}/fork")
    assert response.status_code == 201, response.text
    fork = response.json()["data"]
    assert response.headers["Location"] == f"/api/v1/monitors/{fork['id']}"
    assert (response.headers["ETag"], fork["version"], fork["state"]) == ('"1"', 1, "unknown")
    assert fork["id"] != made["id"]
    assert plan_of(fork) == plan_of(made)
    assert fork["name"] == "Kettle (2)"
    assert fork["next_due_at"] == fork["created_at"], "its first evaluation is due at once"
    assert await ada.gets("GET", f"{path_of(fork)}/changes") == []
    assert (await ada.gets("GET", path_of(made)))["version"] == 2
    created = (await ada.installation.parts.store.load(UUID(fork["id"])))[0].event
    assert isinstance(created, MonitorCreated)
    assert created.forked_from == UUID(made["id"])


async def test_a_fork_of_a_fork_gets_the_next_free_number(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    third = await ada.monitor(name="KETTLE (3)")
    await ada.gets("POST", f"{path_of(third)}/pause")
    second = await ada.gets("POST", f"{path_of(made)}/fork", expect=201)
    fourth = await ada.gets("POST", f"{path_of(second)}/fork", expect=201)
    assert (second["name"], fourth["name"]) == ("Kettle (2)", "Kettle (4)")


async def test_a_fork_differs_in_what_its_body_says(ada: Person) -> None:
    made = await ada.monitor(name="Kettle", confirmations=2)
    fork = await ada.gets(
        "POST", f"{path_of(made)}/fork", {"name": "Cheap kettle", "condition": "price < 20.0"}, expect=201
    )
    assert (fork["name"], fork["condition"], fork["confirmations"]) == ("Cheap kettle", "price < 20.0", 2)
    assert (fork["sources"], fork["facts"]) == (made["sources"], made["facts"])
    assert (await ada.gets("GET", path_of(made)))["condition"] == "price < 50.0"


async def test_a_paused_monitor_is_forked_into_an_active_one(ada: Person) -> None:
    made = await ada.monitor()
    await ada.gets("POST", f"{path_of(made)}/pause")
    assert (await ada.gets("POST", f"{path_of(made)}/fork", {}, expect=201))["status"] == "active"


async def test_a_fork_takes_a_name_and_a_place_as_any_monitor(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    error = await ada.is_refused("POST", f"{path_of(made)}/fork", {"name": "kettle"}, status=409)
    assert (error["code"], error["details"][0]["field"]) == ("DUPLICATE_NAME", "name")
    for _ in range(MONITOR_LIMIT - 1):
        await ada.gets("POST", f"{path_of(made)}/fork", expect=201)
    before = await ada.installation.stored(ada.user_id)
    error = await ada.is_refused("POST", f"{path_of(made)}/fork", status=422)
    assert error["code"] == "MONITOR_LIMIT_EXCEEDED"
    assert await ada.installation.stored(ada.user_id) == before


async def test_a_fork_that_is_asked_for_again_is_the_same_one(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    answers = await asyncio.gather(*(ada.asks("POST", f"{path_of(made)}/fork", {}, headers=KEY) for _ in range(5)))
    assert {answer.json()["data"]["id"] for answer in answers} == {answers[0].json()["data"]["id"]}
    assert {answer.headers["Location"] for answer in answers} == {answers[0].headers["Location"]}
    assert len(await ada.gets("GET", "/monitors")) == 2
    error = await ada.is_refused("POST", f"{path_of(made)}/fork", {"confirmations": 2}, status=422, headers=KEY)
    assert error["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_nobody_forks_what_is_not_theirs_or_not_there(ada: Person, ben: Person) -> None:
    made = await ada.monitor()
    await ben.is_refused("POST", f"{path_of(made)}/fork", status=404)
    await ada.gets("DELETE", path_of(made), expect=204)
    await ada.is_refused("POST", f"{path_of(made)}/fork", status=404)


# Restoring


async def test_a_deleted_monitor_is_restored_as_it_was_and_looks_at_once(ada: Person) -> None:
    made, action = await ada.monitor(name="Kettle"), await ada.action()
    trigger = await ada.trigger(made, action)
    await turned_active(ada, made)
    before = await ada.gets("GET", path_of(made))
    await ada.gets("DELETE", path_of(made), expect=204)
    (archived,) = await ada.gets("GET", "/monitors?status=archived")
    response = await ada.asks("POST", f"{path_of(made)}/restore", headers={"If-Match": f'"{archived["version"]}"'})
    assert response.status_code == 200, response.text
    restored = response.json()["data"]
    moving = ("version", "updated_at", "next_due_at")
    assert {name: value for name, value in restored.items() if name not in moving} == {
        name: value for name, value in before.items() if name not in moving
    }
    assert (restored["status"], restored["state"], restored["version"]) == ("active", "active", before["version"] + 2)
    assert restored["next_due_at"] is not None
    assert await ada.gets("GET", path_of(made)) == restored
    assert await ada.gets("GET", "/monitors?status=archived") == []
    assert [change["to"] for change in await ada.gets("GET", f"{path_of(made)}/changes")] == ["active"]
    assert (await ada.gets("GET", f"/triggers/{trigger['id']}"))["enabled"]
    stored = await ada.installation.stored(ada.user_id)
    assert (stored["schedules"], stored["reservations"]) == (1, 2), "a name and a place"
    await ada.gets("POST", f"{path_of(made)}/evaluate", expect=202)


async def test_a_paused_monitor_comes_back_active(ada: Person) -> None:
    made = await ada.monitor()
    await ada.gets("POST", f"{path_of(made)}/pause")
    await ada.gets("DELETE", path_of(made), expect=204)
    assert (await ada.gets("POST", f"{path_of(made)}/restore"))["status"] == "active"


async def test_a_name_that_was_taken_meanwhile_is_cured_by_another_one(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    await ada.gets("DELETE", path_of(made), expect=204)
    await ada.monitor(name="KETTLE")
    before = await ada.installation.stored(ada.user_id)
    error = await ada.is_refused("POST", f"{path_of(made)}/restore", status=409)
    assert (error["code"], error["details"][0]["field"]) == ("DUPLICATE_NAME", "name")
    error = await ada.is_refused("POST", f"{path_of(made)}/restore", {"name": "x" * 121}, status=400)
    assert error["details"][0]["field"] == "name"
    assert await ada.installation.stored(ada.user_id) == before
    restored = await ada.gets("POST", f"{path_of(made)}/restore", {"name": "Old kettle"})
    assert (restored["name"], restored["version"]) == ("Old kettle", 4)
    assert await ada.gets("GET", path_of(made)) == restored
    await ada.is_refused("POST", "/monitors", wish(name="old kettle"), status=409)


async def test_a_full_house_takes_no_monitor_back(ada: Person) -> None:
    gone, *_ = [await ada.monitor(name=f"M{i}") for i in range(MONITOR_LIMIT)]
    await ada.gets("DELETE", path_of(gone), expect=204)
    other = await ada.monitor(name="Other")
    error = await ada.is_refused("POST", f"{path_of(gone)}/restore", status=422)
    assert error["code"] == "MONITOR_LIMIT_EXCEEDED"
    await ada.is_refused("GET", path_of(gone), status=404)
    await ada.gets("POST", f"{path_of(other)}/pause")
    await ada.gets("POST", f"{path_of(gone)}/restore")


async def test_restoring_what_is_not_deleted_changes_nothing(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    restored = await ada.gets("POST", f"{path_of(made)}/restore", {"name": "Pot"})
    assert (restored["name"], restored["version"]) == ("Kettle", 1)


async def test_a_restoration_counts_once_and_only_on_the_version_that_was_seen(ada: Person) -> None:
    made = await ada.monitor()
    await ada.gets("DELETE", path_of(made), expect=204)
    await ada.is_refused("POST", f"{path_of(made)}/restore", status=412, headers={"If-Match": '"1"'})
    answers = await asyncio.gather(*(ada.asks("POST", f"{path_of(made)}/restore", headers=KEY) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["data"]["version"] for answer in answers} == {3}


async def test_nobody_restores_what_is_not_theirs(ada: Person, ben: Person) -> None:
    made = await ada.monitor()
    await ada.gets("DELETE", path_of(made), expect=204)
    await ben.is_refused("POST", f"{path_of(made)}/restore", status=404)
    assert await ben.gets("GET", "/monitors") == []


# Exporting


async def exported(person: Person, path: str = "/monitors/export") -> Any:  # noqa: ANN401  JSON
    response = await person.asks("GET", path)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/json")
    assert "attachment" in response.headers["Content-Disposition"]
    return json.loads(response.content)


async def test_what_is_exported_creates_the_same_monitors_when_it_is_imported(ada: Person, ben: Person) -> None:
    sources = [
        {"type": "http", "url": "http://127.0.0.1/a", "headers": {"Accept-Language": "de"}, "select": {"css": "p"}}
    ]
    await ada.monitor(name="Kettle", sources=sources, schedule={"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"})
    paused = await ada.monitor(prompt="Tell me when the price changes", facts=None, condition=None, confirmations=3)
    await ada.gets("POST", f"{path_of(paused)}/pause")
    gone = await ada.monitor(name="Gone")
    await ada.gets("DELETE", path_of(gone), expect=204)
    document = await exported(ada)
    assert (document["format"], [one["name"] for one in document["monitors"]]) == ("vigil", ["Kettle", paused["name"]])
    answer = await ben.gets("POST", "/monitors/import", document)
    assert (answer["created"], answer["refused"]) == (2, 0)
    assert (await exported(ben))["monitors"] == document["monitors"]
    statuses = {one["name"]: one["status"] for one in await ben.gets("GET", "/monitors")}
    assert statuses == {"Kettle": "active", paused["name"]: "paused"}


async def test_an_exported_monitor_is_in_the_form_that_creates_one(ada: Person, ben: Person) -> None:
    made = await ada.monitor(name="Kettle", min_confidence=0.75, fires="each_time", condition="changed(price)")
    (one,) = (await exported(ada, f"{path_of(made)}/export"))["monitors"]
    created = await ben.gets("POST", "/monitors", one, expect=201)
    assert plan_of(created) == plan_of(made)
    assert created["name"] == "Kettle"


async def test_an_export_of_nothing_and_of_many_is_whole(ada: Person) -> None:
    assert (await exported(ada))["monitors"] == []
    names = {f"M{i}" for i in range(130)}
    body = {"format": "vigil", "monitors": [{**wish(name=name), "paused": True} for name in sorted(names)]}
    assert (await ada.gets("POST", "/monitors/import", body))["created"] == 130
    document = await exported(ada)
    assert {one["name"] for one in document["monitors"]} == names
    assert len(document["monitors"]) == 130


async def test_only_ones_own_monitors_are_exported(ada: Person, ben: Person) -> None:
    made = await ada.monitor()
    assert (await exported(ben))["monitors"] == []
    await ben.is_refused("GET", f"{path_of(made)}/export", status=404)
    error = await ben.is_refused("GET", "/monitors/export?format=csv", status=400)
    assert error["details"][0]["field"] == "format"


@pytest.mark.parametrize("path", ["/monitors/export", "/monitors/preview", "/monitors/validate", "/monitors/import"])
async def test_no_path_of_the_collection_is_taken_for_a_monitors_id(ada: Person, path: str) -> None:
    methods = {"GET", "POST"} - {"GET" if path.endswith("export") else "POST"}
    for method in methods:
        assert (await ada.asks(method, path)).status_code in {404, 405}
