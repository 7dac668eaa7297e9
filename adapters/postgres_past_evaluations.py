"""Evaluations that were made, for going through them once more: from the read tables, which keep those whose events were
archived, too."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from adapters.postgres_pool import Pool
from commands.past_evaluations import PastEvaluation
from domain.evaluation import Previous, Verdict
from domain.history import Observation
from domain.monitor import State

OBSERVATIONS_MAX = 100_000
"""Of one fact before the period; of more, the newest."""

# The evaluations of a monitor are made one after the other: they stand in the log in their order, and a period is a stretch of
# it, from after the last that began before it to the last that began before its end. Times tell the order of those which have
# no place.
_MADE = """
with made as materialized (
    select id, started_at, place, completed_at, due_at from evaluations
    where monitor_id = %s and status in ('completed', 'failed')
), begins as (
    select place, completed_at from made where started_at < %s order by place desc, completed_at desc limit 1
), ends as (
    select place, completed_at from made where started_at < %s order by place desc, completed_at desc limit 1
)
select m.id, m.started_at from made m join ends e on (m.place, m.completed_at) <= (e.place, e.completed_at)
where not exists (select from begins b where (b.place, b.completed_at) >= (m.place, m.completed_at))
order by m.place, m.completed_at, m.due_at, m.id limit %s
"""

_THESE = """
select e.id, e.plan_revision, e.verdict, e.error_code, e.state_before, e.state_after, e.evidence, e.started_at,
       e.completed_at,
       coalesce((
           select jsonb_agg(jsonb_build_object(
                      'name', f.name, 'type', f.type, 'value', f.value, 'unit', f.unit, 'confidence', f.confidence,
                      'quote', f.quote, 'source_url', f.source_url, 'evidence_hash', f.evidence_hash,
                      'observed_at', f.observed_at, 'keys', f.keys))
           from facts f where f.evaluation_id = e.id
       ), '[]') as facts
from evaluations e where e.id = any (%s)
"""

# Between two evaluations on one plan nothing changes the state. Before the first of them it is what the next one found.
_STATE = """
select coalesce(
    (select state_after from evaluations
     where monitor_id = %(monitor_id)s and plan_revision = first.plan_revision and verdict is not null
       and (place, completed_at) < (first.place, first.completed_at)
     order by place desc, completed_at desc, due_at desc, id desc limit 1),
    (select state_before from evaluations
     where monitor_id = %(monitor_id)s and verdict is not null
       and (place, completed_at) >= (first.place, first.completed_at)
     order by place, completed_at, due_at, id limit 1),
    'unknown'
)
from evaluations first where first.id = %(first)s
"""

# What held since when stands only in the event; where that was archived, it counts from the period's beginning.
_PREVIOUS = """
select e.id, e.verdict, e.streak, e.condition, (v.data->>'held_since')::timestamptz
from evaluations first
join evaluations e on e.monitor_id = first.monitor_id and e.plan_revision = first.plan_revision
left join event v on v.stream_id = e.id and v.type = 'evaluation.completed'
where first.id = %(first)s and first.monitor_id = %(monitor_id)s and e.verdict in ('met', 'not_met')
  and (e.place, e.completed_at) < (first.place, first.completed_at)
order by e.place desc, e.completed_at desc, e.due_at desc, e.id desc limit 1
"""

# In the order of the log, as in `adapters.postgres_history`.
_SERIES = """
with seen as not materialized (
    select f.plan_revision, f.place, f.observed_at, f.value, f.keys
    from evaluations e
    join facts f on (f.plan_revision, f.place, f.observed_at) < (e.plan_revision, e.place, e.started_at)
    where e.id = %(before)s and f.monitor_id = %(monitor_id)s and f.name = %(name)s
      and f.confidence >= %(confidence_min)s and f.plan_revision >= %(since_revision)s and f.evaluation_id <> e.id
), in_force as materialized (
    select * from seen where observed_at < %(since)s
    order by plan_revision desc, place desc, observed_at desc limit 1
), since_then as (
    select * from seen s
    where observed_at >= %(since)s
      and not exists (select from in_force i where (i.plan_revision, i.place) > (s.plan_revision, s.place))
    order by plan_revision desc, place desc, observed_at desc limit %(limit)s
)
select observed_at, value, keys from (select * from in_force union all select * from since_then) found
order by plan_revision, place, observed_at
"""

_LAST_VALUE = """
select f.observed_at, f.value, f.keys
from evaluations e
join facts f on (f.plan_revision, f.place, f.observed_at) < (e.plan_revision, e.place, e.started_at)
where e.id = %(before)s and f.monitor_id = %(monitor_id)s and f.name = %(name)s
  and f.confidence >= %(confidence_min)s and f.plan_revision >= %(since_revision)s and f.evaluation_id <> e.id
