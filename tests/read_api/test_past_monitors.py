"""A monitor as it was at a moment, also where the clocks of those who wrote it were wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from domain.evaluation import EvaluationFailed
from domain.monitor import MonitorDeleted, MonitorPaused, MonitorRenamed, State, StateChanged
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.test_audit_events import set_times
from tests.read_api.world import World, minutes

As = Callable[[UUID], Reader]

CREATED, RENAMED, CHANGED, PAUSED = (
    (1, "Kettle", "unknown", "active"),
    (2, "Big kettle", "unknown", "active"),
    (3, "Big kettle", "active", "active"),
    (4, "Big kettle", "active", "paused"),
)
NOTHING = None

LAG_MINUTES = 0.01
"""How long after the time an event carries it is recorded, where clocks agree."""


@dataclass
class Kettle:
    """A monitor that was created, renamed, changed and paused."""

    owner: UUID
    id: UUID

    @property
    def path(self) -> str:
        return f"/monitors/{self.id}"


async def made(world: World, pool: Pool, told: tuple[float, ...], recorded: tuple[float, ...]) -> Kettle:
    """Its four events carry the times `told` and were recorded at these (minutes)."""
    owner = await world.person()
    monitor = await world.monitor(owner, "Kettle", at=minutes(told[0]))
    await world.append(owner, monitor, MonitorRenamed(name="Big kettle", renamed_at=minutes(told[1])))
    evaluation = await world.evaluation(owner, monitor, minutes(told[2]))
    change = StateChanged(
        from_state=State.UNKNOWN, to_state=State.ACTIVE, evaluation_id=evaluation, changed_at=minutes(told[2])
    )
    await world.append(owner, monitor, change)
    await world.append(owner, monitor, MonitorPaused(paused_at=minutes(told[3])))
    await world.project()
    created, renamed, changed, paused = map(minutes, recorded)
    await set_times(pool, created, created, renamed, changed, changed, paused)
    return Kettle(owner, monitor)


async def seen(reader: Reader, kettle: Kettle, at: float) -> tuple[int, str, str, str] | None:
    response = await reader.answer(kettle.path, as_of=minutes(at).isoformat())
    if response.status_code == 404:
        return NOTHING
    data = response.json()["data"]
    assert response.headers["ETag"] == f'"{data["version"]}"'
    return data["version"], data["name"], data["state"], data["status"]


ALIKE = (10.0, 20.0, 30.0, 40.0)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (9.999, NOTHING),
        *[(10, CREATED), (10 + LAG_MINUTES, CREATED), (19.999, CREATED)],
        *[(20, RENAMED), (29.999, RENAMED), (30, CHANGED), (40, PAUSED), (40 + LAG_MINUTES, PAUSED), (99_999, PAUSED)],
    ],
)
async def test_what_happened_is_there_from_the_very_time_it_carries(
    world: World, pool: Pool, reader: As, at: float, expected: tuple[int, str, str, str] | None
) -> None:
    kettle = await made(world, pool, ALIKE, tuple(each + LAG_MINUTES for each in ALIKE))
    assert await seen(reader(kettle.owner), kettle, at) == expected


async def test_the_times_that_are_shown_are_moments_at_which_what_they_tell_is_there(
    world: World, pool: Pool, reader: As
) -> None:
    kettle = await made(world, pool, ALIKE, tuple(each + LAG_MINUTES for each in ALIKE))
    ada = reader(kettle.owner)
    now = await ada.data(kettle.path)
    created = await ada.data(kettle.path, as_of=now["created_at"])
    assert (created["version"], created["created_at"], created["last_evaluated_at"]) == (1, now["created_at"], None)
    assert created.keys() == now.keys()
    (change,) = await ada.data(f"{kettle.path}/changes")
    changed = await ada.data(kettle.path, as_of=change["at"])
    assert (changed["state"], changed["last_evaluated_at"]) == (change["to"], change["at"])
    latest = await ada.data(kettle.path, as_of=(await world.store.load(kettle.id))[-1].recorded_at.isoformat())
    moving = ("updated_at", "next_due_at")
    assert {name: latest[name] for name in latest if name not in moving} == {
        name: now[name] for name in now if name not in moving
    }
    assert await ada.refused_field(kettle.path, as_of="2026-01-01T00:00:00") == "as_of"


@pytest.mark.parametrize(
    ("told", "recorded", "moments"),
    [
        pytest.param(
            (70, 80, 30, 40),
            (10, 20, 30, 40),
            {9.999: NOTHING, 10: CREATED, 20: RENAMED, 30: CHANGED, 70: PAUSED},
            id="the writer's clock ran ahead and was set right: what was recorded did not lie in the future",
        ),
        pytest.param(
            (10, 20, 3, 4),
            (10, 20, 30, 40),
            {5: NOTHING, 10: CREATED, 19.999: CREATED, 20: PAUSED, 30: PAUSED},
            id="the writer's clock was set back: nothing is there before what came in front of it",
        ),
        pytest.param(
            (10, 10, 10, 10),
            (11, 11, 11, 11),
            {9.999: NOTHING, 10: PAUSED},
            id="all at the same moment",
        ),
        pytest.param(
            (10, 20, 30, 40),
            (10, 20, 90, 91),
            {29.999: RENAMED, 30: CHANGED, 40: PAUSED},
            id="recorded late, after an outage of the store",
        ),
    ],
)
async def test_where_clocks_jumped_the_earlier_time_counts_and_the_order_stays(
    world: World,
    pool: Pool,
    reader: As,
    told: tuple[float, ...],
    recorded: tuple[float, ...],
    moments: dict[float, tuple[int, str, str, str] | None],
) -> None:
    kettle = await made(world, pool, told, recorded)
    assert {at: await seen(reader(kettle.owner), kettle, at) for at in moments} == moments


async def test_auditors_see_what_had_been_recorded_then(world: World, pool: Pool, reader: As, auditor: Reader) -> None:
    kettle = await made(world, pool, ALIKE, (10, 20, 90, 91))
    audited = await auditor.data(f"/audit/streams/{kettle.id}", as_of=minutes(50).isoformat())
    assert audited["version"] == 2
    assert await seen(reader(kettle.owner), kettle, 50) == PAUSED


async def test_a_deleted_monitor_can_be_seen_as_it_was_before(world: World, pool: Pool, reader: As) -> None:
    kettle = await made(world, pool, ALIKE, ALIKE)
    ada = reader(kettle.owner)
    await world.append(kettle.owner, kettle.id, MonitorDeleted(deleted_at=minutes(50)))
    await world.project()
    await ada.refusal(kettle.path, 404)
    assert await seen(ada, kettle, 49.999) == PAUSED
    assert await seen(ada, kettle, 50) is NOTHING
    await ada.refusal(kettle.path, 404, as_of="2999-01-01T00:00:00Z")


async def test_a_monitor_of_somebody_else_was_never_there(world: World, pool: Pool, reader: As) -> None:
    kettle = await made(world, pool, ALIKE, ALIKE)
    ben, moment = reader(await world.person("Ben")), minutes(60).isoformat()
    foreign = await ben.refusal(kettle.path, 404, as_of=moment)
    unknown = await ben.refusal(f"/monitors/{uuid7()}", 404, as_of=moment)
    assert (foreign["code"], foreign["message"]) == (unknown["code"], unknown["message"])
    await reader(kettle.owner).refusal(f"/monitors/{kettle.owner}", 404, as_of=moment)


async def test_the_last_evaluation_is_the_one_that_was_made_last_and_came_to_a_verdict(
    world: World, reader: As
) -> None:
    owner = await world.person()
    monitor, failed = await world.monitor(owner), uuid7()
    for at in (3, 9, 5):
        await world.evaluation(owner, monitor, minutes(at))
    failure = EvaluationFailed(
        monitor_id=monitor,
        plan_revision=1,
        due_at=minutes(20),
        code="SOURCE_SLOW",
        message="the shop does not answer",
        evidence=(),
        duration_ms=3,
        started_at=minutes(20),
        completed_at=minutes(20),
    )
    await world.append(owner, failed, failure)
    await world.project()
    ada, path = reader(owner), f"/monitors/{monitor}"

    async def last_evaluated(**moment: str) -> datetime:
        return datetime.fromisoformat((await ada.data(path, **moment))["last_evaluated_at"])

    assert await last_evaluated() == minutes(5), "the clock was set back between the last two"
    assert await last_evaluated(as_of=(AT + timedelta(days=1)).isoformat()) == minutes(5)
    assert await last_evaluated(as_of=minutes(4).isoformat()) == minutes(3)
