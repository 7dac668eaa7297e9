"""When a monitor is due: intervals that keep their phase, and wall clocks that jump."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.schedule import Cron, Every, NeverDue, Schedule, check_schedule, next_due, next_slot, spread, timezones

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
NOW = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)


def at(text: str) -> datetime:
    """A moment; with an offset where the local clock matters."""
    return datetime.fromisoformat(text).astimezone(UTC)


def walk(schedule: Schedule, after: str, times: int) -> list[datetime]:
    """The next slots, each found from the one before, as the scheduler does it."""
    found = [next_due(schedule, after=at(after))]
    while len(found) < times:
        found.append(next_due(schedule, after=found[-1]))
    return found


def refused_field(schedule: Schedule, *, now: datetime = NOW, interval_seconds_min: int = 60) -> str | None:
    with pytest.raises(InvalidInput) as refused:
        check_schedule(schedule, now=now, interval_seconds_min=interval_seconds_min)
    return refused.value.field


# Every


def test_an_interval_is_counted_from_the_moment_given() -> None:
    berlin = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo(BERLIN))
    due = next_due(Every(seconds=86_400), after=berlin)
    assert due == at("2026-03-29T13:00:00+02:00"), "a day is 24 hours, also when the clock is put forward"
    assert due.tzinfo is UTC


moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis adds the zone
delays = st.timedeltas(timedelta(days=-3), timedelta(days=3))


@given(seconds=st.integers(1, 366 * 86_400), due_at=moments, late=delays)
@example(seconds=60, due_at=NOW, late=timedelta(seconds=60))
@example(seconds=60, due_at=NOW, late=timedelta(seconds=60, microseconds=-1))
@example(seconds=1, due_at=NOW, late=timedelta())
def test_the_next_slot_of_an_interval_lies_ahead_by_at_most_one_interval_and_keeps_the_phase(
    seconds: int, due_at: datetime, late: timedelta
) -> None:
    interval, now = timedelta(seconds=seconds), due_at + late
    slot = next_slot(Every(seconds=seconds), due_at=due_at, now=now)
    assert slot > max(now, due_at)
    assert slot - max(now, due_at) <= interval
    assert (slot - due_at) % interval == timedelta()


def test_slots_that_were_missed_are_passed_over() -> None:
    due_at = at("2026-01-01T00:00:00Z")
    assert next_slot(Every(seconds=300), due_at=due_at, now=at("2026-01-02T00:01:00Z")) == at("2026-01-02T00:05:00Z")
    nightly = Cron(line="0 3 * * *")
    assert next_slot(nightly, due_at=at("2026-01-01T03:00:00Z"), now=at("2026-01-05T12:00:00Z")) == at(
        "2026-01-06T03:00:00Z"
    )


def test_a_slot_that_was_done_early_is_not_done_again() -> None:
    nightly = Cron(line="0 3 * * *")
    assert next_slot(nightly, due_at=at("2026-01-02T03:00:00Z"), now=at("2026-01-02T02:59:59Z")) == at(
        "2026-01-03T03:00:00Z"
    )


# Cron and summer time (https://manpages.debian.org/cron.8, "Daylight Saving Time and other time changes")


def test_a_fixed_time_that_spring_skips_is_due_when_the_clock_has_jumped() -> None:
    assert walk(Cron(line="30 2 * * *", timezone=BERLIN), "2026-03-28T00:00:00+01:00", 3) == [
        at("2026-03-28T02:30:00+01:00"),
        at("2026-03-29T03:00:00+02:00"),
        at("2026-03-30T02:30:00+02:00"),
    ]
    assert walk(Cron(line="30 2 * * *", timezone=NEW_YORK), "2026-03-07T00:00:00-05:00", 3) == [
        at("2026-03-07T02:30:00-05:00"),
        at("2026-03-08T03:00:00-04:00"),
        at("2026-03-09T02:30:00-04:00"),
    ]


def test_a_fixed_time_that_autumn_repeats_is_due_once() -> None:
    assert walk(Cron(line="30 2 * * *", timezone=BERLIN), "2026-10-24T12:00:00+02:00", 2) == [
        at("2026-10-25T02:30:00+02:00"),
        at("2026-10-26T02:30:00+01:00"),
    ]
    assert walk(Cron(line="30 1 * * *", timezone=NEW_YORK), "2026-10-31T12:00:00-04:00", 2) == [
        at("2026-11-01T01:30:00-04:00"),
        at("2026-11-02T01:30:00-05:00"),
    ]


def test_a_line_that_runs_all_day_follows_the_clock_through_both_changes() -> None:
    assert walk(Cron(line="*/30 * * * *", timezone=BERLIN), "2026-03-29T01:00:00+01:00", 3) == [
        at("2026-03-29T01:30:00+01:00"),
        at("2026-03-29T03:00:00+02:00"),
        at("2026-03-29T03:30:00+02:00"),
    ]
    assert walk(Cron(line="*/30 * * * *", timezone=NEW_YORK), "2026-11-01T01:00:00-04:00", 4) == [
        at("2026-11-01T01:30:00-04:00"),
        at("2026-11-01T01:00:00-05:00"),
        at("2026-11-01T01:30:00-05:00"),
        at("2026-11-01T02:00:00-05:00"),
    ]


def test_a_working_day_keeps_its_hour_through_the_year() -> None:
    eight = Cron(line="0 8 * * 1-5", timezone=BERLIN)
    assert walk(eight, "2026-03-27T09:00:00+01:00", 1) == [at("2026-03-30T08:00:00+02:00")]
    assert walk(eight, "2026-10-23T09:00:00+02:00", 1) == [at("2026-10-26T08:00:00+01:00")]


def test_in_the_second_pass_of_a_repeated_hour_the_next_slot_is_not_the_first_pass() -> None:
    """A slot in the past would be due again and again, each time as the evaluation that is done already."""
    berlin = Cron(line="30 2 * * *", timezone=BERLIN)
    assert next_due(berlin, after=at("2026-10-25T02:15:00+01:00")) == at("2026-10-26T02:30:00+01:00")
    late = next_slot(berlin, due_at=at("2026-10-25T02:30:00+02:00"), now=at("2026-10-25T02:10:00+01:00"))
    assert late == at("2026-10-26T02:30:00+01:00")
    new_york = Cron(line="0,30 1 * * *", timezone=NEW_YORK)
    assert next_due(new_york, after=at("2026-11-01T01:10:00-05:00")) == at("2026-11-02T01:00:00-05:00")


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    lists = st.lists(number, min_size=1, max_size=3).map(lambda xs: ",".join(map(str, xs)))
    return st.one_of(st.just("*"), lists, st.sampled_from([2, 5, 20]).map(lambda n: f"*/{n}"))


cron_lines = st.tuples(fields(0, 59), fields(0, 4), st.just("*"), st.just("*"), st.just("*")).map(" ".join)
changes = [
    (BERLIN, at("2026-03-29T01:00:00Z")),
    (BERLIN, at("2026-10-25T01:00:00Z")),
    (NEW_YORK, at("2026-03-08T07:00:00Z")),
    (NEW_YORK, at("2026-11-01T06:00:00Z")),
    (LORD_HOWE, at("2026-04-04T15:00:00Z")),
    (LORD_HOWE, at("2026-10-03T15:30:00Z")),
]


@given(line=cron_lines, change=st.sampled_from(changes), off=st.integers(-3 * 3600, 3 * 3600))
def test_around_a_change_of_the_clock_a_line_is_always_due_later_and_on_its_minutes(
    line: str, change: tuple[str, datetime], off: int
) -> None:
    timezone, moment = change
    after = moment + timedelta(seconds=off)
    slot = next_slot(Cron(line=line, timezone=timezone), due_at=after, now=after)
    assert slot > after
    assert slot.tzinfo is UTC
    assert slot - after <= timedelta(days=2)
    assert (slot.second, slot.microsecond) == (0, 0)
    assert next_slot(Cron(line=line, timezone=timezone), due_at=after, now=slot) > slot


# What is refused


@pytest.mark.parametrize("seconds", [-300, 0, 59, 366 * 86_400 + 1, 10**12])
def test_an_interval_outside_of_the_bounds_is_refused(seconds: int) -> None:
    assert refused_field(Every(seconds=seconds)) == "schedule.every"


@pytest.mark.parametrize("seconds", [60, 366 * 86_400])
def test_an_interval_at_the_bounds_is_taken(seconds: int) -> None:
    check_schedule(Every(seconds=seconds), now=NOW, interval_seconds_min=60)


@pytest.mark.parametrize(
    "timezone", ["Middle/Earth", "", "localtime", "Factory", "../../etc/passwd", "Europe/Berlin\0"]
)
def test_an_unknown_time_zone_is_refused(timezone: str) -> None:
    assert refused_field(Cron(line="0 8 * * *", timezone=timezone)) == "schedule.timezone"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0 8 * *",
        "0 8 * * * *",
        "0,1 0 0 * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "a b c d e",
        "\0 * * * *",
        "٣ * * * *",
        "0" * 5000 + " * * * *",
        "0 8 * * " + ",".join(["1"] * 200),
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 * 2 1#5",
        "0 0 */31 * 1#5",
    ],
    ids=lambda line: line[:20] or "empty",
)
def test_a_cron_line_that_is_malformed_or_never_due_is_refused(line: str) -> None:
    assert refused_field(Cron(line=line)) == "schedule.cron"


def test_a_line_that_is_due_once_and_then_not_for_decades_is_refused() -> None:
    """The fifth Monday of a February: 2044, then 2072."""
    assert refused_field(Cron(line="0 0 * 2 1#5"), now=at("2043-01-01T00:00:00Z")) == "schedule.cron"
    with pytest.raises(NeverDue):
        next_due(Cron(line="0 0 * 2 1#5"), after=at("2044-03-01T00:00:00Z"))


@pytest.mark.parametrize("line", ["0 8 * * 1-5", "* * * * *", "0 0 29 2 *", "0 0 L * *", "0 0 * * 5L", "0 0 30 2 1"])
def test_a_cron_line_that_is_due_at_least_every_few_years_is_taken(line: str) -> None:
    check_schedule(Cron(line=line, timezone=BERLIN), now=NOW, interval_seconds_min=60)


@pytest.mark.parametrize("time_of_day", ["07:00", "08:02", "08:05", "09:00", "23:59"])
@pytest.mark.parametrize(
    ("line", "too_dense"),
    [("0,5 8 * * *", True), ("0,10 8 * * *", False), ("59 23 * * *", False), ("0 0,23 * * *", False)],
)
def test_whether_a_line_is_too_dense_does_not_depend_on_the_time_of_day(
    line: str, time_of_day: str, *, too_dense: bool
) -> None:
    now = at(f"2026-01-01T{time_of_day}:00Z")
    if too_dense:
        assert refused_field(Cron(line=line), now=now, interval_seconds_min=600) == "schedule.cron"
    else:
        check_schedule(Cron(line=line), now=now, interval_seconds_min=600)


def test_a_gap_across_midnight_counts_too() -> None:
    assert refused_field(Cron(line="0,55 0,23 * * *"), interval_seconds_min=600) == "schedule.cron"


@given(st.text(max_size=40) | st.text("0123456789*/,-#L ", max_size=40))
def test_any_text_as_a_cron_line_is_either_refused_or_due_ever_after(line: str) -> None:
    cron = Cron(line=line, timezone=BERLIN)
    try:
        check_schedule(cron, now=NOW, interval_seconds_min=60)
    except InvalidInput:
        assert refused_field(cron) == "schedule.cron"
        return
    assert next_due(cron, after=next_due(cron, after=NOW)) > NOW


def test_the_time_zones_are_read_from_disk_once() -> None:
    assert timezones() is timezones()
    assert "Europe/Berlin" in timezones()


# Spread

lines = st.sampled_from(["* * * * *", "0 8 * * 1-5", "30 2 * * *", "*/7 * * * *", "0 0 1 * *", "15,45 */3 * * *"])
schedules = st.builds(Every, seconds=st.integers(60, 90_000)) | st.builds(
    Cron, line=lines, timezone=st.sampled_from(["UTC", BERLIN, NEW_YORK, LORD_HOWE])
)
lateness = st.lists(st.integers(0, 59_999), min_size=50, max_size=50)


@given(schedule=schedules, monitor_id=st.uuids(), due_at=moments, late_ms=lateness)
@settings(max_examples=30)
def test_a_monitor_is_handed_out_a_little_after_each_slot_and_its_slots_do_not_drift(
    schedule: Schedule, monitor_id: UUID, due_at: datetime, late_ms: list[int]
) -> None:
    first, apart = next_due(schedule, after=due_at), spread(schedule, monitor_id)
    assert timedelta() <= apart < timedelta(seconds=5)
    if isinstance(schedule, Every):
        assert apart == timedelta()
    slot = expected = first
    for late in late_ms:
        assert spread(schedule, monitor_id) == apart
        slot = next_slot(schedule, due_at=slot, now=slot + apart + timedelta(milliseconds=late % 50_000))
        expected = next_due(schedule, after=expected)
        assert slot == expected


@given(st.lists(st.uuids(version=4), min_size=200, max_size=200, unique=True))
@settings(max_examples=5)
def test_monitors_of_one_cron_line_are_spread_over_the_seconds(monitors: list[UUID]) -> None:
    seconds = [spread(Cron(line="0 8 * * *"), monitor_id) // timedelta(seconds=1) for monitor_id in monitors]
    assert min(seconds) >= 0
    assert max(seconds) < 5
