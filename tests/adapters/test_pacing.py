"""Rates and holds, counted in a real Redis by real processes, and by each process alone while Redis is away."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from adapters import redis_pacing
from adapters.prometheus_metrics import CountedPacing
from adapters.prometheus_metrics import _counts as REGISTRY  # noqa: N812  # a registry is a constant here
from adapters.redis_pacing import AWAY_SECONDS, LOCAL_SHARE, QUEUE_SECONDS_MAX, Pacing

HARDLY_EVER = 0.001
"""A rate at which nothing comes back within a test."""

ONE_OF_MANY = """
import asyncio, sys, time
import redis.asyncio as redis
from adapters.redis_pacing import Pacing

async def main():
    async with redis.from_url(sys.argv[1]) as client:
        pacing = Pacing(client, namespace="t", monotonic=time.monotonic)
        sys.stdin.read()
        waits = await asyncio.gather(*(pacing.take("host", per_second=0.001, burst=30) for _ in range(100)))
    print(waits.count(0.0))

asyncio.run(main())
"""


class Clock:
    """A process' clock that stands until it is moved."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.Redis]:
    async with redis.from_url(redis_url) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacing(client: redis.Redis, clock: Clock) -> Pacing:
    return Pacing(client, namespace="t", monotonic=clock)


@pytest.fixture
async def alone(tmp_path: Path, clock: Clock) -> AsyncIterator[Pacing]:
    """Pacing whose Redis is not there."""
    async with redis.from_url(f"unix://{tmp_path}/none.sock", retry=Retry(NoBackoff(), 0)) as opened:
        yield Pacing(opened, namespace="t", monotonic=clock)


async def test_four_processes_admit_exactly_what_one_may(redis_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", ONE_OF_MANY, redis_url, stdin=PIPE, stdout=PIPE)
        for _ in range(4)
    ]
    answers = await asyncio.gather(*(process.communicate(b"") for process in processes))
    assert sum(int(out) for out, _ in answers) == 30


async def test_a_burst_is_admitted_and_then_the_wait_is_told(pacing: Pacing) -> None:
    assert [await pacing.take("host", per_second=HARDLY_EVER, burst=3) for _ in range(3)] == [0, 0, 0]
    wait = await pacing.take("host", per_second=HARDLY_EVER, burst=3)
    assert 990 < wait <= 1000
    assert await pacing.take("host", per_second=HARDLY_EVER, burst=3) <= wait  # being refused takes nothing


async def test_places_come_back_at_the_rate(pacing: Pacing) -> None:
    assert await pacing.take("host", per_second=50, burst=1) == 0
    wait = await pacing.take("host", per_second=50, burst=1)
    assert 0 < wait <= 0.02
    await asyncio.sleep(wait)
    assert await pacing.take("host", per_second=50, burst=1) == 0


async def test_hosts_do_not_share_their_places(pacing: Pacing) -> None:
    assert await pacing.take("one", per_second=HARDLY_EVER, burst=1) == 0
    assert await pacing.take("other", per_second=HARDLY_EVER, burst=1) == 0


async def test_a_held_host_admits_nobody_and_a_shorter_hold_changes_nothing(client: redis.Redis, clock: Clock) -> None:
    holding, other = (Pacing(client, namespace="t", monotonic=clock) for _ in range(2))
    await holding.hold("host", 60)
    await holding.hold("host", 5)
    for pacing in (holding, other):
        assert 55 < await pacing.take("host", per_second=1000, burst=1000) <= 60
        assert await pacing.take("free", per_second=1000, burst=1000) == 0


async def test_a_hold_ends(client: redis.Redis, clock: Clock) -> None:
    await Pacing(client, namespace="t", monotonic=clock).hold("host", 0.02)
    other = Pacing(client, namespace="t", monotonic=clock)
    await asyncio.sleep(await other.take("host", per_second=1000, burst=1))
    assert await other.take("host", per_second=1000, burst=1) == 0


async def test_who_waits_a_little_has_a_place_of_their_own(pacing: Pacing) -> None:
    waits = [await pacing.take_or_queue("host", per_second=2, burst=1, patience=1) for _ in range(3)]
    assert waits == [0, pytest.approx(0.5, abs=0.1), pytest.approx(1, abs=0.1)]


async def test_those_who_come_too_late_are_told_turns_that_lie_apart_by_the_rate(pacing: Pacing) -> None:
    await pacing.take("host", per_second=0.1, burst=1)
    waits = [await pacing.take_or_queue("host", per_second=0.1, burst=1, patience=1) for _ in range(100)]
    assert waits[:3] == [pytest.approx(20, abs=1), pytest.approx(30, abs=1), pytest.approx(40, abs=1)]
    assert max(waits) <= QUEUE_SECONDS_MAX + 10
    assert await pacing.take("host", per_second=0.1, burst=1) <= 10  # they took no place


