"""Which partitions of the log a consumer works on: each partition has one owner at a time, by lease."""

from datetime import timedelta

from domain.log_entry import PARTITIONS
from workers.lifecycle import Leases, Monotonic

LEASE_LIFETIME = timedelta(seconds=3)
RENEWAL_SECONDS = 1.0


class PartitionLeases:
    """The partitions of one consumer that this process owns, with the epoch that fences its writes."""

    def __init__(self, leases: Leases, *, consumer: str, holder: str, monotonic: Monotonic) -> None:
        self._leases = leases
        self._names = {f"{consumer}:{partition}": partition for partition in range(PARTITIONS)}
        self._holder = holder
        self._monotonic = monotonic
        self._renew_at = 0.0
        self.epochs: dict[int, int] = {}

    async def renew(self) -> bool:
        """Renew when it is time; whether what is owned changed. `epochs` holds partition -> epoch afterwards."""
        now = self._monotonic()
        if now < self._renew_at:
            return False
        self._renew_at = now + RENEWAL_SECONDS
        held = await self._leases.hold(list(self._names), self._holder, lifetime=LEASE_LIFETIME)
        epochs = {self._names[name]: epoch for name, epoch in held.items()}
        changed = epochs != self.epochs
        self.epochs = epochs
        return changed

    async def let_go(self) -> None:
        """Give all back, so that others take over at once."""
        self.epochs = {}
        await self._leases.let_go(list(self._names), self._holder)
