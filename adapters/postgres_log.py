"""The sequencer: gives every committed event its dense position and chains its hash.

Events are taken in `(tx, seq)` order, and only those whose transaction lies below the oldest one still running:
nothing can appear before them any more. Whoever orders by the identity column alone, or skips a gap after a time-out,
loses events; both were reproduced (docs/decisions/0001-ordering-after-commit.md).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

import msgspec

from adapters.postgres_pool import Connection, Pool, unhurried_transaction
from domain.log_entry import PARTITIONS, LogEntry, partition_of
from domain.log_state import EventsLost

BATCH_EVENTS_MAX = 2000
NO_HEAD = "log_head is empty: the store was not migrated by `vigil migrate up`"

EVENT_COLUMNS = """
    stream_id, version, owner_id, type, type_version, coalesce(data::text, ''), coalesce(metadata::text, ''), event_id,
    to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
"""
"""An event's part of a `LogEntry` as SQL reads it. Every hash depends on how texts and times are printed here. Data and
metadata are empty texts where the store has let go of them."""

_HEAD = "select tx::text, seq, position, hash, partition_positions from log_head"

# The head and what follows it, in one round trip; without news one row whose right half is null. Ordered by the table's
# tx: the bare name would mean the text in the select list, where '1000' comes before '999'.
UNSEQUENCED = (
    """
select h.tx::text, h.seq, h.position, h.hash, h.partition_positions, e.*
from log_head h left join lateral (
    select event.tx::text, event.seq, """  # noqa: S608  a constant
    + EVENT_COLUMNS
    + """
    from event
    where (event.tx, event.seq) > (h.tx, h.seq) and event.tx < pg_snapshot_xmin(pg_current_snapshot())
    order by event.tx, event.seq limit %s
) e on true
"""
)
HEAD_COLUMNS = 5

# One statement, so one round trip: the head moves only from where we read it, and the log grows only if it moved.
# Losing its tail in a crash is harmless (the same events get the same positions again), so it need not wait for disk.
ADVANCE_HEAD = """
with relaxed as materialized (
    select set_config('synchronous_commit', 'off', true)
), moved as (
    update log_head set tx = %(tx)s::xid8, seq = %(seq)s, position = %(position)s, hash = %(hash)s,
                        partition_positions = %(places)s
    where position = %(old_position)s and hash = %(old_hash)s and lost_at is null
    returning true
)
insert into event_log (position, partition, partition_position, stream_id, version, hash)
select new.* from relaxed, moved, unnest(
    %(column_position)s::bigint[], %(column_partition)s::smallint[], %(column_place)s::bigint[],
    %(column_stream_id)s::uuid[], %(column_version)s::integer[], %(column_hash)s::bytea[]
) as new
"""

# In a younger cluster new events get transaction ids below those that were restored: they would sort before the old ones,
# or the old ones that had no position yet would wait for years and come out of order. No event that is visible here can
# have an id from here that lies above the snapshot.
HOME = """
select greatest(h.tx, (select tx from event order by tx desc, seq desc limit 1))
           >= pg_snapshot_xmax(pg_current_snapshot()) or h.lost_at is not null as young,
       h.cluster = (select system_identifier from pg_control_system()) as home
from log_head h
"""

# Once the new cluster has used up the ids of the old one nothing of this shows any more, but events that were appended
# meanwhile are lost. So in a cluster that the log has not been seen whole in, the events up to the head are counted.
COUNT = """
select h.position = (select count(*) from event e where (e.tx, e.seq) <= (h.tx, h.seq)) from log_head h
"""
SETTLE = "update log_head set cluster = (select system_identifier from pg_control_system()), lost_at = null"

# Nothing waits for its position, whether or not somebody holds it up.
_ALL_SEQUENCED = "select not exists (select from event e where (e.tx, e.seq) > (h.tx, h.seq)) from log_head h"
_TELL_LOST = "update log_head set lost_at = clock_timestamp()"

_PARTITION_TAIL = (
    "select partition, partition_position, position, "
    + EVENT_COLUMNS
    + """
