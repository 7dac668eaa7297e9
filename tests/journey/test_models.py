"""Monitors whose facts a model reads, through HTTP only, against one real installation and stand-ins of two providers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from bootstrap.running import Running, everything_up
from bootstrap.settings import read_settings
from domain.model_call import TokenUsage
from tests.journey.test_journey import ChangingPage, Person
from tests.model_server import Answer, Asked, Found, ModelServer, Script, failing, model_server
from tests.reading_model import reads

WITHIN_SECONDS = 20
PRICE = {
    "name": "price",
    "type": "number",
    "unit": "EUR",
    "description": "the price of the kettle",
    "read_by": "model",
}


@asynccontextmanager
async def installed(
    folder: Path, database: str, redis_url: str, claude: ModelServer, openai: ModelServer, **given: object
) -> AsyncIterator[Running]:
    settings = read_settings(
        data_dir=folder / "vigil",
        database_url=database,
        redis_url=redis_url,
        http_port=0,
        inbox_port=0,
        min_interval_seconds=1,
        fetch_allow_networks="127.0.0.0/8",
        log_level="error",
        ai_providers="claude,openai,rules",
        anthropic_api_key="sk-ant-canary",
        anthropic_base_url=claude.url,
        openai_api_key="sk-canary",
        openai_base_url=openai.openai_url,
        **given,
    )
    async with everything_up(settings) as up:
        yield up


class World:
    """A person, a page and two providers."""

    def __init__(
        self, ada: Person, page: ChangingPage, claude: ModelServer, openai: ModelServer, database: str
    ) -> None:
        self.ada, self.page, self.claude, self.openai, self.database = ada, page, claude, openai, database

    def wish(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
        return {
            "prompt": "Tell me when the kettle is under 200 EUR",
            "sources": [{"type": "http", "url": self.page.url}],
            "facts": [PRICE],
            "condition": "price < 200.0",
            "schedule": {"every": "PT1H"},
            **given,
        }

    async def monitor(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
        made: dict[str, Any] = (await self.ada.call("POST", "/monitors", self.wish(**given), expect=201))["data"]
        return made

    async def looks(self, monitor_id: str, *, count: int) -> list[dict[str, Any]]:
        """So many evaluations, once they are completed: the first slot is due at once, and some are asked for."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                told = (await self.ada.call("GET", f"/monitors/{monitor_id}/history", expect=200))["data"]
                done: list[dict[str, Any]] = [look for look in told if look["status"] == "completed"]
                if len(done) == count:
                    return done
                await asyncio.sleep(0.05)

    async def usage(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.ada.call("GET", "/ai/usage", expect=200))["data"]
        return told

    def calls(self) -> list[tuple[str, str, int]]:
        with psycopg.connect(self.database) as connection:
            query = "select data->>'provider', data->>'outcome', (data->>'cost_micros')::bigint from event where type = 'model.called' order by seq"
            return connection.execute(query).fetchall()


@asynccontextmanager
async def world(
    tmp_path: Path, database: str, redis_url: str, claude: Script, openai: Script, **given: object
) -> AsyncIterator[World]:
    page = ChangingPage()
    await page.start()
    try:
        async with (
            model_server(claude) as first,
            model_server(openai) as second,
            installed(tmp_path, database, redis_url, first, second, **given) as up,
            aiohttp.ClientSession() as session,
        ):
            ada = Person(session, up)
            await ada.sign_up("ada@example.org")
            yield World(ada, page, first, second, database)
    finally:
        await page.stop()