async def test_after_a_hold_those_who_waited_come_back_one_by_one(pacing: Pacing, alone: Pacing) -> None:
    for one, interval in ((pacing, 0.2), (alone, 0.2 * LOCAL_SHARE)):
        await one.hold("host", 60)
        waits = [await one.take_or_queue("host", per_second=5, burst=10, patience=1) for _ in range(3)]
        assert all(wait >= 60 for wait in waits[1:])
        assert waits[2] - waits[1] == pytest.approx(interval * (LOCAL_SHARE if one is pacing else 1), abs=0.1)


async def test_nothing_stays_in_redis_when_it_says_nothing_any_more(client: redis.Redis, pacing: Pacing) -> None:
    await pacing.take("taken", per_second=10, burst=10)
    await pacing.hold("held", 60)
    await pacing.hold("both", 0.001)
    await pacing.take("both", per_second=0.1, burst=10)
    lifetimes_ms = [await client.pttl(f"t:pace:{key}") for key in ("taken", "held", "both")]
    assert 0 < lifetimes_ms[0] <= 100
    assert 50_000 < lifetimes_ms[1] <= 60_000
    assert lifetimes_ms[2] <= 10_000


async def test_a_clock_that_was_set_back_holds_nobody_for_longer_than_a_full_burst(
    client: redis.Redis, pacing: Pacing
) -> None:
    seconds, microseconds = await client.time()
    await client.hset("t:pace:host", "used_up", (seconds + 86_400) * 1_000_000 + microseconds)
    assert await pacing.take("host", per_second=1, burst=5) <= 1


async def test_without_redis_a_process_admits_less_than_all_may_together(alone: Pacing, clock: Clock) -> None:
    with capture_logs() as logs:
        admitted = [await alone.take("host", per_second=8, burst=8) for _ in range(20)].count(0.0)
        assert admitted == 8 // LOCAL_SHARE
        wait = await alone.take("host", per_second=8, burst=8)
        assert 0 < wait <= LOCAL_SHARE / 8
        clock.seconds += wait
        assert await alone.take("host", per_second=8, burst=8) == 0
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_what_is_counted_without_redis_shows_in_the_metrics(tmp_path: Path, clock: Clock) -> None:
    def shown() -> float:
        return REGISTRY.get_sample_value("vigil_rates_counted_alone_total") or 0.0

    async with redis.from_url(f"unix://{tmp_path}/none.sock", retry=Retry(NoBackoff(), 0)) as opened:
        pacing, before = CountedPacing(opened, namespace="t", monotonic=clock), shown()
        await pacing.take("host", per_second=8, burst=8)
    assert shown() - before == 1


async def test_without_redis_a_hold_holds_this_process(alone: Pacing, clock: Clock) -> None:
    await alone.hold("host", 60)
    clock.seconds += 20
    assert await alone.take("host", per_second=8, burst=8) == pytest.approx(40)
    clock.seconds += 40
    assert await alone.take("host", per_second=8, burst=8) == 0


async def test_a_hold_that_redis_forgot_still_holds_this_process(client: redis.Redis, pacing: Pacing) -> None:
    await pacing.hold("host", 60)
    await client.flushall()
    assert await pacing.take("host", per_second=8, burst=8) == pytest.approx(60)


async def test_redis_is_asked_again_when_it_has_been_away_for_a_while(
    redis_url: str, tmp_path: Path, clock: Clock
) -> None:
    link = tmp_path / "redis.sock"
    async with redis.from_url(f"unix://{link}", retry=Retry(NoBackoff(), 0)) as opened:
        pacing = Pacing(opened, namespace="t", monotonic=clock)
        with capture_logs() as logs:
            await pacing.take("host", per_second=HARDLY_EVER, burst=LOCAL_SHARE)
            link.symlink_to(redis_url.removeprefix("unix://").partition("?")[0])
            assert await pacing.take("host", per_second=HARDLY_EVER, burst=LOCAL_SHARE) > 0
            clock.seconds += AWAY_SECONDS
            assert await pacing.take("host", per_second=HARDLY_EVER, burst=LOCAL_SHARE) == 0
        assert [entry["log_level"] for entry in logs] == ["warning", "info"]


async def test_a_process_remembers_no_more_keys_than_it_may(
    alone: Pacing, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pacing, "LOCAL_KEYS_MAX", 20)
    await alone.hold("held", 1_000_000)
    for number in range(100):
        await alone.take(f"host-{number}", per_second=1, burst=1)
        clock.seconds += 1
    assert len(vars(alone)["_local"]) <= 20
    assert await alone.take("held", per_second=1, burst=1) > 0


@given(
    st.floats(0.1, 50), st.integers(1, 40), st.lists(st.floats(0, 5, allow_subnormal=False), min_size=1, max_size=60)
)
def test_alone_no_more_is_admitted_in_any_stretch_of_time_than_burst_and_rate_allow(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    clock = Clock()
    pacing = Pacing(redis.Redis(), namespace="t", monotonic=clock)
    admitted = []
    for pause in pauses:
        clock.seconds += pause
        if pacing._taken_here("host", 1 / per_second, burst, 0.0, 0.0) == 0:  # Redis' script has the same arithmetic
            admitted.append(clock.seconds)
    for first, begun in enumerate(admitted):
        for last, ended in enumerate(admitted[first:], 1):
            assert last <= burst + (ended - begun) * per_second + 1e-6
