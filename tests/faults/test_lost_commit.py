"""Row 12 of the fault matrix: commands over HTTP whose database connection is cut around COMMIT, or anywhere else. A
command that is repeated with its key is done once and answered as it was the first time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from adapters.postgres_event_store import ATTEMPTS_MAX
from bootstrap.parts import Endpoints, open_parts
from bootstrap.roles import running
from bootstrap.settings import read_settings
from tests.api.people import Installation, Person, wish
from tests.api.test_idempotency import told
from tests.cli.vigil_process import RunningVigil, data_folder
from tests.conftest import as_application
from tests.faults.tcp_proxy import Message, Moment, TcpProxy, appends, commits_append, postgres_behind
from workers.lifecycle import Stop

SECRET = "the secret of an installation in tests"
PUBLIC_URL = "http://vigil.test"
REPETITIONS_MAX = 8
PEOPLE, COMMANDS_EACH = 6, 8


@dataclass
class World:
    """Ada, whose API reaches its database through a proxy, while workers reach it directly."""

    ada: Person
    proxy: TcpProxy

    async def insists(self, method: str, path: str, body: object, key: str) -> httpx.Response:
        """The first answer to a command that is not 503, repeated as 503 says."""
        for _ in range(REPETITIONS_MAX):
            answer = await self.ada.asks(method, path, body, headers={"Idempotency-Key": key})
            if answer.status_code != 503:
                return answer
            assert answer.headers["Retry-After"]
        raise AssertionError(f"{method} {path} is never answered")


@asynccontextmanager
async def installation(database: str, redis_url: str, folder: Path) -> AsyncIterator[Installation]:
    """An API without workers."""
    settings = read_settings(
        data_dir=folder,
        redis_namespace="cut",
        fetch_allow_networks="127.0.0.0/8",
        monitor_limit=1000,
        pool_size=4,
        secret_key=SECRET,
        log_level="error",
    )
    endpoints = Endpoints(database, redis_url, smtp_url="smtp://127.0.0.1:25", public_url=PUBLIC_URL)
    async with open_parts(settings, endpoints, SECRET.encode()) as parts, Installation(parts) as opened:
        yield opened


@asynccontextmanager
async def working(database: str, redis_url: str, folder: Path) -> AsyncIterator[Installation]:
    """The same with the workers that its answers wait for."""
    async with installation(database, redis_url, folder) as opened:
        parts = opened.parts
        async with running({"relay": parts.relay(), "projector": parts.projector()}, Stop()):
            yield opened


@pytest.fixture
async def world(application_database: str, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with (
        working(application_database, redis_url, tmp_path) as direct,
        postgres_behind(application_database) as (proxy, url),
        installation(url, redis_url, tmp_path) as cut,
    ):
        somebody = await direct.person()
        token = somebody.authorization["Authorization"].partition(" ")[2]
        yield World(Person(cut, somebody.user_id, somebody.email, token), proxy)


@dataclass(frozen=True)
class Conversation:
    """A command that is cut at one message after another; `{}` stands for something new each time."""

    method: str
    path: str
    name: str | None
    events: int

    def asked(self, number: str) -> tuple[str, str, object]:
        """The command of a number."""
        if self.name is None:
            return self.method, self.path, None
        named = {"name": self.name.format(number)}
        return self.method, self.path, wish(**named) if self.method == "POST" else named


async def test_a_command_is_done_once_wherever_its_conversation_with_the_database_is_cut(world: World) -> None:
    monitor, paused = await world.ada.monitor(name="Kettle"), await world.ada.monitor(name="Toaster")
    await world.ada.gets("POST", f"/monitors/{paused['id']}/pause")
    for conversation in (
        Conversation("POST", "/monitors", "Pot {}", events=1),
        Conversation("PATCH", f"/monitors/{monitor['id']}", "Kettle {}", events=1),
        Conversation("POST", f"/monitors/{paused['id']}/pause", None, events=0),
    ):
        for moment in (Moment.BEFORE, Moment.AFTER):
            assert await cut_everywhere(world, conversation, moment) > 5


async def cut_everywhere(world: World, conversation: Conversation, moment: Moment) -> int:
    """Cut a conversation at each message to which the server answers; their number."""
    number, cut = 0, 1
    while cut:
        number += 1
        before = await world.ada.installation.stored(world.ada.user_id)
        world.proxy.cut(answered(number), moment)
        command, key = conversation.asked(f"{moment.value} {number}"), f"{conversation} {moment} {number}"
        answer = await world.insists(*command, key)
        cut = world.proxy.cuts
        world.proxy.heal()
        assert answer.is_success, answer.text
        again = await world.insists(*command, key)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert told(again)[:2] == told(answer)[:2]
        assert again.headers["ETag"] == answer.headers["ETag"]
        after = await world.ada.installation.stored(world.ada.user_id)
        done = [after[kind] - before[kind] for kind in ("events", "receipts")]
        assert done == [conversation.events, 1], f"{conversation} cut {moment} answer {number}"
    return number


def answered(number: int) -> Callable[[Message], bool]:
    """Whether a message is so many-th of those after which the client waits."""
    seen = count(1)
    return lambda message: message.type in {b"Q", b"S"} and next(seen) == number


async def test_a_command_that_is_cut_at_its_commit_is_answered_as_if_nothing_had_happened(world: World) -> None:
    for moment in Moment:
        monitor = await world.ada.monitor()
        for method, path, body, status in (
            ("POST", "/monitors", wish(), 201),
            ("POST", "/actions", {"type": "email"}, 201),
            ("POST", f"/monitors/{monitor['id']}/pause", None, 200),
            ("DELETE", f"/monitors/{monitor['id']}", None, 204),
        ):
            world.proxy.cut(commits_append, moment)
            key = {"Idempotency-Key": f"{moment} {method} {path}"}
            answer = await world.ada.asks(method, path, body, headers=key)
            assert (answer.status_code, world.proxy.cuts) == (status, 1)
            assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
async def test_a_command_whose_every_attempt_is_lost_may_be_repeated(world: World, moment: Moment) -> None:
    """The first attempt at its commit, the others sooner."""
    before = await world.ada.installation.stored(world.ada.user_id)
    world.proxy.cut(
        lambda message: appends(message) if world.proxy.cuts else commits_append(message), moment, times=ATTEMPTS_MAX
    )
    body, key = wish(name="Kettle"), {"Idempotency-Key": "k"}
    lost = await world.ada.asks("POST", "/monitors", body, headers=key)
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert lost.headers["Retry-After"]
    world.proxy.heal()
    first = await world.ada.asks("POST", "/monitors", body, headers=key)
    again = await world.ada.asks("POST", "/monitors", body, headers=key)
    assert first.status_code == 201
    assert ("Idempotency-Replayed" in first.headers) == (moment is Moment.AFTER), "the first result, if it was done"
    assert told(again) == told(first)
    after = await world.ada.installation.stored(world.ada.user_id)
    assert (after["events"] - before["events"], after["receipts"]) == (1, 1)


@pytest.mark.parametrize("seed", [1])
async def test_processes_whose_commits_are_lost_do_each_command_once(
    database: str, redis_url: str, tmp_path: Path, seed: int
) -> None:
    """`vigil api` through the proxy, several people at once, every fourth commit cut in a way that the seed decides."""
    random, direct = Random(seed), as_application(database)
    with data_folder() as folder:
        async with working(direct, redis_url, tmp_path) as people, postgres_behind(direct) as (proxy, url):
            api = RunningVigil(
                folder,
                "api",
                database_url=url,
                database_owner_url=database,
                redis_url=redis_url,
                secret_key=SECRET,
                public_url=PUBLIC_URL,
                pool_size="6",
            )
            everybody = [await people.person() for _ in range(PEOPLE)]
            base_url = await asyncio.to_thread(api.ready)

            def cut_some(message: Message) -> bool:
                proxy.moment = random.choice(list(Moment))
                return message.commits_append and random.random() < 0.25

            proxy.cut(cut_some, times=10_000)
            async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
                answers = await asyncio.gather(*(carries_on(client, person, COMMANDS_EACH) for person in everybody))
            assert proxy.cuts > 10
            api.process.kill()
            api.process.wait()
            for person, told_ids in zip(everybody, answers, strict=True):
                assert len(set(told_ids)) == COMMANDS_EACH
                async with people.parts.pool.connection() as connection:
                    query = (
                        "select stream_id::text, count(*) from event where owner_id = %s and type like 'action.%%'"
                        " group by 1"
                    )
                    stored = await (await connection.execute(query, (person.user_id,))).fetchall()
                assert sorted(stored) == sorted((made, 2) for made in told_ids), "made once, renamed once"


async def carries_on(client: httpx.AsyncClient, person: Person, times: int) -> list[str]:
    """Make and rename so many actions, each command repeated with its key until it is answered; their ids."""
    ids = []
    for number in range(times):
        made = await insist(client, person, "POST", "/actions", f"make {number}", {"type": "email"})
        ids.append(made["id"])
        renamed = {"type": "email", "name": f"Action {number}"}
        shown = await insist(client, person, "PUT", f"/actions/{made['id']}", f"rename {number}", renamed)
        assert (shown["name"], shown["version"]) == (f"Action {number}", 2)
    return ids


async def insist(
    client: httpx.AsyncClient, person: Person, method: str, path: str, key: str, body: object
) -> dict[str, Any]:
    """The data of the first answer that is not 503."""
    headers = {**person.authorization, "Idempotency-Key": key}
    async with asyncio.timeout(60):
        while True:
            answer = await client.request(method, f"/api/v1{path}", json=body, headers=headers)
            if answer.status_code != 503:
                assert answer.is_success, answer.text
                data: dict[str, Any] = answer.json()["data"]
                return data
            await asyncio.sleep(0.05)
