"""What a page says of its product to machines: schema.org in JSON-LD or microdata, and the product tags of OpenGraph.

Read here and not with extruct, which was measured at 52 s for a page of 42 KB (docs/dependencies.md). RDFa and microdata's
`itemref` are not read; shops that have them have one of the other forms too.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.document_text import rendered
from adapters.fact_conversion import boolean, number

# What can be asked for, with the tags that OpenGraph and its users have for it, the one in force first.
_TAGS: dict[str, tuple[str, ...]] = {
    "name": ("og:title",),
    "price": ("product:sale_price:amount", "product:price:amount", "og:price:amount"),
    "currency": ("product:sale_price:currency", "product:price:currency", "og:price:currency"),
    "availability": ("product:availability", "og:availability"),
    "condition": ("product:condition",),
    "brand": ("product:brand", "og:brand"),
    "sku": ("product:retailer_item_id",),
    "gtin": ("product:gtin", "product:ean", "product:upc"),
    "rating": (),
    "reviews": (),
}
PRODUCT_FIELDS = tuple(_TAGS)
PRODUCTS_MAX, OFFERS_MAX, PROPERTIES_MAX, BLOCKS_MAX = 100, 200, 5_000, 100
_DEPTH_MAX = 8
_VALUE_NODES_MAX, _VALUE_CHARS_MAX = 200, 1_000
_TYPES = frozenset({
    "product", "productgroup", "productmodel", "individualproduct", "someproducts", "vehicle", "car", "motorcycle",
    "book", "softwareapplication", "mobileapplication", "webapplication", "videogame",
})  # fmt: skip
# Where the page's own things stand; what is under another property (isRelatedTo, itemListElement) is not its product.
_OWN = ("@graph", "mainEntity", "mainEntityOfPage", "about")
_GTINS = ("gtin", "gtin13", "gtin14", "gtin12", "gtin8", "isbn")
_PAST_PRICES = frozenset({"listprice", "srp", "msrp", "strikethroughprice", "regularprice", "invoiceprice"})

Item = dict[str, Any]
"""A schema.org thing: `@type` and properties. A value is an item, a JSON value, an element, or a list of these."""


def product_values(page: LexborHTMLParser, field: str, url: str) -> Iterator[object]:
    """What the page at `url` says of its product's `field`: JSON values and texts, JSON-LD first, then microdata, then tags.

    Of several products the page's own is the one at its address, or else named in its headline; where that is none or more
    than one nothing is given, because which is meant nobody said. Of several offers the one at the address counts, or else
    all in one currency: the lowest price of those that can be had comes first, and what can be had before what cannot.
    """
    if field not in _TAGS:
        return
    for items in (_linked_items(page), _marked_items(page)):
        product = _own_product(items, page, url)
        if product is not None:
            yield from _plain(_of_product(product, field, url))
    yield from _tagged(page, field)


def _of_product(product: Item, field: str, url: str) -> Iterable[object]:
    offers = _offers(product, url)
    match field:
        case "brand":
            return (one for brand in _all(product, "brand") for one in (_all(brand, "name") or [brand]))
        case "sku":
            return chain.from_iterable(_all(thing, "sku") for thing in (product, *offers))
        case "gtin":
            return chain.from_iterable(_all(thing, name) for thing in (product, *offers) for name in _GTINS)
        case "rating" | "reviews":
            names = ("ratingValue",) if field == "rating" else ("reviewCount", "ratingCount")
            return chain.from_iterable(_all(one, name) for one in _all(product, "aggregateRating") for name in names)
        case "condition":
            return (_term(one) for thing in (*offers, product) for one in _all(thing, "itemCondition"))
        case "price":
            return (price for offer in sorted(offers, key=_cheapest_first) for price in _prices(offer))
        case "currency":
            return (currency for offer in sorted(offers, key=_cheapest_first) for currency in _currencies(offer))
        case "availability":
            terms = [_term(one) for offer in offers for one in _all(offer, "availability")]
            return sorted(terms, key=lambda term: not boolean(term))
        case _:
            return _all(product, field)


def _own_product(items: Iterable[Item], page: LexborHTMLParser, url: str) -> Item | None:
    found = list(islice(_products(items, 0), PRODUCTS_MAX))
    if len(found) <= 1:
        return found[0] if found else None
    here = [one for one in found if any(_same_place(at, url) for name in ("url", "@id") for at in _texts(one, name))]
    if len(here) != 1:
        headline = page.css_first("h1")
        title = "" if headline is None else _words(_text(headline))
        here = [one for one in here or found if title and title in map(_words, _texts(one, "name"))]
    return here[0] if here and all(one == here[0] for one in here) else None


def _products(items: Iterable[Item], depth: int) -> Iterator[Item]:
    for item in items:
        types = {_term(one).casefold() for one in _texts(item, "@type")}
        if types & _TYPES or ("offers" in item and types - {"aggregateoffer"}):
            yield item
        elif depth < _DEPTH_MAX:
            yield from _products((one for name in _OWN for one in _all(item, name) if isinstance(one, dict)), depth + 1)


def _offers(product: Item, url: str) -> list[Item]:
    """The offers that count: an AggregateOffer's own prices, or else those of what it gathers."""
    holders = [product, *(one for one in _all(product, "hasVariant") if isinstance(one, dict))]
    given = [one for holder in holders for one in _all(holder, "offers") if isinstance(one, dict)][:OFFERS_MAX]
    offers: list[Item] = []
    for offer in given:
        inner = [one for one in _all(offer, "offers") if isinstance(one, dict)]
        offers += inner if inner and not any(True for _ in _prices(offer)) else [offer]
        del offers[OFFERS_MAX:]
    here = [one for one in offers if any(_same_page(at, url) for at in _texts(one, "url"))]
    offers = here or offers
    currency = next((str(one) for offer in offers for one in _plain(_currencies(offer))), None)
    return [one for one in offers if currency in {None, *map(str, _plain(_currencies(one)))}] or offers


