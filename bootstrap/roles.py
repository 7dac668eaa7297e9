"""Roles: what runs in a process until it is asked to stop, and what happens when one ends on its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server, socket
from typing import Protocol

import psutil
import structlog
import uvicorn
from litestar import Litestar

from adapters.embedded_process import is_gone, processes_in
from bootstrap.settings import Settings
from workers.lifecycle import Stop

log = structlog.get_logger()

DRAIN_SECONDS_MAX = 45.0
WATCH_SECONDS = 1.0
BACKLOG = 2048


class Role(Protocol):
    """Something that runs until asked to stop."""

    async def run(self, stop: Stop) -> None:
        """Run; returns soon after being asked to stop."""
        ...


class RoleEnded(Exception):
    """A worker, the API or an embedded server ended before anybody asked it to; the message says which."""


@asynccontextmanager
async def running(roles: Mapping[str, Role], stop: Stop) -> AsyncIterator[None]:
    """Run roles until leaving; they get time to finish, then are cancelled."""
    tasks = [asyncio.create_task(role.run(stop), name=name) for name, role in roles.items()]
    ended_early = _ask_when_ended(tasks, stop)
    try:
        yield
    finally:
        stop.ask()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX)
            for task in late:
                log.warning("worker did not finish in time", worker=task.get_name())
                task.cancel()
            for task, outcome in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
                if isinstance(outcome, Exception) and task not in ended_early:
                    log.warning("worker did not end well", worker=task.get_name(), error=repr(outcome))
    _raise_for(ended_early)


def _ask_when_ended(tasks: Sequence[asyncio.Task[None]], stop: Stop) -> list[asyncio.Task[None]]:
    """When one of the tasks ends, everything is asked to stop. The list gets those that ended unasked."""
    early: list[asyncio.Task[None]] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not stop.asked:
            early.append(task)
        stop.ask()

    for task in tasks:
        task.add_done_callback(ended)
    return early


def _raise_for(ended_early: Sequence[asyncio.Task[None]]) -> None:
    for task in ended_early:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RoleEnded):
            raise error
        if error is not None:
            raise RoleEnded(f"the {task.get_name()} failed: {error!r}") from error
        raise RoleEnded(f"the {task.get_name()} ended by itself")


class ServerWatch:
    """A role that ends with `RoleEnded` when an embedded server is gone: nothing else would start it again."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._servers: dict[str, psutil.Process] = {}

    def keep(self, name: str, program: str) -> None:
        """Watch the server that works in the folder `name` from now on: the oldest process there, which starts the others."""
        found = processes_in(self._data_dir / name, program)
        if found:
            self._servers[name] = min(found, key=lambda process: (process.create_time(), process.pid))

    async def run(self, stop: Stop) -> None:
        """Watch until asked to stop."""
        while not await stop.within(WATCH_SECONDS):
            for name, process in self._servers.items():
                if is_gone(process):
                    raise RoleEnded(f"the embedded {name} server ended; its log is in {self._data_dir}")


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: `asked_by_signals` has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def listen(settings: Settings) -> socket:
    """The API's socket. It listens at once, so that a second Vigil finds the port taken. Raises `OSError`."""
    family = AF_INET6 if ":" in settings.http_host else AF_INET
    return create_server((settings.http_host, settings.http_port), family=family, backlog=BACKLOG)


def url_of(listening: socket) -> str:
    """Where a socket is reached from this machine."""
    host, port = str(listening.getsockname()[0]), listening.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _api_server(application: Litestar) -> _Server:
    config = uvicorn.Config(
        app=application,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=10,
        limit_concurrency=1000,
    )
    return _Server(config)


@asynccontextmanager
async def serving(
    application: Litestar, listening: socket, stop: Stop, *, drain: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Serve the API until leaving; `drain` is called then, to end answers that would go on."""
    server = _api_server(application)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="api")
    ended_early = _ask_when_ended([task], stop)
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  uvicorn tells it by a flag only
            await asyncio.sleep(0.005)
        yield
    finally:
        before_leaving = tuple(ended_early)
        drain()
        server.should_exit = True
        await asyncio.wait([task])
    _raise_for(before_leaving)
