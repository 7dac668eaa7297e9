"""What the CEL compiler says, in plain words, with a caret in the text the person wrote."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from adapters.cel_calls import CALL_PREFIX, HAS_PREFIX, list_facts, unknown_fact
from adapters.cel_rewriting import FACT_PREFIX, MACROS, NONZERO, SUMMAND, StrictCondition
from adapters.cel_tokens import CONDITION_CHARS_MAX, mistake
from domain.errors import ConditionInvalid
from domain.fact import FactSpec
from domain.temporal_function import FUNCTIONS

_WORDS_FOR_TYPES = {
    "double": "a number",
    "int": "a number",
    "uint": "a number",
    "string": "a text",
    "bool": "a yes-or-no value",
    "bytes": "bytes",
    "null_type": "null",
    "google.protobuf.Timestamp": "a time",
    "timestamp": "a time",
    "google.protobuf.Duration": "a length of time",
    "duration": "a length of time",
}
_CEL_FUNCTIONS = (
    *MACROS,
    "abs",
    "has",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "double",
    "string",
    "timestamp",
)
_HINTS = {
    SUMMAND: "+ adds numbers, and lengths of time to times; texts and lists cannot be joined.",
    NONZERO: "Only numbers can be divided by.",
    "_&&_": "&& takes a comparison on each side, for example price < 50 && in_stock.",
    "_||_": "|| takes a comparison on each side, for example price < 50 || in_stock.",
    "!_": "! takes a comparison, for example !(price < 50).",
    "_?_:_": "Both results of ? : must be of one type.",
    "@in": "in looks for a value in a list of the same type.",
    "contains": 'contains looks for a text in a text: title.contains("x"). In a list: "x" in titles.',
}


def explain(condition: str, strict: StrictCondition, facts: Sequence[FactSpec], said: str) -> ConditionInvalid:
    """The error a person reads for what the compiler `said` about the strict form of their condition."""
    found = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", said)
    if found is None or "max recursion depth" in said or "recursion limit" in said:
        too_much = "recursion" in said or "budget" in said
        what = "the condition is too deep or too much work" if too_much else "the condition cannot be compiled"
        return mistake(condition, 0, what, f"Make it simpler; it may have up to {CONDITION_CHARS_MAX} characters.")
    line, column, message = int(found[1]), int(found[2]), found[3].replace(" [INVALID_ARGUMENT]", "")
    lines = strict.text.text.split("\n")
    in_strict = sum(len(earlier) + 1 for earlier in lines[: line - 1]) + column - 1
    ends_early = "<EOF>' expecting" in message or in_strict >= len(strict.text.text)
    place = len(condition.rstrip()) if ends_early else strict.text.original(in_strict)
    if condition[place : place + 1] == "(" and (name := re.search(r"\w+$", condition[:place].rstrip())):
        place = name.start()
    what, hint = ("the condition ends too early", "") if ends_early else _in_words(message, facts, condition, place)
    return mistake(condition, place, what, hint)


def type_in_words(name: str) -> str:
    """A CEL type as a person would call it."""
    plain = name.strip().removeprefix("wrapper(").rstrip(")")
    return "a list" if plain.startswith("list") else _WORDS_FOR_TYPES.get(plain, plain)


def _in_words(message: str, facts: Sequence[FactSpec], condition: str, place: int) -> tuple[str, str]:
    """What is wrong, and a hint."""
    if found := re.match(r"undeclared reference to '([^']*)'", message):
        return _unknown_name(found[1].removeprefix(FACT_PREFIX), facts, condition, place)
    if found := re.match(r"found no matching overload for '([^']*)' applied to '\((.*)\)'", message):
        return _wrong_types(found[1], found[2])
    if "cannot be the operand of a select" in message:
        return "a fact has no parts that a dot could reach", f"The facts are: {list_facts(facts)}."
    if "Syntax error" in message:
        return (
            "something is missing or does not belong here",
            'A condition reads like price < 50 && title.contains("x").',
        )
    return re.sub(rf"{FACT_PREFIX}|{CALL_PREFIX}\d+|{HAS_PREFIX}\d+", "", message), ""


def _unknown_name(name: str, facts: Sequence[FactSpec], condition: str, place: int) -> tuple[str, str]:
    if re.match(r"\w+\s*\(", condition[place:]):
        known = [*FUNCTIONS, *_CEL_FUNCTIONS]
        close = get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"The functions are: {', '.join(sorted({*known}))}."
        return f"there is no function named {name}", hint
    what, hint = unknown_fact(name, facts)
    return what, hint if hint.startswith("Did") else f'{hint} A text stands in quotes: "{name}".'


def _wrong_types(function: str, types: str) -> tuple[str, str]:
    operands = [type_in_words(name) for name in re.split(r",\s*(?![^(]*\))", types)]
    hint = _HINTS.get(function, "")
    sign = function.replace("_", "")
    if function in {SUMMAND, NONZERO}:
        return f"{operands[0]} cannot stand here", hint
    if sign in {"<", "<=", ">", ">=", "==", "!="} and len(operands) == 2:
        with_null = "A fact that was not found makes the verdict inconclusive by itself." if "null" in operands else ""
        return f"{operands[0]} cannot be compared with {operands[1]} by {sign}", with_null or hint
    shown = sign if re.fullmatch(r"\W+", sign) else function.lstrip("@")
    return f"{shown} cannot take {' and '.join(operands) or 'nothing'}", hint
