"""Publication: brings Redis to the head of the log beside the sequencing, which never waits long for it.

At most one attempt is under way. What is sequenced while Redis is slow, hangs or is away is only remembered as behind, by
partition, and read from PostgreSQL again when Redis answers; so nothing piles up here.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.log_entry import PARTITIONS, LogEntry
from workers.lifecycle import Monotonic

log = structlog.get_logger()

REDIS_PAUSE_SECONDS = 1.0
REPUBLISHED_ENTRIES_MAX = 5_000


class Log(Protocol):
    """The log in PostgreSQL."""

    async def read_kept(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        """Entries of a partition after a place, and after whatever the store has let go of: without gaps up to the last."""
        ...

    async def places(self) -> Sequence[int]:
        """The last place of each partition."""
        ...


class Publishing(Protocol):
    """The tail of the log in Redis."""

    async def publish(self, partition: int, entries: Sequence[LogEntry], *, after: LogEntry | None) -> bool:
        """Append consecutive entries behind `after`; False when the partition ends with anything else."""
        ...

    async def last(self, partition: int) -> LogEntry | None:
        """The last entry there, None when empty. Raises `ValueError` for what is no entry."""
        ...

    async def forget(self, partition: int) -> None:
        """Start a partition anew."""
        ...


class Publication:
    """What Redis has of the log, as far as this process knows."""

    def __init__(self, log: Log, tail: Publishing, *, monotonic: Monotonic) -> None:
        self._log = log
        self._tail = tail
        self._monotonic = monotonic
        self._again_at = 0.0
        self._attempt: asyncio.Task[None] | None = None
        self._last: dict[int, LogEntry] = {}
        self.behind: set[int] = set()

    def begin(self) -> None:
        """Whatever Redis has was put there by others: compare all of it with the log."""
        self.behind = set(range(PARTITIONS))

    async def offer(self, entries: Sequence[LogEntry], *, patience_seconds: float) -> None:
        """Publish what was just sequenced, or remember it as behind; returns when that is done, or goes on beside the
        caller after `patience_seconds`. Raises what went wrong with PostgreSQL; that Redis failed is only logged."""
        try:
            await self.settle(0)
        except Exception:
            self.behind |= {entry.partition for entry in entries}
            raise
        if self._attempt is not None or self._monotonic() < self._again_at:
            self.behind |= {entry.partition for entry in entries}
        elif entries or self.behind:
            behind, self.behind = self.behind, set()
            self._attempt = asyncio.create_task(self._publish(entries, behind), name="publication")
            await self.settle(patience_seconds)

    async def settle(self, seconds: float) -> None:
        """Wait up to `seconds` for the attempt under way, if there is one."""
        if self._attempt is not None and (await asyncio.wait({self._attempt}, timeout=seconds))[0]:
            ended, self._attempt = self._attempt, None
            ended.result()

    async def close(self) -> None:
        """Give up what is under way; whoever relays next brings Redis to the head."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait({self._attempt})
            self._attempt = None

    async def _publish(self, entries: Sequence[LogEntry], behind: set[int]) -> None:
        batches: dict[int, list[LogEntry]] = defaultdict(list)
        for entry in entries:
            batches[entry.partition].append(entry)
        left = behind | batches.keys()
        try:
            for partition in batches.keys() - behind:
                if await self._append(partition, batches[partition]):
                    left.discard(partition)
            heads = await self._log.places() if left else ()
            for partition in sorted(left):
                if await self._catch_up(partition, heads[partition]):
                    left.discard(partition)
            if batches and left.isdisjoint(batches):
                reached(CrashPoint.RELAY_AFTER_PUBLISHING)
        except OSError as error:
            log.warning("redis does not take the log; consumers read postgresql", error=repr(error))
            self._again_at = self._monotonic() + REDIS_PAUSE_SECONDS
        finally:
            self.behind |= left

    async def _append(self, partition: int, batch: Sequence[LogEntry]) -> bool:
        """Publish what follows what was published last; whether Redis is at its end now."""
        last = self._last.get(partition)
        if batch[0].place != (1 if last is None else last.place + 1):
            return False
        if not await self._tail.publish(partition, batch, after=last):
            return False
        self._last[partition] = batch[-1]
        return True

    async def _catch_up(self, partition: int, head: int) -> bool:
        """Bring a partition to the head after a take-over, a failure or a rival's publication; whether it is there. What
        Redis has is dropped when it is too far behind, or is not the beginning of what the log has."""
        try:
            last = await self._tail.last(partition)
            missing = await (self._tail_end(partition, head) if last is None else self._following(last, head))
        except (ValueError, _NotInTheLog) as error:
            log.warning("redis does not hold the log; filling it anew", partition=partition, head=head, why=repr(error))
            await self._tail.forget(partition)
            last, missing = None, await self._tail_end(partition, head)
        if missing and not await self._tail.publish(partition, missing, after=last):
            return False
        if end := missing[-1] if missing else last:
            self._last[partition] = end
        return True

    async def _tail_end(self, partition: int, head: int) -> list[LogEntry]:
        after_place = max(0, head - REPUBLISHED_ENTRIES_MAX)
        return await self._log.read_kept(partition, after_place=after_place, limit=REPUBLISHED_ENTRIES_MAX)

    async def _following(self, last: LogEntry, head: int) -> list[LogEntry]:
        """What the log has after `last`. Raises `_NotInTheLog` when that is too far behind, or not there."""
        if head - REPUBLISHED_ENTRIES_MAX <= last.place <= head:
            limit = REPUBLISHED_ENTRIES_MAX + 1
            found = await self._log.read_kept(last.partition, after_place=last.place - 1, limit=limit)
            if found[:1] == [last]:
                return found[1:]
        raise _NotInTheLog(f"place {last.place}")


class _NotInTheLog(Exception):
    """The log does not go on after what Redis ends with."""
