"""Evaluations that were given up, and what operators do about them. Real PostgreSQL."""

from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_dead_jobs import PostgresDeadJobs
from domain.errors import NotFound
from domain.evaluation import EvaluationJob, Lane
from tests.conftest import AT
from tests.workers.world import Clock, World
from workers.scheduler import LOST_AFTER


@pytest.fixture
async def dead(world: World) -> PostgresDeadJobs:
    await world.execute("delete from dead_job")
    return PostgresDeadJobs(world.pool)


def job(*, signal_id: UUID | None = None, attempts: int = 5) -> EvaluationJob:
    lane = Lane.SCHEDULED if signal_id is None else Lane.ASKED
    return EvaluationJob(
        evaluation_id=uuid7(),
        monitor_id=uuid7(),
        owner_id=uuid7(),
        due_at=AT,
        signal_id=signal_id,
        lane=lane,
        attempts=attempts,
    )


async def unrecorded(_evaluation_id: UUID) -> None:
    return None


async def refused(_evaluation_id: UUID) -> None:
    raise ConnectionError("nobody writes it down")


async def asked_for(world: World) -> list[UUID]:
    async with world.pool.connection() as connection:
        rows = await (await connection.execute("select evaluation_id from evaluation_request")).fetchall()
    return [row[0] for row in rows]


async def test_those_that_were_given_up_are_listed_the_oldest_first_with_why(
    world: World, dead: PostgresDeadJobs
) -> None:
    later, earlier = job(signal_id=uuid7()), job()
    await world.schedule.bury(later, error="two", now=AT + timedelta(seconds=1))
    await world.schedule.bury(earlier, error="one \x00", now=AT)
    found = await dead.all()
    assert [(one.evaluation_id, one.signal_id, one.attempts) for one in found] == [
        (earlier.evaluation_id, None, 5),
        (later.evaluation_id, later.signal_id, 5),
    ]
    assert found[0].error.startswith("one ")


@pytest.mark.parametrize("signal_id", [None, UUID(int=7)], ids=["a slot", "a signal"])
async def test_one_that_is_retried_is_handed_out_as_it_was_with_all_its_attempts(
    world: World, dead: PostgresDeadJobs, clock: Clock, signal_id: UUID | None
) -> None:
    given_up = job(signal_id=signal_id)
    await world.schedule.bury(given_up, error="x", now=AT)
    await dead.retry(given_up.evaluation_id, record=unrecorded)
    assert await dead.all() == []
    assert await world.store.find_waiting_request(given_up.monitor_id) is None, "who asks now is not answered with it"
    await world.execute("update evaluation_request set ready_at = requested_at")
    [again] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=0)
    assert again == EvaluationJob(
        evaluation_id=given_up.evaluation_id,
        monitor_id=given_up.monitor_id,
        owner_id=given_up.owner_id,
        due_at=AT,
        signal_id=signal_id,
        lane=Lane.ASKED,
        handed_out_at=clock(),
    )


async def test_what_nobody_writes_down_is_not_done(world: World, dead: PostgresDeadJobs) -> None:
    given_up = job()
    await world.schedule.bury(given_up, error="x", now=AT)
    for act in (dead.retry, dead.drop):
        with pytest.raises(ConnectionError):
            await act(given_up.evaluation_id, record=refused)
        assert [one.evaluation_id for one in await dead.all()] == [given_up.evaluation_id]
        assert await asked_for(world) == []


async def test_one_that_is_dropped_is_forgotten_and_none_is_retried_or_dropped_twice(
    world: World, dead: PostgresDeadJobs
) -> None:
    dropped, retried = job(), job()
    for one in (dropped, retried):
        await world.schedule.bury(one, error="x", now=AT)
    await dead.drop(dropped.evaluation_id, record=unrecorded)
    await dead.retry(retried.evaluation_id, record=unrecorded)
    for one in (dropped, retried):
        for act in (dead.retry, dead.drop):
            with pytest.raises(NotFound, match="was not given up"):
                await act(one.evaluation_id, record=refused)
    assert await asked_for(world) == [retried.evaluation_id]


async def test_one_that_dies_again_is_given_up_again(world: World, dead: PostgresDeadJobs) -> None:
    given_up = job()
    await world.schedule.bury(given_up, error="x", now=AT)
    await dead.retry(given_up.evaluation_id, record=unrecorded)
    await world.schedule.bury(given_up, error="y", now=AT + timedelta(seconds=1))
    assert [(one.evaluation_id, one.error) for one in await dead.all()] == [(given_up.evaluation_id, "y")]
    assert await asked_for(world) == []
