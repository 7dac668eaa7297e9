"""Lengths of time as conditions have them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.duration import iso_duration, parse_window
from domain.errors import ConditionInvalid


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("P7D", timedelta(days=7)),
        ("P1W", timedelta(days=7)),
        ("PT90M", timedelta(minutes=90)),
        ("P1DT12H", timedelta(hours=36)),
        ("PT45S", timedelta(seconds=45)),
        ("168h", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("7d", timedelta(days=7)),
        ("1.5h", timedelta(minutes=90)),
        ("2w", timedelta(days=14)),
    ],
)
def test_windows_are_read_in_both_notations(text: str, length: timedelta) -> None:
    assert parse_window(text) == length


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("P1M", "days"),
        ("P1Y", "days"),
        ("", "length of time"),
        ("P", "length of time"),
        ("PT", "length of time"),
        ("7", "length of time"),
        ("a week", "length of time"),
        ("-7d", "length of time"),
        ("P0D", "longer than nothing"),
        ("0s", "longer than nothing"),
        ("P99999D", "at most 3660 days"),
        ("999999999w", "at most 3660 days"),
        ("9" * 5000 + "d", "length of time"),
    ],
)
def test_what_is_no_window_is_refused_with_a_cure(text: str, says: str) -> None:
    with pytest.raises(ConditionInvalid, match=says):
        parse_window(text)


@given(
    st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=3660)).map(
        lambda d: d - d % timedelta(seconds=1)
    )
)
def test_a_window_survives_being_written_and_read(length: timedelta) -> None:
    assert parse_window(iso_duration(length)) == length


def test_a_window_with_a_part_of_a_second_is_shown_with_it() -> None:
    assert iso_duration(timedelta(seconds=1.5)) == "PT1.5S"
    assert iso_duration(timedelta()) == "PT0S"
