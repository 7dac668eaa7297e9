"""Evidence as a person sees it: what a model is shown of it, instead of all that a page can hide in its markup."""

import csv
import io
import re
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
from lxml import etree
from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.document_reader import DocumentReader
from adapters.document_text import rendered
from adapters.fact_conversion import numbers
from adapters.fact_reader import FactReader
from adapters.hidden_style import hides
from adapters.markup_budget import is_affordable
from adapters.parsed_document import ParsedDocument
from commands.untrusted_text import lines
from domain.evidence import Document, FetchOutcome
from domain.fact import Select
from domain.source import Source

NUMBERS_MAX = 50
"""In a quote."""
READING = ("evidence_text", "hidden_style")

_READABLE = frozenset({FetchOutcome.OK, FetchOutcome.NOT_MODIFIED})
# What a browser draws nothing of, or only in place of something else (HTML standard, section 15.3.1 and the elements' own);
# what is hidden from screen readers is hidden from somebody.
_UNSEEN = (
    "script, style, noscript, template, svg, iframe, frameset, noframes, noembed, object, audio, video, canvas, datalist, "
    "[hidden], [aria-hidden=true i], [popover], dialog:not([open])"
)
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_DELIMITERS = (",", ";", "\t", "|")
_FEED_FIELDS = ("title", "published", "author", "link", "summary")


class EvidenceText:
    """Fulfils `commands.model_reading.EvidenceTexts`.

    Style sheets are not applied, and nobody knows what is drawn over what: text that only a style sheet hides, or that has the
    colour of what is behind it, is taken for seen.
    """

    @property
    def edition(self) -> str:
        """Another one whenever the same bytes may be shown otherwise."""
        return _edition()

    def text_of(self, source: Source, document: Document, select: Select | None) -> str:
        """As the port says. Of a page it is the visible text, of a feed its items, of XML its elements without comments, of
        CSV its rows, of anything else the text; with a `select` what that finds, one match after the other. Product data is read
        where shops have it, which nobody sees. Nothing of what cannot be read, or costs too much to."""
        if document.outcome not in _READABLE:
            return ""
        parsed = ParsedDocument(document)
        if select is not None:
            seen = document if select.product is not None else _without_unseen(parsed, document)
            found = DocumentReader(source, seen).texts(select)
            return lines("\n".join(found if select.feed is None else map(_seen_of_item, found)))
        if parsed.is_page:
            return lines("" if parsed.page is None else _seen(parsed.page))
        if parsed.is_xml:
            return lines(_xml_text(parsed))
        if parsed.is_json:
            return lines(_json_text(parsed.text))
        return lines(_table(parsed.text) if "csv" in document.content_type else parsed.text)

    def numbers_in(self, text: str) -> list[float]:
        """As the port says."""
        return numbers(text, NUMBERS_MAX)


@cache
def _edition() -> str:
    told = sha256(FactReader().edition.encode())
    for module in READING:
        told.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return told.hexdigest()[:16]


def _without_unseen(parsed: ParsedDocument, document: Document) -> Document:
    """A page without the contents of what nobody sees; the elements stay, so that those beside them keep their places."""
    if parsed.page is None:
        return document
    _empty_unseen(parsed.page)
    return msgspec.structs.replace(document, body=(parsed.page.html or "").encode("utf-8", "replace"), charset="utf-8")


def _seen(page: LexborHTMLParser) -> str:
    _empty_unseen(page)
    return "" if page.body is None else rendered(page.body)


def _empty_unseen(page: LexborHTMLParser) -> None:
    """From the inside outwards, for what was inside an emptied element is gone, and must not be touched any more."""
    for element in reversed(page.css(_UNSEEN)):
        _empty(element)
    for element in reversed(page.css("[style]")):
        if hides(element.attributes.get("style") or ""):
            _empty(element)


def _empty(element: LexborNode) -> None:
    """Pages that hide themselves as a whole show themselves by a script."""
    if element.tag not in {"html", "body"}:
        element.inner_html = ""


def _xml_text(parsed: ParsedDocument) -> str:
    if parsed.feed is not None:
        return "\n".join(_item_lines(parsed.feed))
    return "" if parsed.tree is None else etree.tostring(parsed.tree, encoding="unicode")


def _item_lines(items: Iterable[dict[str, str]]) -> Iterable[str]:
    for item in items:
        for field in _FEED_FIELDS:
            yield _seen_of_item(item.get(field, ""))


def _seen_of_item(text: str) -> str:
    """A field of a feed's item, which may be a text or markup."""
    if "<" not in text:
        return text
    return _seen(LexborHTMLParser(text)) if is_affordable(text) else ""


def _table(text: str) -> str:
    """A row a line, its cells told apart by what stands in no number."""
    delimiter = max(_DELIMITERS, key=text.lstrip().partition("\n")[0].count)
    try:
        return "\n".join(" | ".join(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return text


def _json_text(text: str) -> str:
    """With blanks after commas, for those inside of numbers are none."""
    try:
        return _unescaped(msgspec.json.format(text, indent=0))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _unescaped(text)


def _unescaped(text: str) -> str:
    """JSON with its characters in place of escapes, so that nothing hides in them; what JSON itself needs stays escaped."""
    return _ESCAPED.sub(_character, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(escaped: re.Match[str]) -> str:
    if escaped[1] is None or int(escaped[1], 16) < 0x80:
        return escaped[0]
    return chr(int(escaped[1], 16))
