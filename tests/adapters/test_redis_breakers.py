"""What processes tell each other of providers through a real Redis, and what each does alone while there is none."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters.claude_provider import ClaudeProvider
from adapters.embedded_redis import EmbeddedRedis
from adapters.model_prices import ModelPrices
from adapters.model_tracing import ModelTracing
from adapters.openai_provider import OpenAIProvider
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_pool import Pool
from adapters.redis_breakers import AWAY_SECONDS, KEPT_SECONDS, READ_SECONDS, RedisBreakers
from commands.asking import ROUNDS_MAX, Answered, Asking, Inquiry
from domain.breaker import (
    AUTH_REST_SECONDS,
    FAILURES_IN_A_ROW,
    PROBE_SECONDS_MAX,
    REST_SECONDS,
    BreakerState,
    BreakerView,
)
from domain.budget import Budgets
from domain.model_call import CallOutcome, OnBehalf, Task
from tests.conftest import AT
from tests.model_server import CUT, HANG, ModelServer, failing, model_server, ok
from tests.workers.world import until

OK, OVERLOADED, NOT_MADE = CallOutcome.OK, CallOutcome.OVERLOADED, CallOutcome.BUDGET_EXCEEDED
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
CLAUDE = ("claude", "opus")
OPENAI = ("openai", "gpt")
SOCKET_SECONDS = 120.0
"""What the client of a hanging Redis would wait, and nobody does."""


class Clock:
    """The clock of all processes of a test, which stands until it is moved."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.Redis]:
    async with redis.from_url(redis_url) as opened:
        yield opened


Process = Callable[[str], RedisBreakers]


@pytest.fixture
async def process(client: redis.Redis, clock: Clock) -> AsyncIterator[Process]:
    """The breakers of another process."""
    made = []

    def make(holder: str) -> RedisBreakers:
        made.append(RedisBreakers(client, namespace="t", holder=holder, monotonic=clock))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def one(process: Process) -> RedisBreakers:
    return process("one")


@pytest.fixture
def other(process: Process) -> RedisBreakers:
    return process("other")


@pytest.fixture
async def own(tmp_path: Path, clock: Clock) -> AsyncIterator["Own"]:
    server = EmbeddedRedis(tmp_path)
    try:
        url = server.start()
        async with redis.from_url(url, socket_timeout=SOCKET_SECONDS, retry=Retry(NoBackoff(), 0)) as opened:
            made = Own(server, opened, RedisBreakers(opened, namespace="t", holder="one", monotonic=clock))
            yield made
            await made.breakers.close()
    finally:
        server.stop()


class Own:
    """Breakers on a Redis of their own."""

    def __init__(self, server: EmbeddedRedis, client: redis.Redis, breakers: RedisBreakers) -> None:
        self.server, self.client, self.breakers = server, client, breakers

    @contextmanager
    def hanging(self, pid: int) -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def pid(self) -> int:
        return int((await self.client.info("server"))["process_id"])


async def asked(work: Awaitable[bool]) -> bool:
    """As a caller that is a task of its own."""

    async def alone() -> bool:
        return await work

    return await asyncio.create_task(alone())


async def calls(breakers: RedisBreakers, outcome: CallOutcome, *, of: tuple[str, str] = CLAUDE) -> None:
    """One call that is allowed and ends, in a task of its own."""

    async def call() -> None:
        assert await breakers.allows(*of)
        breakers.note(*of, outcome)

    await asyncio.create_task(call())


async def opens(breakers: RedisBreakers, *, of: tuple[str, str] = CLAUDE) -> None:
    while (await seen(breakers, of=of)).state is CLOSED:
        await calls(breakers, OVERLOADED, of=of)
    await settled(breakers)


async def settled(breakers: RedisBreakers) -> None:
    """Until everything was told that there was to tell."""
    await breakers.close()


async def seen(breakers: RedisBreakers, *, of: tuple[str, str] = CLAUDE) -> BreakerView:
    (view,) = await breakers.states([of])
    return view


async def later(clock: Clock, *breakers: RedisBreakers) -> list[BreakerState]:
    """How the processes see it once each of them has read Redis again."""
    clock.seconds += READ_SECONDS
    return [(await seen(each)).state for each in breakers]


