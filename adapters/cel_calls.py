"""Temporal calls in a condition: found among its tokens, checked, and replaced by variables."""

import re
from collections.abc import Container, Mapping, Sequence
from difflib import get_close_matches

from adapters.cel_tokens import CLOSING, Token, TokenKind, matching_brackets, mistake, tokenise
from domain.errors import ConditionInvalid
from domain.fact import FactSpec
from domain.temporal_function import FUNCTIONS, HELD_FOR, TemporalCall, temporal_call

CALL_PREFIX, HAS_PREFIX = "__call_", "__has_"


def collapse_calls(
    condition: str, tokens: Sequence[Token], specs: Mapping[str, FactSpec]
) -> tuple[list[Token], list[TemporalCall]]:
    """The tokens with each temporal call replaced by one name, and the calls: the n-th different call is `__call_n`, and
    `has(call)`, which asks whether it has a value, `__has_n`.

    Raises `ConditionInvalid`, with a caret, for a call that is written wrongly or stands where it means nothing.
    """
    collapsed, calls = _collapse(condition, tokens, specs)
    if any(call.function == HELD_FOR for call in calls):
        check_held_for(condition, collapsed, calls)
    return collapsed, calls


def _collapse(
    condition: str, tokens: Sequence[Token], specs: Mapping[str, FactSpec]
) -> tuple[list[Token], list[TemporalCall]]:
    partners = matching_brackets(condition, tokens)
    collapsed: list[Token] = []
    calls: list[TemporalCall] = []
    i = 0
    while i < len(tokens):
        asked = _starts_call(tokens, i, ("has",)) and _starts_call(tokens, i + 2, FUNCTIONS)
        start = i + 2 if asked and partners[i + 3] + 1 == partners[i + 1] else i
        if not _starts_call(tokens, start, FUNCTIONS):
            collapsed.append(tokens[i])
            i += 1
            continue
        end = partners[start + 1]
        call = _read_call(condition, tokens[start], tokens[start + 2 : end], specs)
        if call not in calls:
            calls.append(call)
        prefix = CALL_PREFIX if start == i else HAS_PREFIX
        collapsed.append(Token(TokenKind.NAME, f"{prefix}{calls.index(call)}", tokens[start].start))
        i = end + 1 if start == i else partners[i + 1] + 1
    return collapsed, calls


def read_calls(condition: str, specs: Mapping[str, FactSpec]) -> tuple[TemporalCall, ...]:
    """The temporal calls in a part of a condition, also where held_for stands alone. Raises `ConditionInvalid`."""
    return tuple(_collapse(condition, tokenise(condition), specs)[1])


def clauses(tokens: Sequence[Token], partners: Mapping[int, int], operator: str) -> list[tuple[int, int]]:
    """The first and last token of each side of `operator` (&& or ||), brackets around the whole taken off; one alone where
    the outermost operator is another."""
    first, last = 0, len(tokens) - 1
    while first < last and tokens[first].is_symbol("(") and partners[first] == last:
        first, last = first + 1, last - 1
    outermost = []
    i = first
    while i <= last:
        if tokens[i].is_symbol("&&", "||", "?", ":"):
            outermost.append(i)
        i = partners[i] + 1 if tokens[i].is_symbol(*CLOSING) else i + 1
    weaker = ("?", ":") if operator == "||" else ("?", ":", "||")
    if any(tokens[i].is_symbol(*weaker) for i in outermost):
        return [(first, last)]
    cuts = [i for i in outermost if tokens[i].is_symbol(operator)]
    return list(zip([first, *(i + 1 for i in cuts)], [*(i - 1 for i in cuts), last], strict=True))


