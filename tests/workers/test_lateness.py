"""How late evaluations are, as `vigil doctor` and Prometheus tell it: waiting for a batch is no lateness."""

from datetime import datetime, timedelta

from adapters.postgres_status import engine_status
from domain.evaluation import Verdict
from tests.workers.batch_world import Unhurrying

MINUTE = 60.0


async def handed_out(here: Unhurrying) -> float:
    """What is due is handed out now; how late the oldest of it is then, in seconds."""
    now = await here.world.value("select now()")
    assert isinstance(now, datetime)
    await here.world.schedule.claim(now=now, lost_after=timedelta(minutes=5), slots_max=10)
    status = await engine_status(here.world.pool)
    assert status.handed_out > 0
    return status.late_seconds


async def test_who_waits_for_a_batch_is_late_only_since_it_was_handed_out(here: Unhurrying) -> None:
    ada = await here.world.person()
    monitor_id = await here.monitor(ada)
    job = await here.world.slot(ada, monitor_id)
    await here.waits(job)
    assert await handed_out(here) < MINUTE
    late = "update schedule set enqueued_at = enqueued_at - interval '1 hour' where enqueued_at is not null"
    await here.world.execute(late)
    assert (await engine_status(here.world.pool)).late_seconds > MINUTE, "nobody looked whether the answer is there"
    await here.world.schedule.put_back(job, until=job.due_at, attempts=0)
    await here.sent()
    await here.over()
    assert (await here.evaluated(job)).verdict is Verdict.MET
    assert await handed_out(here) > MINUTE, "its next slot waits for nothing"


async def test_whoever_waits_for_a_batch_hides_no_one_who_is_late(here: Unhurrying) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    await here.slot(ada, batch=False)
    assert await handed_out(here) > MINUTE
