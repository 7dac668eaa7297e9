"""The notary: signs the head of the log now and then, so that the past cannot be rewritten without the signing key.

It signs only what continues what was signed before. A log that was rewritten or cut by somebody who can write to the
database gets no further signature, and an error in the logs.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.signed_head import SignedHead
from workers.lifecycle import Leases, Monotonic, Stop, run_steps

log = structlog.get_logger()

LEASE = "notary"
LEASE_LIFETIME = timedelta(seconds=15)
LEASE_RENEWAL_SECONDS = 5.0
INTERVAL = timedelta(seconds=60)
"""What lies after the last signature could be rewritten unseen; this is how long that is."""


class LogRewritten(Exception):
    """The log is no longer what was signed."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        super().__init__(f"the log is not what was signed at position {position}: {reason}; see `vigil events verify`")


class SignedHeads(Protocol):
    """What was signed, and the log it was signed of."""

    async def log_position(self) -> int:
        """The position of the log's last event, 0 for an empty log."""
        ...

    async def log_hash(self, position: int) -> bytes | None:
        """The hash the log has at a position, None when it has no such position."""
        ...

    async def last(self, *, until: int | None = None) -> SignedHead | None:
        """The head signed at the highest position, up to `until` if given."""
        ...

    async def keep(self, head: SignedHead) -> SignedHead:
        """Keep a head, unless one of this position was kept before; the one that is kept."""
        ...


class Signing(Protocol):
    """The installation's key."""

    @property
    def key_id(self) -> str:
        """Which key it is."""
        ...

    def sign_head(self, position: int, digest: bytes, at: datetime) -> SignedHead:
        """Say what the log's hash was at a position."""
        ...

    def vouches_for(self, head: SignedHead) -> bool:
        """Whether this key signed the head."""
        ...


class Notary:
    """One of any number of notaries: the one with the lease works, the others stand by."""

    def __init__(
        self,
        heads: SignedHeads,
        signing: Signing,
        leases: Leases,
        *,
        holder: str,
        now: Callable[[], datetime],
        monotonic: Monotonic,
        interval: timedelta = INTERVAL,
    ) -> None:
        self._heads = heads
        self._signing = signing
        self._leases = leases
        self._holder = holder
        self._now = now
        self._monotonic = monotonic
        self._interval = interval
        self._due_at = 0.0
        self._remembered: SignedHead | None = None

    async def run(self, stop: Stop) -> None:
        """Sign until asked to stop, then give the lease back."""
        await run_steps("notary", self.step, stop)
        await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Sign the head when that is due; how many seconds to rest."""
        if LEASE not in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME):
            return LEASE_RENEWAL_SECONDS
        now = self._monotonic()
        if now >= self._due_at:
            try:
                await self.sign_head()
            except LogRewritten as error:
                log.error("the log was rewritten; it gets no signature", position=error.position, error=str(error))  # noqa: TRY400  the traceback says nothing
            self._due_at = now + self._interval.total_seconds()
        return max(0.0, min(LEASE_RENEWAL_SECONDS, self._due_at - now))

    async def sign_head(self) -> SignedHead | None:
        """Sign the log's present end; the signature there is when it did not move, None for an empty log.

        Raises `LogRewritten` when the log ends before a position that was signed, or what `sign` raises.
        """
        last = await self._heads.last()
        position = await self._heads.log_position()
        if last is not None and position < last.position:
            raise LogRewritten(last.position, f"it ends at position {position} now")
        return await self.sign(position) if position else None

    async def sign(self, position: int) -> SignedHead:
        """Sign the log's hash at a position; the signature there is, if it was signed before.

        Raises `LogRewritten` when the log has another hash than was signed at the last signed position up to this one,
        when that signature is not this key's, or when a signature that this notary made is gone.
        """
        before = await self._heads.last(until=position)
        if before is not None:
            await self._check(before)
        if self._remembered is not None and self._remembered.position <= position:
            await self._check_remembered(self._remembered)
        if before is not None and before.position == position:
            return before
        digest = await self._heads.log_hash(position)
        if digest is None:
            raise LogRewritten(position, "this position is not there")
        signed = self._signing.sign_head(position, digest, self._now())
        reached(CrashPoint.NOTARY_BEFORE_KEEPING)
        kept = await self._heads.keep(signed)
        if self._remembered is None or kept.position > self._remembered.position:
            self._remembered = kept
        return kept

    async def _check(self, head: SignedHead) -> None:
        """The log goes on from this head. A head of another key, from before the key was changed, is compared only."""
        if head.key_id == self._signing.key_id and not self._signing.vouches_for(head):
            raise LogRewritten(head.position, "the signature that is kept is not this key's")
        if await self._heads.log_hash(head.position) != head.hash:
            raise LogRewritten(head.position, "it has another hash there")

    async def _check_remembered(self, head: SignedHead) -> None:
        """What this process signed itself cannot be taken out of the database unseen."""
        if await self._heads.last(until=head.position) != head:
            raise LogRewritten(head.position, "the signature that was made is gone")
