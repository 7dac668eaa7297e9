"""Who is due: slots of schedules and evaluations that were asked for; and what becomes of those that cannot be done."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.postgres_checkpoints import storable
from adapters.postgres_pool import Pool
from domain.evaluation import EvaluationJob, Lane, evaluation_id
from domain.schedule import Schedule, next_slot, spread

# How many slots are ready changes faster than the planner's statistics. So the chosen ones are looked up by an array of
# keys, where a join planned for none would read all for each, and `is true` keeps the index over what is ready out of it.
# Of what is ready, everybody's first before anybody's second: who has thousands of monitors does not hold up who has one.
# Due is asked as well: a release that knows no `ready_at` moves a slot on and leaves that behind.
# One of a monitor at a time, what was asked for in the order it came; a slot waits for that, and that not for a slot.
# What is handed out once more keeps its `enqueued_at`: both entries then find it there until one of them is begun
# (`PostgresBriefings.hold`).
_CLAIM_SLOTS = """
with candidates as (
    select monitor_id, owner_id, ready_at from schedule
    where active and ready_at <= %(now)s and due_at <= %(now)s
    order by ready_at limit %(candidates)s
), chosen as (
    select monitor_id from candidates c
    where (select true from evaluation_request r
           where r.monitor_id = c.monitor_id and r.enqueued_at > '-infinity' and r.ready_at > %(now)s limit 1) is null
    order by row_number() over (partition by owner_id order by ready_at), ready_at limit %(limit)s
), free as (
    select monitor_id from schedule
    where monitor_id = any (array(select monitor_id from chosen)) and (active and ready_at <= %(now)s) is true
    for update skip locked
)
update schedule set enqueued_at = coalesce(enqueued_at, %(now)s), ready_at = %(lost_at)s
where monitor_id = any (array(select monitor_id from free))
returning monitor_id, owner_id, due_at, attempts, enqueued_at
"""

_CLAIM_REQUESTS = """
with candidates as (
    select evaluation_id, owner_id, ready_at, place from evaluation_request w
    where ready_at <= %(now)s
      and (select true from evaluation_request older
           where older.monitor_id = w.monitor_id and older.place < w.place limit 1) is null
    order by ready_at limit %(candidates)s
), chosen as (
    select evaluation_id from candidates
    order by row_number() over (partition by owner_id order by place), place limit %(limit)s
), free as (
    select evaluation_id from evaluation_request
    where evaluation_id = any (array(select evaluation_id from chosen)) and (ready_at <= %(now)s) is true
    for update skip locked
)
update evaluation_request
set enqueued_at = coalesce(nullif(enqueued_at, '-infinity'), %(now)s), ready_at = %(lost_at)s
where evaluation_id = any (array(select evaluation_id from free))
returning evaluation_id, monitor_id, owner_id, requested_at, signal_id, attempts, enqueued_at
"""
REQUESTS_AT_ONCE_MAX = 200
CANDIDATES_FOR_EACH_PLACE, CANDIDATES_MIN = 4, 2000
"""How far ahead a claim looks for people who have waited less: past all that several people may have, also when there is
room for a few only."""

# Schedulers claim one after the other, each seeing what the one before claimed; a claim is two short statements.
_ONE_AT_A_TIME = "select pg_advisory_xact_lock(hashtextextended('vigil schedule', 0))"

# Each moves only the slot or the request the job is of: somebody else may have done it meanwhile. Of what was not begun,
# `unbegun_of` says when it was handed out: another time there is that of who holds it.
_RETURN_SLOT = """
update schedule
set ready_at = case when enqueued_at <> %(unbegun_of)s then ready_at else %(ready_at)s end,
    enqueued_at = case when enqueued_at <> %(unbegun_of)s then enqueued_at end,
    attempts = greatest(attempts, %(attempts)s)
where monitor_id = %(monitor_id)s and due_at = %(due_at)s
"""
# What was handed out before is not waiting anew: of one monitor only one may wait.
_RETURN_REQUEST = """
update evaluation_request
set ready_at = case when nullif(enqueued_at, '-infinity') <> %(unbegun_of)s then ready_at else %(ready_at)s end,
    enqueued_at = case when nullif(enqueued_at, '-infinity') <> %(unbegun_of)s then enqueued_at else '-infinity' end,
    attempts = greatest(attempts, %(attempts)s)
