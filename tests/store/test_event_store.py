"""The event store against a real PostgreSQL."""

import asyncio
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool, open_pool
from commands.event_store import AlreadyReserved, ConcurrentAppend, QuotaExceeded, Reserve
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from tests.conftest import AT


@pytest.fixture
async def store(pool: Pool) -> PostgresEventStore:
    return PostgresEventStore(pool, new_id=uuid7)


def metadata() -> Metadata:
    return Metadata(correlation_id=uuid7(), actor="test")


def granted(stream_id: UUID, *roles: str, after: int = 0) -> NewEvents:
    events = tuple(RoleGranted(role=role, granted_at=AT) for role in roles)
    return NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=after, events=events)


async def test_what_was_appended_is_loaded_in_order(store: PostgresEventStore) -> None:
    stream = uuid7()
    await store.append([granted(stream, "a", "b")], metadata=metadata())
    await store.append([granted(stream, "c", after=2)], metadata=metadata())
    loaded = await store.load(stream)
    assert [(e.version, e.event.role) for e in loaded if isinstance(e.event, RoleGranted)] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]
    assert await store.load(stream, after_version=2) == loaded[2:]


async def test_of_writers_with_the_same_expected_version_exactly_one_wins(store: PostgresEventStore) -> None:
    stream = uuid7()
    attempts = [store.append([granted(stream, str(i))], metadata=metadata()) for i in range(8)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(o).__name__ for o in outcomes) == ["ConcurrentAppend"] * 7 + ["NoneType"]
    assert len(await store.load(stream)) == 1


async def test_a_version_ahead_of_the_stream_is_refused_and_leaves_no_gap(store: PostgresEventStore) -> None:
    stream = uuid7()
    with pytest.raises(ConcurrentAppend):
        await store.append([granted(stream, "a", after=3)], metadata=metadata())
    assert await store.load(stream) == []


async def test_several_streams_are_appended_together_or_not_at_all(store: PostgresEventStore) -> None:
    old, new = uuid7(), uuid7()
    await store.append([granted(old, "a")], metadata=metadata())
    with pytest.raises(ConcurrentAppend):
        await store.append([granted(new, "x"), granted(old, "b", after=0)], metadata=metadata())
    assert await store.load(new) == []


async def test_a_reserved_value_is_refused_to_another_stream_and_its_events_are_not_stored(
    store: PostgresEventStore,
) -> None:
    first, second = uuid7(), uuid7()
    await store.append([granted(first, "a")], metadata=metadata(), companions=[Reserve("name", "x", first)])
    with pytest.raises(AlreadyReserved) as caught:
        await store.append([granted(second, "a")], metadata=metadata(), companions=[Reserve("name", "x", second)])
    assert caught.value.scope == "name"
    assert await store.load(second) == []


async def test_which_values_are_reserved_is_told_of_one_scope_only(store: PostgresEventStore) -> None:
    held = [Reserve("name", "x", uuid7()), Reserve("name", "y", uuid7()), Reserve("other", "z", uuid7())]
    await store.append([], metadata=metadata(), companions=held)
    assert await store.reserved("name", ["w", "x", "y", "z"]) == {"x", "y"}
    assert await store.reserved("name", []) == frozenset()


async def test_a_quota_holds_against_writers_at_the_same_moment(store: PostgresEventStore) -> None:
    async def take(value: int) -> None:
        stream = uuid7()
        await store.append(
            [granted(stream, "a")], metadata=metadata(), companions=[Reserve("q", str(value), stream, 3)]
        )

    outcomes = await asyncio.gather(*(take(i) for i in range(9)), return_exceptions=True)
    assert sum(o is None for o in outcomes) == 3
    assert sum(isinstance(o, QuotaExceeded) for o in outcomes) == 6


async def test_an_append_that_is_not_the_first_write_of_its_transaction_is_refused(database: str) -> None:
    async with open_pool(database, size_max=1) as pool, pool.connection() as connection:
        with pytest.raises(psycopg.Error, match="first write") as caught:
            async with connection.transaction():
                await connection.execute("insert into reservation values ('a', 'b', gen_random_uuid())")
                await connection.execute("select append_events('{}','{}','{}','{}','{}','{}','{}','{}')")
        assert caught.value.sqlstate == "VG001"


async def test_a_predecessor_that_commits_later_is_not_awaited_but_missed(
    store: PostgresEventStore, database: str
) -> None:
    """Were it awaited, its successor would have the older transaction id, and be sequenced before it."""
    stream = uuid7()
    async with await psycopg.AsyncConnection.connect(database) as rival:
        await rival.execute(
            "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
            """ values (%s, 1, %s, 'user.role_granted', 1, '{"role": "a"}', '{}', %s)""",
            (stream, stream, uuid7()),
        )
        for roles in (("b",), ("b", "c")):
            with pytest.raises(ConcurrentAppend):
                await store.append([granted(stream, *roles, after=1)], metadata=metadata())
        await rival.commit()
    await store.append([granted(stream, "b", "c", after=1)], metadata=metadata())
