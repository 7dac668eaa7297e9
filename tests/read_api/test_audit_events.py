"""What an auditor reads: events of everybody in the order of the log, and nobody else reads them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from read_api import audit_log
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes

EVENTS = "/audit/events"
GRANTED = RoleGranted(role="operator", granted_at=AT)


async def pages(auditor: Reader, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401  whatever is sent
    """Everything, however many pages it takes."""
    found: list[dict[str, Any]] = []
    while True:
        page = await auditor.get(EVENTS, **parameters)
        found += page["data"]
        pagination = page["pagination"]
        assert pagination["has_more"] == (pagination["next_cursor"] is not None)
        if not pagination["has_more"]:
            return found
        parameters["cursor"] = pagination["next_cursor"]


async def positions(auditor: Reader, **parameters: object) -> list[int]:
    return [int(event["position"]) for event in await pages(auditor, **parameters)]


@pytest.fixture
async def filled(world: World) -> World:
    """Two people with a monitor each, all of it in the log and in the read tables."""
    for name in ("Ada", "Ben"):
        owner = await world.person(name)
        monitor = await world.monitor(owner)
        await world.evaluation(owner, monitor, minutes(1))
    await world.project()
    return world


async def test_events_of_everybody_come_in_the_order_of_the_log(filled: World, auditor: Reader) -> None:
    everything = await pages(auditor)
    assert [event["position"] for event in everything] == [str(n) for n in range(1, filled.appended + 1)]
    first = everything[0]
    assert first["type"] == "user.registered"
    assert first["data"]["timezone"] == "Europe/Berlin"
    assert first["metadata"] == {"actor": "test", "correlation_id": first["stream_id"]}
    assert (len(first["hash"]), first["version"], first["type_version"] > 0) == (64, 1, True)
    assert len({event["owner_id"] for event in everything}) == 2


@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize("window", [1, 3, 10_000])
async def test_both_directions_find_the_same_events_however_they_are_cut_into_pages(
    filled: World, auditor: Reader, monkeypatch: pytest.MonkeyPatch, limit: int, window: int
) -> None:
    monkeypatch.setattr(audit_log, "WINDOW_POSITIONS", window)
    forwards = await positions(auditor, limit=limit)
    assert forwards == list(range(1, filled.appended + 1))
    assert await positions(auditor, limit=limit, sort="position:desc") == forwards[::-1]
    monitors = await positions(auditor, limit=limit, type="monitor.created")
    assert len(monitors) == 2
    assert await positions(auditor, limit=limit, type="monitor.created", sort="position:desc") == monitors[::-1]


async def test_a_page_that_found_nothing_in_its_window_says_where_to_go_on(
    filled: World, auditor: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "WINDOW_POSITIONS", 1)
    page = await auditor.get(EVENTS, type="monitor.created")
    assert page["data"] == []
    assert page["pagination"] == {"limit": 100, "offset": None, "total": None, "has_more": True, "next_cursor": "1"}


async def test_events_are_found_by_stream_type_actor_and_correlation(world: World, auditor: Reader) -> None:
    ada, ben = await world.person("Ada"), await world.person("Ben")
    monitor, request = await world.monitor(ada), uuid7()
    granted = NewEvents(stream_id=ben, owner_id=ben, expected_version=1, events=(GRANTED,))
    await world.store.append([granted], metadata=Metadata(correlation_id=request, actor=f"operator:{ada}"))
    world.appended += 1
    await world.project()
    assert [event["type"] for event in await pages(auditor, stream=str(ben))] == [
        "user.registered",
        "user.role_granted",
    ]
    assert await pages(auditor, stream=f"user-{ben}") == await pages(auditor, stream=str(ben))
    assert [event["stream_id"] for event in await pages(auditor, type="monitor.created")] == [str(monitor)]
    for filters in ({"actor": f"operator:{ada}"}, {"correlation": str(request)}, {"stream": ben, "type": GRANTED.tag}):
        (only,) = await pages(auditor, **filters)
        assert only["type"] == "user.role_granted"
    assert await pages(auditor, actor="nobody") == []
    assert await pages(auditor, correlation=str(uuid7())) == []
    assert await pages(auditor, stream=str(monitor), actor="nobody") == []


async def test_the_events_of_one_stream_are_found_wherever_they_are(
    filled: World, auditor: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = (await pages(auditor))[-1]
    monkeypatch.setattr(audit_log, "WINDOW_POSITIONS", 1)
    for sort in ("position:asc", "position:desc"):
        page = await auditor.get(EVENTS, stream=last["stream_id"], sort=sort)
        assert page["data"]
        assert page["pagination"]["has_more"] is False


async def test_a_stream_that_is_named_with_its_kind_has_events_only_when_it_is_of_that_kind(
    world: World, auditor: Reader
) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner)
    await world.project()
    assert await pages(auditor, stream=f"monitor-{monitor}") == await pages(auditor, stream=str(monitor)) != []
    assert await pages(auditor, stream=f"trigger-{monitor}") == []


async def set_times(pool: Pool, *times: datetime) -> None:
    """Let the events have been recorded at these times, in the order of the log. A test may; the application's role may
    not."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        for position, at in enumerate(times, start=1):
            await connection.execute(
                "update event e set recorded_at = %s from event_log l where l.position = %s"
                " and (l.stream_id, l.version) = (e.stream_id, e.version)",
                (at, position),
            )


