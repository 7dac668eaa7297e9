"""Facts: typed values read from evidence, each with a quote that stands in it."""

from datetime import datetime
from enum import StrEnum

import msgspec

FactValue = bool | float | str | list[str]
"""A fact's value: boolean, number (always a double), text or timestamp (RFC 3339 string), list of texts."""


class FactType(StrEnum):
    """What kind of value a fact holds."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    LIST = "list"
    TIMESTAMP = "timestamp"


class Select(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where in the evidence a fact stands: one of `css`, `xpath`, `jsonpath`, `csv`, `feed`, `product`, `named`, `text`,
    optionally narrowed by `regex` (its first group, or the whole match).

    `csv` names a column and reads its last row (`csv_row` "first" or "last"); `feed` names an item field (title, link,
    summary, id) of the items of an RSS or Atom feed; `product` names what a shop's page says of its product to machines
    (price, currency, availability, ...); `named` finds a value by its name whatever the evidence is: a JSON member, a CSV
    column, a labelled value in a page; `text` "main" is a page's text without menus and margins. Nothing given: the whole
    text of the evidence.
    """

    css: str | None = None
    xpath: str | None = None
    jsonpath: str | None = None
    csv: str | None = None
    csv_row: str = "last"
    feed: str | None = None
    named: str | None = None
    product: str | None = None
    text: str | None = None
    regex: str | None = None


class ReadBy(StrEnum):
    """Who reads a fact in the evidence: what it selects, exactly and for nothing, or a model, from its description."""

    SELECTION = "selection"
    MODEL = "model"


class FactSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A fact a plan asks for: `name` is an identifier usable in the condition. What a model reads is told by the
    `description`; it is shown all that a person sees of the evidence, or only what is selected."""

    name: str
    type: FactType
    unit: str | None = None
    description: str | None = None
    select: Select | None = None
    read_by: ReadBy = ReadBy.SELECTION


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value read from evidence.

    `confidence` is 0..1 (1 for a selector; 0 where what a model quoted does not stand in the evidence: no verdict uses such a
    value); `quote` is the verbatim text in the evidence the value was read from;
    `evidence_hash` is the SHA-256 (hex) of the evidence; `observed_at` is when the evidence was read; `keys` tell what each
    item of a list is known by, in the order of the items, where that is not the item itself; `reason` is why a model says yes or no.
    """

    name: str
    type: FactType
    value: FactValue
    unit: str | None = None
    confidence: float = 1.0
    quote: str
    source_url: str
    evidence_hash: str
    observed_at: datetime
    keys: list[str] | None = None
    reason: str | None = None
