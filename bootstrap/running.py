"""Running roles in one process: servers first, then workers and the API, and everything down again in the other order."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from socket import socket
from typing import Protocol

import structlog
import uvicorn

from adapters import yoyo_migrations
from adapters.data_dir import DataDirLock, publish_endpoints, read_endpoints, withdraw_endpoints
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.embedded_redis import EmbeddedRedis
from adapters.mail_catcher import MailCatcher
from adapters.secret_key import installation_secret
from bootstrap.application import make_application
from bootstrap.parts import Endpoints, Parts, open_parts, utc_now
from bootstrap.settings import Settings
from workers.lifecycle import Stop

log = structlog.get_logger()

DRAIN_SECONDS_MAX = 45.0


class Role(Protocol):
    """Something that runs until asked to stop."""

    async def run(self, stop: Stop) -> None:
        """Run; returns soon after being asked to stop."""
        ...


ROLES: Mapping[str, Callable[[Parts], Role]] = {
    "relay": Parts.relay,
    "projector": Parts.projector,
    "scheduler": Parts.scheduler,
    "evaluator": Parts.evaluator,
    "notifier": Parts.notifier,
    "mailer": Parts.mailer,
}
"""The workers by the names `vigil worker` knows."""


class EndpointsUnknown(Exception):
    """Neither configured nor running: nothing says where the database, Redis or the mail server is."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is up, for whoever waits for it."""

    parts: Parts
    api_url: str
    inbox_url: str | None
    stop: Stop


@asynccontextmanager
async def everything_up(settings: Settings) -> AsyncIterator[Running]:
    """Everything on this machine: servers that are not configured, migrations, workers, API and inbox.

    Raises `DataDirInUse` when another Vigil works in the data folder, `EmbeddedServerFailed`, `OSError` for a taken port.
    On leaving everything is asked to stop, finishes what it holds, and no server stays behind.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(DataDirLock(settings.data_dir))
        withdraw_endpoints(settings.data_dir)
        stack.callback(withdraw_endpoints, settings.data_dir)
        secret = installation_secret(settings.data_dir, settings.secret_key)
        database_url, redis_url = await asyncio.to_thread(_start_servers, settings, stack)
        await asyncio.to_thread(yoyo_migrations.up, database_url)
        catcher = await _catch_mail(settings, stack)
        server = _api_server(settings)
        listening = server.config.bind_socket()
        stack.callback(listening.close)
        api_url = f"http://{settings.http_host}:{listening.getsockname()[1]}"
        endpoints = Endpoints(
            database_url=database_url,
            redis_url=redis_url,
            smtp_url=settings.smtp_url or (f"smtp://127.0.0.1:{catcher.smtp_port}" if catcher else ""),
            public_url=(settings.public_url or api_url).rstrip("/"),
        )
        inbox_url = f"http://127.0.0.1:{catcher.inbox_port}" if catcher else None
        publish_endpoints(
            settings.data_dir,
            {
                "postgres": database_url,
                "redis": redis_url,
                "smtp": endpoints.smtp_url,
                "public": endpoints.public_url,
                "api": api_url,
                **({"inbox": inbox_url} if inbox_url else {}),
            },
        )
        parts = await stack.enter_async_context(open_parts(settings, endpoints, secret))
        stop = Stop()
        await stack.enter_async_context(_running(parts, list(ROLES), stop))
        await stack.enter_async_context(_serving(parts, server, listening, stop))
        yield Running(parts=parts, api_url=api_url, inbox_url=inbox_url, stop=stop)


@asynccontextmanager
async def roles_up(settings: Settings, names: Sequence[str], *, api: bool) -> AsyncIterator[Running]:
    """Only these workers, or only the API, against servers that are configured or that a running `vigil up` owns."""
    endpoints, secret = known_endpoints(settings), installation_secret(settings.data_dir, settings.secret_key)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings, endpoints, secret))
        stop = Stop()
        await stack.enter_async_context(_running(parts, names, stop))
        api_url = ""
        if api:
            server = _api_server(settings)
            listening = server.config.bind_socket()
            stack.callback(listening.close)
            api_url = f"http://{settings.http_host}:{listening.getsockname()[1]}"
            await stack.enter_async_context(_serving(parts, server, listening, stop))
        yield Running(parts=parts, api_url=api_url, inbox_url=None, stop=stop)


def known_endpoints(settings: Settings) -> Endpoints:
    """Where the servers are: as configured, else as the `vigil up` that runs in the data folder published them.

    Raises `EndpointsUnknown` with what to set.
    """
    running = read_endpoints(settings.data_dir)
    found = {
        "database_url": settings.database_url or running.get("postgres"),
        "redis_url": settings.redis_url or running.get("redis"),
        "smtp_url": settings.smtp_url or running.get("smtp") or "smtp://127.0.0.1:25",
        "public_url": settings.public_url
        or running.get("public")
        or f"http://{settings.http_host}:{settings.http_port}",
    }
    missing = [f"VIGIL_{name.upper()}" for name, value in found.items() if value is None]
    if missing:
        raise EndpointsUnknown(
            f"no Vigil runs in {settings.data_dir}, and {' and '.join(missing)} is not set; start `vigil up` or set it"
        )
    return Endpoints(**{name: str(value) for name, value in found.items()})


@contextmanager
def asked_by_signals(stop: Stop) -> Iterator[None]:
    """Ask to stop on SIGINT and SIGTERM; a second SIGINT interrupts at once."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _start_servers(settings: Settings, stack: AsyncExitStack) -> tuple[str, str]:
    """Start what is not configured; each is stopped when the stack closes, also when a later step fails."""
    database_url, redis_url = settings.database_url, settings.redis_url
    if database_url is None:
        postgres = EmbeddedPostgres(settings.data_dir)
        stack.callback(postgres.stop)
        database_url = postgres.start()
    if redis_url is None:
        cache = EmbeddedRedis(settings.data_dir)
        stack.callback(cache.stop)
        redis_url = cache.start()
    return database_url, redis_url


async def _catch_mail(settings: Settings, stack: AsyncExitStack) -> MailCatcher | None:
    if settings.smtp_url is not None:
        return None
    catcher = MailCatcher(settings.data_dir / "mail", now=utc_now, inbox_port=settings.inbox_port)
    await catcher.start()
    stack.push_async_callback(catcher.stop)
    return catcher


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: `asked_by_signals` has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _api_server(settings: Settings) -> _Server:
    config = uvicorn.Config(
        app=_no_application,
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=10,
        limit_concurrency=1000,
    )
    return _Server(config)


def _no_application() -> None:
    raise RuntimeError("the application is set before serving")


@asynccontextmanager
async def _serving(parts: Parts, server: _Server, listening: socket, stop: Stop) -> AsyncIterator[None]:
    """Serve the API until leaving."""
    server.config.app = make_application(parts)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="api")
    serving.add_done_callback(lambda _: stop.ask())
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn tells it by a flag only
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def _running(parts: Parts, names: Sequence[str], stop: Stop) -> AsyncIterator[None]:
    """Run workers until leaving; they get time to finish, then are cancelled."""
    tasks = [asyncio.create_task(ROLES[name](parts).run(stop), name=name) for name in names]
    for task in tasks:
        task.add_done_callback(lambda _: stop.ask())
    try:
        yield
    finally:
        stop.ask()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX)
            for task in late:
                log.warning("worker did not finish in time", worker=task.get_name())
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)


async def wait_until_asked(stop: Stop) -> None:
    """Return when somebody asked to stop."""
    while not await stop.within(3600):
        pass
