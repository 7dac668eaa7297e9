"""The checkpoints of a reactor, and what it parked: entries that it cannot handle, kept aside in the move past them."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import psycopg

from adapters.postgres_checkpoints import BEHIND, PostgresCheckpoints, held_back, move_checkpoints, park
from adapters.postgres_pool import Pool
from domain.log_entry import LogEntry


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
            return await held_back(connection, self._consumer, stream_ids)

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
            await park(connection, self._consumer, parked)
            streams = {entry.stream_id for entry in behind}
            if streams and await held_back(connection, self._consumer, streams) != streams:
                raise psycopg.Rollback(transaction)
            await park(connection, self._consumer, [(entry, BEHIND) for entry in behind])
            return True
        return False

    def is_outage(self, error: Exception) -> bool:
        """Whether something did not answer that will answer later: such an error says nothing about the entry."""
        return isinstance(error, OSError | psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(
            error, psycopg.errors.ProgramLimitExceeded
        )
