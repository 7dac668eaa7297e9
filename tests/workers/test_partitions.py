"""Processes share the partitions of a consumer evenly, whoever comes, goes or dies: real PostgreSQL, whose clock is moved by
moving what is written in its leases."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_pool import Pool
from domain.log_entry import PARTITIONS
from tests.workers.world import Ticks
from workers.partitions import PartitionLeases

LIFETIME = timedelta(hours=6)
RENEWAL = timedelta(hours=1)
"""In hours, so that how long the test itself takes means nothing."""
RENEWALS_IN_A_LIFETIME = LIFETIME // RENEWAL

ADVANCE = "update lease set expires_at = expires_at - %s where starts_with(name, %s)"


class Crew:
    """The processes of one consumer, of which nobody else ever heard."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.consumer = uuid7().hex
        self.ticks = Ticks()
        self.living: dict[str, PartitionLeases] = {}
        self.renewed_at: dict[str, float] = {}
        self.fences: dict[int, tuple[int, str]] = {}
        self.asked: list[int] = []

    def join(self, name: str) -> None:
        """A process starts; it asks for its share at its first renewal."""
        if name not in self.living:
            leases = PostgresLeases(self._pool)
            holder = f"{name}-{uuid7().hex}"
            self.living[name] = PartitionLeases(leases, consumer=self.consumer, holder=holder, monotonic=self.ticks)

    async def leave(self, name: str) -> None:
        """One hands over and ends."""
        if name in self.living:
            await self.living.pop(name).let_go()
            self.renewed_at.pop(name, None)

    def kill(self, name: str) -> None:
        """One ends without a word."""
        self.living.pop(name, None)
        self.renewed_at.pop(name, None)

    async def advance(self, by: timedelta) -> None:
        """Time passes."""
        self.ticks.move(by.total_seconds())
        async with self._pool.connection() as connection:
            await connection.execute(ADVANCE, (by, self.consumer))

    async def renew(self, name: str) -> None:
        """One renews, and what it may lose and win then is checked."""
        if name not in self.living:
            return
        leases, now = self.living[name], self.ticks()
        before, was_alive = dict(leases.epochs), now < self.renewed_at.get(name, 0) + LIFETIME.total_seconds()
        due = leases.are_due
        await leases.renew(self.places)
        if due:
            self.renewed_at[name] = now
        if was_alive and len(leases.epochs) < len(before):
            assert len(leases.epochs) >= PARTITIONS // await self._present(), "gave up more than its surplus"
        assert leases.places.keys() == leases.epochs.keys()
        for partition, epoch in leases.epochs.items():
            last, holder = self.fences.get(partition, (0, ""))
            assert epoch > last or (epoch == last and holder == name), "a new owner does not fence the old one"
            self.fences[partition] = (epoch, name)
        self.check_owners()

    def check_owners(self) -> None:
        """No two that are within their lifetime own the same partition."""
        owned: list[int] = []
        for name, leases in self.living.items():
            if self.ticks() < self.renewed_at.get(name, 0) + LIFETIME.total_seconds():
                owned += leases.epochs
        assert len(owned) == len(set(owned))

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """Nobody consumes anything here."""
        self.asked.append(len(partitions))
        return dict.fromkeys(partitions, 0)

    async def round(self, names: Sequence[str] = ()) -> None:
        """Everybody renews once more, in this order or that in which they came."""
        await self.advance(RENEWAL)
        for name in names or list(self.living):
            await self.renew(name)

    def shares(self) -> dict[str, int]:
        return {name: len(leases.epochs) for name, leases in self.living.items()}

    def epochs(self) -> dict[str, dict[int, int]]:
        return {name: dict(leases.epochs) for name, leases in self.living.items()}

    async def _present(self) -> int:
        async with self._pool.connection() as connection:
            query = "select count(*) from lease where starts_with(name, %s) and expires_at > now()"
            row = await (await connection.execute(query, (f"{self.consumer}/holder/",))).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.partitions.LEASE_LIFETIME", LIFETIME)
    monkeypatch.setattr("workers.partitions.RENEWAL_SECONDS", RENEWAL.total_seconds())


@pytest.fixture
def crew(hours: None, workers_pool: Pool) -> Crew:
    return Crew(workers_pool)


names = st.sampled_from("abcdefg")
actions = st.lists(
    st.tuples(st.sampled_from(["join", "join", "renew", "renew", "leave", "kill"]), names)
    | st.tuples(st.just("advance"), st.integers(1, 2 * RENEWALS_IN_A_LIFETIME)),
    max_size=40,
)


