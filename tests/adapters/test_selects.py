"""Selections: which are refused when a monitor is made, what a feed's items are known by, and that reading never fails."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.document_reader import read_fact
from adapters.document_text import decoded
from adapters.fact_selection import SELECTORS
from adapters.network_guard import NetworkGuard
from adapters.source_rules import SourceRules
from domain.errors import InvalidInput, SearchNotAvailable
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, FactValue, Select
from domain.history import observation_of, resolve
from domain.source import FeedSource, HttpSource, SearchSource
from domain.temporal_function import temporal_call

URL = "https://example.org/feed"
AT = datetime(2026, 1, 1, tzinfo=UTC)
RULES = SourceRules(NetworkGuard([]))


@pytest.mark.parametrize(
    ("select", "field", "says"),
    [
        (Select(css="p[["), ".css", "write a CSS selector"),
        (Select(css="p:no-such-thing"), ".css", "write a CSS selector"),
        (Select(css=""), ".css", "1 to 1000 characters"),
        (Select(xpath="//p["), ".xpath", "write an XPath"),
        (Select(xpath="no_such()"), ".xpath", "write an XPath"),
        (Select(xpath="//x:p"), ".xpath", "write an XPath"),
        (Select(jsonpath="price"), ".jsonpath", "write a JSONPath"),
        (Select(jsonpath="$[?@.a =]"), ".jsonpath", "write a JSONPath"),
        (Select(regex="("), ".regex", "write an RE2 expression"),
        (Select(regex=r"(a)\1"), ".regex", "write an RE2 expression"),
        (Select(regex="(?=a)a"), ".regex", "write an RE2 expression"),
        (Select(regex="(((a{100}){100}){100}){100}"), ".regex", "write an RE2 expression"),
        (Select(regex="a" * 1001), ".regex", "1 to 1000 characters"),
        (Select(text="main", regex="["), ".regex", "write an RE2 expression"),
        (Select(csv=" "), ".csv", "1 to 1000 characters"),
        (Select(csv="Close\0"), ".csv", "1 to 1000 characters"),
        (Select(csv="Close", csv_row="middle"), ".csv_row", "first or last"),
        (Select(feed="colour"), ".feed", "title, link, summary, id"),
        (Select(product="colour"), ".product", "name, price, currency, availability"),
        (Select(text="side"), ".text", "main"),
        (Select(named=""), ".named", "1 to 1000 characters"),
        (Select(css="p", xpath="//p"), "", "use one of css and xpath"),
        (Select(product="price", text="main"), "", "use one of product and text"),
        (Select(css="p", jsonpath="$.a", csv="b"), "", "not 3"),
    ],
)
def test_a_selection_that_could_never_be_read_is_refused_with_its_place_and_a_cure(
    select: Select, field: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        RULES.check_select(select, field="facts[0].select")
    assert refused.value.field == f"facts[0].select{field}"
    assert says in refused.value.message
    with pytest.raises(InvalidInput) as refused:
        RULES.check_source(HttpSource(url=URL, select=select), field="sources[2]")
    assert refused.value.field == f"sources[2].select{field}"


@pytest.mark.parametrize(
    "select",
    [
        Select(product="price"),
        Select(product="availability", regex="Stock$"),
        Select(text="main"),
        Select(text="main", regex=r"Price: ([\d.]+)"),
        Select(regex="(a*)*b"),  # catastrophic elsewhere, linear here
        Select(feed="id"),
    ],
)
def test_a_selection_that_can_be_read_is_accepted(select: Select) -> None:
    RULES.check_source(HttpSource(url=URL, select=select), field="sources[0]")


def test_a_search_is_refused_while_no_search_provider_is_set_up() -> None:
    with pytest.raises(SearchNotAvailable) as refused:
        RULES.check_source(SearchSource(query="cheap lamps"), field="sources[1]")
    assert (refused.value.field, refused.value.code) == ("sources[1].type", "SEARCH_NOT_AVAILABLE")
    assert "No search provider is set up" in refused.value.message


def rss(*items: str) -> str:
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{"".join(items)}</channel></rss>'


def item(title: str, guid: str | None, link: str = "https://example.org/a", *, more: str = "") -> str:
    known = "" if guid is None else f'<guid isPermaLink="false">{guid}</guid>'
    return f"<item><title>{title}</title><link>{link}</link>{known}{more}</item>"


@pytest.mark.parametrize(
    ("feed", "ids"),
    [
        (rss(item("A", "1"), item("B", "2")), ["1", "2"]),
        (
            rss(item("A", None), item("B", None, "https://example.org/b")),
            ["https://example.org/a", "https://example.org/b"],
        ),
        (rss("<item><title>A</title></item>"), ["A"]),
        (
            (
                '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">'
                '<channel/><item rdf:about="urn:1"><title>A</title><link>https://example.org/a</link></item></rdf:RDF>'
            ),
            ["urn:1"],
        ),
        (
            (
                '<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>tag:1</id><title>A</title>'
                '<link href="https://example.org/a"/></entry></feed>'
            ),
            ["tag:1"],
        ),
        ("\n" + rss(item("A & B", "1")).replace("</channel></rss>", ""), ["1"]),
        (rss(item("A\x07", "1"), "<item><title>B<guid>2</guid></item>"), ["1"]),
        ("\ufeff" + rss(item("A", "1")), ["1"]),
    ],
    ids=["guid", "link", "title", "RSS 1.0", "Atom", "cut off", "broken", "byte order mark"],
)
def test_an_item_is_known_by_its_id_else_its_link_else_its_title(feed: str, ids: list[str]) -> None:
    value = read(feed, Select(feed="id"))
    assert isinstance(value, list)
    assert value[: len(ids)] == ids


@pytest.mark.parametrize("field", ["id", "title", "link", "summary"])
def test_an_edited_title_or_another_order_is_no_new_item_and_a_new_identity_is(field: str) -> None:
    select = Select(feed=field)
    text = "<description>All of it</description>"
    before = rss(item("A", "1", more=text), item("B", "2", more=text))
    edited = rss(item("B", "2", "https://example.org/b", more=text), item("A (updated)", "1", more=f"<author/>{text}"))
    another = rss(item("A", "3", more=text), item("A", "1", more=text), item("B", "2", more=text))
    shown = {"id": "3", "title": "A", "link": "https://example.org/a", "summary": "All of it"}
    assert added(before, edited, select) == []
    assert added(before, another, select) == [shown[field]]


def test_items_are_shown_by_the_field_that_was_asked_for_and_kept_with_what_they_are_known_by() -> None:
    titles, ids = fact_of(rss(item("A", "1"), item("A", "2")), Select(feed="title")), Select(feed="id")
    assert titles.value == ["A", "A"]
    assert titles.keys is not None
    assert len(set(titles.keys)) == 2
    assert {len(key) for key in titles.keys} == {16}
    assert fact_of(rss(item("A", "x" * 2000), item("B", "2")), Select(feed="title")).keys != titles.keys
    assert fact_of(rss(item("A", "1")), ids).keys is None  # they are known by what they are


def test_an_item_without_the_field_and_one_that_a_regex_leaves_out_take_their_keys_with_them() -> None:
    feed = rss(item("", "1"), item("Kettle", "2"), item("Lamp", "3"), item("Kettles", "4"))
    every, some = fact_of(feed, Select(feed="title")), fact_of(feed, Select(feed="title", regex="Kettle"))
    assert (every.value, some.value) == (["Kettle", "Lamp", "Kettles"], ["Kettle", "Kettle"])
    assert every.keys is not None
    assert some.keys == [every.keys[0], every.keys[2]]


def test_a_feed_whose_items_all_say_the_same_of_themselves_is_compared_by_what_they_say_otherwise() -> None:
    select = Select(feed="title")
    before, after = rss(item("A", "site"), item("B", "site")), rss(item("C", "site"), item("A", "site"))
    assert fact_of(before, select).keys is None
    assert added(before, after, select) == ["C"]
    assert added(rss(item("A", "site")), before, select) == ["B"]


def test_only_a_list_of_a_feeds_items_has_keys() -> None:
    feed = a_document(rss(item("A", "1")).encode(), "application/xml")
    for spec in (
        FactSpec(name="items", type=FactType.LIST, select=Select(xpath="//title")),
        FactSpec(name="newest", type=FactType.TEXT, select=Select(feed="title")),
    ):
        fact = read_fact(spec, FeedSource(url=URL), feed)
        assert fact is not None
        assert fact.keys is None


def test_an_extension_does_not_hide_an_items_own_title() -> None:
    media = 'xmlns:media="http://search.yahoo.com/mrss/" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
    feed = rss(
        "<item><media:title>Picture</media:title><title>A</title><itunes:author>Ann</itunes:author></item>"
    ).replace("<rss", f"<rss {media}")
    assert read(feed, Select(feed="title")) == ["A"]
    assert read(feed, Select(feed="author")) == ["Ann"]


_WORDS = st.sampled_from(
    ["price", "p", "main", "id", "title", "availability", "$..a", "//p", "count(//p)", "a*", "(", "[", ""]
)
_SELECTS = st.builds(
    lambda given, regex, row: Select(**{name: text for name, text in [given] if name}, regex=regex, csv_row=row),
    st.tuples(st.sampled_from(["", *SELECTORS]), _WORDS | st.text(max_size=10)),
    st.none() | st.sampled_from(["(a*)*b", r"\d+", "(.)", "(", "price: (.*)"]),
    st.sampled_from(["first", "last"]),
)
_PIECES = [
    "<p>",
    "<html>",
    "<script type='application/ld+json'>",
    '{"@type":"Product","offers":{"price":',
    '"5"}}',
    "</script>",
]
_MORE = [
    "<rss><item><title>",
    "</title></item>",
    "<i itemscope itemtype=Product>",
    "<b itemprop=price>",
    "é&amp;",
    "\n",
    "1,2;3",
    "<!--",
]
_BODIES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([*_PIECES, *_MORE]), max_size=25).map("".join).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["price", "p", "a"]), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    _BODIES,
    _SELECTS,
    st.sampled_from(FactType),
    st.sampled_from(["", "text/html", "application/json", "text/csv", "application/rss+xml", "application/pdf"]),
    st.sampled_from([HttpSource(url=URL), FeedSource(url=URL)]),
)
def test_reading_never_fails_and_the_quote_stands_in_the_evidence(
    body: bytes, select: Select, kind: FactType, content_type: str, source: HttpSource | FeedSource
) -> None:
    document = a_document(body, content_type)
    fact = read_fact(FactSpec(name="x", type=kind, select=select), source, document)
    assert fact is None or (fact.quote in decoded(document) and len(fact.quote) <= 500)


def added(before: str, after: str, select: Select) -> FactValue | None:
    """What `added` says of a feed that was looked at twice."""
    call = temporal_call("added", FactSpec(name="items", type=FactType.LIST), [])
    seen = [observation_of(fact_of(feed, select)) for feed in (before, after)]
    return resolve(call, current=seen[1], series=seen[:1], now=AT)


def fact_of(feed: str, select: Select) -> Fact:
    spec = FactSpec(name="items", type=FactType.LIST, select=select)
    fact = read_fact(spec, FeedSource(url=URL), a_document(feed.encode(), "application/xml"))
    assert fact is not None
    return fact


def read(feed: str, select: Select) -> FactValue:
    return fact_of(feed, select).value


def a_document(body: bytes, content_type: str) -> Document:
    return Document(url=URL, outcome=FetchOutcome.OK, fetched_at=AT, content_type=content_type, body=body, hash="0")


@pytest.mark.parametrize(
    "select", [Select(css="div"), Select(named="price"), Select(css="div", regex="(a*)*b"), Select(xpath="//div")]
)
@pytest.mark.timeout(20)
def test_elements_inside_each_other_are_not_all_read_to_their_end(select: Select) -> None:
    """Each of the 400 elements holds all the text: reading all to the end would take minutes."""
    body = "<div class=price>" * 400 + "<p>text " * 100_000
    fact = read_fact(
        FactSpec(name="x", type=FactType.LIST, select=select), HttpSource(url=URL), a_document(body.encode(), "")
    )
    assert fact is None or len(json.dumps(fact.value)) < 1_000_000
