"""Reading the log for people and programs: in its global order, or backwards from its end.

Events come as they are stored. Nothing is decoded, so that what this program does not know passes through unchanged.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import TupleRow

from adapters.postgres_archive import ARCHIVED, PostgresArchive
from adapters.postgres_pool import Pool
from domain.log_entry import LogEntry

WINDOW_POSITIONS = 1_000
"""Positions read at a time. They are dense, so a window is as much work with a filter as without."""

_HEAD = "select position from log_head"

_WINDOW = """
select l.position, e.stream_id, e.version, e.owner_id, e.type, e.type_version, coalesce(e.data::text, ''),
       coalesce(e.metadata::text, ''), e.event_id, e.recorded_at
from event_log l join event e using (stream_id, version)
where l.position > %(after)s and l.position <= %(until)s
  and (cardinality(%(types)s::text[]) = 0 or e.type = any (%(types)s::text[]))
order by l.position
"""


class ExportedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored. `position` is its place in the whole log, as text because it may pass what JSON numbers
    hold exactly (RFC 8259, section 6); None while the sequencer has not given it one."""

    position: str | None
    stream_id: UUID
    version: int
    owner_id: UUID
    type: str
    type_version: int
    data: msgspec.Raw
    metadata: msgspec.Raw
    event_id: UUID
    recorded_at: datetime


class PostgresLogExport:
    """The log, read without taking part in it: no checkpoint, no lease, nothing written."""

    def __init__(self, pool: Pool, archive: PostgresArchive) -> None:
        self._pool = pool
        self._archive = archive

    async def head(self) -> int:
        """The position of the last event, 0 for an empty log."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_HEAD)).fetchone()
        return int(row[0]) if row else 0

    async def read(self, *, after: int, until: int, types: Sequence[str] = ()) -> AsyncIterator[ExportedEvent]:
        """Events with `after < position <= until` in their order; of these types only, unless there are none."""
        while after < until:
            end = min(after + WINDOW_POSITIONS, until)
            for event in await self._window(after, end, types):
                yield event
            after = end

    async def newest(self, limit: int, *, until: int, types: Sequence[str] = ()) -> list[ExportedEvent]:
        """The last `limit` events up to `until`, oldest first."""
        found: list[ExportedEvent] = []
        while until > 0 and len(found) < limit:
            after = max(0, until - WINDOW_POSITIONS)
            found = await self._window(after, until, types) + found
            until = after
        return found[-limit:] if limit else []

    async def _window(self, after: int, until: int, types: Sequence[str]) -> list[ExportedEvent]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_WINDOW, {"after": after, "until": until, "types": list(types)})
            rows = await cursor.fetchall()
        archived = await self._archive.entries([row[0] for row in rows if row[6] == ARCHIVED])
        return [_exported(row, archived.get(row[0])) for row in rows]


def _exported(row: TupleRow, archived: LogEntry | None) -> ExportedEvent:
    position, stream_id, version, owner_id, tag, tag_version, data, metadata, event_id, recorded_at = row
    if archived is not None:
        data, metadata = archived.data, archived.metadata
    return ExportedEvent(
        position=str(position),
        stream_id=stream_id,
        version=version,
        owner_id=owner_id,
        type=tag,
        type_version=tag_version,
        data=msgspec.Raw(data.encode()),
        metadata=msgspec.Raw(metadata.encode()),
        event_id=event_id,
        recorded_at=recorded_at,
    )
