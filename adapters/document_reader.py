"""Reads facts from a document: selects, converts, and quotes. No network, no clock, and no exception for what a
document holds: a fact that cannot be read is None.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import re2
from jsonpath_rfc9535 import JSONPathError
from lxml import etree
from selectolax.lexbor import SelectolaxError

from adapters.bounded_jsonpath import jsonpath_values
from adapters.bounded_regex import compiled_regex, searchable
from adapters.document_text import NODES_RENDERED_MAX
from adapters.fact_conversion import LIST_ITEM_CHARS_MAX, LIST_ITEMS_MAX, TEXT_CHARS_MAX, converted, numbers, plain
from adapters.fact_quote import quoted
from adapters.fact_selection import SELECTORS, compiled_xpath
from adapters.feed_reader import FIELDS, element_text, item_keys
from adapters.named_value import element_value, in_json, in_lines, in_page, in_xml, json_ld, same_name
from adapters.parsed_document import ParsedDocument, json_value
from adapters.product_data import product_values
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, FactValue, Select
from domain.source import FeedSource, HttpSource, Source

# What the parsers and languages raise for broken documents, and for selections that do not fit them.
_UNREADABLE = (
    ValueError, RecursionError, OverflowError, csv.Error, etree.Error, JSONPathError, SelectolaxError, re2.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Found:
    """A selected value (a JSON value or a text), the words of the document to quote for it, and what the item of a feed that
    has it is known by."""

    value: object
    words: str
    key: str | None = None


class _Read(NamedTuple):
    """What a fact will say: its value, the words to quote, and the keys of a list's items."""

    value: FactValue
    words: str
    keys: list[str] | None = None


_PRODUCT_NAMES = {"price": "price", "currency": "currency", "availability": "availability"}
_STOCK_NAMES = frozenset({"availability", "available", "instock", "stock"})
"""Names that product data answers before anything else in the page does; those of stock where a yes or no is asked."""

_READABLE = frozenset({FetchOutcome.OK, FetchOutcome.NOT_MODIFIED})
"""A 304 answer comes with the body that was kept."""


class DocumentReader:
    """Reads any number of facts from one document, which is parsed at most once for each way of looking at it."""

    def __init__(self, source: Source, document: Document) -> None:
        self._source = source
        self._document = document
        self._parsed = ParsedDocument(document)

    def read(self, spec: FactSpec) -> Fact | None:
        """The fact `spec` asks for, or None when it is not there or not of its type.

        The fact's own `select` wins over the source's; a feed without one gives its titles. A boolean with a `regex`
        that has no group says whether the regex matches what was selected.
        """
        if self._document.outcome not in _READABLE:
            return None
        select = spec.select or (self._source.select if isinstance(self._source, HttpSource) else None) or Select()
        if isinstance(self._source, FeedSource) and _selects_everything(select):
            select = Select(feed="title", regex=select.regex)
        try:
            found = self._value(select, spec.type)
        except _UNREADABLE:
            return None
        if found is None:
            return None
        return Fact(
            name=spec.name,
            type=spec.type,
            value=found.value,
            unit=spec.unit,
            quote=quoted(found.words, self._parsed.text),
            source_url=self._document.url,
            evidence_hash=self._document.hash or "",
            observed_at=self._document.fetched_at,
            keys=found.keys,
        )

    def texts(self, select: Select) -> list[str]:
        """All that is selected, each match whole: for whoever makes values of it himself. Nothing where it cannot be read."""
        try:
            found = self._selected(select, FactType.LIST)
            if select.regex is not None:
                found = _narrowed(compiled_regex(select.regex), found, every=_selects_text(select))
            return [plain(one.value) for one in islice(found, LIST_ITEMS_MAX)]
        except _UNREADABLE:
            return []

    def _value(self, select: Select, kind: FactType) -> _Read | None:
        found = self._selected(select, kind)
        if kind is FactType.LIST:
            return _list(select, found, empty_feed=select.feed is not None and self._parsed.feed == [])
        if select.regex is not None:
            regex = compiled_regex(select.regex)
            if kind is FactType.BOOLEAN and regex.groups == 0:
                return _whether_matching(regex, found)
            found = _narrowed(regex, found)
        if select.named is None:  # a name may be carried by other things too; any other selection says which one it is
            found = islice((one for one in found if plain(one.value).strip()), 1)
        for one in found:
            value = _scalar(select, kind, one.value)
            if value is not None:
                return _Read(value, one.words)
        return None

    def _selected(self, select: Select, kind: FactType) -> Iterable[_Found]:
        document = self._parsed
        match select:
            case Select(css=str(selector)):
                page = document.page if document.can_afford_css(selector) else None
                nodes = [] if page is None else page.css(selector)[:LIST_ITEMS_MAX]
                room = NODES_RENDERED_MAX // max(1, len(nodes))
                return _texts(_css_value(node, kind, nodes_max=room) for node in nodes)
            case Select(xpath=str(expression)):
                return self._by_xpath(expression)
            case Select(jsonpath=str(query)):
                return _values(jsonpath_values(query, document.json, steps_max=document.json_steps_max))
            case Select(csv=str(column), csv_row=row):
                return self._by_column(column, kind, first=row == "first")
            case Select(feed=str(field)):
                return self._by_feed(field)
            case Select(product=str(field)):
                return self._by_product(field)
            case Select(named=str(name)):
                return self._by_name(name, kind)
            case Select(text="main"):
                return _texts([document.main])
            case _:
                return _texts([document.seen])

    def _by_xpath(self, expression: str) -> Iterator[_Found]:
        if self._parsed.tree is None or not self._parsed.can_afford_xpath(expression):
            return
        found: Any = compiled_xpath(expression)(self._parsed.tree)
        for one in found if isinstance(found, list) else [found]:
            value = element_text(one) if etree.iselement(one) else one
            if isinstance(value, str):
                yield _Found(value, value)
            elif isinstance(value, bool | float):
                yield _Found(value, "")  # computed, as by count(): it stands nowhere

    def _by_column(self, column: str, kind: FactType, *, first: bool) -> Iterable[_Found]:
        cells = self._parsed.column(column)
        if not cells:
            return []
        if kind is FactType.LIST:
            return _texts(cells[:LIST_ITEMS_MAX] if first else cells[-LIST_ITEMS_MAX:])
        return _texts([cells[0] if first else cells[-1]])

    def _by_feed(self, field: str) -> Iterator[_Found]:
        items = [(item.get(field, ""), item) for item in self._parsed.feed or ()]
        keys = None if field == "id" else item_keys([item.get("id", text) for text, item in items])
        return (_Found(text, text, key) for (text, _), key in zip(items, keys or repeat(None), strict=False))

    def _by_product(self, field: str) -> Iterator[_Found]:
        page = self._parsed.page
        return _values(() if page is None else product_values(page, field, self._document.url))

    def _by_name(self, name: str, kind: FactType) -> Iterable[_Found]:
        document = self._parsed
        if document.is_json:
            return _values(in_json(document.json, name))
        if document.is_xml:
            fields = (item.get(name.lower(), "") for item in document.feed or () if name.lower() in FIELDS)
            return chain(_texts(fields), _texts([] if document.tree is None else in_xml(document.tree, name)))
        if document.is_page:
            if document.page is None:
                return []
            known = _PRODUCT_NAMES.get(same_name(name))
            if kind is FactType.BOOLEAN and same_name(name) in _STOCK_NAMES:
                known = "availability"
            product = () if known is None else self._by_product(known)
            linked = (in_json(json_value(block), name) for block in json_ld(document.page))
            labelled = chain(in_page(document.page, name), in_lines(document.seen, name))
            return chain(product, _values(chain.from_iterable(linked)), _texts(labelled))
        return chain(self._by_column(name, kind, first=False), _texts(in_lines(document.text, name)))


