"""Temporal calls in a condition: found among its tokens, checked, and replaced by variables."""

import re
from collections.abc import Mapping, Sequence

from adapters.cel_tokens import Token, TokenKind, matching_brackets, mistake
from domain.errors import ConditionInvalid
from domain.fact import FactSpec
from domain.history import ANNOUNCED_FUNCTIONS, FUNCTIONS, TemporalCall, temporal_call

CALL_PREFIX = "__call_"


def collapse_calls(
    condition: str, tokens: Sequence[Token], specs: Mapping[str, FactSpec]
) -> tuple[list[Token], list[TemporalCall]]:
    """The tokens with each temporal call replaced by one name (the n-th different call is `__call_n`), and the calls.

    Raises `ConditionInvalid`, with a caret, for a call that is written wrongly.
    """
    partners = matching_brackets(condition, tokens)
    collapsed: list[Token] = []
    calls: list[TemporalCall] = []
    i = 0
    while i < len(tokens):
        if not _starts_call(tokens, i):
            collapsed.append(tokens[i])
            i += 1
            continue
        end = partners[i + 1]
        call = _read_call(condition, tokens[i], tokens[i + 2 : end], specs)
        if call not in calls:
            calls.append(call)
        collapsed.append(Token(TokenKind.NAME, f"{CALL_PREFIX}{calls.index(call)}", tokens[i].start))
        i = end + 1
    return collapsed, calls


def _starts_call(tokens: Sequence[Token], i: int) -> bool:
    token = tokens[i]
    return (
        token.kind is TokenKind.NAME
        and (token.text in FUNCTIONS or token.text in ANNOUNCED_FUNCTIONS)
        and i + 1 < len(tokens)
        and tokens[i + 1].is_symbol("(")
        and not (i > 0 and tokens[i - 1].is_symbol("."))
    )


def _read_call(condition: str, function: Token, inner: Sequence[Token], specs: Mapping[str, FactSpec]) -> TemporalCall:
    if function.text in ANNOUNCED_FUNCTIONS:
        hint = "Use silent_for, or the monitor's confirmations."
        raise mistake(condition, function.start, f"{function.text} is not available yet", hint)
    usage = f"Write {FUNCTIONS[function.text].usage}: {FUNCTIONS[function.text].meaning}."
    arguments = _split_at_commas(inner)
    if not arguments or len(arguments[0]) != 1 or arguments[0][0].kind is not TokenKind.NAME:
        raise mistake(condition, function.start, f"{function.text} starts with the name of a fact", usage)
    fact = arguments[0][0]
    if fact.text not in specs:
        known = ", ".join(specs) or "none"
        raise mistake(condition, fact.start, f"there is no fact named {fact.text}", f"The facts are: {known}.")
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
