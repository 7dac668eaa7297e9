"""Row 16 of the fault matrix for the evaluation engine: links that chop, delay, reset and swallow what passes, to PostgreSQL,
to Redis and to a source. Deadlines end what hangs, nobody else waits for it, and each evaluation is made once."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.pdf_fetcher import PdfFetcher
from adapters.postgres_pool import Pool, open_pool
from adapters.rendering_fetcher import RenderingFetcher
from bootstrap.now_and_new import utc_now
from bootstrap.parts import Endpoints, open_parts
from bootstrap.roles import Role, running
from bootstrap.settings import read_settings
from faults.invariants import Invariant, check
from faults.ledger import Ledger
from faults.stored import Outcome, overdue, read_stored
from tests.api.people import Installation, Person
from tests.conftest import as_application
from tests.faults.tcp_proxy import Side, TcpProxy, postgres_behind, redis_behind
from tests.workers.world import Page
from workers.lifecycle import Stop

WITHIN_SECONDS = 40
DEADLINE_SECONDS = 0.5
"""Of one fetch: what a source takes that says nothing."""
SILENT = 60
"""Monitors of a source that says nothing: more than an evaluator has places."""
_OF = {Invariant.LOG_IS_WHOLE, Invariant.EVALUATED_ONCE, Invariant.ANSWERED_IN_ORDER}


@dataclass
class Engine:
    """An installation with a whole evaluation engine in one process, and a person of it."""

    installation: Installation
    person: Person
    pool: Pool
    _numbers: Iterator[int] = field(default_factory=count)

    async def watch(self, url: str, *, seconds: int = 1) -> str:
        """A monitor of a page."""
        name = f"watched {next(self._numbers)}"
        wish = {"name": name, "sources": [{"type": "http", "url": url}], "schedule": {"every": f"PT{seconds}S"}}
        return str((await self.person.monitor(**wish))["id"])

    async def outcomes(self) -> Sequence[Outcome]:
        async with self.pool.connection() as connection:
            return (await read_stored(connection, before=None)).outcomes

    async def each_evaluated(self, monitors: Sequence[str], times: int) -> None:
        """Return when each of them was evaluated so often from now on."""
        before = len(await self.outcomes())
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                since = [outcome.monitor_id for outcome in (await self.outcomes())[before:]]
                if all(since.count(monitor) >= times for monitor in monitors):
                    return
                await asyncio.sleep(0.05)

    async def is_sound(self) -> None:
        """Nobody waits longer than their interval, and everything that was asked for comes to be answered, once."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                async with self.pool.connection() as connection:
                    late = await overdue(connection)
                    stored = await read_stored(connection, before=None)
                found = [each for each in check(Ledger(), stored, {}) if each.invariant in _OF]
                if not late and not found:
                    return
                assert not {each.invariant for each in found} & {Invariant.EVALUATED_ONCE}, found
                await asyncio.sleep(0.1)


@asynccontextmanager
async def engine(database: str, url: str, redis_url: str, folder: Path, *, pool_size: int = 8) -> AsyncIterator[Engine]:
    """An engine whose PostgreSQL is at `url`; the tests themselves look into `database`."""
    secret = b"the secret of an installation in tests"
    settings = read_settings(
        data_dir=folder,
        redis_namespace="slow",
        pool_size=pool_size,
        database_timeout_seconds=1.0,
        fetch_allow_networks="127.0.0.0/8",
        min_interval_seconds=1,
        secret_key=secret.decode(),
        log_level="error",
    )
    endpoints = Endpoints(url, redis_url, smtp_url="smtp://127.0.0.1:25", public_url="http://vigil.test")
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings, endpoints, secret))
        fetcher = AiohttpFetcher(parts.guard, now=utc_now, user_agent="test", deadline_seconds=DEADLINE_SECONDS)
        stack.push_async_callback(parts.fetcher.close)
        parts.fetcher = RenderingFetcher(PdfFetcher(fetcher), parts=fetcher, browser=None, now=utc_now)
        roles: dict[str, Role] = {
            "relay": parts.relay(),
            "projector": parts.projector(),
            "scheduler": parts.scheduler(),
            "evaluator": parts.evaluator(),
        }
        pool = await stack.enter_async_context(open_pool(database, size_max=3))
        await stack.enter_async_context(running(roles, Stop()))
        installation = await stack.enter_async_context(Installation(parts))
        yield Engine(installation, await installation.person(), pool)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    opened = Page()
    await opened.start()
    yield opened
    await opened.stop()


@asynccontextmanager
async def page_behind(page: Page) -> AsyncIterator[tuple[TcpProxy, str]]:
    """A proxy in front of a page, and the address that leads through it."""
    proxy = TcpProxy(("127.0.0.1", int(page.url.rstrip("/").rpartition(":")[2])))
    await proxy.start()
    try:
        yield proxy, f"http://127.0.0.1:{proxy.port}/"
    finally:
        await proxy.stop()


async def asks(engine: Engine, monitor: str) -> None:
    """Ask for an evaluation, as often as it takes."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while (await engine.person.asks("POST", f"/monitors/{monitor}/evaluate")).status_code != 202:
            await asyncio.sleep(0.05)


async def harm(proxy: TcpProxy, engine: Engine, monitors: Sequence[str]) -> None:
    """Chop what passes into single bytes, and reset everything now and then, while evaluations are asked for."""
    proxy.segment_bytes = 1
    for monitor in monitors:
        await asks(engine, monitor)
        await asyncio.sleep(0.2)
        proxy.drop_all(reset=True)
    proxy.heal()


@pytest.mark.parametrize("link", ["postgres", "redis", "source"])
async def test_a_link_that_chops_and_resets_loses_and_doubles_no_evaluation(
    database: str, redis_url: str, tmp_path: Path, page: Page, link: str
) -> None:
    async with AsyncExitStack() as stack:
        url, source_url = as_application(database), page.url
        match link:
            case "postgres":
                proxy, url = await stack.enter_async_context(postgres_behind(url))
            case "redis":
                proxy, redis_url = await stack.enter_async_context(redis_behind(redis_url))
            case _:
                proxy, source_url = await stack.enter_async_context(page_behind(page))
        opened = await stack.enter_async_context(engine(database, url, redis_url, tmp_path))
        monitors = [await opened.watch(source_url) for _ in range(4)]
        await opened.each_evaluated(monitors, 1)
        await harm(proxy, opened, monitors)
        await opened.each_evaluated(monitors, 2)
        await opened.is_sound()


async def test_a_source_that_says_nothing_takes_no_connection_and_no_place_for_longer_than_its_deadline(
    database: str, redis_url: str, tmp_path: Path, page: Page
) -> None:
    """More monitors wait for it than an evaluator has places, and than there are connections to PostgreSQL."""
    async with (
        page_behind(page) as (proxy, silent_url),
        engine(database, as_application(database), redis_url, tmp_path, pool_size=4) as opened,
    ):
        honest = [await opened.watch(page.url) for _ in range(3)]
        await opened.each_evaluated(honest, 1)
        proxy.silent = {Side.SERVER}
        silent = [await opened.watch(silent_url) for _ in range(SILENT)]
        await opened.each_evaluated(honest, 3)
        assert await opened.person.gets("GET", "/monitors")
        await asks(opened, honest[0])
        proxy.heal()
        proxy.drop_all(reset=True)
        await opened.each_evaluated(silent, 1)
        await opened.is_sound()