order by f.plan_revision desc, f.place desc, f.observed_at desc limit 1
"""

_TRIGGERS = "select id from triggers where monitor_id = %s and deleted_at is null order by created_at, id"

_FIRED = """
select f.evaluation_id from triggers t join firings f on f.trigger_id = t.id
where t.monitor_id = %s and t.deleted_at is null and f.outcome = 'fired' and f.fired_at >= %s
"""

_TOLD = """
with told as materialized (
    select e.plan_revision, e.place, e.completed_at
    from evaluations present, triggers t
    join firings f on f.trigger_id = t.id and f.outcome = 'fired'
    join evaluations e on e.id = f.evaluation_id
    where present.id = %(before)s and t.monitor_id = %(monitor_id)s and t.deleted_at is null
      and (e.place, e.completed_at) < (present.place, present.completed_at)
    order by e.place desc, e.completed_at desc limit 1
)
select f.observed_at, f.value, f.keys
from told join facts f on (f.plan_revision, f.place, f.observed_at) <= (told.plan_revision, told.place, told.completed_at)
where f.monitor_id = %(monitor_id)s and f.name = %(name)s and f.confidence >= %(confidence_min)s
  and f.plan_revision >= %(since_revision)s
order by f.plan_revision desc, f.place desc, f.observed_at desc limit 1
"""


class PostgresPastEvaluations:
    """Fulfils `commands.past_evaluations.PastEvaluations`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def made(
        self, monitor_id: UUID, *, begin: datetime, end: datetime, limit: int
    ) -> list[tuple[UUID, datetime]]:
        """As the port says."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_MADE, (monitor_id, begin, end, limit))).fetchall()
        return [(found_id, started_at) for found_id, started_at in rows]

    async def these(self, ids: Sequence[UUID]) -> list[PastEvaluation]:
        """As the port says."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_THESE, (list(ids),))
            rows = await cursor.fetchall()
        found = {row["id"]: msgspec.convert(row, PastEvaluation) for row in rows}
        return [found[one] for one in ids if one in found]

    async def before(self, first: PastEvaluation, monitor_id: UUID) -> tuple[State, Previous]:
        """As the port says."""
        values = {"monitor_id": monitor_id, "first": first.id}
        async with self._pool.connection() as connection:
            state = await (await connection.execute(_STATE, values)).fetchone()
            row = await (await connection.execute(_PREVIOUS, values)).fetchone()
        previous = Previous()
        if row is not None:
            evaluation_id, verdict, streak, condition, held_since = row
            previous = Previous(
                evaluation_id=evaluation_id,
                plan_revision=first.plan_revision,
                verdict=Verdict(verdict),
                streak=streak,
                condition=condition,
                held_since=held_since,
            )
        return State.UNKNOWN if state is None else State(state[0]), previous

    async def facts_before(
        self,
        monitor_id: UUID,
        fact: str,
        *,
        since: datetime | None,
        since_revision: int,
        before: UUID,
        confidence_min: float,
    ) -> list[Observation]:
        """As the port says."""
        values = {
            "monitor_id": monitor_id,
            "name": fact,
            "since": since,
            "since_revision": since_revision,
            "before": before,
            "confidence_min": confidence_min,
            "limit": OBSERVATIONS_MAX,
        }
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LAST_VALUE if since is None else _SERIES, values)).fetchall()
        return [Observation(*row) for row in rows]

    async def told_before(
        self, monitor_id: UUID, fact: str, *, since_revision: int, before: UUID, confidence_min: float
    ) -> Observation | None:
        """As the port says."""
        values = {
            "monitor_id": monitor_id,
            "name": fact,
            "since_revision": since_revision,
            "before": before,
            "confidence_min": confidence_min,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_TOLD, values)).fetchone()
        return None if row is None else Observation(*row)

    async def fired(self, monitor_id: UUID, *, since: datetime) -> set[UUID]:
        """As the port says."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_FIRED, (monitor_id, since))).fetchall()
        return {row[0] for row in rows}

    async def triggers(self, monitor_id: UUID) -> list[UUID]:
        """As the port says."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_TRIGGERS, (monitor_id,))).fetchall()
        return [row[0] for row in rows]
