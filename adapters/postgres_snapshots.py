"""Snapshots of long streams in PostgreSQL, sealed with the key of the person they belong to."""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog
from psycopg.rows import TupleRow

from adapters.gathered import Gathered
from adapters.postgres_pool import Pool
from commands.event_store import Snapshot

log = structlog.get_logger()

# The snapshots and what comes after them, in one statement and so of one moment: a stream's first row is the snapshot's if it
# has a state. A stream that has another event at the snapshot's version is not the one it was made of. `offset 0` holds the
# planner to one look into the index for each stream: joined as sets, the whole table would be read while it seems small.
_LOAD = """
with asked as materialized (
    select * from unnest(%s::uuid[], %s::text[]) with ordinality as asked (stream_id, shape, n)
), kept as materialized (
    select asked.n, found.*
    from asked cross join lateral (
        select s.version, s.owner_id, s.event_id, s.state
        from snapshot s join event e on e.stream_id = s.stream_id and e.version = s.version and e.event_id = s.event_id
        where s.stream_id = asked.stream_id and s.shape = asked.shape
        offset 0
    ) found
)
select n, state, version, owner_id, null as type, null::smallint as type_version, null as data, null as metadata, event_id,
       null::timestamptz as recorded_at
from kept
union all
select asked.n, null, after.*
from asked left join kept using (n) cross join lateral (
    select version, owner_id, type, type_version, data::text, metadata::text, event_id, recorded_at
    from event where stream_id = asked.stream_id and version > coalesce(kept.version, 0)
    offset 0
) after
order by n, version
"""

# In place of one that is not younger, and of one that the stream has no event for any more.
_KEEP = """
insert into snapshot (stream_id, owner_id, version, event_id, shape, state)
values (%(stream_id)s, %(owner_id)s, %(version)s, %(event_id)s, %(shape)s, %(state)s)
on conflict (stream_id) do update
set owner_id = excluded.owner_id, version = excluded.version, event_id = excluded.event_id, shape = excluded.shape,
    state = excluded.state, taken_at = now()
where excluded.version >= snapshot.version or not exists (
    select from event e
    where e.stream_id = snapshot.stream_id and e.version = snapshot.version and e.event_id = snapshot.event_id
)
"""


class SnapshotCipher(Protocol):
    """Seals what belongs to a person with a key of theirs; `associated` must be the same when it is unsealed."""

    async def seal(self, owner_id: UUID, plaintext: bytes, *, associated: bytes) -> bytes | None:
        """The sealed form; None for a person whose key was destroyed."""
        ...

    async def unseal(self, owner_id: UUID, sealed: bytes, *, associated: bytes) -> bytes | None:
        """What was sealed; None when the key was destroyed, or this is not what was sealed with it."""
        ...


class PostgresSnapshots:
    """The table of snapshots. Emptying it at any moment changes nothing but the time that loading takes.

    Not for a store that hides what people said: it would keep states as it sees them.
    """

    def __init__(self, pool: Pool, cipher: SnapshotCipher) -> None:
        self._pool = pool
        self._cipher = cipher
        self._rows = Gathered(self._rows_of)

    async def load(self, stream_id: UUID, *, shape: str) -> tuple[Snapshot | None, Sequence[tuple[Any, ...]]] | None:
        """The snapshot of this shape, if there is one of this very stream, and the rows of the events after it: version,
        owner_id, type, type_version, data, metadata, event_id, recorded_at. None: there is one that cannot be unsealed.
        """
        rows = await self._rows.ask((stream_id, shape))
        if not rows or rows[0][0] is None:
            return None, [row[1:] for row in rows]
        sealed, version, owner_id, *_, event_id, _ = rows[0]
        associated = _associated(stream_id, version, event_id, shape)
        state = await self._cipher.unseal(owner_id, bytes(sealed), associated=associated)
        if state is None:
            log.warning("snapshot cannot be unsealed", stream_id=str(stream_id))
            return None
        snapshot = Snapshot(
            stream_id=stream_id, owner_id=owner_id, version=version, event_id=event_id, shape=shape, state=state
        )
        return snapshot, [row[1:] for row in rows[1:]]

    async def _rows_of(self, asked: Sequence[tuple[UUID, str]]) -> list[list[TupleRow]]:
        async with self._pool.connection() as connection:
            found = await (await connection.execute(_LOAD, tuple(map(list, zip(*asked, strict=True))))).fetchall()
        rows: list[list[TupleRow]] = [[] for _ in asked]
        for n, *row in found:
            rows[n - 1].append(tuple(row))
        return rows

    async def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, unless there is a younger one that can be trusted."""
        stream_id, version, event_id = snapshot.stream_id, snapshot.version, snapshot.event_id
        associated = _associated(stream_id, version, event_id, snapshot.shape)
        sealed = await self._cipher.seal(snapshot.owner_id, snapshot.state, associated=associated)
        if sealed is None:
            return
        row = {
            "stream_id": stream_id,
            "owner_id": snapshot.owner_id,
            "version": version,
            "event_id": event_id,
            "shape": snapshot.shape,
            "state": sealed,
        }
        async with self._pool.connection() as connection:
            await connection.execute(_KEEP, row)


def _associated(stream_id: UUID, version: int, event_id: UUID, shape: str) -> bytes:
    """What a sealed state is bound to, so that none passes for that of another stream, moment or program."""
    return f"snapshot {stream_id} {version} {event_id} {shape}".encode()
