"""The languages a person can point into a document with: checked when a plan is made, compiled once."""

from collections.abc import Callable, Collection
from functools import lru_cache

import re2
from jsonpath_rfc9535 import JSONPathError
from lxml import etree
from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from adapters.bounded_jsonpath import compiled_jsonpath
from adapters.bounded_regex import compiled_regex
from adapters.fact_conversion import LIST_ITEMS_MAX
from adapters.feed_reader import FIELDS
from adapters.product_data import PRODUCT_FIELDS
from domain.errors import InvalidInput
from domain.fact import Select

SELECTOR_CHARS_MAX = 1_000
SELECTORS = ("css", "xpath", "jsonpath", "csv", "feed", "product", "named", "text")
TEXTS = ("main",)


_KNOWN: dict[str, Collection[str]] = {"feed": FIELDS, "product": PRODUCT_FIELDS, "text": TEXTS}


def check_select(select: Select, field: str) -> None:
    """Refuse a selection that could never be read. `field` is where it stands in the request.

    Raises `InvalidInput` naming the part and its cure.
    """
    given = [name for name in SELECTORS if getattr(select, name) is not None]
    if len(given) > 1:
        raise InvalidInput(f"use one of {' and '.join(given)}, not {len(given)}", field=field)
    for name in [*given, *(["regex"] if select.regex is not None else [])]:
        _check_selector(name, getattr(select, name), f"{field}.{name}")
    if select.csv_row not in {"first", "last"}:
        raise InvalidInput("csv_row is first or last", field=f"{field}.csv_row")


def _check_selector(name: str, text: str, field: str) -> None:
    if not text.strip() or len(text) > SELECTOR_CHARS_MAX or "\0" in text:
        raise InvalidInput(f"{name} is 1 to {SELECTOR_CHARS_MAX} characters", field=field)
    if name in _KNOWN and text not in _KNOWN[name]:
        raise InvalidInput(f"{name} is one of {', '.join(_KNOWN[name])}, not {text!r}", field=field)
    check = _CHECKS.get(name)
    if check is None:
        return
    compile_it, cure = check
    try:
        compile_it(text)
    except (SelectolaxError, etree.Error, JSONPathError, re2.error, ValueError, RecursionError) as broken:
        reason = _reason(broken)
        raise InvalidInput(
            f"this {name} cannot be read{f' ({reason})' if reason else ''}; {cure}", field=field
        ) from None


def _reason(broken: Exception) -> str:
    detail = broken.args[0] if broken.args else ""
    if isinstance(broken, SelectolaxError):
        return ""  # says no more than that it cannot be parsed
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)


def _try_css(selector: str) -> None:
    LexborHTMLParser("<p>").css(selector)


@lru_cache(maxsize=512)
def compiled_xpath(expression: str) -> etree.XPath:
    """XPath 1.0 without EXSLT's backtracking regular expressions, which gives no more nodes than a list takes: lxml holds up
    all threads while it makes objects of them, a million for 0.4 s. Raises `lxml.etree.XPathError`."""
    whole = etree.XPath(expression, regexp=False, smart_strings=False)
    found = whole(etree.fromstring("<html/>"))  # unknown functions and prefixes show only when it runs
    if not isinstance(found, list):
        return whole
    return etree.XPath(f"({expression})[position() <= {LIST_ITEMS_MAX}]", regexp=False, smart_strings=False)


_CHECKS: dict[str, tuple[Callable[[str], object], str]] = {
    "css": (_try_css, "write a CSS selector such as #price or table tr:first-child td.amount"),
    "xpath": (compiled_xpath, "write an XPath 1.0 expression such as //span[@id='price'], local-name() for namespaces"),
    "jsonpath": (compiled_jsonpath, "write a JSONPath (RFC 9535) such as $.offers[0].price"),
    "regex": (
        compiled_regex,
        "write an RE2 expression such as Price: ([0-9.]+), without look-around or back-references, and with few repetitions that are counted",
    ),
}
