"""The person of the demo: does over HTTP what anybody with a browser and a mailbox would."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import aiohttp

from adapters.demo_site import DemoMonitor
from bootstrap.running import Running, StoppedEarly

MAIL_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.1
NAME = "Demo"
ACTION, TRIGGER = "Mail me", "mail me when it becomes active"
EVERY = "PT1S"
_TOKEN = re.compile(r"token=([\w.~-]+)")


class Refused(Exception):
    """The API did not do what the demo asked for; the message is its own."""


class DemoPerson:
    """One person at the API and at the inbox of a Vigil that is up."""

    def __init__(self, session: aiohttp.ClientSession, running: Running, address: str, password: str) -> None:
        self._session, self._running = session, running
        self._address, self._password = address, password
        self._headers: dict[str, str] = {}

    async def log_in(self) -> bool:
        """Whether the account exists and the password is its."""
        body = {"email": self._address, "password": self._password}
        try:
            tokens = await self._call("POST", "/auth/login", body)
        except Refused:
            return False
        self._headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return True

    async def register(self) -> None:
        """Register, follow the mailed link, log in. Raises `Refused` when the address has another password here."""
        seen = {mail["id"] for mail in await self._mails()}
        account = {"email": self._address, "password": self._password, "name": NAME}
        await self._call("POST", "/auth/register", account)
        await self._call("POST", "/auth/verify-email", {"token": await self._mailed_token(seen)})
        if not await self.log_in():
            raise Refused("the new account does not let its owner in")

    async def id(self) -> UUID:
        """The person's id, which owns all their events."""
        return UUID((await self._call("GET", "/me"))["id"])

    async def names(self) -> dict[UUID, str]:
        """What their monitors and triggers are called, by id."""
        found = [*await self._call("GET", "/monitors?limit=100"), *await self._call("GET", "/triggers?limit=100")]
        return {UUID(each["id"]): each["name"] for each in found}

    async def mail_action(self) -> str:
        """The id of the action that mails to their own address, made when missing."""
        for action in await self._call("GET", "/actions?limit=100"):
            if action["name"] == ACTION:
                return str(action["id"])
        return str((await self._call("POST", "/actions", {"name": ACTION, "type": "email"}))["id"])

    async def watch(self, monitor: DemoMonitor, url: str, action_id: str) -> tuple[str, str]:
        """Have the monitor with its trigger: made when missing, pointed at `url` when it reads another. Its condition,
        and what was done."""
        known = {each["name"]: each for each in await self._call("GET", "/monitors?limit=100")}
        found, how, source = known.get(monitor.name), "found", {"type": "http", "url": url}
        if found is None:
            wish = {
                "name": monitor.name,
                "prompt": monitor.prompt,
                "sources": [source],
                "schedule": {"every": EVERY},
            }
            found, how = await self._call("POST", "/monitors", wish), "created"
        elif [each["url"] for each in found["sources"]] != [url]:
            found, how = await self._call("PATCH", f"/monitors/{found['id']}", {"sources": [source]}), "moved"
        if not await self._call("GET", f"/triggers?monitor_id={found['id']}"):
            trigger = {
                "monitor_id": found["id"],
                "action_id": action_id,
                "name": TRIGGER,
                "condition": "becomes_active",
                "frequency": "every_time",
            }
            await self._call("POST", "/triggers", trigger)
        return str(found["condition"]), how

    async def _mailed_token(self, seen: set[str]) -> str:
        for _ in range(int(MAIL_SECONDS_MAX / LOOK_SECONDS)):
            for mail in await self._mails():
                if mail["id"] in seen or self._address not in mail["to"]:
                    continue
                found = _TOKEN.search(mail["text"])
                if found is None:
                    raise Refused(
                        f"{self._address} has an account here with a password that is not kept any more;"
                        " choose another VIGIL_DATA_DIR or database"
                    )
                return found[1]
            if await self._running.stop.within(LOOK_SECONDS):
                raise StoppedEarly
        raise Refused(f"no mail with a link came within {MAIL_SECONDS_MAX:g} s")

    async def _mails(self) -> list[dict[str, Any]]:
        async with self._session.get(f"{self._running.inbox_url}/api/messages") as response:
            mails: list[dict[str, Any]] = await response.json()
            return mails

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401  JSON
        url = f"{self._running.api_url}/api/v1{path}"
        try:
            async with self._session.request(method, url, json=body, headers=self._headers) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            if self._running.stop.asked:
                raise StoppedEarly from None
            raise Refused(f"{method} {path}: {error!r}") from None
        if response.status >= 400:
            raise Refused(f"{method} {path}: {answer['error']['message']}")
        return answer["data"]
