"""What a model is shown of evidence: what a person sees of it, and no more."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.evidence_text import EvidenceText
from adapters.fact_conversion import LIST_ITEM_CHARS_MAX, LIST_ITEMS_MAX, TEXT_CHARS_MAX
from adapters.fact_quote import QUOTE_CHARS_MAX
from adapters.fact_reader import VALUE_CHARS_MAX
from adapters.hidden_style import VALUE_CHARS_MAX as STYLE_CHARS_MAX
from adapters.hidden_style import hides
from commands import fact_answers
from commands.untrusted_text import legible, lines, words
from domain.evidence import Document, FetchOutcome
from domain.fact import Select
from domain.source import FeedSource, HttpSource, Source
from tests.conftest import AT

URL = "https://shop.example/"
SHOP = HttpSource(url=URL)
TEXTS = EvidenceText()


def shown(
    text: str,
    content_type: str = "text/html",
    *,
    select: Select | None = None,
    source: Source = SHOP,
    outcome: FetchOutcome = FetchOutcome.OK,
) -> str:
    body = text.encode("utf-8", "surrogatepass")
    document = Document(
        url=URL,
        outcome=outcome,
        fetched_at=AT,
        content_type=content_type,
        charset="utf-8",
        body=body,
        hash=hashlib.sha256(body).hexdigest(),
    )
    return TEXTS.text_of(source, document, select)


@pytest.mark.parametrize(
    ("text", "content_type", "expected"),
    [
        ("<p>Kettle</p> <p>49&nbsp;EUR <b>now</b></p>", "text/html", "Kettle\n49 EUR now"),
        ("<details><summary>Size</summary><p>2 l</p></details>", "text/html", "Size\n2 l"),
        ("<dialog open>Only today</dialog><textarea>yours</textarea>", "text/html", "Only today\nyours"),
        ('{"price":49.50,"sizes":[1,49,7],"at":"\\u20ac"}', "application/json", '{"price": 49.50, "sizes": [1, 49, 7], "at": "€"}'),
        ('{"path": "C:\\\\u0041", "said": "\\"no\\"\\u0009"}', "application/json", '{"path": "C:\\\\u0041", "said": "\\"no\\"\\u0009"}'),
        ('{"half": "\\ud800", "face": "\\ud83d\\ude00"}', "application/json", '{"half": "\ufffd", "face": "\U0001f600"}'),
        ("[1,", "application/json", "[1,"),
        ("[" * 50_000, "application/json", "[" * 50_000),
        ('day;price\n1;"2,50"\n2;\n', "text/csv", "day | price\n1 | 2,50\n2 |"),
        ("a\n" + "b" * 200_000, "text/csv", "a\n" + "b" * 200_000),
        ("one\t\ttwo \r\n\r\n \u2028three\u00a0four", "text/plain", "one\t\ttwo\nthree four"),
        ('<?xml version="1.0"?><Cube><!-- x --><Cube currency="USD" rate="1.1"/></Cube>', "text/xml", '<Cube><Cube currency="USD" rate="1.1"/></Cube>'),
        ('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "text/xml", ""),
    ],
)  # fmt: skip
def test_what_is_shown_of_each_kind_of_evidence(text: str, content_type: str, expected: str) -> None:
    assert shown(text, content_type) == expected


FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><title>A</title><link>http://a.example/</link><pubDate>Fri, 20 Nov 2026 07:42:56 GMT</pubDate>
<description><![CDATA[<b>hi</b><p hidden>secret</p>]]></description><guid>1</guid></item>
<item><title>B</title></item></channel></rss>"""


def test_of_a_feed_its_items_are_shown_as_a_reader_shows_them() -> None:
    expected = "A\nFri, 20 Nov 2026 07:42:56 GMT\nhttp://a.example/\nhi\nB"
    assert shown(FEED, "application/rss+xml", source=FeedSource(url=URL)) == expected
    assert shown(FEED, "application/rss+xml") == expected


def test_a_field_of_a_feed_is_shown_without_its_hidden_parts() -> None:
    assert shown(FEED, "application/rss+xml", select=Select(feed="summary")) == "hi"


