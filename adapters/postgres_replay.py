"""Replaying the log into shadow tables, inside PostgreSQL: events go from one table to another and never through Python.

A batch is a range of places in some partitions. Its events are copied to a temporary table, in which each one's step is
told, and the statements of the projection run over one step after the other. What SQL cannot read as it is stored takes the
way through Python: sealed fields, former versions, and what the archive holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.postgres_checkpoints import forget_parked_of_erased, storable
from adapters.postgres_kept_tables import ERASURE
from adapters.postgres_log import EVENT_COLUMNS
from adapters.postgres_pool import Connection
from adapters.postgres_read_tables import REFUSALS, OpenEntries, as_they_are, reason_of, write_group
from adapters.postgres_shadow import Shadow
from domain.event import event_types, personal_fields
from domain.event_codec import UnknownEvent
from domain.log_entry import LogEntry
from projections.projection import CannotApply, On, Projection

Ranges = Mapping[int, tuple[int, int]]
"""For each partition the last place that was replayed, and the last to replay."""

# About so many events from the first on that was not replayed. They were recorded at about the same time, so they lie close
# to each other, whatever their partition.
_NEXT = """
with wanted as (
    select * from unnest(%(partitions)s::smallint[], %(after)s::bigint[], %(until)s::bigint[]) as w (partition, after, until)
), first as (
    select min(l.position) as position
    from wanted w join event_log l on l.partition = w.partition and l.partition_position = w.after + 1
), reach as (
    select l.partition, max(l.partition_position) as place from first, event_log l
    where l.position >= first.position and l.position < first.position + %(events)s
      and l.partition = any (%(partitions)s::smallint[])
    group by l.partition
)
select partition, after, least(until, place) from wanted join reach using (partition) where place > after
"""

# A batch is small against the tables: its rows are looked up by their keys, whatever the statistics of new tables say.
_SETTINGS = """
select set_config('search_path', %s, true), set_config('synchronous_commit', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('enable_memoize', 'off', true),
       set_config('jit', 'off', true), set_config('work_mem', '32MB', true)
"""

# A compare-and-set: somebody else who replays into these tables makes this one stop.
_ADVANCE = """
update checkpoint c set position = m.until, updated_at = clock_timestamp()
from unnest(%s::smallint[], %s::bigint[], %s::bigint[]) as m (partition, after, until)
where c.consumer = %s and c.partition = m.partition and c.position = m.after
"""

_STAGED = (
    """
    create temp table if not exists staged (
        partition smallint, place bigint, position bigint, stream_id uuid, version integer, owner_id uuid, type text,
        type_version smallint, data jsonb, metadata jsonb, event_id uuid, recorded_at timestamptz, in_python boolean,
        section bigint, round bigint
    ) on commit drop
    """,
    "create index if not exists staged_step on staged (section, round, type)",
    "delete from staged",
)

# A section is what comes before, between or after events that stand alone; a round, the events of a section whose streams
# have each begun again so often. Within a round every stream's events have growing ranks, as in
# `projections.projection.split_into_runs`. Other than there the streams of a batch are counted each for itself: the first
# event of a stream, which makes the rows that other streams refer to, is in the first round of its section always.
_STAGE = """
insert into staged
select partition, place, position, stream_id, version, owner_id, type, type_version, data, metadata, event_id, recorded_at,
       in_python, section, sum(again) over (partition by section, stream_id order by version)
from (
    select *, case when not repeatable and rank <= lag(rank) over (
               partition by section, stream_id, repeatable order by version) then 1 else 0 end as again
    from (
        select l.partition, l.partition_position as place, l.position, l.stream_id, l.version, e.owner_id, e.type,
               e.type_version, e.data, case when h.in_python then e.metadata end as metadata, e.event_id, e.recorded_at,
               h.in_python or h.type_version <> e.type_version or e.data is null as in_python, h.rank, h.repeatable,
               2 * sum(h.alone) over (partition by l.partition order by l.partition_position) - h.alone as section
        from unnest(%(partitions)s::smallint[], %(after)s::bigint[], %(until)s::bigint[]) as r (partition, after, until)
        join event_log l on l.partition = r.partition and l.partition_position > r.after and l.partition_position <= r.until
        join event e on e.stream_id = l.stream_id and e.version = l.version
        left join unnest(
            %(types)s::text[], %(ranks)s::integer[], %(repeatable)s::boolean[], %(alone)s::integer[],
            %(type_versions)s::integer[], %(in_python)s::boolean[]
        ) as h (type, rank, repeatable, alone, type_version, in_python) on h.type = e.type
    ) as told
) as counted
"""

_HAS_PARKED = "select exists (select from parked where consumer = %s)"
_ERASURES = "select partition, place, owner_id from staged where type = %s"
# An erasure waits for nothing, and nothing after it waits for what was parked before.
_PARK_BEHIND = """
with erased as materialized (
    select owner_id, place from staged where type = %(erasure)s
), behind as (
    delete from staged s where stream_id in (select stream_id from parked where consumer = %(consumer)s)
      and not exists (select from erased where erased.owner_id = s.owner_id and erased.place <= s.place)
    returning partition, place, stream_id
)
insert into parked (consumer, partition, place, stream_id, error)
select %(consumer)s, partition, place, stream_id, 'behind' from behind on conflict do nothing
"""
_PARK = """
insert into parked (consumer, partition, place, stream_id, error)
select %s, partition, partition_position, stream_id, %s from event_log where partition = %s and partition_position = %s
on conflict do nothing
"""

_STEPS = "select section, round, type, bool_or(in_python) from staged where section is not null group by 1, 2, 3"

_BATCH = """
with batch as (
    select place, stream_id, version, owner_id, type, data, event_id, recorded_at from staged
    where section = %s and round = %s and type = %s
)
"""

_ENTRIES = (
    "select partition, place, position, "
    + EVENT_COLUMNS
    + "from staged where section = %s and round = %s and type = %s order by partition, place"
)


class ReplayOvertaken(Exception):
    """Somebody else moved the progress of these tables: two processes replay into them."""


class LogIncomplete(Exception):
    """Events that the log has a place for cannot be read."""


class Replay:
    """Replays a projection into shadow tables, batch by batch."""

    def __init__(self, projection: Projection, shadow: Shadow, *, open_entries: OpenEntries = as_they_are) -> None:
        """`open_entries` gives entries as SQL can read them: what was sealed, and what the archive holds (their data is an
        empty text until then)."""
        self._shadow = shadow
        self._open_entries = open_entries
        self._handlers = projection.by_type()
        known, types = event_types(), list(self._handlers)
        self._steps = {
            "types": types,
            "ranks": [self._handlers[each].rank for each in types],
            "repeatable": [self._handlers[each].repeatable for each in types],
            "alone": [int(self._handlers[each].alone) for each in types],
            "type_versions": [known[each].tag_version if each in known else 1 for each in types],
            "in_python": [open_entries is not as_they_are and bool(personal_fields(each)) for each in types],
        }

    async def next_ranges(
        self, connection: Connection, places: Mapping[int, int], goals: Mapping[int, int], *, events: int
    ) -> Ranges:
        """The next batch for these partitions, of about `events` events at most; empty when all goals are reached."""
        behind = [p for p in goals if places[p] < goals[p]]
        if not behind:
            return {}
        values = {"partitions": behind, "after": [places[p] for p in behind], "until": [goals[p] for p in behind]}
        rows = await (await connection.execute(_NEXT, {**values, "events": events})).fetchall()
        return {partition: (after, until) for partition, after, until in rows}

    async def replay(self, connection: Connection, ranges: Ranges, *, may_park: bool) -> None:
        """Replay a batch, in one transaction. What the tables refuse is parked if `may_park`, as a projector would: the
        batch is halved until the event stands alone, and later ones of its stream are parked behind it.

        Raises `CannotApply` otherwise, and then nothing was written; `ReplayOvertaken`, `LogIncomplete`."""
        try:
            async with connection.transaction():
                await self._apply(connection, ranges)
        except (*REFUSALS, CannotApply, UnknownEvent) as refusal:
            if not may_park:
                raise CannotApply(reason_of(refusal)) from None
            halves = _halves(ranges)
            if not halves:
                await self._park(connection, ranges, reason_of(refusal))
            for half in halves:
                await self.replay(connection, half, may_park=True)

    async def _apply(self, connection: Connection, ranges: Ranges) -> None:
        await self._advance(connection, ranges)
        for statement in _STAGED:
            await connection.execute(statement)
        cursor = await connection.execute(_STAGE, {**_columns(ranges), **self._steps})
        expected = sum(until - after for after, until in ranges.values())
        if cursor.rowcount != expected:
            raise LogIncomplete(f"of {expected} events of the log {cursor.rowcount} are in the store ({dict(ranges)})")
        parked = await (await connection.execute(_HAS_PARKED, (self._shadow.consumer,))).fetchone()
        if parked == (True,):
            await self._park_behind(connection)
        steps = await (await connection.execute(_STEPS)).fetchall()
        for section, round_, type_, in_python in sorted(steps, key=self._in_order):
            await self._step(connection, self._handlers[type_], (section, round_, type_), in_python=in_python)

    async def _park_behind(self, connection: Connection) -> None:
        consumer = self._shadow.consumer
        await connection.execute(_PARK_BEHIND, {"consumer": consumer, "erasure": ERASURE})
        erasures = await (await connection.execute(_ERASURES, (ERASURE,))).fetchall()
        await forget_parked_of_erased(connection, consumer, erasures)

    async def _step(self, connection: Connection, handler: On, step: Sequence[Any], *, in_python: bool) -> None:
        if not in_python:
            for statement in handler.statements:
                await connection.execute(_BATCH + statement, step)
            return
        rows = await (await connection.execute(_ENTRIES, step)).fetchall()
        opened = await self._open_entries([LogEntry(*row) for row in rows])
        unread = [entry.position for entry in opened if not entry.data]
        if unread:
            raise LogIncomplete(f"position {unread[0]} of the log stands in the archive, which is not at hand here")
        await write_group(connection, handler, opened)

    async def _park(self, connection: Connection, ranges: Ranges, error: str) -> None:
        ((partition, (_, place)),) = ranges.items()
        async with connection.transaction():
            await self._advance(connection, ranges)
            await connection.execute(_PARK, (self._shadow.consumer, storable(error), partition, place))

    async def _advance(self, connection: Connection, ranges: Ranges) -> None:
        await connection.execute(_SETTINGS, (self._shadow.search_path,))
        columns = _columns(ranges)
        values = (columns["partitions"], columns["after"], columns["until"], self._shadow.consumer)
        cursor = await connection.execute(_ADVANCE, values)
        if cursor.rowcount != len(ranges):
            raise ReplayOvertaken(f"another process replays into the schema {self._shadow.schema}")

    def _in_order(self, step: Sequence[Any]) -> tuple[int, int, int]:
        section, round_, type_, _ = step
        return section, round_, self._handlers[type_].rank


def _columns(ranges: Ranges) -> dict[str, list[int]]:
    partitions = sorted(ranges)
    return {
        "partitions": partitions,
        "after": [ranges[p][0] for p in partitions],
        "until": [ranges[p][1] for p in partitions],
    }


def _halves(ranges: Ranges) -> list[Ranges]:
    """Two batches, each in the order of its partitions; none for a single event."""
    partitions = sorted(ranges)
    half = len(partitions) // 2
    if half:
        return [{p: ranges[p] for p in partitions[:half]}, {p: ranges[p] for p in partitions[half:]}]
    ((partition, (after, until)),) = ranges.items()
    if until - after == 1:
        return []
    middle = (after + until) // 2
    return [{partition: (after, middle)}, {partition: (middle, until)}]
