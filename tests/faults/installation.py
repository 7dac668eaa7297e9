"""A real installation for fault tests: servers of its own, each worker a process of its own, all started here."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import redis as sync_redis

from adapters.embedded_redis import EmbeddedRedis
from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE, OpenEntries, PostgresReadTables, as_they_are
from adapters.postgres_rebuild import Rebuild
from domain.log_entry import PARTITIONS
from projections.core import CORE
from tests.conftest import as_application
from tests.projections.test_core_projection import dump

CONVERGES_WITHIN_SECONDS = 60


class Installation:
    """Processes, a Redis and a database; everything that was started is ended by `close`."""

    def __init__(self, data_dir: Path, database: str, **settings: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._redis = EmbeddedRedis(data_dir)
        self.redis_url = self._redis.start()
        self._environment = {
            **os.environ,  # noqa: TID251  what the child needs of ours
            "VIGIL_DATA_DIR": str(data_dir),
            "VIGIL_DATABASE_URL": as_application(database),
            "VIGIL_DATABASE_OWNER_URL": database,
            "VIGIL_REDIS_URL": self.redis_url,
            "VIGIL_SECRET_KEY": "a secret for tests that is long enough",
            "VIGIL_LOG_LEVEL": "warning",
            "VIGIL_POOL_SIZE": "6",
            **settings,
        }
        self._log = (data_dir / "workers.log").open("ab")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *roles: str) -> None:
        """Start a process with these roles; `name` is how it is called here."""
        command = [str(Path(sys.executable).parent / "vigil"), "worker", *roles]
        self.running[name] = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def flush_redis(self) -> None:
        """Lose everything Redis holds."""
        with sync_redis.from_url(self.redis_url) as client:
            client.flushall()

    def kill_redis(self) -> None:
        """End Redis as a power cut would; nothing of it was on disk."""
        with sync_redis.from_url(self.redis_url) as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)

    def start_redis(self) -> None:
        """Start Redis again, empty."""
        self.redis_url = self._redis.start()

    def close(self) -> None:
        """End everything that was started here."""
        for name in list(self.running):
            self.kill(name)
        self._redis.stop()
        self._log.close()


class Chaos:
    """Kills and restarts processes, and loses Redis, in an order that the seed decides."""

    def __init__(self, installation: Installation, seed: int, roles: Sequence[tuple[str, ...]]) -> None:
        self._installation = installation
        self._random = Random(seed)
        self._roles = {f"{'-'.join(role)}-{number}": role for role in roles for number in (1, 2)}
        self.kills = 0

    def start(self) -> None:
        """Two processes of each role at once."""
        for name, roles in self._roles.items():
            self._installation.start(name, *roles)

    async def rage(self, rounds: int, pause_seconds: float) -> None:
        """Do harm, round after round."""
        for _ in range(rounds):
            await asyncio.sleep(pause_seconds * self._random.uniform(0.5, 1.5))
            if self._random.random() < 0.3:
                self._installation.flush_redis()
                continue
            name = self._random.choice(sorted(self._roles))
            self._installation.kill(name)
            self.kills += 1
            self._installation.start(name, *self._roles[name])


async def converged(pool: Pool, consumers: Sequence[str] = (CORE.name,)) -> None:
    """Return when everything appended is sequenced and consumed; TimeoutError when that does not come."""
    log = PostgresLog(pool)
    async with asyncio.timeout(CONVERGES_WITHIN_SECONDS):
        while True:
            async with pool.connection() as connection:
                waiting = "select count(*) from event e where not exists (select from event_log l where l.stream_id = e.stream_id and l.version = e.version)"
                row = await (await connection.execute(waiting)).fetchone()
                rows = await (
                    await connection.execute("select consumer, partition, position from checkpoint")
                ).fetchall()
            reached = {(consumer, partition): position for consumer, partition, position in rows}
            heads = dict(enumerate(await log.places()))
            behind = [(c, p) for c in consumers for p, head in heads.items() if reached.get((c, p), 0) != head]
            if row is not None and row[0] == 0 and not behind:
                return
            await asyncio.sleep(0.05)


async def check_log(pool: Pool) -> None:
    """Every event has exactly one position, positions and places have no gaps, streams are in order, the chain holds."""
    log = PostgresLog(pool)
    async with pool.connection() as connection:
        counts = await (
            await connection.execute(
                "select (select count(*) from event), count(*), max(position), count(distinct (stream_id, version)) from event_log"
            )
        ).fetchone()
        assert counts is not None
        assert len(set(counts)) == 1, f"events, log entries, last position, distinct events: {counts}"
        inverted = await (
            await connection.execute(
                "select count(*) from event_log a join event_log b on a.stream_id = b.stream_id"
                " and b.version = a.version + 1 where b.position < a.position"
            )
        ).fetchone()
        assert inverted == (0,)
    for partition, head in enumerate(await log.places()):
        entries = await log.read(partition, after_place=0, limit=10**6)
        assert [entry.place for entry in entries] == list(range(1, head + 1))


async def check_read_tables(pool: Pool, *, open_entries: OpenEntries = as_they_are) -> None:
    """The live tables equal a rebuild from nothing."""
    async for _ in Rebuild(pool, CORE, PostgresLog(pool), open_entries=open_entries).run():
        pass
    async with pool.connection() as connection:
        live, rebuilt = await dump(connection, PREVIOUS), await dump(connection, LIVE)
    assert live == rebuilt
    places = await PostgresReadTables(pool, CORE).places(range(PARTITIONS))
    assert tuple(places[p] for p in range(PARTITIONS)) == await PostgresLog(pool).places()
