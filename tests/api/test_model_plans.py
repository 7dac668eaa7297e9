"""Monitors whose prompts a model compiles, over HTTP on both sides: ours, and that of a stand-in for the provider."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from commands.http.failures import AI_RETRY_AFTER_SECONDS
from domain.breaker import AUTH_REST_SECONDS
from domain.model_call import CallOutcome, ModelCalled, Task
from domain.monitor import MonitorCreated
from domain.plan import Fires, Kind
from tests.api.conftest import vigil
from tests.api.people import SHOP, Installation, Json, Person, wish
from tests.model_server import REFUSAL, Answer, Asked, failing, model_server, ok

PROMPT = "tell me when somebody famous writes about our village"
"""Nothing that the rules understand."""
READ = {"name": "mentions", "type": "number", "description": "how often the village is mentioned", "read_by": "model"}
KEY = {"Idempotency-Key": "plans-1"}


def plan(**changes: object) -> Json:
    """A good answer."""
    nothing: Json = {"reset_condition": None, "fires": None, "search_query": None, "questions": []}
    return {
        **nothing,
        "name": "The village is famous",
        "facts": [{**READ, "unit": None, "select": None}],
        "condition": "mentions > 0",
        "schedule": {"every_seconds": 7200, "cron": None, "timezone": None},
        "explanation": "Counts mentions of the village. Tells you once there is one.",
        **changes,
    }


@dataclass
class Models:
    """What the provider answers next; the last line goes on."""

    lines: Sequence[Answer] = (ok(plan()),)
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.lines[min(len(self.asked), len(self.lines)) - 1]

    def answer(self, *lines: Answer) -> None:
        self.lines, self.asked = lines, []


@pytest.fixture(scope="module")
def scripted() -> Models:
    return Models()


@pytest.fixture
def models(scripted: Models) -> Models:
    """The provider's server, which answers a good plan unless a test says otherwise."""
    scripted.answer(ok(plan()))
    return scripted


