"""The lanes of the queue of evaluations in one process."""

import asyncio
from collections.abc import Sequence

from workers.evaluation_queue import EvaluationQueue
from workers.lifecycle import Stop


class EvaluationLanes:
    """The lanes of the queue side by side in one process: neither waits for places of the other."""

    def __init__(self, lanes: Sequence[EvaluationQueue]) -> None:
        self._lanes = lanes

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop, then finish what is running."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes:
                tasks.create_task(lane.run(stop))
