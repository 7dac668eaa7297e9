"""Retention: lets go of what sources answered long ago, where the operator set a limit. Facts, quotes and hashes stay."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from workers.lifecycle import Leases, Stop, run_steps

log = structlog.get_logger()

LEASE = "retention"
LEASE_LIFETIME = timedelta(minutes=15)
REST_SECONDS = 300.0
BATCH_CONTENTS_MAX = 200
"""So many at a time: a content has up to 5 MB, and nobody waits for this."""
GRACE = timedelta(days=1)
"""When a content was read last is known to about a day; no content goes before its time."""


class KeptContents(Protocol):
    """What sources answered."""

    async def let_go(self, *, unread_since: datetime, at: datetime, limit: int) -> int:
        """Let go of up to `limit` contents that no source has had since then, nor has now; how many these were."""
        ...


class Retention:
    """One of any number: the one with the lease works, the others stand by. `keep` None: everything stays for ever."""

    def __init__(
        self,
        contents: KeptContents,
        leases: Leases,
        *,
        keep: timedelta | None,
        holder: str,
        now: Callable[[], datetime],
    ) -> None:
        self._contents = contents
        self._leases = leases
        self._keep = keep
        self._holder = holder
        self._now = now

    async def run(self, stop: Stop) -> None:
        """Let go until asked to stop, then give the lease back."""
        await run_steps("retention", self.step, stop)
        await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Let go of one batch; how many seconds to rest."""
        if self._keep is None:
            return REST_SECONDS
        if LEASE not in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME):
            return REST_SECONDS
        now = self._now()
        count = await self._contents.let_go(unread_since=now - self._keep - GRACE, at=now, limit=BATCH_CONTENTS_MAX)
        if count:
            log.info("contents of sources were let go by policy", contents=count, keep_days=self._keep.days)
        return 0.0 if count == BATCH_CONTENTS_MAX else REST_SECONDS
