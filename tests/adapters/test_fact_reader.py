"""Facts as they are kept: whatever a page spells, the store can hold it."""

import ast
import hashlib
import json
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import fact_reader
from adapters.fact_reader import READING, VALUE_CHARS_MAX, FactReader
from domain.evidence import Document, FetchOutcome
from domain.fact import Fact, FactSpec, FactType, Select
from domain.source import HttpSource
from tests.conftest import AT

SOURCE = HttpSource(url="http://127.0.0.1/")
TEXT = FactSpec(name="name", type=FactType.TEXT, select=Select(jsonpath="$.name"))
LIST = FactSpec(name="names", type=FactType.LIST, select=Select(jsonpath="$.names[*]"))

ANYTHING = st.text(min_size=1, max_size=20) | st.text('ab \0\ud800\udfff\u00e9\U0001f375"\\', min_size=1, max_size=8)


def document(body: bytes) -> Document:
    """A JSON answer."""
    return Document(
        url=SOURCE.url,
        outcome=FetchOutcome.OK,
        fetched_at=AT,
        status=200,
        content_type="application/json",
        charset="utf-8",
        body=body,
        hash=hashlib.sha256(body).hexdigest(),
    )


def read(content: object, *facts: FactSpec) -> dict[str, Fact]:
    """The facts of a page that spells everything outside ASCII as JSON escapes, also what is no character."""
    return FactReader().read(facts, SOURCE, document(json.dumps(content).encode()))


def is_storable(text: str) -> bool:
    """PostgreSQL's text holds every character but NUL, in UTF-8."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def test_what_the_store_cannot_hold_is_taken_out_of_a_value_and_its_quote() -> None:
    fact = read({"name": "a\0b\ud800c\udfffd"}, TEXT)["name"]
    assert fact.value == "ab?c?d"
    assert is_storable(fact.quote)
    assert fact.quote


def test_a_pair_of_surrogates_is_a_character_and_stays() -> None:
    assert read({"name": "tea \U0001f375"}, TEXT)["name"].value == "tea \U0001f375"


def test_what_the_store_cannot_hold_is_taken_out_of_every_item_of_a_list() -> None:
    fact = read({"names": ["a\0b", "c\ud800", "\u00e9"]}, LIST)["names"]
    assert fact.value == ["ab", "c?", "\u00e9"]
    assert is_storable(fact.quote)


def test_a_fact_that_is_not_there_is_left_out() -> None:
    assert list(read({"name": "Kettle"}, TEXT, LIST)) == ["name"]


def test_a_list_is_cut_where_its_items_together_exceed_the_limit() -> None:
    item = "x" * 1000
    assert read({"names": [item] * (VALUE_CHARS_MAX // 1000)}, LIST)["names"].value == [item] * 50
    assert read({"names": [item] * 49 + ["y" * 1000, "z"]}, LIST)["names"].value == [item] * 49 + ["y" * 1000]
    assert read({"names": [item] * 49 + ["y" * 999, "z", "z"]}, LIST)["names"].value == [item] * 49 + ["y" * 999, "z"]


def test_the_keys_of_a_feeds_items_are_cut_with_them_and_stay_theirs() -> None:
    titles = FactSpec(name="titles", type=FactType.LIST, select=Select(feed="title"))
    items = [f"<item><title>{'x' * 990} {i}</title><guid>{'y' * 2000} {i}</guid></item>" for i in range(100)]

    def read_feed(*shown: str) -> Fact:
        body = f"<rss>{''.join(shown)}</rss>".encode()
        answer = msgspec.structs.replace(document(body), content_type="application/rss+xml")
        return FactReader().read([titles], SOURCE, answer)["titles"]

    fact = read_feed(*items)
    assert isinstance(fact.value, list)
    assert fact.keys is not None
    assert len(fact.value) == len(fact.keys) == len(set(fact.keys)) == 50
    assert read_feed(*items[:2]).keys == fact.keys[:2]
    assert len(msgspec.json.encode(fact.keys)) == 50 * 19 + 1


@settings(max_examples=60)
@given(ANYTHING, st.lists(ANYTHING, min_size=1, max_size=5))
def test_whatever_a_page_spells_can_be_stored(name: str, names: list[str]) -> None:
    for fact in read({"name": name, "names": names}, TEXT, LIST).values():
        texts = fact.value if isinstance(fact.value, list) else [fact.value]
        assert all(isinstance(text, str) and is_storable(text) for text in texts)
        assert is_storable(fact.quote)
        assert msgspec.json.decode(msgspec.json.encode(fact), type=Fact) == fact


FOLDER = Path(fact_reader.__file__).parent


def modules_of(name: str, found: set[str]) -> set[str]:
    """The modules of this folder that a module imports, and those that they import."""
    if name in found:
        return found
    found.add(name)
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adapters."):
            modules_of((node.module or "").removeprefix("adapters."), found)
    return found


def test_the_edition_of_the_reader_is_told_by_all_that_reads() -> None:
    """What was remembered of content that stays would be believed for ever, were one of them left out."""
    assert set(READING) == modules_of("fact_reader", set())
