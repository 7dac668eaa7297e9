"""What evaluations look back on: facts over time, and evidence that was kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from adapters.gathered import Gathered
from adapters.postgres_evidence import PostgresEvidence
from adapters.postgres_pool import Pool
from commands.judging import FiringsBehind
from domain.evidence import Content, Document, FetchOutcome, Memory, Reading, Validators
from domain.history import Observation

# The accepted values since a moment, led by the one in force at it: the last one that was seen before it. The order is that
# of the log: of one plan after the other, and of one look after the other.
_SERIES = """
with in_force as materialized (
    select plan_revision, place, observed_at, value, keys from facts
    where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s
      and plan_revision >= %(since_revision)s and observed_at < %(since)s
    order by plan_revision desc, place desc, observed_at desc limit 1
), seen as (
    select * from in_force
    union all
    select plan_revision, place, observed_at, value, keys from facts f
    where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s
      and plan_revision >= %(since_revision)s and observed_at >= %(since)s
      and not exists (select from in_force i where (i.plan_revision, i.place) > (f.plan_revision, f.place))
)
select observed_at, value, keys from seen order by plan_revision, place, observed_at
"""

_LAST_VALUE = """
select observed_at, value, keys from facts
where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s
  and plan_revision >= %(since_revision)s
order by plan_revision desc, place desc, observed_at desc limit 1
"""

# Whether a change fires its trigger is decided when the notifier is past the last event of the monitor and of its last
# evaluation, which are stored together but sequenced one after the other.
_FIRINGS_DECIDED = """
select coalesce(bool_and(coalesce(l.partition_position <= c.position, false)), true)
from schedule s
cross join lateral (values (s.monitor_id), (s.last_evaluation_id)) written (id)
cross join lateral (select stream_id, version from event where stream_id = written.id order by version desc limit 1) e
left join event_log l using (stream_id, version)
left join checkpoint c on c.consumer = %(consumer)s and c.partition = l.partition
where s.monitor_id = %(monitor_id)s and s.last_evaluation_id is not null
"""

# A trigger that fired stood in the read tables before, as did what was read in the evaluation it fired about.
_LAST_NOTIFIED = """
select f.observed_at, f.value
from triggers t
cross join lateral (
    select data from event where stream_id = t.id and type = 'trigger.fired' order by version desc limit 1
) fired
join evaluations e on e.id = (fired.data->>'evaluation_id')::uuid
cross join lateral (
    select observed_at, value from facts
    where monitor_id = %(monitor_id)s and name = %(name)s and confidence >= %(confidence_min)s
      and plan_revision >= %(since_revision)s
      and (plan_revision, place, observed_at) <= (e.plan_revision, e.place, e.completed_at)
    order by plan_revision desc, place desc, observed_at desc limit 1
) f
where t.monitor_id = %(monitor_id)s and t.deleted_at is null
order by e.place desc, (fired.data->>'fired_at')::timestamptz desc limit 1
"""
NOTIFIER = "notifier"
"""Whose checkpoint tells how far firings are decided."""

_MEMORY = """
select monitor_id, url, etag, last_modified, content_type, charset, evidence_hash, fresh_until, reading::text
from source_memory where monitor_id = any (%s)
"""
_STAYS_FRESH = "update source_memory set fresh_until = %s where monitor_id = %s and url = %s and evidence_hash = %s"
_WAS_READ = "update source_memory set reading = %s where monitor_id = %s and url = %s and evidence_hash = %s"

_reading = msgspec.json.Decoder(Reading)


class PostgresHistory:
    """Fulfils `commands.judging.FactHistory` and `commands.looking.KeptEvidence`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._contents = PostgresEvidence(pool)
        self._memories = Gathered(self._memories_of)

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, since_revision: int, confidence_min: float
    ) -> list[Observation]:
        """As the port says."""
        values = {
            "monitor_id": monitor_id,
            "name": fact,
            "since": since,
            "since_revision": since_revision,
            "confidence_min": confidence_min,
        }
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LAST_VALUE if since is None else _SERIES, values)).fetchall()
        return [Observation(*row) for row in rows]

    async def last_notified(
        self, monitor_id: UUID, fact: str, *, since_revision: int, confidence_min: float
    ) -> Observation | None:
        """As the port says, of the triggers that the monitor has. Raises `FiringsBehind`."""
        values = {
            "monitor_id": monitor_id,
            "name": fact,
            "since_revision": since_revision,
            "confidence_min": confidence_min,
            "consumer": NOTIFIER,
        }
        async with self._pool.connection() as connection:
            decided = await (await connection.execute(_FIRINGS_DECIDED, values)).fetchone()
            if decided != (True,):
                raise FiringsBehind
            row = await (await connection.execute(_LAST_NOTIFIED, values)).fetchone()
        return None if row is None else Observation(*row)

    async def memory(self, monitor_id: UUID) -> Mapping[str, Memory]:
        """What is remembered of each source, by its url."""
        return await self._memories.ask(monitor_id)

    async def _memories_of(self, monitor_ids: Sequence[UUID]) -> list[dict[str, Memory]]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_MEMORY, (list(monitor_ids),))).fetchall()
        found: dict[UUID, dict[str, Memory]] = {monitor_id: {} for monitor_id in monitor_ids}
        for monitor_id, url, etag, modified, content_type, charset, kept, fresh_until, reading in rows:
            validators = Validators(etag=etag, last_modified=modified)
            found[monitor_id][url] = Memory(
                validators,
                content_type,
                charset,
                kept,
                fresh_until,
                None if reading is None else _reading.decode(reading),
            )
        return [found[monitor_id] for monitor_id in monitor_ids]

    async def evidence(self, answer: Document, memory: Memory) -> Document | None:
        """As the port says."""
        content = await self._contents.get(memory.evidence_hash)
        if not isinstance(content, Content):
            return None
        return msgspec.structs.replace(
            answer,
            outcome=FetchOutcome.NOT_MODIFIED,
            content_type=memory.content_type,
            charset=memory.charset,
            body=content.body,
            hash=memory.evidence_hash,
        )

    async def stays_fresh(self, monitor_id: UUID, url: str, memory: Memory, until: datetime) -> None:
        """As the port says; nothing when another answer is remembered by now."""
        async with self._pool.connection() as connection:
            await connection.execute(_STAYS_FRESH, (until, monitor_id, url, memory.evidence_hash))

    async def was_read(self, monitor_id: UUID, url: str, memory: Memory, reading: Reading) -> None:
        """As the port says; nothing when another answer is remembered by now."""
        values = (Jsonb(msgspec.to_builtins(reading)), monitor_id, url, memory.evidence_hash)
        async with self._pool.connection() as connection:
            await connection.execute(_WAS_READ, values)
