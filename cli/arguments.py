"""What people say to a command: the options that several groups have, texts as the program has them, and yes or no."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.output import WRONG_USE, fail

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Stream = Annotated[str, typer.Option(metavar="STREAM", help="A stream's id, also as monitor-<id>.")]


def moment(text: str) -> datetime:
    """A time, in UTC unless it says otherwise; ends the command for anything else."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is not a time; write for example 2026-03-01T12:00:00Z", code=WRONG_USE)
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def confirmed(question: str, *, yes: bool) -> None:
    """Go on when somebody says so, by `yes` or when asked on the terminal; ends the command for everything else."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"nobody is there to be asked; say --yes if it shall be done: {question}", code=WRONG_USE)
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)  # typer.confirm leaves a blank on standard output
    answer = sys.stdin.readline()
    if not answer:
        typer.echo(err=True)  # the question's line has no end yet
    if answer.strip().lower() not in {"y", "yes"}:
        fail("nothing was done")
