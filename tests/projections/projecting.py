"""A store filled for the tests of rebuilding, and a live projector that works until nothing is left."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from uuid_utils.compat import uuid7

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import OpenEntries, PostgresReadTables, as_they_are
from adapters.postgres_rebuild import Rebuild
from benchmarks.filling import copy_events
from domain.log_entry import PARTITIONS, LogEntry
from projections.core import CORE
from tests.projections.test_rebuild import sequence_all
from workers.log_reader import LogReader
from workers.partitions import PartitionLeases
from workers.projector import Projector


class NoTail:
    """A Redis that never has anything."""

    async def read(self, after: object, *, limit: int, block_ms: int) -> list[LogEntry]:
        """Nothing, after a moment."""
        await asyncio.sleep(0.001)
        return []


async def store(pool: Pool, database: str, entries: Iterable[LogEntry]) -> None:
    """Store events past the command side, also such as no command would make, and give them their positions."""
    await asyncio.to_thread(copy_events, database, list(entries))
    await sequence_all(pool)


def projector(pool: Pool, *, open_entries: OpenEntries = as_they_are) -> Projector:
    """A live projector."""
    clock = asyncio.get_running_loop().time
    leases = PartitionLeases(PostgresLeases(pool), consumer=CORE.name, holder=str(uuid7()), monotonic=clock)
    reader = LogReader(NoTail(), PostgresLog(pool), monotonic=clock)
    return Projector(reader, PostgresReadTables(pool, CORE, open_entries=open_entries), leases)


async def project(pool: Pool, live: Projector) -> None:
    """Work until everything is projected or parked."""
    heads = dict(enumerate(await PostgresLog(pool).places()))
    while await PostgresReadTables(pool, CORE).places(range(PARTITIONS)) != heads:
        await live.step()


async def rebuilt(rebuild: Rebuild) -> list[str]:
    """Rebuild; the phases it went through."""
    return [step.phase async for step in rebuild.run()]


async def rows(pool: Pool, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    async with pool.connection() as connection:
        cursor = await connection.execute(query.encode(), values or None)
        return await cursor.fetchall() if cursor.description else []


def spoilt(entry: LogEntry, **changes: object) -> LogEntry:
    """The entry with other data than its event can have."""
    return msgspec.structs.replace(entry, data=msgspec.json.encode(msgspec.json.decode(entry.data) | changes).decode())


def first_of(entries: Sequence[LogEntry], type_: str) -> int:
    """The index of the first entry of a type."""
    return next(n for n, entry in enumerate(entries) if entry.type == type_)
