"""A store restored into a cluster with other transaction ids: refused, told, repaired, and nothing is lost or reordered.

Two real clusters: the old one has used up many more transaction ids than the young one that takes over its dump.
"""

import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import redis.asyncio as redis
from psycopg import sql
from uuid_utils.compat import uuid7

from adapters import yoyo_migrations
from adapters.data_dir import DataDirLock
from adapters.embedded_postgres import EmbeddedPostgres, program
from adapters.log_signatures import PublicKeys, installation_signing_key
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import HOME, PostgresLog
from adapters.postgres_log_proof import PostgresLogProof
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_read_tables import PostgresReadTables
from adapters.postgres_repair import APPLICATION_NAME
from adapters.postgres_signed_heads import PostgresSignedHeads
from adapters.redis_log import RedisLog
from bootstrap.now_and_new import utc_now
from domain.event import Metadata, NewEvents
from domain.log_entry import PARTITIONS
from domain.operation import StoreRepaired
from domain.user import RoleGranted
from projections.core import CORE
from read_api.health import HealthChecks
from tests.cli.vigil_process import COMMAND, environment, prefixed, vigil
from tests.conftest import AT, as_application, database_url
from tests.faults.installation import check_log
from tests.projections.test_rebuild import project_all
from workers.notary import Notary
from workers.relay import Relay, StoreRestored

AHEAD = 3_000
"""By so many transaction ids one cluster is ahead of the other: more than a test uses."""
WITHIN_SECONDS = 30


