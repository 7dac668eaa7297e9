"""Finds the words of the document a value was read from, exactly as they stand there."""

import re
from itertools import islice

import msgspec
import re2

QUOTE_CHARS_MAX = 500
_SOUGHT_CHARS_MAX = 120  # long texts are found by their beginning
_BEGINNING_CHARS = 120
_NUMBERS_COMPARED_MAX = 100_000
_NUMBER = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?(?:[eE][-+]?\d{1,4})?")
_TAGS = r"(?:<[^>]*>)*"
_GAP = r"(?:\s|\\[nrt]|&nbsp;|&#160;|&#[xX][aA]0;|<[^>]*>)+"


def quoted(text: str, document: str) -> str:
    """A part of `document` that holds `text`, at most 500 characters, verbatim.

    In markup the same words may be written with entities or broken by tags; in JSON and CSV with escapes. A value that
    was computed, and so stands nowhere, is given the first words of the document: its evidence is the whole.
    """
    wanted = text.encode("utf-8", "replace").decode().strip()[:QUOTE_CHARS_MAX]  # JSON may spell half a surrogate pair
    for written in (wanted, msgspec.json.encode(wanted).decode()[1:-1], wanted.replace('"', '""')):
        if written and written in document:
            return written[:QUOTE_CHARS_MAX]
    if wanted and (found := _written_as(wanted, document) or _same_number(wanted, document)):
        return found[:QUOTE_CHARS_MAX]
    words = sorted(wanted.split(), key=len, reverse=True)[:20]
    known = next((word for word in words if len(word) > 2 and word in document), None)
    return known or document.strip()[:_BEGINNING_CHARS].split("\n")[0].strip() or document[:1]


def _written_as(wanted: str, document: str) -> str | None:
    """The words as markup writes them (entities, tags between) or JSON (escapes)."""
    words = wanted[:_SOUGHT_CHARS_MAX].split()
    pattern = _GAP.join(_TAGS.join(_forms(char) for char in word) for word in words)
    try:
        found = re2.compile(pattern, _quiet()).search(document)
    except re2.error:
        return None
    return found[0] if found else None


def _forms(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    return rf"(?:{re2.escape(char)}|&#?[0-9A-Za-z]+;|(?:\\u[0-9A-Fa-f]{{4}}){{1,2}}|\\[^u])"


def _same_number(wanted: str, document: str) -> str | None:
    """A number written otherwise than Vigil writes it, such as 1e2 for 100."""
    if not _NUMBER.fullmatch(wanted):
        return None
    candidates = islice(_NUMBER.finditer(document), _NUMBERS_COMPARED_MAX)
    return next((found[0] for found in candidates if float(found[0]) == float(wanted)), None)


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options
