"""Finding out what a monitor would be and say before it is one: validate and preview."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from commands.previewing import PREVIEWS_AT_ONCE_MAX
from tests.api.people import SHOP, Json, Person, wish

PRICE = '{"price": 42.5, "note": "nothing else of this is to be seen"}'


class Shop:
    """A shop that answers at once, or when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await self.open.wait()
        return web.Response(text=PRICE, content_type="application/json", status=self.status)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    one, app = Shop(), web.Application()
    app.router.add_get("/price.json", one.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        one.url = str(server.make_url("/price.json"))
        yield one
        one.open.set()


def at(shop: Shop, **changes: object) -> Json:
    return wish(sources=[{"type": "http", "url": shop.url}], **changes)


# Previewing


async def test_a_preview_shows_the_plan_and_the_first_evaluation_and_stores_nothing(ada: Person, shop: Shop) -> None:
    before = await ada.installation.stored(ada.user_id)
    shown = await ada.gets("POST", "/monitors/preview", at(shop, name="Kettle"))
    assert (shown["name"], shown["plan"]["condition"], shown["plan"]["kind"]) == (
        "Kettle",
        "price < 50.0",
        "current_state",
    )
    evaluation = shown["evaluation"]
    assert (evaluation["id"], evaluation["monitor_id"]) == (None, None)
    assert (evaluation["status"], evaluation["verdict"], evaluation["error"]) == ("completed", "met", None)
    assert (evaluation["state_before"], evaluation["state_after"], evaluation["changed"]) == ("unknown", "active", True)
    assert evaluation["condition"] == {"expression": "price < 50.0", "inputs": {"price": 42.5}, "result": True}
    (fact,) = evaluation["facts"]
    assert (fact["name"], fact["value"], fact["quote"], fact["source_url"]) == ("price", 42.5, "42.5", shop.url)
    (evidence,) = evaluation["evidence"]
    assert (evidence["outcome"], evidence["status"], evidence["bytes"]) == ("ok", 200, len(PRICE))
    assert (evidence["content_type"], evidence["hash"]) == ("application/json", fact["evidence_hash"])
    assert await ada.installation.stored(ada.user_id) == before
    assert await ada.gets("GET", "/monitors") == []


async def test_the_content_of_a_source_is_not_shown_beyond_what_was_read(ada: Person, shop: Shop) -> None:
    response = await ada.asks("POST", "/monitors/preview", at(shop))
    assert "nothing else of this" not in response.text


async def test_a_preview_without_facts_and_condition_is_compiled_as_creating_it_would(ada: Person, shop: Shop) -> None:
    body = at(shop, facts=None, condition=None)
    shown = await ada.gets("POST", "/monitors/preview", body)
    created = await ada.gets("POST", "/monitors", body, expect=201)
    assert shown["plan"] == {name: created[name] for name in shown["plan"]}
    assert shown["name"] == created["name"]


@pytest.mark.parametrize("condition", ["changed(price)", 'decreased_by(price, 0.1, "P7D")'])
async def test_a_condition_on_history_has_none_yet_and_says_so(ada: Person, shop: Shop, condition: str) -> None:
    evaluation = (await ada.gets("POST", "/monitors/preview", at(shop, condition=condition)))["evaluation"]
    assert (evaluation["verdict"], evaluation["state_after"]) == ("not_met", "inactive")
    assert "not enough history yet" in evaluation["reason"]
    assert condition.replace("'", '"') in evaluation["condition"]["inputs"]


async def test_confirmations_are_waited_for_as_they_would_be(ada: Person, shop: Shop) -> None:
    evaluation = (await ada.gets("POST", "/monitors/preview", at(shop, confirmations=2)))["evaluation"]
    assert (evaluation["verdict"], evaluation["state_after"], evaluation["changed"]) == ("met", "unknown", False)


async def test_a_fact_that_is_not_there_is_inconclusive(ada: Person, shop: Shop) -> None:
    facts = [{"name": "price", "type": "number", "select": {"jsonpath": "$.weight"}}]
    evaluation = (await ada.gets("POST", "/monitors/preview", at(shop, facts=facts)))["evaluation"]
    assert (evaluation["verdict"], evaluation["reason"]) == ("inconclusive", "price was not found")
    assert (evaluation["condition"]["result"], evaluation["state_after"]) == (None, "unknown")


@pytest.mark.parametrize(
    ("status", "code"), [(404, "SOURCE_GONE"), (403, "SOURCE_BLOCKED"), (500, "SOURCE_SERVER_ERROR")]
)
async def test_a_source_that_fails_is_an_answer(ada: Person, shop: Shop, status: int, code: str) -> None:
    shop.status = status
    evaluation = (await ada.gets("POST", "/monitors/preview", at(shop)))["evaluation"]
    assert (evaluation["status"], evaluation["verdict"], evaluation["error"]["code"]) == ("failed", None, code)
    assert str(status) in evaluation["error"]["message"]
    assert evaluation["evidence"][0]["status"] == status
    assert (evaluation["facts"], evaluation["condition"], evaluation["state_after"]) == ([], None, "unknown")


async def test_a_source_that_cannot_be_reached_is_an_answer(ada: Person) -> None:
    """Nobody listens at the shop's own address."""
    evaluation = (await ada.gets("POST", "/monitors/preview", wish()))["evaluation"]
    assert (evaluation["status"], evaluation["error"]["code"]) == ("failed", "SOURCE_UNREACHABLE")


async def test_a_source_that_takes_too_long_is_an_answer(
    ada: Person, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.previewing.PREVIEW_SECONDS_MAX", 0.05)
    shop.open.clear()
    evaluation = (await ada.gets("POST", "/monitors/preview", at(shop)))["evaluation"]
    assert (evaluation["status"], evaluation["error"]["code"], evaluation["evidence"]) == ("failed", "SOURCE_SLOW", [])


async def test_only_so_many_previews_of_one_person_run_at_once(ada: Person, ben: Person, shop: Shop) -> None:
    shop.open.clear()
    running = [
        asyncio.create_task(ada.asks("POST", "/monitors/preview", at(shop))) for _ in range(PREVIEWS_AT_ONCE_MAX)
    ]
    while shop.asked < PREVIEWS_AT_ONCE_MAX:
        await asyncio.sleep(0.005)
    refused = await ada.asks("POST", "/monitors/preview", at(shop))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert int(refused.headers["Retry-After"]) > 0
    others = asyncio.create_task(ben.asks("POST", "/monitors/preview", at(shop)))
    while shop.asked <= PREVIEWS_AT_ONCE_MAX:
        await asyncio.sleep(0.005)
    shop.open.set()
    assert [answer.status_code for answer in await asyncio.gather(*running, others)] == [200] * (len(running) + 1)
    await ada.gets("POST", "/monitors/preview", at(shop))


async def test_a_preview_needs_no_free_place(ada: Person, shop: Shop) -> None:
    while (await ada.asks("POST", "/monitors", wish())).status_code == 201:
        pass
    await ada.gets("POST", "/monitors/preview", at(shop))


async def test_a_preview_asks_nobody_it_may_not_ask(ada: Person, shop: Shop) -> None:
    for url in ("http://10.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "http://[::1]/"):
        body = wish(sources=[{"type": "http", "url": shop.url}, {"type": "http", "url": url}])
        error = await ada.is_refused("POST", "/monitors/preview", body, status=400)
        assert [detail["field"] for detail in error["details"]] == ["sources[1].url"]
    assert shop.asked == 0


async def test_a_prompt_nobody_understands_is_refused_as_at_creation(ada: Person) -> None:
    body = wish(prompt="Sing me a song", facts=None, condition=None)
    error = await ada.is_refused("POST", "/monitors/preview", body, status=422)
    assert error["code"] == "PROMPT_NOT_UNDERSTOOD"


# Validating


async def test_a_sound_body_is_valid_and_shows_its_plan(ada: Person) -> None:
    before = await ada.installation.stored(ada.user_id)
    found = await ada.gets("POST", "/monitors/validate", wish(name="Kettle"))
    assert (found["valid"], found["name"], found["details"], found["resets_state"]) == (True, "Kettle", [], False)
    created = await ada.monitor(name="Kettle")
    assert found["plan"] == {name: created[name] for name in found["plan"]}
    await ada.gets("DELETE", f"/monitors/{created['id']}", expect=204)
    assert (await ada.installation.stored(ada.user_id))["events"] == before["events"] + 2


async def test_all_mistakes_are_told_at_once_each_with_its_field(ada: Person) -> None:
    body = wish(
        prompt="x",
        name="two\nlines",
        sources=[{"type": "http", "url": SHOP}, {"type": "http", "url": "http://10.0.0.1/"}],
        facts=[{"name": "price", "type": "number", "select": {"css": "p[["}}],
        condition='price < "fifty"',
        schedule={"every": "PT1S", "cron": "* * * * *"},
        confirmations=99,
        min_confidence=7,
    )
    found = await ada.gets("POST", "/monitors/validate", body)
    assert (found["valid"], found["name"], found["plan"]) == (False, None, None)
    assert [detail["field"] for detail in found["details"]] == [
        *("prompt", "name", "sources[1].url", "facts[0].select.css", "condition", "confirmations", "min_confidence"),
        "schedule",
    ]
    condition = next(detail["message"] for detail in found["details"] if detail["field"] == "condition")
    assert "^" in condition


@pytest.mark.parametrize(
    ("changes", "field", "issue"),
    [
        ({"facts": None, "condition": "weight < 5.0"}, "condition", "invalid"),
        ({"prompt": "Sing me a song", "facts": None, "condition": None}, "prompt", "rule"),
        ({"schedule": {"cron": "0 0 30 2 *"}}, "schedule.cron", "invalid"),
        ({"facts": [], "condition": "price < 5.0"}, "facts", "invalid"),
    ],
)
async def test_a_mistake_that_shows_late_is_told_too(ada: Person, changes: Json, field: str, issue: str) -> None:
    found = await ada.gets(
        "POST", "/monitors/validate", wish(**changes) | {k: v for k, v in changes.items() if v == []}
    )
    assert (found["valid"], [(d["field"], d["issue"]) for d in found["details"]]) == (False, [(field, issue)])


async def test_a_change_is_validated_against_the_monitor_it_would_change(ada: Person) -> None:
    made = await ada.monitor(name="Kettle")
    path = f"/monitors/{made['id']}"
    before = await ada.installation.stored(ada.user_id)
    cases: list[tuple[Json, bool, bool]] = [
        ({}, True, False),
        ({"schedule": {"every": "PT2H"}}, True, False),
        ({"condition": "price < 40.0"}, True, True),
        ({"condition": "weight < 40.0"}, False, False),
        ({"prompt": "Tell me when the stock rises above 7"}, True, True),
    ]
    for change, valid, resets in cases:
        found = await ada.gets("POST", f"{path}/validate", change)
        assert (found["valid"], found["resets_state"]) == (valid, resets), change
        if valid:
            changed = await ada.asks("PATCH", path, change)
            now = changed.json()["data"]
            assert found["plan"] == {name: now[name] for name in found["plan"]}, change
            await ada.gets("PUT", path, wish(name="Kettle"))
        else:
            assert [detail["field"] for detail in found["details"]] == ["condition"]
    assert (await ada.installation.stored(ada.user_id))["reservations"] == before["reservations"]


async def test_validating_stores_nothing(ada: Person) -> None:
    path = f"/monitors/{(await ada.monitor())['id']}"
    before, shown = await ada.installation.stored(ada.user_id), await ada.gets("GET", path)
    for change in ({"condition": "price < 1.0"}, {"condition": "price <"}, {"name": "Pot"}):
        await ada.gets("POST", f"{path}/validate", change, headers={"Idempotency-Key": "k"})
    assert await ada.installation.stored(ada.user_id) == before
    assert await ada.gets("GET", path) == shown


async def test_a_form_that_is_wrong_is_refused_and_not_only_found_wrong(ada: Person) -> None:
    error = await ada.is_refused("POST", "/monitors/validate", {"colour": "red"}, status=400)
    assert {detail["field"] for detail in error["details"]} == {"colour", "prompt"}
    path = f"/monitors/{(await ada.monitor())['id']}"
    error = await ada.is_refused("POST", f"{path}/validate", {"confirmations": "3"}, status=400)
    assert [detail["field"] for detail in error["details"]] == ["confirmations"]


async def test_somebody_elses_or_a_deleted_monitor_is_not_there_to_be_validated(ada: Person, ben: Person) -> None:
    made = await ada.monitor()
    path = f"/monitors/{made['id']}/validate"
    await ben.is_refused("POST", path, {}, status=404)
    await ada.gets("DELETE", f"/monitors/{made['id']}", expect=204)
    error: Any = await ada.is_refused("POST", path, {"condition": "price <"}, status=404)
    assert error["code"] == "NOT_FOUND"
