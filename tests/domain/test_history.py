"""Temporal functions, held against slow and obvious versions of themselves."""

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.duration import iso_duration
from domain.errors import ConditionInvalid
from domain.fact import FactSpec, FactType, FactValue
from domain.history import Observation, has_held, lookback, resolve
from domain.temporal_function import FUNCTIONS, TemporalCall, result_type, temporal_call

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRICE = FactSpec(name="price", type=FactType.NUMBER)
TITLES = FactSpec(name="titles", type=FactType.LIST)
OF_A_FACT = FUNCTIONS.keys() - {"held_for"}
NUMBER_FUNCTIONS = sorted(name for name, function in FUNCTIONS.items() if FactType.NUMBER in function.takes)


def series(*values: FactValue, every: timedelta = timedelta(hours=1)) -> list[Observation]:
    """Values seen at even steps, the last one step before NOW."""
    return [Observation(NOW - every * (len(values) - i), value) for i, value in enumerate(values)]


def ask(text_function: str, *args: float | str, current: FactValue | None, earlier: list[Observation]) -> object:
    spec = TITLES if text_function in {"added", "removed"} else PRICE
    seen = None if current is None else Observation(NOW, current)
    return resolve(temporal_call(text_function, spec, args), current=seen, series=earlier, now=NOW)


def ask_titles(function: str, *args: float | str, current: list[str], earlier: list[Observation]) -> object:
    return resolve(temporal_call(function, TITLES, args), current=Observation(NOW, current), series=earlier, now=NOW)


minutes_ago = st.lists(st.integers(1, 300), max_size=12, unique=True).map(lambda xs: sorted(xs, reverse=True))
prices = st.integers(1, 6).map(float)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Observation], float, int]:
    ages = draw(minutes_ago)
    earlier = [Observation(NOW - timedelta(minutes=age), draw(prices)) for age in ages]
    return earlier, draw(prices), draw(st.integers(1, 320))


def in_force(earlier: list[Observation], at: datetime) -> float | None:
    seen = [float(one.value) for one in earlier if one.at <= at and isinstance(one.value, float)]
    return seen[-1] if seen else None


def by_the_minute(earlier: list[Observation], window: int) -> list[float]:
    """The value in force in each minute of the window, oldest first: the slow and obvious picture of the past."""
    every = [in_force(earlier, NOW - timedelta(minutes=m)) for m in range(window, 0, -1)]
    return [value for value in every if value is not None]


@given(histories())
def test_windows_agree_with_a_minute_by_minute_picture_of_the_past(
    history: tuple[list[Observation], float, int],
) -> None:
    earlier, current, minutes = history
    window = f"{minutes}m"
    past = by_the_minute(earlier, minutes)
    seen = [*past, current]

    def answer(function: str, *args: float | str) -> object:
        return ask(function, *args, window, current=current, earlier=earlier)

    if not earlier:
        assert {name: answer(name) for name in ("min_over", "max_over", "avg_over", "changes", "silent_for")} == (
            dict.fromkeys(("min_over", "max_over", "avg_over", "changes", "silent_for"))
        )
        return
    assert answer("min_over") == min(seen)
    assert answer("max_over") == max(seen)
    assert answer("avg_over") == pytest.approx(sum(past) / len(past))
    assert answer("changes") == sum(a != b for a, b in itertools.pairwise(seen))
    assert answer("record_low") is (current == min(seen) and max(seen) > current)
    assert answer("record_high") is (current == max(seen) and min(seen) < current)
    assert answer("decreased_by", 0.25) is (Fraction(current) <= Fraction(3, 4) * Fraction(max(seen)))
    assert answer("increased_by", 0.25) is (Fraction(current) >= Fraction(5, 4) * Fraction(min(seen)))
    assert answer("ago") == in_force(earlier, NOW - timedelta(minutes=minutes))
    if any(value != current for value in past):
        assert answer("silent_for") is False
    else:
        assert answer("silent_for") is (True if len(past) == minutes else None)


@given(histories())
def test_looking_more_often_at_an_unchanged_value_changes_no_window(
    history: tuple[list[Observation], float, int],
) -> None:
    earlier, current, minutes = history
    often = [
        one._replace(at=one.at + timedelta(seconds=20 * i)) for one in earlier for i in range(3)
    ]  # twenty seconds: less than the minute between observations
    for function in ("min_over", "max_over", "changes", "record_low", "record_high", "silent_for"):
        once = ask(function, f"{minutes}m", current=current, earlier=earlier)
        assert ask(function, f"{minutes}m", current=current, earlier=often) == once
    average = ask("avg_over", f"{minutes}m", current=current, earlier=earlier)
    assert ask("avg_over", f"{minutes}m", current=current, earlier=often) == (
        None if average is None else pytest.approx(average)
    )


