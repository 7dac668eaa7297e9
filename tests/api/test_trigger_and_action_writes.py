"""What a person does with actions and triggers, over HTTP."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.api.people import Installation, Json, Person

SOMEWHERE = str(UUID(int=1))


def without(thing: Json, *names: str) -> Json:
    return {name: value for name, value in thing.items() if name not in names}


# Actions


async def test_an_action_is_created_read_replaced_and_deleted(ada: Person) -> None:
    response = await ada.asks("POST", "/actions", {"type": "email"})
    assert (response.status_code, response.headers["ETag"]) == (201, '"1"')
    made = response.json()["data"]
    path = f"/actions/{made['id']}"
    assert response.headers["Location"] == f"/api/v1{path}"
    assert response.headers["Vigil-Position"]
    assert without(made, "id", "created_at", "updated_at") == {
        "name": "E-mail",
        "type": "email",
        "to": [],
        "subject_template": None,
        "version": 1,
    }
    assert without(await ada.gets("GET", path), "updated_at") == without(made, "updated_at")

    body = {"type": "email", "name": "Tell me", "to": [ada.email.upper()], "subject_template": "{monitor}: {state}"}
    replaced = await ada.gets("PUT", path, body)
    assert {name: replaced[name] for name in body} == body
    assert (replaced["version"], replaced["created_at"]) == (2, made["created_at"])
    assert await ada.gets("GET", path) == replaced
    assert (await ada.gets("PUT", path, body))["version"] == 2, "the same again changes nothing"
    assert without(await ada.gets("PUT", path, {"type": "email"}), "version", "updated_at") == without(
        made, "version", "updated_at"
    ), "what is left out has its default again"

    await ada.gets("DELETE", path, expect=204)
    await ada.is_refused("GET", path, status=404)
    await ada.is_refused("PUT", path, body, status=404)
    await ada.gets("DELETE", path, expect=204)
    assert await ada.gets("GET", "/actions") == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "sms"}, "type"),
        ({"type": None}, "type"),
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": 5}, "name"),
        ({"to": "ada@example.org"}, "to"),
        ({"to": [5]}, "to[0]"),
        ({"to": ["eve@example.org"]}, "to[0]"),
        ({"to": ["own", "eve@example.org"]}, "to[1]"),
        ({"to": ["own", "OWN"]}, "to[1]"),
        ({"to": ["own"] * 11}, "to"),
        ({"to": ["own\r\nBcc: eve@example.org"]}, "to[0]"),
        ({"subject_template": ""}, "subject_template"),
        ({"subject_template": "x" * 201}, "subject_template"),
        ({"subject_template": "a\r\nBcc: eve@example.org"}, "subject_template"),
        ({"subject_template": "{password}"}, "subject_template"),
        ({"subject_template": {"a": 1}}, "subject_template"),
        ({"cc": []}, "cc"),
    ],
    ids=str,
)
async def test_a_wrong_action_is_refused_by_field_and_nothing_is_stored(ada: Person, changes: Json, field: str) -> None:
    if isinstance(changes.get("to"), list):
        replaced = {"own": ada.email, "OWN": ada.email.upper()}
        changes = {**changes, "to": [replaced.get(one, one) for one in changes["to"]]}
    made = await ada.action(name="Kept")
    before = await ada.installation.stored(ada.user_id)
    body = {"type": "email", **changes}
    for method, path in (("POST", "/actions"), ("PUT", f"/actions/{made['id']}")):
        error = await ada.is_refused(method, path, body, status=400)
        assert (error["code"], [detail["field"] for detail in error["details"]]) == ("VALIDATION_ERROR", [field])
    assert await ada.installation.stored(ada.user_id) == before


# Triggers


@pytest.fixture(scope="module")
async def linked(installation: Installation) -> tuple[Person, Json, Json]:
    """Somebody with a monitor and an action to link."""
    person = await installation.person()
    return person, await person.monitor(), await person.action()


async def test_a_trigger_is_created_read_replaced_and_deleted(linked: tuple[Person, Json, Json]) -> None:
    ada, monitor, action = linked
    body = {"monitor_id": monitor["id"], "action_id": action["id"], "condition": "becomes_active"}
    response = await ada.asks("POST", "/triggers", body)
    assert (response.status_code, response.headers["ETag"]) == (201, '"1"')
    made = response.json()["data"]
    path = f"/triggers/{made['id']}"
    assert response.headers["Location"] == f"/api/v1{path}"
    assert without(made, "id", "created_at", "updated_at") == {
        **body,
        "name": "becomes active every time",
        "frequency": "every_time",
        "cooldown": None,
        "enabled": True,
        "snoozed_until": None,
        "version": 1,
    }
    assert without(await ada.gets("GET", path), "updated_at") == without(made, "updated_at")

    other = await ada.action(name="Other")
    wanted = {
        "monitor_id": monitor["id"],
        "action_id": other["id"],
        "condition": "state_change",
        "frequency": "once",
        "cooldown": "PT1H30M",
        "name": "Once",
    }
    replaced = await ada.gets("PUT", path, wanted)
    assert {name: replaced[name] for name in wanted} == wanted
    assert replaced["version"] == 2
    assert await ada.gets("GET", path) == replaced
    assert (await ada.gets("PUT", path, wanted))["version"] == 2, "the same again changes nothing"

    disabled = await ada.gets("POST", f"{path}/disable")
    assert (disabled["enabled"], disabled["version"]) == (False, 3)
    assert (await ada.gets("POST", f"{path}/disable"))["version"] == 3
    enabled = await ada.gets("POST", f"{path}/enable")
    assert (enabled["enabled"], enabled["version"]) == (True, 4)
    assert (await ada.gets("POST", f"{path}/enable"))["version"] == 4

    await ada.gets("DELETE", path, expect=204)
    for method, under, content in [("GET", "", None), ("PUT", "", wanted), ("POST", "/enable", None)]:
        await ada.is_refused(method, f"{path}{under}", content, status=404)
    assert await ada.gets("GET", f"{path}/firings") == [], "what it fired stays in the history"
    await ada.gets("DELETE", path, expect=204)


async def test_what_was_created_a_moment_ago_can_be_linked_at_once(ada: Person) -> None:
    monitor, action = await asyncio.gather(ada.monitor(), ada.action())
    trigger = await ada.trigger(monitor, action)
    assert [one["id"] for one in await ada.gets("GET", f"/triggers?monitor_id={monitor['id']}")] == [trigger["id"]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"monitor_id": SOMEWHERE}, "monitor_id"),
        ({"monitor_id": "kettle"}, "monitor_id"),
        ({"monitor_id": None}, "monitor_id"),
        ({"action_id": SOMEWHERE}, "action_id"),
        ({"action_id": 5}, "action_id"),
        ({"condition": "becomes_green"}, "condition"),
        ({"condition": None}, "condition"),
        ({"frequency": "daily"}, "frequency"),
        ({"cooldown": "an hour"}, "cooldown"),
        ({"cooldown": "-PT1H"}, "cooldown"),
        ({"cooldown": "P367D"}, "cooldown"),
        ({"cooldown": "PT0.5S"}, "cooldown"),
        ({"cooldown": "P1M"}, "cooldown"),
        ({"cooldown": 3600}, "cooldown"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\0"}, "name"),
        ({"enabled": False}, "enabled"),
    ],
    ids=str,
)
async def test_a_wrong_trigger_is_refused_by_field_and_nothing_is_stored(
    linked: tuple[Person, Json, Json], changes: Json, field: str
) -> None:
    ada, monitor, action = linked
    made = await ada.trigger(monitor, action)
    before = await ada.installation.stored(ada.user_id)
    body = {"monitor_id": monitor["id"], "action_id": action["id"], "condition": "becomes_active", **changes}
    body = {name: value for name, value in body.items() if value is not None}
    for method, path in (("POST", "/triggers"), ("PUT", f"/triggers/{made['id']}")):
        error = await ada.is_refused(method, path, body, status=400)
        assert (error["code"], [detail["field"] for detail in error["details"]]) == ("VALIDATION_ERROR", [field])
    assert await ada.installation.stored(ada.user_id) == before


async def test_a_trigger_stays_with_its_monitor(ada: Person) -> None:
    one, two, action = await ada.monitor(), await ada.monitor(), await ada.action()
    made = await ada.trigger(one, action)
    body = {"monitor_id": two["id"], "action_id": action["id"], "condition": "becomes_active"}
    error = await ada.is_refused("PUT", f"/triggers/{made['id']}", body, status=400)
    assert error["details"][0]["field"] == "monitor_id"


async def test_what_was_deleted_cannot_be_linked(ada: Person) -> None:
    monitor, action = await ada.monitor(), await ada.action()
    trigger = await ada.trigger(monitor, action)
    body = {"monitor_id": monitor["id"], "action_id": action["id"], "condition": "becomes_active"}
    await ada.gets("DELETE", f"/actions/{action['id']}", expect=204)
    for method, path in (("POST", "/triggers"), ("PUT", f"/triggers/{trigger['id']}")):
        error = await ada.is_refused(method, path, {**body, "frequency": "once"}, status=400)
        assert (error["details"][0]["field"], error["message"]) == ("action_id", "this action was deleted")
    await ada.gets("DELETE", f"/monitors/{monitor['id']}", expect=204)
    error = await ada.is_refused("POST", "/triggers", body, status=400)
    assert (error["details"][0]["field"], error["message"]) == ("monitor_id", "this monitor was deleted")


@pytest.mark.parametrize("kind", ["actions", "triggers"])
async def test_a_write_on_another_version_than_the_present_one_changes_nothing(ada: Person, kind: str) -> None:
    monitor, action = await ada.monitor(), await ada.action()
    trigger = await ada.trigger(monitor, action)
    path = f"/{kind}/{(action if kind == 'actions' else trigger)['id']}"
    bodies: dict[str, Json] = {
        "actions": {"type": "email", "name": "New"},
        "triggers": {"monitor_id": monitor["id"], "action_id": action["id"], "condition": "state_change"},
    }
    present = await ada.gets("GET", path)
    stale: dict[str, Any] = {"status": 412, "headers": {"If-Match": '"2"'}}
    await ada.is_refused("PUT", path, bodies[kind], **stale)
    await ada.is_refused("DELETE", path, **stale)
    for under in ("enable", "disable") if kind == "triggers" else ():
        await ada.is_refused("POST", f"{path}/{under}", **stale)
    assert await ada.gets("GET", path) == present
    assert (await ada.gets("PUT", path, bodies[kind], headers={"If-Match": '"1"'}))["version"] == 2
