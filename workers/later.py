"""Jobs that can only be done later."""

from datetime import datetime, timedelta

from domain.evaluation import EvaluationJob

RETRY_SECONDS, RETRY_SECONDS_MAX = 1.0, 60.0


class NotYet(Exception):
    """The job is to be handed out again from `until` on. As an attempt it counts where that is done only so often."""

    def __init__(self, until: datetime, *, is_attempt: bool) -> None:
        self.until = until
        self.is_attempt = is_attempt
        super().__init__(until)


def pause_after(attempts: int, job: EvaluationJob) -> timedelta:
    """How long to leave a job alone that was tried so often: twice as long each time, and never all jobs at once (AWS
    Architecture Blog, "Exponential Backoff and Jitter")."""
    seconds = min(RETRY_SECONDS * 2 ** (attempts - 1), RETRY_SECONDS_MAX)
    return timedelta(seconds=seconds * (0.5 + job.evaluation_id.int % 1000 / 1000))
