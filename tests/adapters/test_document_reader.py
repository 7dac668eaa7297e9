"""Reading facts from pages, JSON, CSV, feeds and text, honest and hostile."""

import hashlib
import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.document_reader import DocumentReader, read_fact
from adapters.document_text import decoded
from adapters.fact_conversion import boolean, number, timestamp
from adapters.fact_selection import check_select
from adapters.markup_budget import is_affordable
from domain.errors import InvalidInput
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, FactValue, Select
from domain.source import FeedSource, HttpSource, Source

AT = datetime(2026, 1, 1, tzinfo=UTC)
URL = "https://shop.example/item"
PAGE = """<!doctype html><html><head><title>Shop</title>
<meta property="product:price:amount" content="12.50"><meta property="og:site_name" content="My shop">
<script type="application/ld+json">{"@type":"Product","sku":"A-1",
 "offers":{"price":"199.00","availability":"https://schema.org/InStock"}}</script></head>
<body><h1>Mon&amp;itor</h1><span id=price class="a big-price">&euro;&nbsp;1.299<sup>,00</sup></span>
<span itemprop="gtin" content="4006381"></span>
<table><tr><th>Weight</th><td>5.5 kg</td></tr><tr><td>Colour:</td><td>red</td></tr></table>
<dl><dt>Power use</dt><dd>60 W</dd></dl><p>Stars: 4.5</p>
<table><tr><th>Day</th><th>Temp</th></tr><tr><td>Mon</td><td>12</td></tr><tr><td>Tue</td><td>-3</td></tr></table>
<ul><li>One</li><li> </li><li>Two  <b>three</b></li></ul><time datetime="2026-01-02T03:04:05+01:00">today</time>
<div class=stock>Out of stock</div><b data-testid="rating">4</b><i data-votes="17">many</i>
<p hidden>Secret: 5</p><script>var x = "Hidden: 5"</script></body></html>"""
JSON = r"""{"price": 49.50, "big": 1e2, "in_stock": true, "said": "\u20ac 12 é", "nothing": null, "Sold Out": false,
 "items": [{"title": "A", "p": 1}, {"title": "B", "p": 2}], "none": [], "at": "2026-01-01",
 "deep": {"maxPrice": {"currency": "EUR", "value": 7}}}"""
