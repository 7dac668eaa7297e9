"""Rebuilding a projection beside live traffic: shadow tables, replay, one transaction that exchanges them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from adapters.postgres_log import PostgresLog
from adapters.postgres_read_tables import PostgresReadTables
from domain.log_entry import PARTITIONS
from projections.projection import Projection

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

LIVE, SHADOW, PREVIOUS = "read_model", "read_model_next", "read_model_previous"
BATCH_ENTRIES = 2_000
PARTITIONS_AT_ONCE = 4
"""Partitions share no rows, so PostgreSQL writes several while the next batches are read and encoded here."""
CLOSE_ENOUGH_ENTRIES = 500
"""So few entries behind, the rest is replayed while the live projector waits."""

_RELAX = "set local synchronous_commit = off"

_TABLES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relkind = 'r' order by c.relname
"""

# Foreign keys as the catalogue prints them; with the live schema in the search path it leaves schema names out.
_FOREIGN_KEYS = """
select c.relname, k.conname, pg_get_constraintdef(k.oid)
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and k.contype = 'f' order by c.relname, k.conname
"""

_LOCK_CHECKPOINTS = "select partition, position from checkpoint where consumer = %s order by partition for update"

_MAKE_PROGRESS = """
insert into checkpoint (consumer, partition) select %s, generate_series(0, %s) on conflict do nothing
"""
_PROGRESS = "select partition, position from checkpoint where consumer = %s"
_ADVANCE = "update checkpoint set position = %s, updated_at = clock_timestamp() where consumer = %s and partition = %s"
# A rebuild may overtake a live projector that stood still: the tables and the places they have reached change together.
_HAND_OVER = """
update checkpoint live set position = next.position, updated_at = clock_timestamp()
from checkpoint next
where live.consumer = %s and next.consumer = %s and next.partition = live.partition
"""
_FORGET = "delete from checkpoint where consumer = %s"


class RebuildProgress(msgspec.Struct, frozen=True):
    """How far a rebuild is: events replayed of the events there are, and what it is doing."""

    done: int
    total: int
    phase: str


class Rebuild:
    """A rebuild of one projection. Killed and started again, it goes on where it was: its places move in the same
    transactions as the shadow's rows."""

    def __init__(self, pool: Pool, projection: Projection, log: PostgresLog) -> None:
        self._pool = pool
        self._projection = projection
        self._log = log
        self._tables = PostgresReadTables(pool, projection)
        self._consumer = f"{projection.name}.rebuild.v{projection.version}"

    async def run(self, *, switch: bool = True) -> AsyncGenerator[RebuildProgress, None]:
        """Rebuild, telling progress after each batch; at the end the new tables are the live ones and the old ones stay
        as `read_model_previous`. `switch=False` leaves the shadow beside the live tables, for a comparison."""
        await self._prepare()
        while True:
            heads = await self._log.places()
            places = await self._places()
            behind = {p: heads[p] - places.get(p, 0) for p in range(PARTITIONS) if heads[p] > places.get(p, 0)}
            if sum(behind.values()) <= CLOSE_ENOUGH_ENTRIES:
                break
            furthest = sorted(behind, key=lambda p: -behind[p])[:PARTITIONS_AT_ONCE]
            reached = await asyncio.gather(*(self._replay(p, places.get(p, 0), heads[p]) for p in furthest))
            places |= zip(furthest, reached, strict=True)
            yield RebuildProgress(sum(places.values()), sum(heads), "replaying")
        await self._finish(switch=switch)
        yield RebuildProgress(sum(heads), sum(heads), "switched" if switch else "ready to compare")

    async def _replay(self, partition: int, after: int, until: int) -> int:
        """Replay a batch of a partition; the place it reaches."""
        entries = await self._log.read(partition, after_place=after, limit=min(BATCH_ENTRIES, until - after))
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_RELAX)
            await _use(connection, SHADOW)
            await self._tables.write(connection, entries)
            await connection.execute(_ADVANCE, (entries[-1].place, self._consumer, partition))
        return entries[-1].place

    async def _prepare(self) -> None:
        """Make the shadow, unless an interrupted rebuild of the same version left one."""
        async with self._pool.connection() as connection, connection.transaction():
            if await self._shadow_fits(connection):
                return
            await connection.execute(_FORGET, (self._consumer,))
            await connection.execute(_MAKE_PROGRESS, (self._consumer, PARTITIONS - 1))
            await _drop(connection, SHADOW)
            await connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SHADOW)))
            for (table,) in await _rows(connection, _TABLES, (LIVE,)):
                statement = sql.SQL("create table {} (like {} including all)")
                await connection.execute(statement.format(sql.Identifier(SHADOW, table), sql.Identifier(LIVE, table)))
            foreign_keys = await _rows(connection, _FOREIGN_KEYS, (LIVE,))
            await _use(connection, SHADOW)
            for table, name, definition in foreign_keys:
                # The definition comes from the catalogue of this database, not from anybody's input.
                statement = sql.SQL("alter table {} add constraint {} {}")
                await connection.execute(
                    statement.format(sql.Identifier(table), sql.Identifier(name), sql.SQL(definition))
                )

    async def _shadow_fits(self, connection: Connection) -> bool:
        progress = await _rows(connection, _PROGRESS, (self._consumer,))
        live = await _rows(connection, _TABLES, (LIVE,))
        return len(progress) == PARTITIONS and live == await _rows(connection, _TABLES, (SHADOW,))

    async def _places(self) -> dict[int, int]:
        async with self._pool.connection() as connection:
            return dict(await _rows(connection, _PROGRESS, (self._consumer,)))

    async def _finish(self, *, switch: bool) -> None:
        """Hold the live projector at its checkpoints, replay up to exactly there, and exchange the tables."""
        places = await self._places()
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_MAKE_PROGRESS, (self._projection.name, PARTITIONS - 1))
            live = dict(await _rows(connection, _LOCK_CHECKPOINTS, (self._projection.name,)))
            await _use(connection, SHADOW)
            for partition, position in live.items():
                while places.get(partition, 0) < position:
                    place = places.get(partition, 0)
                    limit = min(BATCH_ENTRIES, position - place)
                    entries = await self._log.read(partition, after_place=place, limit=limit)
                    await self._tables.write(connection, entries)
                    places[partition] = entries[-1].place
                    await connection.execute(_ADVANCE, (entries[-1].place, self._consumer, partition))
            if switch:
                await _drop(connection, PREVIOUS)
                await _rename(connection, LIVE, PREVIOUS)
                await _rename(connection, SHADOW, LIVE)
                await connection.execute(_HAND_OVER, (self._projection.name, self._consumer))
                await connection.execute(_FORGET, (self._consumer,))


async def _use(connection: Connection, schema: str) -> None:
    """Let unqualified names mean the tables of `schema`, until the transaction ends."""
    await connection.execute(sql.SQL("set local search_path = {}, public").format(sql.Identifier(schema)))


async def _drop(connection: Connection, schema: str) -> None:
    await connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


async def _rename(connection: Connection, old: str, new: str) -> None:
    statement = sql.SQL("alter schema {} rename to {}")
    await connection.execute(statement.format(sql.Identifier(old), sql.Identifier(new)))


async def _rows(connection: Connection, query: Any, values: Sequence[Any]) -> list[Any]:  # noqa: ANN401  a constant
    return await (await connection.execute(query, values)).fetchall()