where evaluation_id = %(evaluation_id)s
"""
_GIVE_BACK_SLOTS = "update schedule set ready_at = due_at, enqueued_at = null where monitor_id = any (%s)"
_GIVE_BACK_REQUESTS = """
update evaluation_request set ready_at = requested_at, enqueued_at = '-infinity' where evaluation_id = any (%s)
"""
_RETURN_ALL_SLOTS = "update schedule set enqueued_at = null, ready_at = due_at where enqueued_at is not null"
# A clock that went back would keep everybody waiting until it is again as late as it was. Intervals keep their phase but for
# a microsecond: the slots of the time that comes once more have been evaluated, and a slot is evaluated once.
_PULL_SLOTS = """
update schedule s set due_at = p.due_at, ready_at = p.due_at, enqueued_at = null, attempts = 0
from (
    select monitor_id, due_at - floor(extract(epoch from due_at - %(now)s) / seconds) * seconds * interval '1 second'
                              + interval '1 microsecond' as due_at
    from (select monitor_id, due_at, (schedule->>'seconds')::integer as seconds
          from schedule where active and schedule->>'kind' = 'every') as every
    where due_at > %(latest)s + seconds * interval '1 second'
) p
where p.monitor_id = s.monitor_id
"""
# What was put back for longer than a job may be out may have been so by that clock; who was told to wait is told again.
_PULL_HANDED_OUT = """
update schedule set ready_at = due_at, enqueued_at = null
where enqueued_at > %(latest)s or (active and due_at <= %(now)s and ready_at > %(lost_at)s)
"""
_PULL_REQUESTS = """
update evaluation_request
set ready_at = %(now)s, enqueued_at = case when enqueued_at > %(latest)s then '-infinity' else enqueued_at end
where greatest(requested_at, enqueued_at) > %(latest)s or ready_at > %(lost_at)s
"""
_RETURN_ALL_REQUESTS = """
update evaluation_request set enqueued_at = '-infinity', ready_at = requested_at where enqueued_at > '-infinity'
"""

_SCHEDULE_OF = "select schedule from schedule where monitor_id = %s and due_at = %s for update"
_NEXT_SLOT = """
update schedule set due_at = %s, ready_at = %s, enqueued_at = null, attempts = 0 where monitor_id = %s
"""
_CLOSE_REQUEST = "delete from evaluation_request where evaluation_id = %s"
# An erasure waits for this, and after one nothing is kept.
_HOLD_PERSON = "select pg_advisory_xact_lock_shared(person_lock(%s))"
_BURY = """
insert into dead_job (evaluation_id, monitor_id, owner_id, due_at, signal_id, attempts, error, died_at)
select %(evaluation_id)s, %(monitor_id)s, %(owner_id)s, %(due_at)s, %(signal_id)s, %(attempts)s, %(error)s, %(died_at)s
where not exists (select from person_key where owner_id = %(owner_id)s and destroyed_at is not null)
on conflict (evaluation_id) do update
set attempts = excluded.attempts, error = excluded.error, died_at = excluded.died_at
"""
_BEAT = """
insert into heartbeat (worker, holder, beat_at) values (%(worker)s, %(holder)s, clock_timestamp())
on conflict (worker, holder) do update set beat_at = excluded.beat_at
"""
_FORGET_BEATS = "delete from heartbeat where worker = %s and beat_at < clock_timestamp() - interval '1 day'"


class PostgresSchedule:
    """Fulfils the ports of scheduler and evaluator on the tables schedule, evaluation_request and dead_job."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, *, now: datetime, lost_after: timedelta, slots_max: int) -> list[EvaluationJob]:
        """What was asked for, and up to `slots_max` slots that are due. A job stays claimed until it is done, or put back,
        or `lost_after` has passed; any number of schedulers may claim at once."""
        times = {"now": now, "lost_at": now + lost_after}
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_ONE_AT_A_TIME)
            requested = await (
                await connection.execute(_CLAIM_REQUESTS, times | _places(REQUESTS_AT_ONCE_MAX))
            ).fetchall()
            due = await (await connection.execute(_CLAIM_SLOTS, times | _places(slots_max))).fetchall()
        jobs = [
            EvaluationJob(
                evaluation_id=eid,
                monitor_id=monitor_id,
                owner_id=owner_id,
                due_at=at,
                signal_id=signal_id,
                lane=Lane.ASKED,
                attempts=attempts,
                handed_out_at=handed_out_at,
            )
            for eid, monitor_id, owner_id, at, signal_id, attempts, handed_out_at in requested
        ]
        return jobs + [
            EvaluationJob(
                evaluation_id=evaluation_id(monitor_id, due_at),
                monitor_id=monitor_id,
                owner_id=owner_id,
                due_at=due_at,
                attempts=attempts,
                handed_out_at=handed_out_at,
            )
            for monitor_id, owner_id, due_at, attempts, handed_out_at in due
        ]

    async def give_back(self, jobs: Sequence[EvaluationJob]) -> None:
        """Jobs that could not be queued are claimable again."""
        slots = [job.monitor_id for job in jobs if job.lane is Lane.SCHEDULED]
        async with self._pool.connection() as connection:
            await connection.execute(_GIVE_BACK_SLOTS, (slots,))
            await connection.execute(_GIVE_BACK_REQUESTS, ([job.evaluation_id for job in jobs],))

    async def give_back_all(self) -> None:
        """Every job that is not done is claimable again: the queue lost them."""
        async with self._pool.connection() as connection:
            await connection.execute(_RETURN_ALL_SLOTS)
            await connection.execute(_RETURN_ALL_REQUESTS)

    async def clock_went_back(self, now: datetime, *, lost_after: timedelta, tolerance: timedelta) -> None:
        """What waits for a moment that only the clock before knew is handed out by this one; jobs count as lost after
        `lost_after`, and what is ahead by no more than `tolerance` is left as it is."""
        times = {"now": now, "latest": now + tolerance, "lost_at": now + lost_after}
        async with self._pool.connection() as connection, connection.transaction():
            for statement in (_PULL_HANDED_OUT, _PULL_SLOTS, _PULL_REQUESTS):
                await connection.execute(statement, times)

    async def put_back(self, job: EvaluationJob, *, until: datetime, attempts: int) -> None:
        """The job is not done, and handed out again from `until` on; it counts as tried `attempts` times."""
        await self._put_back(job, until=until, attempts=attempts, unbegun_of=None)

    async def put_back_unbegun(self, job: EvaluationJob, *, until: datetime, attempts: int) -> None:
        """As `put_back`; but where somebody else holds the job, it only counts as tried so often."""
        await self._put_back(job, until=until, attempts=attempts, unbegun_of=job.handed_out_at)

    async def _put_back(
        self, job: EvaluationJob, *, until: datetime, attempts: int, unbegun_of: datetime | None
    ) -> None:
        values = {**msgspec.structs.asdict(job), "ready_at": until, "attempts": attempts, "unbegun_of": unbegun_of}
        async with self._pool.connection() as connection:
            await connection.execute(_RETURN_REQUEST if job.lane is Lane.ASKED else _RETURN_SLOT, values)

    async def bury(self, job: EvaluationJob, *, error: str, now: datetime) -> None:
        """The job cannot be done: keep it for an operator, and go on with the next slot of the monitor."""
        values = {**msgspec.structs.asdict(job), "error": storable(error), "died_at": now}
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_HOLD_PERSON, (job.owner_id,))
            await connection.execute(_BURY, values)
            await connection.execute(_CLOSE_REQUEST, (job.evaluation_id,))
            row = await (await connection.execute(_SCHEDULE_OF, (job.monitor_id, job.due_at))).fetchone()
            if row is not None and job.lane is Lane.SCHEDULED:
                schedule: Schedule = msgspec.convert(row[0], Schedule)
                due_at = next_slot(schedule, due_at=job.due_at, now=now)
                await connection.execute(
                    _NEXT_SLOT, (due_at, due_at + spread(schedule, job.monitor_id), job.monitor_id)
                )

    async def beat(self, worker: str, holder: str) -> None:
        """`holder` is at work as `worker`."""
        async with self._pool.connection() as connection:
            await connection.execute(_BEAT, {"worker": worker, "holder": holder})
            await connection.execute(_FORGET_BEATS, (worker,))


def _places(count: int) -> dict[str, int]:
    return {"limit": count, "candidates": max(count * CANDIDATES_FOR_EACH_PLACE, CANDIDATES_MIN) if count else 0}
