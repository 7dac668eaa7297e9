"""The people of the API's benchmark: who they are, what they ask for, and how long each answer took.

They run in a process of their own and note moments of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import time
from collections import deque
from random import Random
from uuid import UUID

import aiohttp
import msgspec
import uvloop
from uuid_utils.compat import uuid7

from benchmarks.site import HOSTS

ANSWER_SECONDS_MAX = 30.0

READS = {"list": 5, "one": 5, "history": 3, "facts": 2, "evaluation": 1}
WRITES = {"patch": 5, "switch": 4, "evaluate": 4, "create": 3, "delete": 3}
"""What is asked for, and how often beside the others of its class."""


class User(msgspec.Struct, frozen=True):
    """Somebody with an account: a token, monitors, and one evaluation of each of the first of them, which have a history.
    The first monitor is paused and resumed again and again."""

    token: str
    monitors: list[UUID]
    evaluations: list[UUID]


class Load(msgspec.Struct, frozen=True):
    """What these people do, from `start_at` (a moment of the monotonic clock) on: of their requests a share of `writes`
    writes; new monitors watch the site on the port `site`. With a `rate` a request is due each 1/rate seconds and is sent then, however long others take; without, each
    person waits for the answer, thinks `pause` seconds (on average, exponentially spread) and asks again. What is asked in
    the first `warm_up` seconds does not count: connections are opened and statements prepared in them."""

    url: str
    site: int
    users: list[User]
    writes: float
    rate: float | None
    pause: float
    warm_up: float
    seconds: float
    start_at: float
    seed: int

    @property
    def counts_from(self) -> float:
        """When the warm-up is over."""
        return self.start_at + self.warm_up

    @property
    def ends_at(self) -> float:
        """When nobody asks any more."""
        return self.counts_from + self.seconds


class Answered(msgspec.Struct, frozen=True):
    """One answer: to what, when it was due (without a rate: when it was asked), when it was there whole, its status (0:
    none came)."""

    name: str
    due_at: float
    answered_at: float
    status: int

    @property
    def seconds(self) -> float:
        """How long somebody waited."""
        return self.answered_at - self.due_at


class _Person:
    """A user at work."""

    def __init__(self, user: User, load: Load, session: aiohttp.ClientSession, answers: list[Answered]) -> None:
        self._user, self._load, self._session, self._answers = user, load, session, answers
        self._random = Random(f"{load.seed} {user.monitors[0]}")  # noqa: S311  a reproducible load, no secret
        self._created: deque[str] = deque()
        self._is_paused = False

    async def live(self) -> None:
        """Ask, think, and ask again, until the end."""
        await asyncio.sleep(self._load.start_at + self._random.random() * self._load.pause - time.monotonic())
        while time.monotonic() < self._load.ends_at:
            await self.ask(time.monotonic())
            await asyncio.sleep(self._random.expovariate(1 / self._load.pause))

    async def ask(self, due_at: float) -> None:
        """Do one of the things people do."""
        kinds = WRITES if self._random.random() < self._load.writes else READS
        (name,) = self._random.choices(list(kinds), list(kinds.values()))
        if name == "delete" and not self._created:
            name = "create"
        status, body = await self._send(*self._request(name))
        if name == "create" and status == 201:
            self._created.append(msgspec.json.decode(body)["data"]["id"])
        self._answers.append(Answered(name, due_at, time.monotonic(), status))

    def _request(self, name: str) -> tuple[str, str, object]:
        """Method, path and body."""
        place = self._random.randrange(len(self._user.evaluations))
        watched = self._user.monitors[place]
        match name:
            case "list":
                return "GET", "?limit=20", None
            case "one":
                return "GET", f"/{watched}", None
            case "history":
                return "GET", f"/{watched}/history?limit=20", None
            case "facts":
                return "GET", f"/{watched}/facts/price?limit=50", None
            case "evaluation":
                return "GET", f"/{watched}/evaluations/{self._user.evaluations[place]}", None
            case "create":
                return "POST", "", _monitor_body(self._random, self._load.site)
            case "delete":
                return "DELETE", f"/{self._created.popleft()}", None
            case "switch":
                self._is_paused = not self._is_paused
                return "POST", f"/{self._user.monitors[0]}/{'pause' if self._is_paused else 'resume'}", None
            case "evaluate":
                return "POST", f"/{self._random.choice(self._user.monitors[1:])}/evaluate", None
            case _:
                changed = {"condition": f"price < {self._random.randint(20, 80)}.0"}
                return "PATCH", f"/{self._random.choice(self._user.monitors[1:])}", changed

    async def _send(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._user.token}"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid7())
        try:
            async with self._session.request(method, f"/api/v1/monitors{path}", json=body, headers=headers) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return 0, b""


def live(load: Load) -> list[Answered]:
    """Be these people until the end; every answer that counts, in the order they came."""
    return uvloop.run(_live(load))


async def _live(load: Load) -> list[Answered]:
    answers: list[Answered] = []
    connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    async with aiohttp.ClientSession(load.url, connector=connector, timeout=patience) as session:
        people = [_Person(user, load, session, answers) for user in load.users]
        if load.rate is None:
            await asyncio.gather(*(person.live() for person in people))
        else:
            await _in_turn(people, load.rate, load)
    return [one for one in answers if load.counts_from <= one.due_at < load.ends_at]


async def _in_turn(people: list[_Person], rate: float, load: Load) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(rate * (load.warm_up + load.seconds))):
            due_at = load.start_at + number / rate
            if (pause := due_at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            tasks.create_task(people[number % len(people)].ask(due_at))


def _monitor_body(random: Random, site: int) -> object:
    number = random.randrange(10_000)
    return {
        "prompt": "Tell me when it is cheap",
        "name": f"New {uuid7()}",
        "facts": [{"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}],
        "condition": "price < 50.0",
        "schedule": {"every": "P1D"},
        "sources": [{"type": "http", "url": f"http://{HOSTS[number % len(HOSTS)]}:{site}/{number}"}],
    }