class Store:
    """A store in some cluster, as the application works on it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.events = PostgresEventStore(pool, new_id=uuid7)
        self.log = PostgresLog(pool)

    async def append(self, *streams: UUID) -> None:
        """One event at the end of each of these streams."""
        for stream_id in streams:
            version = len(await self.events.load(stream_id))
            event = RoleGranted(role=f"v{version + 1}", granted_at=AT)
            new = NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=version, events=(event,))
            await self.events.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"))

    async def sequence(self) -> int:
        while await self.log.sequence_batch():
            pass
        return (await self.log.head()).position

    async def order(self) -> list[tuple[UUID, int]]:
        """Stream and version of every position."""
        async with self.pool.connection() as connection:
            rows = await connection.execute("select stream_id, version from event_log order by position")
            return [(row[0], row[1]) for row in await rows.fetchall()]


async def get_ahead(url: str, other: str) -> None:
    """Use up transaction ids, as years of work would, until a cluster is ahead of another."""
    loop = sql.SQL("do $$ begin for i in 1..{} loop perform pg_current_xact_id(); commit; end loop; end $$")
    async with open_pool(url, size_max=1) as pool, open_pool(other, size_max=1) as other_pool:
        missing = await next_id(other_pool) + AHEAD - await next_id(pool)
        async with pool.connection() as connection:
            await connection.execute("set statement_timeout = 0")
            await connection.execute(loop.format(max(0, missing)))


async def next_id(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute("select pg_snapshot_xmax(pg_current_snapshot())::text")).fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    async with open_pool(as_application(url), size_max=4) as pool:
        yield Store(pool)


@pytest.fixture(scope="module")
def young_cluster() -> Iterator[str]:
    """A cluster of its own that has hardly used any transaction ids."""
    with tempfile.TemporaryDirectory(prefix="vigil-test-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder), fsync=False)
        try:
            yield server.start()
        finally:
            server.stop()


@pytest.fixture
async def old_cluster(postgres_url: str, young_cluster: str) -> str:
    """The cluster of the other tests, which is ahead of the young one."""
    await get_ahead(postgres_url, young_cluster)
    return postgres_url


Restore = Callable[..., str]


@pytest.fixture
def restored(young_cluster: str) -> Iterator[Restore]:
    """Dumps a store and restores it into the young cluster; the URL of its owner there."""
    made: list[str] = []

    def restore(source: str, into: str = young_cluster) -> str:
        name = f"r{uuid.uuid1().hex}"
        made.append(database_url(into, name))
        with psycopg.connect(into, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        dump = subprocess.run([program("pg_dump"), "--format=custom", source], check=True, capture_output=True)
        target = ["--exit-on-error", "--dbname", made[-1]]
        subprocess.run([program("pg_restore"), *target], input=dump.stdout, check=True, capture_output=True)
        return made[-1]

    yield restore
    for url in made:
        with psycopg.connect(database_url(url, "postgres"), autocommit=True) as connection:
            name = url.partition("?")[0].rpartition("/")[2]
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def repair(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return vigil("store", "repair", *words, database_url=url)


async def relay_step(store: Store, redis_url: str) -> None:
    async with redis.from_url(redis_url) as client:
        leases = PostgresLeases(store.pool)
        relay = Relay(store.log, RedisLog(client, namespace="t"), leases, holder="one", monotonic=time.monotonic)
        try:
            await relay.step()
        finally:
            await relay._publication.settle(WITHIN_SECONDS)
            await relay._publication.close()
            await leases.let_go(["relay"], "one")


async def test_a_store_in_a_younger_cluster_is_refused_told_repaired_and_goes_on(
    database: str, old_cluster: str, restored: Restore, redis_url: str, tmp_path: Path
) -> None:
    known, tail, fresh = [uuid7() for _ in range(3)], [uuid7() for _ in range(2)], uuid7()
    key = installation_signing_key(tmp_path, None)
    async with opened(database) as old:
        await old.append(*known, *known)
        assert await old.sequence() == 6
        await project_all(old.pool)
        heads = PostgresSignedHeads(old.pool)
        notary = Notary(heads, key, PostgresLeases(old.pool), holder="x", now=utc_now, monotonic=time.monotonic)
        signed = await notary.sign_head()
        await old.append(*tail)  # committed, and dumped before a relay came to them
        before = await old.order()
    url = restored(database)
    async with opened(url) as young:
        for _ in range(2):
            with pytest.raises(StoreRestored, match="vigil store repair"):
                await relay_step(young, redis_url)
        await young.append(known[0], tail[1], fresh)  # by an API that runs all the same
        health = await HealthChecks(young.pool, PostgresGuard(young.pool), {}, started_at=AT).readiness()
        assert (health.status, health.checks["log"].status) == ("not_ready", "restored")
        assert "vigil store repair" in (health.checks["log"].message or "")
        in_use = repair(url, "--yes")
        assert (in_use.returncode, "stop everything of Vigil" in in_use.stderr) == (1, True)
        assert await young.order() == before
    asked = repair(url)
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    done = repair(url, "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"repaired": True, "events": 5, "rewritten": True}
    assert "nothing to do" in repair(url, "--yes").stdout
    async with opened(url) as young:
        await relay_step(young, redis_url)
        await young.append(fresh, known[1])
        await young.sequence()
        order = await young.order()
        expected = [(tail[0], 1), (tail[1], 1), (known[0], 3), (tail[1], 2), (fresh, 1)]
        assert order[:11] == [*before, *expected]
        assert order[12:] == [(fresh, 2), (known[1], 3)]
        [act] = await young.events.load(order[11][0])
        assert isinstance(act.event, StoreRepaired)
        assert act.event.events == 5
        await check_log(young.pool)
        await project_all(young.pool)
        places = await PostgresReadTables(young.pool, CORE).places(range(PARTITIONS))
        assert tuple(places[p] for p in range(PARTITIONS)) == await young.log.places()
        verified = await PostgresLogProof(young.pool).verify(PublicKeys([key.public]))
        assert (verified.last, verified.signed) == (14, signed.position if signed else None)
        health = await HealthChecks(young.pool, PostgresGuard(young.pool), {}, started_at=AT).readiness()
        assert health.checks["log"].status == "ok"


async def test_a_tail_from_the_future_is_refused_although_the_head_is_from_here(
    database: str, old_cluster: str, restored: Restore, redis_url: str
) -> None:
    """An empty log, and events whose ids the young cluster has not reached: what follows them would come before them."""
    stream = uuid7()
    async with opened(database) as old:
        await old.append(stream, stream)
    url = restored(database)
    async with opened(url) as young:
        await young.append(stream)
        with pytest.raises(StoreRestored):
            await relay_step(young, redis_url)
    assert repair(url, "--yes").returncode == 0
    async with opened(url) as young:
        await young.sequence()
        assert (await young.order())[:3] == [(stream, 1), (stream, 2), (stream, 3)]


async def test_the_loss_is_found_after_the_young_cluster_has_used_up_the_old_ids_too(
    database: str, old_cluster: str, restored: Restore, redis_url: str
) -> None:
    """By then no id lies in the future any more, and events that were appended meanwhile lie behind the head."""
    first, second = uuid7(), uuid7()
    async with opened(database) as old:
        await old.append(first)
        await old.sequence()
    url = restored(database)
    async with opened(url) as young:
        await young.append(second, first)
        await get_ahead(url, old_cluster)
        assert not (await state_of(young))[0]
        with pytest.raises(StoreRestored):
            await relay_step(young, redis_url)
        assert await young.sequence() == 1
    done = json.loads(repair(url, "--yes", "--json").stdout)
    assert (done["events"], done["rewritten"]) == (2, False)
    async with opened(url) as young:
        await relay_step(young, redis_url)
        await young.sequence()
        assert (await young.order())[:3] == [(first, 1), (second, 1), (first, 2)]
        await check_log(young.pool)


async def state_of(store: Store) -> tuple[bool, bool]:
    """Whether an id lies in the future, and whether the log is at home."""
    async with store.pool.connection() as connection:
        row = await (await connection.execute(HOME)).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_a_store_that_moved_without_harm_is_taken_as_it_is(
    young_cluster: str, postgres_url: str, restored: Restore, redis_url: str
) -> None:
    """Into a cluster that is ahead, which the shared one is after all that the other tests did to it."""
    name = f"y{uuid.uuid1().hex}"
    with psycopg.connect(young_cluster, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    source, stream = database_url(young_cluster, name), uuid7()
    yoyo_migrations.up(source)
    async with opened(source) as home:
        await home.append(stream)
        await home.sequence()
        await home.append(stream)
        await get_ahead(postgres_url, young_cluster)
    url = restored(source, postgres_url)
    async with opened(url) as moved:
        assert await state_of(moved) == (False, False)
        assert (await PostgresGuard(moved.pool).state()).restored
        await relay_step(moved, redis_url)
        assert not (await PostgresGuard(moved.pool).state()).restored
        await moved.append(stream)
        await moved.sequence()
        assert await moved.order() == [(stream, 1), (stream, 2), (stream, 3)]
    assert "nothing to do" in repair(url, "--yes").stdout


def contents(url: str) -> list[object]:
    """Everything a repair may touch."""
    with psycopg.connect(url) as connection:
        return [
            connection.execute("select e::text from event e order by stream_id, version").fetchall(),
            connection.execute("select l::text from event_log l order by position").fetchall(),
            connection.execute("select * from log_head").fetchall(),
        ]


def kill_amid_repair(url: str, folder: Path) -> None:
    """Start a repair, let it wait for the head of the log, which it moves last, and kill it there."""
    variables = {"VIGIL_DATA_DIR": str(folder), **prefixed({"database_url": url})}
    waits = "select count(*) from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
    deadline = time.monotonic() + WITHIN_SECONDS
    with psycopg.connect(url) as in_the_way, psycopg.connect(url, autocommit=True) as watching:
        in_the_way.execute("select from log_head for update")
        process = subprocess.Popen([*COMMAND, "store", "repair", "--yes"], env=environment(**variables))
        while watching.execute(waits, (APPLICATION_NAME,)).fetchone() != (1,):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.kill()
        process.wait()
        in_the_way.rollback()


@pytest.mark.parametrize("tail", [0, 3], ids=["before the end", "at the beginning"])
async def test_a_repair_that_is_killed_has_done_nothing_and_is_done_again(
    database: str, old_cluster: str, restored: Restore, tmp_path: Path, tail: int
) -> None:
    streams = [uuid7() for _ in range(20)]
    async with opened(database) as old:
        await old.append(*streams)
        await old.sequence()
        await old.append(*streams[:tail])
    url = restored(database)

    before = contents(url)
    kill_amid_repair(url, tmp_path)
    while (done := repair(url, "--yes", "--json")).returncode and APPLICATION_NAME in done.stderr:
        assert contents(url) == before  # the server has not noticed yet that its client is gone
    assert json.loads(done.stdout) == {"repaired": True, "events": tail, "rewritten": True}
    async with opened(url) as young:
        await young.sequence()
        await check_log(young.pool)


def test_the_store_of_one_machine_is_repaired_while_nobody_runs_it(tmp_path: Path) -> None:
    nothing = vigil("store", "repair", "--yes", data_dir=str(tmp_path / "nowhere"))
    assert (nothing.returncode, "there is no store" in nothing.stderr) == (1, True)
    assert not (tmp_path / "nowhere").exists()
    with tempfile.TemporaryDirectory(prefix="vigil-test-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder), fsync=False)
        try:
            url = server.start()
            yoyo_migrations.up(url)
            with psycopg.connect(url) as connection:
                connection.execute("update log_head set cluster = 1")
            server.stop()
            with DataDirLock(Path(folder)):
                in_use = vigil("store", "repair", "--yes", data_dir=folder)
            assert (in_use.returncode, "in use" in in_use.stderr) == (1, True)
            assert "repaired: 0 events" in vigil("store", "repair", "--yes", data_dir=folder).stdout
            assert "nothing to do" in vigil("store", "repair", "--yes", data_dir=folder).stdout
        finally:
            server.stop()
