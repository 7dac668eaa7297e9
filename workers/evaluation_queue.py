"""Working off a queue of evaluations: many at a time, each acknowledged only after it is recorded."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from commands.giving_way import GivenWay
from domain.crash_points import CrashPoint, reached
from domain.evaluation import EvaluationJob
from workers.later import NotYet, pause_after
from workers.lifecycle import Monotonic, Stop, run_steps
from workers.room import Room
from workers.scheduler import LOST_AFTER

log = structlog.get_logger()

CROWDED_PAUSES = 5
"""Who has as many slow evaluations as there are places is put off as after so many attempts (8 to 24 seconds): a slow source
may take 20 before it is given up."""
BLOCK_MS = 500
BLOCK_SOON_MS = 10
"""While a job that was taken over is running, after which there may be another one."""
TAKE_OVER_IDLE_MS = 10_000
"""A living worker renews its claims every `RENEWAL_SECONDS`, so a job idle for this long belongs to a dead one, however
long an evaluation may take."""
RENEWAL_SECONDS = 2.0
DRAIN_SECONDS_MAX = 35.0
ATTEMPTS_MAX = 5
"""How often a job is begun that a defect ends, or the process with it, before it is put away for an operator."""


class JobSource(Protocol):
    """A lane of the queue in Redis."""

    async def take(self, count: int, *, block_ms: int) -> list[tuple[str, EvaluationJob]]:
        """New jobs with their receipts."""
        ...

    async def take_over(self, count: int, *, idle_ms: int) -> list[tuple[str, EvaluationJob]]:
        """Jobs of workers that died."""
        ...

    async def times_taken(self, receipt: str) -> int:
        """How many workers took the entry so far: those before the present one died with it."""
        ...

    async def renew(self, receipts: Sequence[str]) -> None:
        """These are still being worked on."""
        ...

    async def outlived(self, receipt: str) -> None:
        """The job is not done, and who took it last did not die with it."""
        ...

    async def done(self, receipts: Sequence[str]) -> None:
        """The jobs are finished."""
        ...


class UnfinishedJobs(Protocol):
    """Where jobs go that are not done."""

    async def put_back(self, job: EvaluationJob, *, until: datetime, attempts: int) -> None:
        """To be handed out again from a moment on."""
        ...

    async def put_back_unbegun(self, job: EvaluationJob, *, until: datetime, attempts: int) -> None:
        """As `put_back`, for what was not begun: where somebody else holds it, only `attempts` are counted."""
        ...

    async def bury(self, job: EvaluationJob, *, error: str, now: datetime) -> None:
        """Not to be handed out again, until an operator says so."""
        ...


class Evaluating(Protocol):
    """What is done with a job."""

    async def evaluate(self, job: EvaluationJob) -> None:
        """Do it once and for all, or raise; `NotYet` when it can only be done later."""
        ...


class EvaluationQueue:
    """One of any number of workers on a lane of the queue. What `is_outage` says of a failure is nothing of the job's.
    `suspect` is held while a job is done that a worker died with, by all lanes of a process."""

    def __init__(
        self,
        jobs: JobSource,
        evaluator: Evaluating,
        unfinished: UnfinishedJobs,
        *,
        places: int,
        now: Callable[[], datetime],
        monotonic: Monotonic,
        is_outage: Callable[[Exception], bool],
        suspect: asyncio.Lock | None = None,
        given_way: GivenWay | None = None,
    ) -> None:
        self._jobs = jobs
        self._evaluator = evaluator
        self._unfinished = unfinished
        self._now = now
        self._monotonic = monotonic
        self._is_outage = is_outage
        self._suspect = suspect or asyncio.Lock()
        self._room = Room(places, given_way or GivenWay(), monotonic)
        self._running = self._room.running
        self._at_work: dict[UUID, tuple[datetime | None, asyncio.Task[None]]] = {}
        self._finished: list[str] = []
        self._acknowledging: asyncio.Task[None] | None = None
        self._renew_at = 0.0
        self._may_be_left = False

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop, then finish what is running."""
        await run_steps("evaluator", self.step, stop)
        deadline = self._monotonic() + DRAIN_SECONDS_MAX
        while self._running and self._monotonic() < deadline:
            await asyncio.wait(self._running, timeout=RENEWAL_SECONDS)
            with suppress(OSError):  # without Redis a job may be done twice, which records it once
                await self._jobs.renew(self._room.receipts)
        if self._acknowledging is not None:
            await self._acknowledging

    async def step(self) -> float:
        """Start jobs while there is room; how many seconds to rest."""
        if self._monotonic() >= self._renew_at:
            self._renew_at = self._monotonic() + RENEWAL_SECONDS
            await self._jobs.renew(self._room.receipts)
            self._may_be_left = True
        elif not await self._room.is_there():
            return 0.0
        room = self._room.free
        if room <= 0 or (self._may_be_left and await self._take_over()):
            return 0.0
        block_ms = BLOCK_SOON_MS if self._may_be_left else BLOCK_MS
        for receipt, job in await self._jobs.take(room, block_ms=block_ms):
            if self._is_at_work(job):
                self._finish(receipt)
            else:
                self._begin(receipt, job)
        return 0.0

    def _is_at_work(self, job: EvaluationJob) -> bool:
        """Whether another entry of the same is: it was handed out once more, because it took long to reach somebody."""
        at_work = self._at_work.get(job.evaluation_id)
        return at_work is not None and at_work[0] == job.handed_out_at

    def _begin(self, receipt: str, job: EvaluationJob) -> asyncio.Task[None]:
        """What comes once more, handed out anew or taken over, waits for what is at work: that is recorded, or let go."""
        _, before = self._at_work.get(job.evaluation_id, (None, None))
        task = asyncio.create_task(self._handle(receipt, job, before))
        self._room.take(task, receipt, job.evaluation_id, job.owner_id)
        self._at_work[job.evaluation_id] = job.handed_out_at, task
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        evaluation_id = self._room.leave(task).evaluation_id
        _, last = self._at_work.get(evaluation_id, (None, None))
        if last is task:
            del self._at_work[evaluation_id]

    async def _take_over(self) -> bool:
        """Begin a job that a worker left behind, when there is one. One at a time: should it be what the worker died of,
        then those that were begun beside it do not count as dying with it again."""
        if self._suspect.locked():
            return False
        await self._suspect.acquire()
        task = None
        try:
            left = await self._jobs.take_over(1, idle_ms=TAKE_OVER_IDLE_MS)
            self._may_be_left = bool(left)
            for receipt, job in left:
                if (counted := await self._count_deaths(receipt, job)) is not None:
                    task = self._begin(receipt, counted)
                    task.add_done_callback(lambda _: self._suspect.release())
        finally:
            if task is None:
                self._suspect.release()
        return bool(left)

    async def _handle(self, receipt: str, job: EvaluationJob, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._do(job)
        except Exception as error:  # noqa: BLE001  the database is away; the job stays pending and is taken over later
            log.warning("evaluation not recorded", monitor_id=str(job.monitor_id), error=repr(error))
            with suppress(OSError):
                await self._jobs.outlived(receipt)
            return
        reached(CrashPoint.EVALUATOR_AFTER_APPEND)
        self._finish(receipt)

    def _finish(self, receipt: str) -> None:
        self._finished.append(receipt)
        if self._acknowledging is None:
            self._acknowledging = asyncio.create_task(self._acknowledge())

    async def _do(self, job: EvaluationJob) -> None:
        """Do a job, or put it where it is done later. Raises when not even that was possible: such a failure is an outage,
        and counts for nothing."""
        if self._room.is_crowded_by(job.owner_id):  # others are to have room, too
            until = self._now() + pause_after(CROWDED_PAUSES, job)
            await self._unfinished.put_back_unbegun(job, until=until, attempts=job.attempts)
            return
        try:
            await self._evaluator.evaluate(job)
        except NotYet as later:
            attempts = job.attempts + 1 if later.is_attempt else job.attempts
            await self._unfinished.put_back(job, until=later.until, attempts=attempts)
        except Exception as error:
            attempts = job.attempts if self._is_outage(error) else job.attempts + 1
            log.warning("evaluation failed", monitor_id=str(job.monitor_id), attempts=attempts, error=repr(error))
            if attempts < ATTEMPTS_MAX:
                until = self._now() + pause_after(max(attempts, 1), job)
                await self._unfinished.put_back(job, until=until, attempts=attempts)
                return
            log.exception("evaluation given up", monitor_id=str(job.monitor_id), evaluation_id=str(job.evaluation_id))
            await self._bury(job, attempts=attempts, error=repr(error))

    async def _bury(self, job: EvaluationJob, *, attempts: int, error: str) -> None:
        await self._unfinished.bury(msgspec.structs.replace(job, attempts=attempts), error=error, now=self._now())

    async def _count_deaths(self, receipt: str, job: EvaluationJob) -> EvaluationJob | None:
        """A job that a worker left behind, as it is begun again; None when as many died with it as may, and it is put away.
        Those who died count where neither Redis nor another entry of the same job forgets them, and before it may kill again;
        meanwhile it is not handed out once more. Raises what the database does, and then nobody died."""
        deaths = await self._jobs.times_taken(receipt) - 1
        if deaths < 1:
            return job
        attempts = job.attempts + deaths
        try:
            if attempts < ATTEMPTS_MAX:
                await self._unfinished.put_back_unbegun(job, until=self._now() + LOST_AFTER, attempts=attempts)
                return msgspec.structs.replace(job, attempts=attempts)
            log.error("evaluation given up: workers die with it", evaluation_id=str(job.evaluation_id), deaths=deaths)
            await self._bury(job, attempts=attempts, error=f"tried {attempts} times, and {deaths} workers died with it")
        except Exception:
            await self._jobs.outlived(receipt)
            raise
        await self._jobs.done([receipt])
        return None

    async def _acknowledge(self) -> None:
        """Acknowledge what is finished, together what finishes meanwhile."""
        try:
            while self._finished:
                receipts, self._finished = self._finished, []
                await self._jobs.done(receipts)
        except OSError as error:  # what is not acknowledged is taken over, and found recorded
            log.warning("evaluations not acknowledged", error=repr(error))
        finally:
            self._acknowledging = None