@given(actions=actions, order=st.permutations([*"abcdefg", "last"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happened_all_partitions_come_to_be_owned_evenly_and_stay_so(
    hours: None, workers_pool: Pool, actions: list[tuple[str, str | int]], order: Sequence[str]
) -> None:
    crew = Crew(workers_pool)
    for action, argument in actions:
        match action, argument:
            case "join", str(name):
                crew.join(name)
            case "renew", str(name):
                await crew.renew(name)
            case "leave", str(name):
                await crew.leave(name)
            case "kill", str(name):
                crew.kill(name)
            case _, int(renewals):
                await crew.advance(RENEWAL * renewals)
            case _:
                raise AssertionError(action)
    crew.join("last")
    event(f"{len(crew.living)} in the end")
    for _ in range(RENEWALS_IN_A_LIFETIME + 3):
        await crew.round([name for name in order if name in crew.living])
    sizes = crew.shares().values()
    assert sum(sizes) == PARTITIONS
    assert max(sizes) - min(sizes) <= 1
    settled = crew.epochs()
    for _ in range(2):
        await crew.round()
    assert crew.epochs() == settled


@pytest.mark.parametrize(
    ("processes", "sizes"), [(1, {16}), (2, {8}), (3, {5, 6}), (5, {3, 4}), (16, {1}), (20, {0, 1})]
)
async def test_each_owns_an_even_share(crew: Crew, processes: int, sizes: set[int]) -> None:
    for number in range(processes):
        crew.join(str(number))
    for _ in range(3):
        await crew.round()
    assert set(crew.shares().values()) == sizes
    assert sum(crew.shares().values()) == PARTITIONS


async def test_one_that_joins_has_its_share_after_each_renewed_once(crew: Crew) -> None:
    for name in ("a", "b"):
        crew.join(name)
        await crew.round()
    await crew.round()
    before = crew.epochs()
    crew.join("c")
    await crew.renew("c")
    assert crew.shares() == {"a": 8, "b": 8, "c": 0}
    await crew.round()
    assert crew.shares() == {"a": 6, "b": 5, "c": 5}
    for name in ("a", "b"):
        assert crew.epochs()[name].items() <= before[name].items()  # what they kept they kept all the time


async def test_what_one_that_leaves_had_is_taken_at_the_next_renewal(crew: Crew) -> None:
    for name in ("a", "b"):
        crew.join(name)
    for _ in range(2):
        await crew.round()
    assert crew.shares() == {"a": 8, "b": 8}
    await crew.leave("a")
    await crew.round()
    assert crew.shares() == {"b": 16}


async def test_what_one_that_was_killed_had_is_taken_when_its_leases_have_expired_and_not_before(crew: Crew) -> None:
    for name in ("a", "b"):
        crew.join(name)
    for _ in range(2):
        await crew.round()
    crew.kill("a")
    for _ in range(RENEWALS_IN_A_LIFETIME - 1):
        await crew.round()
        assert crew.shares() == {"b": 8}
    await crew.round()
    assert crew.shares() == {"b": 16}


async def test_one_that_comes_back_after_its_lifetime_owns_nothing_of_what_it_had(crew: Crew) -> None:
    for name in ("a", "b"):
        crew.join(name)
    for _ in range(2):
        await crew.round()
    sleeper = crew.epochs()["a"]
    for _ in range(RENEWALS_IN_A_LIFETIME + 1):
        await crew.round(["b"])
    assert crew.shares()["b"] == 16
    await crew.renew("a")
    assert crew.shares()["a"] == 0
    await crew.round()
    await crew.round()
    assert crew.shares() == {"a": 8, "b": 8}
    assert all(epoch > sleeper.get(partition, 0) for partition, epoch in crew.epochs()["a"].items())


async def test_one_that_is_alone_and_comes_back_late_keeps_what_nobody_took(crew: Crew) -> None:
    crew.join("a")
    await crew.round()
    before = crew.epochs()
    await crew.advance(LIFETIME * 2)
    await crew.round()
    assert crew.epochs() == before


async def test_all_at_once_end_even_too(crew: Crew) -> None:
    for number in range(5):
        crew.join(str(number))
    for _ in range(6):
        await crew.advance(RENEWAL)
        await asyncio.gather(*(leases.renew(crew.places) for leases in crew.living.values()))
        held = [partition for leases in crew.living.values() for partition in leases.epochs]
        assert len(held) == len(set(held))
    assert sorted(crew.shares().values()) == [3, 3, 3, 3, 4]
    settled = crew.epochs()
    for _ in range(3):
        await crew.advance(RENEWAL)
        await asyncio.gather(*(leases.renew(crew.places) for leases in crew.living.values()))
    assert crew.epochs() == settled


async def test_places_are_read_for_new_and_for_doubted_partitions_only(crew: Crew) -> None:
    crew.join("a")
    await crew.round()
    await crew.round()
    assert crew.asked == [16]
    crew.join("b")
    for _ in range(3):
        await crew.round()
    assert crew.asked == [16, 8]
    crew.living["a"].doubt_places()
    await crew.renew("a")
    assert crew.asked == [16, 8, 8]
    await crew.leave("b")
    await crew.round()
    assert crew.asked == [16, 8, 8, 8]


async def test_who_left_or_died_leaves_no_trace(crew: Crew) -> None:
    for name in "abc":
        crew.join(name)
        await crew.round()
    await crew.leave("a")
    crew.kill("b")
    for _ in range(RENEWALS_IN_A_LIFETIME + 1):
        await crew.round()
    async with crew._pool.connection() as connection:
        rows = await (
            await connection.execute("select holder from lease where starts_with(name, %s)", (f"{crew.consumer}/",))
        ).fetchall()
    assert [holder.split("-")[0] for (holder,) in rows] == ["c"]


async def test_consumers_share_apart(workers_pool: Pool, crew: Crew) -> None:
    other = Crew(workers_pool)
    crew.join("a")
    other.join("a")
    await crew.round()
    await other.round()
    assert (crew.shares(), other.shares()) == ({"a": 16}, {"a": 16})


async def test_leases_that_are_lost_begin_above_what_the_checkpoints_have_seen(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("insert into checkpoint (consumer, partition, epoch) values ('core', 3, 41)")
    leases = PostgresLeases(pool)
    names = [f"core:{partition}" for partition in range(2)]
    shared = await leases.share(names, "one", members="core/holder/", lifetime=timedelta(seconds=3))
    assert shared == dict.fromkeys(names, 42)
    assert await leases.hold(["relay"], "one", lifetime=timedelta(seconds=3)) == {"relay": 42}
