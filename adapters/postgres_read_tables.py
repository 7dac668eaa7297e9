"""Applying projections: the SQL of a projection run over batches of log entries, with its checkpoint, in one transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import LiteralString

import msgspec
import psycopg

from adapters.postgres_checkpoints import (
    BEHIND,
    PostgresCheckpoints,
    forget_parked_of_erased,
    held_back,
    move_checkpoints,
    park,
)
from adapters.postgres_kept_tables import ERASURE, erase_in_kept_tables
from adapters.postgres_pool import AFTER_PIPELINE, Connection, Pool
from domain.crash_points import CrashPoint, reached
from domain.event_codec import UnknownEvent, upcast_entry
from domain.log_entry import LogEntry
from projections.projection import CannotApply, On, Projection, group_by_rank, split_into_runs

# One JSON document: psycopg writes arrays in Python, which cost more than all the rest of a batch together.
_BATCH = """
with batch as materialized (
    select (e->>0)::bigint as place, (e->>1)::uuid as stream_id, (e->>2)::integer as version,
           (e->>3)::uuid as owner_id, e->>4 as type, e->5 as data, (e->>6)::uuid as event_id,
           (e->>7)::timestamptz as recorded_at
    from jsonb_array_elements(%s::text::jsonb) as e
)
"""

# For this transaction rows are looked up by their keys. Plans are kept, and one that was made while the tables were small reads
# all of them for each batch, until somebody analyses them: measured at two to six times as much for all statements.
_BY_KEYS = """
select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true)
"""

_encoder = msgspec.json.Encoder()

_BUILT_BY = """
insert into projection_tables (projection, schema, version, fingerprint) values (%s, %s, %s, %s) on conflict do nothing
"""

LIVE = "read_model"
"""The schema whose tables are read."""
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
"""What says that the tables refuse an entry, and that trying again would not help."""

OpenEntries = Callable[[Sequence[LogEntry]], Awaitable[Sequence[LogEntry]]]


async def as_they_are(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
    """For stores that seal nothing."""
    return entries


class PostgresReadTables:
    """Fulfils `workers.projector.ReadTables` for one projection."""

    def __init__(self, pool: Pool, projection: Projection, *, open_entries: OpenEntries = as_they_are) -> None:
        """`open_entries` gives what people said in entries whose personal fields are sealed."""
        self._pool = pool
        self._projection = projection
        self._open_entries = open_entries
        self._handlers = projection.by_type()
        self._checkpoints = PostgresCheckpoints(pool, projection.name)

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """How far the tables have come in each partition. At the first use of an installation it is also written down by
        which SQL they are made."""
        async with self._pool.connection() as connection:
            await record_first_use(connection, self._projection)
        return await self._checkpoints.places(partitions)

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """Apply a batch and move its checkpoints. The checkpoint row is locked before any table is touched, so that a
        rebuild which holds it can exchange the tables.

        Raises `CannotApply` when the tables refuse an entry; then nothing was written."""
        new = {entry.partition: entry.place for entry in entries}
        entries = await self._open_entries(entries)
        try:
            async with self._pool.connection() as connection, connection.transaction() as transaction:
                if await move_checkpoints(connection, self._projection.name, new, places=places, epochs=epochs):
                    # Only now: whoever held the checkpoints may have parked something before he let go.
                    applied = await self._without_parked(connection, entries)
                    async with connection.pipeline():  # one round trip for all statements
                        await connection.execute(_BY_KEYS)
                        await self.write(connection, applied)
                    await connection.execute(AFTER_PIPELINE)
                    await self.erase_beside(connection, applied)
                    reached(CrashPoint.PROJECTOR_BEFORE_COMMIT)
                    return new
                raise psycopg.Rollback(transaction)
        except (*REFUSALS, UnknownEvent) as refusal:
            raise CannotApply(reason_of(refusal)) from None
        return None

    async def park(
        self, entry: LogEntry, error: str, *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """Keep an entry aside instead of applying it, and move on past it. The new place, or None as for `apply`."""
        new = {entry.partition: entry.place}
        async with self._pool.connection() as connection, connection.transaction() as transaction:
            if await move_checkpoints(connection, self._projection.name, new, places=places, epochs=epochs):
                await park(connection, self._projection.name, [(entry, error)])
                return new
            raise psycopg.Rollback(transaction)
        return None

    async def _without_parked(self, connection: Connection, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Entries of streams that have one parked are parked behind it, so that a stream keeps its order. An erasure waits
        for nothing, and nothing after it waits for what was parked before."""
        held = await held_back(connection, self._projection.name, {entry.stream_id for entry in entries})
        if not held:
            return entries
        erased = {entry.owner_id: entry.place for entry in entries if entry.type == ERASURE}
        behind = [e for e in entries if e.stream_id in held and e.place < erased.get(e.owner_id, e.place + 1)]
        await park(connection, self._projection.name, [(entry, BEHIND) for entry in behind])
        waiting = {entry.position for entry in behind}
        return [entry for entry in entries if entry.position not in waiting]

    async def erase_beside(self, connection: Connection, entries: Sequence[LogEntry]) -> None:
        """Do the erasures of a batch, on a connection whose transaction holds the checkpoints, in everything that is kept
        for this projection beside its tables: other tables, and what is parked."""
        await erase_in_kept_tables(connection, entries, self.write)
        erasures = [(entry.partition, entry.place, entry.owner_id) for entry in entries if entry.type == ERASURE]
        await forget_parked_of_erased(connection, self._projection.name, erasures)

    async def write(self, connection: Connection, entries: Sequence[LogEntry]) -> None:
        """Change the tables in the connection's search path by a batch, without a checkpoint."""
        for run in split_into_runs(entries, self._handlers.get):
            for handler, group in group_by_rank(run, self._handlers.get):
                await write_group(connection, handler, group)


def reason_of(refusal: Exception) -> str:
    """Why the tables refuse an entry, without PostgreSQL's details: those quote the row, and with it what people said."""
    said = refusal.diag.message_primary if isinstance(refusal, psycopg.Error) else str(refusal)
    return said or type(refusal).__name__


async def record_first_use(connection: Connection, projection: Projection) -> None:
    """Write down that the live tables are made by this program's SQL, unless it is known by which they are."""
    values = (projection.name, LIVE, projection.version, projection.fingerprint())
    await connection.execute(_BUILT_BY, values)


async def write_group(connection: Connection, handler: On, group: Sequence[LogEntry]) -> None:
    """Run the statements of a type over entries of it, all of one run, whatever versions they were stored in."""
    for statement, values in statements_for(handler, group):
        await connection.execute(statement, values)


def statements_for(handler: On, group: Sequence[LogEntry]) -> list[tuple[LiteralString, tuple[str]]]:
    """The statements that bring entries of the handler's type into the tables in the search path, with their values."""
    batch = _encoder.encode(
        [
            (
                entry.place,
                entry.stream_id,
                entry.version,
                entry.owner_id,
                entry.type,
                msgspec.Raw(entry.data.encode()),
                entry.event_id,
                entry.recorded_at,
            )
            for entry in map(upcast_entry, group)
        ]
    ).decode()
    return [(_BATCH + statement, (batch,)) for statement in handler.statements]
