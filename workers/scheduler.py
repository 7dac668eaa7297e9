"""The scheduler: hands out what is due."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.evaluation import EvaluationJob
from workers.lifecycle import Stop, run_steps

log = structlog.get_logger()

REST_SECONDS = 0.05
BATCH_JOBS_MAX = 1000
LOST_AFTER = timedelta(seconds=45)
"""A slot that nobody finished for this long is handed out again, whatever became of its job: longer than an evaluation
may take, so that a second job is rare, and harmless when it happens (an evaluation is recorded once)."""


class DueTable(Protocol):
    """Slots and requests in PostgreSQL."""

    async def claim(self, *, now: datetime, lost_after: timedelta, limit: int) -> list[EvaluationJob]:
        """Jobs that are due and that nobody else has claimed."""
        ...

    async def give_back(self, jobs: Sequence[EvaluationJob]) -> None:
        """Jobs that could not be queued."""
        ...

    async def give_back_all(self) -> None:
        """Every job that is not done."""
        ...


class JobQueue(Protocol):
    """The queue in Redis."""

    async def was_lost(self) -> bool:
        """Whether the queue was lost since anybody last asked."""
        ...

    async def enqueue(self, jobs: Sequence[EvaluationJob]) -> None:
        """Put jobs at the end. Raises `OSError` while Redis is away."""
        ...


class Scheduler:
    """One of any number of schedulers: rows are claimed one by one, so they share the work."""

    def __init__(self, due: DueTable, queue: JobQueue, *, now: Callable[[], datetime]) -> None:
        self._due = due
        self._queue = queue
        self._now = now

    async def run(self, stop: Stop) -> None:
        """Schedule until asked to stop."""
        await run_steps("scheduler", self.step, stop)

    async def step(self) -> float:
        """Hand out what is due now; how many seconds to rest."""
        if await self._queue.was_lost():
            log.info("the queue of evaluations is empty; filling it from the database")
            await self._due.give_back_all()
        jobs = await self._due.claim(now=self._now(), lost_after=LOST_AFTER, limit=BATCH_JOBS_MAX)
        if not jobs:
            return REST_SECONDS
        reached(CrashPoint.SCHEDULER_BEFORE_ENQUEUE)
        try:
            await self._queue.enqueue(jobs)
        except OSError:
            await self._due.give_back(jobs)
            raise
        reached(CrashPoint.SCHEDULER_AFTER_ENQUEUE)
        return 0.0 if len(jobs) >= BATCH_JOBS_MAX else REST_SECONDS
