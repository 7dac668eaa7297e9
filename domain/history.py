"""Temporal functions: what a condition may ask about the stored history of one fact.

Everything here is a pure function of the fact's observations and the time of the evaluation. An observation is in force
from the moment it was made until the next one. A window of length d holds the value in force at its start, every
observation since, and the current value; a window that reaches back before the first observation holds what there is.
At the first observation every function is undefined (None): one value proves no change, no record and no trend.

No result over a window depends on how often an unchanged value was looked at.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

import msgspec

from domain.errors import ConditionInvalid
from domain.fact import FactSpec, FactType, FactValue

WINDOW_MAX = timedelta(days=3660)
"""Ten years; a longer window is a slip of the pen."""

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}

Observation = tuple[datetime, FactValue]
"""When a value was seen, and the value."""


class ArgumentKind(StrEnum):
    """What stands after the fact in a call: a fraction (0.1 is ten percent) or a length of time."""

    FRACTION = "fraction"
    WINDOW = "window"


class TemporalFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function: the fact types it takes, its further arguments, the type it gives (None: the fact's own type)."""

    name: str
    takes: frozenset[FactType]
    arguments: tuple[ArgumentKind, ...]
    gives: FactType | None
    meaning: str

    @property
    def usage(self) -> str:
        """How it is written, with an example for each argument."""
        examples = {ArgumentKind.FRACTION: "0.1", ArgumentKind.WINDOW: '"P7D"'}
        return f"{self.name}({', '.join(['fact', *(examples[kind] for kind in self.arguments)])})"


class TemporalCall(msgspec.Struct, frozen=True):
    """A function applied to a fact; `args` are fractions (float) and windows (timedelta). Two spellings of one length
    of time make one call."""

    function: str
    fact: str
    args: tuple[float | timedelta, ...] = ()

    @property
    def text(self) -> str:
        """The call as it is shown and stored, for example `decreased_by(price, 0.1, "P7D")`."""
        shown = (f'"{iso_duration(arg)}"' if isinstance(arg, timedelta) else f"{arg!r}" for arg in self.args)
        return f"{self.function}({', '.join([self.fact, *shown])})"

    @property
    def window(self) -> timedelta:
        """The length of time the call names (zero when it names none)."""
        return next((arg for arg in self.args if isinstance(arg, timedelta)), timedelta())


def _functions() -> dict[str, TemporalFunction]:
    number, listed, anything = frozenset({FactType.NUMBER}), frozenset({FactType.LIST}), frozenset(FactType)
    window, fraction = ArgumentKind.WINDOW, ArgumentKind.FRACTION
    rows: list[tuple[str, frozenset[FactType], tuple[ArgumentKind, ...], FactType | None, str]] = [
        ("previous", anything, (), None, "the last accepted value before this one"),
        ("changed", anything, (), FactType.BOOLEAN, "the value differs from the previous one"),
        ("ago", anything, (window,), None, "the value that was in force that long ago"),
        ("min_over", number, (window,), FactType.NUMBER, "the lowest value in the window"),
        ("max_over", number, (window,), FactType.NUMBER, "the highest value in the window"),
        ("avg_over", number, (window,), FactType.NUMBER, "the average over the window, each value weighted by time"),
        ("decreased_by", number, (fraction, window), FactType.BOOLEAN, "at least that fraction below the highest"),
        ("increased_by", number, (fraction, window), FactType.BOOLEAN, "at least that fraction above the lowest"),
        ("added", listed, (), FactType.LIST, "items that the previous list did not have"),
        ("removed", listed, (), FactType.LIST, "items of the previous list that are gone"),
        ("record_low", number, (window,), FactType.BOOLEAN, "the lowest of the window, in which it was once higher"),
        ("record_high", number, (window,), FactType.BOOLEAN, "the highest of the window, in which it was once lower"),
        ("changes", anything, (window,), FactType.NUMBER, "how often the value changed in the window"),
        ("silent_for", anything, (window,), FactType.BOOLEAN, "the value has not changed for that long"),
    ]
    return {
        name: TemporalFunction(name=name, takes=takes, arguments=arguments, gives=gives, meaning=meaning)
        for name, takes, arguments, gives, meaning in rows
    }


FUNCTIONS: Mapping[str, TemporalFunction] = MappingProxyType(_functions())
ANNOUNCED_FUNCTIONS = frozenset({"held_for", "last_notified"})
"""Names that are taken for later: a condition which uses one is refused with that reason."""


def temporal_call(function: str, fact: FactSpec, args: Sequence[float | str]) -> TemporalCall:
    """The call `function(fact, *args)`, windows given as duration strings; `ConditionInvalid` says what is wrong."""
    if function in ANNOUNCED_FUNCTIONS:
        raise _refusal(f"{function} is not available yet; use silent_for or confirmations")
    known = FUNCTIONS[function]
    if fact.type not in known.takes:
        wanted = " or ".join(sorted(known.takes))
        raise _refusal(f"{function} takes a {wanted}, and {fact.name} is a {fact.type}")
    if len(args) != len(known.arguments):
        raise _refusal(f"{function} is written {known.usage}")
    return TemporalCall(
        function,
        fact.name,
        tuple(_argument(known, kind, arg) for kind, arg in zip(known.arguments, args, strict=True)),
    )