@asynccontextmanager
async def with_models(script: Models, database: str, redis_server: str, folder: Path) -> AsyncIterator[Installation]:
    async with (
        model_server(script) as server,
        vigil(
            database,
            redis_server,
            folder,
            ai_providers="claude,rules",
            anthropic_api_key="sk-test",
            anthropic_base_url=server.url,
        ) as parts,
        Installation(parts) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
async def installation(
    scripted: Models, module_database: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with with_models(scripted, module_database, redis_server, tmp_path_factory.mktemp("plans")) as opened:
        yield opened


def to_compile(prompt: str = PROMPT, **changes: object) -> Json:
    """A body that leaves everything but the source to the model."""
    return wish(prompt=prompt, **{"facts": None, "condition": None, "schedule": None, **changes})


async def test_a_prompt_becomes_a_monitor_that_says_how_it_was_read(ada: Person, models: Models) -> None:
    made = await ada.gets("POST", "/monitors", to_compile(provider="claude", batch=True), expect=201)
    assert made["name"] == "The village is famous"
    assert made["facts"] == [READ]
    assert (made["condition"], made["kind"], made["fires"]) == ("mentions > 0", Kind.CURRENT_STATE, Fires.ON_ENTRY)
    assert (made["schedule"], made["provider"], made["batch"]) == ({"every": "PT2H"}, "claude", True)
    assert made["explanation"].startswith("Counts mentions of the village.")
    read = await ada.gets("GET", f"/monitors/{made['id']}")
    assert read == {**made, "updated_at": read["updated_at"], "compile_cost_micros": None}
    created = (await ada.installation.parts.store.load(UUID(made["id"])))[0].event
    assert isinstance(created, MonitorCreated)
    assert (created.plan.provider, created.plan.batch, created.plan.needs_model) == ("claude", True, True)
    [asked] = models.asked
    assert asked.body["output_config"]["format"]["type"] == "json_schema"
    assert PROMPT in json.dumps(asked.body["messages"])


async def calls_of(ada: Person) -> list[ModelCalled]:
    """The calls that were made for this person."""
    async with ada.installation.parts.pool.connection() as connection:
        query = "select stream_id from event where owner_id = %(owner)s and type = 'model.called' order by recorded_at"
        found = await (await connection.execute(query, {"owner": ada.user_id})).fetchall()
    events = [(await ada.installation.parts.store.load(stream_id))[0].event for (stream_id,) in found]
    return [event for event in events if isinstance(event, ModelCalled)]


async def test_who_asked_pays(ada: Person, models: Models) -> None:
    models.answer(ok(plan(condition="mention > 0")), ok(plan()))
    await ada.gets("POST", "/monitors", to_compile(), expect=201)
    calls = await calls_of(ada)
    assert len(calls) == 2
    for call in calls:
        assert (call.task, call.outcome, call.provider) == (Task.CLASSIFY, CallOutcome.OK, "claude")
        assert call.cost_micros > 0


async def paid(ada: Person) -> int:
    """What the calls of this person have cost."""
    return sum(call.cost_micros for call in await calls_of(ada))


async def test_what_compiling_cost_is_told_once_with_all_attempts(ada: Person, models: Models) -> None:
    models.answer(ok(plan(condition="mention > 0")), ok(plan()))
    made = await ada.gets("POST", "/monitors", to_compile(), expect=201, headers=KEY)
    assert len(models.asked) == 2
    assert made["compile_cost_micros"] == await paid(ada) > 0
    again = await ada.gets("POST", "/monitors", to_compile(), expect=201, headers=KEY)
    assert again["compile_cost_micros"] == made["compile_cost_micros"], "the first answer"
    path = f"/monitors/{made['id']}"
    assert (await ada.gets("GET", path))["compile_cost_micros"] is None
    fork = await ada.gets("POST", f"{path}/fork", {"prompt": PROMPT + " again"}, expect=201)
    assert fork["compile_cost_micros"] == await paid(ada) - made["compile_cost_micros"] > 0
    assert (await ada.gets("POST", f"{path}/fork", {}, expect=201))["compile_cost_micros"] is None


async def test_a_preview_tells_what_compiling_cost_also_where_the_rules_served_in_the_end(
    ada: Person, models: Models
) -> None:
    models.answer(Answer(text="{}"))
    shown = await ada.gets("POST", "/monitors/preview", to_compile("tell me when the price is below 50"))
    assert shown["plan"]["condition"] == "price < 50"
    assert shown["compile_cost_micros"] == await paid(ada) > 0
    assert shown["forecast"] is None, "no model reads"
    asked = len(models.asked)
    assert (await ada.gets("POST", "/monitors/preview", wish()))["compile_cost_micros"] is None
    assert len(models.asked) == asked


async def test_questions_come_back_and_nothing_is_stored(ada: Person, models: Models) -> None:
    models.answer(ok(plan(facts=[], questions=["Which village?", "Who is famous?"])))
    error = await ada.is_refused("POST", "/monitors", to_compile(), status=422, headers=KEY)
    assert error["code"] == "PROMPT_AMBIGUOUS"
    assert error["details"] == [
        {"field": "prompt", "issue": "question", "message": "Which village?"},
        {"field": "prompt", "issue": "question", "message": "Who is famous?"},
    ]
    assert (await ada.gets("GET", "/monitors")) == []
    found = await ada.gets("POST", "/monitors/validate", to_compile())
    assert (found["valid"], found["plan"]) == (False, None)
    assert [detail["issue"] for detail in found["details"]] == ["question", "question"]
    models.answer(ok(plan()))
    await ada.gets("POST", "/monitors", to_compile(), expect=201, headers=KEY)


async def test_rules_serve_when_the_provider_refuses(ada: Person, models: Models) -> None:
    models.answer(REFUSAL)
    made = await ada.gets("POST", "/monitors", to_compile("tell me when the price is below 50"), expect=201)
    assert made["condition"] == "price < 50"
    error = await ada.is_refused("POST", "/monitors", to_compile(), status=422)
    assert error["code"] == "PROMPT_NOT_UNDERSTOOD"
    assert "does not want to read this prompt" in error["message"]
    assert "The built-in rules were asked, too" in error["message"]
    assert "set up an AI provider" not in error["message"], "there is one"


async def test_a_provider_that_takes_no_key_is_a_matter_of_the_operator(
    database: str, redis_server: str, tmp_path: Path
) -> None:
    """In an installation of its own: who does not take the key is not asked again for a while."""
    refusing = Models((failing(401, error="authentication_error"),))
    async with with_models(refusing, database, redis_server, tmp_path) as installation:
        person = await installation.person()
        first, second = [await person.asks("POST", "/monitors", to_compile()) for _ in range(2)]
    assert len(refusing.asked) == 1
    for response in (first, second):
        assert response.status_code == 503, response.text
        assert response.json()["error"]["code"] == "AI_UNAVAILABLE"
        assert "claude: it does not take the key" in response.json()["error"]["message"]
        assert AI_RETRY_AFTER_SECONDS < int(response.headers["Retry-After"]) <= AUTH_REST_SECONDS
        assert "sk-test" not in response.text
    assert "(it rests, and is asked again in " in second.json()["error"]["message"]


async def test_what_is_given_in_full_is_never_sent_to_a_model(ada: Person, models: Models) -> None:
    made = await ada.monitor()
    await ada.gets("PATCH", f"/monitors/{made['id']}", {"schedule": {"every": "PT3H"}})
    assert not models.asked


async def test_a_new_prompt_is_compiled_anew_and_the_provider_stays(ada: Person, models: Models) -> None:
    made = await ada.monitor(provider="claude", batch=True)
    changed = await ada.gets("PATCH", f"/monitors/{made['id']}", {"prompt": PROMPT})
    assert (changed["condition"], changed["provider"], changed["batch"]) == ("mentions > 0", "claude", True)
    changed = await ada.gets("PATCH", f"/monitors/{made['id']}", {"provider": "", "batch": False})
    assert (changed["provider"], changed["batch"]) == (None, False)
    assert len(models.asked) == 1


async def test_forks_exports_and_restored_monitors_keep_how_they_are_read(ada: Person, models: Models) -> None:
    made = await ada.gets("POST", "/monitors", to_compile(provider="claude", batch=True), expect=201)
    kept = ["facts", "condition", "provider", "batch", "explanation"]
    fork = await ada.gets("POST", f"/monitors/{made['id']}/fork", {"schedule": {"every": "PT4H"}}, expect=201)
    assert [fork[name] for name in kept[:4]] == [made[name] for name in kept[:4]]
    exported = (await ada.asks("GET", f"/monitors/{made['id']}/export")).json()
    [entry] = exported["monitors"]
    assert (entry["provider"], entry["batch"], entry["facts"]) == ("claude", True, [READ])
    await ada.gets("DELETE", f"/monitors/{fork['id']}", expect=204)
    imported = await ada.gets("POST", "/monitors/import", exported)
    assert imported["created"] == 1, imported
    again = await ada.gets("GET", f"/monitors/{imported['entries'][0]['id']}")
    assert [again[name] for name in kept[:4]] == [made[name] for name in kept[:4]]
    await ada.gets("DELETE", f"/monitors/{made['id']}", expect=204)
    restored = await ada.gets("POST", f"/monitors/{made['id']}/restore", {"name": "Back"})
    assert [restored[name] for name in kept] == [made[name] for name in kept]
    plain = (await ada.asks("GET", f"/monitors/{(await ada.monitor())['id']}/export")).json()["monitors"][0]
    assert not {"provider", "batch"} & set(plain), "what is as usual is not written"
    assert len(models.asked) == 1


async def test_an_unknown_provider_is_refused_with_those_there_are(ada: Person) -> None:
    error = await ada.is_refused("POST", "/monitors", wish(provider="gemini"), status=400)
    assert error["details"][0]["field"] == "provider"
    assert "there are: claude" in error["message"]


async def test_an_address_in_the_prompt_is_where_it_looks(ada: Person, models: Models) -> None:
    made = await ada.gets("POST", "/monitors", to_compile(f"{PROMPT} on {SHOP}.", sources=None), expect=201)
    assert made["sources"] == [{"type": "http", "url": SHOP}]


async def test_without_a_source_the_web_is_searched_for_what_the_model_says(ada: Person, models: Models) -> None:
    models.answer(ok(plan(search_query="our village in the news")))
    made = await ada.gets("POST", "/monitors", to_compile(sources=None), expect=201)
    assert made["sources"] == [{"type": "search", "query": "our village in the news"}]


async def test_facts_that_a_model_read_are_not_read_again_over_kept_evidence(ada: Person, models: Models) -> None:
    made = await ada.gets("POST", "/monitors", to_compile(), expect=201)
    path = f"/monitors/{made['id']}/backtest"
    assert (await ada.gets("POST", path, {}))["over"] == "facts"
    assert (await ada.gets("POST", path, {"condition": "mentions > 3"}))["over"] == "facts"
    other: Any = {**READ, "description": "something else"}
    for body in ({"over": "evidence"}, {"facts": [other]}, {"facts": [other], "over": "facts"}):
        error = await ada.is_refused("POST", path, body, status=400)
        assert error["details"][0]["field"] == "over"
        assert "not read again over kept evidence" in error["message"]
    plain = await ada.monitor()
    assert (await ada.gets("POST", f"/monitors/{plain['id']}/backtest", {"over": "evidence"}))["over"] == "evidence"