@given(histories())
def test_the_series_need_not_reach_further_back_than_lookback_says(
    history: tuple[list[Observation], float, int],
) -> None:
    earlier, current, minutes = history
    for function in NUMBER_FUNCTIONS:
        args = [0.25 if kind == "fraction" else f"{minutes}m" for kind in FUNCTIONS[function].arguments]
        call = temporal_call(function, PRICE, args)
        reach = lookback(call)
        since = NOW if reach is None else NOW - reach
        before = [one for one in earlier if one.at <= since]
        needed, seen = [*before[-1:], *(one for one in earlier if one.at > since)], Observation(NOW, current)
        assert resolve(call, current=seen, series=needed, now=NOW) == resolve(
            call, current=seen, series=earlier, now=NOW
        )


@given(st.lists(st.sampled_from("abcd"), max_size=6), st.lists(st.sampled_from("abcd"), max_size=6))
def test_added_and_removed_compare_lists_as_sets(before: list[str], current: list[str]) -> None:
    added = ask("added", current=current, earlier=series(before))
    removed = ask("removed", current=current, earlier=series(before))
    assert isinstance(added, list)
    assert isinstance(removed, list)
    assert set(added) == set(current) - set(before)
    assert set(removed) == set(before) - set(current)
    assert len(set(added)) == len(added)


def test_added_keeps_the_order_of_the_list() -> None:
    assert ask("added", current=["new 2", "old", "new 1"], earlier=series(["old"])) == ["new 2", "new 1"]


@pytest.mark.parametrize("function", sorted(OF_A_FACT))
def test_at_the_first_observation_everything_is_undefined(function: str) -> None:
    spec = TITLES if FUNCTIONS[function].takes == {FactType.LIST} else PRICE
    args = [0.1 if kind == "fraction" else "P7D" for kind in FUNCTIONS[function].arguments]
    current: FactValue = ["a"] if spec is TITLES else 5.0
    assert resolve(temporal_call(function, spec, args), current=Observation(NOW, current), series=[], now=NOW) is None


@pytest.mark.parametrize("function", sorted(OF_A_FACT - {"previous", "ago", "last_notified"}))
def test_without_a_current_value_there_is_nothing_to_compare(function: str) -> None:
    spec = TITLES if FUNCTIONS[function].takes == {FactType.LIST} else PRICE
    args = [0.1 if kind == "fraction" else "PT1H" for kind in FUNCTIONS[function].arguments]
    earlier = series(["a"], ["b"]) if spec is TITLES else series(1.0, 2.0)
    assert resolve(temporal_call(function, spec, args), current=None, series=earlier, now=NOW) is None


def test_the_last_value_that_was_told_counts_while_the_fact_has_its_type() -> None:
    assert ask("last_notified", current=5.0, earlier=series(2.0)) == 2.0
    assert ask("last_notified", current=None, earlier=series(2.0)) == 2.0
    assert ask("last_notified", current=5.0, earlier=series("two")) is None


@given(st.timedeltas(timedelta(), timedelta(days=2)), st.integers(1, 2 * 24 * 60))
def test_a_condition_has_held_for_a_time_from_the_very_moment_that_is_over(since: timedelta, minutes: int) -> None:
    call = temporal_call("held_for", None, [f"{minutes}m"])
    assert has_held(call, since=NOW - since, now=NOW) is (since / timedelta(minutes=1) >= minutes)
    assert call.text == f'held_for("{iso_duration(timedelta(minutes=minutes))}")'


def test_a_list_is_silent_while_nothing_is_added_to_it() -> None:
    fell_off = series(["a", "b", "c"], ["a", "b"], ["b", "a"])
    assert ask_titles("silent_for", "2h", current=["a"], earlier=fell_off) is True
    assert ask_titles("silent_for", "2h", current=["a", "c"], earlier=fell_off) is False
    assert ask_titles("silent_for", "1h", current=["a"], earlier=series(["b"], ["b", "a"])) is True


items = st.lists(st.tuples(st.sampled_from("1234"), st.sampled_from("AB")), max_size=6)
"""Of a feed: what each is known by, and what it is called."""


def listed(hours_ago: int, feed: list[tuple[str, str]]) -> Observation:
    """A feed that was seen."""
    return Observation(NOW - timedelta(hours=hours_ago), [title for _, title in feed], [key for key, _ in feed])


def ask_feed(function: str, *args: str, current: Observation, earlier: list[Observation]) -> object:
    return resolve(temporal_call(function, TITLES, args), current=current, series=earlier, now=NOW)


