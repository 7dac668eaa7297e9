"""A signed head: the hash the log had at a position, and a signature that says so."""

from datetime import UTC, datetime

import msgspec

STATEMENT_LABEL = "vigil signed head v1"
"""Stands first in what is signed, so that no signature made for another purpose is ever taken for one of a head."""


class SignedHead(msgspec.Struct, frozen=True):
    """What the log was, as the installation's key vouches for it.

    `hash` (32 bytes) is that of the event at `position` and covers every event up to it; `signed_at` is RFC 3339 in UTC
    with microseconds; `key_id` is the sha256 of the public key in hexadecimal; `signature` is Ed25519 (RFC 8032), 64 bytes.
    """

    position: int
    hash: bytes
    signed_at: str
    key_id: str
    signature: bytes


def head_statement(position: int, digest: bytes, signed_at: str, key_id: str) -> bytes:
    """The bytes that are signed: the label and the four values, each followed by a line feed, which none contains."""
    return f"{STATEMENT_LABEL}\n{position}\n{digest.hex()}\n{signed_at}\n{key_id}\n".encode()


def moment(at: datetime) -> str:
    """A time as the log writes it: RFC 3339 in UTC with six digits of the second. `at` has a time zone."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
