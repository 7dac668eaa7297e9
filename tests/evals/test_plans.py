"""The corpus of prompts and plans: the built-in rules on it, and the report about models."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.network_guard import NetworkGuard
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from commands.plan_compiler import PlanCompiler
from domain.fact import FactSpec, FactType, FactValue, Select
from domain.plan import Fires, Kind, Plan
from domain.schedule import Cron, Every
from domain.source import HttpSource, SearchSource
from evals.plan_cases import CONDITIONS, NOW, Case, Expected, Outcome, Probe, differences, play, read_cases
from evals.plans import NOT_ASKED, NOTHING_SET_UP
from tests.model_server import Answer, Asked, failing, model_server, ok

ROOT = Path(__file__).parents[2]
CASES = read_cases()
Json = dict[str, Any]


class Signals:
    """Everybody has every signal source."""

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        return frozenset(source_ids)


RULES = PlanCompiler(
    classifier=RulesProvider(),
    conditions=CONDITIONS,
    sources=SourceRules(NetworkGuard(), can_search=True),
    signals=Signals(),
    interval_seconds_min=60,
    now=lambda: NOW,
)


@pytest.mark.parametrize("case", CASES, ids=[case.prompt for case in CASES])
async def test_rules_make_of_a_prompt_what_it_says_or_refuse_it(case: Case) -> None:
    result = await play(case, RULES)
    assert result.outcome in {Outcome.PLAN, Outcome.REFUSAL}
    assert result.outcome is case.rules, "what the rules can do is recorded in the corpus"
    if result.outcome is Outcome.PLAN:
        assert list(result.wrong) == []


def test_the_corpus_is_large_and_varied_enough_to_mean_something() -> None:
    assert len(CASES) >= 60
    assert len({case.prompt for case in CASES}) == len(CASES)
    assert len({case.about for case in CASES}) >= 12
    assert {kind for case in CASES for kind in case.sources} == {"http", "feed", "signal", "search"}
    assert {outcome for case in CASES for outcome in case.expect} == set(Outcome) - {Outcome.UNAVAILABLE}
    assert sum(case.rules is Outcome.PLAN for case in CASES) >= 30


@pytest.mark.parametrize("case", [case for case in CASES if case.plans], ids=lambda case: case.prompt)
def test_every_probe_tells_plans_apart(case: Case) -> None:
    for expected in case.plans:
        assert {probe.met for probe in expected.probes} == {True, False}
        looks = {len(values) for probe in expected.probes for values in probe.values.values()}
        assert (max(looks) > 1) >= (expected.kind is Kind.HISTORICAL_CHANGE)
        for probe in expected.probes:
            assert set(probe.values) == set(expected.facts)
            assert len({len(values) for values in probe.values.values()}) == 1


# What is told of a plan

PRICE = FactSpec(name="price", type=FactType.NUMBER, select=Select(named="price"))
PLAN = Plan(
    kind=Kind.CURRENT_STATE,
    facts=(PRICE,),
    condition="price < 50",
    schedule=Every(seconds=600),
    sources=(HttpSource(url="https://page.example.com/"),),
    explanation="",
)
EXPECTED = Expected(
    facts={"p": FactType.NUMBER},
    kind=Kind.CURRENT_STATE,
    fires=Fires.ON_ENTRY,
    probes=[Probe(values={"p": [49]}, met=True), Probe(values={"p": [50]}, met=False)],
)


def case(*plans: Expected, **given: Any) -> Case:  # noqa: ANN401  the fields of a case
    return Case(
        **{"prompt": "x", "expect": (Outcome.PLAN,), "rules": Outcome.PLAN, "about": "x", "plans": plans, **given}
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"condition": "50 > price"}, None),
        ({"condition": "price <= 50"}, "price <= 50 is met at p [50], not not met"),
        ({"condition": "price > 50"}, "price > 50 is not_met at p [49], not met"),
        ({"fires": Fires.EACH_TIME}, "fires each_time, not on_entry"),
        ({"kind": Kind.HISTORICAL_CHANGE}, "the kind is historical_change, not current_state"),
        ({"facts": (msgspec.structs.replace(PRICE, type=FactType.TEXT),)}, "the facts are price text, not p number"),
    ],
)
async def test_what_a_condition_says_counts_and_not_how_it_is_written(changes: Json, told: str | None) -> None:
    wrong = await differences(case(EXPECTED), msgspec.structs.replace(PLAN, **changes))
    assert wrong[:1] == ([] if told is None else [told])


async def test_the_nearest_of_several_plans_counts() -> None:
    other = msgspec.structs.replace(EXPECTED, facts={"p": FactType.LIST}, kind=Kind.HISTORICAL_CHANGE)
    assert await differences(case(other, EXPECTED), PLAN) == []
    assert len(await differences(case(other), PLAN)) == 2


async def test_facts_are_told_apart_by_what_they_do() -> None:
    stock = FactSpec(name="a_stock", type=FactType.NUMBER, select=Select(named="stock"))
    plan = msgspec.structs.replace(PLAN, facts=(stock, PRICE), condition="price < 50 && a_stock > 3")
    values: dict[str, list[FactValue]] = {"p": [49], "s": [4]}
    both = msgspec.structs.replace(
        EXPECTED,
        facts={"p": FactType.NUMBER, "s": FactType.NUMBER},
        probes=[Probe(values=values, met=True), Probe(values={**values, "s": [3]}, met=False)],
    )
    assert await differences(case(both), plan) == []


async def test_probes_look_back_as_a_monitor_does() -> None:
    history = msgspec.structs.replace(
        EXPECTED,
        kind=Kind.HISTORICAL_CHANGE,
        probes=[
            Probe(values={"p": [60, 60, 60]}, met=True, step="PT6H"),
            Probe(values={"p": [60, 60]}, met=False, step="PT6H"),
        ],
    )
    held = msgspec.structs.replace(PLAN, condition='price > 50 && held_for("PT12H")', kind=Kind.HISTORICAL_CHANGE)
    assert await differences(case(history), held) == []
    reset = msgspec.structs.replace(PLAN, condition="price > 50", reset_condition="price < 40")
    stays = [Probe(values={"p": [51, 45]}, met=True), Probe(values={"p": [51, 39]}, met=False)]
    assert await differences(case(msgspec.structs.replace(EXPECTED, probes=stays)), reset) == []


@pytest.mark.parametrize(
    ("schedules", "is_right"),
    [
        (["every PT10M"], True),
        (["*/10 * * * * UTC"], True),
        (["every PT1H", "every PT10M"], True),
        (["every PT1H"], False),
    ],
)
async def test_schedules_are_compared_by_when_they_are_due(schedules: list[str], *, is_right: bool) -> None:
    wrong = await differences(case(EXPECTED, schedules=tuple(schedules)), PLAN)
    assert wrong == ([] if is_right else ["looks every 600 s, not every PT1H"])
    daily = msgspec.structs.replace(PLAN, schedule=Cron(line="0 8 * * *", timezone="Europe/Vienna"))
    assert await differences(case(EXPECTED, schedules=("0 7 * * * UTC",)), daily) == []
    assert await differences(case(EXPECTED, schedules=("0 8 * * * UTC",)), daily)


async def test_where_a_plan_looks_is_compared_where_the_case_says_it() -> None:
    searched = msgspec.structs.replace(PLAN, sources=(SearchSource(query="lamps"),))
    assert await differences(case(EXPECTED, watches=("search",)), searched) == []
    assert await differences(case(EXPECTED, watches=("https://page.example.com/",)), PLAN) == []
    assert await differences(case(EXPECTED, watches=("search",)), PLAN) == [
        "watches https://page.example.com/, not search"
    ]


# The report


def answer(**changes: object) -> Json:
    read = {"kind": "named", "value": "price", "regex": None}
    fact = {"name": "price", "type": "number", "unit": "EUR", "description": "price", "read_by": "selection"}
    nothing: Json = {"reset_condition": None, "fires": None, "schedule": None, "search_query": None, "questions": []}
    good: Json = {"name": "Price", "facts": [{**fact, "select": read}], "condition": "price < 50", "explanation": "So."}
    return {**nothing, **good, **changes}


def corpus_in(folder: Path) -> Path:
    cases = [
        case(EXPECTED, prompt="below 50, right", about="price"),
        case(EXPECTED, prompt="below 50, wrong", about="price"),
        case(EXPECTED, prompt="below 50, broken", about="price"),
        case(prompt="better", about="vague", expect=(Outcome.QUESTIONS,)),
    ]
    file = folder / "corpus.json"
    file.write_bytes(msgspec.json.encode({"cases": cases}))
    return file


def scripted(asked: Asked) -> Answer:
    content = json.dumps(asked.body["messages"])
    if "better" in content:
        return ok(answer(facts=[], questions=["What is better?"]))
    if "broken" in content:
        return failing(400, error="invalid_request_error")
    return ok(answer(condition="price > 50" if "wrong" in content else "price < 50"))


async def evals_plans(*arguments: str, cwd: Path, **environment: str) -> tuple[int, str, str]:
    """The program as people start it, with nothing in its environment but what is said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evals.plans", *arguments),
        cwd=cwd,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_report_tells_how_a_model_did_what_it_cost_and_what_went_wrong(tmp_path: Path) -> None:
    corpus = str(corpus_in(tmp_path))
    async with model_server(scripted) as server:
        given = {"ANTHROPIC_API_KEY": "sk-test", "ANTHROPIC_BASE_URL": server.url}
        code, out, err = await evals_plans("--corpus", corpus, "--json", cwd=tmp_path, **given)
        assert code == 0, err
        report = json.loads(out)
        assert (report["cases"], report["right"]) == (4, 2)
        assert report["by_subject"] == {"price": [1, 3], "vague": [1, 1]}
        assert report["outcomes"] == {"ok": 3, "bad_request": 1}
        assert report["cost_micros"] > 0
        assert report["models"][0].startswith("claude (")
        wrong = {failure["prompt"]: failure for failure in report["failures"]}
        assert set(wrong) == {"below 50, wrong", "below 50, broken"}
        assert wrong["below 50, wrong"]["wrong"][0] == "price > 50 is not_met at p [49.0], not met"
        assert wrong["below 50, broken"]["outcome"] == "refusal"
        assert err.count("✓") == 2

        code, out, err = await evals_plans("--corpus", corpus, "--about", "price", cwd=tmp_path, **given)
        assert code == 0, err
        assert "score:   1 of 3 (33 %): price 1/3" in out
        assert "✗ price: below 50, wrong" in out
        assert "p95" in out


async def test_without_a_key_it_says_what_to_set_and_asks_nobody(tmp_path: Path) -> None:
    code, out, err = await evals_plans(cwd=tmp_path)
    assert (code, out, err.strip()) == (NOT_ASKED, "", NOTHING_SET_UP)
    code, _, err = await evals_plans(cwd=tmp_path, VIGIL_AI_PROVIDERS="claude")
    assert code == NOT_ASKED
    assert "ANTHROPIC_API_KEY" in err
