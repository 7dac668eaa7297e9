"""The commands on a database: migrations, accounts, read tables, events, and the doctor."""

import asyncio
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import open_pool
from tests.cli.vigil_process import vigil
from tests.conftest import database_url

PASSWORD = "a rather long sentence"


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """A database without any table."""
    name = f"t{uuid.uuid1().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
        yield database_url(postgres_url, name)
        connection.execute(f"drop database {name} with (force)".encode())


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def sequence(database: str) -> None:
    """What the relay does: give every event its position."""

    async def all_of_them() -> None:
        async with open_pool(database, size_max=2) as pool:
            while await PostgresLog(pool).sequence_batch():
                pass

    asyncio.run(all_of_them())


def create_user(database: str, email: str = "ada@example.org") -> dict[str, Any]:
    words = ("users", "create", email, "--name", "Ada", "--json")
    created = vigil(*words, given=f"{PASSWORD}\n", database_url=database)
    assert created.returncode == 0, created.stderr
    account: dict[str, Any] = json.loads(created.stdout)
    return account


def test_migrations_go_up_and_down_and_their_status_is_told(empty_database: str) -> None:
    def states() -> set[bool]:
        shown = vigil("migrate", "status", "--json", database_url=empty_database)
        return {migration["applied"] for migration in json.loads(shown.stdout)}

    assert states() == {False}
    assert "applied 0001_event_store" in vigil("migrate", "up", database_url=empty_database).stdout
    assert states() == {True}
    assert "nothing to do" in vigil("migrate", "up", database_url=empty_database).stdout
    refused = vigil("migrate", "down", database_url=empty_database)
    assert (refused.returncode, states()) == (2, {True})
    assert "took back" in vigil("migrate", "down", "--steps", "1", "--yes", database_url=empty_database).stdout
    assert states() == {True, False}
    assert vigil("migrate", "down", "--steps", "99", "--yes", database_url=empty_database).returncode == 0
    assert states() == {False}


def test_an_account_is_created_verified_and_given_a_role_where_registration_is_closed(database: str) -> None:
    words = ("users", "create", "Ada@Example.org", "--name", "Ada", "--timezone", "Europe/London")
    created = vigil(*words, given=f"{PASSWORD}\n", database_url=database, registration="closed")
    assert (created.returncode, created.stderr) == (0, "")
    assert "created ada@example.org" in created.stdout
    granted = vigil("users", "grant", "ada@example.org", "operator", "--json", database_url=database)
    account = json.loads(granted.stdout)
    assert account["roles"] == ["member", "operator"]
    shown = vigil("events", "show", "--stream", account["id"], "--json", database_url=database)
    history = json.loads(shown.stdout)["events"]
    assert [event["type"] for event in history] == [
        "user.registered",
        "user.email_verification_requested",
        "user.email_verified",
        "user.role_granted",
    ]
    assert history[0]["data"]["timezone"] == "Europe/London"
    assert history[-1]["metadata"]["actor"] == "cli"
    assert PASSWORD not in shown.stdout


def test_what_cannot_be_done_to_an_account_is_told_in_a_sentence(database: str) -> None:
    create_user(database)
    again = vigil("users", "create", "ada@example.org", "--name", "A", "--password", PASSWORD, database_url=database)
    assert (again.returncode, again.stdout) == (1, "")
    assert "has an account already" in again.stderr
    nobody = vigil("users", "grant", "bob@example.org", "admin", database_url=database)
    assert nobody.returncode == 1
    assert "has no account" in nobody.stderr
    no_role = vigil("users", "grant", "ada@example.org", "king", database_url=database)
    assert no_role.returncode == 2
    assert "member, operator, auditor or admin" in no_role.stderr
    weak = vigil("users", "create", "eve@example.org", "--name", "E", "--password", "short", database_url=database)
    assert weak.returncode == 2
    assert "Traceback" not in again.stderr + nobody.stderr + no_role.stderr + weak.stderr


