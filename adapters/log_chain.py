"""Following the log's hash chain from event to event and signature to signature, and what can be found on the way."""

from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec

from adapters.log_export_format import LoggedEvent
from adapters.postgres_log import link
from domain.signed_head import SignedHead


class Fault(StrEnum):
    """What was done to a log."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    REWRITTEN = "rewritten"  # changed, removed or inserted, and the hashes after it computed again
    FORGED = "forged"  # a signature that is not the key's
    UNSIGNED = "unsigned"
    MALFORMED = "malformed"  # not an exported log at all


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first thing that is wrong.

    `position` is where it shows, `line` the line of the file. `since` is the earliest position it may have been done at:
    another than `position` only when the hashes after it may have been computed again, for then nothing but the last good
    signature before it is certain. `stream_id` and `version` name the event where a store is looked at; one that is not in
    the log has no position.
    """

    fault: Fault
    message: str
    position: int | None = None
    since: int | None = None
    line: int | None = None
    stream_id: UUID | None = None
    version: int | None = None


class LogBroken(Exception):
    """The log is not what it was."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was proved: the events from `first` to `last` make one chain that ends in `hash` (hexadecimal), and up to
    `signed` they are what they were when that was signed at `signed_at` (None: nothing is signed)."""

    first: int
    last: int
    hash: str
    signed_heads: int
    signed: int | None
    signed_at: str | None
    key_id: str | None


class TrustedKeys(Protocol):
    """The public keys of whoever checks."""

    def __contains__(self, key_id: object) -> bool:
        """Whether a key is among them."""
        ...

    def vouch_for(self, head: SignedHead) -> bool:
        """Whether one of them signed this."""
        ...


class Chain:
    """How far a log was followed: `position` and `hash` are those of the last event, `signed` is the last position a
    signature vouches for, `heads` how many there were."""

    def __init__(self, first: int, previous_hash: bytes, keys: TrustedKeys) -> None:
        self.first = first
        self.position, self.hash = first - 1, previous_hash
        self.signed, self.heads = first - 1, 0
        self._keys = keys
        self._last_head: SignedHead | None = None

    @property
    def next(self) -> int:
        """The position that must follow."""
        return self.position + 1

    def fits(self, event: LoggedEvent) -> bool:
        """Whether the event is the next one, and gives its hash."""
        return event.entry.position == self.next and link(self.hash, event.entry) == event.hash

    def take(self, event: LoggedEvent) -> None:
        """Go on to an event that fits."""
        self.position, self.hash = event.entry.position, event.hash

    def take_head(self, head: SignedHead, *, line: int | None = None) -> None:
        """Compare what was signed of the present position. Raises `LogBroken`."""
        self.check_signature(head, line=line)
        if head.hash != self.hash:
            raise broken(
                Fault.REWRITTEN,
                f"what was signed at position {head.position} is another past: {positions(self.signed + 1, head.position)}"
                " rewritten, and the hashes computed again",
                head.position,
                since=self.signed + 1,
                line=line,
            )
        self.signed, self._last_head = head.position, head
        self.heads += 1

    def check_signature(self, head: SignedHead, *, line: int | None = None) -> None:
        """Raise `LogBroken` when none of the keys signed this."""
        if head.key_id not in self._keys:
            message = f"the head of position {head.position} is signed with the key {head.key_id}, which was not given"
            raise broken(Fault.FORGED, message, head.position, line=line)
        if not self._keys.vouch_for(head):
            message = f"the signature of the head of position {head.position} is not the key's"
            raise broken(Fault.FORGED, message, head.position, line=line)

    def verified(self) -> Verified:
        """What was proved so far."""
        head = self._last_head
        return Verified(
            first=self.first,
            last=self.position,
            hash=self.hash.hex(),
            signed_heads=self.heads,
            signed=None if head is None else head.position,
            signed_at=None if head is None else head.signed_at,
            key_id=None if head is None else head.key_id,
        )


def broken(
    fault: Fault,
    message: str,
    position: int | None,
    *,
    since: int | None = None,
    line: int | None = None,
    stream_id: UUID | None = None,
    version: int | None = None,
) -> LogBroken:
    """The exception with its finding."""
    finding = Finding(
        fault=fault,
        message=message,
        position=position,
        since=position if since is None else since,
        line=line,
        stream_id=stream_id,
        version=version,
    )
    return LogBroken(finding)


def positions(first: int, last: int) -> str:
    """The subject of a sentence."""
    return f"position {first} was" if first >= last else f"positions {first} to {last} were"
