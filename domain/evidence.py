"""Evidence: what a source answered, as it was read."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.fact import Fact


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
    `message` says what went wrong, for people. `headers` are those worth keeping, by their name in lower case; `fresh_until`
    is when the source wants to be asked again, None for at any time.
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
    headers: dict[str, str] = {}
    fresh_until: datetime | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from a content, at `read_at`: `of` tells which facts were looked for, and how; `asked` with what the source
    was asked for it; `url` where it stood, after redirects; `cost_micros` what models cost that read it (millionths of a US
    dollar); `provider` and `model` which one read, None for what is selected, and for what an earlier release remembered."""

    of: str
    facts: tuple[Fact, ...]
    read_at: datetime
    asked: str = ""
    url: str = ""
    cost_micros: int = 0
    provider: str | None = None
    model: str | None = None


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of a source's last answer: its validators, what it called its content, the content's hash, and
    until when the source said it stays."""

    validators: Validators
    content_type: str
    charset: str | None
    evidence_hash: str
    fresh_until: datetime | None = None
    reading: Reading | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A kept content: its bytes, and the headers of the answer that first brought it, at `read_at`."""

    hash: str
    body: bytes
    headers: dict[str, str]
    read_at: datetime


class LetGo(msgspec.Struct, frozen=True, kw_only=True):
    """A content that was kept until `removed_at` and then let go by policy. What was read from it stays in events."""

    hash: str
    headers: dict[str, str]
    read_at: datetime
    removed_at: datetime