def test_a_stream_is_shown_as_it_was_at_a_moment(database: str) -> None:
    account = create_user(database)
    stream = ("events", "show", "--stream", f"user-{account['id']}", "--json")
    before = json.loads(vigil(*stream, database_url=database).stdout)
    assert (before["kind"], before["version"], before["state"]["roles"]) == ("user", 3, ["member"])
    last = datetime.fromisoformat(before["events"][-1]["recorded_at"])
    vigil("users", "grant", "ada@example.org", "admin", database_url=database)
    now = json.loads(vigil(*stream, database_url=database).stdout)
    assert (len(now["events"]), now["state"]["roles"]) == (4, ["admin", "member"])
    assert json.loads(vigil(*stream, "--as-of", last.isoformat(), database_url=database).stdout) == before
    naive_utc = last.replace(tzinfo=None).isoformat()
    assert json.loads(vigil(*stream, "--as-of", naive_utc, database_url=database).stdout) == before
    assert json.loads(vigil(*stream, "--version", "3", database_url=database).stdout) == before
    sequence(database)
    at_position = json.loads(vigil(*stream, "--position", "3", database_url=database).stdout)
    assert (at_position["version"], at_position["state"]) == (3, before["state"])
    assert [event["position"] for event in at_position["events"]] == ["1", "2", "3"]
    for words in (("--version", "5"), ("--position", "5"), ("--version", "1", "--position", "1")):
        assert vigil(*stream, *words, database_url=database).returncode == 2
    too_early = vigil(*stream, "--as-of", "2020-01-01", database_url=database)
    assert too_early.returncode == 1
    for other in ("trigger", "operator"):
        none = vigil("events", "show", "--stream", f"{other}-{account['id']}", database_url=database)
        told = f"error: there is no stream {other}-{account['id']}, or there was none then\n"
        assert (none.returncode, none.stdout, none.stderr) == (1, "", told)
    people = vigil("events", "show", "--stream", account["id"], database_url=database).stdout
    assert "v1  20" in people
    assert '"email": "(sealed)"' in people
    assert "the user after v4" in people


def test_the_log_is_printed_in_its_order_from_a_position_and_by_type(database: str) -> None:
    for email in ("ada@example.org", "bob@example.org"):
        create_user(database, email)
    assert vigil("events", "replay", "--json", database_url=database).stdout == ""
    sequence(database)
    everything = documents(vigil("events", "replay", "--json", database_url=database).stdout)
    assert [event["position"] for event in everything] == [str(position) for position in range(1, 7)]
    later = vigil("events", "replay", "--json", "--from", "5", database_url=database).stdout
    assert documents(later) == everything[4:]
    verified = vigil("events", "replay", "--json", "--type", "user.email_verified", database_url=database).stdout
    assert [list(event["data"]["email"]) for event in documents(verified)] == [["sealed"], ["sealed"]]
    people = vigil("events", "tail", "--no-follow", "--limit", "2", database_url=database).stdout.splitlines()
    assert [line.split()[2] for line in people] == ["user", "verified"]
    newest = vigil("events", "tail", "--no-follow", "--limit", "2", "--json", database_url=database).stdout
    assert documents(newest) == everything[-2:]


def test_an_event_that_this_program_does_not_know_is_shown_all_the_same(database: str) -> None:
    create_user(database)
    with psycopg.connect(database) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update event set type = 'user.teleported', data = '{\"to\": \"\x9b31m Mars\"}' where version = 2"
        )
    sequence(database)
    assert "user.teleported" in vigil("events", "tail", "--no-follow", database_url=database).stdout
    replayed = vigil("events", "replay", database_url=database).stdout
    assert "user.teleported" in replayed
    assert "\x9b" not in replayed
    stream = documents(vigil("events", "replay", "--json", database_url=database).stdout)[0]["stream_id"]
    shown = vigil("events", "show", "--stream", stream, database_url=database).stdout
    assert "\x9b" not in shown
    assert "\\u009b31m Mars" in shown
    assert "no state: " in shown


def test_read_tables_are_rebuilt_and_their_lag_is_told(database: str) -> None:
    create_user(database)
    sequence(database)
    assert "no consumer" in vigil("projections", "status", database_url=database).stdout
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into checkpoint (consumer, partition) select 'core', generate_series(0, 15)")
        (status,) = json.loads(vigil("projections", "status", "--json", database_url=database).stdout)
        assert (status["consumer"], status["partitions"], status["lag_events"]) == ("core", 16, 3)
        assert "behind 3 events" in vigil("projections", "status", database_url=database).stdout
        connection.execute(
            "update checkpoint set position = partition_positions[partition + 1] from log_head where consumer = 'core'"
        )
        rebuilt = vigil("projections", "rebuild", "core", database_url=database)
        assert "core: rebuilt from 3 events" in rebuilt.stdout, rebuilt.stderr
        assert connection.execute("select email from read_model.users").fetchall() == [("ada@example.org",)]
        (told,) = documents(vigil("projections", "rebuild", "--all", "--json", database_url=database).stdout)
        assert (told["projection"], told["events"]) == ("core", 3)