async def test_a_model_reads_and_the_system_decides(tmp_path: Path, database: str, redis_url: str) -> None:
    async with world(tmp_path, database, redis_url, reads, reads) as here:
        monitor = await here.monitor()
        first = await here.ada.evaluate(monitor["id"])
        assert (first["verdict"], first["state_after"], first["provider"]) == ("not_met", "inactive", "claude")
        [fact] = first["facts"]
        assert (fact["value"], fact["unit"], fact["confidence"]) == (250.0, "EUR", 0.9)
        assert "250" in fact["quote"]
        asked = here.claude.count
        again = await here.ada.evaluate(monitor["id"])
        assert (again["verdict"], here.claude.count, again["cost_micros"]) == ("not_met", asked, 0), (
            "nothing changed, nothing was asked"
        )

        here.page.price = 149.0
        changed = await here.ada.evaluate(monitor["id"])
        assert (changed["verdict"], changed["state_after"]) == ("met", "active")
        assert changed["cost_micros"] > 0
        assert here.openai.count == 0
        calls = here.calls()
        assert [outcome for _, outcome, _ in calls] == ["ok"] * here.claude.count
        history = (await here.ada.call("GET", f"/monitors/{monitor['id']}/history", expect=200))["data"]
        assert sum(micros for _, _, micros in calls) == sum(one["cost_micros"] for one in history)


async def test_what_one_monitor_asked_another_need_not_ask(tmp_path: Path, database: str, redis_url: str) -> None:
    async with world(tmp_path, database, redis_url, reads, reads) as here:
        one = await here.monitor()
        first = await here.ada.evaluate(one["id"])
        asked = here.claude.count
        other = await here.monitor(name="The same", condition="price < 100.0")
        second = await here.ada.evaluate(other["id"])
        assert here.claude.count == asked
        assert [fact["value"] for fact in second["facts"]] == [fact["value"] for fact in first["facts"]]
        assert second["cost_micros"] == 0


async def test_what_is_not_asked_again_shows_as_money_that_was_saved(
    tmp_path: Path, database: str, redis_url: str
) -> None:
    async with world(tmp_path, database, redis_url, reads, reads) as here:
        forecast = (await here.ada.call("POST", "/monitors/preview", here.wish(), expect=200))["data"]["forecast"]
        spent = (await here.usage())["cost_micros"]
        assert forecast["cost_micros_a_call"] == spent > 0, "a trial costs what a look costs"
        assert forecast["cost_micros_a_day_max"] == 24 * spent
        one = await here.monitor()
        unchanged, other = await here.ada.evaluate(one["id"]), await here.monitor(name="Too", condition="price < 9.0")
        kept = await here.ada.evaluate(other["id"])
        for free in (unchanged, kept):
            assert (free["cost_micros"], free["saved_micros"]) == (0, spent)

        looks = [look for monitor in (one, other) for look in await here.looks(monitor["id"], count=2)]
        saved = sum(look["saved_micros"] for look in looks)
        assert saved == len(looks) * spent, "the trial had asked it all"
        assert (await here.usage())["saved_micros"] == saved
        by_monitor = (await here.ada.call("GET", "/ai/usage?group=monitor", expect=200))["data"]["groups"]
        assert sum(group["saved_micros"] for group in by_monitor) == saved
        assert {group["key"] for group in by_monitor} == {None, one["id"], other["id"]}


@pytest.mark.parametrize("fault", [failing(529), failing(429, Retry_After="3600"), failing(401), Answer(text="{")])
async def test_the_second_provider_reads_when_the_first_does_not(
    tmp_path: Path, database: str, redis_url: str, fault: Answer
) -> None:
    async with world(tmp_path, database, redis_url, fault, reads) as here:
        monitor = await here.monitor()
        evaluation = await here.ada.evaluate(monitor["id"])
        assert (evaluation["verdict"], evaluation["provider"]) == ("not_met", "openai")


