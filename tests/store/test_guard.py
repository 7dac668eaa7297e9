"""Somebody's open transaction holds the log up: it is named, nothing is lost, and everything goes on when it ends."""

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters import yoyo_migrations
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import _STATE, PostgresGuard, _without_values
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool, open_pool
from bootstrap.running import roles_up
from bootstrap.settings import read_settings
from domain.event import Metadata, NewEvents
from domain.log_state import LATE_SECONDS
from domain.user import RoleGranted
from read_api.health import HealthChecks
from tests.cli.vigil_process import vigil
from tests.conftest import AT, as_application, database_url
from workers.guard import OPEN_SECONDS_MAX, REPEAT_SECONDS, Guard

HELD = "an open transaction holds the log up; nothing is lost, end it to go on"


@dataclass
class Watch:
    """A guard of a store, with a clock that stands still until the test moves it."""

    pool: Pool
    seconds: float = 1000.0

    def __post_init__(self) -> None:
        self.states = PostgresGuard(self.pool)
        self.log = PostgresLog(self.pool)
        leases = PostgresLeases(self.pool)
        self.guard = Guard(self.states, leases, holder="one", monotonic=lambda: self.seconds)

    async def append(self, count: int) -> None:
        store = PostgresEventStore(self.pool, new_id=uuid7)
        for _ in range(count):
            stream_id, event = uuid7(), RoleGranted(role="auditor", granted_at=AT)
            new = NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=0, events=(event,))
            await store.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"))

    async def sequence(self) -> int:
        while await self.log.sequence_batch():
            pass
        return (await self.log.head()).position

    async def told(self) -> list[Any]:
        """What a look of the guard says."""
        with capture_logs() as logged:
            await self.guard.step()
        return logged

    async def late(self) -> None:
        """Return when the first event waits for longer than it should."""
        while not (await self.states.state()).late:
            pass


@pytest.fixture
def watch(application_pool: Pool) -> Watch:
    return Watch(application_pool)


@asynccontextmanager
async def foreign_transaction(url: str, name: str = "nightly report") -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """An open transaction with an id, in whatever database."""
    async with await psycopg.AsyncConnection.connect(url, application_name=name) as other:
        await other.execute("create temporary table kept as select 'ada@example.org' as address")
        yield other
        await other.rollback()


async def test_who_holds_the_log_up_is_named_and_nothing_is_lost(watch: Watch, postgres_url: str) -> None:
    await watch.append(1)
    assert await watch.sequence() == 1
    async with foreign_transaction(postgres_url) as other:  # in another database: ids belong to the whole cluster
        await watch.append(3)
        assert await watch.sequence() == 1
        assert await watch.told() == []  # it may well end at once
        await watch.late()
        [warning] = await watch.told()
        state = await watch.states.state()
        assert (warning["event"], warning["log_level"], warning["pid"]) == (HELD, "warning", other.info.backend_pid)
    assert (warning["application"], warning["role"], warning["database"]) == ("nightly report", "postgres", "vigil")
    assert (warning["client"], warning["state"]) == ("this machine", "idle in transaction")
    assert warning["query"] == "create temporary table kept as select"
    assert warning["waiting_seconds"] >= LATE_SECONDS
    assert warning["open_seconds"] >= warning["waiting_seconds"] - 0.1
    assert (state.position, state.waiting_events, state.held, state.restored) == (1, 3, True, False)
    assert await watch.sequence() == 4
    assert [one["event"] for one in await watch.told()] == ["the log goes on"]
    assert await watch.told() == []


async def test_the_same_culprit_is_named_once_a_minute_and_another_at_once(watch: Watch, database: str) -> None:
    async with foreign_transaction(database, "first") as first, foreign_transaction(database, "second"):
        await watch.append(1)
        await watch.late()
        assert [one["application"] for one in await watch.told()] == ["first"]
        watch.seconds += REPEAT_SECONDS - 1
        assert await watch.told() == []
        watch.seconds += 1
        assert [one["application"] for one in await watch.told()] == ["first"]
        await first.rollback()
        assert [one["application"] for one in await watch.told()] == ["second"]


