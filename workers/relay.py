"""The relay: sequences committed events and publishes them to Redis.

PostgreSQL is the truth; what could not be published is read from there by whoever misses it, so a failing Redis never
holds the log up.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from domain.log_entry import PARTITIONS, LogEntry
from workers.lifecycle import Leases, Monotonic, Stop, run_steps

log = structlog.get_logger()

LEASE = "relay"
LEASE_LIFETIME = timedelta(seconds=3)
LEASE_RENEWAL_SECONDS = 1.0
REST_SECONDS_MIN, REST_SECONDS_MAX = 0.001, 0.02
REDIS_PAUSE_SECONDS = 1.0
REPUBLISHED_ENTRIES_MAX = 5_000


class Sequencing(Protocol):
    """The log in PostgreSQL."""

    async def sequence_batch(self) -> list[LogEntry]:
        """Give positions to the next events; empty when there are none or another sequencer was faster."""
        ...

    async def is_from_another_cluster(self) -> bool:
        """Whether the store was restored into a cluster whose transaction ids are behind its own."""
        ...

    async def read(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        """Entries of a partition after a place."""
        ...

    async def places(self) -> Sequence[int]:
        """The last place of each partition."""
        ...


class Publishing(Protocol):
    """The tail of the log in Redis."""

    async def publish(self, partition: int, entries: Sequence[LogEntry]) -> int | None:
        """Append consecutive entries; the last place there when they do not follow it."""
        ...

    async def last_place(self, partition: int) -> int | None:
        """The last place there, None when empty."""
        ...

    async def forget(self, partition: int) -> None:
        """Start a partition anew."""
        ...


class StoreRestored(Exception):
    """The store was restored into a younger cluster: its transaction ids lie in this cluster's future, and new events would
    never get a position. Restore it into a cluster whose transaction counter is ahead of the highest `tx` in the table
    event; there is no repair command yet."""

    def __init__(self) -> None:
        super().__init__(" ".join((type(self).__doc__ or "").split()))


class Relay:
    """One of any number of relays: the one with the lease works, the others stand by."""

    def __init__(
        self, sequencing: Sequencing, publishing: Publishing, leases: Leases, *, holder: str, monotonic: Monotonic
    ) -> None:
        self._sequencing = sequencing
        self._publishing = publishing
        self._leases = leases
        self._holder = holder
        self._monotonic = monotonic
        self._renew_at = 0.0
        self._publish_again_at = 0.0
        self._leads = False
        self._rest = REST_SECONDS_MIN
        self._behind: set[int] = set()

    async def run(self, stop: Stop) -> None:
        """Relay until asked to stop, then give the lease back."""
        await run_steps("relay", self.step, stop)
        await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Relay one batch; how many seconds to rest."""
        if not await self._is_leader():
            return LEASE_RENEWAL_SECONDS / 2
        entries = await self._sequencing.sequence_batch()
        try:
            if entries:
                await self._publish(entries)
            if self._behind and self._monotonic() >= self._publish_again_at:
                await self._catch_up()
        except OSError as error:
            log.warning("redis does not take the log; consumers read postgresql", error=repr(error))
            self._publish_again_at = self._monotonic() + REDIS_PAUSE_SECONDS
        self._rest = REST_SECONDS_MIN if entries else min(self._rest * 1.5, REST_SECONDS_MAX)
        return self._rest

    async def _is_leader(self) -> bool:
        now = self._monotonic()
        if now < self._renew_at:
            return self._leads
        led = self._leads
        self._leads = LEASE in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME)
        self._renew_at = now + LEASE_RENEWAL_SECONDS
        if self._leads and not led:
            if await self._sequencing.is_from_another_cluster():
                raise StoreRestored
            log.info("relay leads", holder=self._holder)
            self._behind = set(range(PARTITIONS))
        return self._leads

    async def _publish(self, entries: Sequence[LogEntry]) -> None:
        by_partition: dict[int, list[LogEntry]] = defaultdict(list)
        for entry in entries:
            by_partition[entry.partition].append(entry)
        self._behind |= by_partition.keys()
        if self._monotonic() < self._publish_again_at:
            return
        for partition, batch in by_partition.items():
            if await self._publishing.publish(partition, batch) is None:
                self._behind.discard(partition)

    async def _catch_up(self) -> None:
        """Bring Redis to the head after a take-over, a failure or a rival's publication."""
        heads = await self._sequencing.places()
        for partition in sorted(self._behind):
            head, last = heads[partition], await self._publishing.last_place(partition)
            if last is not None and (last > head or head - last > REPUBLISHED_ENTRIES_MAX):
                await self._publishing.forget(partition)
                last = None
            after = max(0, head - REPUBLISHED_ENTRIES_MAX) if last is None else last
            missing = await self._sequencing.read(partition, after_place=after, limit=REPUBLISHED_ENTRIES_MAX)
            if not missing or await self._publishing.publish(partition, missing) is None:
                self._behind.discard(partition)
