"""Evidence: what a source answered, as it was read."""

from datetime import datetime
from enum import StrEnum

import msgspec


class FetchOutcome(StrEnum):
    """How reading a source ended. Only `ok` and `not_modified` can lead to a verdict; a block is never a change."""

    OK = "ok"
    NOT_MODIFIED = "not_modified"
    BLOCKED = "blocked"
    GONE = "gone"
    SLOW = "slow"
    TOO_LARGE = "too_large"
    WRONG_TYPE = "wrong_type"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"


class Validators(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a conditional request (RFC 9110, section 13): the last answer's ETag and Last-Modified."""

    etag: str | None = None
    last_modified: str | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a source.

    `url` is the address after redirects; `body` the decoded bytes (empty unless `ok`); `hash` their SHA-256 (hex);
    `message` says what went wrong, for people.
    """

    url: str
    outcome: FetchOutcome
    fetched_at: datetime
    status: int | None = None
    content_type: str = ""
    charset: str | None = None
    body: bytes = b""
    hash: str | None = None
    validators: Validators = Validators()
    message: str | None = None


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of a source's last answer: its validators, what it called its content, and the content's hash."""

    validators: Validators
    content_type: str
    charset: str | None
    evidence_hash: str
