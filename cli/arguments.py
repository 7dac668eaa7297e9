"""What people write on a command line, as the program has it."""

from datetime import UTC, datetime
from uuid import UUID

from cli.output import WRONG_USE, fail


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