async def test_when_nobody_can_read_nothing_changes_and_it_is_tried_again_soon(
    tmp_path: Path, database: str, redis_url: str
) -> None:
    broken = False

    def moody(asked: Any) -> Answer:  # noqa: ANN401  as the server asks
        return failing(503) if broken else reads(asked)

    async with world(tmp_path, database, redis_url, moody, failing(500)) as here:
        monitor = await here.monitor()
        await here.ada.evaluate(monitor["id"])
        broken, here.page.price = True, 149.0
        blind = await here.ada.evaluate(monitor["id"])
        assert (blind["status"], blind["verdict"], blind["state_after"]) == ("completed", "inconclusive", "inactive")
        assert "it does not work at present" in str(blind["explanation"])
        present = (await here.ada.call("GET", f"/monitors/{monitor['id']}", expect=200))["data"]
        assert present["status"] == "active"
        broken = False
        async with asyncio.timeout(WITHIN_SECONDS):
            while (await here.ada.evaluate(monitor["id"]))["verdict"] != "met":
                await asyncio.sleep(0.5)  # until the breakers let somebody try


async def test_a_spent_budget_is_told_and_stops_the_asking(tmp_path: Path, database: str, redis_url: str) -> None:
    async with world(tmp_path, database, redis_url, reads, reads, ai_budget_person_day="0.0001") as here:
        monitor = await here.monitor()
        evaluation = await here.ada.evaluate(monitor["id"])
        assert (evaluation["verdict"], here.claude.count, here.openai.count) == ("inconclusive", 0, 0)
        mail = await here.ada.wait_for_mail("ada@example.org", "budget")
        assert "ada@example.org" in mail["to"]


async def test_no_key_is_told_to_anybody(tmp_path: Path, database: str, redis_url: str) -> None:
    async with world(tmp_path, database, redis_url, failing(401), failing(500)) as here:
        monitor = await here.monitor()
        evaluation = await here.ada.evaluate(monitor["id"])
        status = await here.ada.call("GET", "/status", expect=200)
        with psycopg.connect(here.database) as connection:
            stored = connection.execute("select string_agg(data::text || metadata::text, '') from event").fetchone()
    assert "canary" not in f"{evaluation}{status}{stored}"
    sent = {request.headers.get("authorization") for request in here.claude.requests}
    assert sent == {"Bearer sk-ant-canary"}


async def test_what_a_search_finds_is_evidence_like_any_other(tmp_path: Path, database: str, redis_url: str) -> None:
    def searches(asked: Asked) -> Answer:
        if "tools" not in asked.body:
            return reads(asked)
        page = Found(title="A shop", url="https://shop.example/kettle", quote="price: 149 EUR")
        used = TokenUsage(input_tokens=9_000, output_tokens=60, searches=1)
        return Answer(text="The kettle is there, price: 149 EUR.", found=[page], usage=used)

    async with world(tmp_path, database, redis_url, searches, failing(500)) as here:
        monitor = await here.monitor(sources=[{"type": "search", "query": "price of the kettle"}])
        evaluation = await here.ada.evaluate(monitor["id"])
        assert (evaluation["verdict"], evaluation["state_after"]) == ("met", "active")
        [evidence] = evaluation["evidence"]
        assert (evidence["url"], evidence["outcome"]) == ("search:price of the kettle", "ok")
        [fact] = evaluation["facts"]
        assert (fact["value"], fact["evidence_hash"]) == (149.0, evidence["hash"])
        with psycopg.connect(here.database) as connection:
            kept = connection.execute("select count(*) from evidence where hash = %s", (evidence["hash"],)).fetchone()
        assert kept == (1,)
        assert evaluation["cost_micros"] > 10_000, "a search costs a cent"


async def test_a_search_that_nobody_can_make_is_inconclusive(tmp_path: Path, database: str, redis_url: str) -> None:
    async with world(tmp_path, database, redis_url, failing(529), failing(500)) as here:
        monitor = await here.monitor(sources=[{"type": "search", "query": "price of the kettle"}])
        evaluation = await here.ada.evaluate(monitor["id"])
        assert (evaluation["status"], evaluation["verdict"]) == ("completed", "inconclusive")
        assert "the web could not be searched" in str(evaluation["explanation"])
