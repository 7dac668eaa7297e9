"""People who use Vigil over HTTP, and enter into the ledger what they asked for, what they were told and what they read."""

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp

from faults.ledger import Attempt, Command, Ledger, Read, Sent

PATIENCE_SECONDS = 150.0
"""How long a person asks again for what got no answer. Above every recovery time of Vigil's, the longest of which is that
of jobs whose scheduler died, 45 s, and whose second scheduler died as well."""
PAUSE_SECONDS = 0.1
LINKS_MAX = 8
ANSWER_SECONDS_MAX = 20.0
LOW, HIGH = 10_000, 60_000
"""Prices below 50,000 make a monitor active. Each flip has a price of its own, counted from `LOW`."""

_TOKEN = re.compile(r"token=([\w.~-]+)")


class Refused(Exception):
    """The API refused what it should have done: a defect of Vigil's or of the suite's, told with the answer."""


class Person:
    """Somebody with an account."""

    def __init__(self, name: str, session: aiohttp.ClientSession, api_url: str, ledger: Ledger) -> None:
        self.name, self.email = name, f"{name}@example.org"
        self._password = f"the password of {name} has many words"
        self._session, self._api, self._ledger = session, f"{api_url}/api/v1", ledger
        self._headers: dict[str, str] = {}
        self._numbers = 0
        ledger.secrets[self._password] = f"the password of {name}"
        ledger.own_names[name] = set()
        ledger.addresses[name] = self.email

    def marker(self) -> str:
        """A name that nothing else has."""
        self._numbers += 1
        marker = f"{self.name}-{self._numbers}"
        self._ledger.own_names[self.name].add(marker)
        return marker

    async def sign_up(self) -> None:
        """Register, follow the newest mailed link, log in; each as often as it takes."""
        account = {"email": self.email, "password": self._password, "name": self.name}
        await self._ask_until("/auth/register", account)
        tokens = await self._log_in()
        self._headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        for kind in ("access", "refresh"):
            self._ledger.secrets[tokens[f"{kind}_token"]] = f"the {kind} token of {self.name}"
        status, me = await self.get("/me")
        if status != 200:
            raise Refused(f"GET /me: {status} {me}")
        self._ledger.owners[self.name] = me["data"]["id"]

    async def _log_in(self) -> dict[str, Any]:
        """The tokens of who follows the newest link and logs in. Who registered twice, because no answer came, is mailed two
        links, and the first may be all there is at first: it leads nowhere."""
        login = {"email": self.email, "password": self._password}
        for _ in range(LINKS_MAX):
            await self._ask_until("/auth/verify-email", self._newest_token, refused_is_fine=True)
            with suppress(Refused):
                tokens: dict[str, Any] = (await self._ask_until("/auth/login", login))["data"]
                return tokens
            await asyncio.sleep(1)
        raise Refused(f"no link that was mailed to {self.email} lets them log in")

    async def command(
        self, method: str, path: str, body: Mapping[str, Any] | None, marker: str, *, if_match: int | None = None
    ) -> Command:
        """Ask for something, again and again until there is an answer, always under the same Idempotency-Key.

        Raises `Refused`, and `TimeoutError` when no answer came for `PATIENCE_SECONDS`.
        """
        makes = _made_by(path) if method == "POST" and path.count("/") == 1 else None
        command = Command(self.name, method, path, marker, makes)
        self._ledger.commands.append(command)
        headers = {**self._headers, "Idempotency-Key": f"key of {marker}"}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                attempt, answer = await self._ask(command, method, path, body, headers)
                if attempt.status is not None and attempt.status < 300:
                    command.stream_id = answer["data"]["id"]
                    command.version = answer["data"].get("version", 1)
                    command.secret = answer["data"].get("secret", "")
                    return command
                if attempt.status is not None and attempt.status < 500 and attempt.status not in {409, 429}:
                    raise Refused(f"{method} {path}: {attempt.status} {answer}")
                await asyncio.sleep(PAUSE_SECONDS)

    async def read_back(self, command: Command, path: str) -> None:
        """Read what a command wrote, asking to see at least that."""
        position = next((a.position for a in reversed(command.attempts) if a.position), None)
        if position is None or command.version is None:
            return
        status, answer = await self.get(path, {"Vigil-Min-Position": position})
        if status is None:
            return
        data = answer.get("data") if status == 200 else None
        shown = data.get("version") if isinstance(data, dict) else None
        names = tuple(sorted(_names(answer)))
        self._ledger.reads.append(Read(self.name, path, position, status, command.version, shown, names))

    async def send_signal(self, source_id: str, secret: str, sent: Sent) -> None:
        """Send a signal, signed anew each time, until it is taken. Raises `Refused`, and `TimeoutError` as `command` does."""
        self._ledger.signals.append(sent)
        url, body = f"{self._api}/signals/{source_id}", json.dumps({"temperature": sent.temperature}).encode()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sent.evaluations is None:
                headers = signed(secret, sent.webhook_id, body)
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with self._session.post(url, data=body, headers=headers) as response:
                        answer = await response.json()
                        if response.status == 202:
                            sent.evaluations = tuple(answer["data"]["evaluations"])
                            return
                        if response.status < 500 and response.status != 429:
                            raise Refused(f"a signal: {response.status} {answer}")
                await asyncio.sleep(PAUSE_SECONDS)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int | None, dict[str, Any]]:
        """The answer to one request; no status when none came."""
        try:
            async with self._session.get(self._api + path, headers={**self._headers, **(headers or {})}) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return None, {}

    async def _ask(
        self, command: Command, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[Attempt, dict[str, Any]]:
        attempt = Attempt(began_at=time.monotonic())
        command.attempts.append(attempt)
        answer: dict[str, Any] = {}
        try:
            async with self._session.request(method, self._api + path, json=body, headers=headers) as response:
                answer = await response.json() if response.status != 204 else {"data": {"id": path.split("/")[2]}}
                attempt.status = response.status
                attempt.position = response.headers.get("Vigil-Position")
        except (aiohttp.ClientError, TimeoutError):
            pass
        attempt.ended_at = time.monotonic()
        return attempt, answer

    async def _ask_until(
        self,
        path: str,
        body: Mapping[str, Any] | Callable[[], Mapping[str, Any] | None],
        *,
        refused_is_fine: bool = False,
    ) -> dict[str, Any]:
        """Post until that is done; `refused_is_fine` where an attempt without an answer may have done it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                given = body() if callable(body) else body
                if given is not None:
                    with suppress(aiohttp.ClientError, TimeoutError):
                        async with self._session.post(self._api + path, json=given) as response:
                            answer: dict[str, Any] = await response.json()
                            if response.status < 300 or (response.status < 500 and refused_is_fine):
                                return answer
                            if response.status < 500:
                                raise Refused(f"POST {path}: {response.status} {answer}")
                await asyncio.sleep(PAUSE_SECONDS)

    def _newest_token(self) -> dict[str, Any] | None:
        """The secret of the link in the newest mail that has one."""
        for mail in reversed(self._ledger.mails):
            found = _TOKEN.search(mail.text) if mail.to == self.email else None
            if found:
                self._ledger.secrets[found[1]] = f"a link token of {self.name}"
                return {"token": found[1]}
        return None


def signed(secret: str, webhook_id: str, body: bytes) -> dict[str, str]:
    """The headers of a signal (Standard Webhooks, 1.0.0)."""
    at = str(int(time.time()))  # noqa: TID251  a sender's own clock
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{webhook_id}.{at}.".encode() + body, "sha256")
    return {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def _made_by(path: str) -> str:
    """The type of the event with which a thing begins that is posted to a path."""
    return f"{path.strip('/').removesuffix('s').replace('-', '_')}.created"


def _names(answer: object) -> set[str]:
    """Every `name` anywhere in an answer."""
    match answer:
        case dict():
            own = {answer["name"]} if isinstance(answer.get("name"), str) else set()
            return own.union(*(_names(value) for value in answer.values())) if answer else own
        case list():
            return set().union(*(_names(value) for value in answer))
        case _:
            return set()
