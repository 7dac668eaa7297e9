"""One job of a monitor at a time, also when claims ran out or cross."""

import asyncio
from datetime import timedelta

from tests.conftest import AT
from tests.workers.world import Clock, World, plan
from workers.scheduler import LOST_AFTER


async def test_of_a_lost_request_and_one_that_waits_one_is_handed_out(world: World, clock: Clock) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan(), due_at=AT + timedelta(days=1))
    await world.request(owner, monitor)
    assert len(await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)) == 1
    await world.request(owner, monitor)
    clock.at += LOST_AFTER + timedelta(milliseconds=1)
    jobs = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    await world.schedule.give_back(jobs)
    assert len(jobs) == 1


async def test_claims_at_the_same_moment_hand_out_one_job_of_a_monitor(world: World, clock: Clock) -> None:
    owner = await world.person()
    await world.request(owner, await world.monitor(owner, plan()))
    claims = (world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10) for _ in range(8))
    assert [len(jobs) for jobs in await asyncio.gather(*claims) if jobs] == [1]


async def test_a_slot_that_an_older_release_moved_on_is_not_handed_out_before_it_is_due(
    world: World, clock: Clock
) -> None:
    """It knows no `ready_at`, and leaves that of its own claim behind: a daily monitor would miss tomorrow."""
    owner = await world.person()
    monitor = await world.monitor(owner, plan())
    [job] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    tomorrow = AT + timedelta(days=1)
    await world.execute(
        "update schedule set due_at = %s, enqueued_at = null where monitor_id = %s", tomorrow, job.monitor_id
    )
    clock.at = tomorrow - timedelta(milliseconds=1)
    assert await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10) == []
    clock.at = tomorrow
    [again] = await world.schedule.claim(now=clock(), lost_after=LOST_AFTER, slots_max=10)
    assert (again.monitor_id, again.due_at) == (monitor, tomorrow)
