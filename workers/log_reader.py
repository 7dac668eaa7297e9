"""Reading the log as every consumer does: from Redis while that is complete, from PostgreSQL where it is not."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.log_entry import LogEntry
from workers.lifecycle import Monotonic

CHECK_SECONDS = 1.0
"""So often, news or none, a consumer compares its places with PostgreSQL's: a flushed Redis stays silently empty, and the
news of other partitions would hide it."""
BLOCK_MS = 1000

BATCH_ENTRIES_MAX = 500


class Tail(Protocol):
    """The tail of the log in Redis."""

    async def read(self, after: Mapping[int, int], *, limit: int, block_ms: int) -> list[LogEntry]:
        """Entries after the given places, waiting up to `block_ms` for the first. Raises `OSError` while Redis is away."""
        ...


class Truth(Protocol):
    """The whole log in PostgreSQL."""

    async def read(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        """Entries of a partition after a place."""
        ...

    async def places(self) -> Sequence[int]:
        """The last place of each partition."""
        ...


class LogReader:
    """Delivers every entry after the given places, in order and without gaps within a partition.

    Redis is asked first. An entry that does not follow its predecessor, a failing or silent Redis, and the comparison
    every `CHECK_SECONDS` send the reader to PostgreSQL.
    """

    def __init__(self, tail: Tail, truth: Truth, *, monotonic: Monotonic) -> None:
        self._tail = tail
        self._truth = truth
        self._monotonic = monotonic
        self._check_at = 0.0

    async def read(self, after: Mapping[int, int], *, block_ms: int = BLOCK_MS) -> list[LogEntry]:
        """The next entries of the partitions in `after`, each continuing its place; may be empty."""
        try:
            seen = await self._tail.read(after, limit=BATCH_ENTRIES_MAX, block_ms=block_ms)
        except OSError:
            seen = []
        entries = await self._close_gaps(seen, after)
        if not entries or self._monotonic() >= self._check_at:
            self._check_at = self._monotonic() + CHECK_SECONDS
            reached = {**after, **{entry.partition: entry.place for entry in entries}}
            entries += await self._compare_with_truth(reached)
        return entries

    async def _close_gaps(self, seen: Sequence[LogEntry], after: Mapping[int, int]) -> list[LogEntry]:
        places = dict(after)
        complete: list[LogEntry] = []
        for entry in seen:
            place = places[entry.partition]
            if entry.place <= place:
                continue
            if entry.place > place + 1:
                gap = min(entry.place - place - 1, BATCH_ENTRIES_MAX)
                missing = await self._truth.read(entry.partition, after_place=place, limit=gap)
                complete.extend(missing)
                places[entry.partition] = missing[-1].place if missing else place
                if places[entry.partition] + 1 != entry.place:
                    continue
            complete.append(entry)
            places[entry.partition] = entry.place
        return complete

    async def _compare_with_truth(self, after: Mapping[int, int]) -> list[LogEntry]:
        heads = await self._truth.places()
        missing: list[LogEntry] = []
        for partition, place in after.items():
            if heads[partition] > place:
                missing.extend(await self._truth.read(partition, after_place=place, limit=BATCH_ENTRIES_MAX))
            if heads[partition] < place:
                raise LogRewound(partition, place, heads[partition])
        return missing


class LogRewound(Exception):
    """The log ends before what was already consumed: the store was replaced by an older copy."""

    def __init__(self, partition: int, place: int, head: int) -> None:
        super().__init__(f"partition {partition} was consumed up to {place}, but the log ends at {head}")
