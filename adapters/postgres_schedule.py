"""Who is due: slots of schedules and evaluations that were asked for."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from domain.evaluation import EvaluationJob, evaluation_id

Pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]

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
    select evaluation_id from evaluation_request waiting
    where (enqueued_at is null or enqueued_at < %(lost_before)s)
      and not exists (
          select from evaluation_request r
          where r.monitor_id = waiting.monitor_id and r.enqueued_at >= %(lost_before)s
      )
      and not exists (
          select from schedule s where s.monitor_id = waiting.monitor_id and s.enqueued_at >= %(lost_before)s
      )
    order by requested_at limit %(limit)s for update skip locked
)
update evaluation_request r set enqueued_at = %(now)s from waiting where r.evaluation_id = waiting.evaluation_id
returning r.evaluation_id, r.monitor_id, r.owner_id, r.requested_at
"""

_RETURN_SLOTS = "update schedule set enqueued_at = null where monitor_id = any (%s)"
_RETURN_REQUESTS = """
update evaluation_request r set enqueued_at = null
where evaluation_id = any (%s)
  and not exists (
      select from evaluation_request w where w.monitor_id = r.monitor_id and w.enqueued_at is null
  )
"""

_RETURN_ALL_SLOTS = "update schedule set enqueued_at = null where enqueued_at is not null"
# Two of one monitor cannot both wait; the one that was handed out before keeps its claim until that runs out.
_RETURN_ALL_REQUESTS = """
update evaluation_request r set enqueued_at = null
where enqueued_at is not null
  and not exists (
      select from evaluation_request w
      where w.monitor_id = r.monitor_id and w.evaluation_id <> r.evaluation_id
        and (w.enqueued_at is null or w.evaluation_id < r.evaluation_id)
  )
"""


class PostgresSchedule:
    """Fulfils the ports of scheduler and evaluator on the tables schedule and evaluation_request."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, *, now: datetime, lost_after: timedelta, limit: int) -> list[EvaluationJob]:
        """Jobs that are due, requests first, one of a monitor at a time: two would only race for the same stream. A job
        stays claimed until it is done or `lost_after` has passed; any number of schedulers may claim at once
        (SKIP LOCKED)."""
        values = {"now": now, "lost_before": now - lost_after, "limit": limit}
        async with self._pool.connection() as connection:
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
