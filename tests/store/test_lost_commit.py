"""Appends whose connection is cut around COMMIT: done exactly once, and never told as somebody else's doing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import ATTEMPTS_MAX, PostgresEventStore
from adapters.postgres_pool import Pool, open_pool
from commands.event_store import Companion, ConcurrentAppend, KeepReceipt, Receipt, Reserve
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from tests.conftest import AT
from tests.faults.tcp_proxy import Message, Moment, TcpProxy, commits_append, postgres_behind

HOLD = 7
_SLOW_COMMIT: LiteralString = """
create function wait_at_commit() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock(7); return null; end $$;
create constraint trigger slow_commit after insert on event deferrable initially deferred
for each row execute function wait_at_commit()
"""
_WAITING = "select pid, query from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


@dataclass(frozen=True)
class Append:
    """What is appended, and what of it must be stored afterwards."""

    batch: Sequence[NewEvents]
    companions: Sequence[Companion] = ()

    async def by(self, store: PostgresEventStore) -> None:
        await store.append(
            self.batch, metadata=Metadata(correlation_id=uuid7(), actor="test"), companions=self.companions
        )

    async def is_stored_once(self, pool: Pool) -> None:
        for new in self.batch:
            expected = [(new.expected_version + n, event.role) for n, event in enumerate(roles(new), start=1)]
            found = await rows(
                pool,
                "select version, data->>'role' from event where stream_id = %s and version > %s order by version",
                new.stream_id,
                new.expected_version,
            )
            assert found == expected
        assert await self._companions(pool) == (
            sum(isinstance(companion, Reserve) for companion in self.companions),
            sum(isinstance(companion, KeepReceipt) for companion in self.companions),
        )

    async def is_not_stored(self, pool: Pool) -> None:
        for new in self.batch:
            after = "select count(*) from event where stream_id = %s and version > %s"
            assert await rows(pool, after, new.stream_id, new.expected_version) == [(0,)]
        assert await self._companions(pool) == (0, 0)

    async def _companions(self, pool: Pool) -> tuple[object, ...]:
        """How many reservations and receipts there are of these streams."""
        streams = [new.stream_id for new in self.batch]
        (found,) = await rows(
            pool,
            "select (select count(*) from reservation where stream_id = any (%s)),"
            " (select count(*) from command_receipt where owner_id = any (%s))",
            streams,
            streams,
        )
        return found


def roles(new: NewEvents) -> list[RoleGranted]:
    return [event for event in new.events if isinstance(event, RoleGranted)]


def granted(stream_id: UUID, *names: str, after: int = 0) -> NewEvents:
    events = tuple(RoleGranted(role=name, granted_at=AT) for name in names)
    return NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=after, events=events)


def kept(stream_id: UUID) -> list[Companion]:
    receipt = Receipt(fingerprint=b"f", status=201, stream_id=stream_id, version=1, answer={"id": str(stream_id)})
    return [
        KeepReceipt(owner_id=stream_id, command_id="key", receipt=receipt),
        Reserve("name", str(stream_id), stream_id),
        Reserve(f"places:{stream_id}", "one", stream_id, places_max=1),
    ]


KINDS = ("one event", "several events", "a later event", "several streams", "with companions", "all of it")


async def made(kind: str, direct: PostgresEventStore) -> Append:
    """An append of this kind, with what has to be there before it."""
    one, other = uuid7(), uuid7()
    match kind:
        case "one event":
            return Append([granted(one, "a")])
        case "several events":
            return Append([granted(one, "a", "b", "c")])
        case "a later event":
            await Append([granted(one, "first")]).by(direct)
            return Append([granted(one, "second", after=1)])
        case "several streams":
            return Append([granted(one, "a"), granted(other, "b", "c")])
        case "with companions":
            return Append([granted(one, "a")], kept(one))
        case _:
            await Append([granted(other, "first")]).by(direct)
            return Append([granted(one, "a", "b"), granted(other, "second", after=1)], kept(one))


async def rows(pool: Pool, query: LiteralString, *values: object) -> list[tuple[object, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query, values)).fetchall()


@dataclass
class World:
    """The same store, directly and through a proxy."""

    pool: Pool
    direct: PostgresEventStore
    proxy: TcpProxy
    store: PostgresEventStore


@pytest.fixture
async def world(pool: Pool, database: str) -> AsyncIterator[World]:
    async with postgres_behind(database) as (proxy, url), open_pool(url, size_max=4, size_min=2) as through:
        await through.wait()
        stores = PostgresEventStore(pool, new_id=uuid7), PostgresEventStore(through, new_id=uuid7)
        yield World(pool, stores[0], proxy, stores[1])


@pytest.mark.parametrize("kind", KINDS)
async def test_an_append_that_is_cut_at_its_commit_is_stored_once(world: World, kind: str) -> None:
    for moment, reset in product(Moment, (False, True)):
        append = await made(kind, world.direct)
        world.proxy.cut(commits_append, moment, reset=reset)
        await append.by(world.store)
        assert world.proxy.cuts == 1
        await append.is_stored_once(world.pool)


@pytest.mark.parametrize("kind", ["one event", "all of it"])
async def test_whatever_becomes_of_each_attempt_it_is_all_or_nothing_and_told_truly(world: World, kind: str) -> None:
    """Every sequence of cuts, of one to as many as there are attempts."""
    for moments in (m for count in range(1, ATTEMPTS_MAX + 1) for m in product(Moment, repeat=count)):
        append, left = await made(kind, world.direct), list(moments)

        def cut_next(message: Message, left: list[Moment] = left) -> bool:
            if not message.commits_append or not left:
                return False
            world.proxy.moment = left.pop(0)
            return True

        world.proxy.cut(cut_next, times=len(moments))
        try:
            await append.by(world.store)
        except psycopg.OperationalError:
            assert world.proxy.cuts == ATTEMPTS_MAX, "nobody could know"
            await world.proxy.settled()
            if Moment.AFTER not in moments:
                await append.is_not_stored(world.pool)
                continue
        await append.is_stored_once(world.pool)


@pytest.mark.parametrize("kind", ["one event", "several streams", "all of it"])
@pytest.mark.parametrize("ends", ["commits", "fails"])
async def test_a_second_attempt_waits_for_a_first_that_is_still_committing(world: World, kind: str, ends: str) -> None:
    append = await made(kind, world.direct)
    async with world.pool.connection() as holder:
        await holder.execute(_SLOW_COMMIT)
        await holder.execute("select pg_advisory_lock(%s)", (HOLD,))
        world.proxy.cut(commits_append)
        appending = asyncio.create_task(append.by(world.store))
        first, second = await both_wait(world.pool, appending)
        assert first != second
        if ends == "fails":
            await holder.execute("select pg_terminate_backend(%s)", (first,))
        await holder.execute("select pg_advisory_unlock(%s)", (HOLD,))
        await appending
    await append.is_stored_once(world.pool)


async def both_wait(pool: Pool, appending: asyncio.Task[None]) -> tuple[object, object]:
    """The server's process of the first attempt, which waits at its commit, and that of the second, which waits for it."""
    async with asyncio.timeout(10):
        while not appending.done():
            waiting = await rows(pool, _WAITING)
            if len(waiting) == 2:
                at_commit = await rows(
                    pool, "select pid from pg_locks where locktype = 'advisory' and objid = %s and not granted", HOLD
                )
                (first,) = at_commit[0]
                (second,) = (pid for pid, _ in waiting if pid != first)
                return first, second
            await asyncio.sleep(0.005)
    raise AssertionError("the append ended without waiting")


