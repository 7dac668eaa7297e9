"""Work that several want at once is done once."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TooLate(Exception):
    """The work of others was not done in time."""


@dataclass(slots=True)
class _Flight(Generic[T]):
    """Work under way, and how many wait for it."""

    task: asyncio.Task[T]
    waiting: int = 0


@dataclass(slots=True)
class SingleFlight(Generic[T]):
    """Work under way in this process, by what tells it from other work."""

    _under_way: dict[bytes, _Flight[T]] = field(default_factory=dict)

    async def join(
        self, key: bytes, start: Callable[[], Coroutine[Any, Any, T]], *, until: float | None = None
    ) -> tuple[T, bool]:
        """What comes of the work, and whether it was started for this caller. It ends alike for all who wait, also with an
        exception. Whoever stops waiting stops it for nobody else; when nobody waits any more it is cancelled. Who did not
        start it waits until `until` (time of the running loop, in seconds) at the latest, and then raises `TooLate`."""
        flight = self._under_way.get(key)
        leads = flight is None
        if flight is None:
            flight = self._under_way[key] = _Flight(asyncio.create_task(start()))
        flight.waiting += 1
        wait_seconds = None if leads or until is None else max(0.0, until - asyncio.get_running_loop().time())
        try:
            done, _ = await asyncio.wait({flight.task}, timeout=wait_seconds)
            if not done:
                raise TooLate
            return flight.task.result(), leads
        finally:
            flight.waiting -= 1
            if self._under_way.get(key) is flight and (flight.task.done() or not flight.waiting):
                del self._under_way[key]
            if not flight.waiting:
                flight.task.cancel()
                await asyncio.gather(flight.task, return_exceptions=True)
