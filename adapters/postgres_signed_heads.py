"""The signed heads of the log, beside the log they are compared with."""

from collections.abc import AsyncIterator

from psycopg.rows import TupleRow

from adapters.postgres_pool import Pool
from domain.signed_head import SignedHead

WINDOW_HEADS = 1_000

_LOG_POSITION = "select position from log_head"
_LOG_HASH = "select hash from event_log where position = %s"

_LAST = """
select position, hash, to_char(signed_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), key_id, signature
from signed_head where %(until)s::bigint is null or position <= %(until)s order by position desc limit 1
"""

_FOLLOWING = """
select position, hash, to_char(signed_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), key_id, signature
from signed_head where position > %s order by position limit %s
"""

_KEEP = """
insert into signed_head (position, hash, signed_at, key_id, signature) values (%s, %s, %s::timestamptz, %s, %s)
on conflict (position) do nothing returning true
"""


class PostgresSignedHeads:
    """Fulfils `workers.notary.SignedHeads`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def log_position(self) -> int:
        """The position of the log's last event, 0 for an empty log."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_LOG_POSITION)).fetchone()
        return int(row[0]) if row else 0

    async def log_hash(self, position: int) -> bytes | None:
        """The hash the log has at a position, None when it has no such position."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_LOG_HASH, (position,))).fetchone()
        return bytes(row[0]) if row else None

    async def last(self, *, until: int | None = None) -> SignedHead | None:
        """The head signed at the highest position, up to `until` if given."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_LAST, {"until": until})).fetchone()
        return _head(row) if row else None

    async def following(self, position: int) -> AsyncIterator[SignedHead]:
        """The heads signed at positions after this one, in order."""
        while True:
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_FOLLOWING, (position, WINDOW_HEADS))).fetchall()
            for row in rows:
                yield _head(row)
            if len(rows) < WINDOW_HEADS:
                return
            position = rows[-1][0]

    async def keep(self, head: SignedHead) -> SignedHead:
        """Keep a head, unless one of this position was kept before; the one that is kept."""
        values = (head.position, head.hash, head.signed_at, head.key_id, head.signature)
        async with self._pool.connection() as connection:
            kept = await (await connection.execute(_KEEP, values)).fetchone()
        return head if kept else await self.last(until=head.position) or head


def _head(row: TupleRow) -> SignedHead:
    position, digest, signed_at, key_id, signature = row
    return SignedHead(position, bytes(digest), signed_at, key_id, bytes(signature))
