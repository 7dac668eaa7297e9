"""Schedules: when a monitor is due."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from cronsim import CronSim, CronSimError

from domain.errors import InvalidInput

SEARCH_HORIZON = timedelta(days=366 * 5)
"""A cron line with no instant in five years (30 February) is refused as never due."""


class Every(msgspec.Struct, frozen=True, kw_only=True, tag="every", tag_field="kind"):
    """Due every `seconds`, counted from the last slot, so that slots do not drift."""

    seconds: int


class Cron(msgspec.Struct, frozen=True, kw_only=True, tag="cron", tag_field="kind"):
    """Due when the five-field cron `line` matches the wall clock of `timezone` (IANA name).

    Across a change to or from summer time the rules of Debian's cron hold, as cronsim implements them.
    """

    line: str
    timezone: str = "UTC"


Schedule = Every | Cron


def check_schedule(schedule: Schedule, *, now: datetime, interval_seconds_min: int) -> None:
    """Refuse a schedule that is too dense, malformed or never due, with `InvalidInput` naming the field."""
    match schedule:
        case Every(seconds=seconds):
            if seconds < interval_seconds_min:
                raise InvalidInput(
                    f"the interval is {seconds} s; the shortest allowed is {interval_seconds_min} s",
                    field="schedule.every",
                )
        case Cron(line=line, timezone=timezone):
            if timezone not in available_timezones():
                raise InvalidInput(
                    f"{timezone!r} is not an IANA time zone; write for example Europe/Berlin", field="schedule.timezone"
                )
            try:
                first = next_due(schedule, after=now)
            except (CronSimError, StopIteration):
                raise InvalidInput(
                    f"{line!r} is not a cron line that is ever due; write for example '0 8 * * 1-5'",
                    field="schedule.cron",
                ) from None
            if (next_due(schedule, after=first) - first).total_seconds() < interval_seconds_min:
                raise InvalidInput(
                    f"{line!r} is due more often than every {interval_seconds_min} s", field="schedule.cron"
                )


def next_due(schedule: Schedule, *, after: datetime) -> datetime:
    """The first instant strictly after `after` (aware, any zone) at which the schedule is due, in UTC."""
    utc = ZoneInfo("UTC")
    match schedule:
        case Every(seconds=seconds):
            return (after + timedelta(seconds=seconds)).astimezone(utc)
        case Cron(line=line, timezone=timezone):
            wall = after.astimezone(ZoneInfo(timezone))
            due = next(CronSim(line, wall))
            if due - wall > SEARCH_HORIZON:
                raise StopIteration
            return due.astimezone(utc)


def next_slot(schedule: Schedule, *, due_at: datetime, now: datetime) -> datetime:
    """The slot after `due_at` that still lies ahead of `now`: slots missed while nothing ran are passed over,
    never run one after another, and an interval keeps its phase."""
    if isinstance(schedule, Every):
        missed = max(0, int((now - due_at).total_seconds() // schedule.seconds))
        return due_at + timedelta(seconds=schedule.seconds * (missed + 1))
    return next_due(schedule, after=max(due_at, now))