def result_type(call: TemporalCall, fact: FactSpec) -> FactType:
    """The type of value that `call` gives for `fact`."""
    return FUNCTIONS[call.function].gives or fact.type


def lookback(call: TemporalCall) -> timedelta | None:
    """How far back the series must reach; None: the last observation is enough. The value in force at the window's start
    (the last observation at or before it) is always needed too."""
    return call.window or None


def resolve(
    call: TemporalCall, *, current: FactValue | None, series: Sequence[Observation], now: datetime
) -> FactValue | None:
    """What `call` gives at `now`, or None where it is undefined.

    `series` holds the accepted observations before the current one, oldest first, reaching back as `lookback` says;
    `current` is None when the fact was not read this time. Earlier values of another type (the plan was revised) do not
    count.
    """
    if call.function == "previous":
        return series[-1][1] if series else None
    if call.function == "ago":
        return next((value for at, value in reversed(series) if at <= now - call.window), None)
    if current is None:
        return None
    earlier = [(at, value) for at, value in series if _kind(value) is _kind(current)]
    if not earlier:
        return None
    match call.function:
        case "changed":
            return current != earlier[-1][1]
        case "added" | "removed":
            return _difference(call, earlier[-1][1], current)
        case "silent_for":
            return _silent(earlier, current, now - call.window)
        case "changes":
            values = [value for _, value in _in_window(earlier, now - call.window)]
            return float(sum(a != b for a, b in zip(values, [*values[1:], current], strict=True)))
        case _:
            return _over_numbers(call, earlier, current, now)


def parse_window(text: str) -> timedelta:
    """A length of time from ISO 8601 ("P7D", "PT90M", "P1W") or Go's notation ("168h", "1h30m", "7d").

    Raises `ConditionInvalid` for anything else, for months and years (their length varies), and outside 0 to ten years.
    """
    iso = re.fullmatch(
        r"P(?=.)(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=.)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", text
    )
    if iso is not None:
        parts = [(letter, n) for letter, n in zip("wdhms", iso.groups(), strict=True) if n]
    elif re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,6})?[wdhms])+", text):
        parts = [(letter, n) for n, letter in re.findall(r"([\d.]+)([wdhms])", text)]
    elif re.fullmatch(r"P[\dYMWD]+(?:T\w*)?", text):
        raise _refusal(f'months and years differ in length; write days instead of "{text}", for example "P30D"')
    else:
        raise _refusal(f'"{text}" is not a length of time; write for example "P7D", "PT90M", "168h" or "30m"')
    seconds = sum(float(n) * _SECONDS[letter] for letter, n in parts)
    if not 0 < seconds <= WINDOW_MAX.total_seconds():
        raise _refusal(f'a window is longer than nothing and at most {WINDOW_MAX.days} days; "{text}" is not')
    return timedelta(seconds=seconds)


def iso_duration(length: timedelta) -> str:
    """A length of time in ISO 8601 with days as the largest unit: "P7D", "PT1H30M", "PT0S"."""
    minutes, seconds = divmod(length.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{length.microseconds:06d}".rstrip("0") if length.microseconds else ""
    clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if n)
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    days = f"{length.days}D" if length.days else ""
    return f"P{days}T{clock}" if clock else f"P{days or 'T0S'}"


def _refusal(message: str) -> ConditionInvalid:
    return ConditionInvalid(message, field="condition")


def _argument(function: TemporalFunction, kind: ArgumentKind, arg: float | str) -> float | timedelta:
    match kind, arg:
        case ArgumentKind.WINDOW, str():
            return parse_window(arg)
        case ArgumentKind.FRACTION, int() | float():
            most = 1 if function.name == "decreased_by" else 100
            if not 0 < arg <= most:
                raise _refusal(f"a fraction here is above 0 and at most {most}; for 10 % write 0.1")
            return float(arg)
        case _:
            raise _refusal(f"{function.name} is written {function.usage}")


def _kind(value: FactValue) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _in_window(earlier: Sequence[Observation], since: datetime) -> list[Observation]:
    """The observations since `since`, led by the one in force then, dated to the window's start."""
    first = next((i for i, (at, _) in enumerate(earlier) if at > since), len(earlier))
    in_force = [(since, earlier[first - 1][1])] if first else []
    return [*in_force, *earlier[first:]]


def _difference(call: TemporalCall, before: FactValue, current: FactValue) -> list[str] | None:
    """Items compare as members of a set: order and repetition do not count; the answer keeps the list's order."""
    if not isinstance(before, list) or not isinstance(current, list):
        return None
    have, had = (current, before) if call.function == "added" else (before, current)
    return [item for item in dict.fromkeys(have) if item not in set(had)]


def _silent(earlier: Sequence[Observation], current: FactValue, since: datetime) -> bool | None:
    window = _in_window(earlier, since)
    if any(value != current for _, value in window):
        return False
    return True if earlier[0][0] <= since else None


def _over_numbers(
    call: TemporalCall, earlier: Sequence[Observation], current: FactValue, now: datetime
) -> FactValue | None:
    if not isinstance(current, int | float) or isinstance(current, bool):
        return None
    window = [
        (at, float(value)) for at, value in _in_window(earlier, now - call.window) if isinstance(value, int | float)
    ]
    lowest, highest = (choose(current, *(value for _, value in window)) for choose in (min, max))
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
