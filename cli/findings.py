"""What `vigil doctor` found out, one thing at a time."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How well a thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one thing; `cure` says what to do unless it is ok."""

    check: str
    level: Level
    message: str
    cure: str | None = None


def graded(check: str, message: str, cure: str, *, bad: bool, low: bool) -> Finding:
    """Failed when it is bad, else a warning when it is low, else ok."""
    if bad:
        return failed(check, message, cure)
    return warning(check, message, cure) if low else ok(check, message)


def ok(check: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(check=check, level=Level.OK, message=message)


def warning(check: str, message: str, cure: str) -> Finding:
    """It works, but somebody should look."""
    return Finding(check=check, level=Level.WARNING, message=message, cure=cure)


def failed(check: str, message: str, cure: str) -> Finding:
    """It does not work."""
    return Finding(check=check, level=Level.FAILED, message=message, cure=cure)
