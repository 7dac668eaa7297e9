"""What operators do about parked events: they see them, hand them over again when the cause is mended, or give them up."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters import postgres_read_tables
from adapters.personal_data import SealBroken
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_operators import PostgresOperators
from adapters.postgres_outbox import PostgresTriggers
from adapters.postgres_parked import Handle, PostgresParked, projecting
from adapters.postgres_parking import PostgresParking
from adapters.postgres_pool import Connection, Pool
from cli.parked_acts import reacting
from domain.errors import Conflict, NotFound
from domain.log_entry import PARTITIONS, LogEntry
from domain.monitor import MonitorPaused, MonitorRenamed, State, StateChanged
from domain.notification import NotificationRequested
from domain.trigger import TriggerFired
from domain.user import EmailVerified
from projections.core import CORE
from tests.conftest import AT
from tests.read_api.world import World
from workers.log_reader import LogReader
from workers.notifier import CONSUMER as NOTIFIER
from workers.notifier import Notifier
from workers.partitions import PartitionLeases
from workers.projector import Projector

_RAW = """
insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
values (%s, %s, %s, %s, %s, %s, %s, %s)
"""
MEND: LiteralString = "alter table read_model.monitors alter column name drop not null"
NAMELESS = {"name": None, "renamed_at": "2026-01-01T00:00:00Z"}


class NoTail:
    """A Redis that never has anything."""

    async def read(self, after: object, *, limit: int, block_ms: int) -> list[LogEntry]:
        await asyncio.sleep(0)
        return []


@dataclass
class Crew:
    """A world with a real projector and a real notifier, and what operators have."""

    world: World
    done: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        pool, monotonic = self.world.pool, asyncio.get_running_loop().time
        self.pool = pool
        self.parked = PostgresParked(pool, self.world.log)
        self.handle = projecting(self.world.tables)
        reader = LogReader(NoTail(), self.world.log, monotonic=monotonic)
        core = PartitionLeases(PostgresLeases(pool), consumer=CORE.name, holder="p", monotonic=monotonic)
        self.projector = Projector(reader, self.world.tables, core)
        mail = PartitionLeases(PostgresLeases(pool), consumer=NOTIFIER, holder="n", monotonic=monotonic)
        self.notifier = Notifier(
            LogReader(NoTail(), self.world.log, monotonic=monotonic),
            PostgresParking(pool, NOTIFIER),
            mail,
            self.world.store,
            PostgresTriggers(pool),
            PostgresOperators(pool),
            now=lambda: AT,
        )

    async def poison(self, owner: UUID, stream: UUID, tag: str, data: dict[str, Any], *, tag_version: int = 1) -> None:
        """An event that no command would have appended."""
        version = self.world.versions.get(stream, 0) + 1
        metadata = json.dumps({"correlation_id": str(stream), "actor": "test"})
        values = (stream, version, owner, tag, tag_version, json.dumps(data), metadata, uuid7())
        async with self.pool.connection() as connection:
            await connection.execute(_RAW, values)
        self.world.versions[stream] = version
        self.world.appended += 1

    async def sequence(self) -> None:
        """Give everything its place; an older transaction in the cluster may hold events back a moment."""
        while (await self.world.log.head()).position < self.world.appended:
            await self.world.sequence()

    async def project(self) -> None:
        """Let the projector come to the end of the log."""
        await self.sequence()
        heads = dict(enumerate(await self.world.log.places()))
        while await self.world.tables.places(range(PARTITIONS)) != heads:
            await self.projector.step()

    async def notify(self) -> None:
        """Let the notifier come to the end of the log."""
        await self.project()
        heads = dict(enumerate(await self.world.log.places()))
        while await PostgresParking(self.pool, NOTIFIER).places(range(PARTITIONS)) != heads:
            await self.notifier.step()

    def reacting(self) -> Handle:
        return reacting(self.notifier, is_outage=PostgresParking(self.pool, NOTIFIER).is_outage)

    async def record(self, events: int) -> None:
        self.done.append(events)

    async def retry(self, stream: UUID, consumer: str = CORE.name, handle: Handle | None = None) -> tuple[int, int]:
        """How many events were handled, and how many are left."""
        found = await self.parked.retry(consumer, stream, handle=handle or self.handle, record=self.record)
        assert (found.error is None) == (found.left == 0)
        return found.events, found.left

    async def versions(self, stream: UUID, consumer: str = CORE.name) -> list[tuple[int, bool]]:
        """The parked versions of a stream, and whether each only waits for those before it."""
        return [(event.version, event.error == "behind") for event in await self.parked.events(consumer, stream)]

    async def row(self, monitor: UUID) -> tuple[Any, ...]:
        query = "select name, status, state, version from monitors where id = %s"
        async with self.pool.connection() as connection:
            found = await (await connection.execute(query, (monitor,))).fetchone()
        assert found is not None
        return tuple(found)

    async def execute(self, statement: LiteralString) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(statement)


@pytest.fixture
async def crew(pool: Pool) -> Crew:
    return Crew(World(pool))


@pytest.fixture
async def stuck(crew: Crew) -> tuple[UUID, UUID, UUID]:
    """The owner of two monitors: of the first, the second event has no name, and two others wait behind it."""
    owner = await crew.world.person()
    first, other = await crew.world.monitor(owner, "Kettle"), await crew.world.monitor(owner, "Lamp")
    await crew.poison(owner, first, "monitor.renamed", NAMELESS)
    await crew.world.append(owner, first, MonitorRenamed(name="Later", renamed_at=AT), MonitorPaused(paused_at=AT))
    await crew.world.append(owner, other, MonitorPaused(paused_at=AT))
    await crew.project()
    return owner, first, other


Stuck = tuple[UUID, UUID, UUID]


async def test_what_is_parked_is_told_with_its_reason_and_what_waits_behind_it(crew: Crew, stuck: Stuck) -> None:
    _, first, other = stuck
    (told,) = await crew.parked.streams(None)
    assert (told.consumer, told.stream_id, told.type, told.version, told.behind) == (
        *("core", first, "monitor.renamed", 2, 2),
    )
    assert "null value" in told.error
    assert await crew.parked.streams("core") == [told]
    assert await crew.parked.streams("notifier") == []
    assert await crew.versions(first) == [(2, False), (3, True), (4, True)]
    assert await crew.versions(other) == []
    (event, *_) = await crew.parked.events("core", first)
    assert (event.position, event.data) == (told.position, NAMELESS)
    assert await crew.row(first) == ("Kettle", "active", "unknown", 1)
    assert (await crew.row(other))[1] == "paused"


async def test_what_is_refused_again_stays_parked_with_everything_behind_it(crew: Crew, stuck: Stuck) -> None:
    _, first, _ = stuck
    before = await crew.parked.events("core", first)
    assert await crew.retry(first) == (0, 3)
    assert await crew.parked.events("core", first) == before
    assert await crew.row(first) == ("Kettle", "active", "unknown", 1)
    assert crew.done == []


async def test_what_is_mended_follows_in_its_order(crew: Crew, stuck: Stuck) -> None:
    owner, first, _ = stuck
    await crew.execute(MEND)
    assert await crew.retry(first) == (3, 0)
    assert await crew.parked.streams(None) == []
    assert await crew.row(first) == ("Later", "paused", "unknown", 4)
    assert crew.done == [3]
    await crew.world.append(owner, first, MonitorRenamed(name="Live again", renamed_at=AT))
    await crew.project()
    assert (await crew.row(first))[0] == "Live again"
    assert await crew.parked.streams(None) == []
    with pytest.raises(NotFound, match="no parked event"):
        await crew.retry(first)


async def test_an_event_of_a_version_that_is_known_only_later_is_handled_then(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update of the program."""
    owner = await crew.world.person()
    monitor = await crew.world.monitor(owner)
    renamed = {"name": "From the future", "renamed_at": "2026-01-01T00:00:00Z"}
    await crew.poison(owner, monitor, "monitor.renamed", renamed, tag_version=9)
    await crew.world.append(owner, monitor, MonitorPaused(paused_at=AT))
    await crew.project()
    assert await crew.versions(monitor) == [(2, False), (3, True)]
    assert await crew.retry(monitor) == (0, 2)
    monkeypatch.setattr(postgres_read_tables, "upcast_entry", lambda entry: entry)
    assert await crew.retry(monitor) == (2, 0)
    assert await crew.row(monitor) == ("From the future", "paused", "unknown", 3)


