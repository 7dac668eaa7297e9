"""The read tables of an erased person: the live ones equal a rebuild, hold nothing that was said, and nothing is due."""

from collections.abc import Sequence
from random import Random
from uuid import UUID, uuid5

import msgspec
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.aes_gcm import new_key
from adapters.personal_data import DestroyedKey, Key, PersonKey, open_event, seal_event
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from adapters.postgres_rebuild import Rebuild
from benchmarks.history import History
from domain.event import Event, Metadata, NewEvents
from domain.event_codec import decode, encode
from domain.log_entry import LogEntry
from domain.monitor import MonitorResumed
from domain.notification import MailKind, NotificationRequested
from domain.user import UserErased
from projections.core import CORE
from tests.conftest import AT
from tests.projections.test_core_projection import Rows, cut, dump, projected
from tests.projections.test_rebuild import append_all, project_all, sequence_all


def sealed(entry: LogEntry, key: Key) -> LogEntry:
    event = decode(entry.type, entry.type_version, entry.data)
    where = {"owner_id": entry.owner_id, "stream_id": entry.stream_id, "version": entry.version}
    return msgspec.structs.replace(entry, data=seal_event(event, lambda _: key, **where).decode())  # type: ignore[arg-type]  # ids and a version by name


def opened(entries: Sequence[LogEntry], key: Key) -> list[LogEntry]:
    return [
        msgspec.structs.replace(
            entry,
            data=open_event(
                entry.data,
                lambda _: key,
                tag=entry.type,
                owner_id=entry.owner_id,
                stream_id=entry.stream_id,
                version=entry.version,
            ),
        )
        for entry in entries
    ]


def written(entry: LogEntry, stream_id: UUID, event: Event) -> LogEntry:
    """Another event of the person an entry belongs to, at its place."""
    data = encode(event).decode()
    return msgspec.structs.replace(entry, stream_id=stream_id, version=1_000, type=event.tag, type_version=1, data=data)


def erasure_of(entry: LogEntry) -> LogEntry:
    """The erasure of the person an entry belongs to."""
    return written(entry, entry.owner_id, UserErased(erased_at=AT))


def on_their_way(erased: LogEntry, before: Sequence[LogEntry]) -> list[LogEntry]:
    """What was being done for the person at the moment of their erasure."""
    monitor_id = next(e.stream_id for e in before if (e.owner_id, e.type) == (erased.owner_id, "monitor.created"))
    request = NotificationRequested(kind=MailKind.ALERT, to="ada@example.org", subject="Ada!", requested_at=AT)
    return [
        written(erased, monitor_id, MonitorResumed(resumed_at=AT)),
        written(erased, uuid5(monitor_id, "late"), request),
    ]


@given(seed=st.integers(0, 2**32), largest=st.integers(2, 100))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_live_tables_equal_a_rebuild_wherever_the_erasure_stands_in_the_log(
    pool: Pool, seed: int, largest: int
) -> None:
    random, key = Random(seed), PersonKey(new_key())
    entries = [sealed(entry, key) for entry in History(seed, people=2, monitors_each=2).entries(120)]
    at = random.randrange(20, len(entries))
    erased = erasure_of(entries[at])
    gone = DestroyedKey(erased.owner_id)
    before = entries[:at]
    rest = [*(sealed(entry, key) for entry in on_their_way(erased, before)), *entries[at:]]

    def after(other: Key) -> list[LogEntry]:
        """What comes after it: of the erased person nothing can be opened any more."""
        return [opened([e], gone if e.owner_id == erased.owner_id else other)[0] for e in rest]

    replayed = [opened([e], gone if e.owner_id == erased.owner_id else key)[0] for e in before]
    live = await projected(pool, cut([*opened(before, key), erased, *after(key)], random, largest))
    rebuilt = await projected(pool, cut([*replayed, erased, *after(key)], random, largest))
    one_by_one = await projected(pool, [[entry] for entry in [*opened(before, key), erased, *after(key)]])
    assert live == rebuilt == one_by_one


