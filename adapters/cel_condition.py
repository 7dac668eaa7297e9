"""Conditions in Google's Common Expression Language, compiled against a plan's facts and judged over their values.

The language: https://github.com/cel-expr/cel-spec (langdef), without joining of texts or lists, `dyn` and the clock.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
from cel_expr_python import cel  # type: ignore[import-untyped]  # its wheel has stubs but no py.typed marker

from adapters.cel_calls import CALL_PREFIX, HAS_PREFIX, list_facts
from adapters.cel_messages import explain, type_in_words
from adapters.cel_rewriting import FACT_PREFIX, NONZERO, SUMMAND, Literal, StrictCondition, rewrite
from adapters.cel_tokens import mistake
from domain.condition import Judgement
from domain.evaluation import Verdict
from domain.fact import FactSpec, FactType, FactValue
from domain.temporal_function import TemporalCall, result_type

PROGRAMS_MAX = 1_024
"""Compiled conditions kept; compiling one again takes about a fifth of a millisecond."""

CHARS_MAX, LOOPED_CHARS_MAX = 200_000, 20_000
"""How much text a condition may look at, outside and inside loops: CEL stops after 10,000 rounds, and a search through
20,000 characters takes some 30 microseconds, so that the worst condition takes about a third of a second."""

ALL_USED: Mapping[str, str] = MappingProxyType({})
"""Every value that was found is among those that are judged."""

_CEL_TYPES = {
    FactType.NUMBER: cel.Type.DOUBLE,
    FactType.BOOLEAN: cel.Type.BOOL,
    FactType.TEXT: cel.Type.STRING,
    FactType.LIST: cel.Type.List(cel.Type.STRING),
    FactType.TIMESTAMP: cel.Type.TIMESTAMP,
}


class _Unfit(Exception):
    """A value that its fact's type does not allow."""


class _Program(msgspec.Struct, frozen=True):
    """A compiled condition: the facts it uses (directly or in calls), its temporal calls and their types."""

    strict: StrictCondition
    expression: Any
    types: dict[str, FactType]
    call_types: tuple[FactType, ...]


class _Bound(msgspec.Struct, frozen=True):
    """CEL's variables with their values, why facts have none, and which temporal calls are undefined."""

    data: dict[str, object]
    unfit: list[str]
    undefined: list[str]


class CelConditionLanguage:
    """The condition language of plans. Safe to share: it keeps nothing but compiled programs."""

    def __init__(self) -> None:
        self._program = lru_cache(maxsize=PROGRAMS_MAX)(_compile)

    def check(self, condition: str, facts: Sequence[FactSpec]) -> tuple[TemporalCall, ...]:
        """Compile `condition` against `facts`; the temporal calls it makes.

        Raises `ConditionInvalid` (field "condition"): the condition as it was written, a caret under the mistake, what
        is wrong and what would help.
        """
        return self._program(condition, tuple(facts)).strict.calls

    def check_asked(self, condition: str, facts: Sequence[FactSpec]) -> tuple[TemporalCall, ...]:
        """As `check`, for a condition that somebody asks for: it also has to refer to a fact, or it would say the same for
        ever. One that is stored is taken as it is."""
        strict = self._program(condition, tuple(facts)).strict
        if not strict.facts:
            what = "this refers to no fact, so it would say the same for ever"
            raise mistake(condition, 0, what, f"Refer to a fact; the facts are: {list_facts(facts)}.")
        return strict.calls

    def judge(
        self,
        condition: str,
        facts: Sequence[FactSpec],
        values: Mapping[str, FactValue | None],
        temporal: Mapping[TemporalCall, FactValue | None],
        *,
        not_used: Mapping[str, str] = ALL_USED,
    ) -> Judgement:
        """The verdict of `condition` over `values` (by fact name) and `temporal` results; raises like `check`. `not_used` says
        in words why facts have no value that were found.

        A value that is missing or not of its type makes the verdict inconclusive, an undefined temporal result makes it
        not met, unless && or || or ?: decide without it, as CEL says. Where both are wanting it is inconclusive.
        """
        program = self._program(condition, tuple(facts))
        inputs: dict[str, FactValue | None] = {name: values.get(name) for name in program.strict.facts}
        inputs |= {call.text: temporal.get(call) for call in program.strict.calls}

        def said(verdict: Verdict, reason: str | None = None) -> Judgement:
            return Judgement(condition=condition, verdict=verdict, inputs=inputs, reason=reason)

        bound = _bind(program, values, temporal, not_used)
        try:
            result = program.expression.eval(data=bound.data)
            kind, value = result.type(), result.value()
        except (RuntimeError, TypeError, ValueError) as error:  # the bound on work, or text that is not Unicode
            return said(Verdict.INCONCLUSIVE, reason=_plain(str(error)))
        if kind == cel.Type.BOOL:
            return said(Verdict.MET if value else Verdict.NOT_MET)
        if bound.unfit:
            return said(Verdict.INCONCLUSIVE, reason="; ".join(bound.unfit))
        if bound.undefined and "No value with name" in value:
            return said(Verdict.NOT_MET, reason=f"not enough history yet for {', '.join(bound.undefined)}")
        return said(Verdict.INCONCLUSIVE, reason=_plain(value))


