"""How far each consumer of the log has come, and what it parked: entries it cannot handle, kept aside in the move past them.

Both change in one transaction, under the lock of the consumer's checkpoints.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from adapters.postgres_pool import Connection, Pool
from domain.log_entry import PARTITIONS, LogEntry

ALL = range(PARTITIONS)

# Never past the log's own end: an entry from there is a ghost of a tail that a restored store no longer has. A crash may
# lose the last commits, but always the checkpoint with the rows: they are simply projected again.
_MOVE_CHECKPOINTS = """
with relaxed as materialized (
    select set_config('synchronous_commit', 'off', true)
), moved as (
    update checkpoint c set position = m.new, epoch = m.epoch, updated_at = clock_timestamp()
    from relaxed, unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[]) as m (partition, old, new, epoch)
    where c.consumer = %s and c.partition = m.partition and c.position = m.old and c.epoch <= m.epoch
      and m.new <= (select partition_positions[m.partition + 1] from log_head)
    returning true
)
select count(*) from moved
"""

_BEGIN_PLACES = """
insert into checkpoint (consumer, partition) select %s, unnest(%s::smallint[]) on conflict do nothing
"""
# A statement of its own, for its own snapshot: rows that somebody else has just begun are not visible to the insert that
# found them taken.
_PLACES = "select partition, position from checkpoint where consumer = %s and partition = any (%s::smallint[])"
_FORGET_PLACES = "delete from checkpoint where consumer = %s"

_PARK = """
insert into parked (consumer, partition, place, stream_id, error)
select %s, * from unnest(%s::smallint[], %s::bigint[], %s::uuid[], %s::text[])
on conflict do nothing
"""
_HELD_BACK = "select distinct stream_id from parked where consumer = %s and stream_id = any (%s)"
_FORGET_PARKED = "delete from parked where consumer = %s"
# A person's events are all in one partition.
_FORGET_ERASED = """
delete from parked p
using unnest(%(partitions)s::smallint[], %(places)s::bigint[], %(owner_ids)s::uuid[]) as erased (partition, place, owner_id),
      event_log l, event e
where p.consumer = %(consumer)s and p.partition = erased.partition and p.place < erased.place
  and l.partition = p.partition and l.partition_position = p.place
  and e.stream_id = l.stream_id and e.version = l.version and e.owner_id = erased.owner_id
"""

BEHIND = "behind"
"""The reason of an entry that is parked only because an earlier one of its stream is, so that a stream keeps its order."""


class PostgresCheckpoints:
    """How far a consumer has come. Moving is a compare-and-set on the position, fenced by the epoch."""

    def __init__(self, pool: Pool, consumer: str) -> None:
        self._pool = pool
        self._consumer = consumer

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """The place in each partition, 0 where nothing was consumed yet."""
        async with self._pool.connection() as connection:
            await begin_places(connection, self._consumer, partitions)
            return await places_of(connection, self._consumer, partitions)


async def begin_places(connection: Connection, consumer: str, partitions: Sequence[int] = ALL) -> None:
    """Make the checkpoints of a consumer that are not there yet, with nothing consumed."""
    await connection.execute(_BEGIN_PLACES, (consumer, list(partitions)))


async def places_of(connection: Connection, consumer: str, partitions: Sequence[int] = ALL) -> dict[int, int]:
    """How far a consumer has come in those of the partitions in which it has a checkpoint."""
    rows = await (await connection.execute(_PLACES, (consumer, list(partitions)))).fetchall()
    return dict(rows)


async def forget_places(connection: Connection, consumer: str) -> None:
    """Remove all checkpoints of a consumer."""
    await connection.execute(_FORGET_PLACES, (consumer,))


async def move_checkpoints(
    connection: Connection,
    consumer: str,
    new: Mapping[int, int],
    *,
    places: Mapping[int, int],
    epochs: Mapping[int, int],
) -> bool:
    """Move the checkpoints of `new` from `places`, inside a transaction; False: at least one was not ours, roll back."""
    partitions = sorted(new)
    cursor = await connection.execute(
        _MOVE_CHECKPOINTS,
        (
            partitions,
            [places[p] for p in partitions],
            [new[p] for p in partitions],
            [epochs[p] for p in partitions],
            consumer,
        ),
    )
    return await cursor.fetchone() == (len(partitions),)


async def park(connection: Connection, consumer: str, parked: Sequence[tuple[LogEntry, str]]) -> None:
    """Keep entries aside, each with the reason, inside the transaction that moves the checkpoints past them. One that is
    parked already stays as it is."""
    if not parked:
        return
    entries = [entry for entry, _ in parked]
    columns = (
        [entry.partition for entry in entries],
        [entry.place for entry in entries],
        [entry.stream_id for entry in entries],
        [storable(reason) for _, reason in parked],
    )
    await connection.execute(_PARK, (consumer, *columns))


async def held_back(connection: Connection, consumer: str, stream_ids: Collection[UUID]) -> set[UUID]:
    """Those of the streams that have an entry parked.

    To be sure of it, ask after `move_checkpoints`, in a statement of its own: that has the lock and this its own snapshot,
    which sees what another process parked, or took out, before it let go of the lock."""
    rows = await (await connection.execute(_HELD_BACK, (consumer, list(stream_ids)))).fetchall()
    return {row[0] for row in rows}


async def forget_parked(connection: Connection, consumer: str) -> None:
    """Remove everything that is parked for a consumer."""
    await connection.execute(_FORGET_PARKED, (consumer,))


async def forget_parked_of_erased(
    connection: Connection, consumer: str, erasures: Sequence[tuple[int, int, UUID]]
) -> None:
    """Remove what is parked of people up to their erasures (partition, place and person of each), inside the transaction
    that applies those: nothing of it is left to tell."""
    if not erasures:
        return
    values = {
        "consumer": consumer,
        "partitions": [partition for partition, _, _ in erasures],
        "places": [place for _, place, _ in erasures],
        "owner_ids": [owner_id for _, _, owner_id in erasures],
    }
    await connection.execute(_FORGET_ERASED, values)


def storable(reason: str) -> str:
    """The reason without the character zero, which a text in PostgreSQL cannot have."""
    return reason.replace("\0", "")
