"""How the consumers of the log are doing: position, lag, heartbeat, owners."""

from datetime import datetime

import msgspec

from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE
from projections.projection import Projection

_STATUS = """
with heads as (
    select (n - 1)::smallint as partition, place
    from log_head, unnest(partition_positions) with ordinality as p (place, n)
), waiting as (
    select c.consumer, min(e.recorded_at) as since
    from checkpoint c
    join event_log l on l.partition = c.partition and l.partition_position = c.position + 1
    join event e using (stream_id, version)
    group by c.consumer
)
select c.consumer, count(*), sum(c.position)::bigint, sum(h.place)::bigint,
       sum(greatest(h.place - c.position, 0))::bigint,
       coalesce(extract(epoch from clock_timestamp() - min(w.since)), 0)::float, max(c.updated_at),
       coalesce(array_agg(distinct l.holder) filter (where l.expires_at > now()), '{}'),
       (select count(*) from parked p where p.consumer = c.consumer)
from checkpoint c
join heads h using (partition)
left join waiting w on w.consumer = c.consumer
left join lease l on l.name = c.consumer || ':' || c.partition
group by c.consumer order by c.consumer
"""

_TABLES = "select schema, version, fingerprint from projection_tables where projection = %s"


# A look that waits for a batch was begun in time: what is late is that nobody goes on with it.
_ENGINE = """
select (select count(*) from (select from schedule where active and ready_at <= now() limit 10000) r),
       coalesce(extract(epoch from now() - (
           select min(ready_at) from schedule where active and ready_at <= now()
       )), 0)::float,
       (select count(*) from schedule where enqueued_at is not null),
       (select count(*) from evaluation_request),
       greatest(coalesce(extract(epoch from now() - least(
           (select min(case when l.monitor_id is null then s.due_at else s.enqueued_at end)
            from schedule s
            left join waiting_look l
              on l.monitor_id = s.monitor_id and l.previous_id is not distinct from s.last_evaluation_id
            where s.active and s.enqueued_at is not null),
           (select min(requested_at) from evaluation_request where enqueued_at > '-infinity')
       )), 0), 0)::float,
       (select count(*) from dead_job)
"""
_HEARTBEATS = """
select worker, extract(epoch from clock_timestamp() - max(beat_at))::float from heartbeat group by worker
"""


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How evaluations stand: slots that are ready and not handed out (up to 10,000) and how long the first has waited, slots
    that are handed out, evaluations asked for and not done, how late the oldest is that is handed out (slot or asked for;
    one that waits for a batch only since it was handed out), those that were given up; and how long ago any worker of a kind
    last said that it is at work, in seconds."""

    ready: int
    slip_seconds: float
    handed_out: int
    asked: int
    late_seconds: float
    dead: int
    heartbeat_ages: dict[str, float]


class ConsumerStatus(msgspec.Struct, frozen=True, array_like=True):
    """A consumer: `position` and `head` are sums over its partitions; `lag_seconds` is how long its next event waits;
    `heartbeat_at` is when it last moved; `holders` are the processes that own its partitions; `parked` is how many events
    it could not handle, and how many wait behind those."""

    consumer: str
    partitions: int
    position: int
    head: int
    lag_events: int
    lag_seconds: float
    heartbeat_at: datetime | None
    holders: tuple[str, ...]
    parked: int


class TablesStatus(msgspec.Struct, frozen=True):
    """By which version of a projection its live tables are made (None: by none yet), whether they have to be rebuilt
    because this program's SQL is another, and whether the tables from before the last rebuild are kept."""

    version: int | None
    rebuild_needed: bool
    previous: bool


async def consumer_status(pool: Pool) -> list[ConsumerStatus]:
    """All consumers that ever ran, by name."""
    async with pool.connection() as connection:
        rows = await (await connection.execute(_STATUS)).fetchall()
    return [msgspec.convert(row, ConsumerStatus, from_attributes=False) for row in rows]


async def engine_status(pool: Pool) -> EngineStatus:
    """How evaluations stand now."""
    async with pool.connection() as connection:
        counts = await (await connection.execute(_ENGINE)).fetchone()
        beats = await (await connection.execute(_HEARTBEATS)).fetchall()
    ready, slip_seconds, handed_out, asked, late_seconds, dead = counts or (0, 0.0, 0, 0, 0.0, 0)
    return EngineStatus(
        ready=ready,
        slip_seconds=slip_seconds,
        handed_out=handed_out,
        asked=asked,
        late_seconds=late_seconds,
        dead=dead,
        heartbeat_ages=dict(beats),
    )


async def tables_status(pool: Pool, projection: Projection) -> TablesStatus:
    """What the tables of a projection were made by."""
    async with pool.connection() as connection:
        rows = await (await connection.execute(_TABLES, (projection.name,))).fetchall()
    made = {schema: (version, fingerprint) for schema, version, fingerprint in rows}
    live = made.get(LIVE)
    wanted = (projection.version, projection.fingerprint())
    return TablesStatus(
        version=live[0] if live else None, rebuild_needed=live not in {None, wanted}, previous=PREVIOUS in made
    )
