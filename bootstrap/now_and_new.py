"""Where moments, ids and the program's own version come from; everything else is given them. It loads next to nothing, for
the sake of commands that need no more."""

from datetime import UTC, datetime
from importlib.metadata import version
from uuid import UUID

from uuid_utils.compat import uuid7


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A time-ordered id (UUIDv7, RFC 9562)."""
    return uuid7()


def program_version() -> str:
    """Which version of Vigil this is."""
    return version("vigil")