async def test_after_the_erasure_nothing_said_is_left_and_nothing_is_due(pool: Pool) -> None:
    entries = list(History(5, people=2, monitors_each=2).entries(300))
    erased = erasure_of(entries[0])
    tables = PostgresReadTables(pool, CORE)
    others: Rows = {}
    async with pool.connection() as connection:
        await tables.write(connection, entries)
        await connection.execute(
            "update monitors set plan = jsonb_set(plan, '{sources,0,headers}', '{\"k\": \"secret\"}')"
        )
        await connection.execute("update monitors set plan = jsonb_set(plan, '{facts,0,description}', '\"secret\"')")
        await connection.execute(
            "update notifications set next_attempt_at = now(), status = 'requested' where owner_id = %s",
            (erased.owner_id,),
        )
        others = await of_others(connection, erased)
        await tables.write(connection, [erased])
        assert await of_others(connection, erased) == others
        told = [
            row[0]
            for table in ("users", "monitors", "actions", "triggers", "notifications")
            for row in (await dump(connection))[table]
            if str(erased.owner_id) in str(row[0])
        ]
        due = "select count(*) from notifications where owner_id = %s and next_attempt_at is not null"
        assert await (await connection.execute(due, (erased.owner_id,))).fetchone() == (0,)
        active = "select count(*) from monitors where owner_id = %s and (status <> 'archived' or deleted_at is null)"
        assert await (await connection.execute(active, (erased.owner_id,))).fetchone() == (0,)
    assert len(told) > 5
    for word in ("Ada", "example.org", "secret", "cheap", "price 0", "tell me", "mail me", "Watches", "try later"):
        assert not [row for row in told if word in str(row)], word


async def of_others(connection: psycopg.AsyncConnection[tuple[object, ...]], erased: LogEntry) -> Rows:
    rows = await dump(connection)
    return {table: [row for row in found if str(erased.owner_id) not in str(row[0])] for table, found in rows.items()}


async def test_tables_kept_from_before_a_rebuild_lose_the_person_too(pool: Pool) -> None:
    entries = list(History(6, people=2, monitors_each=1).entries(60))
    await append_all(pool, entries)
    await sequence_all(pool)
    await project_all(pool)
    async for _ in Rebuild(pool, CORE, PostgresLog(pool)).run():
        pass
    owner_id = entries[0].owner_id
    async with pool.connection() as connection:
        await connection.execute("create schema read_model_older create table users (id uuid, told text)")
        await connection.execute("insert into read_model_older.users values (%s, 'Ada')", (owner_id,))
        # Of another make in what it allows, and somebody else's without any of our tables.
        await connection.execute("create schema read_model_oldest create table users (like users including all)")
        await connection.execute("alter table read_model_oldest.users add check (name <> 'erased')")
        await connection.execute("insert into read_model_oldest.users select * from users where id = %s", (owner_id,))
        await connection.execute("create schema read_model_of_a_stranger")
        assert "Ada" in str((await dump(connection, PREVIOUS))["users"])
    erased = NewEvents(stream_id=owner_id, owner_id=owner_id, expected_version=3, events=(UserErased(erased_at=AT),))
    await PostgresEventStore(pool, new_id=uuid7).append([erased], metadata=Metadata(correlation_id=uuid7(), actor="t"))
    await sequence_all(pool)
    await project_all(pool)
    async with pool.connection() as connection:
        live, kept = await dump(connection), await dump(connection, PREVIOUS)
        assert live == kept
        assert [row for row in kept["users"] if str(owner_id) in str(row[0]) and "Ada" in str(row[0])] == []
        assert await (await connection.execute("select * from read_model_older.users")).fetchall() == []
        assert await (await connection.execute("select * from read_model_oldest.users")).fetchall() == []
