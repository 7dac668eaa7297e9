"""History: what a temporal function gives over the stored observations of one fact.

Everything here is a pure function of the fact's observations and the time of the evaluation. An observation is in force
from the moment it was made until the next one. A window of length d holds the value in force at its start, every
observation since, and the current value; a window that reaches back before the first observation holds what there is.
At the first observation every function is undefined (None): one value proves no change, no record and no trend.

Observations come in the order they were made, which is that of the log: clocks jump. Where their times run backwards, one
stamped later than a following one, or than now, counts as made when that was.

No result over a window depends on how often an unchanged value was looked at.

The items of a feed are known by their identities (`Fact.keys`): where both lists that are compared have them, an item is
another one when its identity is, whatever it is called and wherever it stands. Other lists are compared by their values.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from domain.fact import Fact, FactValue
from domain.temporal_function import LAST_NOTIFIED, TemporalCall


class Observation(NamedTuple):
    """When a value was seen, the value, and what the items of a list are known by where they are not their own names."""

    at: datetime
    value: FactValue
    keys: list[str] | None = None


def observation_of(fact: Fact) -> Observation:
    """What was seen when `fact` was read."""
    return Observation(fact.observed_at, fact.value, fact.keys)


def lookback(call: TemporalCall) -> timedelta | None:
    """How far back the series must reach; None: the last observation is enough. The value in force at the window's start
    (the last observation at or before it) is always needed too."""
    return call.window or None


def resolve(
    call: TemporalCall, *, current: Observation | None, series: Sequence[Observation], now: datetime
) -> FactValue | None:
    """What `call` gives at `now`, or None where it is undefined.

    `series` holds the accepted observations before the current one, in the order they were made, reaching back as `lookback` says, and for
    `last_notified` the one that was in force at the last firing; `current` is None when the fact was not read this time.
    Earlier values of another type (the plan was revised) do not count.
    """
    series = _never_backwards(series, now)
    if call.function in {"previous", LAST_NOTIFIED}:
        if call.function == LAST_NOTIFIED and series and current is not None and not _alike(series[-1], current):
            return None
        return series[-1].value if series else None
    if call.function == "ago":
        return next((observed.value for observed in reversed(series) if observed.at <= now - call.window), None)
    if current is None:
        return None
    earlier = [observed for observed in series if _alike(observed, current)]
    if not earlier:
        return None
    match call.function:
        case "changed":
            return _differs(earlier[-1], current)
        case "added":
            return _items_only_in(current, earlier[-1])
        case "removed":
            return _items_only_in(earlier[-1], current)
        case "silent_for":
            return _silent(earlier, current, now - call.window)
        case "changes":
            seen = [*_in_window(earlier, now - call.window), current]
            return float(sum(_differs(a, b) for a, b in pairwise(seen)))
        case _:
            return _over_numbers(call, earlier, current.value, now)


def has_held(call: TemporalCall, *, since: datetime, now: datetime) -> bool:
    """What `held_for(d)` says at `now` when the rest of the condition has been met since `since`."""
    return now - since >= call.window


def _never_backwards(series: Sequence[Observation], now: datetime) -> list[Observation]:
    dated, latest = list(series), now
    for i in range(len(dated) - 1, -1, -1):
        if dated[i].at > latest:
            dated[i] = dated[i]._replace(at=latest)
        latest = dated[i].at
    return dated


def _alike(one: Observation, other: Observation) -> bool:
    """Whether the values are of one type. Numbers are doubles, and JSON may have them without a fraction."""
    return _kind(one.value) is _kind(other.value)


def _kind(value: FactValue) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _in_window(earlier: Sequence[Observation], since: datetime) -> list[Observation]:
    """The observations since `since`, led by the one in force then, dated to the window's start."""
    first = next((i for i, observed in enumerate(earlier) if observed.at > since), len(earlier))
    in_force = [earlier[first - 1]._replace(at=since)] if first else []
    return [*in_force, *earlier[first:]]


def _differs(before: Observation, after: Observation) -> bool:
    if before.keys is None or after.keys is None:
        return before.value != after.value
    return set(before.keys) != set(after.keys)


def _items_only_in(one: Observation, other: Observation) -> list[str] | None:
    """The items of `one` that `other` does not have, each once, in the order of `one`; None where they are no lists."""
    if not isinstance(one.value, list) or not isinstance(other.value, list):
        return None
    own, others = one.value, other.value
    if one.keys is not None and other.keys is not None:
        own, others = one.keys, other.keys
    known, found = set(others), dict[str, str]()
    for key, item in zip(own, one.value, strict=True):
        if key not in known:
            found.setdefault(key, item)
    return list(found.values())


def _silent(earlier: Sequence[Observation], current: Observation, since: datetime) -> bool | None:
    if any(_brings_news(a, b) for a, b in pairwise([*_in_window(earlier, since), current])):
        return False
    return True if earlier[0].at <= since else None


def _brings_news(before: Observation, after: Observation) -> bool:
    """Whether it is another value, of a list whether it has items that were not there: an item that falls off its end is
    no news."""
    added = _items_only_in(after, before)
    return before.value != after.value if added is None else bool(added)


def _over_numbers(
    call: TemporalCall, earlier: Sequence[Observation], current: FactValue, now: datetime
) -> FactValue | None:
    if not isinstance(current, int | float) or isinstance(current, bool):
        return None
    in_window = _in_window(earlier, now - call.window)
    window = [(seen.at, seen.value) for seen in in_window if isinstance(seen.value, int | float)]
    values = [current, *(value for _, value in window)]
    lowest, highest = min(values), max(values)
    match call.function:
        case "min_over":
            return float(lowest)
        case "max_over":
            return float(highest)
        case "avg_over":
            return _time_weighted(window, now)
        case "record_low":
            return current == lowest < highest
        case "record_high":
            return current == highest > lowest
        case _:
            return _moved_by(call, current, lowest=lowest, highest=highest)


def _time_weighted(window: Sequence[tuple[datetime, float]], now: datetime) -> float | None:
    ends = [*(at for at, _ in window[1:]), now]
    spans = [(end - at).total_seconds() for (at, _), end in zip(window, ends, strict=True)]
    if sum(spans) <= 0:
        return None
    average = sum(value * span for (_, value), span in zip(window, spans, strict=True)) / sum(spans)
    values = [value for _, value in window]
    return min(max(average, min(values)), max(values))  # rounding must not leave the range of what was seen


def _moved_by(call: TemporalCall, current: float, *, lowest: float, highest: float) -> bool | None:
    """Compared as the decimal numbers people read, so that 10 % below 49.90 is exactly 44.91. A fraction of nothing or
    of a negative number means nothing: undefined."""
    base = highest if call.function == "decreased_by" else lowest
    fraction = next(Fraction(repr(arg)) for arg in call.args if isinstance(arg, float))
    if base <= 0:
        return None
    if call.function == "decreased_by":
        return Fraction(repr(current)) <= Fraction(repr(base)) * (1 - fraction)
    return Fraction(repr(current)) >= Fraction(repr(base)) * (1 + fraction)
