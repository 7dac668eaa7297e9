"""`vigil projections rebuild`, `rollback`, `verify` and `status`, as an operator uses them."""

import getpass
import json
from dataclasses import replace

import psycopg
import pytest

from adapters.postgres_pool import open_pool
from adapters.postgres_read_tables import PostgresReadTables
from benchmarks.filling import copy_events
from benchmarks.history import History
from domain.log_entry import PARTITIONS
from projections.core import CORE
from tests.cli.test_cli_database import documents, sequence
from tests.cli.vigil_process import vigil


def fill(database: str) -> None:
    """A history, with the read tables as far as the log."""
    copy_events(database, History(51, people=2, monitors_each=2).entries(100))
    sequence(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "insert into checkpoint (consumer, partition, position)"
            " select 'core', n - 1, place from log_head, unnest(partition_positions) with ordinality as p (place, n)"
        )


@pytest.fixture
def filled(database: str) -> str:
    """A store with a history, rebuilt once."""
    fill(database)
    done = vigil("projections", "rebuild", "core", "--throttle", "100000", database_url=database)
    assert done.returncode == 0, done.stderr
    return database


def acts(database: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "select type, data->>'projection', metadata->>'actor' from event where type like 'operation.%' order by seq"
        ).fetchall()


def test_a_rebuild_and_a_rollback_are_audited_acts(filled: str) -> None:
    back = vigil("projections", "rollback", "core", database_url=filled)
    assert "the tables from before the last rebuild are the live ones" in back.stdout, back.stderr
    again = vigil("projections", "rollback", "core", "--json", database_url=filled)
    assert json.loads(again.stdout) == {"projection": "core"}
    operator = f"operator:{getpass.getuser()}"
    assert acts(filled) == [
        ("operation.projection_rebuilt", "core", operator),
        ("operation.projection_rolled_back", "core", operator),
        ("operation.projection_rolled_back", "core", operator),
    ]


def test_a_verification_proves_the_tables_or_names_what_is_wrong(filled: str) -> None:
    right = vigil("projections", "verify", "core", database_url=filled)
    assert (right.returncode, right.stderr) == (0, "")
    assert "rows are what 10" in right.stdout
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("update read_model.users set name = 'Mallory', timezone = 'Europe/Paris'")
        connection.execute("delete from read_model.facts")
    wrong = vigil("projections", "verify", "--all", "--rows", "1", database_url=filled)
    assert wrong.returncode == 1
    assert ": changed in name, timezone\n" in wrong.stdout
    assert "core.users: 1 more\n" in wrong.stdout
    assert ": missing\n" in wrong.stdout
    assert "`vigil projections rebuild core` mends it" in wrong.stdout
    (told,) = documents(vigil("projections", "verify", "core", "--json", database_url=filled).stdout)
    assert told["verified"] is False
    assert {table["table"]: table["differing"] for table in told["tables"]}["users"] == 2
    assert acts(filled) == [("operation.projection_rebuilt", "core", f"operator:{getpass.getuser()}")]


def test_what_cannot_be_done_is_told_in_one_sentence(database: str) -> None:
    refused = vigil("projections", "rollback", "core", database_url=database)
    assert refused.returncode == 1
    assert "no tables of core from before a rebuild are kept" in refused.stderr
    with psycopg.connect(database) as connection:
        connection.execute("select pg_advisory_lock(hashtextextended('vigil rebuild core', 0))")
        refused = vigil("projections", "rebuild", "core", database_url=database)
    assert refused.returncode == 1
    assert "runs already: wait for it, or stop it" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert acts(database) == []


async def test_tables_made_by_another_version_ask_for_a_rebuild(database: str) -> None:
    async with open_pool(database, size_max=2) as pool:
        await PostgresReadTables(pool, replace(CORE, version=CORE.version + 1)).places(range(PARTITIONS))
    status = vigil("projections", "status", database_url=database)
    assert "core: rebuild needed" in status.stdout
    (told,) = json.loads(vigil("projections", "status", "--json", database_url=database).stdout)
    assert told["tables"] == {"version": CORE.version + 1, "rebuild_needed": True, "previous": False}
    assert told["parked"] == 0
    checked = vigil("doctor", "--json", database_url=database)
    (finding,) = (each for each in json.loads(checked.stdout) if "rebuild needed" in each["message"])
    assert (finding["level"], finding["cure"]) == ("warning", "run `vigil projections rebuild core`")
    vigil("projections", "rebuild", "core", database_url=database)
    assert "rebuild needed" not in vigil("projections", "status", database_url=database).stdout
