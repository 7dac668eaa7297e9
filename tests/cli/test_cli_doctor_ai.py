"""What the doctor says of AI providers, after what calls came to; it makes none."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis.asyncio as redis

from adapters.model_prices import ModelPrices
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import open_pool
from adapters.redis_breakers import RedisBreakers
from bootstrap.now_and_new import new_id, utc_now
from bootstrap.settings import Settings, read_settings
from cli.doctor_ai import examine_ai
from cli.findings import Finding, Level
from commands.asking import Inquiry, PlannedCall, Reply
from domain.budget import Budgets, micros_of
from domain.model_call import CallOutcome, OnBehalf, Task, TokenUsage
from tests.cli.vigil_process import vigil
from tests.patient_ledger import PatientLedger

HAIKU, GPT = "claude-haiku-5-5", "gpt-5.4-mini"

_CALL = """
insert into read_model.model_calls
    (id, task, provider, model, outcome, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, searches,
     cost_micros, prices, is_estimated, started_at, duration_ms)
values (gen_random_uuid(), 'extract', %s, 'any', %s, 1, 1, 0, 0, 0, 1, 't', false, now() - interval '1 minute', 800)
"""


def call(output_tokens_max: int) -> PlannedCall:
    return PlannedCall(
        id=new_id(),
        inquiry=Inquiry(
            task=Task.EXTRACT,
            instructions="Read.",
            content="a page",
            schema={},
            output_tokens_max=output_tokens_max,
        ),
        provider="claude",
        model="claude-haiku-4-5",
        on_behalf=OnBehalf(owner_id=new_id()),
        started_at=utc_now(),
    )


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

    async def rests(
        self, provider: str, model: str, because: CallOutcome = CallOutcome.AUTH, *, times: int = 1
    ) -> None:
        async with redis.from_url(self.redis_url) as client:
            breakers = RedisBreakers(client, namespace="doctor", holder="a worker", monotonic=lambda: 0.0)
            for _ in range(times):
                assert await breakers.allows(provider, model)
                breakers.note(provider, model, because)
            await breakers.close()

    async def spends(self, limit: str) -> None:
        """One call of 396 micros is made, and a larger one refused."""
        async with open_pool(self.database, size_max=2) as pool:
            budgets = Budgets(installation_day_micros=micros_of(Decimal(limit)))
            made = PatientLedger(pool, PostgresEventStore(pool, new_id=new_id), ModelPrices(), budgets, now=utc_now)
            small, large = call(10), call(1000)
            assert await made.admit(small) is None
            used = TokenUsage(input_tokens=171, output_tokens=45)
            await made.record(small, Reply(outcome=CallOutcome.OK, usage=used), duration_ms=1)
            assert await made.admit(large) is not None
            assert await made.admit(call(10)) is None, "a smaller one is made"

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
    assert claude.message.endswith(": 1 call failed, and none of its latest was answered; it does not take the key")
    assert "`vigil ai check`" in str(claude.cure)
    assert "tells what is wrong" in str(claude.cure)
    assert "ends the rest of one that answers well" in str(claude.cure)
    installation.calls("openai", CallOutcome.TIMEOUT)
    claude, openai = await installation.says()
    assert (claude.level, openai.level) == (Level.FAILED, Level.FAILED)
    assert openai.message == f"openai ({GPT}) answered none of its latest calls"


async def test_calls_failed_since_the_last_answer_only_where_there_was_one(installation: Installation) -> None:
    installation.calls("claude", CallOutcome.OK, CallOutcome.OVERLOADED)
    await installation.rests("claude", HAIKU, CallOutcome.OVERLOADED, times=5)
    await installation.rests("openai", GPT, CallOutcome.OVERLOADED, times=5)
    claude, openai = await installation.says()
    assert claude.message.endswith(": 5 calls failed since its last answer; it does not work at present")
    assert openai.message.endswith(": 5 calls failed, and none of its latest was answered; it does not work at present")


async def test_a_budget_is_told_with_what_is_spent_of_it_and_what_is_refused(installation: Installation) -> None:
    assert (await installation.says(ai_budget_day="2.5"))[-1].message == "0.00 USD of 2.50 USD are spent today"
    await installation.spends("0.0011")
    told = (await installation.says(ai_budget_day="0.0011"))[-1]
    assert (told.level, told.cure) == (Level.WARNING, "raise VIGIL_AI_BUDGET_DAY, or wait")
    assert told.message == (
        "0.000396 USD of 0.0011 USD are spent today; a call that may cost more than the rest is refused until midnight UTC"
    )
    raised = (await installation.says(ai_budget_day="0.002"))[-1]
    assert (raised.level, raised.message) == (Level.OK, "0.000396 USD of 0.002 USD are spent today")
    assert [each.check for each in await installation.says()] == ["AI providers"] * 2


async def test_without_redis_calls_alone_say_how_providers_do(installation: Installation) -> None:
    installation.calls("claude", CallOutcome.OK)
    await installation.rests("claude", HAIKU)
    claude, _ = await installation.says("redis://127.0.0.1:1")
    assert claude.level is Level.OK
    assert await examine_ai(installation.database, None, installation.settings()) == []


def test_each_mistake_of_the_settings_has_a_line_of_its_own(tmp_path: Path) -> None:
    told = vigil("doctor", "--json", data_dir=str(tmp_path), ai_providers="claude,rules", ai_budget_day="much")
    found = [(each["check"], each["level"], each["message"].partition(": ")[0]) for each in json.loads(told.stdout)]
    assert found == [
        ("configuration", "failed", "VIGIL_AI_PROVIDERS"),
        ("configuration", "failed", "VIGIL_AI_BUDGET_DAY"),
    ]


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