def test_of_an_item_with_too_costly_markup_nothing_of_it_is_shown() -> None:
    item = "<title>A</title><description>" + "&lt;div&gt;" * 600 + "</description>"
    assert shown(FEED.replace("<title>B</title>", item), "application/rss+xml").endswith("\nA")


PAGE = """<!doctype html><html><head><meta name="rating" content="4.5"></head><body>
<ul><li>1<li hidden>2<li>3 <i style="display:none">secret</i></ul>
<table><tr><th>Weight</th><td>5 kg<span aria-hidden="true">secret</span></td></tr></table>
<script type="application/ld+json">{"@type": "Product", "name": "Kettle"}</script>
<article><h1>About kettles</h1><p>A kettle boils water, and this one does so in two minutes.</p></article></body></html>"""


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (Select(css="li"), "1\n3"),
        (Select(css="li:nth-child(3)"), "3"),
        (Select(css="meta[name=rating]"), "4.5"),
        (Select(xpath="//li[3]"), "3"),
        (Select(xpath="//li", regex="[0-9]"), "1\n3"),
        (Select(regex="[0-9] kg|minutes"), "5 kg\nminutes"),
        (Select(named="weight"), "5 kg"),
        (Select(product="name"), "Kettle"),
        (Select(css=".absent"), ""),
        (Select(css="li:::"), ""),
        (Select(jsonpath="$.a"), ""),
    ],
)
def test_what_is_selected_is_shown_without_its_hidden_parts_and_at_its_place(select: Select, expected: str) -> None:
    assert shown(PAGE, select=select) == expected


def test_a_selection_in_json_and_csv_is_shown_whole() -> None:
    text = "word " * 5_000
    assert shown(f'{{"a": {{"b": "{text}"}}}}', "application/json", select=Select(jsonpath="$.a.b")) == text.strip()
    assert shown("a,b\n1,2\n3,4\n", "text/csv", select=Select(csv="b")) == "2\n4"


def test_main_text_is_shown_without_hidden_parts() -> None:
    page = PAGE.replace("this one", "this one <b style='opacity:0'>secret</b>")
    assert "boils water" in shown(page, select=Select(text="main"))
    assert "secret" not in shown(page, select=Select(text="main"))


def test_a_page_that_is_too_costly_to_parse_shows_nothing() -> None:
    page = "<div>" * 1_000 + "text"
    assert shown(page) == ""
    assert shown(page, select=Select(css="div")) == ""


def test_an_answer_that_is_none_shows_nothing() -> None:
    assert shown("Kettle", "text/plain", outcome=FetchOutcome.BLOCKED) == ""
    assert shown("Kettle", "text/plain", outcome=FetchOutcome.NOT_MODIFIED) == "Kettle"


def test_a_page_that_hides_itself_until_its_scripts_run_is_shown() -> None:
    assert shown('<html style="visibility:hidden"><body style="opacity:0" aria-hidden="true"><p>Kettle</p>') == "Kettle"


@pytest.mark.parametrize(
    "style",
    [
        "display:none",
        "DISPLAY : NONE ! important".replace("! ", "!"),
        "x:y;display:none;display:block",
        "visibility:collapse",
        "content-visibility:hidden",
        "opacity:0",
        "opacity:0.01",
        "opacity: .0",
        "opacity:1%",
        "font-size:0",
        "font-size:0.0em",
        "font-size:1px",
        "font:0/0 a",
        "font: italic 1px serif",
        "text-indent:-9999px",
        "position:absolute;left:-100em",
        "margin-left:-2000px",
        "transform: rotate(1deg) scale(0)",
        "transform:translateX(-9999px)",
        "clip:rect(0 0 0 0)",
        "clip:rect(1px,1px,1px,1px)",
        "clip-path:inset(50%)",
        "clip-path:circle(0)",
        "filter:opacity(0)",
        "color:transparent",
        "color:#abc0",
        "color:#aabbcc00",
        "color:rgba(1, 2, 3, 0.0)",
        "color:rgb(1 2 3 / 0%)",
        "-webkit-text-fill-color:transparent",
        "color:#fff;background:#FFF",
        "width:1px;height:1px;overflow:hidden",
        "max-height:0;overflow-y:clip",
        "di\\73play:none",
        "display/**/:/* x */none",
        "d\\isplay:none",
    ],
)
def test_a_style_that_hides_is_known(style: str) -> None:
    assert hides(style)


