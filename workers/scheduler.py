"""The scheduler: hands out what is due."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from domain.crash_points import CrashPoint, reached
from domain.evaluation import EvaluationJob
from workers.lifecycle import Monotonic, Stop, run_steps

log = structlog.get_logger()

REST_SECONDS = 0.05
BATCH_JOBS_MAX = 1000
QUEUED_JOBS_MAX = 2000
"""What many evaluators do within the time after which a job counts as lost; the rest waits in the database, in fair order."""
BEAT_SECONDS = 5.0
LOST_AFTER = timedelta(seconds=45)
"""A slot that nobody finished for this long is handed out again, whatever became of its job: longer than an evaluation
may take, so that a second job is rare, and harmless when it happens (an evaluation is recorded once)."""
CLOCK_BACK = timedelta(minutes=1)
"""A clock that goes back by less holds nobody up for long."""


class DueTable(Protocol):
    """Slots and requests in PostgreSQL."""

    async def claim(self, *, now: datetime, lost_after: timedelta, slots_max: int) -> list[EvaluationJob]:
        """Jobs that are due and that nobody else has claimed: what was asked for, and slots."""
        ...

    async def give_back(self, jobs: Sequence[EvaluationJob]) -> None:
        """Jobs that could not be queued."""
        ...

    async def give_back_all(self) -> None:
        """Every job that is not done."""
        ...

    async def clock_went_back(self, now: datetime, *, lost_after: timedelta, tolerance: timedelta) -> None:
        """It is earlier than it was, or may be; what is ahead by no more than `tolerance` may stay so."""
        ...

    async def beat(self, worker: str, holder: str) -> None:
        """Somebody is at work."""
        ...


class JobQueue(Protocol):
    """The queue in Redis."""

    async def was_lost(self) -> bool:
        """Whether the queue was lost since anybody last asked."""
        ...

    async def waiting(self) -> int:
        """How many scheduled jobs are not done."""
        ...

    async def enqueue(self, jobs: Sequence[EvaluationJob]) -> None:
        """Put jobs at the end of their lanes. Raises `OSError` while Redis is away."""
        ...


class Scheduler:
    """One of any number of schedulers: rows are claimed one by one, so they share the work."""

    def __init__(
        self, due: DueTable, queue: JobQueue, *, holder: str, now: Callable[[], datetime], monotonic: Monotonic
    ) -> None:
        self._due = due
        self._queue = queue
        self._holder = holder
        self._now = now
        self._monotonic = monotonic
        self._beat_at = 0.0
        self._latest: datetime | None = None

    async def run(self, stop: Stop) -> None:
        """Schedule until asked to stop."""
        await run_steps("scheduler", self.step, stop)

    async def step(self) -> float:
        """Hand out what is due now; how many seconds to rest. While the queue is full, only what was asked for is handed out:
        slots that wait in the database stay in fair order, and are passed over when they are late by more than one."""
        if await self._queue.was_lost():
            log.info("the queue of evaluations is empty; filling it from the database")
            await self._due.give_back_all()
        now = self._now()
        await self._watch_clock(now)
        room = min(BATCH_JOBS_MAX, QUEUED_JOBS_MAX - await self._queue.waiting())
        jobs = await self._due.claim(now=now, lost_after=LOST_AFTER, slots_max=max(room, 0))
        if self._monotonic() >= self._beat_at:  # here: one whose claims fail is not at work
            self._beat_at = self._monotonic() + BEAT_SECONDS
            await self._due.beat("scheduler", self._holder)
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

    async def _watch_clock(self, now: datetime) -> None:
        """What a clock that was ahead put off is not put off any more. A process that begins cannot know of such a clock."""
        if self._latest is None:
            await self._due.clock_went_back(now, lost_after=LOST_AFTER, tolerance=CLOCK_BACK)
        elif now < self._latest - CLOCK_BACK:
            log.warning("the clock went back", seconds=(self._latest - now).total_seconds())
            await self._due.clock_went_back(now, lost_after=LOST_AFTER, tolerance=timedelta())
            self._latest = now
        self._latest = max(self._latest or now, now)
