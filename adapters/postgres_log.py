"""The sequencer: gives every committed event its dense position and chains its hash (DESIGN section 3).

Events are taken in `(tx, seq)` order, and only those whose transaction lies below the oldest one still running:
nothing can appear before them any more. Whoever orders by the identity column alone, or skips a gap after a time-out,
loses events; both were reproduced.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from domain.log_entry import PARTITIONS, LogEntry, partition_of

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

BATCH_EVENTS_MAX = 2000

_HEAD = "select tx::text, seq, position, hash, partition_positions from log_head"

# The head and what follows it, in one round trip; without news one row whose right half is null. Ordered by the table's
# tx: the bare name would mean the text in the select list, where '1000' comes before '999'.
UNSEQUENCED = """
select h.tx::text, h.seq, h.position, h.hash, h.partition_positions, e.*
from log_head h left join lateral (
    select event.tx::text, event.seq, stream_id, version, owner_id, type, type_version, data::text, metadata::text,
           event_id, to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    from event
    where (event.tx, event.seq) > (h.tx, h.seq) and event.tx < pg_snapshot_xmin(pg_current_snapshot())
    order by event.tx, event.seq limit %s
) e on true
"""
HEAD_COLUMNS = 5

# One statement, so one round trip: the head moves only from where we read it, and the log grows only if it moved.
# Losing its tail in a crash is harmless (the same events get the same positions again), so it need not wait for disk.
ADVANCE_HEAD = """
with relaxed as materialized (
    select set_config('synchronous_commit', 'off', true)
), moved as (
    update log_head set tx = %(tx)s::xid8, seq = %(seq)s, position = %(position)s, hash = %(hash)s,
                        partition_positions = %(places)s
    where position = %(old_position)s and hash = %(old_hash)s
    returning true
)
insert into event_log (position, partition, partition_position, stream_id, version, hash)
select new.* from relaxed, moved, unnest(
    %(column_position)s::bigint[], %(column_partition)s::smallint[], %(column_place)s::bigint[],
    %(column_stream_id)s::uuid[], %(column_version)s::integer[], %(column_hash)s::bytea[]
) as new
"""

_FROM_THE_FUTURE = "select tx >= pg_snapshot_xmax(pg_current_snapshot()) from log_head"

_PARTITION_TAIL = """
select l.partition, l.partition_position, l.position, e.stream_id, e.version, e.owner_id, e.type, e.type_version,
       e.data::text, e.metadata::text, e.event_id,
       to_char(e.recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
from event_log l join event e using (stream_id, version)
where l.partition = %s and l.partition_position > %s order by l.partition_position limit %s
"""


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of the log: the last event's commit order, position and hash, and the place each partition has reached."""

    tx: str
    seq: int
    position: int
    hash: bytes
    places: tuple[int, ...]


class PostgresLog:
    """The log as PostgreSQL keeps it: sequencing at its head, reading anywhere."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def head(self) -> LogHead:
        """Where the log ends now."""
        async with self._pool.connection() as connection:
            return await _head(connection)

    async def sequence_batch(self) -> list[LogEntry]:
        """Give positions to the next events, at most `BATCH_EVENTS_MAX`, and return them as entries of the log.

        Empty when there are none, or when another sequencer was faster: its compare-and-set won, ours wrote nothing.
        """
        async with self._pool.connection() as connection:
            found = await (await connection.execute(UNSEQUENCED, (BATCH_EVENTS_MAX,))).fetchall()
            head = head_of(found[0] if found else None)
            rows = [row[HEAD_COLUMNS:] for row in found if row[HEAD_COLUMNS] is not None]
            if not rows:
                return []
            entries, hashes, places = chain(head, [row[2:] for row in rows])
            cursor = await connection.execute(
                ADVANCE_HEAD,
                {
                    "tx": rows[-1][0],
                    "seq": rows[-1][1],
                    "position": entries[-1].position,
                    "hash": hashes[-1],
                    "places": list(places),
                    "old_position": head.position,
                    "old_hash": head.hash,
                    "column_position": [entry.position for entry in entries],
                    "column_partition": [entry.partition for entry in entries],
                    "column_place": [entry.place for entry in entries],
                    "column_stream_id": [entry.stream_id for entry in entries],
                    "column_version": [entry.version for entry in entries],
                    "column_hash": hashes,
                },
            )
            return entries if cursor.rowcount == len(entries) else []

    async def is_from_another_cluster(self) -> bool:
        """Whether the last sequenced transaction lies in this cluster's future: the store was restored into a younger one,
        whose new events would sort before the old and never be sequenced."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FROM_THE_FUTURE)).fetchone()
        return row is not None and bool(row[0])

    async def places(self) -> tuple[int, ...]:
        """The last place of each partition."""
        return (await self.head()).places

    async def read(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        """Entries of a partition after a place, in order; the truth behind what Redis may have lost."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_PARTITION_TAIL, (partition, after_place, limit))).fetchall()
        return [LogEntry(*row) for row in rows]


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


def link(previous: bytes, entry: LogEntry) -> bytes:
    """The hash of an entry: sha256 over the previous hash (32 bytes) and the entry's canonical form, a JSON array of
    its fields in their order with data and metadata as PostgreSQL prints jsonb."""
    return hashlib.sha256(previous + canonical(entry)).digest()


def canonical(entry: LogEntry) -> bytes:
    """The bytes of an entry that the chain protects."""
    return msgspec.json.encode(entry)


async def _head(connection: Connection) -> LogHead:
    return head_of(await (await connection.execute(_HEAD)).fetchone())


def head_of(row: tuple[Any, ...] | None) -> LogHead:
    """The head from the first `HEAD_COLUMNS` of a row; raises `RuntimeError` for a store without one."""
    if row is None:
        raise RuntimeError("log_head is empty: the store was not migrated by `vigil migrate up`")
    tx, seq, position, digest, places = row[:HEAD_COLUMNS]
    if len(places) != PARTITIONS:
        raise RuntimeError(f"log_head counts {len(places)} partitions, this program {PARTITIONS}")
    return LogHead(tx, seq, position, bytes(digest), tuple(places))
