"""Conditions taken apart for people: each part with the values put in, and what it says."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from adapters.cel_calls import clauses, read_calls
from adapters.cel_condition import CelConditionLanguage
from adapters.cel_rewriting import MACROS
from adapters.cel_tokens import Token, TokenKind, matching_brackets, tokenise
from domain.errors import ConditionInvalid
from domain.evaluation import Verdict
from domain.explaining import Clause
from domain.fact import FactSpec, FactValue
from domain.temporal_function import HELD_FOR

VALUE_CHARS_MAX, LIST_ITEMS_MAX = 60, 3
DEPTH_MAX = 4
_RESULTS = {Verdict.MET: True, Verdict.NOT_MET: False, Verdict.INCONCLUSIVE: None}

Inputs = Mapping[str, FactValue | None]


class CelExplanations:
    """Fulfils `read_api.explanations.ConditionParts`."""

    def __init__(self, language: CelConditionLanguage) -> None:
        self._language = language

    def parts(self, condition: str, facts: Sequence[FactSpec], inputs: Inputs) -> Clause | None:
        """`condition` as a tree of what && and || join, judged over the `inputs` that were stored with its verdict. None for
        a condition that is not understood any more."""
        try:
            return self._clause(condition, tokenise(condition), facts, inputs, DEPTH_MAX)
        except ConditionInvalid:
            return None

    def _clause(
        self, condition: str, tokens: Sequence[Token], facts: Sequence[FactSpec], inputs: Inputs, depth: int
    ) -> Clause:
        text = condition[tokens[0].start : tokens[-1].start + len(tokens[-1].text)]
        sides, operator = self._sides(condition, tokens) if depth else ([], None)
        return Clause(
            text=text,
            with_values=_with_values(condition, tokens, facts, inputs),
            result=self._result(text, facts, inputs),
            joined_by=operator,
            clauses=tuple(self._clause(condition, side, facts, inputs, depth - 1) for side in sides),
        )

    def _sides(
        self, condition: str, tokens: Sequence[Token]
    ) -> tuple[list[Sequence[Token]], Literal["&&", "||"] | None]:
        partners = matching_brackets(condition, tokens)
        operators: tuple[Literal["&&", "||"], ...] = ("||", "&&")
        for operator in operators:
            found = clauses(tokens, partners, operator)
            if len(found) > 1:
                return [tokens[first : last + 1] for first, last in found], operator
        return [], None

    def _result(self, text: str, facts: Sequence[FactSpec], inputs: Inputs) -> bool | None:
        """What a part says; None also for one of which not all is known, and which the compiler therefore refuses."""
        specs = {fact.name: fact for fact in facts}
        try:
            calls = read_calls(text, specs)
            if calls and all(call.function == HELD_FOR for call in calls):
                held = [inputs.get(call.text) for call in calls]
                return None if None in held else all(held)
            temporal = {call: inputs.get(call.text) for call in calls}
            return _RESULTS[self._language.judge(text, facts, inputs, temporal).verdict]
        except ConditionInvalid:
            return None


def _with_values(condition: str, tokens: Sequence[Token], facts: Sequence[FactSpec], inputs: Inputs) -> str:
    specs = {fact.name: fact for fact in facts}
    partners = matching_brackets(condition, tokens)
    loop_names = {
        tokens[i + 2].text
        for i, token in enumerate(tokens[:-2])
        if token.text in MACROS and tokens[i + 1].is_symbol("(")
    }
    shown, place, i = "", tokens[0].start, 0
    while i < len(tokens):
        token, end = tokens[i], i
        shown += condition[place : token.start]
        piece = token.text
        if token.kind is TokenKind.NAME and not (i and tokens[i - 1].is_symbol(".")):
            called = i + 1 < len(tokens) and tokens[i + 1].is_symbol("(")
            if called:
                text = condition[token.start : tokens[partners[i + 1]].start + 1]
                calls = read_calls(text, specs) if token.text not in {"has", *MACROS} else ()
                if len(calls) == 1 and re.match(rf"{calls[0].function}\s*\(", text):
                    piece, end = _value(inputs.get(calls[0].text)), partners[i + 1]
            elif token.text in inputs and token.text not in loop_names:
                piece = _value(inputs[token.text])
        shown += piece
        place, i = tokens[end].start + len(tokens[end].text), end + 1
    return shown


def _value(value: FactValue | None) -> str:
    match value:
        case None:
            return "unknown"
        case bool():
            return "true" if value else "false"
        case float() | int():
            return f"{value:.15g}"
        case list():
            more = [f"and {len(value) - LIST_ITEMS_MAX} more"] if len(value) > LIST_ITEMS_MAX else []
            return f"[{', '.join([*map(_quoted, value[:LIST_ITEMS_MAX]), *more])}]"
        case str():
            return _quoted(value)


def _quoted(text: str) -> str:
    cut = text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 1]}…"
    return json.dumps(cut, ensure_ascii=False)