from event_log join event using (stream_id, version)
where partition = %s and partition_position > %s order by partition_position limit %s
"""
)

_CONFIRM = """
select l.partition from unnest(%s::smallint[], %s::bigint[], %s::uuid[]) as t (partition, place, event_id)
join event_log l on l.partition = t.partition and l.partition_position = t.place
join event e using (stream_id, version)
where e.event_id = t.event_id
"""


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of the log: the last event's commit order, position and hash, and the place each partition has reached."""

    tx: str
    seq: int
    position: int
    hash: bytes
    places: tuple[int, ...]


class Archive(Protocol):
    """What the store has let go of."""

    async def filled(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """The same entries, those that the store has let go of as the archive has them."""
        ...


class PostgresLog:
    """The log as PostgreSQL keeps it: sequencing at its head, reading anywhere."""

    def __init__(self, pool: Pool, archive: Archive | None = None) -> None:
        self._pool = pool
        self._archive = archive
        self._seen: LogHead | None = None

    async def head(self) -> LogHead:
        """Where the log ends now."""
        async with self._pool.connection() as connection:
            return await read_head(connection)

    async def sequence_batch(self) -> list[LogEntry]:
        """Give positions to the next events, at most `BATCH_EVENTS_MAX`, and return them as entries of the log.

        Empty when there are none, or when another sequencer was faster: its compare-and-set won, ours wrote nothing.
        Raises `EventsLost` when events to which it gave positions are gone.
        """
        async with self._pool.connection() as connection:
            found = await (await connection.execute(UNSEQUENCED, (BATCH_EVENTS_MAX,))).fetchall()
            head = head_of(found[0] if found else None)
            rows = [row[HEAD_COLUMNS:] for row in found if row[HEAD_COLUMNS] is not None]
            entries, hashes, places = chain(head, [row[2:] for row in rows])
            await self._compare_with_seen(connection, head, hashes)
            if not rows:
                return []
            moved = LogHead(rows[-1][0], rows[-1][1], entries[-1].position, hashes[-1], places)
            cursor = await connection.execute(ADVANCE_HEAD, advance_values(head, moved, entries, hashes))
            if cursor.rowcount != len(entries):
                return []
            if self._seen is None or moved.position >= self._seen.position:
                self._seen = moved
            return entries

    async def _compare_with_seen(self, connection: Connection, head: LogHead, hashes: Sequence[bytes]) -> None:
        """See whether the log still is what this process made of it.

        After a crash it may end earlier than it did: its end is written without waiting for the disk, and the same events
        get the same positions and hashes again. If they do not, or do not come, they are gone: a standby without them was
        promoted, or an older copy restored under a running relay."""
        seen = self._seen
        if seen is None or head.position > seen.position:
            return
        if head.position == seen.position:
            lost = head.hash != seen.hash
        elif len(hashes) >= seen.position - head.position:
            lost = hashes[seen.position - head.position - 1] != seen.hash
        else:
            lost = not hashes and await _row(connection, _ALL_SEQUENCED) == (True,)
        if lost:
            await connection.execute(_TELL_LOST)
            self._seen = None
            raise EventsLost(head.position, seen.position)

    async def is_from_another_cluster(self) -> bool:
        """Whether the store was restored into a cluster whose transaction ids do not go on from its own, so that events
        would be lost or come out of order; `vigil store repair` cures that. Cheap, but for the first time in a cluster."""
        async with self._pool.connection() as connection:
            young, home = await _row(connection, HOME)
            if young or home:
                return bool(young)
            async with unhurried_transaction(connection):
                (whole,) = await _row(connection, COUNT)
                if whole:
                    await connection.execute(SETTLE)
            return not whole

    async def places(self) -> tuple[int, ...]:
        """The last place of each partition."""
        return (await self.head()).places

    async def read(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        """Entries of a partition after a place, in order; the truth behind what Redis may have lost."""
        entries = await self._stored(partition, after_place, limit)
        return entries if self._archive is None else list(await self._archive.filled(entries))

    async def read_kept(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        """Those of the same entries that come after the last one that the store has let go of, so that no archive file is
        needed."""
        entries = await self._stored(partition, after_place, limit)
        kept = max((number for number, entry in enumerate(entries, start=1) if not entry.data), default=0)
        return entries[kept:]

    async def _stored(self, partition: int, after_place: int, limit: int) -> list[LogEntry]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_PARTITION_TAIL, (partition, after_place, limit))).fetchall()
        return [LogEntry(*row) for row in rows]

    async def confirm(self, entries: Sequence[LogEntry]) -> set[int]:
        """The partitions of those entries, at most one of each, that stand in the log at their places: a tail of the log
        kept elsewhere may be that of a history which a restored store never had."""
        partitions, places = [entry.partition for entry in entries], [entry.place for entry in entries]
        event_ids = [entry.event_id for entry in entries]
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_CONFIRM, (partitions, places, event_ids))).fetchall()
        return {row[0] for row in rows}


