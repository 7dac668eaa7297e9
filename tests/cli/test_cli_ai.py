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

from adapters.claude_provider import ClaudeProvider
from adapters.model_prices import ModelPrices
from adapters.openai_provider import OpenAIProvider
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


def test_with_rules_alone_it_says_what_to_set(tmp_path: Path) -> None:
    done = vigil_ai(tmp_path)
    assert done.returncode == 0
    assert "set VIGIL_AI_PROVIDERS=claude,rules and ANTHROPIC_API_KEY" in done.stdout
    assert json.loads(vigil_ai(tmp_path, "--json").stdout) == []
    assert list(tmp_path.iterdir()) == []
