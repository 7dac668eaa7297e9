"""The projector: keeps the read tables in step with the log."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.log_entry import LogEntry
from projections.projection import CannotApply
from workers.lifecycle import Stop, run_steps
from workers.log_reader import LogReader, LogRewound
from workers.partitions import PartitionLeases

log = structlog.get_logger()

REST_SECONDS_WITHOUT_PARTITIONS = 0.5
REST_SECONDS_WITHOUT_NEWS = 0.02
SLICE_ENTRIES_MAX = 2_000
"""So many entries are applied in one transaction; between two the leases are renewed when it is time."""


class ReadTables(Protocol):
    """The read tables and the checkpoints that move with them."""

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """How far the tables have come in each partition."""
        ...

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """Change the tables by `entries` and move the checkpoints from `places`, in one transaction. The new places, or
        None when somebody else moved a checkpoint meanwhile: then nothing was written."""
        ...

    async def park(
        self, entry: LogEntry, error: str, *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """Keep an entry aside and move past it; None as for `apply`."""
        ...


class CheckpointMoved(Exception):
    """Somebody else moved a checkpoint; what follows in this batch is to be read again."""


class Projector:
    """One of any number of projectors; each partition is projected by the one that holds its lease.

    The checkpoint's compare-and-set, not the lease, is what keeps a zombie from writing.
    """

    def __init__(self, reader: LogReader, tables: ReadTables, partitions: PartitionLeases) -> None:
        self._reader = reader
        self._tables = tables
        self._partitions = partitions

    async def run(self, stop: Stop) -> None:
        """Project until asked to stop, then hand the partitions over."""
        await run_steps("projector", self.step, stop)
        await self._partitions.let_go()

    async def step(self) -> float:
        """Project one batch; how many seconds to rest."""
        await self._renew()
        if not self._partitions.places:
            return REST_SECONDS_WITHOUT_PARTITIONS
        try:
            entries = await self._reader.read(self._partitions.places)
            for start in range(0, len(entries), SLICE_ENTRIES_MAX):
                if start and await self._renew():
                    break  # what is left may be somebody else's now
                await self._apply(entries[start : start + SLICE_ENTRIES_MAX])
        except LogRewound:
            self._partitions.doubt_places()
            raise
        except CheckpointMoved:
            self._partitions.doubt_places()
            log.warning("another projector moved the checkpoint; reading it again")
            return 0
        return 0 if entries else REST_SECONDS_WITHOUT_NEWS

    async def _renew(self) -> bool:
        """Renew the leases when it is time; whether other partitions are ours now."""
        changed = await self._partitions.renew(self._tables.places)
        if changed:
            log.info("projector owns partitions", partitions=sorted(self._partitions.epochs))
        return changed

    async def _apply(self, entries: Sequence[LogEntry]) -> None:
        """Apply a batch. One that the tables refuse is halved until the entry that they refuse stands alone; that one is
        parked, and everything else goes on."""
        places, epochs = self._partitions.places, self._partitions.epochs
        try:
            moved = await self._tables.apply(entries, places=places, epochs=epochs)
        except CannotApply as refusal:
            if len(entries) > 1:
                half = len(entries) // 2
                await self._apply(entries[:half])
                await self._apply(entries[half:])
                return
            log.exception("event parked", type=entries[0].type, stream_id=str(entries[0].stream_id))
            moved = await self._tables.park(entries[0], str(refusal), places=places, epochs=epochs)
        if moved is None:
            raise CheckpointMoved
        reached(CrashPoint.PROJECTOR_AFTER_COMMIT)
        places.update(moved)
