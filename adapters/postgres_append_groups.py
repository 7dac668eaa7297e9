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
Append = tuple[Row, asyncio.Future[None]]

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

# What one append may be, or wait for, and its whole group is refused for. Nothing of the group is stored then.
_OF_ONE = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)

# Far longer than a rival at work needs for its commit, and short enough that a group of nothing but appends which wait for
# rivals that hang is through in seconds.
_HURRY = "set local lock_timeout = '100ms'"

_encoder = msgspec.json.Encoder()


class CommitUnknown(Exception):
    """The connection was lost before the answer: the transaction may have been committed or not."""


class AppendGroups:
    """Appends single events, those that come while others are written together with each other."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[Append] = []
        self._writing = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def append(self, row: Row) -> None:
        """Append one event (a row of the table event by column); returns when it is durable.

        Raises `ConcurrentAppend` when its version is taken or lies ahead of its stream, and `CommitUnknown`. Whoever stops
        waiting does not stop the append.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if self._writing < GROUPS_AT_ONCE:
            self._writing += 1
            task = asyncio.create_task(self._write_all())
            self._tasks.add(task)  # the loop itself would not keep it
            task.add_done_callback(self._tasks.discard)
        await written

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP_EVENTS_MAX], self._waiting[GROUP_EVENTS_MAX:]
                try:
                    await self._write(group)
                except Exception as error:  # noqa: BLE001  whoever waits must learn of it, whatever it is
                    for _, written in group:
                        _tell(written, error)
        finally:
            # In the same turn that finds nobody waiting: told by a callback, it would be believed at work a turn longer, and
            # who appended in that turn would wait for nobody.
            self._writing -= 1

    async def _write(self, group: Sequence[Append]) -> None:
        """Write a group and tell each append, as soon as that is known, what became of it. Raises what is the matter with
        all who were not told."""
        try:
            await self._write_together(group)
        except _OF_ONE as error:
            if len(group) == 1:
                raise
            await self._write_each(group, have_waited=isinstance(error, psycopg.errors.LockNotAvailable))

    async def _write_together(self, group: Sequence[Append], *, in_a_hurry: bool = False) -> None:
        stored = await self._stored([row for row, _ in group], in_a_hurry=in_a_hurry)
        for row, written in group:
            _tell(written, None if row["event_id"] in stored else ConcurrentAppend())

    async def _write_each(self, group: Sequence[Append], *, have_waited: bool) -> None:
        """Write each alone: one that PostgreSQL cannot store is refused alone, and an event alone holds nothing that a
        rival waits for. Those that wait for a rival come last. When one of them has waited as long as it may, so have all."""
        held_up: list[Append] = []
        for append in group:
            try:
                await self._write_together([append], in_a_hurry=True)
            except psycopg.errors.LockNotAvailable:
                held_up.append(append)
            except _OF_ONE as error:
                _tell(append[1], error)
        for append in held_up:
            try:
                await self._write_together([append], in_a_hurry=have_waited)
            except _OF_ONE as error:
                have_waited = have_waited or isinstance(error, psycopg.errors.LockNotAvailable)
                _tell(append[1], error)

    async def _stored(self, rows: Sequence[Row], *, in_a_hurry: bool) -> set[UUID]:
        """Write rows in one statement; the ids of the events that are stored now."""
        async with self._pool.connection() as connection:
            try:
                if in_a_hurry:
                    async with connection.transaction():
                        await connection.execute(_HURRY)
                        cursor = await connection.execute(_APPEND_ONE, rows[0])
                elif len(rows) == 1:
                    cursor = await connection.execute(_APPEND_ONE, rows[0])
                else:
                    cursor = await connection.execute(APPEND_GROUP, (_document(rows),))
                return {row[0] for row in await cursor.fetchall()}
            except psycopg.Error as error:
                if connection.broken:
                    raise CommitUnknown from error
                raise


def _tell(written: asyncio.Future[None], failure: Exception | None) -> None:
    """Tell whoever waits, unless he was told or stopped waiting."""
    if written.done():
        return
    if failure is None:
        written.set_result(None)
    else:
        written.set_exception(failure)


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
