"""What operators do to the installation is written down whatever becomes of the process that does it."""

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from adapters.aes_gcm import new_key
from cli.acts import operator
from tests.cli.test_cli_archive import fill
from tests.cli.test_cli_rebuilding import fill as fill_and_project
from tests.cli.vigil_process import COMMAND, WRAPPING_KEY, environment, prefixed, vigil

SECONDS_MAX = 20
OPERATIONS = "select type from event where type like 'operation.%' order by seq"

# Whoever writes an act down waits while somebody holds the lock; what is recorded of people does not.
HOLD_WRITING_DOWN = """
create function wait_to_write_down() returns trigger language plpgsql as $$
begin perform pg_advisory_xact_lock_shared(4711); return new; end $$;
create trigger wait_to_write_down before insert on event
for each row when (new.type like 'operation.%') execute function wait_to_write_down();
"""
WRITING_DOWN = """
select l.pid from pg_locks l join pg_database d on d.oid = l.database
where d.datname = current_database() and l.locktype = 'advisory' and l.objid = 4711 and not l.granted
"""
OTHERS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@dataclass
class Act:
    """A command, what it needs, what it leaves behind in the database, and how it is recorded."""

    words: tuple[str, ...]
    settings: dict[str, str]
    trace: LiteralString
    recorded: str


LIVE_TABLES: LiteralString = "select oid from pg_namespace where nspname = 'read_model'"


def rebuild(database: str, data: Path) -> Act:
    fill_and_project(database)
    return Act(
        ("projections", "rebuild", "core"),
        {"data_dir": str(data), "wrapping_keys": WRAPPING_KEY},
        LIVE_TABLES,
        "operation.projection_rebuilt",
    )


def roll_back(database: str, data: Path) -> Act:
    act = rebuild(database, data)
    assert vigil(*act.words, database_url=database, **act.settings).returncode == 0
    return Act(("projections", "rollback", "core"), act.settings, LIVE_TABLES, "operation.projection_rolled_back")


def rotate(database: str, data: Path) -> Act:
    old, new = (base64.b64encode(new_key()).decode() for _ in range(2))
    words = ("users", "create", "ada@example.org", "--name", "Ada")
    made = vigil(*words, given="a long sentence\n", database_url=database, data_dir=str(data), wrapping_keys=old)
    assert made.returncode == 0, made.stderr
    return Act(
        ("keys", "rotate"),
        {"data_dir": str(data), "wrapping_keys": f"{new},{old}"},
        "select wrapping_key_id from person_key order by 1",
        "operation.keys_rotated",
    )


def archive(database: str, data: Path) -> Act:
    fill(database, data)
    return Act(
        ("archive", "run", "--older-than", "P30D"),
        {"data_dir": str(data), "wrapping_keys": WRAPPING_KEY},
        "select count(*) from event where data is null",
        "operation.evaluations_archived",
    )


@contextmanager
def nobody_writes_down(connection: psycopg.Connection) -> Iterator[None]:
    connection.execute(HOLD_WRITING_DOWN)
    connection.execute("select pg_advisory_lock(4711)")
    yield
    connection.execute("select pg_advisory_unlock(4711)")


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("prepared", [rebuild, roll_back, rotate, archive])
def test_an_act_whose_process_is_killed_is_not_done_without_being_written_down(
    database: str, tmp_path: Path, prepared: Callable[[str, Path], Act]
) -> None:
    act = prepared(database, tmp_path / "data")
    settings = {"database_url": database, **act.settings}
    with psycopg.connect(database, autocommit=True) as connection:

        def rows(query: LiteralString) -> list[tuple[object, ...]]:
            return connection.execute(query).fetchall()

        before, recorded = rows(act.trace), rows(OPERATIONS)
        with nobody_writes_down(connection):
            process = subprocess.Popen([*COMMAND, *act.words], env=environment(**prefixed(settings)), cwd=tmp_path)
            try:
                until(lambda: bool(rows(WRITING_DOWN)))
            finally:
                process.kill()
                process.wait()
            connection.execute("select pg_terminate_backend(%s)", rows(WRITING_DOWN)[0])
            until(lambda: not rows(OTHERS))
            assert rows(act.trace) == before
            assert rows(OPERATIONS) == recorded
        done = vigil(*act.words, **settings)
        assert done.returncode == 0, done.stderr
        assert rows(act.trace) != before
        assert rows(OPERATIONS) == [*recorded, (act.recorded,)]


def test_an_operator_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2_000_054_321)
    assert operator() == "operator:2000054321"