def read_fact(spec: FactSpec, source: Source, document: Document) -> Fact | None:
    """One fact of one document; use a `DocumentReader` where several are read."""
    return DocumentReader(source, document).read(spec)


def _selects_everything(select: Select) -> bool:
    return all(getattr(select, name) is None for name in SELECTORS)


def _selects_text(select: Select) -> bool:
    """Whether what is selected is running text, in which a value may stand anywhere."""
    return _selects_everything(select) or select.text is not None


def _texts(texts: Iterable[str]) -> Iterator[_Found]:
    return (_Found(text, text) for text in texts)


def _values(values: Iterable[object]) -> Iterator[_Found]:
    return (_Found(value, plain(value)) for value in values)


def _css_value(node: Any, kind: FactType, *, nodes_max: int) -> str:  # noqa: ANN401  # lexbor's node, whose attributes are untyped
    if kind is FactType.TIMESTAMP and (instant := node.attributes.get("datetime")):
        return str(instant)
    return element_value(node, nodes_max=nodes_max)


def _scalar(select: Select, kind: FactType, raw: object) -> FactValue | None:
    if select.named is not None and isinstance(raw, dict | list):
        return None  # a name points at a value; an object of that name may hold one further on
    if kind is FactType.NUMBER and isinstance(raw, str) and select.regex is None and _selects_text(select):
        alone = len(raw) <= TEXT_CHARS_MAX and len(numbers(raw, 2)) == 1
        return converted(kind, raw) if alone else None  # which of a page's numbers is meant, nobody said
    return converted(kind, raw)


def _list(select: Select, found: Iterable[_Found], *, empty_feed: bool) -> _Read | None:
    selected = list(islice(found, LIST_ITEMS_MAX))
    if selected and isinstance(selected[0].value, list) and (len(selected) == 1 or select.named is not None):
        items = selected[0].value[:LIST_ITEMS_MAX]
        if not items:
            return _Read([], "[]")
        selected = list(_values(items))
    if select.regex is not None:
        every = _selects_text(select)
        narrowed = _narrowed(compiled_regex(select.regex), selected, every=every)
        selected = list(islice(narrowed, LIST_ITEMS_MAX))
    texts = [(" ".join(plain(one.value).split())[:LIST_ITEM_CHARS_MAX], one) for one in selected]
    kept = [(text, one) for text, one in texts if text]
    if not kept:
        return _Read([], "") if empty_feed else None
    keys = [one.key for _, one in kept if one.key is not None]
    return _Read([text for text, _ in kept], kept[0][1].words, keys if len(keys) == len(kept) else None)


def _narrowed(regex: Any, found: Iterable[_Found], *, every: bool = False) -> Iterator[_Found]:  # noqa: ANN401  # untyped
    """What the regex takes from each text: its first match, or `every` match."""
    for one in found:
        matches = regex.finditer(searchable(regex, plain(one.value)))
        for match in matches if every else islice(matches, 1):
            text = match[1] if regex.groups else match[0]
            if text:
                yield _Found(text, text, one.key)


def _whether_matching(regex: Any, found: Iterable[_Found]) -> _Read | None:  # noqa: ANN401  # untyped
    looked_at: _Found | None = None
    for one in found:
        looked_at = looked_at or one
        match = regex.search(searchable(regex, plain(one.value)))
        if match is not None:
            return _Read(True, match[0])  # noqa: FBT003  the value
    return None if looked_at is None else _Read(False, looked_at.words)  # noqa: FBT003  the value
