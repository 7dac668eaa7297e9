"""A look over markup before it is parsed: whether a parser will handle it in reasonable time and memory.

An HTML5 parser walks its stack of open elements at every tag and re-opens unclosed formatting at every paragraph, so
its cost is a product that a hostile page can choose: 1 MB of `<div>` was measured to keep lexbor busy for 89 s, and a few
hundred KB of unclosed `<b>` followed by `<p>` can fill the memory.
"""

import re

TAGS_MAX = 300_000
DEPTH_MAX = 512  # where Chromium flattens a document
REOPENED_MAX = 1_000_000
ATTRIBUTES_MAX = 2_000

_MARKUP = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|<(?P<raw>script|style)(?=[\s/>]).*?(?:</(?P=raw)(?=[\s/>])|\Z)"
    r"|</(?P<end>[a-z][^\s/>]*)"
    r"|<(?P<start>[a-z][^\s/>]*)(?P<attributes>(?:[^>\"']|\"[^\"]*\"|'[^']*')*+)",
    re.DOTALL | re.IGNORECASE,
)
_VOID = frozenset({
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "image", "img", "input", "link",
    "meta", "param", "source", "track", "wbr",
})  # fmt: skip
# Elements that the next of their kind closes: counting them as open would refuse old pages without end tags.
_CLOSED_BY_NEXT = frozenset({
    "html", "head", "body", "p", "li", "dd", "dt", "td", "th", "tr", "thead", "tbody", "tfoot", "option",
    "optgroup", "colgroup", "caption", "rt", "rp", "rb", "rtc",
})  # fmt: skip
_FORMATTING = frozenset({
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
})  # fmt: skip
_INLINE = _FORMATTING | frozenset({
    "span", "label", "abbr", "cite", "q", "sub", "sup", "time", "data", "mark", "bdi", "bdo", "ins", "del",
    "var", "kbd", "samp", "dfn",
})  # fmt: skip
_SCOPES = frozenset({
    "table", "template", "object", "applet", "marquee", "svg", "math", "button", "select",
})  # fmt: skip


def is_affordable(markup: str) -> bool:
    """Whether parsing `markup` stays within the limits above."""
    open_elements: list[str] = []
    reopened = formatting = 0
    for tags, found in enumerate(_MARKUP.finditer(markup)):
        if tags > TAGS_MAX:
            return False
        if (end := found["end"]) is not None:
            formatting -= _close(open_elements, end.lower())
        elif (start := found["start"]) is not None:
            name, attributes = start.lower(), found["attributes"]
            if len(attributes) > 4 * ATTRIBUTES_MAX and len(attributes.split()) > ATTRIBUTES_MAX:
                return False  # parsers compare each attribute's name with all before it
            reopened += formatting
            if name in _VOID or name in _CLOSED_BY_NEXT or (attributes.endswith("/") and "svg" in open_elements[-32:]):
                continue
            formatting += name in _FORMATTING
            open_elements.append(name)
            if len(open_elements) > DEPTH_MAX or reopened > REOPENED_MAX:
                return False
    return True


def _close(open_elements: list[str], name: str) -> int:
    """Close the innermost `name` and all inside it where a parser would; gives how many formatting elements closed."""
    for back in range(len(open_elements) - 1, -1, -1):
        inner = open_elements[back]
        if inner == name:
            closed = sum(element in _FORMATTING for element in open_elements[back:])
            del open_elements[back:]
            return closed
        if inner in _SCOPES or (name in _INLINE and inner not in _INLINE):
            return 0  # the parser ignores this end tag, or keeps what is inside it open
    return 0
