"""What models will cost that read for a monitor, told when it is tried, made, changed and shown."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bootstrap.now_and_new import utc_now
from commands.forecasting import SEARCH
from domain.forecast import NOT_BATCHED
from domain.model_call import TokenUsage
from tests.api.conftest import vigil
from tests.api.people import Installation, Json, Person, wish
from tests.model_server import Asked, ModelServer, failing, model_server
from tests.reading_model import USED, content_of, reads

HAIKU_NAME = "claude-haiku-5-5"
PRICE = {"name": "price", "type": "number", "description": "the price of the kettle", "read_by": "model"}
SHOWN = "<main><h1>Kettle</h1><p>Price: 249.00</p><p>In stock</p></main>"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ModelServer]:
    async with model_server(reads) as server:
        yield server


@pytest.fixture
def works(provider: ModelServer) -> ModelServer:
    provider.script = reads
    return provider


@pytest.fixture(scope="module")
async def installation(
    provider: ModelServer, module_database: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    async with (
        vigil(
            module_database,
            redis_server,
            tmp_path_factory.mktemp("forecast"),
            ai_providers="claude,openai,rules",
            anthropic_api_key="sk-test",
            anthropic_base_url=provider.url,
            openai_base_url=provider.openai_url,
            openai_model="llama3.3",
            ai_prices="llama3.3=0/0",
        ) as parts,
        Installation(parts) as opened,
    ):
        yield opened


@pytest.fixture
async def page() -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=f"<html><body>{SHOWN}</body></html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/kettle", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/kettle"))


def reading(page: str, **changes: object) -> Json:
    body = {"facts": [PRICE], "condition": "price < 200.0", "schedule": {"every": "PT5M"}}
    return wish(**{"sources": [{"type": "http", "url": page}], **body, **changes})


async def test_a_monitor_says_what_it_will_cost_when_it_is_made_and_afterwards(
    ada: Person, works: ModelServer, page: str
) -> None:
    asked = works.count
    made = await ada.gets("POST", "/monitors", reading(page), expect=201)
    assert works.count == asked, "telling it costs nothing"
    told = made["forecast"]
    assert (told["looks_a_day"], told["calls_a_day_max"]) == (288.0, 288.0)
    assert told["cost_micros_a_day_max"] == 288 * told["cost_micros_a_call"] > 0
    assert HAIKU_NAME in told["basis"]
    assert "costs nothing" in told["basis"]
    path = f"/monitors/{made['id']}"
    assert (await ada.gets("GET", path))["forecast"] == told
    [listed] = await ada.gets("GET", "/monitors")
    assert listed["forecast"] is None
    rarer = await ada.gets("PATCH", path, {"schedule": {"every": "PT1H"}})
    assert rarer["forecast"]["cost_micros_a_day_max"] == 24 * told["cost_micros_a_call"]
    forked = await ada.gets("POST", f"{path}/fork", {}, expect=201)
    assert forked["forecast"] == rarer["forecast"]


async def test_what_is_read_without_a_model_has_no_forecast(ada: Person, page: str) -> None:
    body = wish(sources=[{"type": "http", "url": page}])
    assert (await ada.gets("POST", "/monitors/preview", body))["forecast"] is None
    made = await ada.gets("POST", "/monitors", body, expect=201)
    assert made["forecast"] is None
    assert (await ada.gets("GET", f"/monitors/{made['id']}"))["forecast"] is None


async def test_the_first_answer_to_a_key_tells_the_same_again(ada: Person, page: str) -> None:
    key = {"Idempotency-Key": "forecast-1"}
    first = await ada.asks("POST", "/monitors", reading(page), headers=key)
    again = await ada.asks("POST", "/monitors", reading(page), headers=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json()["data"]["forecast"] == again.json()["data"]["forecast"]


async def test_a_trial_tells_what_it_really_cost(ada: Person, works: ModelServer, page: str) -> None:
    prices = ada.installation.parts.ai.prices
    paid = prices.cost_micros("claude", "stand-in-1", USED, at=utc_now(), asked_for=HAIKU_NAME)
    shown = await ada.gets("POST", "/monitors/preview", reading(page))
    assert shown["evaluation"]["verdict"] == "not_met"
    assert shown["forecast"]["cost_micros_a_call"] == paid
    assert shown["forecast"]["cost_micros_a_day_max"] == 288 * paid
    assert shown["forecast"]["is_estimated"] is False
    assert "what this trial cost" in shown["forecast"]["basis"]
    assert (shown["evaluation"]["cost_micros"], shown["evaluation"]["saved_micros"]) == (paid, 0)
    asked = works.count
    again = await ada.gets("POST", "/monitors/preview", reading(page, batch=True))
    assert works.count == asked, "the answer was kept"
    assert again["forecast"]["cost_micros_a_day_max"] == 144 * paid, "and tells what it had cost, at half the price"
    assert (again["evaluation"]["cost_micros"], again["evaluation"]["saved_micros"]) == (0, paid)
    made = await ada.gets("POST", "/monitors", reading(page), expect=201)
    assert made["forecast"]["is_estimated"] is True, "nothing was looked at yet"
    assert "an estimate for texts of typical size" in made["forecast"]["basis"]


async def test_a_trial_in_which_no_model_reads_is_told_by_what_is_typical(
    ada: Person, works: ModelServer, page: str
) -> None:
    works.script = failing(400)
    body = reading(page, facts=[{**PRICE, "description": "another price"}])
    shown = await ada.gets("POST", "/monitors/preview", body)
    assert shown["evaluation"]["verdict"] == "inconclusive"
    assert shown["forecast"]["is_estimated"] is True
    assert "of typical size" in shown["forecast"]["basis"]
    assert shown["forecast"]["cost_micros_a_day_max"] > 0
    made = await ada.gets("POST", "/monitors", body, expect=201)
    assert made["forecast"] == shown["forecast"], "both are the same estimate"


async def test_a_trial_in_which_one_text_of_two_is_read_is_no_measure(
    ada: Person, works: ModelServer, page: str
) -> None:
    works.script = lambda asked: failing(400) if '"lost"' in content_of(asked) else reads(asked)
    facts = [{**PRICE, "select": {"css": "p"}}, {**PRICE, "name": "lost", "select": {"css": "h1"}}]
    shown = await ada.gets("POST", "/monitors/preview", reading(page, facts=facts))
    assert shown["evaluation"]["cost_micros"] > 0
    assert shown["forecast"]["is_estimated"] is True


async def test_a_trial_whose_page_lacks_one_text_of_two_is_no_measure(
    ada: Person, works: ModelServer, page: str
) -> None:
    """A later look at which it is there has two calls."""
    facts = [{**PRICE, "select": {"css": "p"}}, {**PRICE, "name": "lost", "select": {"css": ".not-here"}}]
    before = works.count
    shown = await ada.gets("POST", "/monitors/preview", reading(page, facts=facts))
    assert works.count - before <= 1, "nothing is asked about no text"
    assert (shown["forecast"]["is_estimated"], shown["forecast"]["calls_a_day_max"]) == (True, 2 * 288)
    both = [facts[0], {**facts[1], "select": {"css": "h1"}}]
    shown = await ada.gets("POST", "/monitors/preview", reading(page, facts=both))
    assert shown["forecast"]["is_estimated"] is False, "all was asked, and answered"


async def test_a_trial_that_asked_less_than_a_look_may_ask_is_no_measure(
    ada: Person, works: ModelServer, page: str
) -> None:
    """The first page has every fact; a look at which it has not would read the second one, too."""
    two = [{"type": "http", "url": f"{page}?{n}"} for n in range(2)]
    shown = (await ada.gets("POST", "/monitors/preview", reading(page, sources=two)))["forecast"]
    made = (await ada.gets("POST", "/monitors", reading(page, sources=two), expect=201))["forecast"]
    assert shown == made
    assert (shown["is_estimated"], shown["calls_a_day_max"]) == (True, 2 * 288)


async def test_the_provider_that_is_asked_first_says_the_price(ada: Person, page: str) -> None:
    told = (await ada.gets("POST", "/monitors", reading(page, provider="openai"), expect=201))["forecast"]
    assert (told["cost_micros_a_day_max"], told["cost_micros_a_call"]) == (0, 0), "it is one's own server"
    assert "llama3.3" in told["basis"]


async def test_in_no_hurry_who_takes_batches_says_the_price(ada: Person, page: str) -> None:
    """The server of one's own speaks chat, and has none."""
    hurried = (await ada.gets("POST", "/monitors", reading(page), expect=201))["forecast"]
    waits = reading(page, provider="openai", batch=True)
    told = (await ada.gets("POST", "/monitors", waits, expect=201))["forecast"]
    assert HAIKU_NAME in told["basis"]
    assert told["cost_micros_a_day_max"] == hurried["cost_micros_a_day_max"] // 2
    assert "for half the price" in told["basis"]
    assert told["notes"] == []