@given(before=items, current=items)
def test_items_with_keys_are_told_apart_by_them_whatever_their_titles_and_order(
    before: list[tuple[str, str]], current: list[tuple[str, str]]
) -> None:
    had, has = dict(reversed(before)), dict(reversed(current))
    seen, earlier = listed(0, current), [listed(1, before)]
    titles_of = {key: [title for other, title in current if other == key] for key, _ in current}
    new = [key for key in dict.fromkeys(key for key, _ in current) if key not in had]
    gone = [had[key] for key in dict.fromkeys(key for key, _ in before) if key not in has]
    assert ask_feed("added", current=seen, earlier=earlier) == [titles_of[key][0] for key in new]
    assert ask_feed("removed", current=seen, earlier=earlier) == gone
    assert ask_feed("changed", current=seen, earlier=earlier) is (bool(new) or bool(gone))
    assert ask_feed("changes", "2h", current=seen, earlier=earlier) == float(bool(new) or bool(gone))
    assert ask_feed("silent_for", "1h", current=seen, earlier=earlier) is not bool(new)


def test_a_value_that_was_seen_is_shown_as_it_was_seen_whatever_it_is_known_by() -> None:
    current, earlier = listed(0, [("1", "A (edited)")]), [listed(2, [("1", "A")]), listed(1, [("1", "A (edit)")])]
    assert ask_feed("previous", current=current, earlier=earlier) == ["A (edit)"]
    assert ask_feed("ago", "2h", current=current, earlier=earlier) == ["A"]
    assert ask_feed("last_notified", current=current, earlier=earlier) == ["A (edit)"]


def test_an_item_that_comes_back_is_news_where_the_window_holds_a_list_without_it() -> None:
    away = [listed(3, [("1", "A"), ("2", "B")]), listed(2, [("1", "A")]), listed(1, [("1", "A"), ("2", "B")])]
    current = listed(0, [("2", "B"), ("1", "A")])
    assert ask_feed("silent_for", "1h", current=current, earlier=away) is True
    assert ask_feed("silent_for", "2h", current=current, earlier=away) is False
    assert ask_feed("changes", "3h", current=current, earlier=away) == 2.0


def test_a_list_that_was_seen_without_keys_is_compared_by_its_values() -> None:
    keyed, plain = listed(0, [("1", "A"), ("2", "B")]), Observation(NOW - timedelta(hours=1), ["B", "C"])
    assert ask_feed("added", current=keyed, earlier=[plain]) == ["A"]
    assert ask_feed("removed", current=keyed, earlier=[plain]) == ["C"]
    assert ask_feed("changed", current=keyed, earlier=[plain._replace(value=["A", "B"])]) is False
    assert ask_feed("silent_for", "1h", current=plain, earlier=[keyed._replace(at=plain.at)]) is False


def test_previous_and_ago_do_not_need_a_current_value() -> None:
    assert ask("previous", current=None, earlier=series(1.0, 2.0)) == 2.0
    assert ask("ago", "2h", current=None, earlier=series(1.0, 2.0)) == 1.0


def test_a_value_is_in_force_from_the_very_moment_it_was_seen() -> None:
    assert ask("ago", "1h", current=3.0, earlier=series(1.0, 2.0)) == 2.0
    assert ask("ago", "61m", current=3.0, earlier=series(1.0, 2.0)) == 1.0
    assert ask("ago", "121m", current=3.0, earlier=series(1.0, 2.0)) is None


def test_changed_looks_at_the_last_observation_only() -> None:
    assert ask("changed", current=1.0, earlier=series(1.0, 2.0)) is True
    assert ask("changed", current=2.0, earlier=series(1.0, 2.0)) is False


def test_the_value_in_force_at_the_start_of_a_window_belongs_to_it() -> None:
    earlier = series(100.0, 80.0, every=timedelta(days=5))  # seen 10 and 5 days ago
    assert ask("max_over", "P7D", current=70.0, earlier=earlier) == 100.0
    assert ask("max_over", "P5D", current=70.0, earlier=earlier) == 80.0


def test_an_average_weighs_each_value_by_the_time_it_was_in_force() -> None:
    earlier = [Observation(NOW - timedelta(hours=4), 10.0), Observation(NOW - timedelta(hours=1), 30.0)]
    assert ask("avg_over", "4h", current=99.0, earlier=earlier) == 15.0


def test_an_average_over_no_time_at_all_is_undefined() -> None:
    assert ask("avg_over", "4h", current=99.0, earlier=[Observation(NOW, 10.0)]) is None


