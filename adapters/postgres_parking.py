"""The checkpoints of a reactor, and what it parked: entries that it cannot handle, kept aside in the move past them."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import psycopg

from adapters.postgres_pool import Connection, Pool
from adapters.postgres_read_tables import PostgresCheckpoints, move_checkpoints
from domain.log_entry import LogEntry

_PARK = """
insert into parked (consumer, partition, place, stream_id, error)
select %s, * from unnest(%s::smallint[], %s::bigint[], %s::uuid[], %s::text[])
on conflict do nothing
"""
_HELD_BACK = "select distinct stream_id from parked where consumer = %s and stream_id = any (%s)"


class PostgresParking:
    """Fulfils `workers.notifier.Checkpoints`."""

    def __init__(self, pool: Pool, consumer: str) -> None:
        self._pool = pool
        self._consumer = consumer
        self._checkpoints = PostgresCheckpoints(pool, consumer)

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """The place in each partition, 0 where nothing was consumed yet."""
        return await self._checkpoints.places(partitions)

    async def held_back(self, stream_ids: Collection[UUID]) -> set[UUID]:
        """Those of the streams that have an entry parked."""
        async with self._pool.connection() as connection:
            return await self._held_back(connection, stream_ids)

    async def move(
        self,
        new: Mapping[int, int],
        *,
        parked: Sequence[tuple[LogEntry, str]],
        behind: Sequence[LogEntry],
        places: Mapping[int, int],
        epochs: Mapping[int, int],
    ) -> bool:
        """Move the checkpoints, park entries, each with the reason, and others behind what is parked of their streams, in
        one transaction. False when a checkpoint was not ours to move, or nothing of a stream is parked any more; then
        nothing was written."""
        async with self._pool.connection() as connection, connection.transaction() as transaction:
            # This locks the checkpoints, as does whoever takes out what is parked.
            if not await move_checkpoints(connection, self._consumer, new, places=places, epochs=epochs):
                raise psycopg.Rollback(transaction)
            await self._park(connection, parked)
            streams = {entry.stream_id for entry in behind}
            if streams and await self._held_back(connection, streams) != streams:
                raise psycopg.Rollback(transaction)
            await self._park(connection, [(entry, "behind") for entry in behind])
            return True
        return False

    async def _held_back(self, connection: Connection, stream_ids: Collection[UUID]) -> set[UUID]:
        rows = await (await connection.execute(_HELD_BACK, (self._consumer, list(stream_ids)))).fetchall()
        return {row[0] for row in rows}

    async def _park(self, connection: Connection, parked: Sequence[tuple[LogEntry, str]]) -> None:
        if not parked:
            return
        entries = [entry for entry, _ in parked]
        columns = (
            [entry.partition for entry in entries],
            [entry.place for entry in entries],
            [entry.stream_id for entry in entries],
            [reason.replace("\0", "") for _, reason in parked],
        )
        await connection.execute(_PARK, (self._consumer, *columns))

    def is_outage(self, error: Exception) -> bool:
        """Whether something did not answer that will answer later: such an error says nothing about the entry."""
        return isinstance(error, OSError | psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(
            error, psycopg.errors.ProgramLimitExceeded
        )
