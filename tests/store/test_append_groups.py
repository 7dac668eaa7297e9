"""Appends that share a commit: each is still its own, in what it writes, what it refuses and whom it tells."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.postgres_append_groups import APPEND_GROUP, GROUPS_AT_ONCE, AppendGroups, Row
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool, open_pool
from commands.event_store import ConcurrentAppend
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from tests.conftest import AT

METADATA = Metadata(correlation_id=uuid7(), actor="test")
INSERT: LiteralString = (
    "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
    " values (%s, 1, %s, 'user.role_granted', 1, '{}', '{}', %s)"
)


def one_event(stream_id: UUID, role: str, *, after: int = 0) -> NewEvents:
    return NewEvents(
        stream_id=stream_id,
        owner_id=stream_id,
        expected_version=after,
        events=(RoleGranted(role=role, granted_at=AT),),
    )


async def transactions_of(pool: Pool) -> list[int]:
    """How many events each transaction wrote."""
    async with pool.connection() as connection:
        rows = await (await connection.execute("select count(*) from event group by tx")).fetchall()
    return [row[0] for row in rows]


async def test_appends_that_wait_together_are_committed_together_and_all_stored(pool: Pool) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    streams = [uuid7() for _ in range(300)]
    await asyncio.gather(*(store.append([one_event(s, "a")], metadata=METADATA) for s in streams))
    written = await transactions_of(pool)
    assert sum(written) == 300
    assert len(written) < 30
    assert [len(await store.load(s)) for s in streams[:10]] == [1] * 10


class Held(AppendGroups):
    """Writes nothing, and that only when it is let."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.let = asyncio.Event()

    async def _stored(self, rows: Sequence[Row], *, in_a_hurry: bool) -> set[UUID]:
        await self.let.wait()
        return {row["event_id"] for row in rows}


async def test_who_appends_in_the_turn_in_which_all_others_are_done_is_written_too(pool: Pool) -> None:
    groups = Held(pool)
    tasks = []
    for _ in range(GROUPS_AT_ONCE):
        tasks.append(asyncio.create_task(groups.append({"event_id": uuid7()})))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def late() -> None:
        await groups.let.wait()
        await groups.append({"event_id": uuid7()})

    tasks.append(asyncio.create_task(late()))
    await asyncio.sleep(0)
    groups.let.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)


@given(
    attempts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_appends_meet_each_is_stored_or_refused_as_if_alone(
    attempts: list[tuple[int, int]], database: str
) -> None:
    asyncio.run(_meet(attempts, database))


async def _meet(attempts: list[tuple[int, int]], database: str) -> None:
    async with open_pool(database, size_max=4) as pool:
        store = PostgresEventStore(pool, new_id=uuid7)
        streams = [uuid7() for _ in range(4)]
        outcomes = await asyncio.gather(
            *(
                store.append([one_event(streams[stream], str(number), after=after)], metadata=METADATA)
                for number, (stream, after) in enumerate(attempts)
            ),
            return_exceptions=True,
        )
        told: dict[UUID, set[str]] = defaultdict(set)
        for number, ((stream, _), outcome) in enumerate(zip(attempts, outcomes, strict=True)):
            assert outcome is None or isinstance(outcome, ConcurrentAppend)
            if outcome is None:
                told[streams[stream]].add(str(number))
        for stream_id in streams:
            stored = await store.load(stream_id)
            assert [event.version for event in stored] == list(range(1, len(stored) + 1))
            assert {event.event.role for event in stored if isinstance(event.event, RoleGranted)} == told[stream_id]


async def test_an_event_that_cannot_be_stored_is_refused_alone(pool: Pool) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    good = [uuid7() for _ in range(20)]
    bad = uuid7()
    appends = [store.append([one_event(s, "a")], metadata=METADATA) for s in good]
    appends.insert(7, store.append([one_event(bad, "a\u0000b")], metadata=METADATA))
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(o) for o in outcomes if o is not None] == [psycopg.errors.UntranslatableCharacter]
    assert [len(await store.load(s)) for s in [*good, bad]] == [1] * 20 + [0]


async def test_who_stops_waiting_stops_nobody_else(pool: Pool) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    streams = [uuid7() for _ in range(30)]
    tasks = [asyncio.create_task(store.append([one_event(s, "a")], metadata=METADATA)) for s in streams]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(o, asyncio.CancelledError) for o in outcomes[::2])
    assert [o for o in outcomes[1::2] if o is not None] == []
    assert [len(await store.load(s)) for s in streams[1::2]] == [1] * 15


async def test_without_a_database_everybody_who_waits_is_told(pool: Pool) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    await pool.close()
    appends = [store.append([one_event(uuid7(), "a")], metadata=METADATA) for _ in range(10)]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert len([o for o in outcomes if isinstance(o, psycopg.OperationalError)]) == 10