async def test_a_span_of_time_is_found_from_its_first_moment_to_before_its_last(
    world: World, pool: Pool, auditor: Reader
) -> None:
    person = uuid7()
    await world.append(person, person, *[GRANTED] * 40)
    while len(await world.sequence()):
        pass
    await set_times(pool, *(AT + timedelta(minutes=n) for n in range(40)))
    for first, last in ((0, 40), (3, 4), (10, 30), (17, 17), (39, 60)):
        start, end = AT + timedelta(minutes=first), AT + timedelta(minutes=last)
        expected = [n + 1 for n in range(40) if first <= n < last]
        assert await positions(auditor, from_=start.isoformat(), to=end.isoformat()) == expected
        newest = await positions(auditor, from_=start.isoformat(), to=end.isoformat(), sort="position:desc")
        assert newest == expected[::-1]
    assert await positions(auditor, from_="2030-01-01T00:00:00Z") == []
    assert await positions(auditor, to="2020-01-01T00:00:00Z") == []
    assert len(await positions(auditor, from_="0001-01-01T00:00:00Z", to="9999-12-31T23:59:59Z")) == 40


async def test_a_clock_that_went_back_a_little_hides_no_event(world: World, pool: Pool, auditor: Reader) -> None:
    person = uuid7()
    await world.append(person, person, *[GRANTED] * 5)
    while len(await world.sequence()):
        pass
    await set_times(pool, *(AT + timedelta(seconds=n) for n in (20, 0, 50, 0, 20)))
    assert await positions(auditor, from_=(AT + timedelta(seconds=15)).isoformat()) == [1, 3, 5]
    assert await positions(auditor, to=(AT + timedelta(seconds=15)).isoformat()) == [2, 4]


async def test_a_short_span_of_a_long_log_is_found_on_the_first_page(
    world: World, pool: Pool, auditor: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "WINDOW_POSITIONS", 5)
    person = uuid7()
    await world.append(person, person, *[GRANTED] * 100)
    while len(await world.sequence()):
        pass
    await set_times(pool, *(AT + timedelta(hours=n) for n in range(100)))
    moment = (AT + timedelta(hours=71)).isoformat()
    page = await auditor.get(EVENTS, from_=moment, limit=1)
    assert [event["position"] for event in page["data"]] == ["72"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"stream": "nope"}, "stream"),
        ({"stream": "monitor-1234"}, "stream"),
        ({"type": "x" * 201}, "type"),
        ({"type": "\x00"}, "type"),
        ({"actor": "a\x00"}, "actor"),
        ({"correlation": "nope"}, "correlation"),
        ({"from_": "yesterday"}, "from"),
        ({"from_": "2026-01-01T00:00:00"}, "from"),
        ({"to": "2026-01-01"}, "to"),
        ({"from_": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"sort": "type:asc"}, "sort"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "-1"}, "cursor"),
        ({"cursor": "9" * 19}, "cursor"),
        ({"user": "x"}, "user"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_its_name(
    auditor: Reader, parameters: dict[str, object], field: str
) -> None:
    assert await auditor.refused_field(EVENTS, **parameters) == field


async def test_an_empty_log_has_no_events(auditor: Reader) -> None:
    page = await auditor.get(EVENTS)
    assert (page["data"], page["pagination"]["has_more"]) == ([], False)


PATHS = (EVENTS, f"/audit/streams/{UUID(int=5)}", "/audit/verify", "/audit/streams/nope", f"{EVENTS}?limit=0")


@pytest.mark.parametrize("path", PATHS)
async def test_only_auditors_and_admins_read_the_log(
    filled: World, client: httpx.AsyncClient, reader: Callable[[UUID], Reader], path: str
) -> None:
    refused = await reader(uuid7()).refusal(path, 403)
    assert refused["code"] == "FORBIDDEN"
    assert "auditor or admin" in refused["message"]
    assert (await Reader(client, uuid7(), role="operator").answer(path)).status_code == 403
    assert (await client.get(f"/api/v1{path}")).status_code == 401
    for role in ("auditor", "admin"):
        assert (await Reader(client, uuid7(), role=role).answer(path)).status_code in {200, 400, 404}


async def test_who_read_what_is_written_to_the_programs_log(filled: World, client: httpx.AsyncClient) -> None:
    reads, asks = uuid7(), uuid7()
    with structlog.testing.capture_logs() as logs:
        await Reader(client, reads, role="admin").get(EVENTS, type="monitor.created", from_="2026-01-01T00:00:00Z")
        await Reader(client, asks).answer(EVENTS)
    (read,) = [line for line in logs if line["event"] == "sensitive_read"]
    assert (read["actor"], read["resource"]) == (str(reads), "/api/v1/audit/events")
    assert read["asked"] == {"type": "monitor.created", "start": "2026-01-01T00:00:00Z"}
    (refused,) = [line for line in logs if line["event"] == "authz_fail"]
    assert (refused["actor"], refused["needs"]) == (str(asks), "auditor or admin")


async def test_reading_changes_nothing_that_is_audited(filled: World, pool: Pool, auditor: Reader) -> None:
    count = "select count(*) from event"
    async with pool.connection() as connection:
        before = await (await connection.execute(count)).fetchone()
    await pages(auditor)
    async with pool.connection() as connection:
        assert await (await connection.execute(count)).fetchone() == before