@pytest.mark.parametrize(
    "words",
    [
        ("migrate", "status"),
        ("projections", "status"),
        ("events", "tail"),
        ("users", "grant", "ada@example.org", "admin"),
        ("worker", "relay"),
    ],
    ids=" ".join,
)
def test_a_database_that_does_not_answer_is_told_in_one_sentence(words: tuple[str, ...], redis_url: str) -> None:
    failed = vigil(*words, database_url="postgresql://127.0.0.1:1/nothing", redis_url=redis_url)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "the database does not answer" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_without_any_database_it_is_told_what_to_do() -> None:
    failed = vigil("migrate", "status")
    assert failed.returncode == 1
    assert "start `vigil up` or set it" in failed.stderr


def test_a_database_without_tables_is_told_in_one_sentence(empty_database: str, redis_url: str) -> None:
    for words in (("events", "tail"), ("worker", "relay"), ("users", "grant", "ada@example.org", "admin")):
        failed = vigil(*words, database_url=empty_database, redis_url=redis_url)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "vigil migrate up" in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


def test_every_mistake_in_the_configuration_is_told_and_no_password() -> None:
    failed = vigil("migrate", "up", database_url="mysql://u:s3cret@h/x", http_port="x", smtp_url="nope", mistyped="1")
    assert failed.returncode == 1
    for name in ("VIGIL_DATABASE_URL", "VIGIL_HTTP_PORT", "VIGIL_SMTP_URL"):
        assert name in failed.stderr
    assert "s3cret" not in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_variable_that_is_no_setting_is_warned_about(database: str) -> None:
    shown = vigil("migrate", "status", database_url=database, htp_port="1")
    assert shown.returncode == 0
    assert "VIGIL_HTP_PORT is not a setting" in shown.stderr


@pytest.fixture
def mail_server() -> Iterator[str]:
    """Something that greets as a mail server does."""
    listening = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        with listening, listening.accept()[0] as connection:
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.recv(64)

    thread = threading.Thread(target=greet)
    thread.start()
    yield f"smtp://127.0.0.1:{listening.getsockname()[1]}"
    thread.join(10)


def test_the_doctor_finds_everything_well(database: str, redis_url: str, mail_server: str) -> None:
    seen = vigil("doctor", "--json", database_url=database, redis_url=redis_url, smtp_url=mail_server)
    findings = {finding["check"]: finding for finding in json.loads(seen.stdout)}
    assert {name: finding["level"] for name, finding in findings.items()} == dict.fromkeys(findings, "ok")
    assert findings.keys() >= {
        "configuration", "data folder", "disk space", "PostgreSQL", "Redis", "clock", "migrations", "mail", "scheduler",
        "evaluator", "dead jobs",
    }  # fmt: skip
    assert seen.returncode == 0


def test_the_doctor_names_what_failed_with_a_cure(empty_database: str) -> None:
    seen = vigil(
        "doctor",
        database_url=empty_database,
        redis_url="redis://127.0.0.1:1",
        smtp_url="smtp://127.0.0.1:1",
        databse_url="x",
    )
    assert seen.returncode == 1
    failed = [line.split()[1] for line in seen.stdout.splitlines() if line.startswith("failed")]
    assert failed == ["Redis", "migrations", "mail"]
    assert "run `vigil migrate up`" in seen.stdout
    assert "did you mean VIGIL_DATABASE_URL?" in seen.stdout
    assert seen.stderr == ""


def test_the_doctor_sees_a_reader_that_fell_behind(database: str, redis_url: str) -> None:
    create_user(database)
    sequence(database)
    with psycopg.connect(database) as connection:
        connection.execute("insert into checkpoint (consumer, partition) select 'core', generate_series(0, 15)")
    seen = vigil("doctor", "--json", database_url=database, redis_url=redis_url)
    (core,) = [finding for finding in json.loads(seen.stdout) if finding["check"] == "core"]
    assert core["level"] == "warning"
    assert "3 events" in core["message"]
    assert "nobody works on it" in core["message"]