async def test_a_transaction_that_stays_open_is_named_before_an_event_waits_for_it(watch: Watch, database: str) -> None:
    async with foreign_transaction(database):
        assert await watch.told() == []
        watch.seconds += OPEN_SECONDS_MAX
        assert await watch.told() == []
        watch.seconds += 0.1
        assert [one["event"] for one in await watch.told()] == [HELD]


async def test_a_query_that_writes_nothing_holds_nothing_up(watch: Watch, database: str) -> None:
    """It holds back vacuum, and that is another matter."""
    async with await psycopg.AsyncConnection.connect(database) as reader:
        await reader.execute("set transaction isolation level repeatable read")
        await reader.execute("select count(*) from event")
        await watch.append(2)
        state = await watch.states.state()
        assert (state.held, state.waiting_events) == (False, 2)
        assert await watch.sequence() == 2


async def test_events_that_nobody_sequences_are_told_as_such(watch: Watch) -> None:
    await watch.append(1)
    await watch.late()
    assert await watch.told() == []  # all of Vigil may have just been started again
    watch.seconds += 2
    [warning] = await watch.told()
    assert "does a relay run?" in warning["event"]
    assert warning["waiting_events"] == 1


async def test_a_log_that_moves_on_is_not_told_as_standing_still(watch: Watch) -> None:
    await watch.append(1)
    await watch.late()
    assert await watch.told() == []
    watch.seconds += 2
    await watch.sequence()
    await watch.append(1)
    await watch.late()
    assert await watch.told() == []


async def test_only_the_guard_with_the_lease_speaks(watch: Watch, database: str) -> None:
    other = Guard(watch.states, PostgresLeases(watch.pool), holder="two", monotonic=lambda: 0.0)
    await other.step()
    await watch.append(1)
    await watch.late()
    assert await watch.told() == []


