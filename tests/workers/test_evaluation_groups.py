"""Evaluations that share a commit: each is still its own, in what it writes, what it refuses and whom it tells."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from uuid_utils.compat import uuid7

from adapters.personal_data import MissingKey
from adapters.postgres_appending import append_together
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool, open_pool
from commands.event_store import (
    CloseEvaluation,
    Companion,
    ConcurrentAppend,
    DropSchedule,
    ErasePerson,
    KeepEvidence,
    KeepSchedule,
)
from domain.evaluation import EvaluationCompleted, FactExtracted, Previous, Verdict
from domain.event import Metadata, NewEvents
from domain.evidence import Document, FetchOutcome
from domain.monitor import MonitorDeleted, MonitorRenamed, State
from domain.user import UserErased
from tests.conftest import AT
from tests.faults.tcp_proxy import Moment, TcpProxy, commits_append, postgres_behind
from tests.workers.world import EVERY_SECONDS, World, plan, price_fact

LEAVES = Previous(verdict=Verdict.MET, streak=1, plan_revision=1)
METADATA = Metadata(correlation_id=uuid7(), actor="test")


@dataclass(frozen=True)
class Closing:
    """The end of an evaluation: what the evaluator appends."""

    monitor: UUID
    owner: UUID
    evaluation: UUID
    due_at: datetime = AT
    previous: UUID | None = None
    leaves: Previous = LEAVES
    renames: int | None = None
    content: str | None = None

    async def by(self, store: PostgresEventStore) -> None:
        await store.append(self.batch(), metadata=METADATA, companions=self.companions())

    def batch(self) -> list[NewEvents]:
        completed = EvaluationCompleted(
            monitor_id=self.monitor,
            plan_revision=1,
            due_at=self.due_at,
            verdict=Verdict.MET,
            state_before=State.ACTIVE,
            state_after=State.ACTIVE,
            condition="price < 200",
            inputs={"price": 187.5},
            streak=1,
            evidence=(),
            provider="rules",
            duration_ms=1,
            started_at=AT,
            completed_at=AT,
        )
        fact = FactExtracted(monitor_id=self.monitor, fact=price_fact(187.5, AT))
        of_monitor = MonitorRenamed(name="Pot", renamed_at=AT)
        batch = [self._new(self.evaluation, 0, fact, completed)]
        return batch if self.renames is None else [*batch, self._new(self.monitor, self.renames, of_monitor)]

    def _new(self, stream: UUID, after: int, *events: Any) -> NewEvents:  # noqa: ANN401  events of either stream
        return NewEvents(stream_id=stream, owner_id=self.owner, expected_version=after, events=events)

    def companions(self) -> list[Companion]:
        leaves = msgspec.structs.replace(self.leaves, evaluation_id=self.evaluation)
        next_due_at = self.due_at + timedelta(seconds=EVERY_SECONDS)
        close = CloseEvaluation(
            self.monitor, self.evaluation, self.previous, leaves, self.due_at, next_due_at, next_due_at
        )
        if self.content is None:
            return [close]
        document = Document(
            url="http://127.0.0.1/",
            outcome=FetchOutcome.OK,
            fetched_at=AT,
            body=self.content.encode(),
            hash=f"{self.content:0>64}",
        )
        return [close, KeepEvidence(self.monitor, "http://127.0.0.1/", document)]


async def closings(world: World, count: int) -> list[Closing]:
    """So many monitors of one person, each with an evaluation that is about to be recorded."""
    owner = await world.person()
    return [Closing(await world.monitor(owner, plan()), owner, uuid7()) for _ in range(count)]


async def record(store: PostgresEventStore, group: Sequence[Closing]) -> list[BaseException | None]:
    return await asyncio.gather(*(one.by(store) for one in group), return_exceptions=True)


async def transactions(world: World, group: Sequence[Closing]) -> list[int]:
    """How many of these evaluations each transaction recorded."""
    query = "select count(*) from event where stream_id = any (%s) and version = 1 group by tx"
    async with world.pool.connection() as connection:
        rows = await (await connection.execute(query, ([one.evaluation for one in group],))).fetchall()
    return [row[0] for row in rows]


async def are_recorded_once(world: World, group: Sequence[Closing]) -> None:
    stored = "select stream_id, count(*) from event where stream_id = any (%s) group by stream_id"
    async with world.pool.connection() as connection:
        rows = await (await connection.execute(stored, ([one.evaluation for one in group],))).fetchall()
        assert dict(rows) == {one.evaluation: 2 for one in group}
    for one in group:
        assert await world.due_at(one.monitor) == one.due_at + timedelta(seconds=EVERY_SECONDS)


async def test_evaluations_that_end_together_share_one_commit_with_all_their_events(world: World) -> None:
    group = await closings(world, 50)
    group[7] = replace(group[7], renames=1)
    assert await record(world.store, group) == [None] * 50
    assert await transactions(world, group) == [50]
    await are_recorded_once(world, group)
    assert len(await world.store.load(group[7].monitor)) == 2
    assert {type(stored.event) for stored in await world.store.load(group[0].evaluation)} == {
        FactExtracted,
        EvaluationCompleted,
    }


RACES = ("evaluated", "version taken", "version ahead", "evaluation taken", "erased", "deleted")


async def lose(world: World, one: Closing, race: str) -> Closing:
    """Somebody else was faster."""
    match race:
        case "evaluated":
            await replace(one, evaluation=uuid7()).by(world.store)
        case "version taken":
            await world.append(one.owner, one.monitor, MonitorRenamed(name="Pan", renamed_at=AT))
            return replace(one, renames=1)
        case "version ahead":
            return replace(one, renames=7)
        case "evaluation taken":
            await one.by(world.store)
        case "erased":
            owner = await world.person()
            one = Closing(await world.monitor(owner, plan()), owner, uuid7())
            await world.append(owner, owner, UserErased(erased_at=AT), companions=[ErasePerson(owner)])
        case _:
            deleted = MonitorDeleted(deleted_at=AT)
            await world.append(one.owner, one.monitor, deleted, companions=[DropSchedule(one.monitor)])
    return one


@pytest.mark.parametrize("race", RACES)
async def test_of_evaluations_that_end_together_only_the_one_that_lost_a_race_is_refused(
    world: World, race: str
) -> None:
    group = await closings(world, 12)
    lost = group[5] = await lose(world, group[5], race)
    before = len(await world.store.load(lost.evaluation))
    outcomes = await record(world.store, group)
    assert isinstance(outcomes[5], ConcurrentAppend)
    assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[5]]
    await are_recorded_once(world, [one for one in group if one is not lost])
    assert len(await world.store.load(lost.evaluation)) == before


async def test_two_evaluations_of_one_monitor_at_the_same_moment_follow_each_other(world: World) -> None:
    [one] = await closings(world, 1)
    other = replace(one, evaluation=uuid7())
    outcomes = await record(world.store, [one, other])
    assert sorted(map(repr, outcomes)) == ["ConcurrentAppend()", "None"]


async def test_an_evaluation_that_waits_for_a_rival_holds_up_no_other(world: World) -> None:
    group = await closings(world, 12)
    async with world.pool.connection() as rival:
        async with rival.transaction():
            for one in group[3:5]:
                await rival.execute("select from schedule where monitor_id = %s for update", (one.monitor,))
            tasks = [asyncio.create_task(one.by(world.store)) for one in group]
            held_up = tasks[3:5]
            async with asyncio.timeout(10):  # half of what a lock is waited for
                await asyncio.gather(*(task for task in tasks if task not in held_up))
                later = await closings(world, 3)
                assert await record(world.store, later) == [None] * 3
            assert not any(task.done() for task in held_up)
        await asyncio.gather(*held_up)
    await are_recorded_once(world, [*group, *later])


@pytest.fixture
async def other_store(workers_database: str) -> AsyncIterator[PostgresEventStore]:
    async with open_pool(workers_database, size_max=4) as opened:
        yield PostgresEventStore(opened, new_id=uuid7)


async def test_processes_that_record_the_same_evaluations_in_different_orders_end_soon_and_record_each_once(
    world: World, other_store: PostgresEventStore
) -> None:
    chance = random.Random(20260101)
    group = await closings(world, 6)
    for number in range(100):
        due_at = AT + timedelta(seconds=number * EVERY_SECONDS)
        content = f"{number % 3}" if number % 2 else None
        group = [
            replace(
                one, evaluation=uuid7(), previous=one.evaluation if number else None, due_at=due_at, content=content
            )
            for one in group
        ]
        orders = [chance.sample(group, k=len(group)) for _ in range(2)]
        async with asyncio.timeout(10):
            theirs, others = await asyncio.gather(record(world.store, orders[0]), record(other_store, orders[1]))
        told = [
            *zip((one.evaluation for one in orders[0]), theirs, strict=True),
            *zip((one.evaluation for one in orders[1]), others, strict=True),
        ]
        for one in group:
            assert sorted(repr(outcome) for of, outcome in told if of == one.evaluation) == [
                "ConcurrentAppend()",
                "None",
            ]
        await are_recorded_once(world, group)


@dataclass
class Behind:
    """The store through a proxy."""

    proxy: TcpProxy
    store: PostgresEventStore


@pytest.fixture
async def behind(workers_database: str, pool: Pool) -> AsyncIterator[Behind]:
    async with postgres_behind(workers_database) as (proxy, url), open_pool(url, size_max=4, size_min=2) as through:
        await through.wait()
        yield Behind(proxy, PostgresEventStore(through, new_id=uuid7))


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_group_that_is_cut_at_its_commit_is_recorded_once(
    world: World, behind: Behind, moment: Moment, times: int
) -> None:
    group = await closings(world, 20)
    behind.proxy.cut(commits_append, moment, times=times)
    assert await record(behind.store, group) == [None] * 20
    assert behind.proxy.cuts == times
    await are_recorded_once(world, group)


class Alone(PostgresEventStore):
    """Records each evaluation in a transaction of its own."""

    async def record(self, one: Closing) -> None:
        await append_together(self._pool, self._rows(one.batch(), METADATA, MissingKey), one.companions())


moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(AT.tzinfo))  # type: ignore[arg-type]  # noqa: DTZ001  hypothesis adds the zone
leavings = st.builds(
    Previous,
    plan_revision=st.integers(0, 9),
    verdict=st.sampled_from([None, Verdict.MET, Verdict.NOT_MET]),
    streak=st.integers(0, 9),
    condition=st.none() | st.sampled_from(["price < 200", 'a == "\u00e9\\""']),
    held_since=st.none() | moments,
    failures=st.integers(0, 3),
    failed_since=st.none() | moments,
)


@given(
    leaves=leavings,
    due_at=moments,
    slot_moved=st.booleans(),
    handed_out=st.booleans(),
    attempts=st.integers(0, 4),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_schedule_is_the_same_whether_an_evaluation_is_recorded_alone_or_with_others(
    leaves: Previous, due_at: datetime, *, slot_moved: bool, handed_out: bool, attempts: int, world: World
) -> None:
    group = [replace(one, leaves=leaves, due_at=due_at) for one in await closings(world, 3)]
    slot = due_at + timedelta(microseconds=1) if slot_moved else due_at
    for one in group:
        keep = KeepSchedule(one.monitor, one.owner, plan().schedule, active=True, due_at=slot)
        await world.store.append([], metadata=METADATA, companions=[keep])
        await world.execute(
            "update schedule set attempts = %s, enqueued_at = %s where monitor_id = %s",
            attempts,
            AT if handed_out else None,
            one.monitor,
        )
    alone, *together = group
    await Alone(world.pool, new_id=uuid7).record(alone)
    assert await record(world.store, together) == [None, None]
    assert await transactions(world, together) == [2]
    assert await row(world, alone) == await row(world, together[0]) == await row(world, together[1])


async def row(world: World, one: Closing) -> dict[str, Any]:
    """The monitor's row in the schedule, without what is its own."""
    async with world.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("select * from schedule where monitor_id = %s", (one.monitor,))
        found = await cursor.fetchone()
    assert found is not None
    assert (found.pop("monitor_id"), found.pop("owner_id")) == (one.monitor, one.owner)
    assert found.pop("last_evaluation_id") == one.evaluation
    assert found["previous"].pop("evaluation_id") == str(one.evaluation)
    return found
