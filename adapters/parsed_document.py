"""A document seen in every way a selection may need, each made when first asked for and kept."""

import csv
import io
import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import msgspec
from lxml import etree
from selectolax.lexbor import LexborHTMLParser

from adapters.document_text import decoded, visible_text
from adapters.feed_reader import feed_items, xml_tree
from adapters.main_text import main_text
from adapters.markup_budget import is_affordable
from adapters.named_value import same_name
from adapters.selection_cost import (
    CSS_STEPS_MAX,
    PageShape,
    css_steps,
    is_cheap_css,
    is_cheap_xpath,
    page_shape,
    xpath_steps,
    xpath_steps_max,
)
from domain.evidence import Document

COLUMNS_MAX = 10_000
JSON_STEPS_AT_LEAST, JSON_STEPS_OF_A_CHAR = 10_000, 2
_DELIMITERS = (",", ";", "\t", "|")


class ParsedDocument:
    """Lazy views of one document. A view is None where the document is not of that kind or too costly to parse."""

    def __init__(self, document: Document) -> None:
        self._document = document

    @cached_property
    def text(self) -> str:
        """The decoded document as it was sent."""
        return decoded(self._document)

    @cached_property
    def seen(self) -> str:
        """What a person sees: the visible text of a page, the text itself of anything else."""
        if not self.is_page:
            return self.text
        return visible_text(self.text) if self._is_affordable else ""

    @cached_property
    def main(self) -> str:
        """The main text of a page, the text itself of anything else."""
        if not self.is_page:
            return self.text
        return main_text(self.text) if self._is_affordable else ""

    @cached_property
    def json(self) -> Any:  # noqa: ANN401  # any JSON value
        """The JSON value, None when it is none (or null)."""
        return json_value(self.text) if self.is_json else None

    @property
    def json_steps_max(self) -> int:
        """How many nodes a JSONPath may look at: each value of the document several times, for a value is two characters
        or more. 64 KiB afford 0.2 s, 5 MB 10 s in which other threads run."""
        return JSON_STEPS_AT_LEAST + JSON_STEPS_OF_A_CHAR * len(self.text)

    @cached_property
    def page(self) -> LexborHTMLParser | None:
        """The HTML page."""
        return LexborHTMLParser(self.text) if self.is_page and self._is_affordable else None

    @cached_property
    def tree(self) -> etree._Element | None:
        """The root element, of XML or of a page."""
        if self.is_xml:
            return xml_tree(self.text)  # libxml2 bounds depth and entities of XML itself, and is linear in the rest
        return _page_tree(self.text) if self.is_page and self._is_affordable else None

    def can_afford_css(self, selector: str) -> bool:
        """Whether a CSS selector can be run on the page without holding up all else."""
        return is_cheap_css(selector) or css_steps(selector, self._page_shape) <= CSS_STEPS_MAX

    def can_afford_xpath(self, expression: str) -> bool:
        """Whether an XPath can be run on the tree in seconds."""
        if is_cheap_xpath(expression):
            return True
        return xpath_steps(expression, self._tree_shape) <= xpath_steps_max(self._tree_shape)

    @cached_property
    def _page_shape(self) -> PageShape:
        root = None if self.page is None else self.page.root
        nodes = () if root is None else root.traverse()
        pairs = ((node.mem_id, 0 if node.parent is None else node.parent.mem_id) for node in nodes)
        return page_shape(pairs, len(self.text))

    @cached_property
    def _tree_shape(self) -> PageShape:
        elements = [] if self.tree is None else list(self.tree.iter())  # kept, for ids are those of living objects
        return page_shape(((id(element), id(element.getparent())) for element in elements), len(self.text))

    @cached_property
    def feed(self) -> list[dict[str, str]] | None:
        """The items of a feed, newest first as feeds have them."""
        return feed_items(self.tree) if self.is_xml else None

    @cached_property
    def is_json(self) -> bool:
        """Whether this says or looks to be JSON."""
        return "json" in self._document.content_type or self._start[:1] in {"{", "["}

    @cached_property
    def is_xml(self) -> bool:
        """Whether this is XML other than XHTML, which is read as a page."""
        start = self._start.lower()
        if not start.startswith("<") or "<html" in start or "<!doctype html" in start:
            return False
        return (
            start.startswith(("<?xml", "<!doctype", "<rss", "<feed", "<rdf:rdf"))
            or "xml" in self._document.content_type
        )

    @cached_property
    def is_page(self) -> bool:
        """Whether this is HTML."""
        return not self.is_xml and (self._start.startswith("<") or "html" in self._document.content_type)

    def column(self, name: str) -> list[str] | None:
        """The cells of a CSV column, top to bottom without empty rows; None when there is no such column."""
        first_line = self._start.split("\n", 1)[0]
        delimiter = max(_DELIMITERS, key=first_line.count)
        rows = csv.reader(io.StringIO(self.text.lstrip("\ufeff\r\n"), newline=""), delimiter=delimiter)
        header = [title.strip() for title in next(rows, [])]
        if len(header) > COLUMNS_MAX:
            return None
        titles = header if name in header else [same_name(title) for title in header]
        wanted = name if name in header else same_name(name)
        if wanted not in titles:
            return None
        at = titles.index(wanted)
        return list(_cells(rows, at))

    @cached_property
    def _start(self) -> str:
        return self.text[:4096].lstrip("\ufeff \t\r\n")[:1024]

    @cached_property
    def _is_affordable(self) -> bool:
        return is_affordable(self.text)


def json_value(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """The value of a JSON text, None when it is none. Names of members that stand twice have their last value."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass  # perhaps only for one number out of range or a NaN, which the slower reader lets pass
    try:
        return json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None


def _cells(rows: Iterator[list[str]], at: int) -> Iterator[str]:
    for row in rows:
        if any(cell.strip() for cell in row):
            yield row[at].strip() if at < len(row) else ""


def _page_tree(text: str) -> etree._Element | None:
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    root: etree._Element | None = etree.fromstring(text.encode("utf-8", "replace"), parser)
    if root is None:
        return None
    for table in root.iter("table"):  # browsers put rows into a tbody, so XPaths copied from a browser name it
        body = None
        for child in list(table):
            if child.tag != "tr":
                body = None
            elif body is None:
                body = etree.Element("tbody")
                table.replace(child, body)
                body.append(child)
            else:
                body.append(child)
    return root
