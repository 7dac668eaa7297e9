"""What an evaluation has to know before it begins, read for all that begin at the same moment in one round trip."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from psycopg.rows import TupleRow

from adapters.gathered import Gathered
from adapters.postgres_pool import Pool
from domain.evaluation import Briefing, EvaluationCompleted, EvaluationFailed, EvaluationJob, Lane, Previous

# Look-ups by key, one for each job: a join's plan, made while the tables are small, may read all of them for ever.
_BRIEF = """
select (select true from person_key k where k.owner_id = j.owner_id and k.destroyed_at is not null),
       (select version from event e where e.stream_id = j.monitor_id order by version desc limit 1),
       own.version, own.type, s.due_at, s.attempts, r.attempts, s.last_evaluation_id, s.previous,
       s.last_evaluation_id is null
       or (select true from evaluations e where e.id = s.last_evaluation_id and e.status in ('completed', 'failed'))
from unnest(%s::uuid[], %s::uuid[], %s::uuid[]) with ordinality as j (monitor_id, evaluation_id, owner_id, n)
left join lateral (
    select version, type from event e where e.stream_id = j.evaluation_id order by version desc limit 1
) own on true
left join lateral (
    select due_at, attempts, previous, last_evaluation_id from schedule where schedule.monitor_id = j.monitor_id limit 1
) s on true
left join lateral (
    select attempts from evaluation_request where evaluation_request.evaluation_id = j.evaluation_id limit 1
) r on true
order by j.n
"""
# Whoever says so first has changed what the others look for. What was put back is nobody's.
_HOLD_SLOT = """
update schedule set enqueued_at = %(now)s, ready_at = %(lost_at)s
where monitor_id = %(monitor_id)s and due_at = %(due_at)s and coalesce(enqueued_at, %(handed_out_at)s) = %(handed_out_at)s
"""
_HOLD_REQUEST = """
update evaluation_request set enqueued_at = %(now)s, ready_at = %(lost_at)s
where evaluation_id = %(evaluation_id)s
  and coalesce(nullif(enqueued_at, '-infinity'), %(handed_out_at)s) = %(handed_out_at)s
"""
_DONE = {EvaluationCompleted.tag, EvaluationFailed.tag}


class PostgresBriefings:
    """Fulfils `workers.evaluator.Briefings`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._gathered = Gathered(self._brief)

    async def brief(self, job: EvaluationJob) -> Briefing:
        """What the evaluation has to know, as it is now."""
        return await self._gathered.ask(job)

    async def hold(self, job: EvaluationJob, *, now: datetime, lost_after: timedelta) -> EvaluationJob | None:
        """As the port says."""
        values = {**msgspec.structs.asdict(job), "now": now, "lost_at": now + lost_after}
        async with self._pool.connection() as connection:
            held = await connection.execute(_HOLD_REQUEST if job.lane is Lane.ASKED else _HOLD_SLOT, values)
        return msgspec.structs.replace(job, handed_out_at=now) if held.rowcount else None

    async def _brief(self, jobs: Sequence[EvaluationJob]) -> Sequence[Briefing | Exception]:
        keys = (
            [job.monitor_id for job in jobs],
            [job.evaluation_id for job in jobs],
            [job.owner_id for job in jobs],
        )
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_BRIEF, keys)).fetchall()
        return [_briefing(job, row) for job, row in zip(jobs, rows, strict=True)]


def _briefing(job: EvaluationJob, row: TupleRow) -> Briefing | Exception:
    """What a row says. One that cannot be read fails the evaluation of its monitor, and no other's."""
    erased, monitor_version, version, last, due_at, tried, asked_in_vain, last_evaluation_id, kept, shown = row
    try:
        previous = Previous() if kept is None else msgspec.convert(kept, Previous)
        if previous.evaluation_id != last_evaluation_id:  # written by a release that does not know what to leave
            previous = Previous(evaluation_id=last_evaluation_id)
        return Briefing(
            is_erased=bool(erased),
            monitor_version=monitor_version or 0,
            version=version or 0,
            is_done=last in _DONE,
            due_at=due_at,
            attempts=asked_in_vain if job.lane is Lane.ASKED else tried,
            previous=previous,
            is_shown=bool(shown),
        )
    except msgspec.ValidationError as error:
        return error