async def test_batches_that_nobody_takes_are_told_and_not_refused(
    provider: ModelServer, works: ModelServer, database: str, redis_server: str, tmp_path: Path, page: str
) -> None:
    """A server that speaks chat has none; with another provider the same monitor is batched."""
    del works
    own: Json = {"ai_providers": "openai,rules", "openai_base_url": provider.openai_url, "openai_model": "llama3.3"}
    async with vigil(database, redis_server, tmp_path, **own) as parts, Installation(parts) as installation:
        ada = await installation.person()
        shown = await ada.gets("POST", "/monitors/preview", reading(page, batch=True))
        made = await ada.gets("POST", "/monitors", reading(page, batch=True), expect=201)
        read = await ada.gets("GET", f"/monitors/{made['id']}")
        for told in (shown, made, read):
            assert told["forecast"]["notes"] == [NOT_BATCHED]
            assert "half the price" not in told["forecast"]["basis"]
        assert made["batch"] is True
        hurried = await ada.gets("PATCH", f"/monitors/{made['id']}", {"batch": False})
        assert hurried["forecast"]["notes"] == []


async def test_a_search_is_a_call_of_its_own_at_every_look(ada: Person) -> None:
    search = reading("", sources=[{"type": "search", "query": "kettles under 200 EUR"}], schedule={"every": "P1D"})
    told = (await ada.gets("POST", "/monitors", search, expect=201))["forecast"]
    prices = ada.installation.parts.ai.prices
    searching = prices.cost_micros("claude", HAIKU_NAME, SEARCH, at=utc_now())
    assert (told["looks_a_day"], told["calls_a_day_max"]) == (1.0, 2.0)
    assert told["cost_micros_a_day_max"] > searching > 20_000
    assert f"{HAIKU_NAME} searches the web and {HAIKU_NAME} reads one text" in told["basis"]


