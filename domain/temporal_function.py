"""Temporal functions: what a condition may ask about the stored history of one fact, and how it is written. What each
gives is resolved in `domain.history`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

import msgspec

from domain.duration import iso_duration, parse_window
from domain.errors import ConditionInvalid
from domain.fact import FactSpec, FactType

HELD_FOR, LAST_NOTIFIED = "held_for", "last_notified"
"""The two that look at more than one fact's values: at earlier verdicts, and at what was told of them."""


class ArgumentKind(StrEnum):
    """What stands after the fact in a call: a fraction (0.1 is ten percent) or a length of time."""

    FRACTION = "fraction"
    WINDOW = "window"


class TemporalFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function: the fact types it takes (none: it is not about a fact), its further arguments, the type it gives (None:
    the fact's own type)."""

    name: str
    takes: frozenset[FactType]
    arguments: tuple[ArgumentKind, ...]
    gives: FactType | None
    meaning: str

    @property
    def usage(self) -> str:
        """How it is written, with an example for each argument."""
        examples = {ArgumentKind.FRACTION: "0.1", ArgumentKind.WINDOW: '"P7D"'}
        fact = ["fact"] if self.takes else []
        return f"{self.name}({', '.join([*fact, *(examples[kind] for kind in self.arguments)])})"


class TemporalCall(msgspec.Struct, frozen=True):
    """A function applied to a fact (empty where it takes none); `args` are fractions (float) and windows (timedelta). Two
    spellings of one length of time make one call."""

    function: str
    fact: str
    args: tuple[float | timedelta, ...] = ()

    @property
    def text(self) -> str:
        """The call as it is shown and stored, for example `decreased_by(price, 0.1, "P7D")`."""
        shown = (f'"{iso_duration(arg)}"' if isinstance(arg, timedelta) else f"{arg!r}" for arg in self.args)
        return f"{self.function}({', '.join([*([self.fact] if self.fact else []), *shown])})"

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
        ("silent_for", anything, (window,), FactType.BOOLEAN, "no other value and no added item for that long"),
        (LAST_NOTIFIED, anything, (), None, "the value when a trigger of the monitor last fired"),
        (HELD_FOR, frozenset(), (window,), FactType.BOOLEAN, "the rest of the condition has held for that long"),
    ]
    return {
        name: TemporalFunction(name=name, takes=takes, arguments=arguments, gives=gives, meaning=meaning)
        for name, takes, arguments, gives, meaning in rows
    }


FUNCTIONS: Mapping[str, TemporalFunction] = MappingProxyType(_functions())


def temporal_call(function: str, fact: FactSpec | None, args: Sequence[float | str]) -> TemporalCall:
    """The call `function(fact, *args)`, windows given as duration strings; `ConditionInvalid` says what is wrong."""
    known = FUNCTIONS[function]
    if (fact is not None) != bool(known.takes):
        raise _refusal(f"{function} is written {known.usage}")
    if fact is not None and fact.type not in known.takes:
        wanted = " or ".join(sorted(known.takes))
        raise _refusal(f"{function} takes a {wanted}, and {fact.name} is a {fact.type}")
    if len(args) != len(known.arguments):
        raise _refusal(f"{function} is written {known.usage}")
    return TemporalCall(
        function,
        "" if fact is None else fact.name,
        tuple(_argument(known, kind, arg) for kind, arg in zip(known.arguments, args, strict=True)),
    )


def result_type(call: TemporalCall, facts: Mapping[str, FactSpec]) -> FactType:
    """The type of value that `call` gives, with the facts by name."""
    return FUNCTIONS[call.function].gives or facts[call.fact].type


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
