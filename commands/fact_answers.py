"""What a model answered when it read facts: decoded into closed types, and believed only as far as the evidence bears it out.

Whatever a model says is untrusted (SECURITY row 54): it may have done what a page told it. Nothing here trusts it with more
than the value of a fact that was asked for, and a value whose quote does not stand in the evidence has confidence 0.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import msgspec

from commands.asking import Malformed
from commands.fact_inquiry import Shown
from commands.untrusted_text import stands_in, words
from domain.evidence import Document
from domain.fact import Fact, FactSpec, FactType, FactValue

ANSWER_CHARS_MAX = 200_000
"""Ten thousand tokens are a quarter of that; a provider may not keep to them."""
CONFIDENCE_MAX = 0.99
"""Of a model, which is never as certain as a selection."""
CONFIDENCE_MAX_OF_CUT = 0.4
"""Of what is said to be missing, and of lists, when only the beginning of the evidence was shown."""
QUOTE_CHARS_MAX, REASON_CHARS_MAX = 500, 300
TEXT_CHARS_MAX, LIST_ITEMS_MAX, LIST_ITEM_CHARS_MAX, LIST_CHARS_MAX = 10_000, 1_000, 1_000, 50_000
"""As for facts that are selected."""
_SCALES = (1.0, 1e3, 1e6, 1e9, 0.01, 100.0)
"""Thousands, millions and milliards that are words; per cent, and cents."""
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d))?", re.ASCII)

NumbersIn = Callable[[str], Sequence[float]]
"""The numbers that stand in a text, as people write them."""


class _Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quote: str
    confidence: float


class _Number(_Read, frozen=True, forbid_unknown_fields=True):
    value: float | None


class _Boolean(_Read, frozen=True, forbid_unknown_fields=True):
    value: bool | None
    reason: str


class _Text(_Read, frozen=True, forbid_unknown_fields=True):
    value: str | None


class _List(_Read, frozen=True, forbid_unknown_fields=True):
    value: list[str] | None


_TYPES: dict[FactType, type[_Number | _Boolean | _Text | _List]] = {
    FactType.NUMBER: _Number,
    FactType.BOOLEAN: _Boolean,
    FactType.TEXT: _Text,
    FactType.LIST: _List,
    FactType.TIMESTAMP: _Text,
}

ModelAnswer = msgspec.Struct
"""One member for each fact that was asked for, in their order."""


def answer_decoder(specs: Sequence[FactSpec]) -> Callable[[str], ModelAnswer]:
    """What reads an answer about these facts. It raises `Malformed` for what is anything else, and for what is far too long;
    the message holds nothing of the answer."""
    members = {f"fact_{at}": spec for at, spec in enumerate(specs)}
    answer = msgspec.defstruct(
        "Answer",
        [(member, _TYPES[spec.type]) for member, spec in members.items()],
        rename={member: spec.name for member, spec in members.items()},
        forbid_unknown_fields=True,
        frozen=True,
    )
    decoder = msgspec.json.Decoder(answer)

    def decode(text: str) -> ModelAnswer:
        if len(text) > ANSWER_CHARS_MAX:
            raise Malformed(f"it has more than {ANSWER_CHARS_MAX} characters")
        try:
            return decoder.decode(text)
        except UnicodeError as error:
            raise Malformed("it is no text") from error
        except msgspec.ValidationError as error:
            said = str(error)
            # The path has names of facts only; the name of a member that nobody asked for is the model's own words.
            raise Malformed("it has a member that nobody asked for" if "unknown field" in said else said) from error
        except msgspec.DecodeError as error:
            raise Malformed("it is no JSON") from error

    return decode


@dataclass(frozen=True)
class FactChecks:
    """Makes facts of an answer: what was `shown` of the `document` tells how far to believe it."""

    shown: Shown
    document: Document
    numbers_in: NumbersIn

    def facts(self, specs: Sequence[FactSpec], answer: ModelAnswer) -> dict[str, Fact]:
        """The facts by name; those that are not there, or not of their type, are left out."""
        found = (self._fact(spec, getattr(answer, f"fact_{at}")) for at, spec in enumerate(specs))
        return {fact.name: fact for fact in found if fact is not None}

    def _fact(self, spec: FactSpec, read: _Number | _Boolean | _Text | _List) -> Fact | None:
        value = _value(spec.type, read.value)
        if value is None:
            return None
        quote = words(read.quote)[:QUOTE_CHARS_MAX].strip()
        return Fact(
            name=spec.name,
            type=spec.type,
            value=value,
            unit=spec.unit,
            confidence=min(max(read.confidence, 0.0), self._confidence_max(spec.type, value, quote)),
            quote=quote,
            source_url=self.document.url,
            evidence_hash=self.document.hash or "",
            observed_at=self.document.fetched_at,
            reason=words(read.reason)[:REASON_CHARS_MAX].strip() or None if isinstance(read, _Boolean) else None,
        )

    def _confidence_max(self, kind: FactType, value: FactValue, quote: str) -> float:
        if not stands_in(quote, self._words) or not self._bears_out(kind, value, quote):
            return 0.0
        may_stand_further_on = value is False or isinstance(value, list)
        return CONFIDENCE_MAX_OF_CUT if self.shown.is_cut and may_stand_further_on else CONFIDENCE_MAX

    def _bears_out(self, kind: FactType, value: FactValue, quote: str) -> bool:
        """Whether the value may be what the evidence says; of instants nobody can tell without reading."""
        match value:
            case bool():
                return True
            case float():
                numbers = self.numbers_in(quote)
                return not numbers or any(math.isclose(value, one * scale) for one in numbers for scale in _SCALES)
            case list():
                return all(item.casefold() in self._folded for item in value)
            case _:
                return kind is FactType.TIMESTAMP or stands_in(str(value).casefold(), self._folded)

    @cached_property
    def _words(self) -> str:
        return words(self.shown.text)

    @cached_property
    def _folded(self) -> str:
        return self._words.casefold()


def _value(kind: FactType, said: FactValue | None) -> FactValue | None:
    """What was said as a value of a fact, within its bounds; None for what is none."""
    match said:
        case list():
            return _items(said)
        case str() if kind is FactType.TIMESTAMP:
            return _instant(words(said))
        case str():
            return words(said)[:TEXT_CHARS_MAX].strip() or None
        case _:
            return said


def _items(said: Sequence[str]) -> list[str]:
    kept: list[str] = []
    room = LIST_CHARS_MAX
    for item in said[:LIST_ITEMS_MAX]:
        text = words(item)[:LIST_ITEM_CHARS_MAX].strip()
        room -= len(text)
        if room < 0:
            break
        kept += [text] if text else []
    return kept


def _instant(text: str) -> str | None:
    """RFC 3339 in UTC with `Z`; a date is its first instant."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
        return (
            (instant if instant.tzinfo else instant.replace(tzinfo=UTC))
            .astimezone(UTC)
            .isoformat()
            .replace("+00:00", "Z")
        )
    except (ValueError, OverflowError):
        return None
