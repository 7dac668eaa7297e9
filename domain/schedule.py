"""Schedules: when a monitor is due."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from cronsim import CronSim, CronSimError

from domain.errors import InvalidInput

SEARCH_HORIZON = timedelta(days=366 * 5)
"""A cron line with no instant in five years (30 February) is refused as never due."""
CRON_CHARS_MAX = 200
INTERVAL_SECONDS_MAX = 366 * 86_400
"""Longer ones are slips of the pen, and the longest would lead past the end of the calendar."""
SPREAD_SECONDS_MAX = 5
"""Of what is due at the same instant, as far apart as nobody minds who asked for a minute."""
CRON_GAP_SECONDS_MIN = 60
"""No five-field line is due more often."""


class NeverDue(Exception):
    """A cron line has no instant within `SEARCH_HORIZON`."""


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
            if seconds > INTERVAL_SECONDS_MAX:
                raise InvalidInput("the interval is at most 366 days", field="schedule.every")
        case Cron():
            _check_cron(schedule, now=now, interval_seconds_min=interval_seconds_min)


def next_due(schedule: Schedule, *, after: datetime) -> datetime:
    """The first instant strictly after `after` (aware, any zone) at which the schedule is due, in UTC.

    Raises `NeverDue` and cronsim's `CronSimError` for a cron line that `check_schedule` would have refused.
    """
    match schedule:
        case Every(seconds=seconds):
            return after.astimezone(UTC) + timedelta(seconds=seconds)
        case Cron():
            return next(_instants(schedule, after))


def next_slot(schedule: Schedule, *, due_at: datetime, now: datetime) -> datetime:
    """The slot after `due_at` that still lies ahead of `now`: slots missed while nothing ran are passed over,
    never run one after another, and an interval keeps its phase."""
    if isinstance(schedule, Every):
        missed = max(0, (now - due_at) // timedelta(seconds=schedule.seconds))
        return due_at + timedelta(seconds=schedule.seconds * (missed + 1))
    return next_due(schedule, after=max(due_at, now))


def spread(schedule: Schedule, monitor_id: UUID) -> timedelta:
    """How long after its slot a monitor is handed out: the same for each of its slots, so that nothing drifts. Cron lines
    of many monitors name the same instants; intervals are counted from when each monitor was made, and spread as they are.
    """
    if isinstance(schedule, Every):
        return timedelta()
    return timedelta(milliseconds=monitor_id.int % (SPREAD_SECONDS_MAX * 1000))


@cache
def timezones() -> frozenset[str]:
    """The IANA names this host knows. Read once: it means opening hundreds of files. `localtime` is whatever the host is
    set to, and `Factory` says that nothing is set."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _check_cron(cron: Cron, *, now: datetime, interval_seconds_min: int) -> None:
    if cron.timezone not in timezones():
        raise InvalidInput(
            f"{cron.timezone!r} is not an IANA time zone; write for example Europe/Berlin", field="schedule.timezone"
        )
    if len(cron.line) > CRON_CHARS_MAX or len(cron.line.split()) != 5:
        raise InvalidInput(
            f"a cron line has five fields and at most {CRON_CHARS_MAX} characters; write for example '0 8 * * 1-5'",
            field="schedule.cron",
        )
    try:
        too_often = _is_denser(cron, now, interval_seconds_min)
    except (CronSimError, NeverDue):
        raise InvalidInput(
            f"{cron.line!r} is not a cron line that is ever due; write for example '0 8 * * 1-5'",
            field="schedule.cron",
        ) from None
    if too_often:
        raise InvalidInput(
            f"{cron.line!r} is due more often than every {interval_seconds_min} s", field="schedule.cron"
        )


def _is_denser(cron: Cron, now: datetime, interval_seconds_min: int) -> bool:
    """Whether two instants lie closer than that. Every day of a line has the same times, so a whole day shows each gap;
    the one after `now` alone would depend on the time of day."""
    instants, wall = _instants(cron, now), ZoneInfo(cron.timezone)
    before, dates = next(instants), set[date]()
    while len(dates) <= 2:
        instant = next(instants)
        if (instant - before).total_seconds() < interval_seconds_min:
            return True
        if interval_seconds_min <= CRON_GAP_SECONDS_MIN:
            return False
        dates.add(instant.astimezone(wall).date())
        before = instant
    return False


def _instants(cron: Cron, after: datetime) -> Iterator[datetime]:
    """The instants strictly after `after`, in UTC. In the hour that a clock going back repeats, cronsim starts again with
    the first pass, which may lie before `after`."""
    previous = after
    for due in CronSim(cron.line, after.astimezone(ZoneInfo(cron.timezone))):
        instant = due.astimezone(UTC)
        if instant - previous > SEARCH_HORIZON:
            break
        if instant > previous:
            yield instant
            previous = instant
    raise NeverDue
