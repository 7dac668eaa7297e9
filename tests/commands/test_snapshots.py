"""Loading with snapshots comes to the same as without, whatever happened to the snapshots and to the stream."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_person_keys import PersonKeys
from adapters.postgres_pool import Pool
from adapters.postgres_snapshots import PostgresSnapshots
from adapters.wrapping_keys import WrappingKeys
from commands.event_store import ConcurrentAppend, Snapshot
from commands.monitors import MONITOR
from commands.streams import Aggregate, load, load_own
from commands.triggers import TRIGGER
from domain import monitor, trigger
from domain.errors import NotFound
from domain.event import Event, Metadata, NewEvents, StreamEvent
from domain.monitor import MonitorCreated, MonitorPaused, MonitorRenamed, Status
from domain.trigger import TriggerCreated
from tests.conftest import AT
from tests.domain.test_event import values_of
from tests.golden.examples import examples_of

METADATA = Metadata(correlation_id=uuid7(), actor="test")
Step = Sequence[Event] | Literal["load", "empty", "restore", "other program", "spoil", "append while loading"]


class CountingStore(PostgresEventStore):
    """Tells how many events each load has read."""

    def __init__(self, pool: Pool) -> None:
        keys = PersonKeys(pool, WrappingKeys([bytes(32)]))
        super().__init__(pool, new_id=uuid7, snapshots=PostgresSnapshots(pool, keys), people=keys)
        self.read: list[int] = []

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> list[StreamEvent]:
        events = await super().load(stream_id, after_version=after_version)
        self.read.append(len(events))
        return events

    async def load_since_snapshot(
        self, stream_id: UUID, *, shape: str
    ) -> tuple[Snapshot | None, Sequence[StreamEvent]]:
        found = await super().load_since_snapshot(stream_id, shape=shape)
        self.read.append(len(found[1]))
        return found


@dataclass
class Watched:
    """A stream in a real store, and what may happen to it."""

    pool: Pool
    database: str
    store: CountingStore
    owner: UUID = field(default_factory=uuid7)
    stream: UUID = field(default_factory=uuid7)

    async def append(self, *events: Event) -> None:
        present = len(await self.store.load(self.stream))
        new = NewEvents(stream_id=self.stream, owner_id=self.owner, expected_version=present, events=events)
        await self.store.append([new], metadata=METADATA)

    async def loads(self, aggregate: Aggregate[Any]) -> int:
        """Load, compare with a load that knows no snapshots, and tell how many events the load had read."""
        self.store.read.clear()
        loaded = await load(self.store, aggregate, self.stream)
        read = self.store.read[-1]
        assert loaded == await load(self.store, replace(aggregate, snapshots=None), self.stream)
        return read

    async def execute(self, statement: str, *values: object) -> int:
        """As the database's owner, past what keeps events as they are."""
        async with await psycopg.AsyncConnection.connect(self.database, autocommit=True) as connection:
            await connection.execute("set session_replication_role = replica")
            return (await connection.execute(statement.encode(), values)).rowcount

    async def restore(self, version: int) -> None:
        """The store comes back from a backup that did not have the later events."""
        await self.execute("delete from event where stream_id = %s and version > %s", self.stream, version)


@pytest.fixture
def watched(pool: Pool, database: str) -> Watched:
    return Watched(pool, database, CountingStore(pool))


def each(aggregate: Aggregate[Any], after_events: int, version: int = 1) -> Aggregate[Any]:
    """The same with a snapshot after so many events."""
    assert aggregate.snapshots is not None
    return replace(aggregate, snapshots=replace(aggregate.snapshots, after_events=after_events, version=version))


def steps_of(union: object, first: type[Event]) -> st.SearchStrategy[tuple[Event, list[Step]]]:
    later = values_of(union).filter(lambda event: not isinstance(event, first))
    happenings = st.sampled_from(["load", "load", "empty", "restore", "other program", "spoil", "append while loading"])
    return st.tuples(values_of(first), st.lists(st.lists(later, min_size=1, max_size=6) | happenings, max_size=12))


