"""Finds the words of the document a value was read from, exactly as they stand there."""

import html
import re

import msgspec
import re2

QUOTE_CHARS_MAX = 500
_SOUGHT_CHARS_MAX = 120  # long texts are found by their beginning
_TAGS = r"(?:<[^>]*>)*"
_GAP = r"(?:\s|&nbsp;|&#160;|&#[xX][aA]0;|<[^>]*>)+"


def quoted(text: str, document: str) -> str:
    """A part of `document` that holds `text`, at most 500 characters, verbatim.

    In markup the same words may be written with entities or broken by tags; in JSON and CSV with escapes. A value that
    was computed, and so stands nowhere, is given the first words of the document: its evidence is the whole.
    """
    wanted = text.strip()[:QUOTE_CHARS_MAX]
    for written in (wanted, msgspec.json.encode(wanted).decode()[1:-1], wanted.replace('"', '""')):
        if written and written in document:
            return written[:QUOTE_CHARS_MAX]
    if wanted and (found := _written_as(wanted, document)):
        return found[:QUOTE_CHARS_MAX]
    words = sorted(wanted.split(), key=len, reverse=True)[:20]
    known = next((word for word in words if len(word) > 2 and word in document), None)
    return known or document.strip()[:QUOTE_CHARS_MAX].split("\n")[0].strip() or document[:1]


def _written_as(wanted: str, document: str) -> str | None:
    """The words as markup writes them, or with JSON's escapes for anything outside ASCII."""
    words = wanted[:_SOUGHT_CHARS_MAX].split()
    if "<" not in document:
        escaped = " ".join(words).encode("ascii", "backslashreplace").decode()
        pieces = re.split(r"(\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})", escaped)
        written = "".join(_json_escape(piece) for piece in pieces)
        return next((form for form in (written, written.upper()) if form in document), None)
    pattern = _GAP.join(_TAGS.join(_markup_forms(char) for char in word) for word in words)
    try:
        found = re2.compile(pattern, _quiet()).search(document)
    except re2.error:
        return None
    return found[0] if found else None


def _markup_forms(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    named = html.escape(char)
    return f"(?:{re2.escape(char)}|{re2.escape(named)}|&#?[0-9A-Za-z]+;)"


def _json_escape(piece: str) -> str:
    if not re.fullmatch(r"\\[xuU][0-9a-f]+", piece):
        return piece
    units = chr(int(piece.lstrip("\\xuU"), 16)).encode("utf-16-be").hex()
    return "".join(rf"\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options