async def test_a_retry_goes_as_far_as_the_next_event_that_is_refused(crew: Crew, stuck: Stuck) -> None:
    owner, first, _ = stuck
    change = {"from_state": "unknown", "to_state": "on fire", "evaluation_id": str(uuid7()), "changed_at": str(AT)}
    await crew.poison(owner, first, "monitor.state_changed", change)
    await crew.world.append(owner, first, MonitorRenamed(name="Last", renamed_at=AT))
    await crew.project()
    await crew.execute(MEND)
    assert await crew.versions(first) == [(2, False), (3, True), (4, True), (5, True), (6, True)]
    assert await crew.retry(first) == (3, 2)
    assert await crew.versions(first) == [(5, False), (6, True)]
    assert await crew.row(first) == ("Later", "paused", "unknown", 4)
    (left,) = await crew.parked.streams(None)
    assert (left.version, left.behind) == (5, 1)
    assert "foreign key" in left.error or "check constraint" in left.error
    assert "DETAIL" not in left.error
    assert crew.done == [3]


async def test_what_cannot_be_opened_is_refused_like_what_cannot_be_written(crew: Crew, stuck: Stuck) -> None:
    _, first, _ = stuck
    await crew.execute(MEND)

    async def open_entries(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        for entry in entries:
            if entry.version == 4:
                raise SealBroken(entry.stream_id, entry.version, entry.type, "name")
        return entries

    handle = projecting(crew.world.tables, open_entries)
    assert await crew.retry(first, handle=handle) == (2, 1)
    (left,) = await crew.parked.streams(None)
    assert left.version == 4
    assert "not what was sealed there" in left.error
    assert await crew.retry(first) == (1, 0)


async def test_only_what_the_stream_waits_for_can_be_given_up_and_the_rest_follows(crew: Crew, stuck: Stuck) -> None:
    _, first, other = stuck
    for version in (1, 3, 4, 9):
        with pytest.raises(Conflict, match="waits for its version 2"):
            await crew.parked.skip("core", first, version, record=crew.record)
    with pytest.raises(NotFound):
        await crew.parked.skip("core", other, 2, record=crew.record)
    assert crew.done == []
    assert await crew.parked.skip("core", first, 2, record=crew.record) == 2
    assert await crew.versions(first) == [(3, True), (4, True)]
    assert await crew.retry(first) == (2, 0)
    assert await crew.row(first) == ("Later", "paused", "unknown", 4)
    assert crew.done == [1, 2]


async def test_an_act_that_cannot_be_written_down_is_not_done(crew: Crew, stuck: Stuck) -> None:
    _, first, _ = stuck
    await crew.execute(MEND)

    async def fails(_events: int) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await crew.parked.retry("core", first, handle=crew.handle, record=fails)
    with pytest.raises(ConnectionError):
        await crew.parked.skip("core", first, 2, record=fails)
    assert await crew.versions(first) == [(2, False), (3, True), (4, True)]
    assert await crew.row(first) == ("Kettle", "active", "unknown", 1)


async def waiting_for_a_lock(pool: Pool) -> None:
    """Return when a connection to this database waits for another."""
    query = (
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
    )
    async with asyncio.timeout(10):
        while True:
            async with pool.connection() as connection:
                row = await (await connection.execute(query)).fetchone()
            if row == (True,):
                return
            await asyncio.sleep(0.005)


async def test_a_live_projector_waits_for_the_retry_and_goes_on_after_it(crew: Crew, stuck: Stuck) -> None:
    owner, first, _ = stuck
    await crew.execute(MEND)
    await crew.world.append(owner, first, MonitorRenamed(name="While it is retried", renamed_at=AT))
    await crew.sequence()
    held = asyncio.Event()
    projecting_on: list[asyncio.Task[float]] = []

    async def slowly(connection: Connection, entries: Sequence[LogEntry]) -> tuple[int, str | None]:
        projecting_on.append(asyncio.create_task(crew.projector.step()))
        await waiting_for_a_lock(crew.pool)
        held.set()
        return await crew.handle(connection, entries)

    assert await crew.retry(first, handle=slowly) == (3, 0)
    assert held.is_set()
    await projecting_on[0]
    await crew.project()
    assert await crew.parked.streams(None) == []
    assert await crew.row(first) == ("While it is retried", "paused", "unknown", 5)


async def test_beside_a_running_projector_a_stream_keeps_its_order(crew: Crew, stuck: Stuck) -> None:
    owner, first, _ = stuck
    await crew.execute(MEND)
    writing = True

    async def traffic() -> None:
        nonlocal writing
        for number in range(60):
            await crew.world.append(owner, first, MonitorRenamed(name=f"name {number}", renamed_at=AT))
            await crew.world.sequence()
        writing = False

    async def project() -> None:
        while writing:
            await crew.projector.step()

    async def retry() -> None:
        while writing:
            try:
                await crew.retry(first)
            except NotFound:
                await asyncio.sleep(0.001)

    await asyncio.gather(traffic(), project(), retry())
    await crew.project()
    assert await crew.parked.streams(None) == []
    assert await crew.row(first) == ("name 59", "paused", "unknown", 64)


async def test_what_the_notifier_could_not_handle_is_handed_to_it_again_and_told_once(crew: Crew) -> None:
    owner = await crew.world.person()
    await crew.world.append(owner, owner, EmailVerified(email=f"ada-{owner.hex}@example.org", verified_at=AT))
    monitor, action = await crew.world.monitor(owner), await crew.world.action(owner)
    await crew.world.trigger(owner, monitor, action)
    found = await crew.world.evaluation(owner, monitor, AT)
    change = {"from_state": "inactive", "to_state": "active", "evaluation_id": str(found), "changed_at": AT.isoformat()}
    await crew.poison(owner, monitor, "monitor.state_changed", {**change, "colour": "red"})
    await crew.world.append(
        owner,
        monitor,
        StateChanged(from_state=State.ACTIVE, to_state=State.INACTIVE, evaluation_id=found, changed_at=AT),
    )
    await crew.notify()
    handle = crew.reacting()
    assert await crew.versions(monitor, NOTIFIER) == [(2, False), (3, True)]
    assert await crew.retry(monitor, NOTIFIER, handle) == (0, 2)
    async with crew.pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(
            "update event set data = data - 'colour' where stream_id = %s and version = 2", (monitor,)
        )
    assert await crew.retry(monitor, NOTIFIER, handle) == (2, 0)
    count = "select count(*) from event where type = %s"
    async with crew.pool.connection() as connection:
        for tag in (TriggerFired.tag, NotificationRequested.tag):
            assert await (await connection.execute(count, (tag,))).fetchone() == (1,)
    assert await crew.parked.streams(NOTIFIER) == []
    with pytest.raises(NotFound):
        await crew.retry(monitor, NOTIFIER, handle)


async def test_while_the_projector_is_behind_nothing_is_handed_to_the_notifier(crew: Crew) -> None:
    owner = await crew.world.person()
    monitor = await crew.world.monitor(owner)
    change = {"from_state": "x", "to_state": "active", "evaluation_id": str(uuid7()), "changed_at": AT.isoformat()}
    await crew.poison(owner, monitor, "monitor.state_changed", change)
    await crew.notify()
    before = await crew.versions(monitor, NOTIFIER)
    async with crew.pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute('update event set data = data || \'{"from_state": "inactive"}\' where version = 2')
        await connection.execute("update checkpoint set position = 0 where consumer = 'core'")
    with pytest.raises(Conflict, match="try again"):
        await crew.retry(monitor, NOTIFIER, crew.reacting())
    assert await crew.versions(monitor, NOTIFIER) == before
