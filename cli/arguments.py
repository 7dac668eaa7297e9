"""What people write on a command line: the options that several groups have, and texts as the program has them."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from cli.output import WRONG_USE, fail

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Stream = Annotated[str, typer.Option(metavar="STREAM", help="A stream's id, also as monitor-<id>.")]


def stream_id(text: str) -> UUID:
    """The id in `<uuid>` or `monitor-<uuid>`; ends the command for anything else."""
    head, _, rest = text.partition("-")
    try:
        return UUID(rest if head.isalpha() and len(head) != 8 else text)
    except ValueError:
        fail(f"{text!r} is not a stream; write its id, or monitor-<id>", code=WRONG_USE)


def moment(text: str) -> datetime:
    """A time, in UTC unless it says otherwise; ends the command for anything else."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is not a time; write for example 2026-03-01T12:00:00Z", code=WRONG_USE)
    return given if given.tzinfo else given.replace(tzinfo=UTC)
