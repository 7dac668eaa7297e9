"""One look at the sources of a monitor for an evaluation: what was seen, or why nothing was."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from commands.look import Look
from commands.looking import Looker
from commands.postponed import Postponed
from domain.evaluation import EvaluationFailed, EvaluationJob, Evidence, Lane
from domain.evidence import FetchOutcome
from domain.model_call import OnBehalf
from domain.monitor import Monitor
from workers.later import NotYet, pause_after

log = structlog.get_logger()

EVALUATION_SECONDS_MAX = 30.0
RECORDING_SECONDS = 0.5
"""Of them for recording what a model that is asked last has cost."""
HICCUPS = frozenset({FetchOutcome.UNREACHABLE, FetchOutcome.SERVER_ERROR, FetchOutcome.SLOW})
RETRIES_MAX = 2
"""How often a source that does not answer well is asked again, soon, before that is recorded as a failure."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Looks for evaluations. What `is_outage` says of an exception is no failure of the evaluation: Vigil's own database, or
    the way to it, is away."""

    looker: Looker
    now: Callable[[], datetime]
    is_outage: Callable[[Exception], bool]
    retries_max: int = RETRIES_MAX

    async def look(self, job: EvaluationJob, monitor: Monitor) -> Look | EvaluationFailed:
        """A look at the sources. Whatever goes wrong is an outcome to be recorded: a job that raises would come back for
        ever and nobody would know why. Raises `NotYet` when they are to be read later, and outages."""
        started_at = self.now()
        try:
            async with asyncio.timeout(EVALUATION_SECONDS_MAX) as limit:
                look = await self.looker.look(
                    job.monitor_id,
                    monitor.current_plan,
                    started_at=started_at,
                    fresh=job.lane is Lane.ASKED,
                    signal_id=job.signal_id,
                    on_behalf=OnBehalf(
                        owner_id=job.owner_id, monitor_id=job.monitor_id, evaluation_id=job.evaluation_id
                    ),
                    until=(limit.when() or 0.0) - RECORDING_SECONDS,
                )
        except Postponed as later:
            raise NotYet(later.until, is_attempt=False) from None
        except TimeoutError:
            self._try_again(job, FetchOutcome.SLOW)
            message = f"the sources could not be read within {EVALUATION_SECONDS_MAX:.0f} s"
            return self.failed(job, monitor, code="SOURCE_SLOW", message=message, evidence=(), started_at=started_at)
        except Exception as error:
            if self.is_outage(error):
                raise
            log.exception("evaluation failed by a defect", monitor_id=str(job.monitor_id))
            message = (
                f"Vigil could not read this evidence ({type(error).__name__}); the log of the installation says more"
            )
            return self.failed(job, monitor, code="INTERNAL", message=message, evidence=(), started_at=started_at)
        failure = look.failure
        if failure is None:
            return look
        self._try_again(job, failure.outcome)
        return self.failed(
            job,
            monitor,
            code=f"SOURCE_{failure.outcome.upper()}",
            message=failure.message or f"{failure.url} could not be read ({failure.outcome})",
            evidence=look.evidence,
            started_at=started_at,
        )

    def _try_again(self, job: EvaluationJob, outcome: FetchOutcome) -> None:
        """Raise `NotYet` while what a source did may be a hiccup: nothing is said of it then."""
        if outcome in HICCUPS and job.attempts < self.retries_max:
            raise NotYet(self.now() + pause_after(job.attempts + 1, job), is_attempt=True)

    def failed(
        self,
        job: EvaluationJob,
        monitor: Monitor,
        *,
        code: str,
        message: str,
        evidence: tuple[Evidence, ...],
        started_at: datetime,
    ) -> EvaluationFailed:
        """That nothing could be judged, as it is recorded."""
        now = self.now()
        return EvaluationFailed(
            monitor_id=job.monitor_id,
            plan_revision=monitor.plan_revision,
            due_at=job.due_at,
            code=code,
            message=message,
            evidence=evidence,
            duration_ms=milliseconds(now - started_at),
            started_at=started_at,
            completed_at=now,
        )


def milliseconds(duration: timedelta) -> int:
    """A duration in whole milliseconds."""
    return int(duration.total_seconds() * 1000)
