"""Turns what stands in a document into a fact's value. None where it is not of the type: no value is ever guessed."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from domain.fact import FactType, FactValue

TEXT_CHARS_MAX = 10_000
LIST_ITEMS_MAX = 1_000
LIST_ITEM_CHARS_MAX = 1_000
_PHRASE_CHARS_MAX = 200

_CURRENCY = r"(?:[$€£¥₹₽₩₺₴]|(?<![A-Za-z])(?:AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HUF|INR|JPY|NOK|PLN|Rs\.?|SEK|USD))"
_GROUP = "[ \u00a0\u202f\u2009'\u2019]"
_NUMBER = re.compile(
    rf"(?P<digits>\d{{1,3}}(?:{_GROUP}\d{{3}})+(?!\d)(?:[.,]\d+)?|\d[\d.,]*|(?<!\w)[.,]\d+)(?P<power>[eE][-+]?\d+)?"
)
# A minus before the digits, perhaps with the currency between; a hyphen after a word or between digits is none.
_MINUS = re.compile(rf"(?:^\s*[-\u2212\u2013]\s?|(?:[\s(:=]|{_CURRENCY})[-\u2212\u2013])(?:{_CURRENCY}\s?)?\Z")
_MINUS_WITHIN_CHARS = 12
_DATE_OR_TIME = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}(?!\d)|\d{1,2}:\d{2}")
_DECIMAL_COMMA_CURRENCY = re.compile(r"€|EUR|BRL|R\$|CZK|DKK|HUF|NOK|PLN|SEK|zł|\bkr\b|₽|₺")
_PLAIN = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")

_TRUE = frozenset({
    "true", "yes", "on", "y", "in_stock", "available", "open", "online", "enabled", "active",
    "limitedavailability", "onlineonly", "instoreonly", "madetoorder", "available_for_order",
})  # fmt: skip
# What can be ordered but is not there yet (PreOrder, BackOrder) is not in stock.
_FALSE = frozenset({
    "false", "no", "off", "n", "out_of_stock", "sold_out", "unavailable", "closed", "offline", "disabled",
    "inactive", "preorder", "pre_order", "presale", "reserved", "oos",
})  # fmt: skip
_FALSE_PHRASE = re.compile(
    r"\b(out of stock|outofstock|not in stock|sold ?out|unavailable|not available|no longer available|discontinued|"
    r"back-?order(ed)?)\b"
)
_TRUE_PHRASE = re.compile(r"\b(in stock|instock|available)\b")
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?\s?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d(?::\d\d)? (?:[A-Z]{1,4}|[+-]\d{4})"
)


def converted(kind: FactType, raw: object) -> FactValue | None:
    """The value of a scalar fact of `kind` read from a JSON scalar or a text, or None."""
    match kind:
        case FactType.NUMBER:
            return number(raw)
        case FactType.BOOLEAN:
            return boolean(raw)
        case FactType.TIMESTAMP:
            return timestamp(raw) if isinstance(raw, str) else None
        case FactType.TEXT | FactType.LIST:
            return " ".join(plain(raw).split())[:TEXT_CHARS_MAX] or None


def plain(raw: object) -> str:
    """A JSON value as text: a string as it is, anything else as JSON, nothing for null."""
    if isinstance(raw, str):
        return raw
    return "" if raw is None else msgspec.json.encode(raw).decode()


def number(raw: object) -> float | None:
    """A finite double: a JSON number exactly, or the first number in a text ("-12.5 C", "1.299,00 EUR", "5 %").

    Dates and times are no numbers. JSON's true and false are none either.
    """
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        return _finite(raw)
    if not isinstance(raw, str):
        return None
    found = numbers(raw, 1)
    return found[0] if found else None


def numbers(text: str, most: int) -> list[float]:
    """The first `most` numbers in a text."""
    if _PLAIN.fullmatch(text.strip()):  # written by a program: a point is a decimal point
        value = _finite(text)
        return [] if value is None else [value]
    dates = [found.span() for found in _DATE_OR_TIME.finditer(text[:TEXT_CHARS_MAX]) if not _is_grouped(found[0])]
    values: list[float] = []
    for found in _NUMBER.finditer(text[:TEXT_CHARS_MAX]):
        if any(start < found.end("digits") and found.start("digits") < end for start, end in dates):
            continue
        negative = _MINUS.search(text, max(0, found.start() - _MINUS_WITHIN_CHARS), found.start())
        value = _finite(_dotted(found["digits"].rstrip(".,"), text) + (found["power"] or ""))
        if value is not None:
            values.append(-value if negative else value)
        if len(values) == most:
            break
    return values


def boolean(raw: object) -> bool | None:
    """True or false by a JSON boolean, 0 or 1, or words of yes and no, of stock and of opening."""
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        return bool(raw) if raw in {0, 1} else None
    if not isinstance(raw, str):
        return None
    words = " ".join(raw.casefold().rstrip(".!").rpartition("schema.org/")[2].split())
    name = re.sub(r"[\s-]+", "_", words)
    if name in _TRUE | _FALSE or name in {"0", "1"}:
        return name in _TRUE or name == "1"
    if len(words) > _PHRASE_CHARS_MAX:
        return None
    rest, denials = _FALSE_PHRASE.subn(" ", words)
    affirmed = _TRUE_PHRASE.search(rest) is not None
    return None if affirmed == bool(denials) else affirmed


def timestamp(text: str) -> str | None:
    """RFC 3339 in UTC with `Z` from RFC 3339, ISO 8601 or RFC 2822 text, or the first such instant inside a text.

    A time without an offset is taken as UTC, a date as its first instant.
    """
    text = text.strip()[:TEXT_CHARS_MAX]
    found = _INSTANT.search(text)
    for candidate in (text, found[0] if found else ""):
        instant = _instant(candidate)
        if instant is not None:
            return instant.isoformat().replace("+00:00", "Z")
    return None


def _instant(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            instant = parse(text)
            return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError, TypeError, IndexError):
            continue  # not this form; the e-mail parser raises all of these
    return None


def _dotted(digits: str, text: str) -> str:
    """Digits with groups and a decimal mark as Python writes them.

    The last of two kinds of marks is the decimal one. One comma before exactly three digits groups ("1,299"); one point
    there does only beside a currency that is written so ("1.299 EUR"), because "1.299" alone is more often a decimal.
    """
    digits = re.sub(_GROUP, "", digits)
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        decimal = max(".", ",", key=digits.rfind)
        grouping = "," if decimal == "." else "."
        return digits.replace(grouping, "").replace(",", ".")
    if points + commas > 1:
        return digits.replace(".", "").replace(",", "") if _is_grouped(digits) else "nan"
    if re.fullmatch(r"[1-9]\d{0,2},\d{3}", digits):
        return digits.replace(",", "")
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", digits) and _DECIMAL_COMMA_CURRENCY.search(text):
        return digits.replace(".", "")
    return digits.replace(",", ".")


def _is_grouped(digits: str) -> bool:
    """Whether marks stand every three digits, or in the Indian way every two but the last three."""
    return re.fullmatch(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}", digits) is not None


def _finite(text: str | float) -> float | None:
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