def chain(head: LogHead, rows: Sequence[tuple[Any, ...]]) -> tuple[list[LogEntry], list[bytes], tuple[int, ...]]:
    """Entries for stored rows (stream_id ... recorded_at) after `head`, the hash of each, and the places reached."""
    places, position, previous = list(head.places), head.position, head.hash
    entries: list[LogEntry] = []
    hashes: list[bytes] = []
    for stream_id, version, owner_id, *rest in rows:
        partition = partition_of(owner_id)
        places[partition] += 1
        position += 1
        entry = LogEntry(partition, places[partition], position, stream_id, version, owner_id, *rest)
        previous = link(previous, entry)
        entries.append(entry)
        hashes.append(previous)
    return entries, hashes, tuple(places)


def advance_values(old: LogHead, new: LogHead, entries: Sequence[LogEntry], hashes: Sequence[bytes]) -> dict[str, Any]:
    """The values of `ADVANCE_HEAD` for what `chain` gave."""
    return {
        "tx": new.tx,
        "seq": new.seq,
        "position": new.position,
        "hash": new.hash,
        "places": list(new.places),
        "old_position": old.position,
        "old_hash": old.hash,
        "column_position": [entry.position for entry in entries],
        "column_partition": [entry.partition for entry in entries],
        "column_place": [entry.place for entry in entries],
        "column_stream_id": [entry.stream_id for entry in entries],
        "column_version": [entry.version for entry in entries],
        "column_hash": list(hashes),
    }


def link(previous: bytes, entry: LogEntry) -> bytes:
    """The hash of an entry: sha256 over the previous hash (32 bytes) and the entry's canonical form, a JSON array of
    its fields in their order with data and metadata as PostgreSQL prints jsonb."""
    return hashlib.sha256(previous + canonical(entry)).digest()


def canonical(entry: LogEntry) -> bytes:
    """The bytes of an entry that the chain protects."""
    return msgspec.json.encode(entry)


async def _row(connection: Connection, query: LiteralString) -> tuple[Any, ...]:
    """The one row of a query about the head; raises `RuntimeError` for a store without one."""
    row = await (await connection.execute(query)).fetchone()
    if row is None:
        raise RuntimeError(NO_HEAD)
    return row


async def read_head(connection: Connection) -> LogHead:
    """The head as the connection's transaction sees it."""
    return head_of(await (await connection.execute(_HEAD)).fetchone())


def head_of(row: tuple[Any, ...] | None) -> LogHead:
    """The head from the first `HEAD_COLUMNS` of a row; raises `RuntimeError` for a store without one."""
    if row is None:
        raise RuntimeError(NO_HEAD)
    tx, seq, position, digest, places = row[:HEAD_COLUMNS]
    if len(places) != PARTITIONS:
        raise RuntimeError(f"log_head counts {len(places)} partitions, this program {PARTITIONS}")
    return LogHead(tx, seq, position, bytes(digest), tuple(places))