CSV = 'date,"Close ""x""",note\n2026-01-01,1,5\n2026-01-02,"2,5",\n\n'
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><title>A &amp; B</title><link>http://a.example/</link><description><![CDATA[<b>hi</b>]]></description><guid>1</guid>
<pubDate>Fri, 20 Nov 2026 07:42:56 GMT</pubDate></item><item><title>Caf&eacute;</title></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title><entry><title>E1</title><link rel="self" href="s"/>
<link href="http://e1.example/"/><id>urn:1</id><updated>2026-01-01T00:00:00Z</updated></entry></feed>"""


@pytest.mark.parametrize(
    ("body", "kind", "select", "value", "quote"),
    [
        (PAGE, "number", Select(css="#price"), 1299.0, "&euro;&nbsp;1.299<sup>,00"),
        (PAGE, "text", Select(css="h1"), "Mon&itor", "Mon&amp;itor"),
        (PAGE, "list", Select(css="li"), ["One", "Two three"], "One"),
        (PAGE, "text", Select(css="li:nth-child(3)"), "Two three", "Two  <b>three"),
        (PAGE, "timestamp", Select(css="time"), "2026-01-02T02:04:05Z", "2026-01-02T03:04:05+01:00"),
        (PAGE, "text", Select(css="meta[property='og:site_name']"), "My shop", "My shop"),
        (PAGE, "boolean", Select(css=".stock"), False, "Out of stock"),
        (PAGE, "number", Select(css=".stock"), None, None),
        (PAGE, "boolean", Select(css=".absent"), None, None),
        (PAGE, "list", Select(css=".absent"), None, None),
        (PAGE, "number", Select(xpath="//table[2]/tbody/tr[3]/td[2]"), -3.0, "-3"),
        (PAGE, "text", Select(xpath="//time/@datetime"), "2026-01-02T03:04:05+01:00", "2026-01-02T03:04:05+01:00"),
        (PAGE, "number", Select(xpath="count(//li)"), 3.0, "<!doctype html><html><head><title>Shop</title>"),
        (PAGE, "number", Select(xpath="number('x')"), None, None),
        (PAGE, "number", Select(regex=r"Stars: ([\d.]+)"), 4.5, "4.5"),
        (PAGE, "boolean", Select(regex="(?i)out of STOCK"), True, "Out of stock"),
        (PAGE, "boolean", Select(css=".stock", regex="In stock"), False, "Out of stock"),
        (PAGE, "list", Select(css="td", regex=r"^-?\d+$"), ["12", "-3"], "12"),
        (PAGE, "number", Select(regex="Secret: (.)"), None, None),
        (PAGE, "number", Select(regex="Hidden: (.)"), None, None),
        (PAGE, "number", Select(), None, None),  # which of its numbers?
        (JSON, "number", Select(jsonpath="$.price"), 49.5, "49.5"),
        (JSON, "number", Select(jsonpath="$.big"), 100.0, "1e2"),
        (JSON, "text", Select(jsonpath="$.said"), "€ 12 é", r"\u20ac 12 é"),
        (JSON, "number", Select(jsonpath="$.said"), 12.0, r"\u20ac 12 é"),
        (JSON, "number", Select(jsonpath="$.nothing"), None, None),
        (JSON, "number", Select(jsonpath="$.in_stock"), None, None),
        (JSON, "boolean", Select(jsonpath="$.in_stock"), True, "true"),
        (JSON, "list", Select(jsonpath="$.items[*].title"), ["A", "B"], "A"),
        (JSON, "list", Select(jsonpath="$.items[*].p"), ["1", "2"], "1"),
        (JSON, "list", Select(jsonpath="$.none"), [], "[]"),
        (JSON, "list", Select(jsonpath="$.absent"), None, None),
        (JSON, "number", Select(jsonpath="$.items[?search(@.title, 'B')].p"), 2.0, "2"),
        (JSON, "timestamp", Select(jsonpath="$.at"), "2026-01-01T00:00:00Z", "2026-01-01"),
        ('[NaN, {"a": 2}]', "number", Select(jsonpath="$[1].a"), 2.0, "2"),
        ('{"a": NaN}', "number", Select(jsonpath="$.a"), None, None),
        ('{"a": 1e999}', "number", Select(jsonpath="$.a"), None, None),
        (CSV, "text", Select(csv="date"), "2026-01-02", "2026-01-02"),
        (CSV, "text", Select(csv="date", csv_row="first"), "2026-01-01", "2026-01-01"),
        (CSV, "number", Select(csv='Close "x"'), 2.5, "2,5"),
        (CSV, "number", Select(csv="close_x"), None, None),
        (CSV, "number", Select(csv="note"), None, None),  # empty in the last row
        (CSV, "number", Select(csv="absent"), None, None),
        (CSV, "list", Select(csv="date"), ["2026-01-01", "2026-01-02"], "2026-01-01"),
        ("a;b\n1;2,5\n", "number", Select(csv="b"), 2.5, "2,5"),
        (RSS, "list", Select(feed="title"), ["A & B", "Café"], "A &amp; B"),
        (RSS, "text", Select(feed="link"), "http://a.example/", "http://a.example/"),
        (RSS, "text", Select(feed="id"), "1", "1"),
        (RSS, "timestamp", Select(feed="published"), "2026-11-20T07:42:56Z", "Fri, 20 Nov 2026 07:42:56 GMT"),
        (RSS, "text", Select(xpath="//channel/title"), "News", "News"),
        (ATOM, "text", Select(feed="link"), "http://e1.example/", "http://e1.example/"),
        (ATOM, "text", Select(feed="id"), "urn:1", "urn:1"),
        (PAGE, "list", Select(feed="title"), None, None),
        ("<rss><channel/></rss>", "list", Select(feed="title"), [], "<rss><channel/></rss>"),
        ("12.5 C\n", "number", Select(), 12.5, "12.5 C"),
        ("up", "text", Select(), "up", "up"),
        ("true", "boolean", Select(), True, "true"),
        ("", "text", Select(), None, None),
    ],
)
def test_a_selection_gives_a_typed_value_and_its_words(
    body: str, kind: str, select: Select, value: FactValue | None, quote: str | None
) -> None:
    fact = read(body, kind, select)
    assert (fact.value, fact.quote) == (value, quote) if fact is not None else value is None
    assert fact is None or fact.quote in body


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (PAGE, "price", 199.0),  # JSON-LD comes before what is shown
        (PAGE, "gtin", 4006381.0),
        (PAGE, "Weight", 5.5),
        (PAGE, "power_use", 60.0),
        (PAGE, "stars", 4.5),
        (PAGE, "temp", 12.0),
        (PAGE, "rating", 4.0),
        (PAGE, "votes", 17.0),
        (PAGE, "bigPrice", 1299.0),
        (PAGE, "secret", None),
        (PAGE, "absent", None),
        ("<meta property='product:price:amount' content='12.50'>", "price", 12.5),
        ("<meta property='og:price:amount' content='12.50'>", "price", 12.5),
        (JSON, "Price", 49.5),
        (JSON, "max_price", 7.0),
        (JSON, "p", 1.0),
        (JSON, "absent", None),
        (CSV, 'close "x"', 2.5),
        ("<?xml version='1.0'?><a><Temp unit='C'>12.5</Temp></a>", "temp", 12.5),
        ("Temp: 12\nRel hum = 30 %\n", "rel_hum", 30.0),
    ],
)
def test_a_value_is_found_by_its_name_in_any_document(body: str, name: str, value: float | None) -> None:
    fact = read(body, "number", Select(named=name))
    assert (fact and fact.value) == value
    assert fact is None or fact.quote in body


def test_names_find_other_types_too() -> None:
    assert value_of(PAGE, "boolean", Select(named="availability")) is True
    assert value_of(PAGE, "text", Select(named="colour")) == "red"
    assert value_of(PAGE, "list", Select(named="temp")) == ["12", "-3"]
    assert value_of(JSON, "boolean", Select(named="sold_out")) is False
    assert value_of(JSON, "list", Select(named="title")) == ["A", "B"]
    assert value_of(JSON, "list", Select(named="items")) == ['{"title":"A","p":1}', '{"title":"B","p":2}']
    assert value_of(JSON, "text", Select(named="items")) is None
    assert value_of(RSS, "text", Select(named="Title")) == "A & B"


def test_a_fact_carries_where_and_when_it_was_read() -> None:
    document = a_document('{"price": 5}')
    spec = FactSpec(name="price", type=FactType.NUMBER, unit="EUR", select=Select(jsonpath="$.price"))
    assert read_fact(spec, HttpSource(url=URL), document) == Fact(
        name="price",
        type=FactType.NUMBER,
        value=5.0,
        unit="EUR",
        confidence=1.0,
        quote="5",
        source_url=URL,
        evidence_hash=document.hash or "",
        observed_at=AT,
    )


def test_the_facts_own_selection_wins_over_the_sources() -> None:
    source = HttpSource(url=URL, select=Select(css="h1"))
    assert value_of(PAGE, "text", None, source=source) == "Mon&itor"
    assert value_of(PAGE, "text", Select(css=".stock"), source=source) == "Out of stock"


def test_a_feed_without_a_selection_gives_its_titles() -> None:
    assert value_of(RSS, "list", None, source=FeedSource(url=URL)) == ["A & B", "Café"]
    assert value_of(RSS, "text", Select(regex="Caf."), source=FeedSource(url=URL)) == "Café"


@pytest.mark.parametrize("outcome", [one for one in FetchOutcome if one is not FetchOutcome.OK])
def test_nothing_is_read_from_an_answer_without_content(outcome: FetchOutcome) -> None:
    document = Document(url=URL, outcome=outcome, fetched_at=AT)
    assert read_fact(FactSpec(name="x", type=FactType.TEXT), HttpSource(url=URL), document) is None


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("Größe".encode("latin-1"), "ISO-8859-1", "Größe"),
        (b"\x80 5", "latin1", "€ 5"),
        ("Größe".encode(), None, "Größe"),
        ("<meta charset='windows-1251'>Цена".encode("cp1251"), None, "<meta charset='windows-1251'>Цена"),
        ("\ufeffa".encode("utf-16"), "utf-8", "a"),
        (b"\xef\xbb\xbfa", "latin-1", "a"),
        (b"a\xffb", None, "a\ufffdb"),
        (b"abc", "rot13", "abc"),
        (b"abc", "no-such-charset", "abc"),
        (b"abc", "idna", "abc"),
        (b"<?xml version='1.0' encoding='iso-8859-15'?>\xa4", None, "<?xml version='1.0' encoding='iso-8859-15'?>€"),
    ],
)
def test_bytes_become_text_by_mark_header_declaration_then_utf8(body: bytes, charset: str | None, text: str) -> None:
    document = Document(url=URL, outcome=FetchOutcome.OK, fetched_at=AT, body=body, charset=charset)
    assert decoded(document).lstrip("\ufeff") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$1,299.00", 1299.0),
        ("1.299,00 EUR", 1299.0),
        ("1 299,00 €", 1299.0),
        ("1'299.00 CHF", 1299.0),
        ("Rs. 1,23,456.00", 123456.0),
        ("1.234.567,89", 1234567.89),
        ("1,299", 1299.0),
        ("1.299 €", 1299.0),
        ("1.299", 1.299),
        ("0,5", 0.5),
        ("0.123", 0.123),
        ("12.5 C", 12.5),
        ("-12.5 C", -12.5),
        ("\u22123 °C", -3.0),
        ("-$5.00", -5.0),
        ("$-5.00", -5.0),
        ("Balance: -5,00 USD", -5.0),
        ("12-15", 12.0),
        ("SKU-42", 42.0),
        ("5%", 5.0),
        ("1.5e3", 1500.0),
        ("at 12:30 it was 7.5", 7.5),
        ("out of stock", None),
        ("free", None),
        ("2026-01-05", None),
        ("12:30", None),
        ("1.2.3", None),
        ("NaN", None),
        ("Infinity", None),
        ("1e999", None),
        ("", None),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float | None) -> None:
    assert number(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_of_a_json_document_is_read_exactly(value: float) -> None:
    fact = read(json.dumps({"v": value}), "number", Select(jsonpath="$.v"))
    assert fact is not None
    assert fact.value == value
    assert fact.quote in json.dumps({"v": value})


@given(st.text(max_size=300), st.booleans())
def test_a_number_from_any_text_is_finite_or_nothing(text: str, digits: bool) -> None:  # noqa: FBT001  drawn
    value = number(text.translate(str.maketrans("abcdefgh", "0123,.-e")) if digits else text)
    assert value is None or math.isfinite(value)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("Yes", True),
        ("In stock", True),
        ("in_stock", True),
        ("https://schema.org/InStock", True),
        ("In stock, ships tomorrow", True),
        ("Sold out!", False),
        ("http://schema.org/OutOfStock", False),
        ("Currently unavailable", False),
        ("not available", False),
        ("M in stock, L sold out", None),
        ("maybe", None),
        (1, True),
        (0.0, False),
        (2, None),
        (None, None),
    ],
)
def test_yes_and_no_are_read_as_shops_and_programs_write_them(raw: object, value: bool | None) -> None:  # noqa: FBT001
    assert boolean(raw) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-05", "2026-01-05T00:00:00Z"),
        ("2026-01-05T10:00:00+02:00", "2026-01-05T08:00:00Z"),
        ("Mon, 05 Jan 2026 10:00:00 +0100", "2026-01-05T09:00:00Z"),
        ("Updated 2026-01-05 10:00", "2026-01-05T10:00:00Z"),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        ("12", None),
    ],
)
def test_times_become_utc(text: str, value: str | None) -> None:
    assert timestamp(text) == value


@pytest.mark.parametrize(
    ("select", "field"),
    [
        (Select(css="p[["), "select.css"),
        (Select(css=" "), "select.css"),
        (Select(css="p:no-such-thing"), "select.css"),
        (Select(css="p" * 1001), "select.css"),
        (Select(xpath="//p["), "select.xpath"),
        (Select(xpath="re:test(., 'x')"), "select.xpath"),
        (Select(xpath="no_such()"), "select.xpath"),
        (Select(jsonpath="price"), "select.jsonpath"),
        (Select(jsonpath="$["), "select.jsonpath"),
        (Select(regex="("), "select.regex"),
        (Select(regex=r"(a)\1"), "select.regex"),
        (Select(css="p", regex="("), "select.regex"),
        (Select(feed="colour"), "select.feed"),
        (Select(named=""), "select.named"),
        (Select(csv="a", csv_row="middle"), "select.csv_row"),
        (Select(css="p", xpath="//p"), "select"),
    ],
)
def test_a_selection_that_cannot_be_read_is_refused_when_it_is_made(select: Select, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_select(select, "select")
    assert refused.value.field == field


@pytest.mark.parametrize(
    "select",
    [
        Select(),
        Select(css="table tr:nth-child(2) > td.amount"),
        Select(xpath="//span[@id='price']/text()"),
        Select(jsonpath="$.items[?@.price < 10].name"),
        Select(csv="Close", csv_row="first", regex=r"\d+"),
        Select(feed="title"),
        Select(named="price"),
        Select(regex=r"Price: ([\d.]+)"),
    ],
)
def test_a_selection_that_can_be_read_is_accepted(select: Select) -> None:
    check_select(select, "select")


HOSTILE = {
    "a megabyte of <div>": b"<div>" * 200_000,
    "closed where no parser closes": b"<div><table><td></div>" * 50_000,
    "open <p> without end": b"<p>" * 100_000,
    "reopened formatting": b"".join(b"<b a=%d>" % i for i in range(500)) + b"<p>x" * 50_000,
    "unclosed comments": b"<!--" * 250_000,
    "unclosed quotes": b"<a '" * 250_000,
    "only <": b"<" * 1_000_000,
    "attributes": b"<p " + b"".join(b"a%d=1 " % i for i in range(100_000)) + b">",
    "siblings": b"<p>a</p>" * 40_000,
    "nested arrays": b"[" * 1_000_000,
    "nested objects": b'{"a":' * 200_000,
    "deep XML": b"<?xml version='1.0'?>" + b"<a>" * 200_000,
    "entity bomb": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(
        b'<!ENTITY %s "%s">' % (b"bcdefghij"[i : i + 1], b"&%s;" % b"abcdefghi"[i : i + 1] * 10) for i in range(9)
    )
    + b"]><rss><channel><item><title>&j;</title></item></channel></rss>",
    "external entity": b'<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]><rss><item><title>&e;</title></item></rss>',
    "a feed of 100,000 items": b"<rss>" + b"<item><title>t</title></item>" * 100_000 + b"</rss>",
    "one line of digits": b"1," * 100_000,
    "white space": b" " * 1_000_000,
    "zeros": b"\0" * 100_000,
    "not UTF-8": b"\xff\xfe\xfd" * 10_000,
}
SELECTS = [
    Select(css="a b c d"),
    Select(css="p:nth-child(3)"),
    Select(css="p ~ p"),
    Select(xpath="//p/following-sibling::p"),
    Select(xpath="//div//div//div"),
    Select(jsonpath="$..a"),
    Select(csv="a"),
    Select(feed="title"),
    Select(named="price"),
    Select(regex="(a*)*b"),
    Select(),
]


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(30)
def test_a_hostile_document_takes_bounded_time_and_raises_nothing(body: bytes) -> None:
    document = a_document(body)
    reader = DocumentReader(HttpSource(url=URL), document)
    for select in SELECTS:
        for kind in (FactType.TEXT, FactType.NUMBER, FactType.LIST):
            fact = reader.read(FactSpec(name="x", type=kind, select=select))
            assert fact is None or (fact.quote in decoded(document) and len(fact.quote) <= 500)
            assert fact is None or len(json.dumps(fact.value)) < 1_200_000


def test_entities_are_never_expanded() -> None:
    for body in (HOSTILE["entity bomb"], HOSTILE["external entity"]):
        for select in (Select(feed="title"), Select(xpath="//title"), Select(named="title")):
            assert read(body, "text", select) is None


def test_of_a_huge_feed_the_first_thousand_items_are_read() -> None:
    value = value_of(HOSTILE["a feed of 100,000 items"], "list", Select(feed="title"))
    assert value == ["t"] * 1000


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=400),
        st.text(max_size=300).map(str.encode),
        st.lists(
            st.sampled_from(
                ["<p>", "<b id=price>", "</p>", "&amp;", "&#x;", "12", "price:", '"', "{", "]", "<!", "\n", ",", "é"]
            )
        )
        .map("".join)
        .map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["price", "a"]), inner),
            max_leaves=10,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from([*SELECTS, Select(css="p"), Select(xpath="//*"), Select(csv="price"), Select(named="a")]),
    st.sampled_from(FactType),
    st.sampled_from(["", "text/html", "application/json", "text/csv", "application/xml"]),
)
def test_any_document_gives_a_fact_with_a_standing_quote_or_nothing(
    body: bytes, select: Select, kind: FactType, content_type: str
) -> None:
    document = a_document(body, content_type)
    fact = read_fact(FactSpec(name="x", type=kind, select=select), HttpSource(url=URL), document)
    if fact is not None:
        assert fact.quote in decoded(document)
        assert isinstance(fact.value, {"number": float, "boolean": bool, "list": list}.get(kind.value, str))


def test_ordinary_pages_are_affordable() -> None:
    rows = "<tr><td><a href='x'>a</a><td><b>1</b></td></tr>" * 10_000
    assert is_affordable(f"<html><body><table>{rows}</table>")
    assert is_affordable("<ul>" + "<li>one<p>two" * 10_000 + "</ul>")
    assert is_affordable("<svg>" + "<path d='M0'/>" * 5_000 + "</svg>")
    assert is_affordable("<script>" + "'<div><div>'" * 5_000 + "</script>")
    assert is_affordable("<div><span>a</div>" * 5_000)


def read(body: str | bytes, kind: str, select: Select | None, *, source: Source | None = None) -> Fact | None:
    spec = FactSpec(name="x", type=FactType(kind), select=select)
    return read_fact(spec, source or HttpSource(url=URL), a_document(body))


def value_of(body: str | bytes, kind: str, select: Select | None, *, source: Source | None = None) -> FactValue | None:
    fact = read(body, kind, select, source=source)
    return None if fact is None else fact.value


def a_document(body: str | bytes, content_type: str = "") -> Document:
    raw = body.encode() if isinstance(body, str) else body
    return Document(
        url=URL,
        outcome=FetchOutcome.OK,
        fetched_at=AT,
        content_type=content_type,
        body=raw,
        hash=hashlib.sha256(raw).hexdigest(),
    )
