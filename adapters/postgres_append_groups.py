"""Appends that wait at the same time share a statement and a commit, as PostgreSQL's own group commit does for the disk.

Each append stays what it was alone: durable when it returns, refused on its own when its version is taken. Only their
round trips and commits are shared, so a busy process appends several times as many events (benchmarks/README.md).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from adapters.postgres_pool import Pool
from commands.event_store import ConcurrentAppend

Row = Mapping[str, Any]

GROUPS_AT_ONCE = 2
"""One fills while another is written; with one alone, an append that waits for a rival's commit would hold up all."""
GROUP_EVENTS_MAX = 100

# Alone, an event is cheapest as values, and its own transaction makes it the first write. No row: the version lies ahead
# of its stream, or is taken.
_APPEND_ONE = """
insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
select %(stream_id)b::uuid, %(version)b::integer, %(owner_id)b::uuid, %(type)b::text, %(type_version)b::smallint,
       %(data)b::text::jsonb, %(metadata)b::text::jsonb, %(event_id)b::uuid
where %(version)b::integer = 1
   or exists (select from event where stream_id = %(stream_id)b::uuid and version = %(version)b::integer - 1)
on conflict (stream_id, version) do nothing
returning event_id
"""

# One JSON document: psycopg writes arrays in Python, which costs more than all the rest. The predecessor is selected, not
# asked for with `exists`: that may be planned as a hash of the whole table.
APPEND_GROUP = """
insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
select e.*
from (
    select (j->>0)::uuid as stream_id, (j->>1)::integer as version, (j->>2)::uuid, j->>3, (j->>4)::smallint, j->5, j->6,
           (j->>7)::uuid
    from jsonb_array_elements(%b::text::jsonb) as j
) e
where e.version = 1
   or (select true from event p where p.stream_id = e.stream_id and p.version = e.version - 1)
on conflict (stream_id, version) do nothing
returning event_id
"""

_encoder = msgspec.json.Encoder()


class CommitUnknown(Exception):
    """The connection was lost before the answer: the transaction may have been committed or not."""


class AppendGroups:
    """Appends single events, those that come while others are written together with each other."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._writing: set[asyncio.Task[None]] = set()

    async def append(self, row: Row) -> None:
        """Append one event (a row of the table event by column); returns when it is durable.

        Raises `ConcurrentAppend` when its version is taken or lies ahead of its stream, and `CommitUnknown`. Whoever stops
        waiting does not stop the append.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if len(self._writing) < GROUPS_AT_ONCE:
            task = asyncio.create_task(self._write_all())
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP_EVENTS_MAX], self._waiting[GROUP_EVENTS_MAX:]
            outcomes = await self._write([row for row, _ in group])
            for (_, written), failure in zip(group, outcomes, strict=True):
                if written.done():
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)

    async def _write(self, rows: Sequence[Row]) -> list[Exception | None]:
        """What became of each row: None when it is stored."""
        try:
            stored = await self._stored(rows)
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.DeadlockDetected) as error:
            if len(rows) == 1:
                return [error]
            # One that PostgreSQL cannot store is refused alone, and an event alone holds nothing that a rival waits for.
            return [outcome for row in rows for outcome in await self._write([row])]
        except Exception as error:  # noqa: BLE001  whoever waits must learn of it, whatever it is
            return [error] * len(rows)
        return [None if row["event_id"] in stored else ConcurrentAppend() for row in rows]

    async def _stored(self, rows: Sequence[Row]) -> set[UUID]:
        """Write rows in one statement; the ids of the events that are stored now."""
        async with self._pool.connection() as connection:
            try:
                if len(rows) == 1:
                    cursor = await connection.execute(_APPEND_ONE, rows[0])
                else:
                    cursor = await connection.execute(APPEND_GROUP, (_document(rows),))
                return {row[0] for row in await cursor.fetchall()}
            except psycopg.Error as error:
                if connection.broken:
                    raise CommitUnknown from error
                raise


def _document(rows: Sequence[Row]) -> str:
    return _encoder.encode(
        [
            (
                row["stream_id"],
                row["version"],
                row["owner_id"],
                row["type"],
                row["type_version"],
                msgspec.Raw(row["data"].encode()),
                msgspec.Raw(row["metadata"].encode()),
                row["event_id"],
            )
            for row in rows
        ]
    ).decode()