def check_held_for(condition: str, tokens: Sequence[Token], calls: Sequence[TemporalCall]) -> None:
    """Refuse held_for where it is not one of the sides of &&: under ! or || it would have no one rest that held."""
    held = {f"{CALL_PREFIX}{n}" for n, call in enumerate(calls) if call.function == HELD_FOR}
    found = [token for token in tokens if token.text in held or token.text.replace(HAS_PREFIX, CALL_PREFIX) in held]
    rest, free = 0, 0
    waiting = [list(tokens)]
    while waiting:
        part = waiting.pop()
        sides = clauses(part, matching_brackets(condition, part), "&&")
        for first, last in sides:
            side = part[first : last + 1]
            if len(side) == 1 and side[0].text in held:
                free += 1
            elif len(sides) > 1 or side != part:
                waiting.append(side)
            else:
                rest += 1
    hint = 'Join it with &&, for example price < 50 && held_for("PT30M").'
    if free < len(found):
        raise mistake(condition, found[0].start, "held_for says how long all the rest has held", hint)
    if not rest:
        raise mistake(condition, found[0].start, "there is nothing beside held_for that could hold", hint)


def unknown_fact(name: str, facts: Sequence[FactSpec]) -> tuple[str, str]:
    """What is wrong with a name that is no fact, and a hint."""
    close = get_close_matches(name, [fact.name for fact in facts], n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return f"there is no fact named {name}", f"{meant}The facts are: {list_facts(facts)}."


def list_facts(facts: Sequence[FactSpec]) -> str:
    """The names a condition may use, with their types."""
    return ", ".join(f"{fact.name} ({fact.type})" for fact in facts)


def _starts_call(tokens: Sequence[Token], i: int, names: Container[str]) -> bool:
    return (
        i + 1 < len(tokens)
        and tokens[i].kind is TokenKind.NAME
        and tokens[i].text in names
        and tokens[i + 1].is_symbol("(")
        and not (i > 0 and tokens[i - 1].is_symbol("."))
    )


def _read_call(condition: str, function: Token, inner: Sequence[Token], specs: Mapping[str, FactSpec]) -> TemporalCall:
    usage = f"Write {FUNCTIONS[function.text].usage}: {FUNCTIONS[function.text].meaning}."
    arguments = _split_at_commas(inner)
    if not FUNCTIONS[function.text].takes:
        try:
            return temporal_call(function.text, None, [_read_argument(condition, one, usage) for one in arguments])
        except ConditionInvalid as error:
            if "\n" in error.message:
                raise
            raise mistake(condition, function.start, error.message, usage) from None
    if not arguments or len(arguments[0]) != 1 or arguments[0][0].kind is not TokenKind.NAME:
        raise mistake(condition, function.start, f"{function.text} starts with the name of a fact", usage)
    fact = arguments[0][0]
    if fact.text not in specs:
        raise mistake(condition, fact.start, *unknown_fact(fact.text, tuple(specs.values())))
    values = [_read_argument(condition, argument, usage) for argument in arguments[1:]]
    try:
        return temporal_call(function.text, specs[fact.text], values)
    except ConditionInvalid as error:
        place = arguments[-1][0].start if specs[fact.text].type in FUNCTIONS[function.text].takes else fact.start
        raise mistake(condition, place, error.message, usage) from None


def _split_at_commas(tokens: Sequence[Token]) -> list[list[Token]]:
    """The arguments, or none at all when one of them is empty."""
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += token.is_symbol("(", "[", "{") - token.is_symbol(")", "]", "}")
        if token.is_symbol(",") and depth == 0:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return arguments if all(arguments) else []


def _read_argument(condition: str, tokens: Sequence[Token], usage: str) -> float | str:
    """A number, a duration string, or CEL's `duration("168h")`."""
    match [token.text if token.kind is not TokenKind.STRING else "<text>" for token in tokens]:
        case ["<text>"] | ["duration", "(", "<text>", ")"]:
            text = next(token.text for token in tokens if token.kind is TokenKind.STRING)
            return text.lstrip("rR").strip("'\"")
        case [number] if re.fullmatch(r"[\d.]+(?:[eE][+-]?\d+)?", number):
            return float(number)
        case _:
            what = "this argument is neither a plain number nor a length of time"
            raise mistake(condition, tokens[0].start, what, usage)
