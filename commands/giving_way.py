"""Evaluations that give their place to another one, because from now on they mostly wait for a model."""

import asyncio
from collections.abc import Callable
from typing import Any

HELD_BYTES_MAX = 64 * 2**20
"""Of documents, by all that gave way. A process takes two to three times as much for them, and 500 evaluations that wait with
the largest pages would be 5 GiB. Who does not fit keeps its place."""


class GivenWay:
    """The tasks of a process that gave their places away, until they end, with how much each holds."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], int] = {}
        self._told: list[Callable[[], None]] = []

    def __contains__(self, task: asyncio.Task[Any]) -> bool:
        return task in self._tasks

    def tell(self, told: Callable[[], None]) -> None:
        """Call this whenever another one gives way."""
        self._told.append(told)

    def give_way(self, held_bytes: int) -> None:
        """The running task does, which holds documents of that size; once is enough."""
        task = asyncio.current_task()
        fits = held_bytes + sum(self._tasks.values()) <= HELD_BYTES_MAX
        if task is not None and task not in self._tasks and fits:
            self._tasks[task] = held_bytes
            task.add_done_callback(self._tasks.pop)
            for told in self._told:
                told()