async def test_what_one_process_opens_the_others_skip(
    one: RedisBreakers, other: RedisBreakers, process: Process, clock: Clock
) -> None:
    await calls(other, OK)
    await opens(one)
    assert not await one.allows(*CLAUDE)
    clock.seconds += READ_SECONDS
    assert not await other.allows(*CLAUDE)
    assert not await process("new").allows(*CLAUDE), "one that has just been started"
    assert await other.allows(*OPENAI)
    view = await seen(other)
    assert (view.state, view.failures, view.is_shared) == (OPEN, FAILURES_IN_A_ROW, True)
    assert 0 < view.rest_seconds <= REST_SECONDS


async def test_why_it_rests_is_known_to_all(
    one: RedisBreakers, other: RedisBreakers, process: Process, clock: Clock
) -> None:
    await calls(other, OK)
    await calls(one, CallOutcome.AUTH)
    await settled(one)
    assert one.view(*CLAUDE).because is CallOutcome.AUTH
    assert other.view(*CLAUDE).because is None, "it has still to hear of it"
    await later(clock, other)
    assert (other.view(*CLAUDE).state, other.view(*CLAUDE).because) == (OPEN, CallOutcome.AUTH)
    assert 0 < other.view(*CLAUDE).rest_seconds <= AUTH_REST_SECONDS
    assert (await seen(process("new"))).because is CallOutcome.AUTH
    clock.seconds += AUTH_REST_SECONDS
    await calls(other, OVERLOADED)
    await settled(other)
    await later(clock, one)
    assert one.view(*CLAUDE).because is OVERLOADED
    clock.seconds += 2 * AUTH_REST_SECONDS
    await calls(one, OK)
    assert one.view(*CLAUDE).because is None


KEY = "t:breaker:claude:opus"
EARLIER = {"changed": "1700000000000000", "pause": "60000000", "failures": "3", "opened": "1700000000000000"}
"""What a process of an earlier version tells: all but why."""


async def tells(client: redis.Redis, **given: str) -> None:
    """A process of another version, of a rest of which half a minute is left."""
    now_seconds, _ = await client.time()
    fields = EARLIER | {"until": str((now_seconds + 30) * 1_000_000)} | given
    await client.hset(KEY, items=[part for field in fields.items() for part in field])


