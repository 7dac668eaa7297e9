"""The main text of a page: what it is about, without menus, margins and notices."""

import logging

from lxml import etree, html
from trafilatura import extract

ELEMENTS_MAX = 20_000
"""Where trafilatura was measured at one to three seconds, on the worst of the nested and repeated pages that were tried."""

# What the HTML standard (section 4.3) says is not the content of the page. For short pages trafilatura would else fall back
# to everything that has text.
_ASIDE = (
    "//nav",
    "//aside",
    "//footer[not(ancestor::article)]",
    "//header[not(ancestor::main or ancestor::article)]",
    "//*[@role='navigation' or @role='banner' or @role='contentinfo' or @role='complementary' or @hidden]",
)

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it warns of every page that has no main text


def main_text(markup: str) -> str:
    """The main text, a paragraph a line; empty where there is none, or where the page has more than 20,000 elements.

    One algorithm without its fallbacks reads every page, so that a page does not seem changed when another one wins. The
    caller has looked whether the markup can be parsed at all (`markup_budget`).
    """
    try:
        root = html.document_fromstring(markup.encode("utf-8", "replace"), parser=_parser())
    except (etree.ParserError, ValueError):
        return ""
    if sum(1 for _ in root.iter()) > ELEMENTS_MAX:
        return ""
    found = extract(root, fast=True, include_comments=False, prune_xpath=list(_ASIDE))
    return found or ""


def _parser() -> html.HTMLParser:
    return html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
