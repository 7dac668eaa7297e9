"""Running roles in one process: servers first, then workers and the API, and everything down again in the other order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from adapters import yoyo_migrations
from adapters.data_dir import DataDirLock, publish_endpoints, read_endpoints, withdraw_endpoints
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.embedded_redis import EmbeddedRedis
from adapters.mail_catcher import MailCatcher
from adapters.postgres_pool import CURE_OF_ROLE
from adapters.secret_key import installation_secret
from bootstrap.application import make_application
from bootstrap.now_and_new import utc_now
from bootstrap.parts import Endpoints, Parts, open_parts
from bootstrap.roles import Role, ServerWatch, listen, running, serving, url_of
from bootstrap.settings import EndpointsUnknown, Settings
from workers.lifecycle import Stop

log = structlog.get_logger()

ROLES: Mapping[str, Callable[[Parts], Role]] = {
    "relay": Parts.relay,
    "projector": Parts.projector,
    "scheduler": Parts.scheduler,
    "evaluator": Parts.evaluator,
    "notifier": Parts.notifier,
    "mailer": Parts.mailer,
    "notary": Parts.notary,
    "guard": Parts.log_guard,
    "retention": Parts.retention,
    "sweeper": Parts.call_sweeper,
    "batcher": Parts.batcher,
}
"""The workers by the names `vigil worker` knows."""


class StoppedEarly(Exception):
    """Somebody asked to stop before everything was up."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is up, for whoever waits for it."""

    parts: Parts
    api_url: str
    inbox_url: str | None
    stop: Stop


@asynccontextmanager
async def everything_up(
    settings: Settings, *, stop: Stop | None = None, told: Callable[[str], None] = lambda _name: None
) -> AsyncIterator[Running]:
    """Everything on this machine: servers that are not configured, migrations, workers, API and inbox.

    `told` hears the name of each step when it is done. Raises `DataDirInUse` when another Vigil works in the data folder,
    `EmbeddedServerFailed`, `OSError` for a taken port, `StoppedEarly` when `stop` was asked before all was up, and on
    leaving `RoleEnded` when something ended before it was asked to. On leaving everything is asked to stop, finishes
    what it holds, and no server stays behind.
    """
    stop = stop or Stop()

    def done(name: str) -> None:
        told(name)
        if stop.asked:
            raise StoppedEarly

    async with AsyncExitStack() as stack:
        stack.enter_context(DataDirLock(settings.data_dir))
        withdraw_endpoints(settings.data_dir)
        stack.callback(withdraw_endpoints, settings.data_dir)
        secret = installation_secret(settings.data_dir, settings.secret_key)
        watch = ServerWatch(settings.data_dir.resolve())
        servers = await _servers(settings, stack, watch, done)
        await asyncio.to_thread(yoyo_migrations.up, servers.owner_url)
        done("migrations")
        catcher = await _catch_mail(settings, stack)
        listening = stack.enter_context(listen(settings))
        api_url = url_of(listening)
        endpoints = Endpoints(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            smtp_url=settings.smtp_url or (f"smtp://127.0.0.1:{catcher.smtp_port}" if catcher else ""),
            public_url=(settings.public_url or api_url).rstrip("/"),
        )
        inbox_url = f"http://127.0.0.1:{catcher.inbox_port}" if catcher else None
        publish_endpoints(
            settings.data_dir,
            {
                "postgres": endpoints.database_url,
                "redis": endpoints.redis_url,
                "smtp": endpoints.smtp_url,
                "public": endpoints.public_url,
                "api": api_url,
                **({"inbox": inbox_url} if inbox_url else {}),
                # A configured owner stays where it is configured: the application's folder need not know it.
                **({"postgres_owner": servers.owner_url} if settings.database_url is None else {}),
            },
        )
        parts = await stack.enter_async_context(open_parts(settings, endpoints, secret))
        await _warn_of_role(parts)
        await stack.enter_async_context(running({"server": watch, **_workers(parts, list(ROLES))}, stop))
        done("workers")
        await stack.enter_async_context(
            serving(make_application(parts), listening, stop, drain=parts.live_monitors.end)
        )
        done("API")
        yield Running(parts=parts, api_url=api_url, inbox_url=inbox_url, stop=stop)