@pytest.mark.parametrize(("current", "met"), [(44.91, True), (44.92, False), (44.9, True)])
def test_ten_percent_is_reckoned_in_the_decimals_people_read(current: float, met: bool) -> None:  # noqa: FBT001 - a table
    assert ask("decreased_by", 0.1, "P7D", current=current, earlier=series(49.9)) is met


@pytest.mark.parametrize(("current", "met"), [(3.3, True), (3.29, False)])
def test_a_rise_is_reckoned_from_the_lowest(current: float, met: bool) -> None:  # noqa: FBT001 - a table
    assert ask("increased_by", 0.1, "P7D", current=current, earlier=series(5.0, 3.0)) is met


def test_a_fraction_of_nothing_is_undefined() -> None:
    assert ask("decreased_by", 0.1, "P7D", current=-2.0, earlier=series(0.0)) is None
    assert ask("increased_by", 0.1, "P7D", current=2.0, earlier=series(0.0)) is None


def test_a_flat_line_sets_no_record_and_a_low_stays_one_while_it_lasts() -> None:
    assert ask("record_low", "P7D", current=5.0, earlier=series(5.0, 5.0)) is False
    assert ask("record_low", "P7D", current=4.0, earlier=series(5.0, 5.0)) is True
    assert ask("record_low", "P7D", current=4.0, earlier=series(5.0, 4.0)) is True
    assert ask("record_low", "P7D", current=4.0, earlier=series(3.0, 5.0)) is False


def test_silence_is_only_known_after_that_long() -> None:
    assert ask("silent_for", "2h", current=1.0, earlier=series(1.0)) is None
    assert ask("silent_for", "2h", current=1.0, earlier=series(1.0, 1.0)) is True
    assert ask("silent_for", "2h", current=2.0, earlier=series(1.0, 1.0, 1.0)) is False


def test_values_of_an_earlier_type_do_not_count() -> None:
    assert ask("changed", current=5.0, earlier=series("five")) is None
    assert ask("max_over", "P7D", current=5.0, earlier=series("five", 7.0, ["x"])) == 7.0
    assert ask("changed", current=5.0, earlier=series(5)) is False
    assert ask("added", current="a", earlier=series("b")) is None
    assert ask("min_over", "P7D", current="a", earlier=series("b")) is None


def test_two_spellings_of_one_window_are_one_call() -> None:
    calls = {temporal_call("decreased_by", PRICE, [0.1, text]) for text in ("P7D", "168h", "1w")}
    assert calls == {TemporalCall("decreased_by", "price", (0.1, timedelta(days=7)))}
    assert calls.pop().text == 'decreased_by(price, 0.1, "P7D")'


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("decreased_by", [10.0, "P7D"], "for 10 % write 0.1"),
        ("decreased_by", [0.0, "P7D"], "above 0"),
        ("decreased_by", [0.1], "is written decreased_by"),
        ("decreased_by", ["P7D", 0.1], "is written decreased_by"),
        ("changed", ["P7D"], r"is written changed\(fact\)"),
        ("added", [], "takes a list, and price is a number"),
        ("held_for", ["P1D"], r'is written held_for\("P7D"\)'),
        ("last_notified", ["P1D"], r"is written last_notified\(fact\)"),
    ],
)
def test_a_wrong_call_is_refused_with_a_cure(function: str, args: list[float | str], says: str) -> None:
    with pytest.raises(ConditionInvalid, match=says):
        temporal_call(function, PRICE, args)


def test_the_type_of_a_result_follows_the_fact_or_the_function() -> None:
    facts, day = {"titles": TITLES}, (timedelta(days=1),)
    assert result_type(TemporalCall("previous", "titles"), facts) is FactType.LIST
    assert result_type(TemporalCall("last_notified", "titles"), facts) is FactType.LIST
    assert result_type(TemporalCall("changes", "titles", day), facts) is FactType.NUMBER
    assert result_type(TemporalCall("held_for", "", day), facts) is FactType.BOOLEAN
    assert lookback(TemporalCall("changed", "price")) is None
    assert lookback(temporal_call("ago", PRICE, ["P7D"])) == timedelta(days=7)


def test_what_a_clock_ahead_saw_counts_as_seen_no_later_than_what_came_after_it() -> None:
    seen = [Observation(NOW + timedelta(hours=hours), float(i)) for i, hours in enumerate((-9, 5, -4, 3))]
    for window, value in (("PT3H", 2.0), ("PT5H", 0.0), ("PT4H", 2.0), ("PT9H", 0.0)):
        call = temporal_call("ago", PRICE, [window])
        assert resolve(call, current=None, series=seen, now=NOW) == value
