"""The text of a document: its bytes decoded, and what of a page a person would see."""

import codecs
import re
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from domain.evidence import Document

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Python also knows codecs that are no charset of the web, some of them slow by design (punycode, idna).
_WEB_CODEC = re.compile(
    r"utf-8|utf-16(-[lb]e)?|ascii|iso8859-\d+|cp\d+|koi8-[rut]|mac-\w+|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_jp\w*|tis-620"
)
_DECLARED = re.compile(
    rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]+encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE
)
_DECLARED_WITHIN_BYTES = 1024  # HTML standard, "prescan a byte stream"
NODES_RENDERED_MAX = 1_000_000
_UNSEEN = "script, style, noscript, template, head, svg, [hidden]"
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "button", "caption", "center", "dd", "details",
    "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "legend", "li", "main", "nav", "ol", "option", "p", "pre", "section", "select",
    "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip


def decoded(document: Document) -> str:
    """The document's text by its byte order mark, else the charset of its header, else of its `<meta>` or XML
    declaration, else UTF-8; bytes that do not fit become U+FFFD (HTML standard, "determining the character encoding")."""
    for mark, codec in _BOMS:
        if document.body.startswith(mark):
            return document.body[len(mark) :].decode(codec, "replace")
    labels = [document.charset or ""]
    if declared := _DECLARED.search(document.body, 0, _DECLARED_WITHIN_BYTES):
        labels.append((declared[1] or declared[2]).decode("ascii"))
    for label in labels:
        if found := _web_codec(label):
            return document.body.decode(found, "replace")
    return document.body.decode("utf-8", "replace")


def visible_text(markup: str) -> str:
    """What a person sees of a page: without scripts, styles and hidden parts, one line for each block."""
    page = LexborHTMLParser(markup)
    for unseen in page.css(_UNSEEN):
        unseen.decompose()
    return "" if page.body is None else rendered(page.body)


def rendered(element: LexborNode, *, nodes_max: int = NODES_RENDERED_MAX) -> str:
    """The element's text, its blocks on lines of their own and white space collapsed (as CSS `white-space: normal`).

    No more than `nodes_max` nodes inside it are read: of many elements inside each other every one holds the whole page.
    """
    pieces: list[str] = []
    for node in islice(element.traverse(include_text=True), nodes_max):
        before = node.prev
        if node.tag in _BLOCKS or (before is not None and before.tag in _BLOCKS):
            pieces.append("\n")
        if node.tag == "-text" and (node.parent is None or node.parent.tag not in {"script", "style"}):
            pieces.append((node.text_content or "").replace("\n", " "))
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _web_codec(label: str) -> str | None:
    try:
        name = codecs.lookup(label.strip()).name
    except (LookupError, ValueError):
        return None
    if name in {"ascii", "iso8859-1"}:
        return "cp1252"  # both labels mean windows-1252 on the web (Encoding standard)
    return name if _WEB_CODEC.fullmatch(name) else None