async def test_a_role_that_may_not_look_at_others_still_learns_the_pid(
    watch: Watch, database: str, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("drop role if exists vigil_sees_little")
        owner.execute("create role vigil_sees_little login")
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("grant usage on schema public to vigil_sees_little")
        owner.execute("grant select on event, log_head to vigil_sees_little")
    url = database.replace("//postgres@", "//vigil_sees_little@")
    async with open_pool(url, size_max=1) as pool, foreign_transaction(database) as other:
        found = await PostgresGuard(pool).oldest_open()
        assert found is not None
        assert (found.pid, found.application, found.role) == (other.info.backend_pid, "nightly report", "postgres")
    assert (found.open_seconds, found.state) == (None, None)


async def test_readiness_says_that_the_log_is_held_and_goes_on_serving(watch: Watch, database: str) -> None:
    health = HealthChecks(watch.pool, watch.states, {}, started_at=AT)
    assert (await health.readiness()).status == "ready"
    async with foreign_transaction(database):
        await watch.append(1)
        await watch.late()
        held = await health.readiness()
        assert (held.status, held.checks["log"].status) == ("degraded", "held")
        assert "an open transaction" in (held.checks["log"].message or "")
        assert "nightly report" not in (held.checks["log"].message or "")  # anybody may ask
    waiting = await health.readiness()
    assert (waiting.status, waiting.checks["log"].status) == ("degraded", "late")
    await watch.sequence()
    assert (await health.readiness()).checks["log"].status == "ok"


def findings(database: str, **settings: str) -> dict[str, Any]:
    """What the doctor says, by check."""
    told = vigil("doctor", "--json", database_url=database, **settings)
    return {finding["check"]: finding for finding in json.loads(told.stdout)}


async def test_the_doctor_says_whose_transaction_it_is_and_what_the_role_may_do(watch: Watch, database: str) -> None:
    async with foreign_transaction(database) as other:
        await watch.append(1)
        await watch.late()
        found = findings(database)
        assert (found["database role"]["level"], found["log"]["level"]) == ("ok", "warning")
        assert f"nightly report (postgres in {other.info.dbname} from this machine)" in found["log"]["message"]
        assert f"pg_terminate_backend({other.info.backend_pid})" in found["log"]["cure"]
    await watch.sequence()
    found = findings(database, database_owner_url=database)  # one role for everything, as on somebody's first server
    assert (found["database role"]["level"], found["log"]["level"]) == ("warning", "ok")
    assert "VIGIL_DATABASE_OWNER_URL" in found["database role"]["cure"]


@pytest.mark.parametrize("warned", [False, True], ids=["the application's role", "the owner"])
async def test_a_start_warns_of_a_role_that_could_change_events(
    database: str, redis_url: str, tmp_path: Path, *, warned: bool
) -> None:
    url = database if warned else as_application(database)
    settings = read_settings(data_dir=tmp_path, database_url=url, redis_url=redis_url)
    with capture_logs() as logged:
        async with roles_up(settings, [], api=False):
            pass
    assert [one["log_level"] for one in logged if "could change what was recorded" in one["event"]] == [
        "warning"
    ] * warned


@pytest.fixture
def two_phase_database() -> Iterator[str]:
    """A migrated store in a cluster that takes prepared transactions, which is off by default."""
    with tempfile.TemporaryDirectory(prefix="vigil-test-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder), fsync=False)
        try:
            with psycopg.connect(server.start(), autocommit=True) as connection:
                connection.execute("alter system set max_prepared_transactions = 2")
            server.stop()
            url = server.start()
            yoyo_migrations.up(url)
            yield url
        finally:
            server.stop()


async def test_a_prepared_transaction_holds_the_log_up_and_belongs_to_no_process(two_phase_database: str) -> None:
    postgres = database_url(two_phase_database, "postgres")
    async with open_pool(as_application(two_phase_database), size_max=2) as pool:
        watch = Watch(pool)
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute("create table kept (n integer)")
            other.execute("begin")
            other.execute("insert into kept values (1)")
            other.execute("prepare transaction 'forgotten transfer'")
        await watch.append(2)
        assert await watch.sequence() == 0
        await watch.late()
        [warning] = await watch.told()
        assert (warning["event"], warning["prepared_as"]) == (HELD, "forgotten transfer")
        assert (warning["database"], warning["role"]) == ("postgres", "postgres")
        assert "pid" not in warning
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute("commit prepared 'forgotten transfer'")
        assert await watch.sequence() == 2


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("update users\n  set email = 'ada@example.org'", "update users set email ="),
        ("delete from t1 where n2 = 42", "delete from t1 where n2 ="),
        ("select $1, now()", "select"),
        ("select a -- ada@example.org", "select a"),
        ("/* ada */ select 1", ""),
        ("select $$ada$$", "select"),
        ("x" * 500, "x" * 100),
        (None, None),
    ],
)
def test_the_statement_is_shown_without_its_values(query: str | None, shown: str | None) -> None:
    assert _without_values(query) == shown


@given(st.text(alphabet=st.characters(exclude_characters="'"), min_size=12), st.sampled_from(["'", "E'", "N'"]))
def test_no_text_literal_is_ever_shown(secret: str, quote: str) -> None:
    shown = _without_values("update t set a = LITERAL".replace("LITERAL", f"{quote}{secret}'"))
    assert shown in {"update t set a =", "update t set a = E", "update t set a = N"}


async def test_looking_at_the_log_reads_a_few_rows_however_many_there_are(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
            " select md5(n::text)::uuid, 1, md5(n::text)::uuid, 'user.role_granted', 1, '{}', '{}', md5(n::text)::uuid"
            " from generate_series(1, 30000) as n"
        )
        await connection.execute(
            "update log_head set tx = last.tx, seq = last.seq"
            " from (select tx, seq from event order by tx desc, seq desc limit 1) as last"
        )
        await connection.execute("analyze event")
        plan = await (await connection.execute(b"explain " + _STATE.encode(), (100,))).fetchall()
    assert "Seq Scan on event" not in str(plan)
