"""A real installation that can be harmed: a Redis and a database of its own, each group of workers a process of its own."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis as sync_redis

from adapters.embedded_redis import EmbeddedRedis
from adapters.postgres_pool import APPLICATION_ROLE
from bootstrap.crashing import TOLD
from bootstrap.now_and_new import utc_now
from faults.launcher import Launcher, Process
from faults.ledger import Death, Ledger

LAYOUT: Mapping[str, tuple[str, ...]] = {
    "api": ("api",),
    "log": ("relay", "projector"),
    "work": ("scheduler", "evaluator"),
    "mail": ("notifier", "mailer", "notary"),
}
"""Which roles share a process."""

WATCH_SECONDS = 0.02
STARTED_AGAIN_AFTER_SECONDS = 0.3
"""Of one place: a process that cannot start must not take the machine from all others."""
SECRET_KEY = "the fault suite's secret key, long enough"  # noqa: S105  of an installation that lives for seconds


@dataclass
class Member:
    """A place in the installation for one process, filled again whenever the process that filled it has ended."""

    roles: tuple[str, ...]
    process: Process | None = None
    began_at: float = 0.0
    asked_at: float = 0.0
    armed: dict[str, str] = field(default_factory=dict)
    deaths_left: int = 0
    starts: int = 0


class Installation:
    """Processes, a Redis and a database. `watch` starts again what died and enters each death into the ledger."""

    def __init__(self, launcher: Launcher, folder: Path, database_url: str, ledger: Ledger, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._launcher, self.folder, self.ledger = launcher, folder, ledger
        self._redis = EmbeddedRedis(folder)
        self.redis_url = self._redis.start()
        self.port = _free_port()
        self.api_url = f"http://127.0.0.1:{self.port}"
        self.members: dict[str, Member] = {}
        self._commands: list[Process] = []
        self.held: set[str] = set()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")},  # noqa: TID251
            "VIGIL_DATA_DIR": str(folder),
            "VIGIL_DATABASE_URL": application_url(database_url),
            "VIGIL_DATABASE_OWNER_URL": database_url,
            "VIGIL_REDIS_URL": self.redis_url,
            "VIGIL_HTTP_PORT": str(self.port),
            "VIGIL_SECRET_KEY": SECRET_KEY,
            "VIGIL_LOG_LEVEL": "info",
            "VIGIL_POOL_SIZE": "4",
            **settings,
        }

    def start(self, name: str, *roles: str) -> None:
        """Fill a place, with the settings it is armed with."""
        member = self.members.setdefault(name, Member(roles))
        arguments = ["api"] if member.roles == ("api",) else ["worker", *member.roles]
        log = self.folder / f"{name}.log"
        member.process = self._launcher.start(arguments, {**self.environment, **member.armed}, log)
        member.began_at, member.asked_at = time.monotonic(), 0.0
        member.starts += 1

    def run(self, arguments: Sequence[str], log_name: str, **settings: str) -> Process:
        """Start another `vigil` command, which nobody starts again."""
        process = self._launcher.start(arguments, {**self.environment, **settings}, self.folder / log_name)
        self._commands.append(process)
        return process

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process in a place."""
        member = self.members[name]
        if member.process is not None:
            member.asked_at = time.monotonic()
            self._launcher.signal(member.process, number)

    async def arm(self, name: str, crash_points: str, seed: int, *, deaths: int) -> None:
        """Let the process in a place, from its next start on, which is now, die at these points, and its successors too,
        until there were so many deaths."""
        member = self.members[name]
        member.armed = {"VIGIL_CRASH_POINT": crash_points, "VIGIL_CRASH_SEED": str(seed)}
        member.deaths_left = deaths
        await self.restart(name)

    async def disarm(self) -> None:
        """Let nobody die any more; who is still armed is started anew."""
        for name, member in self.members.items():
            if member.armed:
                member.armed = {}
                await self.restart(name)

    async def restart(self, name: str) -> None:
        """Ask the process in a place to finish and end; return when the next one is there."""
        member = self.members[name]
        starts = member.starts
        self.signal(name, signal.SIGTERM)
        while member.starts == starts:  # noqa: ASYNC110  what `watch` does is seen in the member
            await asyncio.sleep(WATCH_SECONDS)

    async def dismiss(self, name: str) -> None:
        """Ask the process in a place to finish, and do not fill the place again."""
        self.held.add(name)
        self.signal(name, signal.SIGTERM)
        while self.members[name].process is not None:  # noqa: ASYNC110  as above
            await asyncio.sleep(WATCH_SECONDS)
        del self.members[name]
        self.held.discard(name)

    async def watch(self) -> None:
        """Until cancelled, start again whatever ended."""
        while True:
            for name, member in list(self.members.items()):
                process = member.process
                resting = time.monotonic() < member.began_at + STARTED_AGAIN_AFTER_SECONDS
                if process is None and name not in self.held and not resting:
                    self.start(name)
                if process is not None and process.poll() is not None:
                    member.process = None
                    seconds = time.monotonic() - (member.asked_at or member.began_at)
                    death = self.bury(name, member.roles, process, asked=member.asked_at > 0, seconds=seconds)
                    member.deaths_left -= death.crash_point is not None
                    if member.deaths_left <= 0:
                        member.armed = {}
            await asyncio.sleep(WATCH_SECONDS)

    def bury(
        self, name: str, roles: tuple[str, ...], process: Process, *, asked: bool = False, seconds: float = 0.0
    ) -> Death:
        """Enter the end of a process into the ledger, with the crash point it died at, which were its last words."""
        last_words = process.said().rpartition(f"{TOLD} ")
        at_point = last_words[1] and process.status == -signal.SIGKILL
        crash_point = last_words[2].split()[0] if at_point else None
        death = Death(name, roles, process.status or 0, crash_point, asked=asked, seconds=seconds, at=utc_now())
        self.ledger.deaths.append(death)
        return death

    def redis(self) -> "sync_redis.Redis":
        """A connection to its Redis."""
        return sync_redis.from_url(self.redis_url, socket_timeout=5)

    def redis_pid(self) -> int:
        """The process of its Redis."""
        with self.redis() as client:
            return int(client.info("server")["process_id"])

    def start_redis(self) -> None:
        """Start Redis again, empty; the address stays."""
        self._redis.start()

    def logs(self) -> dict[str, str]:
        """Everything its processes wrote."""
        return {path.name: path.read_text(errors="replace") for path in sorted(self.folder.rglob("*.log"))}

    def close(self) -> None:
        """Kill everything that runs."""
        for process in [*(member.process for member in self.members.values()), *self._commands]:
            if process is not None and process.poll() is None:
                self._launcher.signal(process, signal.SIGKILL)
                process.wait(10)
        self._redis.stop()


def application_url(owner_url: str) -> str:
    """The same database for the role of the API and the workers, which may not change what was recorded."""
    return owner_url.replace("//postgres@", f"//{APPLICATION_ROLE}@")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
