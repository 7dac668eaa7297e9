"""The event store in PostgreSQL: lock-free appends, ordered later by the sequencer (DESIGN section 3)."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from adapters.postgres_append_groups import AppendGroups, CommitUnknown
from adapters.postgres_companions import write_companions
from commands.event_store import (
    WAITING_REQUEST,
    AlreadyAnswered,
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    Receipt,
    Reserve,
)
from domain.event import Metadata, NewEvents, StreamEvent
from domain.event_codec import decode, decode_metadata, encode, encode_metadata

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

_APPEND = """
select append_events(%s::uuid[], %s::integer[], %s::uuid[], %s::text[], %s::smallint[],
                     %s::text[]::jsonb[], %s::text[]::jsonb[], %s::uuid[])
"""

_LOAD = """
select version, owner_id, type, type_version, data::text, metadata::text, event_id, recorded_at
from event where stream_id = %s and version > %s order by version
"""

_LOCK_SCOPE = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"

_FIND_RECEIPT = "select fingerprint, status, answer from command_receipt where owner_id = %s and command_id = %s"

_FIND_WAITING = "select evaluation_id from evaluation_request where monitor_id = %s and enqueued_at is null"

_EVENT_AT = "select event_id from event where stream_id = %s and version = %s"

EXPECTED_VERSION_AHEAD = "VG002"

ATTEMPTS_MAX = 3
"""How often an append is tried whose connection is lost."""


class PostgresEventStore:
    """Fulfils the port `commands.event_store.EventStore`.

    `new_id` makes time-ordered ids (UUIDv7) for events. Sequencing and publishing are the relay's; an append is
    durable when it returns and visible to loads at once.
    """

    def __init__(self, pool: Pool, *, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._new_id = new_id
        self._groups = AppendGroups(pool)

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> list[StreamEvent]:
        """The events of a stream in order; an unknown stream is empty."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LOAD, (stream_id, after_version))).fetchall()
        return [
            StreamEvent(
                stream_id=stream_id,
                version=version,
                owner_id=owner_id,
                event=decode(tag, tag_version, data),
                metadata=decode_metadata(metadata),
                event_id=event_id,
                recorded_at=recorded_at,
            )
            for version, owner_id, tag, tag_version, data, metadata, event_id, recorded_at in rows
        ]

    async def append(
        self, batch: Sequence[NewEvents], *, metadata: Metadata, companions: Sequence[Companion] = ()
    ) -> None:
        """Append events and companions in one transaction; see the port for what it raises.

        When the connection is lost before the answer to COMMIT, nobody knows whether it happened. The same events, with
        the same ids, are then appended again: if they are in the store, the first attempt wrote them and this one is done.
        """
        rows = self._rows(batch, metadata)
        for attempt in range(ATTEMPTS_MAX):
            try:
                return await self._write(rows, companions)
            except ConcurrentAppend:
                if attempt > 0 and await self._is_stored(rows):
                    return None
                raise
            except CommitUnknown as lost:
                if not rows or attempt == ATTEMPTS_MAX - 1:
                    raise (lost.__cause__ or lost) from None
        return None

    async def _write(self, rows: Sequence[dict[str, Any]], companions: Sequence[Companion]) -> None:
        if len(rows) == 1 and not companions:
            return await self._groups.append(rows[0])
        async with self._pool.connection() as connection:
            try:
                async with connection.transaction():
                    await _lock_quotas(connection, companions)
                    await _append(connection, rows)
                    await write_companions(connection, companions)
            except psycopg.errors.UniqueViolation as error:
                raise _meaning(error) from error
            except psycopg.Error as error:
                if error.sqlstate == EXPECTED_VERSION_AHEAD:
                    raise ConcurrentAppend from error
                if connection.broken:
                    raise CommitUnknown from error
                raise

    async def _is_stored(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the stream's version holds our event and not somebody else's; all of an append is stored or none."""
        first = rows[0]
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_EVENT_AT, (first["stream_id"], first["version"]))).fetchone()
        return row == (first["event_id"],)

    async def find_receipt(self, owner_id: UUID, command_id: str) -> Receipt | None:
        """The answer this person's command was given, if it was carried out."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FIND_RECEIPT, (owner_id, command_id))).fetchone()
        return None if row is None else Receipt(bytes(row[0]), row[1], row[2])

    async def find_waiting_request(self, monitor_id: UUID) -> UUID | None:
        """The evaluation of this monitor that was asked for and not begun, if any."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FIND_WAITING, (monitor_id,))).fetchone()
        return None if row is None else row[0]

    def _rows(self, batch: Sequence[NewEvents], metadata: Metadata) -> list[dict[str, Any]]:
        context = encode_metadata(metadata).decode()
        return [
            {
                "stream_id": new.stream_id,
                "version": new.expected_version + offset,
                "owner_id": new.owner_id,
                "type": event.tag,
                "type_version": event.tag_version,
                "data": encode(event).decode(),
                "metadata": context,
                "event_id": self._new_id(),
            }
            for new in batch
            for offset, event in enumerate(new.events, start=1)
        ]


async def _append(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        columns = zip(*(row.values() for row in rows), strict=True)
        await connection.execute(_APPEND, [list(column) for column in columns])


async def _lock_quotas(connection: Connection, companions: Sequence[Companion]) -> None:
    """Counting places needs everybody who takes one in a row. An advisory lock assigns no transaction id, so the
    append stays the first write."""
    for scope in sorted({c.scope for c in companions if isinstance(c, Reserve) and c.places_max is not None}):
        await connection.execute(_LOCK_SCOPE, (scope,))


def _meaning(error: psycopg.errors.UniqueViolation) -> Exception:
    match error.diag.constraint_name:
        case "event_pkey":
            return ConcurrentAppend()
        case "reservation_pkey":
            detail = error.diag.message_detail or ""
            return AlreadyReserved(detail.partition("=(")[2].partition(",")[0])
        case "evaluation_request_one_waiting":
            return AlreadyReserved(WAITING_REQUEST)
        case "command_receipt_pkey":
            return AlreadyAnswered()
        case _:
            return error
