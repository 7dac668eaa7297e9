"""Working off the queue of evaluations: many at a time, each acknowledged only after it is recorded."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.evaluation import EvaluationJob
from workers.lifecycle import Monotonic, Stop, run_steps

log = structlog.get_logger()

CONCURRENCY = 50
BLOCK_MS = 500
TAKE_OVER_IDLE_MS = 10_000
"""A living worker renews its claims every `RENEWAL_SECONDS`, so a job idle for this long belongs to a dead one, however
long an evaluation may take."""
RENEWAL_SECONDS = 2.0
DRAIN_SECONDS_MAX = 35.0


class JobSource(Protocol):
    """The queue in Redis."""

    async def take(self, count: int, *, block_ms: int) -> list[tuple[str, EvaluationJob]]:
        """New jobs with their receipts."""
        ...

    async def take_over(self, count: int, *, idle_ms: int) -> list[tuple[str, EvaluationJob]]:
        """Jobs of workers that died."""
        ...

    async def renew(self, receipts: Sequence[str]) -> None:
        """These are still being worked on."""
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
        self._running: dict[asyncio.Task[None], str] = {}
        self._renew_at = 0.0

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop, then finish what is running."""
        await run_steps("evaluator", self.step, stop)
        deadline = self._monotonic() + DRAIN_SECONDS_MAX
        while self._running and self._monotonic() < deadline:
            await asyncio.wait(self._running, timeout=RENEWAL_SECONDS)
            with suppress(OSError):  # without Redis a job may be done twice, which records it once
                await self._jobs.renew(list(self._running.values()))

    async def step(self) -> float:
        """Start jobs while there is room; how many seconds to rest."""
        jobs: list[tuple[str, EvaluationJob]] = []
        room = CONCURRENCY - len(self._running)
        if self._monotonic() >= self._renew_at:
            self._renew_at = self._monotonic() + RENEWAL_SECONDS
            await self._jobs.renew(list(self._running.values()))
            jobs = await self._jobs.take_over(room, idle_ms=TAKE_OVER_IDLE_MS) if room else []
        if room == 0:
            await asyncio.wait(self._running, timeout=RENEWAL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return 0.0
        jobs = jobs or await self._jobs.take(room, block_ms=BLOCK_MS)
        for receipt, job in jobs:
            task = asyncio.create_task(self._handle(receipt, job))
            self._running[task] = receipt
            task.add_done_callback(self._running.pop)
        return 0.0

    async def _handle(self, receipt: str, job: EvaluationJob) -> None:
        try:
            await self._evaluator.evaluate(job)
            reached(CrashPoint.EVALUATOR_AFTER_APPEND)
            await self._jobs.done(receipt)
        except Exception as error:  # noqa: BLE001  the job stays pending and is taken over later
            log.warning("evaluation not recorded", monitor_id=str(job.monitor_id), error=repr(error))
