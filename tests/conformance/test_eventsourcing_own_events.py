"""What the library's suites do not ask: Vigil's own events through the library, and what is refused."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    MapperDeserialisationError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import resolve_topic
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, json
from uuid_utils.compat import uuid7

from adapters.eventsourcing_connection import Access, Connection, StoreConnections
from adapters.eventsourcing_mapper import VigilEvent
from adapters.eventsourcing_recorders import VigilApplicationRecorder
from adapters.eventsourcing_rows import FOREIGN_PREFIX, OwnState, Row, own_topic, rows_of, stored_event, topic_of
from adapters.eventsourcing_subscription import BATCH_NOTIFICATIONS_MAX
from adapters.eventsourcing_tracking import VigilProcessRecorder
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog, link
from adapters.postgres_pool import Pool
from domain.event import Metadata, NewEvents, event_types
from domain.notification import NotificationRequested
from domain.user import RoleGranted
from tests.conftest import AT
from tests.golden.record import golden_of

GRANTED = RoleGranted(role="member", granted_at=AT)


@pytest.fixture
def connections(database: str) -> Iterator[StoreConnections]:
    opened = StoreConnections(database, Access.WRITE)
    yield opened
    opened.close()


@pytest.fixture
def app(database: str) -> Iterator[Application[UUID]]:
    with open_app(database, access="write") as opened:
        yield opened


def open_app(database: str, **env: str) -> Application[UUID]:
    access = {f"STORE_{name.upper()}": value for name, value in env.items()}
    return Application(
        env={"PERSISTENCE_MODULE": "adapters.eventsourcing_store", "VIGIL_DATABASE_URL": database, **access}
    )


def granted(version: int, stream_id: UUID, *, owner_id: UUID | None = None) -> VigilEvent:
    return VigilEvent(
        stream_id=stream_id,
        version=version,
        owner_id=owner_id or stream_id,
        event=GRANTED,
        metadata=Metadata(correlation_id=uuid7(), actor="test"),
        event_id=uuid7(),
        recorded_at=AT,
    )


def foreign(version: int, stream_id: UUID, state: bytes = b"\xff") -> StoredEvent:
    return StoredEvent(stream_id, version, "topic", state)


async def append(pool: Pool, *versions: int, stream_id: UUID) -> None:
    new = NewEvents(
        stream_id=stream_id, owner_id=stream_id, expected_version=versions[0] - 1, events=(GRANTED,) * len(versions)
    )
    await PostgresEventStore(pool, new_id=uuid7).append(
        [new], metadata=Metadata(correlation_id=stream_id, actor="vigil")
    )


async def test_what_vigil_wrote_the_library_reads_and_the_other_way_round(pool: Pool, app: Application[UUID]) -> None:
    stream_id = uuid7()
    await append(pool, 1, 2, stream_id=stream_id)
    (recording,) = app.save(granted(3, stream_id))
    assert recording.notification.id == 3
    loaded = await PostgresEventStore(pool, new_id=uuid7).load(stream_id)
    read = list(app.events.get(stream_id))
    assert all(isinstance(event, VigilEvent) for event in read)
    for event, stored in zip(read, loaded, strict=True):
        assert isinstance(event, VigilEvent)
        for field in stored.__struct_fields__:
            assert getattr(event, field) == getattr(stored, field)
        assert (event.originator_id, event.originator_version) == (stored.stream_id, stored.version)
    assert [event.metadata.actor for event in loaded] == ["vigil", "vigil", "test"]
    assert [n.topic for n in app.recorder.select_notifications(1, 9)] == ["user.role_granted@1"] * 3


async def test_recorders_and_the_relay_chain_one_log(pool: Pool, app: Application[UUID]) -> None:
    log = PostgresLog(pool)
    await append(pool, 1, stream_id=uuid7())
    await log.sequence_batch()
    await append(pool, 1, stream_id=uuid7())
    app.save(Aggregate())
    await append(pool, 1, stream_id=uuid7())
    await log.sequence_batch()
    entries = [entry for partition in range(16) for entry in await log.read(partition, after_place=0, limit=9)]
    digest = bytes(32)
    for position, entry in enumerate(sorted(entries, key=lambda entry: entry.position), start=1):
        assert entry.position == position
        digest = link(digest, entry)
    assert (await log.head()).position == 4
    assert (await log.head()).hash == digest


def test_notifications_are_selected_by_the_topics_of_both_kinds(app: Application[UUID]) -> None:
    app.save(granted(1, uuid7()), Aggregate(), Aggregate())
    select = app.recorder.select_notifications
    assert [n.id for n in select(1, 9, topics=[topic_of(RoleGranted)])] == [1]
    assert [n.id for n in select(1, 9, topics=["eventsourcing.domain:Aggregate.Created"])] == [2, 3]
    assert [n.id for n in select(1, 9, topics=["user.role_granted@2", "user.role_granted"])] == []


def test_a_store_is_opened_for_reading_unless_something_else_is_said(database: str) -> None:
    with open_app(database) as app:
        with pytest.raises(NotSupportedError, match="opened for reading"):
            app.save(Aggregate())
        assert app.recorder.max_notification_id() is None
    reading = StoreConnections(database, Access.READ)
    with reading.reading() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("insert into eventsourcing_tracking values ('a', 'b', 1)")
    reading.close()


def test_a_factory_says_what_its_environment_lacks(database: str) -> None:
    with pytest.raises(OSError, match="VIGIL_DATABASE_URL"):
        open_app("")
    with pytest.raises(OSError, match="'all', and may be read or write"):
        open_app(database, access="all")


def test_a_stream_is_of_one_kind_and_one_person(app: Application[UUID]) -> None:
    own, other = uuid7(), uuid7()
    app.save(granted(1, own))
    app.recorder.insert_events([foreign(0, other)])
    with pytest.raises(ProgrammingError, match="another's"):
        app.recorder.insert_events([foreign(2, own)])
    with pytest.raises(ProgrammingError, match="another's"):
        app.save(granted(2, other))
    with pytest.raises(ProgrammingError, match="another's"):
        app.save(granted(2, own, owner_id=other))
    assert app.recorder.max_notification_id() == 2


def test_a_stream_has_no_gaps_and_keeps_the_number_it_began_with(app: Application[UUID]) -> None:
    zero, one = uuid7(), uuid7()
    app.recorder.insert_events([foreign(0, zero), foreign(1, one), foreign(1, zero), foreign(2, one)])
    for ahead in (foreign(3, zero), foreign(4, one), foreign(2, uuid7())):
        with pytest.raises(IntegrityError):
            app.recorder.insert_events([ahead])
    with pytest.raises(IntegrityError):
        app.save(granted(0, uuid7()))
    numbers = [
        [e.originator_version for e in app.recorder.select_events(stream, gt=gt, lte=lte, desc=desc, limit=limit)]
        for stream, gt, lte, desc, limit in [
            (zero, None, None, False, None),
            (zero, 0, None, False, None),
            (zero, None, 0, True, 1),
            (zero, None, None, True, 1),
            (one, 1, 2, False, None),
            (one, None, 1, False, None),
        ]
    ]
    assert numbers == [[0, 1], [1], [0], [1], [2], [1]]


def test_what_is_no_event_of_vigils_is_not_stored_under_its_tag(app: Application[UUID]) -> None:
    good = app.mapper.to_stored_event(granted(1, uuid7()))
    for topic, state in [
        (good.topic, b"{}"),
        (good.topic, good.state.replace(b"granted_at", b"taken_at")),
        (good.topic, good.state.replace(b"actor", b"actors")),
        ("user.role_granted@99", good.state),
        ("no.such_tag@1", good.state),
    ]:
        with pytest.raises(DataError, match="no event"):
            app.recorder.insert_events([StoredEvent(good.originator_id, 1, topic, state)])
        with pytest.raises(MapperDeserialisationError):
            app.mapper.to_domain_event(StoredEvent(good.originator_id, 1, topic, state))
    with pytest.raises(DataError, match="UUID"):
        app.recorder.select_events("not-a-uuid")
    assert app.recorder.max_notification_id() is None


def test_what_is_inserted_behind_an_open_transaction_is_stored_and_has_no_position_yet(
    database: str, connections: StoreConnections
) -> None:
    impatient = VigilApplicationRecorder(connections, patience_seconds=0)
    stream_id = uuid7()
    with psycopg.connect(database) as older:
        older.execute("select pg_current_xact_id()")
        assert impatient.insert_events([foreign(1, stream_id)]) is None
        assert impatient.max_notification_id() is None
        older.rollback()
    assert impatient.select_events(stream_id) == [foreign(1, stream_id)]
    assert impatient.insert_events([foreign(2, stream_id)]) == [2]


class LosingRecorder(VigilApplicationRecorder):
    """Its connection is cut by the server before or after the append."""

    def __init__(self, connections: StoreConnections, database: str, *, before: bool) -> None:
        super().__init__(connections)
        self.database, self.before, self.tries = database, before, 0

    def _append(self, connection: Connection, stored_events: Sequence[StoredEvent]) -> list[Row]:
        self.tries += 1
        if self.before:
            self._cut(connection)
            return super()._append(connection, stored_events)
        rows = super()._append(connection, stored_events)
        self._cut(connection)
        return rows

    def _cut(self, connection: Connection) -> None:
        with psycopg.connect(self.database, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))


def test_a_connection_lost_after_the_commit_does_not_deny_the_insert(
    database: str, connections: StoreConnections
) -> None:
    recorder = LosingRecorder(connections, database, before=False)
    stream_id = uuid7()
    assert recorder.insert_events([foreign(1, stream_id)]) is None
    assert recorder.select_events(stream_id) == [foreign(1, stream_id)]


def test_an_insert_whose_connection_breaks_is_not_tried_again(database: str, connections: StoreConnections) -> None:
    recorder = LosingRecorder(connections, database, before=True)
    with pytest.raises(OperationalError):
        recorder.insert_events([foreign(1, uuid7())])
    assert recorder.tries == 1


def test_tracking_is_refused_where_it_would_be_dropped_and_undone_with_its_events(
    app: Application[UUID], connections: StoreConnections
) -> None:
    stream_id = uuid7()
    with pytest.raises(ProgrammingError, match="process recorder"):
        app.recorder.insert_events([foreign(1, stream_id)], tracking=Tracking("upstream", 1))
    first, second = (VigilProcessRecorder(connections, consumer=name) for name in ("first", "second"))
    assert first.insert_events([foreign(1, stream_id)], tracking=Tracking("upstream", 1)) == [1]
    with pytest.raises(IntegrityError):
        first.insert_events([foreign(1, stream_id)], tracking=Tracking("upstream", 2))
    with pytest.raises(IntegrityError):
        first.insert_events([foreign(2, stream_id)], tracking=Tracking("upstream", 1))
    assert (first.max_tracking_id("upstream"), second.max_tracking_id("upstream")) == (1, None)
    second.insert_tracking(Tracking("upstream", 9))
    assert (first.max_tracking_id("upstream"), second.max_tracking_id("upstream")) == (1, 9)
    assert len(first.select_events(stream_id)) == 1


def test_a_subscription_to_topics_yields_those_alone_and_ends_when_stopped(app: Application[UUID]) -> None:
    for _ in range(3):
        app.save(Aggregate())
    app.save(granted(1, uuid7()))
    with app.recorder.subscribe(gt=0, topics=[topic_of(RoleGranted)]) as subscription:
        assert next(subscription).id == 4
        app.save(Aggregate(), granted(1, uuid7()))
        assert next(subscription).id == 6
        subscription.stop()
        assert list(subscription) == []


def test_a_subscription_yields_every_event_of_more_than_a_batch(app: Application[UUID]) -> None:
    stream_id, count = uuid7(), 2 * BATCH_NOTIFICATIONS_MAX + 3
    app.recorder.insert_events([foreign(version, stream_id) for version in range(1, count + 1)])
    with app.recorder.subscribe() as subscription:
        assert [next(subscription).id for _ in range(count)] == list(range(1, count + 1))


def test_an_event_of_an_older_version_is_selected_by_its_present_topic_and_read_in_it(app: Application[UUID]) -> None:
    tag, stream_id = NotificationRequested.tag, uuid7()
    state = OwnState(
        owner_id=stream_id,
        event_id=uuid7(),
        recorded_at=AT,
        metadata=Raw(b'{"correlation_id":"01a1f896-d3a0-7618-bb74-86834748cbf7","actor":"test"}'),
        data=Raw(golden_of(tag, 1)[1]),
    )
    app.recorder.insert_events([StoredEvent(stream_id, 1, f"{tag}@1", json.encode(state))])
    (found,) = app.recorder.select_notifications(start=1, limit=10, topics=[topic_of(NotificationRequested)])
    event = app.mapper.to_domain_event(found)
    assert found.topic == f"{tag}@1"
    assert isinstance(event, VigilEvent)
    assert isinstance(event.event, NotificationRequested)
    assert event.event.expires_at is not None
    assert resolve_topic(found.topic) is NotificationRequested


def test_every_tag_of_vigils_is_a_topic_and_none_looks_foreign() -> None:
    for tag, event_type in event_types().items():
        assert own_topic(topic_of(event_type)) == (tag, event_type.tag_version)
        assert resolve_topic(topic_of(event_type)) is event_type
        assert not tag.startswith(FOREIGN_PREFIX)


@given(
    st.binary(max_size=50), st.text(max_size=20).filter(lambda topic: own_topic(topic) is None), st.sampled_from([0, 1])
)
def test_any_foreign_state_and_topic_come_back_as_they_were(state: bytes, topic: str, number: int) -> None:
    event = StoredEvent(uuid7(), number, topic, state)
    (row,) = rows_of([event], {}, new_id=uuid7)
    assert row.version == 1
    assert row.type.startswith(FOREIGN_PREFIX)
    stream_id, version, owner_id, tag, tag_version, data, metadata, event_id = row
    assert stored_event((stream_id, version, owner_id, tag, tag_version, data, metadata, event_id, AT)) == event