async def test_an_append_that_waits_for_a_rivals_commit_holds_up_nobody(pool: Pool, database: str) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    contested = uuid7()
    async with await psycopg.AsyncConnection.connect(database) as rival:
        await rival.execute(INSERT, (contested, contested, uuid7()))
        waiting = asyncio.create_task(store.append([one_event(contested, "a")], metadata=METADATA))
        await asyncio.sleep(0)
        others = [uuid7() for _ in range(20)]
        async with asyncio.timeout(10):
            await asyncio.gather(*(store.append([one_event(s, "a")], metadata=METADATA) for s in others))
        assert not waiting.done()
        await rival.commit()
    with pytest.raises(ConcurrentAppend):
        await waiting


@pytest.mark.parametrize(
    "limits", [{"settings": "-c lock_timeout=500ms"}, {"answer_seconds_max": 1.0}], ids=["a lock", "an answer"]
)
@pytest.mark.parametrize("held", [1, 3])
async def test_a_rival_that_hangs_fails_only_those_that_wait_for_it(
    database: str, limits: dict[str, Any], held: int
) -> None:
    streams = [uuid7() for _ in range(12)]
    stuck = streams[2 : 2 + held]
    async with (
        open_pool(database, size_max=4, **limits) as pool,
        await psycopg.AsyncConnection.connect(database) as rival,
    ):
        store = PostgresEventStore(pool, new_id=uuid7)
        for stream_id in stuck:
            await rival.execute(INSERT, (stream_id, stream_id, uuid7()))
        appends = [store.append([one_event(s, "a")], metadata=METADATA) for s in streams]
        outcomes = dict(zip(streams, await asyncio.gather(*appends, return_exceptions=True), strict=True))
        refused = {s: type(outcome) for s, outcome in outcomes.items() if outcome is not None}
        assert refused == dict.fromkeys(stuck, psycopg.errors.LockNotAvailable)
        assert [len(await store.load(s)) for s in streams] == [0 if s in stuck else 1 for s in streams]


async def test_those_of_a_group_that_must_go_alone_do_not_wait_for_one_that_a_rival_holds_up(
    pool: Pool, database: str
) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    contested, *others = (uuid7() for _ in range(12))
    async with await psycopg.AsyncConnection.connect(database) as rival:
        await rival.execute(INSERT, (contested, contested, uuid7()))
        bad = store.append([one_event(uuid7(), "a\u0000b")], metadata=METADATA)
        waiting, unstorable, *good = (
            asyncio.create_task(append)
            for append in (
                store.append([one_event(contested, "a")], metadata=METADATA),
                bad,
                *(store.append([one_event(s, "a")], metadata=METADATA) for s in others),
            )
        )
        async with asyncio.timeout(10):  # half of what a lock is waited for
            await asyncio.gather(*good)
        assert isinstance(unstorable.exception(), psycopg.errors.UntranslatableCharacter)
        assert not waiting.done()
        await rival.commit()
    with pytest.raises(ConcurrentAppend):
        await waiting


async def test_a_deadlock_with_a_rival_costs_nobody_who_shares_the_statement_anything(database: str) -> None:
    first, *others, last = (uuid7() for _ in range(20))
    waits = "select exists (select from pg_locks where locktype = 'transactionid' and not granted)"
    # The group finds out first, so it is the one that is ended.
    async with (
        open_pool(database, size_max=4, settings="-c deadlock_timeout=20ms") as pool,
        await psycopg.AsyncConnection.connect(database) as rival,
    ):
        store = PostgresEventStore(pool, new_id=uuid7)
        await rival.execute(INSERT, (last, last, uuid7()))
        appends = [store.append([one_event(s, "a")], metadata=METADATA) for s in (first, *others, last)]
        together = asyncio.gather(*appends, return_exceptions=True)
        async with pool.connection() as watching:
            while await (await watching.execute(waits)).fetchone() != (True,):
                await asyncio.sleep(0)
        await rival.execute(INSERT, (others[-1], others[-1], uuid7()))
        await rival.commit()
        outcomes = await together
    refused = [type(outcome) for outcome in outcomes if outcome is not None]
    assert refused == [ConcurrentAppend, ConcurrentAppend]


async def test_a_group_finds_predecessors_by_their_keys_however_large_the_table_is(pool: Pool) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    streams = [uuid7() for _ in range(2_000)]
    await asyncio.gather(*(store.append([one_event(s, "a")], metadata=METADATA) for s in streams))
    document = json.dumps([[str(s), 2, str(s), "user.role_granted", 1, {}, {}, str(uuid7())] for s in streams[:8]])
    async with pool.connection() as connection:
        await connection.execute("analyze event")
        rows = await (await connection.execute("explain " + APPEND_GROUP, (document,))).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "event_pkey" in plan
    assert "Seq Scan on event" not in plan
    assert "hashed" not in plan
