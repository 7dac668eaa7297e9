"""What shops' pages say of their product to machines, and which of several products and offers is meant."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.document_reader import DocumentReader, read_fact
from adapters.product_data import PRODUCT_FIELDS
from adapters.rules_provider import RulesProvider
from domain.classification import ClassifyRequest
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, FactValue, Select
from domain.source import HttpSource

URL = "https://www.shop.example/lamp?colour=black"
OFFER = {"@type": "Offer", "price": "49.90", "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}
LAMP = {
    "@context": "https://schema.org/",
    "@type": "Product",
    "name": "Desk lamp",
    "brand": {"@type": "Brand", "name": "Lux"},
    "sku": "LX-5",
    "gtin13": "4006381333931",
    "aggregateRating": {"@type": "AggregateRating", "ratingValue": 4.5, "reviewCount": 12},
    "offers": OFFER,
}
MICRODATA = """<div itemscope itemtype="https://schema.org/Product"><h1 itemprop="name">Desk <b>lamp</b></h1>
<span itemprop="brand" itemscope itemtype="https://schema.org/Brand"><meta itemprop="name" content="Lux"></span>
<div itemprop="offers" itemscope itemtype="https://schema.org/Offer"><span itemprop="price">1.299,00</span>
<meta itemprop="priceCurrency" content="EUR"><link itemprop="availability" href="http://schema.org/OutOfStock"></div>
<div itemprop="isRelatedTo" itemscope itemtype="https://schema.org/Product"><i itemprop="name">Bulb</i>
<div itemprop="offers" itemscope><i itemprop="price">3</i></div></div></div>"""
TAGS = """<meta property="og:type" content="product"><meta property="og:title" content="Desk lamp">
<meta property="product:price:amount" content="59.00"><meta property="product:sale_price:amount" content="49.00">
<meta property="product:price:currency" content="EUR"><meta property="product:availability" content="oos">"""


def linked(*values: object) -> str:
    blocks = (f'<script type="application/ld+json">{json.dumps(value)}</script>' for value in values)
    return f"<html><head>{''.join(blocks)}</head><body><h1>Desk lamp</h1></body></html>"


@pytest.mark.parametrize(
    ("page", "field", "kind", "value"),
    [
        (linked(LAMP), "price", "number", 49.9),
        (linked(LAMP), "currency", "text", "EUR"),
        (linked(LAMP), "availability", "boolean", True),
        (linked(LAMP), "availability", "text", "InStock"),
        (linked(LAMP), "name", "text", "Desk lamp"),
        (linked(LAMP), "brand", "text", "Lux"),
        (linked(LAMP), "sku", "text", "LX-5"),
        (linked(LAMP), "gtin", "text", "4006381333931"),
        (linked(LAMP), "rating", "number", 4.5),
        (linked(LAMP), "reviews", "number", 12.0),
        (linked(LAMP), "condition", "text", None),
        (MICRODATA, "price", "number", 1299.0),
        (MICRODATA, "currency", "text", "EUR"),
        (MICRODATA, "availability", "boolean", False),
        (MICRODATA, "name", "text", "Desk lamp"),
        (MICRODATA, "brand", "text", "Lux"),
        (TAGS, "price", "number", 49.0),
        (TAGS, "currency", "text", "EUR"),
        (TAGS, "availability", "boolean", False),
        (TAGS, "name", "text", "Desk lamp"),
        ("<meta property='og:title' content='News'>", "name", "text", None),
        ("<p>Price: 5 EUR", "price", "number", None),
        ('{"price": 5}', "price", "number", None),
        (linked({**LAMP, "offers": {}}) + TAGS, "price", "number", 49.0),
        (linked({"@graph": [{"@type": "WebSite", "name": "Shop"}, LAMP]}), "name", "text", "Desk lamp"),
        (linked([{"@type": "ItemPage", "mainEntity": LAMP}]), "price", "number", 49.9),
        (linked({**LAMP, "@type": ["Product", "Vehicle"]}), "price", "number", 49.9),
        (linked({**LAMP, "@type": "http://schema.org/Product"}), "price", "number", 49.9),
        ("<script type='application/ld+json'>{broken</script>" + TAGS, "price", "number", 49.0),
        (linked(LAMP).replace("</script>", ";\n</script>"), "price", "number", 49.9),
    ],
)
def test_a_products_data_is_read_from_every_form(page: str, field: str, kind: str, value: FactValue | None) -> None:
    assert read(page, field, kind) == value


@pytest.mark.parametrize(
    ("offers", "price", "available"),
    [
        ({**OFFER, "price": 49.9}, 49.9, True),
        ({**OFFER, "price": "1.299,00"}, 1299.0, True),
        ({**OFFER, "price": "1,299.00"}, 1299.0, True),
        ({**OFFER, "price": "€ 1.299"}, 1299.0, True),
        ({**OFFER, "price": ""}, None, True),
        ({**OFFER, "price": "on request"}, None, True),
        ([{**OFFER, "price": 60}, {**OFFER, "price": 55}], 55.0, True),
        ([{**OFFER, "price": 60}, {**OFFER, "price": 55, "availability": "SoldOut"}], 60.0, True),
        ([{**OFFER, "price": 40, "priceCurrency": "EUR"}, {**OFFER, "price": 30, "priceCurrency": "USD"}], 40.0, True),
        (
            [
                {**OFFER, "price": 60, "url": "/lamp?colour=black", "availability": "OutOfStock"},
                {**OFFER, "price": 55, "url": "/lamp?colour=red"},
            ],
            60.0,
            False,
        ),
        ({"@type": "AggregateOffer", "lowPrice": "40.00", "highPrice": 90, "offers": [OFFER]}, 40.0, None),
        ({"@type": "AggregateOffer", "offers": [{**OFFER, "price": 70}, OFFER]}, 49.9, True),
        ({"@type": "Offer", "priceSpecification": {"price": 12, "priceCurrency": "EUR"}}, 12.0, None),
        (
            {
                "priceSpecification": [
                    {"price": 99, "priceType": "https://schema.org/ListPrice"},
                    {"price": 3, "referenceQuantity": {"value": 1, "unitCode": "LTR"}},
                    {"price": 79},
                ]
            },
            79.0,
            None,
        ),
    ],
)
def test_of_several_offers_the_one_that_counts_is_read(
    offers: object,
    price: float | None,
    available: bool | None,  # noqa: FBT001  a row of the table
) -> None:
    page = linked({**LAMP, "offers": offers})
    assert read(page, "price", "number") == price
    assert read(page, "availability", "boolean") is available


@pytest.mark.parametrize(
    ("said", "available"),
    [
        ("InStock", True),
        ("https://schema.org/InStock", True),
        ("http://schema.org/InStock", True),
        ("instock", True),
        ("in stock", True),
        ("https://schema.org/LimitedAvailability", True),
        ("OnlineOnly", True),
        ("InStoreOnly", True),
        ("MadeToOrder", True),
        ("available for order", True),
        ("OutOfStock", False),
        ("https://schema.org/SoldOut", False),
        ("Discontinued", False),
        ("https://schema.org/PreOrder", False),
        ("PreSale", False),
        ("https://schema.org/BackOrder", False),
        ("Reserved", False),
        ("oos", False),
        ("https://schema.org/Whatever", None),
    ],
)
def test_every_word_of_schema_org_for_stock_is_yes_or_no(said: str, available: bool | None) -> None:  # noqa: FBT001
    assert read(linked({**LAMP, "offers": {"availability": said}}), "availability", "boolean") is available


def test_of_several_products_the_pages_own_is_meant() -> None:
    bulb = {"@type": "Product", "name": "Bulb", "url": "/bulb", "offers": {"price": 3}}
    here = {**LAMP, "url": "https://shop.example/lamp/"}
    related = {**LAMP, "isRelatedTo": bulb, "isSimilarTo": [bulb]}
    assert read(linked(bulb, here), "price", "number") == 49.9  # by its address
    assert read(linked(bulb, LAMP), "price", "number") == 49.9  # by the headline
    assert read(linked(related), "price", "number") == 49.9
    assert read(linked({"@type": "ItemList", "itemListElement": [bulb]}, LAMP), "price", "number") == 49.9
    assert read(linked(bulb, {**bulb, "name": "Fuse", "url": "/fuse"}), "price", "number") is None  # a list of things
    assert read(linked(LAMP, LAMP), "price", "number") == 49.9  # said twice


def test_a_name_finds_product_data_before_what_else_is_called_so() -> None:
    shown = "<span class=price>3 EUR</span><p>Availability: sold out"
    related = {"@type": "Product", "name": "Bulb", "offers": {"price": 3}}
    page = linked({"@type": "WebPage", "price": 1}, {**LAMP, "isRelatedTo": related}) + shown
    assert read_named(page, "price", "number") == 49.9
    assert read_named(page, "availability", "boolean") is True
    assert read_named(page, "in stock", "boolean") is True
    assert read_named(shown, "price", "number") == 3.0
    assert read_named(shown, "availability", "boolean") is False


def test_a_list_holds_what_every_offer_says() -> None:
    offers = [{**OFFER, "price": 60}, {**OFFER, "price": 55}]
    assert read(linked({**LAMP, "offers": offers}), "price", "list") == ["55", "60"]


def test_a_regex_narrows_product_data() -> None:
    fact = fact_of(linked(LAMP), Select(product="sku", regex=r"LX-(\d+)"), "number")
    assert fact is not None
    assert (fact.value, fact.quote) == (5.0, "5")


def test_the_quote_stands_in_the_page() -> None:
    for page in (linked(LAMP), MICRODATA, TAGS):
        for field in PRODUCT_FIELDS:
            fact = fact_of(page, Select(product=field), "text")
            assert fact is None or fact.quote in page
    assert (fact := fact_of(linked(LAMP), Select(product="availability"), "boolean")) is not None
    assert fact.quote == "InStock"


HOSTILE = {
    "nested scopes that took extruct 52 s": "<div itemscope itemtype=Product>"
    + ("<div itemprop=offers itemscope>" + "<i itemprop=price>x</i>" * 10) * 200,
    "properties inside properties": "<div itemscope itemtype=Product>"
    + "<b itemprop=name> " * 400
    + "<i>x</i>" * 100_000,
    "many properties": "<div itemscope itemtype=Product>" + "<i itemprop=price>x</i>" * 20_000,
    "many products": "<div itemscope itemtype=Product><i itemprop=name>x</i></div>" * 20_000,
    "many blocks": '<script type="application/ld+json">{"@type":"Product"}</script>' * 20_000,
    "deep JSON": '<script type="application/ld+json">' + '{"@graph":[' * 100_000 + "</script>",
    "deep graph": '<script type="application/ld+json">' + '{"@graph":[' * 400 + "{}" + "]}" * 400 + "</script>",
    "many offers": linked({**LAMP, "offers": [OFFER] * 5_000}),
    "offers of offers": linked({**LAMP, "offers": [{"offers": [OFFER] * 100}] * 100}),
    "marks": '<script type="application/ld+json">' + "; " * 500_000 + "x</script>",
    "white space": '<script type="application/ld+json">' + " " * 1_000_000 + "x</script>",
}


@pytest.mark.parametrize("page", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(20)
def test_hostile_product_data_takes_bounded_time(page: str) -> None:
    reader = DocumentReader(HttpSource(url=URL), document(page))
    for field, kind in (("price", "number"), ("name", "list"), ("availability", "boolean")):
        fact = reader.read(FactSpec(name="x", type=FactType(kind), select=Select(product=field)))
        assert fact is None or fact.quote in page


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(["", "5", "InStock", "http://[", "é\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["@type", "@id", "@value", "url", "name", "offers", "price", "priceCurrency", "availability"]
            )
            | st.sampled_from(
                ["priceSpecification", "brand", "aggregateRating", "ratingValue", "hasVariant", "@graph"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=150)
@given(st.lists(_JSON, min_size=1, max_size=3), st.sampled_from(PRODUCT_FIELDS), st.sampled_from(FactType))
def test_any_json_ld_gives_a_fact_with_a_standing_quote_or_nothing(
    values: list[object], field: str, kind: FactType
) -> None:
    page = linked(*({"@type": "Product", **value} if isinstance(value, dict) else value for value in values))
    fact = fact_of(page, Select(product=field), kind)
    assert fact is None or fact.quote in page


def read(page: str, field: str, kind: str) -> FactValue | None:
    fact = fact_of(page, Select(product=field), kind)
    return None if fact is None else fact.value


def read_named(page: str, name: str, kind: str) -> FactValue | None:
    fact = fact_of(page, Select(named=name), kind)
    return None if fact is None else fact.value


def fact_of(page: str, select: Select, kind: str) -> Fact | None:
    return read_fact(FactSpec(name="x", type=FactType(kind), select=select), HttpSource(url=URL), document(page))


def document(page: str) -> Document:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Document(url=URL, outcome=FetchOutcome.OK, fetched_at=at, body=page.encode(), hash="0")


@pytest.mark.parametrize("page", [linked(LAMP), TAGS, MICRODATA], ids=["JSON-LD", "tags", "microdata"])
def test_a_prompt_about_a_price_finds_it_in_a_shops_page_without_a_selector(page: str) -> None:
    source = HttpSource(url=URL)
    asked = ClassifyRequest(prompt="tell me when the price drops under 50", sources=(source,), owner_id=UUID(int=1))
    [spec] = RulesProvider().draft(asked).facts
    fact = read_fact(spec, source, document("<span class=price>Was 99</span>" + page))
    assert fact is not None
    assert fact.value == read(page, "price", "number")
