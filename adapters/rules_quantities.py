"""Numbers with units and lengths of time, as people write them in a prompt."""

import re
from datetime import timedelta

import msgspec

from domain.duration import WINDOW_MAX

COUNT_WORDS = {
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR"}
_CODES = frozenset(
    {"EUR", "USD", "GBP", "JPY", "INR", "CHF", "CNY", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF"}
    | {"RON", "BRL", "MXN", "ZAR", "KRW", "SGD", "HKD", "BTC", "ETH"}
)
_UNIT_WORDS = {
    "euro": "EUR",
    "euros": "EUR",
    "dollar": "USD",
    "dollars": "USD",
    "bucks": "USD",
    "pounds": "GBP",
    "francs": "CHF",
    "yen": "JPY",
    "rupees": "INR",
    "percent": "%",
    "per cent": "%",
    "%": "%",
    "°c": "°C",
    "celsius": "°C",
    "degrees celsius": "°C",
    "degrees c": "°C",
    "°f": "°F",
    "fahrenheit": "°F",
    "degrees fahrenheit": "°F",
    "degrees f": "°F",
}
_MULTIPLES = {"k": 1e3, "thousand": 1e3, "million": 1e6, "mn": 1e6, "billion": 1e9, "bn": 1e9}
_NO_UNITS = frozenset(
    {
        "a",
        "an",
        "and",
        "again",
        "any",
        "anymore",
        "at",
        "before",
        "by",
        "during",
        "each",
        "ever",
        "every",
        "for",
        "from",
    }
    | {"if", "in", "less", "more", "of", "on", "or", "since", "than", "that", "the", "then", "times", "to", "today"}
    | {
        "soon",
        "tonight",
        "later",
        "once",
        "twice",
        "only",
        "thanks",
        "here",
        "there",
        "online",
        "unless",
        "except",
        "still",
    }
    | {"already", "too", "also", "but", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
    | {"tomorrow", "until", "when", "while", "with", "within", "without", "yesterday", "is", "are"}
)
_QUANTITY = re.compile(
    r"(?P<sign>[€$£¥₹]|[A-Z]{3} )?\s?"
    rf"(?P<number>[-+\u2212]?\d[\d.,'\u00a0\u202f ]*|(?:{'|'.join(COUNT_WORDS)})\b ?)"
    r"(?P<multiple>(?:k|thousand|million|billion|mn|bn)\b)?\s?(?P<unit>\D{0,30})",
    re.IGNORECASE,
)
_SECONDS = {
    "second": 1,
    "minute": 60,
    "min": 60,
    "hour": 3_600,
    "hr": 3_600,
    "day": 86_400,
    "week": 604_800,
    "fortnight": 1_209_600,
    "month": 2_592_000,
    "year": 31_536_000,
}
LENGTH = rf"(?:the )?(?:last |past |previous )?(?:(?:\d{{1,5}}|an?|{'|'.join(COUNT_WORDS)})[ -])?(?:{'|'.join(_SECONDS)})s?\b"
"""The pattern of a length of time, without groups."""


class Quantity(msgspec.Struct, frozen=True):
    """A number with its unit as a short name (`EUR`, `°C`, `%`, `seats`), None when it has none."""

    value: float
    unit: str | None = None

    @property
    def is_money(self) -> bool:
        """Whether the unit is a currency."""
        return self.unit is not None and self.unit.split("/")[0] in _CODES

    @property
    def number(self) -> str:
        """The number as a condition holds it: 200, 19.99."""
        return f"{self.value:.0f}" if self.value.is_integer() and abs(self.value) < 1e15 else repr(self.value)

    @property
    def text(self) -> str:
        """The quantity as people read it."""
        return f"{self.number} {self.unit}" if self.unit else self.number


def read_quantity(text: str) -> Quantity | None:
    """A number with a unit: "200", "1,299.99 EUR", "€1.299,00", "50k", "-3 °C", "10 %", "five seats left"."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        return None
    number = _read_number(found["number"])
    unit = _read_unit(found["unit"].strip())
    sign = (found["sign"] or "").strip().upper()
    if number is None or unit is None or (sign and sign not in _SIGNS and sign not in _CODES):
        return None
    if sign:
        unit = _SIGNS.get(sign, sign) + (f"/{unit.removeprefix('per ')}" if unit.startswith("per ") else "")
    multiple = _MULTIPLES.get((found["multiple"] or "").lower(), 1)
    return Quantity(number * multiple, unit or None)


def read_length(text: str) -> timedelta | None:
    """A length of time: "a week", "90 days", "the last 24 hours"; a month is 30 days and a year 365."""
    words = re.split(r"[ -]", text.strip().lower())
    if re.fullmatch(LENGTH, text.strip(), re.IGNORECASE) is None:
        return None
    count = words[-2] if len(words) > 1 else "1"
    n = int(count) if count.isdecimal() else COUNT_WORDS.get(count, 1)
    length = n * _SECONDS[words[-1] if words[-1] in _SECONDS else words[-1].removesuffix("s")]
    return timedelta(seconds=length) if 0 < length <= WINDOW_MAX.total_seconds() else None


def length_in_words(length: timedelta) -> str:
    """A length as people say it ("7 days", "90 minutes"): in the largest unit that divides it."""
    seconds = int(length.total_seconds())
    for unit in ("day", "hour", "minute"):
        if seconds % _SECONDS[unit] == 0:
            n = seconds // _SECONDS[unit]
            return f"{n} {unit}" if n == 1 else f"{n} {unit}s"
    return f"{seconds} seconds"


def _read_number(text: str) -> float | None:
    """English notation, and continental where it cannot be mistaken: 1.299,00 and 1.299.000 and 12,5."""
    word = text.strip().lower()
    if word in COUNT_WORDS:
        return float(COUNT_WORDS[word])
    digits = re.sub(r"(?<=\d)[\s'\u00a0\u202f](?=\d{3})", "", word).replace("\u2212", "-").rstrip(".,")
    if re.fullmatch(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", digits):
        return float(digits.replace(",", ""))
    if re.fullmatch(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+|[-+]?\d{1,3}(?:\.\d{3}){2,}", digits):
        return float(digits.replace(".", "").replace(",", "."))
    return float(digits.replace(",", ".")) if re.fullmatch(r"[-+]?\d{1,15}(?:[.,]\d{1,9})?", digits) else None


def _read_unit(text: str) -> str | None:
    """The short name of a unit, "" for none, None for words that are no unit."""
    words = text.lower().split()
    if not words:
        return ""
    per = re.fullmatch(r"(.*?)\s*(?:/|\bper |\ba )\s*([a-z]+)", text, re.IGNORECASE)
    if per is not None:
        of = _read_unit(per[1])
        if of is None or per[2].lower() in _NO_UNITS:
            return None
        return f"{of}/{per[2]}" if of else f"per {per[2]}"
    if text.upper() in _CODES or text in _SIGNS:
        return _SIGNS.get(text, text.upper())
    if text.lower() in _UNIT_WORDS:
        return _UNIT_WORDS[text.lower()]
    is_one = len(words) == 1 or (len(words) == 2 and words[1] in {"left", "remaining", "available"})
    is_plain = all(re.fullmatch(r"[^\W\d_]+[²³]?|°", word) for word in words)
    return text if is_one and is_plain and not _NO_UNITS & set(words) else None
