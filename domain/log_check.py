"""What came of comparing a part of the log with its hash chain and its signatures."""

from uuid import UUID

import msgspec


class LogCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The positions from `first` to `last` of a log that ended at `head`, and whether they hold.

    `hash` is that of position `last`, in hexadecimal; `signed` the last position that one of the `signed_heads` in this
    part vouches for, at `signed_at` with the key `key_id`. `signatures_checked` is false where whoever checked has no key.
    When it does not hold, `fault` is a stable word for what was done, `message` tells it, `position` is where it shows and
    `since` the earliest position it may have been done at; `stream_id` and `version` name the event, where it is known.
    """

    holds: bool
    first: int
    last: int
    head: int
    hash: str | None = None
    signatures_checked: bool
    signed_heads: int = 0
    signed: int | None = None
    signed_at: str | None = None
    key_id: str | None = None
    fault: str | None = None
    message: str | None = None
    position: int | None = None
    since: int | None = None
    stream_id: UUID | None = None
    version: int | None = None
