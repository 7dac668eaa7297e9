"""Texts from outside, as far as a person can see them: pages that a model is shown, and what a model says of them."""

import re

OCCURRENCES_MAX = 1_000
"""Of words in a text: of 60,000 equal digits every single one would have to be looked at."""

# What is never drawn: Default_Ignorable_Code_Point (Unicode 17, DerivedCoreProperties), among them tag characters, variation
# selectors and all that sets the direction of text; control characters that are no white space, marks of annotations and of
# objects, blanks that count as letters, noncharacters, half surrogate pairs, and what has only a private meaning.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffc\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_BLANKS = re.compile(r"[^\S\n\t]+")
_EMPTY_LINES = re.compile(r" ?\n[ \n]*")


def legible(text: str) -> str:
    """The text without characters that nobody sees."""
    return _INVISIBLE.sub("", text)


def words(text: str) -> str:
    """What a person reads, in one line: words with one blank between them."""
    return " ".join(legible(text).split())


def lines(text: str) -> str:
    """What a person reads, line by line, without empty lines; tabs stay, for they tell the cells of a table apart."""
    parted = _LINE_ENDS.sub("\n", legible(text))
    return _EMPTY_LINES.sub("\n", _BLANKS.sub(" ", parted)).strip(" \n")


def stands_in(sought: str, text: str) -> bool:
    """Whether `sought` stands in the text, both as `words` gives them. No part of a number stands anywhere: 9 does not stand in
    1,999, nor 5 in -5."""
    at = text.find(sought)
    for _ in range(OCCURRENCES_MAX):
        if at < 0:
            return False
        if not _cuts_number(text, at, at + len(sought)):
            return bool(sought)
        at = text.find(sought, at + 1)
    return False


def _cuts_number(text: str, start: int, end: int) -> bool:
    return _goes_on(text[max(0, start - 3) : start + 1][::-1], is_start=True) or _goes_on(text[end - 1 : end + 2])


def _goes_on(near: str, *, is_start: bool = False) -> bool:
    """Whether the digit that `near` begins with is followed by more of its number, away from what was sought."""
    if not near[:1].isdigit():
        return False
    if (
        is_start
        and near[1:2] in {"-", "\u2212", "\u2013"}
        and (near[2:3] in {"", "(", ":", "="} or near[2:3].isspace())
    ):
        return True
    return near[1:2].isdigit() or (near[1:2] in {".", ",", "'", "\u2019"} and near[2:3].isdigit())
