"""`vigil ai check` with the real SDKs against a server on loopback: who answers, and what cures who does not."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from adapters.claude_provider import ClaudeProvider
from adapters.data_dir import DataDirLock, publish_endpoints
from adapters.model_prices import ModelPrices
from adapters.openai_provider import OpenAIProvider
from adapters.redis_breakers import READ_SECONDS, RedisBreakers
from cli.ai_check import Checked, SetUp, check
from domain.model_call import CallOutcome, TokenUsage
from tests.cli.vigil_process import COMMAND, SECONDS_MAX, environment
from tests.conftest import AT
from tests.model_server import HTML, REFUSAL, TRUNCATED, Answer, ModelServer, failing, model_server, ok

KEY = "sk-made-up-0123456789"
USED = TokenUsage(input_tokens=40, output_tokens=5)
READY = ok({"answer": "ready"}, USED)
PRICES = ModelPrices({"small": (Decimal(1), Decimal(2))})


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with model_server(READY) as serving:
        yield serving


def both(server: ModelServer) -> list[SetUp]:
    return [ClaudeProvider(KEY, "small", server.url), OpenAIProvider(KEY, "small", server.openai_url)]


async def checked(asked: list[SetUp]) -> list[Checked]:
    """By a clock that goes on by a tenth of a second whenever it is read."""
    ticks = count()
    return [each async for each in check(asked, PRICES, now=lambda: AT, monotonic=lambda: next(ticks) / 10)]


async def test_who_answers_is_told_with_latency_model_tokens_and_cost(server: ModelServer) -> None:
    assert await checked(both(server)) == [
        Checked(
            provider=name,
            model="stand-in-1",
            outcome=CallOutcome.OK,
            latency_ms=100,
            input_tokens=40,
            output_tokens=5,
            cost_micros=50,
        )
        for name in ("claude", "openai")
    ]
    assert [asked.wire for asked in server.requests] == ["messages", "responses"]


FAULTS = [
    (failing(401), CallOutcome.AUTH, "{KEY}"),
    (failing(402), CallOutcome.AUTH, "the account"),
    (failing(404), CallOutcome.BAD_REQUEST, "VIGIL_{NAME}_MODEL"),
    (failing(429), CallOutcome.RATE_LIMITED, "try again later"),
    (failing(529), CallOutcome.OVERLOADED, "is the network open"),
    (HTML, CallOutcome.MALFORMED, "{ADDRESS}"),
    (TRUNCATED, CallOutcome.TRUNCATED, "VIGIL_{NAME}_MODEL"),
    (REFUSAL, CallOutcome.REFUSED, "VIGIL_{NAME}_MODEL"),
    (ok({"answer": "no"}), CallOutcome.MALFORMED, "VIGIL_{NAME}_MODEL"),
    (ok({"answer": "ready", "more": 1}), CallOutcome.MALFORMED, "VIGIL_{NAME}_MODEL"),
]


@pytest.mark.parametrize(("fault", "outcome", "cure"), FAULTS)
async def test_who_does_not_answer_is_told_with_a_cure_that_names_the_setting(
    server: ModelServer, fault: Answer, outcome: CallOutcome, cure: str
) -> None:
    server.script = fault
    claude, openai = await checked(both(server))
    assert (claude.outcome, openai.outcome) == (outcome, outcome)
    assert cure.format(KEY="ANTHROPIC_API_KEY", NAME="CLAUDE", ADDRESS="ANTHROPIC_BASE_URL") in str(claude.cure)
    assert cure.format(KEY="OPENAI_API_KEY", NAME="OPENAI", ADDRESS="OPENAI_BASE_URL") in str(openai.cure)
    assert claude.message
    assert openai.message


async def test_one_that_cannot_be_reached_keeps_nobody_from_asking_the_next(server: ModelServer) -> None:
    away = ClaudeProvider(KEY, "small", "http://127.0.0.1:1")
    found = await checked([away, *both(server)[1:]])
    assert [each.outcome for each in found] == [CallOutcome.OVERLOADED, CallOutcome.OK]
    assert (found[0].model, found[0].cost_micros) == ("small", 0)
    assert str(found[0].message).startswith("http://127.0.0.1:1 could not be reached")


def vigil_ai(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`vigil ai check` as people run it."""
    return subprocess.run(
        [*COMMAND, "ai", "check", *arguments],
        env=environment(VIGIL_DATA_DIR=str(tmp_path / "data"), **settings),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_MAX,
        check=False,
    )


