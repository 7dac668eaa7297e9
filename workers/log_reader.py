"""Reading the log as every consumer does: from Redis while that is complete and true, from PostgreSQL where it is not."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from domain.log_entry import LogEntry
from workers.lifecycle import Monotonic

log = structlog.get_logger()

CHECK_SECONDS = 1.0
"""So often, news or none, a consumer compares its places with PostgreSQL's: a flushed Redis stays silently empty, and the
news of other partitions would hide it."""
BLOCK_MS = 500
"""Redis is waited for so long at a time: below the time in which a lease must be renewed."""
ANSWER_SECONDS = 0.5
"""A Redis that is later than this hangs."""
REDIS_PAUSE_SECONDS = 2.0
"""After Redis failed or hung, PostgreSQL alone is read for so long."""

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

    async def confirm(self, entries: Sequence[LogEntry]) -> set[int]:
        """The partitions of those entries that stand in the log at their places."""
        ...


class LogReader:
    """Delivers every entry after the given places, in order and without gaps within a partition.

    Redis is asked first. An entry that does not follow its predecessor, a failing or silent Redis, and the comparison
    every `CHECK_SECONDS` send the reader to PostgreSQL.

    Redis may hold what PostgreSQL no longer has, or has otherwise since, when the log was replaced by an older copy. The
    relay adds an entry only behind the one it follows in the log, so such ghosts are an end of what Redis has: when the last
    entry of a partition is confirmed by PostgreSQL, so are those before it. What is not confirmed is delivered to nobody.
    """

    def __init__(self, tail: Tail, truth: Truth, *, monotonic: Monotonic) -> None:
        self._tail = tail
        self._truth = truth
        self._monotonic = monotonic
        self._check_at = 0.0
        self._ask_redis_at = 0.0
        self._haunted: set[int] = set()

    async def read(self, after: Mapping[int, int], *, block_ms: int = BLOCK_MS) -> list[LogEntry]:
        """The next entries of the partitions in `after`, each continuing its place; may be empty."""
        seen = await self._without_ghosts(await self._from_redis(after, block_ms))
        entries = await self._close_gaps(seen, after)
        if not entries or self._monotonic() >= self._check_at:
            self._check_at = self._monotonic() + CHECK_SECONDS
            counts = Counter(entry.partition for entry in seen if entry.place > after[entry.partition])
            reached = {**after, **{entry.partition: entry.place for entry in entries}}
            # Where Redis gave as much as was asked for, it has more; that is no sign of a loss.
            entries += await self._compare_with_truth({p: reached[p] for p in after if counts[p] < BATCH_ENTRIES_MAX})
        return entries

    async def _from_redis(self, after: Mapping[int, int], block_ms: int) -> list[LogEntry]:
        if self._monotonic() < self._ask_redis_at:
            return []
        try:
            async with asyncio.timeout(block_ms / 1000 + ANSWER_SECONDS):
                return await self._tail.read(after, limit=BATCH_ENTRIES_MAX, block_ms=block_ms)
        except OSError as error:  # TimeoutError is one
            log.warning("redis does not give the log; reading postgresql", error=repr(error))
            self._ask_redis_at = self._monotonic() + REDIS_PAUSE_SECONDS
            return []

    async def _without_ghosts(self, seen: Sequence[LogEntry]) -> Sequence[LogEntry]:
        last = {entry.partition: entry for entry in seen}
        confirmed = await self._truth.confirm(list(last.values())) if last else set()
        haunted = last.keys() - confirmed
        if haunted - self._haunted:
            log.warning("redis holds entries that the log does not have", partitions=sorted(haunted))
        self._haunted = haunted
        return [entry for entry in seen if entry.partition not in haunted] if haunted else seen

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
