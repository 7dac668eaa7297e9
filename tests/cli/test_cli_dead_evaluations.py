"""`vigil evaluations dead`, as an operator uses it on a running installation."""

import getpass
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.cli.vigil_process import vigil

FIRST, SECOND, THIRD = (UUID(int=n) for n in range(1, 4))
MONITOR, OWNER, SIGNAL = UUID(int=11), UUID(int=12), UUID(int=13)
_BURIED = """
insert into dead_job (evaluation_id, monitor_id, owner_id, due_at, signal_id, attempts, error, died_at)
values (%s, %s, %s, '2026-01-01T08:00:00Z', %s, 5, %s, '2026-01-01T08:00:00Z'::timestamptz + %s * interval '1 second')
"""
_LIST, _RETRY, _DROP = (("evaluations", "dead", what) for what in ("list", "retry", "drop"))


@pytest.fixture
def buried(database: str, application_database: str) -> str:
    """An installation with two evaluations that were given up."""
    with psycopg.connect(database) as connection:
        connection.execute(_BURIED, (SECOND, MONITOR, OWNER, SIGNAL, "ValueError('\u202e\x9b31m boom')", 2))
        connection.execute(_BURIED, (FIRST, MONITOR, OWNER, None, "RuntimeError('boom')", 1))
    return application_database


def asked_for(database: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database) as connection:
        query = "select evaluation_id, monitor_id, owner_id, signal_id, attempts from evaluation_request order by 1"
        return connection.execute(query).fetchall()


def acts(database: str) -> list[tuple[str, dict[str, Any], str]]:
    """What operators did: type, data, and who."""
    query = "select type, data, metadata->>'actor' from event where type like 'operation.%' order by seq"
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()


def test_what_was_given_up_is_listed_retried_and_dropped_and_who_did_it_is_kept(buried: str, database: str) -> None:
    told = vigil(*_LIST, database_url=buried)
    assert (told.returncode, told.stderr) == (0, "")
    first, second = told.stdout.splitlines()
    assert first == (f"{FIRST} of monitor-{MONITOR}, due 2026-01-01T08:00:00Z, tried 5 times: RuntimeError('boom')")
    assert f", asked for by the signal {SIGNAL}, tried 5 times: ValueError(" in second
    assert "\x9b" not in second
    assert "\u202e" not in second
    listed = json.loads(vigil(*_LIST, "--json", database_url=buried).stdout)
    assert [(one["evaluation_id"], one["signal_id"], one["attempts"]) for one in listed] == [
        (str(FIRST), None, 5),
        (str(SECOND), str(SIGNAL), 5),
    ]
    retried = vigil(*_RETRY, str(SECOND), database_url=buried)
    assert (retried.returncode, retried.stdout) == (0, f"{SECOND}: handed out again\n")
    assert asked_for(database) == [(SECOND, MONITOR, OWNER, SIGNAL, 0)]
    dropped = vigil(*_DROP, str(FIRST), "--reason", " page is gone ", "--json", database_url=buried)
    assert (dropped.returncode, json.loads(dropped.stdout)) == (0, [str(FIRST)])
    assert asked_for(database) == [(SECOND, MONITOR, OWNER, SIGNAL, 0)]
    did = acts(database)
    assert [(kind, actor) for kind, _, actor in did] == [
        ("operation.evaluation_retried", f"operator:{getpass.getuser()}"),
        ("operation.evaluation_dropped", f"operator:{getpass.getuser()}"),
    ]
    assert did[0][1]["evaluation_id"] == str(SECOND)
    assert (did[1][1]["evaluation_id"], did[1][1]["reason"]) == (str(FIRST), "page is gone")
    again = vigil(*_RETRY, str(FIRST), database_url=buried)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"error: the evaluation {FIRST} was not given up\n"
    assert vigil(*_LIST, database_url=buried).stdout == "nothing was given up\n"
    assert len(acts(database)) == 2


def test_all_that_were_given_up_are_retried_or_dropped_at_once(buried: str, database: str) -> None:
    retried = vigil(*_RETRY, "--all", "--json", database_url=buried)
    assert (retried.returncode, json.loads(retried.stdout)) == (0, [str(FIRST), str(SECOND)])
    assert [row[0] for row in asked_for(database)] == [FIRST, SECOND]
    with psycopg.connect(database) as connection:
        connection.execute(_BURIED, (THIRD, MONITOR, OWNER, None, "x", 1))
    dropped = vigil(*_DROP, "--all", "--reason", "gone", database_url=buried)
    assert (dropped.returncode, dropped.stdout) == (0, f"{THIRD}: dropped\n")
    none = vigil(*_RETRY, "--all", database_url=buried)
    assert (none.returncode, none.stdout) == (0, "nothing was given up\n")
    assert len(acts(database)) == 3


@pytest.mark.parametrize(
    "words",
    [
        (*_RETRY,),
        (*_RETRY, str(FIRST), "--all"),
        (*_RETRY, "first"),
        (*_DROP, str(FIRST)),
        (*_DROP, "--reason", "gone"),
        (*_DROP, str(FIRST), "--reason", " "),
        (*_DROP, str(FIRST), "--reason", "x" * 501),
        (*_DROP, str(FIRST), "--reason", "a\x1b[31m"),
    ],
    ids=["nothing", "both", "no id", "no reason", "neither", "empty reason", "long reason", "control characters"],
)
def test_wrong_use_of_dead_exits_with_2(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_wrong_use_of_dead_changes_nothing_and_is_told(buried: str, database: str) -> None:
    refused = vigil(*_RETRY, str(FIRST), "--all", database_url=buried)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--all" in refused.stderr
    assert (asked_for(database), acts(database)) == ([], [])
