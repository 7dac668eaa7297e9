"""Who is due: slots of schedules and evaluations that were asked for."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from adapters.postgres_pool import Pool
from domain.evaluation import EvaluationJob, evaluation_id

_CLAIM_SLOTS = """
with due as (
    select monitor_id from schedule
    where active and due_at <= %(now)s and (enqueued_at is null or enqueued_at < %(lost_before)s)
      and not exists (
          select from evaluation_request r
          where r.monitor_id = schedule.monitor_id and r.enqueued_at >= %(lost_before)s
      )
    order by due_at limit %(limit)s for update skip locked
)
update schedule s set enqueued_at = %(now)s from due where s.monitor_id = due.monitor_id
returning s.monitor_id, s.owner_id, s.due_at
"""

_CLAIM_REQUESTS = """
with waiting as (
    select evaluation_id from evaluation_request w
    where (enqueued_at is null or enqueued_at < %(lost_before)s)
      and not exists (
          select from evaluation_request older
          where older.monitor_id = w.monitor_id
            and (older.requested_at, older.evaluation_id) < (w.requested_at, w.evaluation_id)
      )
      and not exists (
          select from schedule s where s.monitor_id = w.monitor_id and s.enqueued_at >= %(lost_before)s
      )
    order by requested_at limit %(limit)s for update skip locked
)
update evaluation_request r set enqueued_at = %(now)s from waiting where r.evaluation_id = waiting.evaluation_id
returning r.evaluation_id, r.monitor_id, r.owner_id, r.requested_at
"""

# Schedulers claim one after the other, each seeing what the one before claimed; a claim is two short statements.
_ONE_AT_A_TIME = "select pg_advisory_xact_lock(hashtextextended('vigil schedule', 0))"

_RETURN_SLOTS = "update schedule set enqueued_at = null where monitor_id = any (%s)"
# Claimable at once, yet not waiting anew: of one monitor only one may wait.
_RETURN_REQUESTS = "update evaluation_request set enqueued_at = '-infinity' where evaluation_id = any (%s)"
_RETURN_ALL_SLOTS = "update schedule set enqueued_at = null where enqueued_at is not null"
_RETURN_ALL_REQUESTS = "update evaluation_request set enqueued_at = '-infinity' where enqueued_at is not null"


class PostgresSchedule:
    """Fulfils the ports of scheduler and evaluator on the tables schedule and evaluation_request."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, *, now: datetime, lost_after: timedelta, limit: int) -> list[EvaluationJob]:
        """Jobs that are due, requests first, one of a monitor at a time: two would only race for the same stream. A job
        stays claimed until it is done or `lost_after` has passed; any number of schedulers may claim at once
        (SKIP LOCKED)."""
        values = {"now": now, "lost_before": now - lost_after, "limit": limit}
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_ONE_AT_A_TIME)
            requested = await (await connection.execute(_CLAIM_REQUESTS, values)).fetchall()
            due = await (await connection.execute(_CLAIM_SLOTS, values)).fetchall()
        jobs = [
            EvaluationJob(evaluation_id=eid, monitor_id=monitor_id, owner_id=owner_id, due_at=at)
            for eid, monitor_id, owner_id, at in requested
        ]
        return jobs + [
            EvaluationJob(
                evaluation_id=evaluation_id(monitor_id, due_at), monitor_id=monitor_id, owner_id=owner_id, due_at=due_at
            )
            for monitor_id, owner_id, due_at in due
        ]

    async def give_back(self, jobs: Sequence[EvaluationJob]) -> None:
        """Jobs that could not be queued are claimable again."""
        async with self._pool.connection() as connection:
            await connection.execute(_RETURN_SLOTS, ([job.monitor_id for job in jobs],))
            await connection.execute(_RETURN_REQUESTS, ([job.evaluation_id for job in jobs],))

    async def give_back_all(self) -> None:
        """Every job that is not done is claimable again: the queue lost them."""
        async with self._pool.connection() as connection:
            await connection.execute(_RETURN_ALL_SLOTS)
            await connection.execute(_RETURN_ALL_REQUESTS)
