"""Bugs that others shipped, and that were nearly shipped here, built again beside the real code: the checker finds each."""

from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters import postgres_log
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_parking import PostgresParking
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_read_tables import PostgresReadTables
from bootstrap.now_and_new import utc_now
from domain import action, user
from domain.action import ActionRevised, EmailAction
from domain.event import Event, Metadata, NewEvents
from domain.log_entry import PARTITIONS, LogEntry
from faults.invariants import Invariant, check
from faults.ledger import Ledger
from faults.stored import read_stored
from projections.core import CORE

OWNER, ACTION = UUID("01900000-0000-7000-8000-000000000001"), UUID("01900000-0000-7000-8000-0000000000a1")
EVERYWHERE = dict.fromkeys(range(PARTITIONS), 1)


@pytest.fixture
async def store(database: str) -> AsyncIterator[tuple[PostgresEventStore, Pool, Ledger]]:
    async with open_pool(database, size_max=4) as pool:
        yield PostgresEventStore(pool, new_id=uuid7), pool, Ledger()


def registered() -> list[Event]:
    return list(user.register(email="ada@example.org", name="Ada", timezone="UTC", token_id=uuid7(), now=utc_now())[:1])


def created() -> list[Event]:
    return list(action.create(name="first", config=EmailAction(), own_address="ada@example.org", now=utc_now()))


def revised(name: str) -> list[Event]:
    return [ActionRevised(name=name, config=EmailAction(), revised_at=utc_now())]


async def append(
    store: PostgresEventStore, stream: UUID, after: int, events: Sequence[Event], command: str = ""
) -> None:
    new = NewEvents(stream_id=stream, owner_id=OWNER, expected_version=after, events=tuple(events))
    context = Metadata(correlation_id=uuid7(), actor="test", command_id=command or None)
    await store.append([new], metadata=context)


async def screams(pool: Pool, ledger: Ledger) -> set[Invariant]:
    async with pool.connection() as connection:
        stored = await read_stored(connection, before=None)
    return {finding.invariant for finding in check(ledger, stored, {})}


async def project(tables: PostgresReadTables, log: PostgresLog, *, batch: int = 1000) -> None:
    """What a projector does, without anybody else."""
    for partition in range(PARTITIONS):
        while True:
            places = await tables.places(range(PARTITIONS))
            entries = await log.read(partition, after_place=places[partition], limit=batch)
            if not entries:
                break
            await tables.apply(entries, places=places, epochs=EVERYWHERE)


async def caught_up(pool: Pool) -> None:
    """The notifier has nothing to do with any of this."""
    checkpoints = PostgresParking(pool, "notifier")
    places = await checkpoints.places(range(PARTITIONS))
    heads = dict(enumerate(await PostgresLog(pool).places()))
    assert await checkpoints.move(heads, parked=[], behind=[], places=places, epochs=EVERYWHERE)


async def work(store: PostgresEventStore, pool: Pool, database: str) -> None:
    """Commits in another order than the identity column was given out: a slow transaction before a fast one."""
    await append(store, OWNER, 0, registered())
    async with await psycopg.AsyncConnection.connect(database) as slow:
        await slow.execute(
            "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
            " select gen_random_uuid(), 1, owner_id, 'nobody.knows', 1, '{}', metadata, gen_random_uuid() from event"
        )
        await append(store, ACTION, 0, created())
        while await PostgresLog(pool).sequence_batch():
            pass
    while await PostgresLog(pool).sequence_batch():
        pass


async def test_sound_code_makes_nobody_scream(store: tuple[PostgresEventStore, Pool, Ledger], database: str) -> None:
    events, pool, ledger = store
    await work(events, pool, database)
    await append(events, ACTION, 1, revised("second"), command="once")
    while await PostgresLog(pool).sequence_batch():
        pass
    await project(PostgresReadTables(pool, CORE), PostgresLog(pool))
    await caught_up(pool)
    assert await screams(pool, ledger) == set()


async def test_a_relay_that_orders_by_the_identity_column_loses_events(
    store: tuple[PostgresEventStore, Pool, Ledger], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The high-water mark of many event stores: `seq > last seen`, in the order of seq."""
    naive = (
        postgres_log.UNSEQUENCED.replace("(event.tx, event.seq) > (h.tx, h.seq)", "event.seq > h.seq")
        .replace("and event.tx < pg_snapshot_xmin(pg_current_snapshot())", "")
        .replace("order by event.tx, event.seq", "order by event.seq")
    )
    assert naive.count("event.tx") == postgres_log.UNSEQUENCED.count("event.tx") - 3
    monkeypatch.setattr(postgres_log, "UNSEQUENCED", naive)
    events, pool, ledger = store
    await work(events, pool, database)
    await project(PostgresReadTables(pool, CORE), PostgresLog(pool))
    await caught_up(pool)
    assert await screams(pool, ledger) == {Invariant.LOG_IS_WHOLE, Invariant.CONVERGES}


class CheckpointFirst(PostgresReadTables):
    """Moves the checkpoint, and then changes the tables in a transaction of their own; dies in between the second time."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, CORE)
        self._pool, self._batches = pool, 0

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        new = {entry.partition: entry.place for entry in entries}
        checkpoints = PostgresParking(self._pool, CORE.name)
        assert await checkpoints.move(new, parked=[], behind=[], places=places, epochs=epochs)
        self._batches += 1
        if self._batches != 3:
            async with self._pool.connection() as connection:
                await self.write(connection, entries)
        return new


async def test_a_projector_that_moves_its_checkpoint_first_loses_changes(
    store: tuple[PostgresEventStore, Pool, Ledger],
) -> None:
    events, pool, ledger = store
    await append(events, OWNER, 0, registered())
    await append(events, ACTION, 0, created())
    await append(events, ACTION, 1, revised("second"))
    while await PostgresLog(pool).sequence_batch():
        pass
    await project(CheckpointFirst(pool), PostgresLog(pool), batch=1)
    await caught_up(pool)
    assert await screams(pool, ledger) == {Invariant.APPLIED_ONCE}


async def test_a_command_whose_key_is_not_kept_with_its_events_is_carried_out_twice(
    store: tuple[PostgresEventStore, Pool, Ledger],
) -> None:
    """Keys remembered in a cache beside the store: what was asked again after a lost answer is done again."""
    events, pool, ledger = store
    await append(events, OWNER, 0, registered())
    for _ in range(2):
        await append(events, uuid7(), 0, created(), command="the same key")
    while await PostgresLog(pool).sequence_batch():
        pass
    await project(PostgresReadTables(pool, CORE), PostgresLog(pool))
    await caught_up(pool)
    assert await screams(pool, ledger) == {Invariant.ACKNOWLEDGED_IS_STORED}
