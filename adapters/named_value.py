"""Finds values by their name, whatever the document is: for plans that say what to read but not where."""

import re
from collections import deque
from collections.abc import Iterator
from itertools import islice

from lxml import etree
from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.document_text import rendered
from adapters.feed_reader import element_text, local_name

JSON_NODES_MAX = 500_000
ELEMENTS_LOOKED_AT_MAX = 50_000
VALUE_NODES_MAX = 1_000
_LABEL_NODES_MAX = 50
_VALUE_KEYS = ("value", "amount")


def same_name(name: str) -> str:
    """A name without what people write differently: case, spaces, underscores, hyphens, points, a final colon."""
    return re.sub(r"[\s_.-]+", "", name.strip().rstrip(":").casefold())


def in_json(value: object, name: str) -> Iterator[object]:
    """The members called `name` at any depth, the shallowest first. A member that is an object is followed by its
    `value` or `amount`."""
    wanted = same_name(name)
    waiting: deque[object] = deque([value])
    seen = 0
    while waiting and seen < JSON_NODES_MAX:
        seen += 1
        node = waiting.popleft()
        if isinstance(node, list):
            waiting.extend(child for child in node if isinstance(child, dict | list))
        elif isinstance(node, dict):
            for key, member in node.items():
                if same_name(key) == wanted:
                    yield member
                    yield from (member[inner] for inner in _VALUE_KEYS if isinstance(member, dict) and inner in member)
                if isinstance(member, dict | list):
                    waiting.append(member)


def in_xml(root: etree._Element, name: str) -> Iterator[str]:
    """The elements and attributes called `name`, in document order."""
    wanted = same_name(name)
    for element in islice(root.iter(), ELEMENTS_LOOKED_AT_MAX):
        if same_name(local_name(element)) == wanted:
            yield element_text(element)
        yield from (value for key, value in element.attrib.items() if same_name(str(key)) == wanted)


def in_lines(text: str, name: str) -> Iterator[str]:
    """What follows `name:` or `name =` in a line of text."""
    label = r"[\s_-]*".join(re.escape(word) for word in re.split(r"[\s_-]+", name.strip()) if word)
    line = re.compile(rf"^[ \t]*{label}[ \t]*[:=][ \t]*(\S[^\n]*)$", re.IGNORECASE | re.MULTILINE)
    for found in line.finditer(text):
        yield found[1].strip()


def in_page(page: LexborHTMLParser, name: str) -> Iterator[str]:
    """Marked-up values of this name (microdata, OpenGraph), then labelled ones (tables, definition lists), then
    elements whose id, class or data attribute is the name. JSON-LD and plain lines are the caller's."""
    yield from _in_metadata(page, same_name(name))
    yield from _in_tables(page, same_name(name))
    yield from _in_attributes(page, same_name(name))


def json_ld(page: LexborHTMLParser) -> list[str]:
    """The page's JSON-LD blocks, as text."""
    return [block.text() for block in page.css('script[type="application/ld+json"]')[:100]]


def _in_metadata(page: LexborHTMLParser, wanted: str) -> Iterator[str]:
    for element in page.css("[itemprop]")[:ELEMENTS_LOOKED_AT_MAX]:
        if any(same_name(word) == wanted for word in (element.attributes.get("itemprop") or "").split()):
            yield element_value(element)
    for meta in page.css("meta[content]")[:ELEMENTS_LOOKED_AT_MAX]:
        key = (meta.attributes.get("property") or meta.attributes.get("name") or "").lower()
        path = re.sub(r"^(og|product|article|twitter):", "", key).removesuffix(":amount")
        if key and wanted in {same_name(key), same_name(path)}:
            yield meta.attributes.get("content") or ""


def _in_tables(page: LexborHTMLParser, wanted: str) -> Iterator[str]:
    for label in page.css("th, td, dt")[:ELEMENTS_LOOKED_AT_MAX]:
        if same_name(rendered(label, nodes_max=_LABEL_NODES_MAX)) != wanted:
            continue
        beside = _next_element(label)
        if beside is not None and beside.tag in {"td", "dd"}:
            yield rendered(beside, nodes_max=VALUE_NODES_MAX)
        elif label.tag == "th":
            yield from _below(label)


def _below(header: LexborNode) -> Iterator[str]:
    """The cells under a column's header, downwards."""
    row = header.parent
    cells = [] if row is None else [cell for cell in row.iter() if cell.tag in {"th", "td"}]
    column = next((i for i, cell in enumerate(cells) if cell.mem_id == header.mem_id), None)
    table = row
    while table is not None and table.tag != "table":
        table = table.parent
    if column is None or table is None:
        return
    for line in table.css("tr")[:ELEMENTS_LOOKED_AT_MAX]:
        below = [cell for cell in line.iter() if cell.tag in {"th", "td"}]
        if len(below) == len(cells) and below[column].tag == "td":
            yield rendered(below[column], nodes_max=VALUE_NODES_MAX)


def _in_attributes(page: LexborHTMLParser, wanted: str) -> Iterator[str]:
    if page.body is None:
        return
    for looked_at, element in enumerate(page.body.traverse()):
        if looked_at > ELEMENTS_LOOKED_AT_MAX:
            return
        for key, value in element.attributes.items():
            if key.startswith("data-") and same_name(key[5:]) == wanted and value:
                yield value
            elif key in {"id", "class"} or key.startswith("data-"):
                words = (value or "").split() if key == "class" else [value or ""]
                if any(same_name(word) == wanted for word in words):
                    yield element_value(element)


def element_value(element: LexborNode, *, nodes_max: int = VALUE_NODES_MAX) -> str:
    """What an element stands for: its `content` (microdata, meta), an input's or data's value, else its text, of which
    `nodes_max` nodes are read."""
    attributes = element.attributes
    for key in ("content", *(("value",) if element.tag in {"input", "data", "meter"} else ())):
        if value := attributes.get(key):
            return value
    return rendered(element, nodes_max=nodes_max)


def _next_element(node: LexborNode) -> LexborNode | None:
    following = node.next
    while following is not None and not (following.tag or "-").isalnum():
        following = following.next
    return following
