"""Which partitions of the log a process works on: the living processes of a consumer share all of them evenly, each
partition has one owner at a time, by lease."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

from domain.log_entry import PARTITIONS
from workers.lifecycle import Monotonic

LEASE_LIFETIME = timedelta(seconds=3)
RENEWAL_SECONDS = 0.5
"""A process that dies is noticed after a lease's lifetime at the latest, its partitions are taken at somebody's next
renewal: together under 5 s. A living one may miss several renewals before it loses anything."""

ReadPlaces = Callable[[Sequence[int]], Awaitable[dict[int, int]]]
"""Tells how far a consumer has come in each of these partitions."""


class SharedLeases(Protocol):
    """Leases that the living divide among themselves."""

    async def share(self, names: Sequence[str], holder: str, *, members: str, lifetime: timedelta) -> dict[str, int]:
        """Be there for another `lifetime`, by a lease whose name is `members` and then `holder`; renew, give back what is
        above an even share, take what is free up to it. The epoch of each lease that is ours."""
        ...

    async def let_go(self, names: Sequence[str], holder: str) -> None:
        """Give leases back before they expire."""
        ...


class PartitionLeases:
    """The partitions of one consumer that this process owns: `epochs` has the number that fences its writes in each,
    `places` how far each was consumed."""

    def __init__(self, leases: SharedLeases, *, consumer: str, holder: str, monotonic: Monotonic) -> None:
        self._leases = leases
        self._names = {f"{consumer}:{partition}": partition for partition in range(PARTITIONS)}
        self._members = f"{consumer}/holder/"
        self._holder = holder
        self._monotonic = monotonic
        self._renew_at = 0.0
        self.epochs: dict[int, int] = {}
        self.places: dict[int, int] = {}

    @property
    def are_due(self) -> bool:
        """Whether it is time to renew: whoever is in the middle of a long batch should come to an end of it."""
        return self._monotonic() >= self._renew_at

    async def renew(self, read_places: ReadPlaces) -> bool:
        """Renew when it is time; whether what is owned changed. To be called between two batches: what was given back
        may have another owner when this returns. Places are read for partitions that are new, or were doubted."""
        changed = self.are_due and await self._share()
        unknown = [partition for partition in self.epochs if partition not in self.places]
        if unknown:
            self.places |= await read_places(unknown)
        return changed

    async def _share(self) -> bool:
        renew_at = self._monotonic() + RENEWAL_SECONDS
        names = list(self._names)
        held = await self._leases.share(names, self._holder, members=self._members, lifetime=LEASE_LIFETIME)
        epochs = {self._names[name]: epoch for name, epoch in held.items()}
        changed = epochs != self.epochs
        kept = {partition for partition, epoch in epochs.items() if self.epochs.get(partition) == epoch}
        self.places = {partition: place for partition, place in self.places.items() if partition in kept}
        self.epochs, self._renew_at = epochs, renew_at
        return changed

    def doubt_places(self) -> None:
        """Somebody else moved them: they are read again at the next renewal, be it due or not."""
        self.places = {}

    async def let_go(self) -> None:
        """Give all back and leave, so that others take over at once."""
        self.epochs, self.places = {}, {}
        await self._leases.let_go([*self._names, self._members + self._holder], self._holder)