@asynccontextmanager
async def roles_up(
    settings: Settings, names: Sequence[str], *, api: bool, stop: Stop | None = None
) -> AsyncIterator[Running]:
    """Only these workers, or only the API, against servers that are configured or that a running `vigil up` owns.

    Raises `EndpointsUnknown`, `OSError` for a taken port, and on leaving `RoleEnded`.
    """
    stop = stop or Stop()
    endpoints, secret = known_endpoints(settings), installation_secret(settings.data_dir, settings.secret_key)
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(listen(settings)) if api else None
        parts = await stack.enter_async_context(open_parts(settings, endpoints, secret))
        await _warn_of_role(parts)
        await stack.enter_async_context(running(_workers(parts, names), stop))
        if listening is not None:
            await stack.enter_async_context(
                serving(make_application(parts), listening, stop, drain=parts.live_monitors.end)
            )
        api_url = "" if listening is None else url_of(listening)
        yield Running(parts=parts, api_url=api_url, inbox_url=None, stop=stop)


def known_endpoints(settings: Settings) -> Endpoints:
    """Where the servers are: as configured, else as the `vigil up` that runs in the data folder published them.

    Raises `EndpointsUnknown` with what to set.
    """
    published = read_endpoints(settings.data_dir)
    found = {
        "database_url": settings.database_url or published.get("postgres"),
        "redis_url": settings.redis_url or published.get("redis"),
        "smtp_url": settings.smtp_url or published.get("smtp") or "smtp://127.0.0.1:25",
        "public_url": settings.public_url
        or published.get("public")
        or f"http://{settings.http_host}:{settings.http_port}",
    }
    missing = [f"VIGIL_{name.upper()}" for name, value in found.items() if value is None]
    if missing:
        raise EndpointsUnknown(
            f"no Vigil runs in {settings.data_dir}, and {' and '.join(missing)} is not set; start `vigil up` or set it"
        )
    return Endpoints(**{name: str(value) for name, value in found.items()})


async def _warn_of_role(parts: Parts) -> None:
    if await parts.log_states.may_change_events():
        log.warning("the database role of the application could change what was recorded", cure=CURE_OF_ROLE)


class Server(Protocol):
    """An embedded server."""

    def start(self) -> str:
        """Start; its URL."""
        ...

    def stop(self) -> None:
        """Stop, also when it never started."""
        ...


@dataclass(frozen=True, slots=True)
class _Servers:
    """Where PostgreSQL is for the application and for the owner of its tables, and where Redis is."""

    database_url: str
    owner_url: str
    redis_url: str


async def _servers(
    settings: Settings, stack: AsyncExitStack, watch: ServerWatch, done: Callable[[str], None]
) -> _Servers:
    """The configured servers; those that are not are started, watched, and stopped when the stack closes."""
    database_url, redis_url = settings.database_url, settings.redis_url
    owner_url = settings.database_owner_url or database_url
    if database_url is None or owner_url is None:
        embedded = EmbeddedPostgres(settings.data_dir)
        owner_url = await _start(embedded, stack)
        database_url = embedded.application_url()
        watch.keep("postgres", "postgres")
        done("PostgreSQL")
    if redis_url is None:
        redis_url = await _start(EmbeddedRedis(settings.data_dir), stack)
        watch.keep("redis", "redis-server")
        done("Redis")
    return _Servers(database_url, owner_url, redis_url)


async def _start(server: Server, stack: AsyncExitStack) -> str:
    """Start a server that is stopped when the stack closes, also when a later step fails."""
    stack.callback(server.stop)
    return await asyncio.to_thread(server.start)


async def _catch_mail(settings: Settings, stack: AsyncExitStack) -> MailCatcher | None:
    if settings.smtp_url is not None:
        return None
    catcher = MailCatcher(settings.mail_folder, now=utc_now, inbox_port=settings.inbox_port)
    await catcher.start()
    stack.push_async_callback(catcher.stop)
    return catcher


def _workers(parts: Parts, names: Sequence[str]) -> dict[str, Role]:
    return {name: ROLES[name](parts) for name in names}
