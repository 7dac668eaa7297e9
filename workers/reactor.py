"""A reactor: acts on the world for each entry of the log that concerns it. It is never replayed; handling an entry twice
does nothing the second time, and one that cannot be handled stops nobody but what follows in its stream."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import structlog

from commands.event_store import ConcurrentAppend
from domain.crash_points import CrashPoint, reached
from domain.log_entry import LogEntry
from workers.lifecycle import Stop, run_steps
from workers.log_reader import LogReader, LogRewound
from workers.partitions import PartitionLeases

log = structlog.get_logger()

TRIES_MAX = 3
"""An entry whose handling fails so often is parked."""
REST_SECONDS = 0.02
REST_SECONDS_WITHOUT_PARTITIONS = 0.5
REST_SECONDS_WHILE_WAITING = 0.2
WAIT_STEP_SECONDS = 0.005
WAIT_SECONDS_MAX = 0.3
"""In a batch what comes later is waited for so long: well below the lifetime of a lease."""


class NotYet(Exception):
    """Somebody else must have come further before the entry can be handled; it is handled again a little later."""


class Checkpoints(Protocol):
    """How far this reactor has come, and what it parked."""

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        """The place in each partition."""
        ...

    async def held_back(self, stream_ids: Collection[UUID]) -> set[UUID]:
        """Those of the streams that have an entry parked."""
        ...

    async def move(
        self,
        new: Mapping[int, int],
        *,
        parked: Sequence[tuple[LogEntry, str]],
        behind: Sequence[LogEntry],
        places: Mapping[int, int],
        epochs: Mapping[int, int],
    ) -> bool:
        """Move, park entries with their reasons, and others behind them. False, and nothing done, when it was not ours to
        move, or a stream has nothing parked any more."""
        ...

    def is_outage(self, error: Exception) -> bool:
        """Whether an error says only that something does not answer at present."""
        ...


@dataclass(slots=True)
class Handled:
    """What was done with a batch so far: the places reached, what is to be parked and why, and what behind that."""

    places: dict[int, int] = field(default_factory=dict)
    parked: list[tuple[LogEntry, str]] = field(default_factory=list)
    behind: list[LogEntry] = field(default_factory=list)


class Reactor:
    """One of any number of reactors of a name; each partition is handled by the one that holds its lease.

    `react` handles an entry whose type is in `handles`. It raises `NotYet`, `ConcurrentAppend` or an outage for what passes
    by itself; whatever else it raises, `TRIES_MAX` times, parks the entry.
    """

    def __init__(
        self,
        reader: LogReader,
        checkpoints: Checkpoints,
        partitions: PartitionLeases,
        *,
        name: str,
        handles: Collection[str],
        react: Callable[[LogEntry], Awaitable[None]],
    ) -> None:
        self._reader = reader
        self._checkpoints = checkpoints
        self._partitions = partitions
        self._name = name
        self._handles = handles
        self._react = react
        self._waits_left = 0
        self._waiting: set[int] = set()

    async def run(self, stop: Stop) -> None:
        """React until asked to stop, then hand the partitions over."""
        await run_steps(self._name, self.step, stop)
        await self._partitions.let_go()

    async def step(self) -> float:
        """Handle one batch and move the checkpoints; how many seconds to rest."""
        if await self._partitions.renew(self._checkpoints.places):
            log.info("reactor owns partitions", reactor=self._name, partitions=sorted(self._partitions.epochs))
        if not self._partitions.places:
            return REST_SECONDS_WITHOUT_PARTITIONS
        try:
            entries = await self._reader.read(self._partitions.places)
        except LogRewound:
            self._partitions.doubt_places()
            raise
        if not entries:
            return REST_SECONDS
        # Reading may have taken until the leases are due. Renewed now, there is time to handle what was read.
        if self._partitions.are_due and await self._partitions.renew(self._checkpoints.places):
            return 0  # what was read may be somebody else's now
        batch = Handled()
        try:
            await self._handle(entries, batch)
        finally:
            await self._move(batch)
        return REST_SECONDS_WHILE_WAITING if self._waiting else 0

    async def _handle(self, entries: Sequence[LogEntry], batch: Handled) -> None:
        """Handle what concerns us, until it is time to renew the leases. A partition that has to wait comes last in the
        next batch, so that the others go on."""
        streams = {entry.stream_id for entry in entries if entry.type in self._handles}
        held_back = await self._checkpoints.held_back(streams) if streams else set()
        in_order = sorted(entries, key=lambda entry: entry.partition in self._waiting)
        self._waiting, self._waits_left = set(), round(WAIT_SECONDS_MAX / WAIT_STEP_SECONDS)
        for entry in in_order:
            if entry.partition in self._waiting:
                continue
            if entry.type in self._handles:
                try:
                    await self._handle_or_park(entry, held_back, batch)
                except NotYet:
                    self._waiting.add(entry.partition)
                    continue
            batch.places[entry.partition] = entry.place
            if self._partitions.are_due:
                return

    async def _handle_or_park(self, entry: LogEntry, held_back: set[UUID], batch: Handled) -> None:
        if entry.stream_id in held_back:
            batch.behind.append(entry)
            return
        refusal = await self._refusal(entry)
        if refusal is not None:
            held_back.add(entry.stream_id)
            batch.parked.append((entry, refusal))
        reached(CrashPoint.NOTIFIER_AFTER_APPEND)

    async def _refusal(self, entry: LogEntry) -> str | None:
        """React; None, or why that is impossible. Raises what passes by itself."""
        failures = 0
        while True:
            try:
                await self._react(entry)
            except NotYet:
                if self._waits_left == 0:
                    raise
                self._waits_left -= 1
                await asyncio.sleep(WAIT_STEP_SECONDS)
            except ConcurrentAppend:
                raise
            except Exception as error:
                if self._checkpoints.is_outage(error):
                    raise
                failures += 1
                if failures == TRIES_MAX:
                    log.exception("event parked", type=entry.type, stream_id=str(entry.stream_id))
                    return f"{type(error).__name__}: {error}"
            else:
                return None

    async def _move(self, batch: Handled) -> None:
        if not batch.places:
            return
        places, epochs = self._partitions.places, self._partitions.epochs
        if await self._checkpoints.move(
            batch.places, parked=batch.parked, behind=batch.behind, places=places, epochs=epochs
        ):
            reached(CrashPoint.NOTIFIER_AFTER_MOVE)
            places.update(batch.places)
        else:
            log.warning("the checkpoint was not ours to move; reading it again", worker=self._name)
            self._partitions.doubt_places()