@pytest.mark.parametrize(
    "style",
    [
        "",
        "display:block",
        "visibility:visible",
        "opacity:1",
        "opacity:0.5",
        "font-size:10px",
        "font-size:0.8em",
        "font:12px/1 serif",
        "left:0",
        "left:-10px",
        "margin-left:-100%",
        "text-indent:-1em",
        "transform:scale(0.9) translateX(-50%)",
        "transform:scale(0",
        "color:rgb(255,0,0)",
        "color:#ff0000",
        "color:#f00",
        "color:rgba(0,0,0,0.5)",
        "color:white;background:black",
        "color:inherit;background:inherit",
        "background:url(data:image/png;base64,AAAA)",
        "width:0",
        "overflow:hidden;width:100px",
        "clip:rect(0,100px,100px,0)",
        "clip-path:inset(5%)",
        "\\0 isplay:none",
        "display",
    ],
)
def test_a_style_that_shows_is_no_reason_to_leave_anything_out(style: str) -> None:
    assert not hides(style)


def test_a_style_cannot_be_written_so_that_searching_it_takes_long() -> None:
    assert not hides("transform:" + "translate(" * STYLE_CHARS_MAX)
    assert hides("display:block;" * 100_000 + "display:none")


@given(st.text())
def test_what_is_legible_has_no_character_that_nobody_sees(text: str) -> None:
    hidden = "".join(chr(0xE0000 + ord(char) % 0x80) for char in text)
    assert legible(hidden) == ""
    assert legible(legible(text) + hidden) == legible(text)


@pytest.mark.parametrize(
    "point",
    [
        0x00, 0x08, 0x1B, 0x7F, 0x9F, 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x180E, 0x200B, 0x200D, 0x200F, 0x202A,
        0x202E, 0x2060, 0x2066, 0x206F, 0x2800, 0x3164, 0xD800, 0xDFFF, 0xE000, 0xF8FF, 0xFDD0, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0,
        0xFFF9, 0xFFFC, 0xFFFE, 0x1BCA0, 0x1D173, 0xE0000, 0xE0041, 0xE0100, 0xE01EF, 0xF0000, 0x10FFFF,
    ],
)  # fmt: skip
def test_a_character_that_nobody_sees_is_left_out(point: int) -> None:
    assert legible(f"a{chr(point)}b") == "ab"


@given(st.text(alphabet=st.characters() | st.sampled_from(" \n\t\r\u2028\u200b\xa0")))
def test_lines_and_words_hold_the_same_words(text: str) -> None:
    assert words(lines(text)) == words(text)
    assert lines(lines(text)) == lines(text)


@pytest.mark.parametrize("text", ["Grüße, Ω 5\u2009€", "नमस्ते", "日本語", "שלום", "e\u0301", "\U0001f600"])
def test_what_people_write_stays(text: str) -> None:
    assert legible(text) == text


def test_what_a_model_says_has_the_bounds_of_what_is_selected() -> None:
    assert (fact_answers.TEXT_CHARS_MAX, fact_answers.QUOTE_CHARS_MAX) == (TEXT_CHARS_MAX, QUOTE_CHARS_MAX)
    assert (fact_answers.LIST_ITEMS_MAX, fact_answers.LIST_ITEM_CHARS_MAX) == (LIST_ITEMS_MAX, LIST_ITEM_CHARS_MAX)
    assert fact_answers.LIST_CHARS_MAX == VALUE_CHARS_MAX


def test_numbers_are_read_as_people_write_them() -> None:
    assert TEXTS.numbers_in("1.299,00 EUR, -5 and 12") == [1299.0, -5.0, 12.0]
