"""An event loop whose clock jumps to whatever is waited for: what takes half a minute is tested in no time at all.

For code that waits for nothing outside the process.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.SelectSelector):
    """Waits for nobody; tells how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """Its clock stands at 0 until something is waited for."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


def run_skipping(work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    """What the work comes to, and how many seconds it would have taken."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        result = runner.run(work())
        return result, runner.get_loop().time()