def _prices(offer: Item) -> Iterator[object]:
    for name in ("lowPrice", "price"):
        yield from _plain(_all(offer, name))
    for specification in _all(offer, "priceSpecification"):
        kinds = {_term(one).casefold() for one in _texts(specification, "priceType")}
        if not kinds & _PAST_PRICES and not _all(specification, "referenceQuantity"):  # that is a price per litre
            yield from _plain(_all(specification, "price"))


def _currencies(offer: Item) -> Iterator[object]:
    for thing in (offer, *_all(offer, "priceSpecification")):
        yield from _all(thing, "priceCurrency")


def _cheapest_first(offer: Item) -> tuple[bool, float]:
    cannot_be_had = any(boolean(_term(one)) is False for one in _all(offer, "availability"))
    price = next((value for value in map(number, _prices(offer)) if value is not None), None)
    return cannot_be_had, float("inf") if price is None else price


def _all(thing: object, name: str) -> list[object]:
    value = thing.get(name) if isinstance(thing, dict) else None
    return value if isinstance(value, list) else [] if value is None else [value]


def _texts(thing: object, name: str) -> list[str]:
    return [str(one) for one in _plain(_all(thing, name))]


def _plain(values: Iterable[object]) -> Iterator[object]:
    """The values that are texts, numbers or truths, with what stands in elements read."""
    for value in values:
        found = _text(value) if isinstance(value, LexborNode) else value
        if isinstance(found, dict):
            found = found.get("@value", found.get("@id"))
        if isinstance(found, bool | int | float) or (isinstance(found, str) and found.strip()):
            yield found


def _term(value: object) -> str:
    """A schema.org term without its address: "https://schema.org/InStock" -> InStock."""
    text = next((str(one).strip() for one in _plain([value])), "")
    return re.split(r"[/#]", text)[-1] if re.match(r"https?://", text) else text.removeprefix("schema:")


def _words(text: str) -> str:
    return " ".join(text.split()).casefold()


def _same_place(at: str, url: str) -> bool:
    return _address(at, url)[:2] == _address(url, url)[:2]


def _same_page(at: str, url: str) -> bool:
    return _address(at, url) == _address(url, url)


def _address(at: str, url: str) -> tuple[str, str, str]:
    """Host without www, path and query; what is no address is nowhere."""
    try:
        parts = urlsplit(urljoin(url, at.strip()))
        return (parts.hostname or "").removeprefix("www."), parts.path.rstrip("/"), parts.query
    except ValueError:
        return "", at, ""


def _linked_items(page: LexborHTMLParser) -> Iterator[Item]:
    for block in page.css('script[type="application/ld+json"]')[:BLOCKS_MAX]:
        try:
            value = msgspec.json.decode(_without_marks(block.text()))
        except (msgspec.DecodeError, RecursionError):
            continue
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict))


def _without_marks(script: str) -> str:
    """JSON-LD without what some shops put around it: marks of comments and CDATA, a final semicolon."""
    text = script.strip()
    for mark in ("//<![CDATA[", "<![CDATA[", "<!--"):
        text = text.removeprefix(mark)
    for mark in ("//]]>", "]]>", "-->", ";"):
        text = text.rstrip().removesuffix(mark)
    return text


def _marked_items(page: LexborHTMLParser) -> list[Item]:
    """The microdata items that are no property of another (HTML standard, section 5.2), in one walk."""
    if page.root is None or page.css_first("[itemscope]") is None:
        return []
    around: dict[int, Item] = {}
    tops: list[Item] = []
    properties = 0
    for node in page.root.traverse():
        parent = node.parent
        item = None if parent is None else around.get(parent.mem_id)
        attributes = node.attributes
        value: Item | LexborNode = node
        names = (attributes.get("itemprop") or "").split()[:10]
        if "itemscope" in attributes:
            value = {"@type": (attributes.get("itemtype") or "").split()}
            if not names:
                tops.append(value)
        if item is not None:
            for name in names:
                item.setdefault(name, []).append(value)
                properties += 1
        if properties > PROPERTIES_MAX:
            break
        if (inside := value if isinstance(value, dict) else item) is not None:
            around[node.mem_id] = inside
    return tops


def _text(node: LexborNode) -> str:
    """What a property's element stands for (HTML standard, section 5.2.4, with `content` anywhere)."""
    for key in ("content", *(("value",) if node.tag in {"data", "meter"} else ("href",) if node.tag == "link" else ())):
        if value := node.attributes.get(key):
            return value[:_VALUE_CHARS_MAX]
    return rendered(node, nodes_max=_VALUE_NODES_MAX)[:_VALUE_CHARS_MAX]


def _tagged(page: LexborHTMLParser, field: str) -> Iterator[object]:
    tags: dict[str, list[str]] = {}
    for meta in page.css("meta[content]")[:PROPERTIES_MAX]:
        name = (meta.attributes.get("property") or meta.attributes.get("name") or "").strip().lower()
        tags.setdefault(name, []).append(meta.attributes.get("content") or "")
    kinds = " ".join(tags.get("og:type", ())).lower()
    if field == "name" and "product" not in kinds and not any(name in tags for name in _TAGS["price"]):
        return  # a title of something else
    yield from _plain(value for name in _TAGS[field] for value in tags.get(name, ()))
