"""Parked events for those who mend them: what is parked and why, handing it over once more, and giving it up.

Whoever changes something here holds the checkpoint of the partition as the consumer itself does when it moves. So neither
a live projector nor a rebuild that changes the tables comes in between, and a stream keeps its order: what the consumer
handles next, it handles after what was retried.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from adapters.audited_acts import Record
from adapters.postgres_checkpoints import storable
from adapters.postgres_kept_tables import ERASURE
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Connection, Pool
from adapters.postgres_read_tables import REFUSALS, OpenEntries, PostgresReadTables, as_they_are, reason_of
from domain.errors import Conflict, NotFound
from domain.event_codec import UnknownEvent
from domain.log_entry import LogEntry
from projections.projection import CannotApply

_STREAMS = """
select p.consumer, p.stream_id, l.position::text as position, e.type, e.version, p.error, p.parked_at, count - 1 as behind
from (
    select distinct on (consumer, stream_id) *, count(*) over (partition by consumer, stream_id) as count
    from parked where %(consumer)s::text is null or consumer = %(consumer)s
    order by consumer, stream_id, place
) p
join event_log l on l.partition = p.partition and l.partition_position = p.place
join event e on e.stream_id = l.stream_id and e.version = l.version
order by p.consumer, l.position
"""

_EVENTS = """
select l.position::text as position, e.version, e.type, e.type_version, e.data, e.metadata, e.recorded_at, p.error, p.parked_at
from parked p
join event_log l on l.partition = p.partition and l.partition_position = p.place
join event e on e.stream_id = l.stream_id and e.version = l.version
where p.consumer = %s and p.stream_id = %s order by p.place
"""

_LOCK = """
select from checkpoint c
where c.consumer = %(consumer)s and c.partition in (
    select partition from parked where consumer = %(consumer)s and stream_id = %(stream_id)s
) for update
"""
# A statement of its own, for its own snapshot: what the consumer parked until we had the lock is seen.
_PARKED = "select partition, place from parked where consumer = %s and stream_id = %s order by place"
_UNPARK = "delete from parked where consumer = %s and partition = %s and place = any (%s)"
_STILL = "update parked set error = %s where consumer = %s and partition = %s and place = %s"


class ParkedStream(msgspec.Struct, frozen=True, kw_only=True):
    """The first parked event of a stream, why it is parked, and how many wait behind it."""

    consumer: str
    stream_id: UUID
    position: str
    type: str
    version: int
    error: str
    parked_at: datetime
    behind: int


class ParkedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A parked event as it is stored; `error` is "behind" for one that only waits for those before it."""

    position: str
    version: int
    type: str
    type_version: int
    data: dict[str, Any] | None
    metadata: dict[str, Any] | None
    recorded_at: datetime
    error: str
    parked_at: datetime


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """How many events of a stream were handled after all, why the next was not (None: all were), and how many are left."""

    stream_id: UUID
    events: int
    error: str | None
    left: int


Handle = Callable[[Connection, Sequence[LogEntry]], Awaitable[tuple[int, str | None]]]
"""Handles entries in their order, inside a transaction of the connection: how many, and why not the next one."""


class PostgresParked:
    """The parked events of every consumer of the log."""

    def __init__(self, pool: Pool, log: PostgresLog) -> None:
        self._pool = pool
        self._log = log

    async def streams(self, consumer: str | None) -> list[ParkedStream]:
        """The streams that have something parked, for one consumer or for each, in the order of the log."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(ParkedStream)) as cursor,
        ):
            return await (await cursor.execute(_STREAMS, {"consumer": consumer})).fetchall()

    async def events(self, consumer: str, stream_id: UUID) -> list[ParkedEvent]:
        """The parked events of a stream in their order; the first is what all others wait for."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(ParkedEvent)) as cursor,
        ):
            return await (await cursor.execute(_EVENTS, (consumer, stream_id))).fetchall()

    async def retry(self, consumer: str, stream_id: UUID, *, handle: Handle, record: Record[int]) -> Retried:
        """Hand the parked events of a stream over once more, in their order, until one is refused again: that one stays
        parked with the new reason, and the others behind it. What comes before an erasure needs no handling any more.
        Raises `NotFound` when nothing is parked."""
        async with self._pool.connection() as connection, connection.transaction():
            partition, places = await _locked(connection, consumer, stream_id)
            entries = [await self._entry(partition, place) for place in places]
            first = max((number for number, entry in enumerate(entries) if entry.type == ERASURE), default=0)
            done, error = await handle(connection, entries[first:])
            gone = first + done if done else 0
            await connection.execute(_UNPARK, (consumer, partition, places[:gone]))
            if error is not None:
                await connection.execute(_STILL, (storable(error), consumer, partition, places[first + done]))
            if done:
                await record(done)
        return Retried(stream_id=stream_id, events=done, error=error, left=len(places) - gone)

    async def skip(self, consumer: str, stream_id: UUID, version: int, *, record: Record[int]) -> int:
        """Give up the first parked event of a stream; how many others are left. Raises `NotFound` when nothing is parked,
        `Conflict` when `version` is not the first."""
        async with self._pool.connection() as connection, connection.transaction():
            partition, places = await _locked(connection, consumer, stream_id)
            first = await self._entry(partition, places[0])
            if first.version != version:
                raise Conflict(f"the stream waits for its version {first.version}, and only that one can be skipped")
            await connection.execute(_UNPARK, (consumer, partition, places[:1]))
            await record(1)
        return len(places) - 1

    async def _entry(self, partition: int, place: int) -> LogEntry:
        (entry,) = await self._log.read(partition, after_place=place - 1, limit=1)
        return entry


def projecting(tables: PostgresReadTables, open_entries: OpenEntries = as_they_are) -> Handle:
    """Handles entries by changing read tables, opened for them. Those that are refused are halved, as the projector does,
    so that what comes before the refused one is projected."""

    async def change(connection: Connection, entries: Sequence[LogEntry]) -> tuple[int, str | None]:
        try:
            opened = await open_entries(entries)
            async with connection.transaction():
                await tables.write(connection, opened)
                await tables.erase_beside(connection, opened)
        except (*REFUSALS, CannotApply, UnknownEvent) as refusal:
            if len(entries) == 1:
                return 0, reason_of(refusal)
            half = len(entries) // 2
            done, error = await change(connection, entries[:half])
            if error is not None:
                return done, error
            more, error = await change(connection, entries[half:])
            return half + more, error
        return len(entries), None

    return change


async def _locked(connection: Connection, consumer: str, stream_id: UUID) -> tuple[int, list[int]]:
    """The partition of a stream and its parked places, with the consumer's checkpoint held until the transaction ends."""
    await connection.execute(_LOCK, {"consumer": consumer, "stream_id": stream_id})
    rows = await (await connection.execute(_PARKED, (consumer, stream_id))).fetchall()
    if not rows:
        raise NotFound(f"{consumer} has no parked event of the stream {stream_id}")
    return rows[0][0], [place for _, place in rows]
