"""Leases in PostgreSQL: who may do alone what only one may do."""

from collections.abc import Sequence
from datetime import timedelta

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]

_HOLD = """
insert into lease (name, holder, epoch, expires_at)
select name, %(holder)s, 1, now() + %(lifetime)s from unnest(%(names)s::text[]) as name order by name
on conflict (name) do update
set holder = excluded.holder, expires_at = excluded.expires_at,
    epoch = lease.epoch + case when lease.holder = excluded.holder then 0 else 1 end
where lease.holder = excluded.holder or lease.expires_at < now()
returning name, epoch
"""

_LET_GO = "update lease set expires_at = '-infinity' where name = any (%s) and holder = %s"


class PostgresLeases:
    """Fulfils `workers.lifecycle.Leases`. Time is the database's, so hosts need not agree on the hour."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def hold(self, names: Sequence[str], holder: str, *, lifetime: timedelta) -> dict[str, int]:
        """Take or renew; the epoch of each lease that is ours, the others are somebody else's."""
        async with self._pool.connection() as connection:
            rows = await (
                await connection.execute(_HOLD, {"names": list(names), "holder": holder, "lifetime": lifetime})
            ).fetchall()
        return {name: int(epoch) for name, epoch in rows}

    async def let_go(self, names: Sequence[str], holder: str) -> None:
        """Give back; the next holder gets a higher epoch."""
        async with self._pool.connection() as connection:
            await connection.execute(_LET_GO, (list(names), holder))