@pytest.mark.parametrize(
    ("aggregate", "union", "first"),
    [(MONITOR, monitor.MonitorEvent, MonitorCreated), (TRIGGER, trigger.TriggerEvent, TriggerCreated)],
    ids=["monitor", "trigger"],
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), after_events=st.integers(0, 8))
async def test_a_state_is_the_same_with_and_without_snapshots(
    watched: Watched,
    aggregate: Aggregate[Any],
    union: object,
    first: type[Event],
    data: st.DataObject,
    after_events: int,
) -> None:
    one = replace(watched, owner=uuid7(), stream=uuid7())
    created, steps = data.draw(steps_of(union, first))
    await one.append(created)
    for step in [*steps, "load"]:
        match step:
            case "load":
                await one.loads(each(aggregate, after_events))
            case "empty":
                await one.execute("truncate snapshot")
            case "restore":
                present = len(await one.store.load(one.stream))
                await one.restore(max(1, present // 2))
            case "other program":
                await one.loads(each(aggregate, after_events, version=2))
            case "spoil":
                await one.execute("update snapshot set state = 'spoilt' where stream_id = %s", one.stream)
            case "append while loading":
                added = data.draw(values_of(union))
                await asyncio.gather(
                    one.append(added), *(load(one.store, each(aggregate, after_events), one.stream) for _ in range(3))
                )
            case events:
                await one.append(*events)
    await one.loads(each(aggregate, after_events))


def renamed(number: int) -> MonitorRenamed:
    return MonitorRenamed(name=f"name {number}", renamed_at=AT)


TEN = each(MONITOR, 10)


@pytest.fixture
async def long(watched: Watched) -> Watched:
    """A monitor of eleven events, with a snapshot."""
    await watched.append(examples_of(MonitorCreated)[1], *(renamed(number) for number in range(10)))
    assert await watched.loads(TEN) == 11
    return watched


async def kept(watched: Watched) -> list[int]:
    """The versions of the snapshots of the stream."""
    async with watched.pool.connection() as connection:
        query = "select version from snapshot where stream_id = %s"
        return [row[0] for row in await (await connection.execute(query, (watched.stream,))).fetchall()]


async def test_only_the_events_after_the_snapshot_are_read(long: Watched) -> None:
    assert await long.loads(TEN) == 0
    await long.append(renamed(11), MonitorPaused(paused_at=AT))
    assert await long.loads(TEN) == 2


async def test_a_snapshot_is_taken_when_more_than_so_many_events_were_folded_and_not_at_every_load(
    long: Watched,
) -> None:
    await long.append(*(renamed(number) for number in range(10)))
    assert (await long.loads(TEN), await kept(long)) == (10, [11])
    await long.append(MonitorPaused(paused_at=AT))
    assert (await long.loads(TEN), await kept(long)) == (11, [22])
    assert (await long.loads(TEN), await kept(long)) == (0, [22])


async def test_snapshots_may_be_emptied_at_any_time(long: Watched) -> None:
    await long.execute("truncate snapshot")
    assert (await long.loads(TEN), await kept(long)) == (11, [11])


async def test_a_snapshot_ahead_of_a_restored_stream_is_not_read(long: Watched) -> None:
    await long.restore(5)
    assert (await long.loads(TEN), await kept(long)) == (5, [11])
    await long.append(*(renamed(number) for number in range(20, 30)))
    assert (await long.loads(TEN), await kept(long)) == (15, [15])
    assert await long.loads(TEN) == 0


async def test_a_snapshot_ahead_of_a_restored_stream_gives_way_to_one_before_it(long: Watched) -> None:
    await long.restore(9)
    assert (await long.loads(each(MONITOR, 8)), await kept(long)) == (9, [9])


async def test_a_snapshot_of_another_past_is_not_read(long: Watched) -> None:
    """The restored stream has grown beyond it, and has another event at its version."""
    await long.restore(5)
    await long.append(*(renamed(number) for number in range(20, 25)), MonitorPaused(paused_at=AT), renamed(26))
    assert await long.loads(each(MONITOR, 20)) == 12


async def test_a_snapshot_is_not_read_by_a_program_that_folds_otherwise(long: Watched) -> None:
    assert await long.loads(each(MONITOR, 10, version=2)) == 11
    assert await long.loads(each(MONITOR, 10, version=2)) == 0, "but one of its own"


async def test_the_shape_of_a_kept_state_tells_its_kind_its_version_and_its_fields() -> None:
    assert MONITOR.snapshots is not None
    assert TRIGGER.snapshots is not None
    assert MONITOR.snapshots.shape.startswith("monitor.1.")
    assert replace(MONITOR.snapshots, version=2).shape.startswith("monitor.2.")
    assert replace(MONITOR.snapshots, state=TRIGGER.snapshots.state).shape.startswith("monitor.1.")
    assert replace(MONITOR.snapshots, state=TRIGGER.snapshots.state).shape != MONITOR.snapshots.shape


async def test_a_state_that_cannot_be_read_is_done_without(long: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    (last,) = await long.store.load(long.stream, after_version=10)
    assert TEN.snapshots is not None
    broken = Snapshot(
        stream_id=long.stream,
        owner_id=long.owner,
        version=11,
        event_id=last.event_id,
        shape=TEN.snapshots.shape,
        state=b'{"status":"boiling"}',
    )
    await long.store.keep_snapshot(broken)
    assert await long.loads(TEN) == 11
    assert "snapshot not readable" in capsys.readouterr().out
    assert await long.loads(TEN) == 0, "and replaced"


async def test_a_spoilt_state_is_done_without_and_replaced(long: Watched) -> None:
    await long.execute("update snapshot set state = 'spoilt'")
    assert await long.loads(TEN) == 11
    assert await long.loads(TEN) == 0


async def test_a_load_succeeds_when_its_snapshot_cannot_be_kept(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    await watched.append(examples_of(MonitorCreated)[1], MonitorPaused(paused_at=AT))
    await watched.execute("alter table snapshot add constraint full_disk check (version > 1000)")
    assert await watched.loads(each(MONITOR, 1)) == 2
    assert "snapshot not kept" in capsys.readouterr().out


async def test_who_was_slow_does_not_replace_a_younger_snapshot(long: Watched) -> None:
    async with long.pool.connection() as connection:
        query = "select event_id from event where stream_id = %s and version = 5"
        (row,) = await (await connection.execute(query, (long.stream,))).fetchall()
    assert TEN.snapshots is not None
    late = Snapshot(
        stream_id=long.stream,
        owner_id=long.owner,
        version=5,
        event_id=row[0],
        shape=TEN.snapshots.shape,
        state=b"{}",
    )
    await long.store.keep_snapshot(late)
    assert await kept(long) == [11]


async def test_a_stream_that_is_not_there_has_no_snapshot_and_no_owner(watched: Watched) -> None:
    loaded = await load(watched.store, each(MONITOR, 0), watched.stream)
    assert (loaded.state, loaded.version, loaded.owner_id) == (MONITOR.initial, 0, None)
    assert await kept(watched) == []


async def test_a_snapshot_of_somebody_else_s_is_not_found(long: Watched) -> None:
    assert (await load_own(long.store, TEN, long.stream, long.owner)).version == 11
    with pytest.raises(NotFound):
        await load_own(long.store, TEN, long.stream, uuid7())


async def test_what_is_decided_from_a_snapshot_is_appended_after_the_last_event(long: Watched) -> None:
    loaded = await load(long.store, TEN, long.stream)
    events = monitor.pause(loaded.state, now=AT)
    new = NewEvents(stream_id=long.stream, owner_id=long.owner, expected_version=loaded.version, events=tuple(events))
    await long.store.append([new], metadata=METADATA)
    assert (await load(long.store, TEN, long.stream)).state.status is Status.PAUSED
    with pytest.raises(ConcurrentAppend):
        await long.store.append([new], metadata=METADATA)


async def test_a_store_without_snapshots_keeps_none_and_loads_the_same(long: Watched) -> None:
    await long.execute("truncate snapshot")
    plain = PostgresEventStore(long.pool, new_id=uuid7, people=PersonKeys(long.pool, WrappingKeys([bytes(32)])))
    assert await load(plain, TEN, long.stream) == await load(long.store, TEN, long.stream)
    await long.execute("truncate snapshot")
    await load(plain, TEN, long.stream)
    assert await kept(long) == []