async def test_what_an_earlier_version_tells_is_believed_and_no_reason_made_up(
    client: redis.Redis, one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await tells(client)
    view = await seen(one)
    assert (view.state, view.failures, view.because) == (OPEN, 3, None)
    clock.seconds += AUTH_REST_SECONDS
    await calls(one, CallOutcome.AUTH)
    await settled(one)
    kept = await client.hgetall(KEY)
    assert kept.keys() == {name.encode() for name in (*EARLIER, "until", "because")}
    assert all(kept[name.encode()].isdigit() for name in (*EARLIER, "until")), "which it reads as before"
    await tells(client)
    view = await seen(other)
    assert (view.state, view.because) == (OPEN, None), "the reason was another change's"


async def test_what_a_later_version_rests_because_of_is_not_known_here(client: redis.Redis, one: RedisBreakers) -> None:
    await tells(client, because=f"{EARLIER['changed']} on_holiday")
    view = await seen(one)
    assert (view.state, view.because) == (OPEN, None)


async def test_who_hears_an_answer_without_having_been_allowed_to_ask_ends_the_rest_for_all(
    one: RedisBreakers, other: RedisBreakers, process: Process, clock: Clock
) -> None:
    await calls(one, CallOutcome.AUTH)
    await settled(one)
    assert not await other.allows(*CLAUDE)
    check = process("check")
    assert await check.end_rest(*CLAUDE)
    assert await later(clock, one, other) == [CLOSED, CLOSED]
    assert await one.allows(*CLAUDE)
    assert await other.allows(*CLAUDE)
    assert not await check.end_rest(*CLAUDE), "it rests no more"


async def test_no_rest_is_said_to_be_ended_that_redis_did_not_hear_of(own: Own) -> None:
    await calls(own.breakers, CallOutcome.AUTH)
    await settled(own.breakers)
    own.server.stop()
    assert not await own.breakers.end_rest(*CLAUDE)


async def test_closed_it_costs_no_round_trip_but_one_each_second(
    client: redis.Redis, one: RedisBreakers, clock: Clock
) -> None:
    await calls(one, OK)
    await client.config_resetstat()
    for _ in range(3):
        clock.seconds += READ_SECONDS
        await asyncio.gather(*(calls(one, OK) for _ in range(100)))
        for _ in range(100):
            await calls(one, OK)
    assert await scripts_run(client) == 3


async def scripts_run(client: redis.Redis) -> int:
    commands = await client.info("commandstats")
    return int(commands.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_a_provider_that_is_asked_for_the_first_time_is_heard_of_at_once(
    one: RedisBreakers, other: RedisBreakers
) -> None:
    await calls(other, OK)
    await opens(one, of=OPENAI)
    assert not await other.allows(*OPENAI)


async def test_of_all_callers_in_all_processes_one_probes(
    one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    allowed = await asyncio.gather(*(asked(each.allows(*CLAUDE)) for each in [one, other] * 10))
    assert sum(allowed) == 1
    clock.seconds += READ_SECONDS
    allowed = await asyncio.gather(*(asked(each.allows(*CLAUDE)) for each in [one, other] * 10))
    assert not any(allowed), "while the probe is under way"


async def half_open(clock: Clock, one: RedisBreakers, other: RedisBreakers) -> None:
    """Both know that it has rested."""
    await opens(one)
    await later(clock, one, other)
    clock.seconds += REST_SECONDS
    assert await later(clock, one, other) == [HALF_OPEN, HALF_OPEN]


async def test_a_probe_that_is_answered_closes_it_for_everybody(
    one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    await calls(other, OK)
    await settled(other)
    assert await later(clock, one, other) == [CLOSED, CLOSED]
    assert await one.allows(*CLAUDE)


async def test_a_probe_that_fails_lets_it_rest_for_longer_for_everybody(
    client: redis.Redis, one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    await calls(one, OVERLOADED)
    await settled(one)
    assert not await other.allows(*CLAUDE), "before it has heard of it"
    await later(clock, other)
    assert REST_SECONDS < (await seen(other)).rest_seconds <= 2 * REST_SECONDS
    assert await client.exists("t:breaker:claude:opus:probe") == 0


async def test_a_probe_that_was_not_made_is_anybodys(one: RedisBreakers, other: RedisBreakers, clock: Clock) -> None:
    await half_open(clock, one, other)
    await calls(one, NOT_MADE)
    await settled(one)
    assert await later(clock, other) == [HALF_OPEN]
    assert await other.allows(*CLAUDE)


async def test_the_probe_of_a_process_that_died_is_given_up(
    client: redis.Redis, one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    assert await one.allows(*CLAUDE)
    assert not await other.allows(*CLAUDE)
    assert 0 < await client.pttl("t:breaker:claude:opus:probe") <= PROBE_SECONDS_MAX * 1000
    await client.delete("t:breaker:claude:opus:probe")  # as Redis does after this time
    clock.seconds += READ_SECONDS
    assert await other.allows(*CLAUDE)


async def test_while_another_process_probes_redis_is_asked_for_it_once_a_second(
    client: redis.Redis, one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    assert await one.allows(*CLAUDE)
    await client.config_resetstat()
    for _ in range(100):
        assert not await other.allows(*CLAUDE)
    assert await scripts_run(client) == 1


async def test_a_call_from_before_it_opened_says_nothing_of_the_probe(
    one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    ends = asyncio.Event()

    async def slow() -> None:
        assert await one.allows(*CLAUDE)
        await ends.wait()
        one.note(*CLAUDE, CallOutcome.TIMEOUT)

    call = asyncio.create_task(slow())
    await asyncio.sleep(0)
    await half_open(clock, one, other)
    assert await asked(one.allows(*CLAUDE))
    ends.set()
    await call
    assert (await seen(one)).state is HALF_OPEN


async def test_who_notes_in_another_task_than_it_asked_notes_the_present(
    one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    assert await asked(one.allows(*CLAUDE))
    one.note(*CLAUDE, OK)
    assert (await seen(one)).state is CLOSED


async def test_whoever_is_cancelled_while_it_asks_for_the_probe_does_not_keep_it(
    one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    asking = asyncio.create_task(one.allows(*CLAUDE))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await settled(one)
    assert await one.allows(*CLAUDE)


async def test_what_redis_forgets_is_told_again(
    client: redis.Redis, one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await opens(one)
    await client.flushall()
    assert await later(clock, one) == [OPEN]
    await settled(one)
    assert await later(clock, other) == [OPEN]


async def test_a_probe_that_is_under_way_while_redis_forgets_closes_it_all_the_same(
    client: redis.Redis, one: RedisBreakers, other: RedisBreakers, clock: Clock
) -> None:
    await half_open(clock, one, other)
    assert await one.allows(*CLAUDE)
    await client.flushall()
    await later(clock, other)
    await settled(other)
    await later(clock, one)
    one.note(*CLAUDE, OK)
    await settled(one)
    assert await later(clock, one, other) == [CLOSED, CLOSED]


async def test_redis_keeps_nothing_for_ever(client: redis.Redis, one: RedisBreakers) -> None:
    await opens(one)
    assert await client.keys("*") == [b"t:breaker:claude:opus"]
    assert 0 < await client.pttl("t:breaker:claude:opus") <= (REST_SECONDS + KEPT_SECONDS) * 1000


async def test_without_redis_each_process_judges_by_itself(own: Own, clock: Clock) -> None:
    await calls(own.breakers, OK)
    own.server.stop()
    clock.seconds += READ_SECONDS
    with capture_logs() as logs:
        await opens(own.breakers)
        assert not await own.breakers.allows(*CLAUDE)
        view = await seen(own.breakers)
        assert (view.state, view.is_shared) == (OPEN, False)
        clock.seconds += REST_SECONDS
        assert [await asked(own.breakers.allows(*CLAUDE)) for _ in range(3)] == [True, False, False]
        own.breakers.note(*CLAUDE, OK)
        assert await own.breakers.allows(*CLAUDE)
    events = [entry["event"] for entry in logs]
    assert events.count("Redis does not answer; each process judges providers by itself") == 1


async def test_redis_is_told_what_happened_while_it_was_away(own: Own, clock: Clock) -> None:
    await calls(own.breakers, OK)
    own.server.stop()
    clock.seconds += READ_SECONDS
    await opens(own.breakers)
    own.server.start()
    clock.seconds += AWAY_SECONDS
    with capture_logs() as logs:
        await seen(own.breakers)
        await settled(own.breakers)
    assert [entry["log_level"] for entry in logs] == ["info"]
    assert (await seen(own.breakers)).is_shared
    other = RedisBreakers(own.client, namespace="t", holder="other", monotonic=clock)
    assert (await seen(other)).state is not CLOSED


async def test_a_redis_that_hangs_holds_nobody_up(own: Own, clock: Clock) -> None:
    await calls(own.breakers, OK)
    clock.seconds += READ_SECONDS
    with own.hanging(await own.pid()):
        async with asyncio.timeout(SOCKET_SECONDS / 4):
            assert await asked(own.breakers.allows(*CLAUDE))
            assert own.breakers._reading is not None
            assert not own.breakers._reading.done(), "it is not waited for"
            for _ in range(3):
                await asyncio.gather(*(calls(own.breakers, OK) for _ in range(100)))
                clock.seconds += AWAY_SECONDS
            await opens(own.breakers)
            clock.seconds += REST_SECONDS
            assert [await asked(own.breakers.allows(*CLAUDE)) for _ in range(3)] == [True, False, False]
            own.breakers.note(*CLAUDE, OK)
            assert await own.breakers.allows(*CLAUDE)
            await settled(own.breakers)
    clock.seconds += AWAY_SECONDS
    assert (await seen(own.breakers)).state is CLOSED
    await settled(own.breakers)
    assert (await seen(own.breakers)).is_shared


async def test_a_redis_that_hangs_when_it_is_asked_for_the_probe_does_not_keep_it(own: Own, clock: Clock) -> None:
    await opens(own.breakers)
    clock.seconds += REST_SECONDS
    assert (await seen(own.breakers)).state is HALF_OPEN
    with own.hanging(await own.pid()):
        async with asyncio.timeout(SOCKET_SECONDS / 4):
            assert [await asked(own.breakers.allows(*CLAUDE)) for _ in range(3)] == [True, False, False]
            await settled(own.breakers)


async def test_people_are_told_when_a_provider_rests_and_when_it_answers_again(
    one: RedisBreakers, clock: Clock
) -> None:
    with capture_logs() as logs:
        await opens(one)
        clock.seconds += REST_SECONDS
        await calls(one, OK)
    assert [(entry["log_level"], entry["event"], entry["model"]) for entry in logs] == [
        ("warning", "a provider rests", "opus"),
        ("info", "a provider answers again", "opus"),
    ]


QUESTION = Inquiry(
    task=Task.CHECK,
    instructions="answer",
    content="now",
    schema={"type": "object", "properties": {}, "additionalProperties": False},
    output_tokens_max=10,
)


@asynccontextmanager
async def asking(
    pool: Pool, breakers: RedisBreakers, *providers: ClaudeProvider | OpenAIProvider
) -> AsyncIterator[Asking]:
    store = PostgresEventStore(pool, new_id=uuid7)
    try:
        yield Asking(
            providers=providers,
            ledger=PostgresModelLedger(pool, store, ModelPrices(), Budgets(), now=lambda: AT),
            breakers=breakers,
            tracing=ModelTracing(),
            now=lambda: AT,
            new_id=uuid7,
        )
    finally:
        for provider in providers:
            await provider.close()


async def answer(of: Asking, *, seconds: float = 30.0) -> Answered[str]:
    ends = asyncio.get_running_loop().time() + seconds
    return await of.ask(QUESTION, str, OnBehalf(owner_id=uuid7()), until=ends)


def claude(server: ModelServer) -> ClaudeProvider:
    return ClaudeProvider("sk-made-up", "opus", server.url)


async def test_an_inquiry_that_meets_only_those_who_rest_says_why_and_until_when(
    pool: Pool, one: RedisBreakers
) -> None:
    async with model_server(failing(401)) as first, model_server(failing(529)) as second:
        openai = OpenAIProvider("sk-made-up", "gpt", second.openai_url)
        async with asking(pool, one, claude(first), openai) as both:
            await calls(one, CallOutcome.AUTH)
            await opens(one, of=OPENAI)
            found = await answer(both)
        assert (found.outcome, found.provider, found.calls, found.cost_micros) == (CallOutcome.AUTH, "claude", 0, 0)
        assert (found.message, found.rest_seconds) == ("it rests, and is asked again in 60 seconds", REST_SECONDS)
        assert first.count == second.count == 0


async def test_what_breaks_off_costs_the_most_it_can_and_what_is_not_reached_nothing(
    pool: Pool, one: RedisBreakers
) -> None:
    async with model_server(CUT) as server:
        async with asking(pool, one, claude(server)) as alone:
            found = await answer(alone)
        assert (found.outcome, found.calls, server.count) == (OVERLOADED, ROUNDS_MAX, ROUNDS_MAX)
        assert found.cost_micros >= ROUNDS_MAX
        away = claude(server)
    async with asking(pool, one, away) as alone:
        found = await answer(alone)
    assert (found.outcome, found.cost_micros) == (OVERLOADED, 0)
    assert f"{server.url} could not be reached" in str(found.message)


async def test_inquiries_go_past_a_provider_that_rests(pool: Pool, one: RedisBreakers) -> None:
    async with model_server(failing(401)) as first, model_server(ok({})) as second:
        openai = OpenAIProvider("sk-made-up", "gpt", second.openai_url)
        async with asking(pool, one, claude(first), openai) as both:
            answers = [await answer(both) for _ in range(3)]
        assert [(each.outcome, each.provider, each.calls) for each in answers] == [
            (OK, "openai", 2),
            (OK, "openai", 1),
            (OK, "openai", 1),
        ]
        assert first.count == 1


async def test_an_inquiry_from_before_it_opened_is_not_taken_for_the_probe(
    pool: Pool, one: RedisBreakers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.asking.FAIR_SECONDS_MIN", 1.0)
    async with (
        model_server([HANG, failing(401), HANG]) as server,
        asking(pool, one, claude(server)) as alone,
    ):
        before = asyncio.create_task(answer(alone, seconds=1.1))
        await until(lambda: server.count == 1)
        assert (await answer(alone)).outcome is CallOutcome.AUTH
        clock.seconds += AUTH_REST_SECONDS
        probe = asyncio.create_task(answer(alone, seconds=2.0))
        await until(lambda: server.count == 3)
        assert (await before).outcome is CallOutcome.TIMEOUT
        assert (await seen(one)).state is HALF_OPEN
        assert (await probe).outcome is CallOutcome.TIMEOUT
        assert (await seen(one)).rest_seconds == 2 * AUTH_REST_SECONDS
