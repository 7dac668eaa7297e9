"""The main text of pages: what they are about, without menus, margins and footers."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.document_reader import DocumentReader
from adapters.main_text import ELEMENTS_MAX, main_text
from domain.evidence import Document, FetchOutcome
from domain.fact import FactSpec, FactType, FactValue, Select
from domain.source import HttpSource

URL = "https://example.org/page"
HEAD = "<header><nav><ul><li><a href=/>Home</a></li><li><a href=/cart>Cart (0)</a></li></ul></nav></header>"
FOOT = """<aside><h3>Related</h3><ul><li><a href=/1>Price: 1 EUR</a></li></ul></aside>
<footer><p>Imprint. Copyright 2026 Example Ltd.</p></footer>"""
ARTICLE = """<main><article><h1>Flood warning lifted</h1><p>The warning for the lower valley was lifted on Tuesday, after
the water level fell below four metres for the first time in a week.</p><p>Schools open again on Wednesday, the council
said, and trains run on the old timetable.</p></article></main>"""
CHANGES = """<main><h1>Changelog</h1><h2>2.1.0</h2><ul><li>Adds a thing that many people asked for</li><li>Fixes a
crash</li></ul><h2>2.0.0</h2><ul><li>Removes Python 3.8</li></ul></main>"""
LAMP = """<div id=content><h1>Desk lamp</h1><div class=price>Price: 49.90 EUR</div><div>In stock</div><p>A lamp for desks,
with a warm light and a switch that does not click.</p><table><tr><th>Weight</th><td>1.2 kg</td></tr></table></div>"""


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (ARTICLE, ["Flood warning lifted", "below four metres", "old timetable"]),
        (CHANGES, ["Changelog", "2.1.0", "Adds a thing that many people asked for", "Removes Python 3.8"]),
        (LAMP, ["Desk lamp", "49.90 EUR", "In stock", "does not click", "1.2 kg"]),
    ],
    ids=["article", "changelog", "product"],
)
def test_the_main_text_is_what_the_page_is_about(body: str, kept: list[str]) -> None:
    text = main_text(page(body))
    assert [words for words in kept if words not in " ".join(text.split())] == []
    assert [words for words in ("Home", "Cart", "Related", "1 EUR", "Imprint") if words in text] == []


def test_a_regex_runs_over_the_main_text() -> None:
    decoy = page("<main><p>Now only, as long as stocks last: Price: 49.90 EUR for the lamp.</p></main>")
    before = decoy.replace(HEAD, "<nav>Price: 3 EUR</nav>")
    assert read(before, Select(text="main", regex=r"Price: ([\d.]+)"), "number") == 49.9
    assert read(before, Select(regex=r"Price: ([\d.]+)"), "number") == 3.0  # the whole text, as ever
    assert read(page(ARTICLE), Select(text="main", regex="(?i)imprint"), "boolean") is False
    assert read(page(CHANGES), Select(text="main", regex=r"\d\.\d\.0"), "list") == ["2.1.0", "2.0.0"]


def test_which_of_the_numbers_is_meant_is_not_guessed() -> None:
    assert read(page(LAMP), Select(text="main"), "number") is None


def test_what_changes_beside_the_main_text_changes_nothing() -> None:
    assert read(page(ARTICLE), Select(text="main"), "text") == read(
        page(ARTICLE).replace("Cart (0)", "Cart (1)").replace("2026", "2027"), Select(text="main"), "text"
    )


def test_of_what_is_no_page_the_whole_text_is_the_main_text() -> None:
    assert read("Temp: 12\n", Select(text="main"), "text") == "Temp: 12"
    assert read('{"a": 1}', Select(text="main"), "text") == '{"a": 1}'
    assert read("", Select(text="main"), "text") is None
    assert read("<html><body></body></html>", Select(text="main"), "text") is None


HOSTILE = {
    "more elements than are read": "<p>some text here</p>" * ELEMENTS_MAX,
    "deep": "<div><p>some text" * 240 + "</div>" * 240,
    "links": "<p><a href=x>aaa</a></p>" * 4_000,
    "comments": '<div class="comment">some text<p>more</div>' * 4_000,
    "nested links": ("<div><a href=x>aaaaaa</a>" * 200 + "</div>" * 200) * 5,
    "nested lists": "<ul><li>some text" * 200,
    "nested tables": "<table><tr><td><p>x</p>" * 100,
    "a line of 2 MB": "<p>" + "word " * 400_000,
    "breaks": "<p>" + "a<br>" * 5_000,
    "NUL": "<p>\0\0</p>" * 100,
    "surrogates": "<p>&#xD800;&#xDFFF;</p>",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(20)
def test_a_hostile_page_takes_bounded_time(body: str) -> None:
    read(page(body), Select(text="main"), "text")
    read(body, Select(text="main", regex="(a*)*b"), "list")


def test_a_page_of_too_many_elements_has_no_main_text() -> None:
    assert main_text(page(HOSTILE["more elements than are read"])) == ""


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(["<p>", "</p>", "<main>", "<ul><li>", "</ul>", "<table>", "<td>", "<nav>", "</nav>", "<html>"])
        | st.sampled_from(
            ["<!--", "<br>", "&amp;", "&#x0;", "some text", "<article>", "<a href=x>", "<?x", "<svg>", "é\0"]
        )
    ).map("".join)
)
def test_any_markup_has_a_main_text_or_none(markup: str) -> None:
    read("<html>" + markup, Select(text="main"), "text")


def page(body: str) -> str:
    return f"<!doctype html><html><head><title>A page</title></head><body>{HEAD}{body}{FOOT}</body></html>"


def read(body: str, select: Select, kind: str) -> FactValue | None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    document = Document(url=URL, outcome=FetchOutcome.OK, fetched_at=at, body=body.encode("utf-8", "replace"), hash="0")
    reader = DocumentReader(HttpSource(url=URL), document)
    fact = reader.read(FactSpec(name="x", type=FactType(kind), select=select))
    assert fact is None or fact.quote in document.body.decode()
    return None if fact is None else fact.value
