"""How a worker runs: step after step until it is told to stop, never silent about what failed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

log = structlog.get_logger()

FAILURE_PAUSE_SECONDS = 0.5
FAILURE_PAUSE_SECONDS_MAX = 10.0


class Leases(Protocol):
    """What only one worker may do at a time."""

    async def hold(self, names: Sequence[str], holder: str, *, lifetime: timedelta) -> dict[str, int]:
        """Take or renew; the epoch of each lease that is ours, the others are somebody else's."""
        ...

    async def let_go(self, names: Sequence[str], holder: str) -> None:
        """Give leases back before they expire."""
        ...


class Monotonic(Protocol):
    """A clock for durations, in seconds."""

    def __call__(self) -> float:
        """Seconds since some fixed moment."""
        ...


class Stop:
    """Asks workers to finish what they hold and end."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask; can be asked any number of times."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    async def within(self, seconds: float) -> bool:
        """Wait up to `seconds`; whether somebody asked to stop meanwhile."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return self.asked
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        return True


async def run_steps(name: str, step: Callable[[], Awaitable[float]], stop: Stop) -> None:
    """Call `step` until asked to stop; it returns how many seconds to rest before the next.

    A step that raises is logged and tried again after a pause that doubles up to `FAILURE_PAUSE_SECONDS_MAX`: a worker
    outlives every outage of what it depends on, and one bad item never ends it.
    """
    pause = FAILURE_PAUSE_SECONDS
    while not stop.asked:
        try:
            rest = await step()
            pause = FAILURE_PAUSE_SECONDS
        except Exception as error:  # noqa: BLE001  whatever it was, the worker must go on
            log.warning("worker step failed", worker=name, error=repr(error), retry_seconds=pause)
            rest, pause = pause, min(pause * 2, FAILURE_PAUSE_SECONDS_MAX)
        if await stop.within(rest):
            break
