"""Rows 11, 13, 15 and 16 of the fault matrix: PostgreSQL dies, fails over, falls silent or becomes slow while people
write and workers work. What was acknowledged stays, and everything goes on without a restart."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
import pytest
from structlog.testing import capture_logs

from adapters import yoyo_migrations
from adapters.embedded_postgres import EmbeddedPostgres, program
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_repair import APPLICATION_NAME, StoreRepair
from bootstrap.parts import Endpoints, open_parts
from bootstrap.roles import Role, running
from bootstrap.settings import read_settings
from tests.api.people import Installation, Person
from tests.conftest import as_application
from tests.faults.installation import check_log, check_read_tables, converged
from tests.faults.tcp_proxy import Side, postgres_behind, redis_behind, server_of
from workers.lifecycle import Stop

TIMEOUT_SECONDS = 1.0
"""VIGIL_DATABASE_TIMEOUT_SECONDS of these installations."""


class Writers:
    """People who make actions, each command with a key and repeated until it is answered."""

    def __init__(self, people: list[Person]) -> None:
        self._people = people
        self._stop = False
        self.acknowledged: list[list[str]] = [[] for _ in people]

    async def write(self) -> None:
        """Write until told to stop."""
        await asyncio.gather(*(self._write(n, person) for n, person in enumerate(self._people)))

    def stop(self) -> None:
        """Finish what was begun."""
        self._stop = True

    async def reach(self, count: int) -> None:
        """Return when everybody has so many more acknowledged."""
        wanted = [len(done) + count for done in self.acknowledged]
        async with asyncio.timeout(60):
            while any(len(done) < some for done, some in zip(self.acknowledged, wanted, strict=True)):
                await asyncio.sleep(0.01)

    async def _write(self, number: int, person: Person) -> None:
        while not self._stop:
            key = {"Idempotency-Key": f"{number} {len(self.acknowledged[number])}"}
            answer = await person.asks("POST", "/actions", {"type": "email"}, headers=key)
            if answer.status_code == 503:
                await asyncio.sleep(0.02)
                continue
            assert answer.status_code == 201, answer.text
            self.acknowledged[number].append(answer.json()["data"]["id"])

    async def are_stored_once(self, pool: Pool) -> None:
        """Every acknowledged command is in the store, once, and nothing else that nobody was told of."""
        for person, acknowledged in zip(self._people, self.acknowledged, strict=True):
            query = "select stream_id::text from event where owner_id = %s and type = 'action.created'"
            stored = [row[0] for row in await rows(pool, query, person.user_id)]
            assert sorted(stored) == sorted(acknowledged)


async def nothing_is_lost(pool: Pool, installation: Installation, *writers: Writers) -> None:
    """Everything comes to rest, what was acknowledged is stored once, the log holds together, and the read tables tell it."""
    await converged(pool, ("core", "notifier"))
    for group in writers:
        await group.are_stored_once(pool)
    await check_log(pool)
    await check_read_tables(pool, open_entries=installation.parts.people.open_entries)


async def rows(pool: Pool, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query, values)).fetchall()


@asynccontextmanager
async def vigil(database: str, redis_url: str, folder: Path) -> AsyncIterator[Installation]:
    """An API with workers in one process."""
    settings = read_settings(
        data_dir=folder,
        redis_namespace="harmed",
        pool_size=12,
        database_timeout_seconds=TIMEOUT_SECONDS,
        secret_key="the secret of an installation in tests",
        log_level="error",
    )
    endpoints = Endpoints(database, redis_url, smtp_url="smtp://127.0.0.1:25", public_url="http://vigil.test")
    async with open_parts(settings, endpoints, b"the secret of an installation in tests") as parts:
        roles: dict[str, Role] = {"relay": parts.relay(), "projector": parts.projector(), "notifier": parts.notifier()}
        async with running(roles, Stop()), Installation(parts) as opened:
            yield opened


@asynccontextmanager
async def writing(installation: Installation, people: int = 4) -> AsyncIterator[Writers]:
    """People who write until leaving."""
    writers = Writers([await installation.person() for _ in range(people)])
    task = asyncio.create_task(writers.write())
    try:
        await writers.reach(5)
        yield writers
        writers.stop()
        await task
    finally:
        task.cancel()


class Cluster:
    """A PostgreSQL of one test's own, which it may harm."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        self.folder = folder
        self.server = EmbeddedPostgres(folder, fsync=False)
        self.owner_url = ""
        self.family = [self]

    def start(self) -> str:
        """Start; the URL of the application's role."""
        self.owner_url = self.server.start()
        return self.server.application_url()

    def stop_immediately(self) -> None:
        """What `pg_ctl stop -m immediate` does: every process ends at once, and the next start recovers."""
        process = psutil.Process(int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0]))
        family = [process, *process.children(recursive=True)]
        os.kill(process.pid, signal.SIGQUIT)
        psutil.wait_procs(family, timeout=20)

    def execute(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        """Run a statement as the owner."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def standby(self, folder: Path) -> "Cluster":
        """Another cluster that follows this one by streaming replication."""
        copy = Cluster(folder)
        self.family.append(copy)
        place = folder / "postgres"
        owner = (self.folder / "postgres").stat()
        socket_folder = str(server_of(self.owner_url)).rpartition("/")[0]
        os.chown(folder, owner.st_uid, owner.st_gid)
        source = ("-h", socket_folder, "-U", "postgres", "-D", str(place))
        subprocess.run(
            [program("pg_basebackup"), *source, "-X", "stream", "-c", "fast", "--no-sync", "-R"],
            user=owner.st_uid if os.geteuid() == 0 else None,
            group=owner.st_gid if os.geteuid() == 0 else None,
            extra_groups=sorted(set(os.getgroups()) | groups_of(place)) if os.geteuid() == 0 else None,
            cwd="/",
            check=True,
            capture_output=True,
        )
        copy.start()
        return copy


def groups_of(path: Path) -> set[int]:
    """The groups of the folders above a path."""
    return {folder.stat().st_gid for folder in path.parents}


@pytest.fixture
def cluster(servers_folder: Path) -> Iterator[Cluster]:
    folder = servers_folder / f"clusters-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o755)
    made = Cluster(folder / "primary")
    try:
        made.start()
        yoyo_migrations.up(made.owner_url)
        yield made
    finally:
        for one in made.family:
            one.server.stop()
        shutil.rmtree(folder)


async def test_a_postgresql_that_dies_under_load_loses_nothing_acknowledged_and_is_found_again(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    """Row 11, twice."""
    async with vigil(cluster.server.application_url(), redis_url, tmp_path) as installation:
        async with writing(installation) as writers:
            for _ in range(2):
                await asyncio.to_thread(cluster.stop_immediately)
                await asyncio.to_thread(cluster.start)
                await writers.reach(5)
        async with open_pool(cluster.owner_url, size_max=4) as pool:
            await nothing_is_lost(pool, installation, writers)


@pytest.mark.parametrize("side", Side)
async def test_a_database_that_falls_silent_in_one_direction_is_given_up_and_found_again(
    database: str, redis_url: str, tmp_path: Path, side: Side
) -> None:
    """Row 15: connections stay open, and nobody says that nothing passes any more."""
    async with (
        postgres_behind(as_application(database)) as (proxy, url),
        vigil(url, redis_url, tmp_path) as installation,
        open_pool(database, size_max=4) as pool,
    ):
        async with writing(installation) as writers:
            proxy.silent = {side}
            await asyncio.sleep(TIMEOUT_SECONDS)
            proxy.heal()
            await writers.reach(5)
        await nothing_is_lost(pool, installation, writers)


@pytest.mark.parametrize("side", Side)
async def test_a_redis_that_falls_silent_in_one_direction_holds_nothing_up(
    database: str, redis_url: str, tmp_path: Path, side: Side
) -> None:
    """Row 15: while nothing passes, everything goes on from PostgreSQL; it need not even heal."""
    async with (
        redis_behind(redis_url) as (proxy, url),
        vigil(as_application(database), url, tmp_path) as installation,
        open_pool(database, size_max=4) as pool,
    ):
        async with writing(installation) as writers:
            proxy.silent = {side}
            await writers.reach(10)
        await converged(pool, ("core", "notifier"))
        proxy.heal()
        async with writing(installation) as more:
            await more.reach(5)
        await nothing_is_lost(pool, installation, writers, more)


async def test_a_slow_link_that_chops_everything_and_resets_now_and_then_starves_nobody(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    """Row 16."""
    async with (
        postgres_behind(as_application(database)) as (proxy, url),
        vigil(url, redis_url, tmp_path) as installation,
        open_pool(database, size_max=4) as pool,
    ):
        async with writing(installation) as writers:
            proxy.segment_bytes = 1
            for _ in range(3):
                await writers.reach(1)
                proxy.drop_all(reset=True)
            proxy.heal()
            await writers.reach(2)
        await nothing_is_lost(pool, installation, writers)


@asynccontextmanager
async def failing_over(primary: Cluster, standby: Cluster) -> AsyncIterator[tuple[str, Any]]:
    """The address of the database, and what moves it to the promoted standby when the primary is dead."""
    async with postgres_behind(primary.server.application_url()) as (proxy, url):

        async def fail_over() -> None:
            await asyncio.to_thread(primary.stop_immediately)
            await asyncio.to_thread(standby.execute, "select pg_promote()")
            proxy.lead_to(server_of(standby.owner_url))
            proxy.drop_all()

        yield url, fail_over


async def test_what_a_synchronous_standby_has_acknowledged_survives_the_primary(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    """Row 13, prevented: `synchronous_standby_names` makes a commit wait for the standby."""
    standby = await asyncio.to_thread(cluster.standby, cluster.folder.parent / "standby")
    cluster.execute("alter system set synchronous_standby_names = '*'")
    cluster.execute("select pg_reload_conf()")
    async with failing_over(cluster, standby) as (url, fail_over), vigil(url, redis_url, tmp_path) as installation:
        async with writing(installation) as writers:
            await fail_over()
            await writers.reach(5)
        async with open_pool(standby.owner_url, size_max=4) as pool:
            await nothing_is_lost(pool, installation, writers)


async def test_a_tail_that_an_asynchronous_standby_never_got_stops_the_log_until_it_is_repaired(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    """Row 13: acknowledged, published, projected, and gone. Nothing goes on silently; after the repair, what consumers and
    Redis had of it is not mixed with what comes after it at the same places."""
    standby = await asyncio.to_thread(cluster.standby, cluster.folder.parent / "standby")
    async with failing_over(cluster, standby) as (url, fail_over):
        async with vigil(url, redis_url, tmp_path) as installation:
            person = await installation.person()
            kept = await person.action(name="kept")
            wait_for_replay(cluster, standby)
            standby.execute("alter system set primary_conninfo = ''")
            standby.execute("select pg_reload_conf()")
            while cluster.execute("select from pg_stat_replication"):
                await asyncio.sleep(0.01)
            lost = [await person.action(name=f"lost {number}") for number in range(5)]
            with capture_logs() as logs:
                await fail_over()
                again = [await writes(person, f"new {number}") for number in range(2)]
                async with open_pool(standby.owner_url, size_max=2) as pool, asyncio.timeout(30):
                    while not (await PostgresGuard(pool).state()).restored:
                        await asyncio.sleep(0.05)
            told = [f"{line['event']} {line.get('error', '')}" for line in logs]
            assert any("EventsLost" in line or "StoreRestored" in line for line in told), "the relay says so"
        async with open_pool(standby.owner_url, size_max=1, name=APPLICATION_NAME) as pool:
            assert await StoreRepair(pool).is_needed()
            await StoreRepair(pool).run()
            await StoreRepair(pool).settle()
        async with vigil(url, redis_url, tmp_path) as installation, open_pool(standby.owner_url, size_max=4) as pool:
            more = Person(installation, person.user_id, person.email, person.authorization["Authorization"].split()[1])
            again.append(await writes(more, "new after the repair"))
            await nothing_is_lost(pool, installation)
            shown = {action["name"] for action in await more.gets("GET", "/actions")}
            assert shown == {kept["name"], *again}
            assert not shown & {action["name"] for action in lost}


async def writes(person: Person, name: str) -> str:
    """Make an action, whatever it takes; its name."""
    async with asyncio.timeout(30):
        while (await person.asks("POST", "/actions", {"type": "email", "name": name})).status_code != 201:
            await asyncio.sleep(0.05)
    return name


def wait_for_replay(primary: Cluster, standby: Cluster) -> None:
    """Return when the standby shows what the primary has now."""
    [(position,)] = primary.execute("select pg_current_wal_lsn()::text")
    with psycopg.connect(standby.owner_url, autocommit=True) as connection:
        while True:
            row = connection.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,)).fetchone()
            if row is not None and row[0]:
                return