def _compile(condition: str, facts: tuple[FactSpec, ...]) -> _Program:
    strict = rewrite(condition, facts)
    specs = {fact.name: fact for fact in facts}
    call_types = tuple(result_type(call, specs) for call in strict.calls)
    variables = {f"{FACT_PREFIX}{fact.name}": _CEL_TYPES[fact.type] for fact in facts}
    variables |= {f"{CALL_PREFIX}{n}": _CEL_TYPES[kind] for n, kind in enumerate(call_types)}
    variables |= {f"{HAS_PREFIX}{n}": cel.Type.BOOL for n in range(len(call_types))}
    try:
        environment = cel.NewEnv(variables=variables, functions=[_nonzero(), _summand(), _abs()])
        expression = environment.compile(strict.text.text)
    except RuntimeError as error:
        raise explain(condition, strict, facts, str(error)) from None
    except (UnicodeError, TypeError):
        raise mistake(condition, 0, "the condition holds characters that are not Unicode text", "") from None
    if expression.return_type() != cel.Type.BOOL:
        what = f"a condition says yes or no; this one gives {type_in_words(expression.return_type().name().lower())}"
        raise mistake(condition, 0, what, "Compare it with something, for example price < 50 or size(titles) > 0.")
    for literal in strict.literals:
        _check_literal(condition, literal)
    types = {name: specs[name].type for name in strict.facts}
    return _Program(strict, expression, types, call_types)


def _check_literal(condition: str, literal: Literal) -> None:
    """Find out now what would fail at every evaluation: a malformed pattern, length of time or time."""
    matches = literal.function == "matches"
    source = f"''.matches({literal.token.text})" if matches else f"{literal.function}({literal.token.text})"
    result = cel.NewEnv().compile(source).eval(data={})
    if result.type() == cel.Type.ERROR:
        kinds = {
            "matches": ("this is not a regular expression", f"RE2 syntax: {_plain(str(result.value()))}."),
            "duration": ("this is not a length of time", 'Write for example duration("168h") or duration("30m").'),
            "timestamp": ("this is not a time", 'Write for example timestamp("2026-01-31T08:00:00Z").'),
        }
        raise mistake(condition, literal.token.start, *kinds[literal.function])


def _bind(
    program: _Program,
    values: Mapping[str, FactValue | None],
    temporal: Mapping[TemporalCall, FactValue | None],
    not_used: Mapping[str, str],
) -> _Bound:
    """Values for the variables; one without a value is left out, which CEL takes as an error that && and || absorb."""
    bound = _Bound({}, [], [])
    for name, kind in program.types.items():
        if values.get(name) is None:
            bound.unfit.append(not_used.get(name, f"{name} was not found"))
            continue
        try:
            bound.data[f"{FACT_PREFIX}{name}"] = _cel_value(name, kind, values.get(name), program.strict.macros)
        except _Unfit as problem:
            bound.unfit.append(str(problem))
    for n, (call, kind) in enumerate(zip(program.strict.calls, program.call_types, strict=True)):
        value = temporal.get(call)
        bound.data[f"{HAS_PREFIX}{n}"] = value is not None
        if value is None:
            bound.undefined.append(call.text)
            continue
        try:
            bound.data[f"{CALL_PREFIX}{n}"] = _cel_value(call.text, kind, value, program.strict.macros)
        except _Unfit as problem:
            bound.unfit.append(str(problem))
    return bound


def _cel_value(name: str, kind: FactType, value: FactValue | None, macros: int) -> object:
    """The value as CEL wants it; `_Unfit` when it is of another type, or too long to look through."""
    chars_max = LOOPED_CHARS_MAX if macros else CHARS_MAX
    match kind, value:
        case (FactType.BOOLEAN, bool()):
            return value
        case (FactType.NUMBER, int() | float()) if not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        case (FactType.TEXT, str()):
            _check_length(name, len(value), chars_max)
            return value
        case (FactType.LIST, list()) if all(isinstance(item, str) for item in value):
            _check_length(name, sum(map(len, value)), LOOPED_CHARS_MAX if macros > 1 else CHARS_MAX)
            return value
        case (FactType.TIMESTAMP, str()):
            return _time(name, value)
        case _:
            raise _Unfit(f"{name} is not a {kind}")


def _check_length(name: str, chars: int, chars_max: int) -> None:
    if chars > chars_max:
        raise _Unfit(f"{name} has {chars} characters; this condition can look through {chars_max}")


def _time(name: str, value: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise _Unfit(f"{name} is not a timestamp: {value[:40]!r}") from None
    if time.tzinfo is None:
        raise _Unfit(f"{name} has no time zone")
    return time


def _plain(said: str) -> str:
    """An error of the evaluation without the library's codes and Vigil's prefixes."""
    text = said.split(": ", 1)[-1].split(" [", maxsplit=1)[0].replace(FACT_PREFIX, "")
    return "the condition took too much work" if "budget exceeded" in text else text


def _nonzero() -> cel.FunctionDecl:
    def check(divisor: float) -> float:
        if divisor == 0:
            raise ZeroDivisionError("division by zero")
        return divisor

    double = cel.Type.DOUBLE
    overload = cel.Overload("nonzero_double", return_type=double, parameters=[double], impl=check)
    return cel.FunctionDecl(NONZERO, [overload])


def _abs() -> cel.FunctionDecl:
    double = cel.Type.DOUBLE
    overload = cel.Overload("abs_double", return_type=double, parameters=[double], impl=abs)
    return cel.FunctionDecl("abs", [overload])


def _summand() -> cel.FunctionDecl:
    kinds = {"double": cel.Type.DOUBLE, "duration": cel.Type.DURATION, "timestamp": cel.Type.TIMESTAMP}
    return cel.FunctionDecl(
        SUMMAND,
        [
            cel.Overload(f"summand_{name}", return_type=kind, parameters=[kind], impl=lambda value: value)
            for name, kind in kinds.items()
        ],
    )
