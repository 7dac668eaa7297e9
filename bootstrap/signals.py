"""How a process is asked to stop."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from workers.lifecycle import Stop


@contextmanager
def asked_by_signals(stop: Stop) -> Iterator[None]:
    """Ask to stop on SIGINT, SIGTERM and when the terminal is closed; a second SIGINT interrupts at once."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop.ask()

    # Under nohup a closed terminal is to be ignored.
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def wait_until_asked(stop: Stop) -> None:
    """Return when somebody asked to stop."""
    while not await stop.within(3600):
        pass
