"""Time travel: any stream with its events and its state, as of a moment, a version or a position of the log."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from domain.monitor import MonitorPaused, MonitorRenamed, State, StateChanged
from domain.operation import ParkedSkipped
from domain.user import RoleGranted
from read_api.stream_states import AGGREGATES, kind_of
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.test_audit_events import set_times
from tests.read_api.world import World, minutes

GRANTED = RoleGranted(role="operator", granted_at=AT)


@dataclass
class Watched:
    """A monitor that was renamed, changed and paused, an hour apart; its events have the positions 2, 4, 5 and 6."""

    owner: UUID
    id: UUID
    path: str

    def at(self, hours: float) -> str:
        return (AT + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def watched(world: World, pool: Pool) -> Watched:
    owner = await world.person()
    monitor_id = await world.monitor(owner, "Kettle")
    evaluation = await world.evaluation(owner, monitor_id, minutes(1))
    changed = StateChanged(
        from_state=State.UNKNOWN, to_state=State.ACTIVE, evaluation_id=evaluation, changed_at=minutes(2)
    )
    await world.append(owner, monitor_id, MonitorRenamed(name="Big kettle", renamed_at=AT))
    await world.append(owner, monitor_id, changed)
    await world.append(owner, monitor_id, MonitorPaused(paused_at=AT))
    await world.project()
    await set_times(pool, *(AT + timedelta(hours=n) for n in range(6)))
    return Watched(owner, monitor_id, f"/audit/streams/{monitor_id}")


def seen(data: dict[str, Any]) -> tuple[int, str, str, str]:
    return data["version"], data["state"]["name"], data["state"]["state"], data["state"]["status"]


NOW = (4, "Big kettle", "active", "paused")
CHANGED = (3, "Big kettle", "active", "active")
RENAMED = (2, "Big kettle", "unknown", "active")
CREATED = (1, "Kettle", "unknown", "active")


async def test_without_a_moment_it_is_the_present(watched: Watched, auditor: Reader) -> None:
    response = await auditor.answer(watched.path)
    data = response.json()["data"]
    assert seen(data) == NOW
    assert response.headers["ETag"] == '"4"'
    assert (data["id"], data["kind"], data["owner_id"]) == (str(watched.id), "monitor", str(watched.owner))
    assert [event["position"] for event in data["events"]] == ["2", "4", "5", "6"]
    assert data["state"]["plan"]["condition"] == "price < 50.0"
    assert data["state_missing"] is None


@pytest.mark.parametrize(
    ("hours", "expected"), [(1, CREATED), (2.9, CREATED), (3, RENAMED), (4.5, CHANGED), (5, NOW), (9000, NOW)]
)
async def test_it_is_told_as_of_a_moment(
    watched: Watched, auditor: Reader, hours: float, expected: tuple[int, str, str, str]
) -> None:
    data = await auditor.data(watched.path, as_of=watched.at(hours))
    assert seen(data) == expected
    assert [event["version"] for event in data["events"]] == list(range(1, expected[0] + 1))


@pytest.mark.parametrize(("version", "expected"), [(1, CREATED), (2, RENAMED), (3, CHANGED), (4, NOW)])
async def test_it_is_told_as_of_a_version(
    watched: Watched, auditor: Reader, version: int, expected: tuple[int, str, str, str]
) -> None:
    assert seen(await auditor.data(watched.path, version=version)) == expected


@pytest.mark.parametrize(("position", "expected"), [(2, CREATED), (3, CREATED), (4, RENAMED), (5, CHANGED), (6, NOW)])
async def test_it_is_told_as_of_a_position_of_the_log(
    watched: Watched, auditor: Reader, position: int, expected: tuple[int, str, str, str]
) -> None:
    assert seen(await auditor.data(watched.path, position=position)) == expected


async def test_what_was_not_there_then_is_not_there(watched: Watched, auditor: Reader) -> None:
    for moment in ({"as_of": watched.at(0.5)}, {"position": 1}):
        assert (await auditor.refusal(watched.path, 404, **moment))["code"] == "NOT_FOUND"
    assert (await auditor.refusal(f"/audit/streams/{uuid7()}", 404))["code"] == "NOT_FOUND"
    assert (await auditor.refusal(f"/audit/streams/trigger-{watched.id}", 404))["code"] == "NOT_FOUND"
    assert seen(await auditor.data(f"/audit/streams/monitor-{watched.id}")) == NOW
    assert seen(await auditor.data(f"/audit/streams/MONITOR-{str(watched.id).upper()}")) == NOW


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"version": 1, "position": 2}, ["version", "position"]),
        ({"as_of": "2026-01-01T00:00:00Z", "version": 1}, ["as_of", "version"]),
        ({"as_of": "2026-01-01T00:00:00Z", "version": 1, "position": 2}, ["as_of", "version", "position"]),
        ({"version": 5}, ["version"]),
        ({"position": 7}, ["position"]),
        ({"version": 0}, ["version"]),
        ({"position": 10**18}, ["position"]),
        ({"version": 2**31}, ["version"]),
        ({"as_of": "2026-01-01T00:00:00"}, ["as_of"]),
        ({"cursor": "x"}, ["cursor"]),
        ({"at": "x"}, ["at"]),
    ],
)
async def test_a_wrong_or_a_second_moment_is_refused_by_name(
    watched: Watched, auditor: Reader, parameters: dict[str, object], fields: list[str]
) -> None:
    error = await auditor.refusal(watched.path, 400, **parameters)
    assert [detail["field"] for detail in error["details"]] == fields
    assert all(detail["message"] for detail in error["details"])


async def test_a_parameter_of_another_type_is_told_in_words(watched: Watched, auditor: Reader) -> None:
    for name in ("version", "position"):
        (detail,) = (await auditor.refusal(watched.path, 400, **{name: "x"}))["details"]
        assert detail == {"field": name, "issue": "invalid", "message": "expected a whole number, got text"}
    (detail,) = (await auditor.refusal("/audit/events", 400, correlation="x"))["details"]
    assert (detail["field"], detail["issue"]) == ("correlation", "invalid")
    assert detail["message"].startswith("this is not an id")


async def test_a_path_that_is_no_stream_is_refused(auditor: Reader) -> None:
    for path in ("nope", "monitor-", f"monitor-monitor-{uuid7()}", f"{uuid7()}x", f"{{{uuid7()}}}", uuid7().hex):
        assert await auditor.refused_field(f"/audit/streams/{path}") == "stream"


async def test_the_events_come_in_pages_and_the_state_is_whole_on_each(watched: Watched, auditor: Reader) -> None:
    found: list[int] = []
    parameters: dict[str, object] = {"limit": 2, "version": 3}
    while True:
        page = await auditor.get(watched.path, **parameters)
        found += [event["version"] for event in page["data"]["events"]]
        assert seen(page["data"]) == CHANGED
        if not page["pagination"]["has_more"]:
            break
        parameters["cursor"] = page["pagination"]["next_cursor"]
    assert found == [1, 2, 3]
    beyond = await auditor.get(watched.path, cursor="9")
    assert (beyond["data"]["events"], beyond["pagination"]["has_more"]) == ([], False)


async def test_an_event_without_a_position_is_in_its_stream_but_not_as_of_a_position(
    world: World, auditor: Reader
) -> None:
    person = await world.person()
    while len(await world.sequence()):
        pass
    await world.append(person, person, GRANTED)
    data = await auditor.data(f"/audit/streams/{person}")
    assert [(event["position"], event["hash"] is None) for event in data["events"]] == [("1", False), (None, True)]
    assert data["state"]["roles"] == ["member", "operator"]
    assert (await auditor.data(f"/audit/streams/{person}", position=1))["version"] == 1


async def test_a_clock_that_went_back_never_takes_an_event_out_of_the_middle(
    world: World, pool: Pool, auditor: Reader
) -> None:
    person = await world.person()
    await world.append(person, person, GRANTED, GRANTED)
    while len(await world.sequence()):
        pass
    await set_times(pool, AT, AT + timedelta(hours=2), AT + timedelta(hours=1))
    moment = (AT + timedelta(hours=1.5)).isoformat()
    assert (await auditor.data(f"/audit/streams/{person}", as_of=moment))["version"] == 1


async def test_what_operators_did_has_events_and_no_state(world: World, auditor: Reader) -> None:
    act = uuid7()
    skipped = ParkedSkipped(projection="core", stream=act, version=1, reason="poison", skipped_at=AT)
    await world.append(act, act, skipped)
    data = await auditor.data(f"/audit/streams/{act}")
    assert (data["kind"], data["state"], data["state_missing"]) == ("operation", None, None)
    assert data["events"][0]["data"]["reason"] == "poison"


async def test_a_stream_with_an_event_this_program_does_not_know_is_shown_without_a_state(
    world: World, pool: Pool, auditor: Reader
) -> None:
    person = await world.person()
    await world.append(person, person, GRANTED)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update event set type = 'user.teleported' where version = 2")
    data = await auditor.data(f"/audit/streams/{person}")
    assert data["state"] is None
    assert "user.teleported" in data["state_missing"]
    assert [event["type"] for event in data["events"]] == ["user.registered", "user.teleported"]


async def test_an_archived_evaluation_keeps_its_place_and_says_where_the_rest_is(
    world: World, pool: Pool, auditor: Reader
) -> None:
    owner = await world.person()
    evaluation = await world.evaluation(owner, await world.monitor(owner), minutes(1))
    await world.project()
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update event set data = null, metadata = null where stream_id = %s", (evaluation,))
    data = await auditor.data(f"/audit/streams/{evaluation}")
    assert (data["kind"], data["state"]) == ("evaluation", None)
    assert "archive" in data["state_missing"]
    (event,) = data["events"]
    assert (event["type"], event["data"], event["metadata"]) == ("evaluation.completed", None, None)
    assert event["position"]
    (listed,) = await auditor.data("/audit/events", type="evaluation.completed")
    assert listed == event


async def test_every_kind_of_stream_has_its_state(world: World, auditor: Reader) -> None:
    owner = await world.person()
    monitor, action = await world.monitor(owner), await world.action(owner)
    trigger = await world.trigger(owner, monitor, action)
    evaluation = await world.evaluation(owner, monitor, minutes(1))
    notification = await world.notification(owner, monitor_id=monitor)
    source = await world.signal_source(owner)
    signal = await world.signal(owner, source, "1", AT)
    streams = (owner, monitor, action, trigger, evaluation, notification, source, signal)
    found = [await auditor.data(f"/audit/streams/{stream}") for stream in streams]
    assert {data["kind"] for data in found} == set(AGGREGATES)
    assert all(data["state"] for data in found)
    assert kind_of("monitor.state_changed") == "monitor"
