"""A log entry: an event with its place in the log, as it travels from the relay to the consumers."""

from uuid import UUID

import msgspec

PARTITIONS = 16


class LogEntry(msgspec.Struct, frozen=True, array_like=True):
    """One sequenced event in stored form.

    `place` is its position within `partition` (dense from 1), `position` the one in the whole log (dense from 1);
    `data` and `metadata` are JSON texts; `recorded_at` is RFC 3339 in UTC with microseconds.
    """

    partition: int
    place: int
    position: int
    stream_id: UUID
    version: int
    owner_id: UUID
    type: str
    type_version: int
    data: str
    metadata: str
    event_id: UUID
    recorded_at: str


def partition_of(owner_id: UUID) -> int:
    """The partition that holds everything of one person, in one order. The last byte of a UUIDv7 is random."""
    return owner_id.bytes[15] % PARTITIONS
