"""Times as callers give them."""

from datetime import datetime

from domain.errors import InvalidInput


def moment_given(given: datetime | None, *, field: str) -> datetime | None:
    """A moment, which needs its offset (RFC 3339, 4.4); raises `InvalidInput` without one."""
    if given is not None and given.tzinfo is None:
        raise InvalidInput("a time needs its offset, as in 2026-01-31T08:00:00Z", field=field)
    return given
