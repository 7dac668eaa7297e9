"""Failing: when a monitor whose sources cannot be read says so, and when it is well again. A failure never touches the
state: that only verdicts do."""

from datetime import datetime
from uuid import UUID

import msgspec

from domain.evaluation import EvaluationFailed, Previous
from domain.monitor import Monitor, MonitorEvent, Status
from domain.monitor_health import MonitorFailing, MonitorRecovered

FAILURES_UNTIL_FAILING = 3
"""Many sources do not answer once or twice a day; few three times in a row without something being wrong."""
OF_SOURCES = "SOURCE_"
"""How the codes of failures begin that a person can do something about. Vigil's own defects (INTERNAL) are for whoever runs
it: they neither add to a row of failures nor end it."""


def in_a_row(monitor: Monitor, previous: Previous, failed: EvaluationFailed) -> EvaluationFailed:
    """`failed` with its place among the failures in a row, of which those before the monitor was last asked for, revised or
    resumed do not count."""
    row, since = previous.failures, previous.failed_since
    if since is None or monitor.watched_since is None or since < monitor.watched_since:
        row, since = 0, None
    if failed.code.startswith(OF_SOURCES):
        row, since = row + 1, since or failed.started_at
    return msgspec.structs.replace(failed, failures=row, failed_since=since)


def after_failure(
    monitor: Monitor, failed: EvaluationFailed, *, evaluation_id: UUID, failing_after: int
) -> list[MonitorEvent]:
    """What a failure means for the monitor: the one that makes `failing_after` in a row makes an active monitor failing,
    and every other changes nothing."""
    counts = failed.code.startswith(OF_SOURCES) and failed.failures >= failing_after
    if monitor.status is not Status.ACTIVE or not counts or failed.failed_since is None:
        return []
    return [
        MonitorFailing(
            failures=failed.failures,
            code=failed.code,
            message=failed.message,
            evaluation_id=evaluation_id,
            since=failed.failed_since,
            failed_at=failed.completed_at,
        )
    ]


def after_verdict(monitor: Monitor, *, evaluation_id: UUID, now: datetime) -> list[MonitorEvent]:
    """What it means that there was a verdict, be it an inconclusive one: the sources can be read, a failing monitor is
    well again."""
    if monitor.failing is None:
        return []
    return [MonitorRecovered(evaluation_id=evaluation_id, failed_since=monitor.failing.since, recovered_at=now)]