async def test_appends_that_share_a_commit_are_each_stored_once_and_refused_alone(world: World) -> None:
    for moment in Moment:
        taken = uuid7()
        await Append([granted(taken, "theirs")]).by(world.direct)
        all_of_them = [Append([granted(uuid7(), "a")]) for _ in range(20)]
        world.proxy.cut(commits_append, moment, times=2)
        refused, *outcomes = await asyncio.gather(
            *(append.by(world.store) for append in (Append([granted(taken, "mine")]), *all_of_them)),
            return_exceptions=True,
        )
        assert isinstance(refused, ConcurrentAppend)
        assert outcomes == [None] * 20
        assert world.proxy.cuts == 2
        for append in all_of_them:
            await append.is_stored_once(world.pool)


async def test_a_rival_that_took_the_version_while_the_connection_was_lost_is_told(world: World) -> None:
    stream = uuid7()
    rival = """
    insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
    values (%s, 1, %s, 'user.role_granted', 1, '{"role": "theirs"}', '{}', gen_random_uuid())
    """
    async with world.pool.connection() as theirs:
        async with theirs.transaction():
            await theirs.execute(rival, (stream, stream))
            appending = asyncio.create_task(Append([granted(stream, "mine")]).by(world.store))
            await waits(world.pool)
            world.proxy.drop_all()
            await waits(world.pool, twice=True)
        with pytest.raises(ConcurrentAppend):
            await appending
    assert await rows(world.pool, "select data->>'role' from event where stream_id = %s", stream) == [("theirs",)]


async def waits(pool: Pool, *, twice: bool = False) -> None:
    """Return when an append (`twice`: the next attempt of it too) waits for a lock."""
    async with asyncio.timeout(10):
        while len(await rows(pool, _WAITING)) < 1 + twice:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["one event", "a later event", "all of it"])
async def test_an_append_is_stored_once_wherever_it_is_cut(world: World, kind: str) -> None:
    """At every message of its conversation, not only at the last."""
    for moment in Moment:
        number = 0
        while number == 0 or world.proxy.cuts:
            number += 1
            append = await made(kind, world.direct)
            world.proxy.cut(at(number), moment)
            await append.by(world.store)
            await append.is_stored_once(world.pool)
        assert number > 4


def at(number: int) -> Callable[[Message], bool]:
    return lambda message: message.number == number
