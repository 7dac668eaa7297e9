"""Splitting a CEL condition into tokens, and pointing at a mistake in it.

Lexical rules: the CEL language definition, section "Syntax". Only what rewriting needs is told apart here; everything
else is left to the CEL compiler.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from domain.errors import ConditionInvalid

CONDITION_CHARS_MAX = 2_000
NESTING_MAX = 16

CLOSING = {"(": ")", "[": "]", "{": "}"}
_PATTERN = re.compile(
    r"(?P<SPACE>\s+|//[^\n]*)"
    # A raw string ends at the first quote; in others a backslash takes the next character with it.
    r"|(?P<STRING>[bB]?(?:[rR](?:'''(?s:.*?)'''|\"\"\"(?s:.*?)\"\"\"|'[^'\n\r]*'|\"[^\"\n\r]*\")"
    r"|'''(?s:[^\\]|\\.)*?'''|\"\"\"(?s:[^\\]|\\.)*?\"\"\""
    r"|'(?:[^'\\\n\r]|\\[^\n\r])*'|\"(?:[^\"\\\n\r]|\\[^\n\r])*\"))"
    r"|(?P<NUMBER>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)"
    r"|(?P<NAME>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<SYMBOL>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])"
)
_CURES = {
    "=": "To compare, write == with two signs.",
    "&": "For 'and' write &&.",
    "|": "For 'or' write ||.",
    "≤": "Write <=.",
    "≥": "Write >=.",
    "≠": "Write !=.",
    "\u2019": 'Put text in straight quotes: "like this".',
    "\u201c": 'Put text in straight quotes: "like this".',
    "\u201d": 'Put text in straight quotes: "like this".',
    "'": "The text that starts here has no end: close its quotes.",
    '"': "The text that starts here has no end: close its quotes.",
    "€": "Write the number alone; the unit belongs to the fact.",
    "$": "Write the number alone; the unit belongs to the fact.",
}


class TokenKind(Enum):
    """What a piece of a condition is."""

    SPACE = auto()
    STRING = auto()
    NUMBER = auto()
    NAME = auto()
    SYMBOL = auto()


class Token(msgspec.Struct, frozen=True):
    """A piece of the condition; `start` is the index of its first character."""

    kind: TokenKind
    text: str
    start: int

    def is_symbol(self, *texts: str) -> bool:
        """Whether this is one of these operators or brackets."""
        return self.kind is TokenKind.SYMBOL and self.text in texts


class Rewritten(msgspec.Struct, frozen=True):
    """Text made from tokens, which remembers where each piece came from: (place in the new text, place in the old,
    whether the piece was copied as it stood)."""

    text: str
    origins: tuple[tuple[int, int, bool], ...]

    def original(self, place: int) -> int:
        """The index in the old text that the character at `place` in the new one stands for."""
        index = bisect_right(self.origins, place, key=lambda origin: origin[0]) - 1
        new, old, copied = self.origins[max(index, 0)]
        return old + (place - new if copied else 0)


def tokenise(condition: str) -> list[Token]:
    """The tokens without spaces and comments. Raises `ConditionInvalid` for what is too long, too deep or no token."""
    if not condition.strip():
        raise ConditionInvalid("the condition is empty; write for example price < 50", field="condition")
    if len(condition) > CONDITION_CHARS_MAX:
        raise ConditionInvalid(
            f"the condition has {len(condition)} characters; the longest allowed has {CONDITION_CHARS_MAX}",
            field="condition",
        )
    tokens: list[Token] = []
    place = 0
    while place < len(condition):
        found = _PATTERN.match(condition, place)
        if found is None or found.lastgroup is None:
            raise mistake(
                condition, place, f"{condition[place]!r} does not belong here", _CURES.get(condition[place], "")
            )
        kind = TokenKind[found.lastgroup]
        if kind is not TokenKind.SPACE:
            tokens.append(Token(kind, found.group(), place))
        place = found.end()
    if not tokens:
        raise mistake(condition, 0, "there is only a comment", "Write for example price < 50.")
    return tokens


def matching_brackets(condition: str, tokens: Sequence[Token]) -> dict[int, int]:
    """For the index of each opening bracket the index of its closing one, and the reverse."""
    partners: dict[int, int] = {}
    open_ones: list[int] = []
    for i, token in enumerate(tokens):
        if token.is_symbol(*CLOSING):
            open_ones.append(i)
            if len(open_ones) > NESTING_MAX:
                raise mistake(
                    condition, token.start, f"brackets nest deeper than {NESTING_MAX}", "Split the condition."
                )
        elif token.is_symbol(*CLOSING.values()):
            if not open_ones or CLOSING[tokens[open_ones[-1]].text] != token.text:
                raise mistake(condition, token.start, f"{token.text} closes a bracket that was never opened", "")
            partners[i] = open_ones.pop()
            partners[partners[i]] = i
    if open_ones:
        last = tokens[open_ones[-1]]
        raise mistake(condition, last.start, f"this bracket is never closed: add {CLOSING[last.text]}", "")
    return partners


def mistake(condition: str, place: int, what: str, hint: str) -> ConditionInvalid:
    """The error that shows the condition with a caret under the character at `place`, what is wrong and what would help."""
    shown = re.sub(r"\s", " ", condition)  # one line, the same columns
    lines = [what, f"  {shown}", f"  {''.join(map(_blank, shown[: max(place, 0)]))}^"]
    return ConditionInvalid("\n".join([*lines, hint] if hint else lines), field="condition")


def _blank(char: str) -> str:
    """A blank as wide as a character: of those that take two columns (Unicode Standard Annex 11) the wide one."""
    return "\u3000" if unicodedata.east_asian_width(char) in {"W", "F"} else " "
