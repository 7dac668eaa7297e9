"""The command line tells how it is used, at once, and says 2 to wrong use."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
import typer
from typer.testing import CliRunner

from cli.main import app

runner = CliRunner()


def commands() -> Iterator[list[str]]:
    """The words of every command and group."""

    def below(group: typer.Typer, words: list[str]) -> Iterator[list[str]]:
        yield words
        for command in group.registered_commands:
            yield [*words, command.name or (command.callback.__name__ if command.callback else "")]
        for inner in group.registered_groups:
            assert inner.typer_instance is not None
            yield from below(inner.typer_instance, [*words, str(inner.name)])

    return below(app, [])


def test_every_command_of_the_contract_is_there() -> None:
    there = {" ".join(words) for words in commands()}
    assert there >= {
        "up", "api", "worker", "doctor", "migrate up", "migrate down", "migrate status", "users create", "users grant",
        "projections status", "projections rebuild", "events tail", "events show", "events replay",
        "login", "logout", "monitors add", "monitors list", "monitors show", "monitors evaluate",
    }  # fmt: skip


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_of_every_command_has_an_example_of_it(words: list[str]) -> None:
    shown = runner.invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert f"Example: vigil {' '.join(words)}".strip() in shown.output


@pytest.mark.parametrize(
    "words",
    [
        ["nope"],
        ["worker"],
        ["worker", "nope"],
        ["migrate", "down", "--steps", "0", "--yes"],
        ["users", "create", "ada@example.org"],
        ["users", "create", "nobody", "--name", "Nobody"],
        ["users", "grant", "nobody", "admin"],
        ["projections", "rebuild"],
        ["projections", "rebuild", "core", "--all"],
        ["projections", "rebuild", "nope"],
        ["monitors", "add"],
        ["monitors", "show"],
        ["monitors", "evaluate", "Kettle", "--seconds", "0"],
        ["events", "show"],
        ["events", "show", "--stream", "nope"],
        ["events", "show", "--stream", "{01890000-0000-7000-8000-000000000000}"],
        ["events", "show", "--stream", "urn:uuid:01890000-0000-7000-8000-000000000000"],
        ["events", "show", "--stream", "01890000000070008000000000000000"],
        ["events", "show", "--stream", "monitor-01890000-0000-7000-8000-000000000000", "--as-of", "yesterday"],
        ["events", "replay", "--from", "0"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_with_2_before_anything_is_set_up(words: list[str]) -> None:
    before = structlog.get_config()
    assert runner.invoke(app, words).exit_code == 2
    assert structlog.get_config() == before


def test_help_loads_nothing_heavy() -> None:
    """What makes it slow is imports; a time measured here would say more about the machine."""
    heavy = "{'pydantic', 'litestar', 'psycopg', 'aiohttp', 'msgspec', 'structlog', 'redis'}"
    check = f"import sys, cli.main; sys.exit(str({heavy} & set(sys.modules) or ''))"
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert loaded.stderr.strip() == ""


def test_the_version_is_told() -> None:
    assert runner.invoke(app, ["--version"]).output.startswith("vigil 0.")
