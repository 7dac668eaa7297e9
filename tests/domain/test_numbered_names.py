"""What a monitor may be called when its name is taken."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.name import NAME_CHARS_MAX, NUMBERS_MAX, numbered


@pytest.mark.parametrize(
    ("name", "then"),
    [
        ("Kettle", ["Kettle (2)", "Kettle (3)"]),
        ("Kettle (2)", ["Kettle (3)", "Kettle (4)"]),
        ("Kettle (2) (9)", ["Kettle (2) (10)", "Kettle (2) (11)"]),
        ("Kettle (99)", ["Kettle (100)", "Kettle (101)"]),
        ("Kettle (999)", ["Kettle (1000)", "Kettle (1001)"]),
        ("Report (2026)", ["Report (2026) (2)", "Report (2026) (3)"]),
        ("Kettle (1)", ["Kettle (1) (2)", "Kettle (1) (3)"]),
        ("Kettle (02)", ["Kettle (02) (2)", "Kettle (02) (3)"]),
        ("Kettle (٢)", ["Kettle (٢) (2)", "Kettle (٢) (3)"]),
        (" (2)", [" (2) (2)", " (2) (3)"]),
    ],
)
def test_a_name_that_is_taken_gets_the_next_number(name: str, then: list[str]) -> None:
    assert list(islice(numbered(name), 3)) == [name, *then]


@given(st.text(min_size=1, max_size=NAME_CHARS_MAX))
def test_whatever_the_name_it_has_other_ones_that_are_no_longer_than_a_name_may_be(name: str) -> None:
    names = list(numbered(name))
    assert names[0] == name
    assert len(set(names)) == len(names) == 1 + NUMBERS_MAX
    assert all(1 <= len(each) <= NAME_CHARS_MAX for each in names)
