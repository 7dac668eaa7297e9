"""The whole path as a person walks it, through HTTP only, against one real installation."""

import asyncio
import re
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bootstrap.running import Running, everything_up
from bootstrap.settings import read_settings

WITHIN_SECONDS = 15


class ChangingPage:
    """A shop's page whose price the test sets."""

    def __init__(self) -> None:
        self.price = 250.0
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/price.json", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/price.json"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.json_response({"product": "Kettle", "price": self.price})


@pytest.fixture
async def page() -> AsyncIterator[ChangingPage]:
    changing = ChangingPage()
    await changing.start()
    yield changing
    await changing.stop()


@pytest.fixture
async def running(tmp_path: Path, database: str, redis_url: str) -> AsyncIterator[Running]:
    settings = read_settings(
        data_dir=tmp_path / "vigil",
        database_url=database,
        redis_url=redis_url,
        http_port=0,
        inbox_port=0,
        min_interval_seconds=1,
        fetch_allow_networks="127.0.0.0/8",
        log_level="warning",
    )
    async with everything_up(settings) as up:
        yield up


class Person:
    """Somebody with a browser and a mailbox."""

    def __init__(self, session: aiohttp.ClientSession, running: Running) -> None:
        self._session = session
        self._api = f"{running.api_url}/api/v1"
        self._inbox = running.inbox_url
        self._headers: dict[str, str] = {}

    async def call(self, method: str, path: str, body: Any = None, *, expect: int) -> Any:  # noqa: ANN401  JSON
        async with self._session.request(method, self._api + path, json=body, headers=self._headers) as response:
            content = await response.json() if response.status != 204 else None
            assert response.status == expect, content
            return content

    async def mails(self, to: str) -> list[dict[str, Any]]:
        async with self._session.get(f"{self._inbox}/api/messages") as response:
            return [mail for mail in await response.json() if to in mail["to"]]

    async def wait_for_mail(self, to: str, subject: str) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                for mail in await self.mails(to):
                    if subject in mail["subject"]:
                        return mail
                await asyncio.sleep(0.02)

    async def sign_up(self, email: str, password: str = "a rather long sentence") -> None:
        body = {"email": email, "password": password, "name": "Ada"}
        await self.call("POST", "/auth/register", body, expect=201)
        mail = await self.wait_for_mail(email, "confirm your address")
        found = re.search(r"token=([\w-]+)", mail["text"])
        assert found
        await self.call("POST", "/auth/verify-email", {"token": found[1]}, expect=200)
        tokens = await self.call("POST", "/auth/login", {"email": email, "password": password}, expect=200)
        self._headers = {"Authorization": f"Bearer {tokens['data']['access_token']}"}

    async def evaluate(self, monitor_id: str) -> dict[str, Any]:
        asked = await self.call("POST", f"/monitors/{monitor_id}/evaluate", expect=202)
        path = f"/monitors/{monitor_id}/evaluations/{asked['data']['id']}"
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                evaluation: dict[str, Any] = (await self.call("GET", path, expect=200))["data"]
                if evaluation["status"] in {"completed", "failed"}:
                    assert evaluation["explanation"]["versions"]["program"] == version("vigil")
                    return evaluation
                await asyncio.sleep(0.01)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_from_a_prompt_to_an_e_mail(running: Running, page: ChangingPage, session: aiohttp.ClientSession) -> None:
    ada = Person(session, running)
    await ada.sign_up("ada@example.org")
    created = await ada.call(
        "POST",
        "/monitors",
        {
            "prompt": "Tell me when the price drops below 200",
            "name": "Kettle",
            "sources": [{"type": "http", "url": page.url}],
            "schedule": {"every": "PT1H"},
        },
        expect=201,
    )
    monitor = created["data"]
    assert monitor["state"] == "unknown"
    assert "price" in monitor["condition"]
    action = (await ada.call("POST", "/actions", {"type": "email", "name": "mail me"}, expect=201))["data"]
    await ada.call(
        "POST",
        "/triggers",
        {
            "monitor_id": monitor["id"],
            "action_id": action["id"],
            "condition": "becomes_active",
            "frequency": "every_time",
        },
        expect=201,
    )
    assert (await ada.evaluate(monitor["id"]))["verdict"] == "not_met"

    page.price = 187.5
    evaluation = await ada.evaluate(monitor["id"])
    evaluated_at = asyncio.get_running_loop().time()
    assert (evaluation["state_before"], evaluation["state_after"], evaluation["changed"]) == (
        "inactive",
        "active",
        True,
    )
    assert evaluation["facts"][0]["value"] == 187.5
    mail = await ada.wait_for_mail("ada@example.org", "Kettle")
    assert asyncio.get_running_loop().time() - evaluated_at < WITHIN_SECONDS
    assert "187.5" in mail["text"]
    assert "187.5" in mail["html"]

    page.price = 260.0
    assert (await ada.evaluate(monitor["id"]))["state_after"] == "inactive"
    page.price = 150.0
    assert (await ada.evaluate(monitor["id"]))["state_after"] == "active"
    async with asyncio.timeout(WITHIN_SECONDS):
        while len([m for m in await ada.mails("ada@example.org") if "Kettle" in m["subject"]]) < 2:
            await asyncio.sleep(0.02)
    sent = (await ada.call("GET", f"/notifications?monitor_id={monitor['id']}", expect=200))["data"]
    assert len(sent) == 2
    history = (await ada.call("GET", f"/monitors/{monitor['id']}/history", expect=200))["data"]
    assert [one["verdict"] for one in history][:3] == ["met", "not_met", "met"]
