"""Rewriting a condition as people write it into strict CEL.

Vigil's numbers are all doubles, so `price < 50` becomes `price < 50.0` and `size(items)` becomes `double(size(items))`.
Temporal calls become variables. A divisor is wrapped so that dividing by zero is an error, not infinity, and a summand so
that only numbers and times can be added: joining texts or lists in a loop could fill the memory. Facts get a prefix, so
that a fact named like a word of CEL (`package`, `type`) works.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from adapters.cel_calls import CALL_PREFIX, collapse_calls
from adapters.cel_tokens import Rewritten, Token, TokenKind, matching_brackets, mistake, tokenise
from domain.fact import FactSpec, FactType
from domain.temporal_function import TemporalCall, result_type

FACT_PREFIX = "__fact_"
NONZERO, SUMMAND = "__nonzero", "__summand"
MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
MACROS_MAX, MAPS_MAX = 4, 1
"""A second `map` could build a value whose size is a power of the condition's length."""

_WHOLE_NUMBER_FUNCTIONS = frozenset({"size", "int", "uint"})
_WHOLE_NUMBER_METHODS = frozenset(
    {"size", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
_CHECKABLE = frozenset({"matches", "duration", "timestamp"})
_OTHER_LANGUAGES = {"and": "&&", "or": "||", "not": "!"}


class Literal(msgspec.Struct, frozen=True):
    """A text literal whose content can be checked at once: the function it is given to, and its token."""

    function: str
    token: Token


class StrictCondition(msgspec.Struct, frozen=True):
    """A condition in strict CEL. `facts` are those it uses, directly or inside a temporal call; `calls[n]` is the
    variable `__call_n`; `macros` counts its loops over lists."""

    text: Rewritten
    facts: tuple[str, ...]
    calls: tuple[TemporalCall, ...]
    literals: tuple[Literal, ...]
    macros: int


def rewrite(condition: str, facts: Sequence[FactSpec]) -> StrictCondition:
    """Strict CEL for `condition`. Raises `ConditionInvalid`, with a caret, for what can be seen to be wrong."""
    specs = {fact.name: fact for fact in facts}
    tokens = tokenise(condition)
    macros = _refuse_what_is_not_allowed(condition, tokens, specs)
    tokens, calls = collapse_calls(condition, tokens, specs)
    lists = {f"{CALL_PREFIX}{n}" for n, call in enumerate(calls) if result_type(call, specs) is FactType.LIST}
    layout = _Layout(tokens, matching_brackets(condition, tokens))
    named = [token.text for i, token in enumerate(tokens) if layout.is_variable(i) and token.text in specs]
    return StrictCondition(
        text=_assemble(layout, specs, lists),
        facts=tuple(dict.fromkeys([*named, *(call.fact for call in calls if call.fact)])),
        calls=tuple(calls),
        literals=tuple(
            Literal(tokens[i - 2].text, token)
            for i, token in enumerate(tokens)
            if token.kind is TokenKind.STRING and i >= 2 and layout.is_call(i - 2) and tokens[i - 2].text in _CHECKABLE
        ),
        macros=macros,
    )


def _refuse_what_is_not_allowed(condition: str, tokens: Sequence[Token], specs: Mapping[str, FactSpec]) -> int:
    """Refuse words of other languages and what would escape the bounds; the number of loops over lists."""
    macros = maps = 0
    for i, token in enumerate(tokens):
        if token.is_symbol("%"):
            raise mistake(condition, token.start, "% does not belong here", "For 10 % write 0.1.")
        if token.kind is not TokenKind.NAME:
            continue
        called = i + 1 < len(tokens) and tokens[i + 1].is_symbol("(")
        if token.text.startswith("__"):
            raise mistake(condition, token.start, "names that start with __ are reserved", "")
        if token.text.lower() in _OTHER_LANGUAGES and token.text not in specs:
            cure = f"Write {_OTHER_LANGUAGES[token.text.lower()]} instead."
            raise mistake(condition, token.start, f"{token.text} does not belong here", cure)
        if called and token.text == "now":
            cure = 'Write for example ago(price, "P1D") or silent_for(price, "P1D").'
            raise mistake(condition, token.start, "a condition cannot read the clock", cure)
        if called and token.text == "dyn":
            raise mistake(condition, token.start, "dyn would switch the type check off", "Leave it out.")
        if called and token.text in MACROS:
            macros += 1
            maps += token.text == "map"
            if macros > MACROS_MAX or maps > MAPS_MAX:
                bound = f"at most {MACROS_MAX} of {', '.join(sorted(MACROS))} may stand in a condition, and one map"
                raise mistake(condition, token.start, bound, "Make two monitors of it.")
    return macros


class _Layout(msgspec.Struct):
    """Tokens with the partner of every bracket, and what can be told of the grammar around one of them."""

    tokens: Sequence[Token]
    partners: Mapping[int, int]

    def is_at(self, i: int, *symbols: str) -> bool:
        return 0 <= i < len(self.tokens) and self.tokens[i].is_symbol(*symbols)

    def is_call(self, i: int) -> bool:
        return self.tokens[i].kind is TokenKind.NAME and self.tokens[i].text != "in" and self.is_at(i + 1, "(")

    def is_variable(self, i: int) -> bool:
        return self.tokens[i].kind is TokenKind.NAME and not self.is_at(i - 1, ".") and not self.is_at(i + 1, "(")

    def ends_operand(self, i: int) -> bool:
        """Whether the token can be the last of a value, so that a sign after it stands between two values."""
        if i < 0:
            return False
        token = self.tokens[i]
        return token.is_symbol(")", "]", "}") or (token.kind is not TokenKind.SYMBOL and token.text != "in")

    def operand_end(self, i: int) -> int | None:
        """The last token of the unary expression that starts at `i` (CEL grammar: Unary), None where there is none."""
        while self.is_at(i, "-", "!"):
            i += 1
        if i >= len(self.tokens) or (self.tokens[i].kind is TokenKind.SYMBOL and not self.is_at(i, "(", "[", "{")):
            return None
        end = self.partners.get(i, i)
        while self.is_at(end + 1, ".", "(", "[", "{"):
            end = self.partners.get(end + 1, end + 2)
        return end if end < len(self.tokens) else None

    def chain_start(self, end: int) -> int:
        """The first token of the member expression that ends at `end`: of `a.b(c)[0]` the `a`."""
        start = self.partners.get(end, end)
        while start > 0:
            if self.is_at(start, "(", "[", "{") and self.ends_operand(start - 1):
                start = self.partners.get(start - 1, start - 1)
            elif self.is_at(start - 1, ".") and self.ends_operand(start - 2):
                start = self.partners.get(start - 2, start - 2)
            else:
                break
        return start

    def stands_for_a_test(self, i: int) -> bool:
        """Whether the value at `i` stands where only yes or no can: alone, or between && and ||."""
        left = i == 0 or self.is_at(i - 1, "&&", "||", "!", "(")
        right = i == len(self.tokens) - 1 or self.is_at(i + 1, "&&", "||", "?", ")")
        return left and right and not (self.is_at(i - 1, "(") and self.is_at(i + 1, ")"))


def _assemble(layout: _Layout, specs: Mapping[str, FactSpec], lists: set[str]) -> Rewritten:
    """The new text. Openings of wider wraps stand before those of narrower ones that start at the same token."""
    wraps = _wraps(layout)
    text = ""
    origins: list[tuple[int, int, bool]] = []

    def add(piece: str, start: int, *, copied: bool) -> None:
        nonlocal text
        origins.append((len(text), start, copied))
        text += piece

    for i, token in enumerate(layout.tokens):
        add(" " if i else "", token.start, copied=False)
        for _, _, opening in sorted((wrap for wrap in wraps if wrap[0] == i), key=lambda wrap: -wrap[1]):
            add(f"{opening}(", token.start, copied=False)
        piece = _strict_token(layout, i, specs, lists)
        add(piece, token.start, copied=piece == token.text)
        add(")" * sum(wrap[1] == i for wrap in wraps), token.start, copied=False)
    return Rewritten(text, tuple(origins))


def _strict_token(layout: _Layout, i: int, specs: Mapping[str, FactSpec], lists: set[str]) -> str:
    token = layout.tokens[i]
    if token.kind is TokenKind.NUMBER and re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", token.text):
        is_index = layout.is_at(i - 1, "[") and layout.ends_operand(i - 2) and layout.is_at(i + 1, "]")
        base = 16 if token.text[:2] in {"0x", "0X"} else 10
        return token.text if is_index else f"{int(token.text, base)}.0"
    if not layout.is_variable(i):
        return token.text
    if token.text in lists and layout.stands_for_a_test(i):
        return f"(size({token.text}) > 0)"
    return f"{FACT_PREFIX}{token.text}" if token.text in specs else token.text


def _wraps(layout: _Layout) -> list[tuple[int, int, str]]:
    """What to put around which tokens: (first, last, function)."""
    wraps: list[tuple[int, int, str]] = []
    for i, token in enumerate(layout.tokens):
        if layout.is_at(i, "/", "+") and layout.ends_operand(i - 1):
            end = layout.operand_end(i + 1)
            if end is not None:
                wraps.append((i + 1, end, NONZERO if token.text == "/" else SUMMAND))
        elif layout.is_at(i, "[") and layout.ends_operand(i - 1):
            inner, last = i + 1, layout.partners[i] - 1
            if last > inner and layout.tokens[inner].kind is not TokenKind.STRING:
                wraps.append((inner, last, "int"))
        elif layout.is_call(i):
            end = layout.partners[i + 1]
            if layout.is_at(i - 1, "."):
                if token.text in _WHOLE_NUMBER_METHODS and layout.ends_operand(i - 2):
                    wraps.append((layout.chain_start(i - 2), end, "double"))
            elif token.text in _WHOLE_NUMBER_FUNCTIONS:
                wraps.append((i, end, "double"))
    return wraps
