"""What the doctor says of AI providers, after what calls came to; it makes none."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis.asyncio as redis

from adapters.redis_breakers import RedisBreakers
from bootstrap.settings import Settings, read_settings
from cli.doctor_ai import examine_ai
from cli.findings import Finding, Level
from domain.model_call import CallOutcome
from tests.cli.vigil_process import vigil

HAIKU, GPT = "claude-haiku-5-5", "gpt-5.4-mini"

_CALL = """
insert into read_model.model_calls
    (id, task, provider, model, outcome, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, searches,
     cost_micros, prices, is_estimated, started_at, duration_ms)
values (gen_random_uuid(), 'extract', %s, 'any', %s, 1, 1, 0, 0, 0, 1, 't', false, now() - interval '1 minute', 800)
"""


class Installation:
    """Calls that were made, breakers that opened, and what the doctor says of them."""

    def __init__(self, database: str, redis_url: str, folder: Path) -> None:
        self.database, self.redis_url, self.folder = database, redis_url, folder

    def settings(self, **given: object) -> Settings:
        both: dict[str, Any] = {"ai_providers": "claude,openai,rules", "anthropic_api_key": "k", "openai_api_key": "k"}
        return read_settings(data_dir=self.folder, redis_namespace="doctor", **{**both, **given})

    def calls(self, provider: str, *outcomes: CallOutcome) -> None:
        with psycopg.connect(self.database) as connection:
            for outcome in outcomes:
                connection.execute(_CALL, (provider, outcome))

    async def rests(self, provider: str, model: str) -> None:
        async with redis.from_url(self.redis_url) as client:
            breakers = RedisBreakers(client, namespace="doctor", holder="a worker", monotonic=lambda: 0.0)
            assert await breakers.allows(provider, model)
            breakers.note(provider, model, CallOutcome.AUTH)
            await breakers.close()

    async def says(self, redis_url: str | None = None, **given: object) -> list[Finding]:
        return await examine_ai(self.database, redis_url or self.redis_url, self.settings(**given))


@pytest.fixture
def installation(database: str, redis_url: str, tmp_path: Path) -> Installation:
    return Installation(database, redis_url, tmp_path)


async def test_rules_alone_are_enough(installation: Installation) -> None:
    [found] = await installation.says(ai_providers="rules")
    assert (found.check, found.level) == ("AI providers", Level.OK)
    assert found.message.startswith("rules only")


async def test_who_was_never_asked_is_well(installation: Installation) -> None:
    found = await installation.says()
    assert [(each.level, each.message) for each in found] == [
        (Level.OK, f"claude ({HAIKU}) was not asked in the last day"),
        (Level.OK, f"openai ({GPT}) was not asked in the last day"),
    ]


async def test_who_answers_is_told_with_how_fast_and_how_often_not(installation: Installation) -> None:
    installation.calls("claude", CallOutcome.OK, CallOutcome.OK, CallOutcome.OK, CallOutcome.OVERLOADED)
    claude, _ = await installation.says()
    assert (claude.level, claude.cure) == (Level.OK, None)
    assert claude.message == f"claude ({HAIKU}) answers, in 800 ms as a rule; 25 % of its latest calls failed"


async def test_who_rests_or_never_answers_is_told_and_fails_only_where_nobody_is_left(
    installation: Installation,
) -> None:
    installation.calls("claude", CallOutcome.AUTH)
    await installation.rests("claude", HAIKU)
    claude, openai = await installation.says()
    assert (claude.level, openai.level) == (Level.WARNING, Level.OK)
    assert "is asked by nobody until " in claude.message
    assert claude.message.endswith(": 1 calls failed since its last answer; it does not take the key")
    assert "`vigil ai check`" in str(claude.cure)
    assert "ends the rest of one that answers well" in str(claude.cure)
    installation.calls("openai", CallOutcome.TIMEOUT)
    claude, openai = await installation.says()
    assert (claude.level, openai.level) == (Level.FAILED, Level.FAILED)
    assert openai.message == f"openai ({GPT}) answered none of its latest calls"


async def test_a_spent_budget_is_told_with_its_limit(installation: Installation) -> None:
    assert (await installation.says(ai_budget_day="2.5"))[-1].message == "2.50 USD a day, and not spent"
    assert [each.check for each in await installation.says()] == ["AI providers"] * 2


async def test_without_redis_calls_alone_say_how_providers_do(installation: Installation) -> None:
    installation.calls("claude", CallOutcome.OK)
    await installation.rests("claude", HAIKU)
    claude, _ = await installation.says("redis://127.0.0.1:1")
    assert claude.level is Level.OK
    assert await examine_ai(installation.database, None, installation.settings()) == []


def test_a_provider_without_its_key_is_refused_in_one_message(tmp_path: Path) -> None:
    for command in (("up", "--demo"), ("worker", "evaluator"), ("ai", "check")):
        done = vigil(*command, data_dir=str(tmp_path / "data"), ai_providers="claude,rules")
        assert done.returncode == 1, done
        assert done.stderr.count("error: ") == 1
        assert "VIGIL_AI_PROVIDERS: claude needs ANTHROPIC_API_KEY" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "data").exists()
    told = vigil("doctor", "--json", data_dir=str(tmp_path / "data"), ai_providers="claude,rules")
    [found] = json.loads(told.stdout)
    assert (found["check"], found["level"]) == ("configuration", "failed")
    assert "needs ANTHROPIC_API_KEY" in found["message"]
