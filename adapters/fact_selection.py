"""The languages a person can point into a document with: checked when a plan is made, compiled once."""

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

import re2
from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery
from jsonpath_rfc9535.function_extensions import ExpressionType, FilterFunction
from lxml import etree
from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from adapters.feed_reader import FIELDS
from adapters.product_data import PRODUCT_FIELDS
from domain.errors import InvalidInput
from domain.fact import Select

SELECTOR_CHARS_MAX = 1_000
REGEX_TEXT_CHARS_MAX = 1_000_000
SELECTORS = ("css", "xpath", "jsonpath", "csv", "feed", "product", "named", "text")
TEXTS = ("main",)


class _Re2Filter(FilterFunction):
    """JSONPath's `match` (whole string) and `search` (anywhere) in linear time (RFC 9535, sections 2.4.6 and 2.4.7)."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    @property
    def arg_types(self) -> list[ExpressionType]:
        return [ExpressionType.VALUE, ExpressionType.VALUE]

    @property
    def return_type(self) -> ExpressionType:
        return ExpressionType.LOGICAL

    def __call__(self, text: object, pattern: object) -> bool:
        if not isinstance(text, str) or not isinstance(pattern, str) or len(pattern) > SELECTOR_CHARS_MAX:
            return False
        try:
            compiled = compiled_regex(pattern)
        except re2.error:
            return False
        look = compiled.fullmatch if self._whole else compiled.search
        return look(text[:REGEX_TEXT_CHARS_MAX]) is not None


class _LinearJsonPath(JSONPathEnvironment):
    """JSONPath whose regular expressions cannot backtrack."""

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["match"] = _Re2Filter(whole=True)
        self.function_extensions["search"] = _Re2Filter(whole=False)


_JSONPATH = _LinearJsonPath()
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


def _try_xpath(expression: str) -> None:
    compiled_xpath(expression)(etree.fromstring("<html/>"))  # unknown functions and prefixes show only when it runs


@lru_cache(maxsize=512)
def compiled_xpath(expression: str) -> etree.XPath:
    """XPath 1.0 without EXSLT's backtracking regular expressions. Raises `lxml.etree.XPathSyntaxError`."""
    return etree.XPath(expression, regexp=False, smart_strings=False)


@lru_cache(maxsize=512)
def compiled_jsonpath(query: str) -> JSONPathQuery:
    """JSONPath (RFC 9535). Raises `JSONPathError`."""
    return _JSONPATH.compile(query)


@lru_cache(maxsize=512)
def compiled_regex(pattern: str) -> Any:  # noqa: ANN401  # the library ships no types
    """An RE2 expression, whose time is linear in the text. Raises `re2.error`."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


_CHECKS: dict[str, tuple[Callable[[str], object], str]] = {
    "css": (_try_css, "write a CSS selector such as #price or table tr:first-child td.amount"),
    "xpath": (_try_xpath, "write an XPath 1.0 expression such as //span[@id='price'], local-name() for namespaces"),
    "jsonpath": (compiled_jsonpath, "write a JSONPath (RFC 9535) such as $.offers[0].price"),
    "regex": (
        compiled_regex,
        "write an RE2 expression such as Price: ([0-9.]+), without look-around or back-references",
    ),
}
