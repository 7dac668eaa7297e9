"""The relay: sequences committed events and publishes them to Redis.

PostgreSQL is the truth; what could not be published is read from there by whoever misses it, so a Redis that fails or
hangs never holds the log up.
"""

from datetime import timedelta
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.log_entry import LogEntry
from domain.log_state import REPAIR, RESTORED, EventsLost
from workers.lifecycle import Leases, Monotonic, Stop, run_steps
from workers.publication import Log, Publication, Publishing

log = structlog.get_logger()

LEASE = "relay"
LEASE_LIFETIME = timedelta(seconds=3)
LEASE_RENEWAL_SECONDS = 1.0
REST_SECONDS_MIN, REST_SECONDS_MAX = 0.001, 0.02
PUBLICATION_PATIENCE_SECONDS = 0.05
"""Publishing is waited for so long, then it goes on beside the sequencing."""
LAST_PUBLICATION_SECONDS = 1.0


class Sequencing(Log, Protocol):
    """The log in PostgreSQL."""

    async def sequence_batch(self) -> list[LogEntry]:
        """Give positions to the next events; empty when there are none or another sequencer was faster. Raises `EventsLost`."""
        ...

    async def is_from_another_cluster(self) -> bool:
        """Whether the store was restored into a cluster whose transaction ids are behind its own, or lost events."""
        ...


class StoreRestored(Exception):
    """The store was restored into another cluster, whose transaction ids do not go on from its own, so that new events would
    be lost or come before old ones; or it lost events that had positions."""

    def __init__(self) -> None:
        super().__init__(f"{RESTORED}; {REPAIR}")


class Relay:
    """One of any number of relays: the one with the lease works, the others stand by."""

    def __init__(
        self, sequencing: Sequencing, publishing: Publishing, leases: Leases, *, holder: str, monotonic: Monotonic
    ) -> None:
        self._sequencing = sequencing
        self._publication = Publication(sequencing, publishing, monotonic=monotonic)
        self._leases = leases
        self._holder = holder
        self._monotonic = monotonic
        self._renew_at = 0.0
        self._leads = False
        self._rest = REST_SECONDS_MIN

    async def run(self, stop: Stop) -> None:
        """Relay until asked to stop, then give the lease back."""
        try:
            await run_steps("relay", self.step, stop)
            await self._publication.settle(LAST_PUBLICATION_SECONDS)
        finally:
            await self._publication.close()
            await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Relay one batch; how many seconds to rest."""
        if not await self._is_leader():
            return LEASE_RENEWAL_SECONDS / 2
        try:
            entries = await self._sequencing.sequence_batch()
        except EventsLost:
            self._leads, self._renew_at = False, 0.0
            raise
        if entries:
            reached(CrashPoint.RELAY_AFTER_SEQUENCING)
        await self._publication.offer(entries, patience_seconds=PUBLICATION_PATIENCE_SECONDS)
        self._rest = REST_SECONDS_MIN if entries else min(self._rest * 1.5, REST_SECONDS_MAX)
        return self._rest

    async def _is_leader(self) -> bool:
        now = self._monotonic()
        if now < self._renew_at:
            return self._leads
        leads = LEASE in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME)
        if leads and not self._leads:
            if await self._sequencing.is_from_another_cluster():
                raise StoreRestored
            log.info("relay leads", holder=self._holder)
            self._publication.begin()
        self._leads, self._renew_at = leads, now + LEASE_RENEWAL_SECONDS
        return leads
