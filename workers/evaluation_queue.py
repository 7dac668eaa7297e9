"""Working off the queue of evaluations: many at a time, each acknowledged only after it is recorded."""

import asyncio
from typing import Protocol

import structlog

from domain.evaluation import EvaluationJob
from workers.lifecycle import Monotonic, Stop, run_steps

log = structlog.get_logger()

CONCURRENCY = 50
BLOCK_MS = 500
TAKE_OVER_IDLE_MS = 60_000
"""Above the longest time an evaluation may take, or two workers would do the same one."""
TAKE_OVER_EVERY_SECONDS = 5.0
DRAIN_SECONDS_MAX = 35.0


class JobSource(Protocol):
    """The queue in Redis."""

    async def take(self, count: int, *, block_ms: int) -> list[tuple[str, EvaluationJob]]:
        """New jobs with their receipts."""
        ...

    async def take_over(self, count: int, *, idle_ms: int) -> list[tuple[str, EvaluationJob]]:
        """Jobs of workers that died."""
        ...

    async def done(self, receipt: str) -> None:
        """The job is finished."""
        ...


class Evaluating(Protocol):
    """What is done with a job."""

    async def evaluate(self, job: EvaluationJob) -> None:
        """Do it once and for all, or raise."""
        ...


class EvaluationQueue:
    """One of any number of workers on the queue."""

    def __init__(self, jobs: JobSource, evaluator: Evaluating, *, monotonic: Monotonic) -> None:
        self._jobs = jobs
        self._evaluator = evaluator
        self._monotonic = monotonic
        self._running: set[asyncio.Task[None]] = set()
        self._take_over_at = 0.0

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop, then finish what is running."""
        await run_steps("evaluator", self.step, stop)
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS_MAX)

    async def step(self) -> float:
        """Start jobs while there is room; how many seconds to rest."""
        room = CONCURRENCY - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return 0.0
        jobs = []
        if self._monotonic() >= self._take_over_at:
            self._take_over_at = self._monotonic() + TAKE_OVER_EVERY_SECONDS
            jobs = await self._jobs.take_over(room, idle_ms=TAKE_OVER_IDLE_MS)
        jobs = jobs or await self._jobs.take(room, block_ms=BLOCK_MS)
        for receipt, job in jobs:
            task = asyncio.create_task(self._handle(receipt, job))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return 0.0

    async def _handle(self, receipt: str, job: EvaluationJob) -> None:
        try:
            await self._evaluator.evaluate(job)
            await self._jobs.done(receipt)
        except Exception as error:  # noqa: BLE001  the job stays pending and is taken over later
            log.warning("evaluation not recorded", monitor_id=str(job.monitor_id), error=repr(error))
