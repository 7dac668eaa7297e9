"""`vigil projections parked`, as an operator uses it on a running installation."""

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner

from adapters.postgres_pool import open_pool
from cli.main import app
from domain.log_entry import partition_of
from domain.monitor import MonitorPaused, MonitorRenamed
from tests.cli.vigil_process import vigil
from tests.conftest import AT
from tests.projections.test_parked_commands import MEND, NAMELESS, Crew
from tests.read_api.world import World


def on(database: str, work: Callable[[Crew], Awaitable[Any]]) -> Any:  # noqa: ANN401  what the work makes
    """Do this with a crew on the database."""

    async def with_crew() -> object:
        async with open_pool(database, size_max=5) as pool:
            return await work(Crew(World(pool)))

    return asyncio.run(with_crew())


async def stick(crew: Crew) -> UUID:
    """A monitor whose second event the read tables refuse, with one more behind it; all of it projected."""
    owner = await crew.world.person()
    monitor = await crew.world.monitor(owner)
    await crew.poison(owner, monitor, "monitor.renamed", {**NAMELESS, "name": None, "\u202e": "\x9b31m"})
    await crew.world.append(owner, monitor, MonitorRenamed(name="Later", renamed_at=AT))
    await crew.project()
    return monitor


def mend(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(MEND)


def acts(database: str) -> list[tuple[str, dict[str, Any], str]]:
    """What operators did: type, data, and who."""
    query = "select type, data, metadata->>'actor' from event where type like 'operation.%' order by seq"
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()


def test_what_is_parked_is_listed_shown_mended_and_retried(database: str, application_database: str) -> None:
    monitor = on(database, stick)
    stream = ("--stream", f"monitor-{monitor}")
    (told,) = json.loads(vigil("projections", "parked", "list", "--json", database_url=application_database).stdout)
    assert (told["consumer"], told["stream_id"], told["version"], told["behind"]) == ("core", str(monitor), 2, 1)
    people = vigil("projections", "parked", "list", "core", database_url=application_database).stdout
    assert people.startswith(f"core: monitor.renamed v2 of {monitor} at position 3, parked 2")
    assert ", 1 behind it: null value in column" in people
    shown = vigil("projections", "parked", "show", "core", *stream, database_url=application_database)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "because: null value" in shown.stdout
    assert "behind it: v3  position 4  monitor.renamed" in shown.stdout
    assert "\x9b" not in shown.stdout
    events = json.loads(
        vigil("projections", "parked", "show", "core", *stream, "--json", database_url=application_database).stdout
    )
    assert [event["version"] for event in events] == [2, 3]
    refused = vigil("projections", "parked", "retry", "core", *stream, database_url=application_database)
    assert (refused.returncode, refused.stderr) == (1, "")
    assert f"{monitor}: 0 events handled, 2 still parked: null value" in refused.stdout
    assert acts(database) == []
    mend(database)
    done = vigil("projections", "parked", "retry", "core", *stream, "--json", database_url=application_database)
    assert done.returncode == 0
    assert json.loads(done.stdout) == [{"stream_id": str(monitor), "events": 2, "error": None, "left": 0}]
    assert vigil("projections", "parked", "list", database_url=application_database).stdout == "nothing is parked\n"
    ((kind, data, actor),) = acts(database)
    assert (kind, actor) == ("operation.parked_retried", f"operator:{getpass.getuser()}")
    assert (data["projection"], data["stream"], data["events"]) == ("core", str(monitor), 2)
    with psycopg.connect(database) as connection:
        assert connection.execute("select name, version from read_model.monitors").fetchall() == [("Later", 3)]
    again = vigil("projections", "parked", "retry", "core", *stream, database_url=application_database)
    assert again.returncode == 1
    assert again.stderr == f"error: core has no parked event of the stream monitor-{monitor}\n"


def test_what_can_never_be_handled_is_given_up_with_a_reason(database: str, application_database: str) -> None:
    monitor = on(database, stick)
    words = ("projections", "parked", "skip", "core", "--stream", str(monitor), "--reason", "never valid")
    wrong = vigil(*words, "--version", "3", database_url=application_database)
    assert wrong.returncode == 1
    assert "waits for its version 2" in wrong.stderr
    skipped = vigil(*words, "--version", "2", database_url=application_database)
    assert (skipped.returncode, skipped.stderr) == (0, "")
    assert "gave up version 2" in skipped.stdout
    assert "1 wait" in skipped.stdout
    rest = vigil("projections", "parked", "retry", "core", "--all", database_url=application_database)
    assert rest.stdout == f"{monitor}: 1 events handled, nothing is parked any more\n"
    first, second = acts(database)
    assert (first[0], first[1]["reason"], first[1]["version"]) == ("operation.parked_skipped", "never valid", 2)
    assert (second[0], second[1]["events"]) == ("operation.parked_retried", 1)
    none = vigil("projections", "parked", "retry", "core", "--all", "--json", database_url=application_database)
    assert (none.returncode, none.stdout) == (0, "[]\n")


def test_a_stream_of_another_kind_than_it_is_named_by_has_nothing_parked(
    database: str, application_database: str
) -> None:
    monitor = on(database, stick)
    stream = ("core", "--stream", f"trigger-{monitor}")
    for words in (
        ("show", *stream),
        ("retry", *stream),
        ("skip", *stream, "--version", "2", "--reason", "never valid"),
    ):
        refused = vigil("projections", "parked", *words, database_url=application_database)
        told = f"error: core has no parked event of the stream trigger-{monitor}\n"
        assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", told)
    assert acts(database) == []


def test_all_streams_are_retried_what_others_refer_to_first(database: str, application_database: str) -> None:
    async def without_owner(crew: Crew) -> UUID:
        owner = UUID(int=7)
        registered = {
            "email": "x@example.org",
            "timezone": "UTC",
            "registered_at": "2026-01-01T00:00:00Z",
            "name": None,
        }
        await crew.poison(owner, owner, "user.registered", registered)
        monitor = await crew.world.monitor(owner)
        await crew.world.append(owner, monitor, MonitorPaused(paused_at=AT))
        await crew.project()
        return monitor

    monitor = on(database, without_owner)
    listed = json.loads(vigil("projections", "parked", "list", "--json", database_url=application_database).stdout)
    assert [(told["type"], told["behind"]) for told in listed] == [("user.registered", 0), ("monitor.created", 1)]
    with psycopg.connect(database) as connection:
        connection.execute("alter table read_model.users alter column name drop not null")
    done = vigil("projections", "parked", "retry", "core", "--all", "--json", database_url=application_database)
    assert [told["events"] for told in json.loads(done.stdout)] == [1, 2]
    assert len(acts(database)) == 2
    with psycopg.connect(database) as connection:
        assert connection.execute("select id, status from read_model.monitors").fetchall() == [(monitor, "paused")]


def test_a_stream_that_cannot_be_retried_at_the_moment_keeps_no_other_from_it(
    database: str, application_database: str, redis_url: str
) -> None:
    async def two_for_the_notifier(crew: Crew) -> list[UUID]:
        monitors: dict[int, UUID] = {}
        while len(monitors) < 2:
            owner = await crew.world.person()
            if partition_of(owner) in monitors:
                continue
            monitors[partition_of(owner)] = monitor = await crew.world.monitor(owner)
            change = {"from_state": "x", "to_state": "active", "evaluation_id": str(monitor), "changed_at": str(AT)}
            await crew.poison(owner, monitor, "monitor.state_changed", change)
        await crew.notify()
        async with crew.pool.connection() as connection, connection.transaction():
            await connection.execute("set local session_replication_role = replica")
            await connection.execute('update event set data = data || \'{"from_state": "inactive"}\' where version = 2')
            behind = "update checkpoint set position = 0 where consumer = 'core' and partition = %s"
            await connection.execute(behind, (next(iter(monitors)),))
        return list(monitors.values())

    first, second = on(database, two_for_the_notifier)
    words = ("projections", "parked", "retry", "notifier", "--all")
    secret = "a secret for tests that is long enough"
    done = vigil(*words, "--json", database_url=application_database, redis_url=redis_url, secret_key=secret)
    assert (done.returncode, done.stderr) == (1, "")
    waits = "others work on this at the moment, or the projector is behind; try again"
    assert json.loads(done.stdout) == [
        {"stream_id": str(first), "events": 0, "error": waits, "left": 1},
        {"stream_id": str(second), "events": 1, "error": None, "left": 0},
    ]
    again = vigil(*words, database_url=application_database, redis_url=redis_url, secret_key=secret)
    assert (again.returncode, again.stdout) == (1, f"{first}: 0 events handled, 1 still parked: {waits}\n")


def test_nothing_parked_for_the_notifier_is_told_too(database: str, application_database: str, redis_url: str) -> None:
    told = vigil("projections", "parked", "list", "notifier", "--json", database_url=application_database)
    assert told.stdout == "[]\n"
    words = ("projections", "parked", "retry", "notifier", "--all", "--json")
    secret = "a secret for tests that is long enough"
    done = vigil(*words, database_url=application_database, redis_url=redis_url, secret_key=secret)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["list", "nope"],
        ["show", "core"],
        ["show", "core", "--stream", "nope"],
        ["show", "core", "--stream", "{01890000-0000-7000-8000-000000000000}"],
        ["retry", "core", "--stream", "01890000000070008000000000000000"],
        ["retry", "core"],
        ["retry", "core", "--stream", "monitor-01890000-0000-7000-8000-000000000000", "--all"],
        ["retry", "nope", "--all"],
        ["skip", "core", "--stream", "monitor-01890000-0000-7000-8000-000000000000", "--version", "1"],
        ["skip", "core", "--stream", "01890000-0000-7000-8000-000000000000", "--version", "1", "--reason", " "],
        ["skip", "core", "--stream", "01890000-0000-7000-8000-000000000000", "--version", "1", "--reason", "a\nb"],
        ["skip", "core", "--stream", "01890000-0000-7000-8000-000000000000", "--version", "0", "--reason", "x"],
    ],
    ids=" ".join,
)
def test_wrong_use_of_parked_exits_with_2(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["projections", "parked", *words]).exit_code == 2