async def test_what_is_selected_in_what_a_search_finds_costs_the_search(ada: Person) -> None:
    search = wish(sources=[{"type": "search", "query": "kettles"}], schedule={"every": "P1D"})
    told = (await ada.gets("POST", "/monitors", search, expect=201))["forecast"]
    assert told["calls_a_day_max"] == 1.0
    assert told["basis"].startswith(f"At each look {HAIKU_NAME} searches the web. The price is an estimate")


async def test_as_many_calls_are_made_as_are_told(ada: Person, works: ModelServer, page: str) -> None:
    """Two texts are selected, and of the whole page more is wanted than one inquiry takes."""
    selected = [{**PRICE, "name": f"s{n}", "select": {"css": css}} for n, css in enumerate(["h1", "p", "p"])]
    whole = [{**PRICE, "name": f"w{n}"} for n in range(17)]
    body = reading(page, facts=[*selected, *whole], condition="w0 < 200.0", schedule={"every": "P1D"})
    before = works.count
    shown = await ada.gets("POST", "/monitors/preview", body)
    assert shown["forecast"]["calls_a_day_max"] == works.count - before == 4


async def test_typical_sizes_are_those_of_a_real_inquiry(ada: Person, works: ModelServer, page: str) -> None:
    """Our own words are counted from what is really asked, and the evidence comes on top."""
    await ada.gets("POST", "/monitors/preview", reading(page, facts=[{**PRICE, "description": "its price in words"}]))
    [*_, asked] = works.requests
    at_least = len(_instructions(asked)) // 4 + 4_000
    made = await ada.gets("POST", "/monitors", reading(page), expect=201)
    prices = ada.installation.parts.ai.prices
    bounds = [
        prices.cost_micros("claude", HAIKU_NAME, TokenUsage(input_tokens=tokens, output_tokens=60), at=utc_now())
        for tokens in (at_least, at_least + 500)
    ]
    assert bounds[0] <= made["forecast"]["cost_micros_a_call"] <= bounds[1]


def _instructions(asked: Asked) -> str:
    system = asked.body["system"]
    return system if isinstance(system, str) else "".join(part["text"] for part in system)