async def in_a_process(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Beside the server, which answers in this one's loop."""
    return await asyncio.to_thread(vigil_ai, tmp_path, *arguments, **settings)


def set_up(server: ModelServer) -> dict[str, str]:
    return {
        "VIGIL_AI_PROVIDERS": "claude,openai,rules",
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": server.url,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.openai_url,
        "VIGIL_AI_PRICES": "stand-in-1=1/2",
    }


async def test_it_exits_with_0_when_all_answer_and_keeps_the_key_to_itself(server: ModelServer, tmp_path: Path) -> None:
    server.script = replace(READY, model="small\x1b[31m")
    done = await in_a_process(tmp_path, **set_up(server))
    assert (done.returncode, done.stderr) == (0, "")
    claude, openai = done.stdout.splitlines()
    assert claude.startswith("ok      claude  answers in ")
    assert openai.startswith("ok      openai  answers in ")
    assert "40 tokens in, 5 out" in claude
    assert "\x1b[31m" not in done.stdout
    assert KEY not in done.stdout


async def test_it_exits_with_1_when_one_does_not(server: ModelServer, tmp_path: Path) -> None:
    server.script = [READY, failing(401)]
    told = await in_a_process(tmp_path, "--json", **set_up(server))
    assert told.returncode == 1
    found: list[dict[str, Any]] = json.loads(told.stdout)
    assert [each["outcome"] for each in found] == ["ok", "auth"]
    assert found[0]["cost_micros"] == 50
    server.script = failing(401)
    shown = await in_a_process(tmp_path, **set_up(server))
    assert shown.returncode == 1
    assert "failed  claude  auth: " in shown.stdout
    assert "→ correct ANTHROPIC_API_KEY" in shown.stdout


class Workers:
    """What processes of one installation know of a provider, by a clock that stands until it is moved."""

    def __init__(self, client: redis.Redis) -> None:
        self.seconds = 0.0
        self.one, self.other = (
            RedisBreakers(client, namespace="check", holder=holder, monotonic=lambda: self.seconds)
            for holder in ("one", "other")
        )

    async def rests(self, provider: str) -> None:
        assert await self.one.allows(provider, "small")
        self.one.note(provider, "small", CallOutcome.AUTH)
        await self.one.close()

    async def allowed(self, provider: str) -> list[bool]:
        """Once each of them has heard of the others."""
        self.seconds += READ_SECONDS
        return [await each.allows(provider, "small") for each in (self.one, self.other)]


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[Workers]:
    async with redis.from_url(redis_url) as client:
        made = Workers(client)
        yield made
        await made.one.close()
        await made.other.close()


MODELS = {
    "VIGIL_CLAUDE_MODEL": "small",
    "VIGIL_OPENAI_MODEL": "small",
    "VIGIL_AI_PRICES": "stand-in-1=1/2,small=1/2",
    "VIGIL_REDIS_NAMESPACE": "check",
}


async def test_one_that_answers_is_asked_again_by_all_processes_and_one_that_fails_goes_on_resting(
    server: ModelServer, tmp_path: Path, workers: Workers, redis_url: str
) -> None:
    for name in ("claude", "openai"):
        await workers.rests(name)
        assert await workers.allowed(name) == [False, False]
    server.script = [READY, failing(401)]
    settings = set_up(server) | MODELS | {"VIGIL_REDIS_URL": redis_url}
    done = await in_a_process(tmp_path, **settings)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("→ it rested, and is asked again from now on") == 1
    assert await workers.allowed("claude") == [True, True]
    assert await workers.allowed("openai") == [False, False]
    server.script = READY
    again = json.loads((await in_a_process(tmp_path, "--json", **settings)).stdout)
    assert [each["rest_ended"] for each in again] == [False, True]
    assert await workers.allowed("openai") == [True, True]


async def test_where_redis_is_that_of_a_running_vigil_is_found_in_its_folder(
    server: ModelServer, tmp_path: Path, workers: Workers, redis_url: str
) -> None:
    await workers.rests("claude")
    folder = tmp_path / "data"
    with DataDirLock(folder):
        publish_endpoints(folder, {"redis": redis_url})
        done = await in_a_process(tmp_path, **set_up(server) | MODELS)
    assert (done.returncode, done.stderr) == (0, "")
    assert await workers.allowed("claude") == [True, True]


async def test_one_that_fails_the_check_is_asked_by_workers_as_before(
    server: ModelServer, tmp_path: Path, workers: Workers, redis_url: str
) -> None:
    server.script = failing(401)
    for _ in range(2):
        done = await in_a_process(tmp_path, **set_up(server) | MODELS | {"VIGIL_REDIS_URL": redis_url})
        assert done.returncode == 1
    assert await workers.allowed("claude") == [True, True]


async def test_without_redis_it_says_in_a_line_that_who_rests_goes_on_resting(
    server: ModelServer, tmp_path: Path
) -> None:
    done = await in_a_process(tmp_path, **set_up(server), VIGIL_REDIS_URL="redis://127.0.0.1:1")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    [told] = done.stderr.splitlines()
    assert told.startswith("warning: Redis does not answer: a provider that rests is asked when its rest is over")


def test_with_rules_alone_it_says_what_to_set(tmp_path: Path) -> None:
    done = vigil_ai(tmp_path)
    assert done.returncode == 0
    assert "set VIGIL_AI_PROVIDERS=claude,rules and ANTHROPIC_API_KEY" in done.stdout
    assert json.loads(vigil_ai(tmp_path, "--json").stdout) == []
    assert list(tmp_path.iterdir()) == []
