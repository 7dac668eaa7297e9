"""What a monitor will cost, told before."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.forecast import NOT_BATCHED, LookPrice, forecast, looks_a_day
from domain.schedule import Cron, Every
from domain.source import HttpSource, SearchSource, SignalSource
from tests.conftest import AT
from tests.domain.plans import plan

PAGE = HttpSource(url="https://shop.example/")
SIGNALS = SignalSource(id=UUID(int=7))
SEARCH = SearchSource(query="kettles")
READ_TWICE = LookPrice(
    reader="haiku", searcher=None, readings=2, searches=0, reading_micros=Fraction(300), searching_micros=Fraction(0)
)
SEARCHED = LookPrice(
    reader="haiku",
    searcher="opus",
    readings=1,
    searches=1,
    reading_micros=Fraction(100),
    searching_micros=Fraction(900),
)


def test_an_interval_is_counted_exactly() -> None:
    told = forecast(plan(schedule=Every(seconds=300), sources=(PAGE,)), READ_TWICE, at=AT)
    assert (told.looks_a_day, told.calls_a_day_max) == (288.0, 576.0)
    assert (told.cost_micros_a_day_max, told.cost_micros_a_call) == (288 * 300, 150)
    assert told.basis == (
        "At each look haiku reads 2 texts. The price is an estimate for texts of typical size (4,000 tokens); more text costs"
        " more. At this price it is the most that looks by the schedule cost: what has not changed is not read again, and"
        " costs nothing."
    )
    assert (told.is_estimated, told.notes) == (True, ())


@given(st.integers(1, 366 * 86_400))
def test_a_day_never_costs_less_than_its_looks(seconds: int) -> None:
    told = forecast(plan(schedule=Every(seconds=seconds), sources=(PAGE,)), READ_TWICE, at=AT)
    cost = told.cost_micros_a_day_max
    assert cost is not None
    assert 0 <= cost - Fraction(86_400, seconds) * 300 < 1


@pytest.mark.parametrize(
    ("line", "timezone", "looks"),
    [
        ("* * * * *", "UTC", Fraction(1440)),
        ("*/5 * * * *", "Asia/Kolkata", Fraction(288)),
        ("0 8 * * *", "Europe/Berlin", Fraction(1)),
        ("0 8 * * 1-5", "Europe/Berlin", Fraction(5, 7)),
        ("*/10 9-16 * * 1-5", "America/New_York", Fraction(48 * 5, 7)),
        ("0 8,20 * * 0", "UTC", Fraction(2, 7)),
        ("0 8 1 * *", "UTC", Fraction(12, 364)),
        ("30 2 * * *", "Europe/Berlin", Fraction(1)),
    ],
)
def test_a_cron_line_is_counted_as_it_is_due_over_a_year(line: str, timezone: str, looks: Fraction) -> None:
    at = datetime(2026, 1, 15, 13, 37, tzinfo=UTC)
    assert looks_a_day(Cron(line=line, timezone=timezone), at=at) == looks


def test_a_line_that_is_due_in_another_year_counts_once() -> None:
    leap_day = Cron(line="0 8 29 2 *")
    assert looks_a_day(leap_day, at=datetime(2026, 11, 1, tzinfo=UTC)) == Fraction(1, 364)


def test_in_no_hurry_reading_is_half_the_price_and_searching_is_not() -> None:
    told = forecast(plan(schedule=Every(seconds=86_400), sources=(SEARCH,)), replace(SEARCHED, is_halved=True), at=AT)
    assert (told.calls_a_day_max, told.cost_micros_a_day_max) == (2.0, 950)
    assert "for half the price" in told.basis
    assert "opus searches the web and haiku reads one text" in told.basis
    assert "Searching costs at every look." in told.basis


def test_what_only_signals_set_off_is_told_by_the_signal() -> None:
    told = forecast(plan(sources=(SIGNALS,)), READ_TWICE, at=AT)
    assert (told.looks_a_day, told.calls_a_day_max, told.cost_micros_a_day_max) == (None, None, None)
    assert told.cost_micros_a_call == 150
    assert "Each signal is a look of its own; nobody knows how many will come." in told.basis


def test_signals_beside_a_page_are_told_and_the_schedule_counts() -> None:
    told = forecast(plan(sources=(PAGE, SIGNALS), schedule=Every(seconds=3600)), READ_TWICE, at=AT)
    assert told.looks_a_day == 24.0
    assert "Each signal" in told.basis


def test_what_a_trial_cost_is_divided_as_was_estimated() -> None:
    tried = SEARCHED.tried(2000)
    assert [tried.reading_micros, tried.searching_micros] == [200, 1800]
    told = forecast(plan(schedule=Every(seconds=86_400), sources=(SEARCH,)), tried, at=AT)
    assert (told.cost_micros_a_day_max, told.cost_micros_a_call) == (2000, 1000)
    assert "The price is what this trial cost, kept answers included; more text costs more." in told.basis
    assert not told.is_estimated


def test_where_nobody_charges_a_trial_costs_nothing() -> None:
    own = LookPrice(
        reader="llama3.3",
        searcher=None,
        readings=1,
        searches=0,
        reading_micros=Fraction(0),
        searching_micros=Fraction(0),
    )
    told = forecast(plan(sources=(PAGE,)), own.tried(0), at=AT)
    assert (told.cost_micros_a_day_max, told.cost_micros_a_call) == (0, 0)


def test_what_only_searches_is_told_without_what_is_not_read() -> None:
    only = LookPrice(
        reader=None, searcher="opus", readings=0, searches=1, reading_micros=Fraction(0), searching_micros=Fraction(9)
    )
    told = forecast(plan(sources=(SEARCH,)), replace(only, is_halved=True), at=AT)
    assert told.basis == (
        "At each look opus searches the web. The price is an estimate for a typical search; more text costs more. Searching"
        " costs at every look."
    )
    assert told.notes == ()


def test_a_plan_that_waits_for_batches_is_told_where_nobody_takes_them() -> None:
    waits = plan(sources=(PAGE,), batch=True)
    assert forecast(waits, READ_TWICE, at=AT).notes == (NOT_BATCHED,)
    assert forecast(waits, replace(READ_TWICE, is_halved=True), at=AT).notes == ()
    assert forecast(plan(sources=(PAGE,)), READ_TWICE, at=AT).notes == ()
    only_searched = replace(READ_TWICE, readings=0, searches=1, searcher="opus")
    assert forecast(waits, only_searched, at=AT).notes == (), "it is nothing that a model reads"
