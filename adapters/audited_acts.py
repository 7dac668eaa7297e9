"""How an act of an operator is written down by whoever asks for it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

Record = Callable[[T], Awaitable[object]]
"""Writes down what is done, before it is: killed in between, an act that stays undone is written down rather than one that
is not. Whatever it raises keeps the act from being done."""


async def unrecorded(*_done: object) -> None:
    """For what nobody has to account for: tests and measurements."""
