"""Moving closed evaluations from the store to archive files, and reading them from there."""

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from adapters.audited_acts import Record, unrecorded
from adapters.log_archive import SUFFIX, ArchiveFiles, ArchiveUnreadable, Segment, lines_of, new_archive_file, sha256_of
from adapters.log_chain import TrustedKeys, Verified
from adapters.log_export_format import written
from adapters.log_verifier import verify_lines
from adapters.postgres_log_proof import PostgresLogProof
from adapters.postgres_pool import Pool
from domain.log_entry import LogEntry

SEGMENT_POSITIONS = 10_000
"""About how many positions stand in one file: some megabytes unpacked, so that reading one event needs no more."""

ARCHIVED = ""
"""What `LogEntry.data` is where the store has let go of it: no JSON text is empty."""

_SEGMENTS = "select first_position, last_position, file, sha256 from archive_segment order by first_position"

# A part ends at a signed head, or nothing would vouch for its end. What was signed before the cut-off was recorded before.
_NEXT = """
with begin as (select coalesce(max(last_position), 0) + 1 as first from archive_segment),
heads as (
    select h.position, h.key_id, h.hash, begin.first from signed_head h, begin
    where h.position >= begin.first and h.signed_at < %(before)s
)
(select first, position, key_id, hash from heads where position < first + %(most)s order by position desc limit 1)
union all
(select first, position, key_id, hash from heads where position >= first + %(most)s order by position limit 1)
limit 1
"""

_KEEP = """
insert into archive_segment (first_position, last_position, file, sha256, events) values (%s, %s, %s, %s, %s)
"""

# Whole streams only, with the part in which they were closed: what they began in earlier parts stayed in the store so far.
_CLOSED = """
with closed as (
    select stream_id from event_log join event using (stream_id, version)
    where position between %(first)s and %(last)s and type in ('evaluation.completed', 'evaluation.failed')
)
"""
_BEGUN_EARLIER = (
    _CLOSED  # noqa: S608  a constant
    + "select position from closed join event_log using (stream_id) where position < %(first)s"
)
_LET_GO = (
    _CLOSED
    + """
update event e set data = null, metadata = null
from closed join event_log l using (stream_id)
where l.position <= %(last)s and e.stream_id = l.stream_id and e.version = l.version
  and e.type like 'evaluation.%%' and e.data is not null
"""
)


class ArchivedSegment(msgspec.Struct, frozen=True):
    """What was archived: the segment, how many events the store let go of, and what its proof says."""

    segment: Segment
    events: int
    verified: Verified


class PostgresArchive:
    """The archive of a store: `folder` holds the files, the table archive_segment says which."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool = pool
        self._files = ArchiveFiles(folder)
        self._reading = asyncio.Lock()
        self._segments: list[Segment] = []

    async def archive_next(
        self,
        keys: TrustedKeys,
        *,
        before: datetime,
        positions: int = SEGMENT_POSITIONS,
        record: Record[ArchivedSegment] = unrecorded,
    ) -> ArchivedSegment | None:
        """Move the closed evaluations of the next part of the log that was signed before `before` to a file; None when
        there is none. The file is complete, on disk and verified with `keys` before the store lets go of anything, so
        that a process killed at any moment loses nothing: the same part is simply written again.

        Needs the owner of the tables. Raises `LogBroken` when the part does not verify, `ArchiveUnreadable` when an earlier
        file does not hold what an evaluation that was closed in this part began with; then nothing was let go.
        """
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_NEXT, {"before": before, "most": positions})).fetchone()
        if row is None:
            return None
        first, last, key_id, digest = row
        # The hash tells one history from another: no file takes the place of what another store, or another past of this
        # one, has let go of.
        path = self._files.path(f"log-{first:012d}-{last:012d}-{digest.hex()[:16]}{SUFFIX}")
        proof = PostgresLogProof(self._pool, self)
        with new_archive_file(path) as file:
            async for line in proof.export(first=first, last=last, key_id=key_id):
                file.write(written(line))
        verified = verify_lines(lines_of(path), keys)
        segment = Segment(first, last, path.name, sha256_of(path))
        part = {"first": first, "last": last}
        async with self._pool.connection() as connection:
            begun_earlier = await (await connection.execute(_BEGUN_EARLIER, part)).fetchall()
        await self.entries([position for (position,) in begun_earlier])
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_LET_GO, part)
            values = (segment.first, segment.last, segment.file, segment.sha256, cursor.rowcount)
            await connection.execute(_KEEP, values)
            done = ArchivedSegment(segment, cursor.rowcount, verified)
            await record(done)
        return done

    async def segments(self) -> list[Segment]:
        """All parts of the log that are archived, in their order."""
        async with self._pool.connection() as connection:
            return [Segment(*row) for row in await (await connection.execute(_SEGMENTS)).fetchall()]

    async def filled(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """The same entries, those that the store has let go of (`data` is `ARCHIVED`) as the archive has them.

        Raises `ArchiveUnreadable`.
        """
        found = await self.entries([entry.position for entry in entries if entry.data == ARCHIVED])
        return [found[entry.position] if entry.data == ARCHIVED else entry for entry in entries] if found else entries

    async def entries(self, positions: Sequence[int]) -> dict[int, LogEntry]:
        """The archived entries at these positions, by position. Raises `ArchiveUnreadable`."""
        if not positions:
            return {}
        if not self._segments or max(positions) > self._segments[-1].last:
            self._segments = await self.segments()
        by_segment: dict[Segment, list[int]] = defaultdict(list)
        for position in positions:
            at = bisect_right(self._segments, position, key=lambda segment: segment.first) - 1
            if at < 0 or self._segments[at].last < position:
                raise ArchiveUnreadable(f"position {position} is in no archive file, and the store does not have it")
            by_segment[self._segments[at]].append(position)
        found: dict[int, LogEntry] = {}
        for segment, wanted in by_segment.items():
            async with self._reading:
                found |= await asyncio.to_thread(self._files.entries, segment, wanted)
        return found
