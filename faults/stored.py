"""What is stored, read with the driver's own SQL and not through Vigil's code."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import redis
from psycopg import sql

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

CONSUMERS = ("core", "notifier")

_EVENTS = """
select stream_id::text, version, owner_id::text, type, metadata->>'command_id', tx::text::bigint, seq
from event order by tx, seq
"""

_LOG = """
select l.position, l.partition, l.partition_position, l.stream_id, l.version, l.hash, e.owner_id, e.type, e.type_version,
       e.data::text, e.metadata::text, e.event_id,
       to_char(e.recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
from event_log l left join event e using (stream_id, version) order by l.position
"""

_CHECKPOINTS = "select consumer, partition, position from checkpoint where consumer = any (%s)"

_SHOWN = """
select 'monitors', id::text, version from read_model.monitors
union all select 'actions', id::text, version from read_model.actions
union all select 'triggers', id::text, version from read_model.triggers
union all select 'users', id::text, version from read_model.users
"""

_JUDGEMENTS = """
select stream_id::text, (data->>'occasion')::bigint from event where type in ('trigger.fired', 'trigger.suppressed')
"""

_OUTCOMES = """
select stream_id::text, data->>'monitor_id', data->>'due_at', (data->'inputs'->>'temperature')::float
from event where type in ('evaluation.completed', 'evaluation.failed') order by tx, seq
"""

_ASKED = "select stream_id::text from event where type = 'evaluation.requested' order by tx, seq"

_OVERDUE = """
select count(*), coalesce(max(extract(epoch from clock_timestamp() - due_at)), 0)::float from schedule
where active and due_at + (schedule->>'seconds')::integer * interval '1 second' < clock_timestamp()
"""

_UNFINISHED = """
select 'events without a position', count(*) from event e
where not exists (select from event_log l where l.stream_id = e.stream_id and l.version = e.version)
union all select 'evaluations that were asked for and not made', count(*) from evaluation_request
union all select 'notifications that wait', count(*) from read_model.notifications where next_attempt_at is not null
union all select 'events that were parked', count(*) from parked where stream_id <> all (%s::uuid[])
union all
select 'events that ' || consumer || ' has before it',
       coalesce(sum(greatest(0, head.place - coalesce(c.position, 0))), 0)::bigint
from unnest(%s::text[]) as consumer
cross join (select n - 1 as partition, place from log_head, unnest(partition_positions) with ordinality as p (place, n)) head
left join checkpoint c using (consumer, partition) group by consumer
"""

_TABLES = "select table_name from information_schema.tables where table_schema = %s order by 1"


@dataclass(frozen=True)
class StoredEvent:
    """A row of the table event; `command_id` stands for the Idempotency-Key of the command that led to it, if one did."""

    stream_id: str
    version: int
    owner_id: str
    type: str
    command_id: str | None
    tx: int
    seq: int


@dataclass(frozen=True)
class Outcome:
    """What an evaluation came to, in the order that was recorded. `due_at` is its slot, or when it was asked for;
    `temperature` what a signal's evaluation judged."""

    evaluation_id: str
    monitor_id: str
    due_at: str
    temperature: float | None


@dataclass(frozen=True)
class LogRow:
    """A row of the table event_log, with the bytes of its event that the chain covers (docs/evidence.md); `owner_id` is None
    when there is no such event."""

    position: int
    partition: int
    place: int
    stream_id: str
    version: int
    owner_id: str | None
    hash: bytes
    canonical: bytes


@dataclass(frozen=True)
class Stored:
    """An installation's tables at rest. `drift` tells where the read tables differ from a rebuild, `unfinished` what is
    still to be done, `asked` the evaluations that were asked for."""

    events: Sequence[StoredEvent]
    log: Sequence[LogRow]
    checkpoints: Mapping[tuple[str, int], int]
    shown: Sequence[tuple[str, str, int]]
    judgements: Sequence[tuple[str, int]]
    outcomes: Sequence[Outcome]
    asked: Sequence[str]
    drift: Sequence[str]
    unfinished: Sequence[str]


async def read_stored(connection: Connection, *, before: str | None, poison: Collection[str] = ()) -> Stored:
    """Everything that is stored; `before` is the schema with the read tables as they were before a rebuild, `poison` the
    streams that stay parked."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        events = [StoredEvent(*row) for row in await _rows(connection, _EVENTS)]
        log = [_log_row(row) for row in await _rows(connection, _LOG)]
        places = await _rows(connection, _CHECKPOINTS, (list(CONSUMERS),))
        return Stored(
            events=events,
            log=log,
            checkpoints={(consumer, partition): place for consumer, partition, place in places},
            shown=[(str(table), str(thing), int(version)) for table, thing, version in await _rows(connection, _SHOWN)],
            judgements=[(trigger, occasion) for trigger, occasion in await _rows(connection, _JUDGEMENTS)],
            outcomes=[Outcome(*row) for row in await _rows(connection, _OUTCOMES)],
            asked=[evaluation_id for (evaluation_id,) in await _rows(connection, _ASKED)],
            drift=[] if before is None else await _drift(connection, before),
            unfinished=await unfinished(connection, poison),
        )


async def unfinished(connection: Connection, poison: Collection[str] = ()) -> list[str]:
    """What is still to be done, in words."""
    rows = await _rows(connection, _UNFINISHED, (list(poison), list(CONSUMERS)))
    return [f"{count} {what}" for what, count in rows if count]


async def overdue(connection: Connection) -> str:
    """Monitors whose slot waits longer than their interval, in words; nothing when there is none."""
    [(count, seconds)] = await _rows(connection, _OVERDUE)
    return f"{count} monitors wait longer than their interval, one since {seconds:.1f} s" if count else ""


def unfinished_jobs(client: redis.Redis) -> list[str]:
    """Jobs that somebody still has, in words."""
    waiting = client.xlen("vigil:jobs") + client.xlen("vigil:jobs:asked")
    return [f"{waiting} jobs in the queue"] if waiting else []


async def _drift(connection: Connection, before: str) -> list[str]:
    found = []
    for (table,) in await _rows(connection, _TABLES, ("read_model",)):
        live, rebuilt = [await _contents(connection, schema, table) for schema in (before, "read_model")]
        for row in sorted(live ^ rebuilt)[:3]:
            where = "a rebuild lacks" if row in live else "only a rebuild has"
            found.append(f"{where} this row of {table}: {row[:300]}")
    return found


async def _contents(connection: Connection, schema: str, table: str) -> set[str]:
    """Every row as text with its number among equal ones."""
    query = sql.SQL("select t::text || ' #' || row_number() over (partition by t::text) from {} t")
    rows = await (await connection.execute(query.format(sql.Identifier(schema, table)))).fetchall()
    return {row[0] for row in rows}


def _log_row(row: tuple[Any, ...]) -> LogRow:
    position, partition, place, stream_id, version, digest, owner_id, *rest = row
    entry = [partition, place, position, stream_id, version, owner_id, *rest]
    return LogRow(
        position,
        partition,
        place,
        str(stream_id),
        version,
        None if owner_id is None else str(owner_id),
        bytes(digest),
        msgspec.json.encode(entry),
    )


async def _rows(connection: Connection, query: Any, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401  a constant
    return await (await connection.execute(query, values)).fetchall()
