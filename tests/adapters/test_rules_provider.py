"""The built-in rules: what they read from prompts (prompt_corpus.json), and what they refuse to guess."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.cel_condition import CelConditionLanguage
from adapters.rules_provider import RulesProvider
from adapters.rules_quantities import read_length, read_quantity
from commands.plan_compiler import Classifier
from domain.classification import ClassifyRequest, Draft
from domain.errors import ConditionInvalid, InvalidInput, PromptNotUnderstood, RuleViolation
from domain.fact import FactSpec, FactType, FactValue, Select
from domain.name import NAME_CHARS_MAX
from domain.plan import Fires
from domain.schedule import Cron, Every
from domain.source import FeedSource, HttpSource, Source

CORPUS = json.loads((Path(__file__).parent / "prompt_corpus.json").read_text())
PAGE: tuple[Source, ...] = (HttpSource(url="http://127.0.0.1/page"),)
FEED: tuple[Source, ...] = (FeedSource(url="http://127.0.0.1/feed"),)
RULES = RulesProvider()
LANGUAGE = CelConditionLanguage()
PRICE = FactSpec(name="price", type=FactType.NUMBER, select=Select(css=".price"))


def classify(
    prompt: str,
    *,
    sources: tuple[Source, ...] = PAGE,
    facts: tuple[FactSpec, ...] | None = None,
    condition: str | None = None,
    schedule: Every | Cron | None = None,
) -> Draft:
    return RULES.draft(
        ClassifyRequest(
            prompt=prompt, sources=sources, owner_id=UUID(int=1), facts=facts, condition=condition, schedule=schedule
        )
    )


def in_short(fact: FactSpec) -> str:
    """A fact as the corpus writes it."""
    where = "whole"
    if fact.select is not None:
        where = f"named {fact.select.named!r}" if fact.select.named else f"feed {fact.select.feed!r}"
    return " ".join(filter(None, [fact.name, fact.type, f"[{fact.unit}]" if fact.unit else "", where]))


def schedule_in_short(schedule: Every | Cron | None) -> str | None:
    match schedule:
        case Every(seconds=seconds):
            return f"every {seconds}"
        case Cron(line=line, timezone=timezone):
            return f"{line} {timezone}"
        case None:
            return None


def verdict(draft: Draft, **values: FactValue) -> str:
    return LANGUAGE.judge(draft.condition, draft.facts, values, {}).verdict


@pytest.mark.parametrize("row", CORPUS["understood"], ids=lambda row: row["prompt"])
def test_a_common_prompt_is_read_as_the_corpus_says(row: dict[str, Any]) -> None:
    draft = classify(row["prompt"], sources=FEED if row.get("feed") else PAGE)
    assert draft.condition == row["condition"]
    assert [in_short(fact) for fact in draft.facts] == row["facts"]
    assert draft.fires == row.get("fires")
    assert schedule_in_short(draft.schedule) == row.get("schedule")
    LANGUAGE.check(draft.condition, draft.facts)
    assert all(fact.name in draft.explanation for fact in draft.facts)
    assert 1 <= len(draft.name) <= NAME_CHARS_MAX
    assert draft.name.isprintable()


@pytest.mark.parametrize("row", CORPUS["refused"], ids=lambda row: row["prompt"])
def test_what_is_not_understood_is_refused_with_a_cure(row: dict[str, Any]) -> None:
    with pytest.raises(PromptNotUnderstood) as caught:
        classify(row["prompt"], sources=FEED if row.get("feed") else PAGE)
    assert caught.value.field == "prompt"
    assert row["says"] in caught.value.message


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(CORPUS["understood"]) >= 100
    assert len(CORPUS["refused"]) >= 25


def test_the_refusal_shows_what_can_be_understood_and_the_way_around() -> None:
    with pytest.raises(PromptNotUnderstood) as caught:
        classify("tell me when my mother calls")
    for part in ("drops below 200 EUR", "new post", "give facts and a condition yourself"):
        assert part in caught.value.message


def test_the_explanation_says_what_is_watched_and_when_it_fires() -> None:
    draft = classify("Tell me when the price of the lamp drops below 200 EUR, check every 10 minutes")
    assert draft.explanation == (
        'Watches price (a number in EUR, price of lamp, found by the name "price"). Fires when price is below 200 EUR: once'
        " when that begins, or is so at the first look, and again only after it has ended. Looks every 10 minutes."
    )
    assert draft.name == "The price of the lamp drops below 200 EUR"


def test_what_was_read_into_a_prompt_is_told() -> None:
    assert (
        "names no length of time, so 7 days are meant" in classify("tell me when the price drops by 10 %").explanation
    )
    assert "Fires each time" in classify("tell me when the page changes").explanation
    assert "of the place in Seattle is up to the source" in classify("tell me when it rains in Seattle").explanation
    assert "does not look for the words the PS5" in classify("tell me when the PS5 is in stock").explanation
    advisory = classify("tell me when there is a new security advisory", sources=FEED)
    assert "Whether it is about security is not looked at" in advisory.explanation
    watched = classify("watch Bitcoin and tell me when the price is below 50")
    assert "not by the words Bitcoin" in watched.explanation


def test_a_long_wish_gives_a_name_cut_between_words() -> None:
    draft = classify("tell me when the price is below 50 and the stock is above 0 and the rating is at least 4")
    assert draft.name == "The price is below 50 and the stock is above 0 and the…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Available now", "met"),
        ("In stock: 3 left", "met"),
        ("IN-STOCK", "met"),
        ("Currently unavailable", "not_met"),
        ("Not in stock", "not_met"),
        ("Sold out. Other colours available", "not_met"),
        ("This item is no longer available", "not_met"),
        ("Add to basket", "not_met"),
    ],
)
def test_in_stock_is_told_from_the_opposite(text: str, expected: str) -> None:
    assert verdict(classify("tell me when the lamp is in stock"), page=text) == expected


def test_texts_are_found_whatever_their_capitals_line_breaks_and_signs() -> None:
    draft = classify('tell me when the page contains "C++ (2nd ed.) \\d $5"')
    assert verdict(draft, page="buy the c++ (2ND ed.)\n \\d $5 here") == "met"
    assert verdict(draft, page="buy the C++ (2nd edx) \\d $5 here") == "not_met"
    assert verdict(classify('tell me when the status is "ok"'), status=" OK ") == "met"
    assert verdict(classify('tell me when the status is "ok"'), status="not ok") == "not_met"
    both = classify("""tell me when the title contains 'the "new" \\ one'""")
    assert verdict(both, title='The "New" \\ One!') == "met"


def test_rain_is_not_found_in_training() -> None:
    draft = classify("tell me when it rains")
    assert verdict(draft, weather="Rainy, later sun") == "met"
    assert verdict(draft, weather="training day") == "not_met"


def test_given_facts_and_condition_stay_as_they_are() -> None:
    draft = classify("whatever my cat thinks, every hour", facts=(PRICE,), condition="price < 50.0")
    assert draft.facts == (PRICE,)
    assert draft.condition == "price < 50.0"
    assert draft.fires is None
    assert draft.schedule == Every(seconds=3600)
    assert draft.explanation.startswith('Watches price (a number, css ".price"). Fires when price < 50.0 is true: once')


def test_a_given_condition_that_tells_of_occurrences_is_explained_as_such() -> None:
    assert "Fires each time changed(price)" in classify("x y z", facts=(PRICE,), condition="changed(price)").explanation


def test_a_given_condition_must_compile_against_the_given_facts() -> None:
    with pytest.raises(ConditionInvalid, match="Did you mean price"):
        classify("x y z", facts=(PRICE,), condition="prise < 50")


def test_given_facts_are_used_for_what_the_prompt_names() -> None:
    stock = FactSpec(name="stock", type=FactType.NUMBER, select=Select(jsonpath="$.n"))
    draft = classify("tell me when the price is below 50 EUR and the stock is above 0", facts=(PRICE, stock))
    assert draft.condition == "price < 50 && stock > 0"
    assert draft.facts == (PRICE, stock)


def test_an_only_fact_is_meant_whatever_the_prompt_calls_it() -> None:
    assert classify("tell me when this lamp is cheaper than 50 EUR", facts=(PRICE,)).condition == "price < 50"
    assert classify("tell me when the tariff is below 50", facts=(PRICE,)).condition == "price < 50"
    assert classify("tell me when it changes", facts=(PRICE,)).condition == "changed(price)"
    news = FactSpec(name="news", type=FactType.LIST, select=Select(css="h2"))
    assert classify("tell me when there is a new article", facts=(news,)).condition == "size(added(news)) > 0"
    mentions = classify('tell me when the news mentions "rain"', facts=(news,))
    assert mentions.condition == 'news.exists(t, t.matches("(?i)rain"))'
    flag = FactSpec(name="sellable", type=FactType.BOOLEAN, select=Select(jsonpath="$.s"))
    assert classify("tell me when it is in stock", facts=(flag,)).condition == "sellable"
    assert classify("tell me when it is sold out", facts=(flag,)).condition == "!sellable"


@pytest.mark.parametrize(
    "prompt",
    ["tell me when the weather contains rain", "tell me when the stock is above 3", "tell me when my mother calls"],
)
def test_given_facts_that_do_not_serve_the_prompt_ask_for_the_condition(prompt: str) -> None:
    other = FactSpec(name="humidity", type=FactType.NUMBER)
    with pytest.raises(InvalidInput) as caught:
        classify(prompt, facts=(PRICE, other))
    assert caught.value.field == "condition"


def test_a_given_condition_takes_its_facts_from_the_prompt() -> None:
    draft = classify("tell me when the price is below 50 EUR", condition="price < 45 || changed(price)")
    assert draft.condition == "price < 45 || changed(price)"
    assert [in_short(fact) for fact in draft.facts] == ["price number [EUR] named 'price'"]


def test_a_given_condition_beside_a_prompt_that_tells_no_facts_asks_for_them() -> None:
    with pytest.raises(InvalidInput) as caught:
        classify("tell me when my mother calls", condition="stock > 3")
    assert caught.value.field == "facts"


@pytest.mark.parametrize("condition", ["stock > 3", "price.contains('x')", "price <"])
def test_a_mistake_in_a_given_condition_is_shown_beside_the_facts_of_the_prompt(condition: str) -> None:
    with pytest.raises(ConditionInvalid) as caught:
        classify("tell me when the price is below 50 EUR", condition=condition)
    assert caught.value.field == "condition"
    _, shown, caret, *_, cure = caught.value.message.split("\n")
    assert shown.strip() == condition
    assert caret.strip() == "^"
    assert "give facts too" in cure


def test_a_given_schedule_wins_over_the_prompt() -> None:
    given_schedule = Every(seconds=120)
    draft = classify("tell me when the price is below 50 every hour", schedule=given_schedule)
    assert draft.schedule == given_schedule
    assert "Looks every 2 minutes." in draft.explanation


@pytest.mark.parametrize(
    ("words", "schedule"),
    [
        ("every 90 seconds", "every 90"),
        ("every 2 days", "every 172800"),
        ("every other day", "every 172800"),
        ("twice a day", "every 43200"),
        ("once a week", "every 604800"),
        ("checked daily", "every 86400"),
        ("daily at 8", "0 8 * * * UTC"),
        ("every day at 7:45 pm", "45 19 * * * UTC"),
        ("every day at 12 am", "0 0 * * * UTC"),
        ("every monday at 9", "0 9 * * 1 UTC"),
        ("on sundays at 18:30 Europe/Vienna", "30 18 * * 0 Europe/Vienna"),
    ],
)
def test_schedules_are_read_from_either_end(words: str, schedule: str) -> None:
    wish = "tell me when the price is below 50"
    for prompt in (f"{wish}, {words}", f"{words}, {wish}"):
        draft = classify(prompt)
        assert schedule_in_short(draft.schedule) == schedule
        assert draft.condition == "price < 50"


@pytest.mark.parametrize("words", ["every day at 25", "every day at 13 pm", "every day at 8:75", "every 0 minutes"])
def test_a_schedule_that_is_none_is_not_swallowed(words: str) -> None:
    with pytest.raises(PromptNotUnderstood):
        classify(f"tell me when the price is below 50, {words}")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1,299.99 EUR", 1299.99, "EUR"),
        ("€1.299,00", 1299.0, "EUR"),
        ("1 299 kr", 1299.0, "kr"),
        ("1.299.000", 1299000.0, None),
        ("1,299", 1299.0, None),
        ("1.299", 1.299, None),
        ("12,5 %", 12.5, "%"),
        ("0,999", 0.999, None),
        ("$50k", 50000.0, "USD"),
        ("1.5 million", 1500000.0, None),
        ("\u22123 degrees celsius", -3.0, "°C"),
        ("five seats left", 5.0, "seats left"),
        ("$900 a month", 900.0, "USD/month"),
        ("200 a month", 200.0, "per month"),
    ],
)
def test_numbers_are_read_in_the_usual_notations(text: str, value: float, unit: str | None) -> None:
    quantity = read_quantity(text)
    assert quantity is not None
    assert quantity.value == pytest.approx(value)
    assert quantity.unit == unit


@pytest.mark.parametrize(
    "text", ["200 on amazon", "200-300", "5 10", "1e5", "50 tonight", "50 EUR shipped", "", "EUR", "xyz 5"]
)
def test_what_is_more_than_a_number_with_a_unit_is_not_one(text: str) -> None:
    assert read_quantity(text) is None


def test_a_length_of_time_beyond_ten_years_is_none() -> None:
    assert read_length("99999 days") is None
    assert read_length("a while") is None


PIECES = """price stock title page it the of weather status is not drops falls below above at least more than between and or
    200 31 7.5 EUR % °C by in a week days changes contains mentions "sale" 'new' new post available stock when if every
    hour lowest 90-day low there no longer costs rains Seattle has for true equals , < >="""


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from([*PIECES.split(), "in stock"]), max_size=12).map(" ".join), st.sampled_from([PAGE, FEED])
)
def test_no_number_of_a_prompt_is_passed_over_in_silence(words: str, sources: tuple[Source, ...]) -> None:
    try:
        draft = classify(f"tell me when {words}", sources=sources)
    except RuleViolation:
        return
    LANGUAGE.check(draft.condition, draft.facts)
    told = draft.condition + draft.explanation
    for number in re.findall(r"200|31|7\.5", words):
        assert number in told or str(float(number) / 100) in draft.condition


@settings(max_examples=200)
@given(st.text(max_size=200) | st.text(alphabet="price below 5 and or \"'%€.,<>=", max_size=200))
def test_any_text_gives_a_plan_that_compiles_or_a_refusal(prompt: str) -> None:
    try:
        draft = classify(prompt)
    except RuleViolation:
        return
    LANGUAGE.check(draft.condition, draft.facts)
    assert draft.name.isprintable()


@pytest.mark.parametrize(
    "prompt",
    [
        "tell me when " + "the price is below 5 and " * 78 + "x",
        "tell me when " + "a " * 990,
        "tell me when " + "is " * 660,
        "tell me when there is a new " + "post " * 390,
        "please " * 280 + "x",
        "watch " + "x and " * 330,
        '"' * 1_990,
        "tell me when the price is " + "9" * 1_900,
        "tell me when the price is " + "9 " * 980,
        "every " * 330,
    ],
)
@pytest.mark.timeout(30)
def test_a_hostile_prompt_is_read_fast(prompt: str) -> None:
    with pytest.raises(PromptNotUnderstood):
        classify(prompt)


def test_mixed_occasions_and_states_fire_on_entry() -> None:
    assert classify("tell me when the page changes or the price is below 5").fires is Fires.ON_ENTRY
    assert classify("tell me when the page changes and the price is below 5").fires is Fires.EACH_TIME
    assert classify("tell me when the page changes or the title changes").fires is Fires.EACH_TIME


async def test_the_provider_serves_the_port_of_the_write_side() -> None:
    classifier: Classifier = RULES
    request = ClassifyRequest(prompt="tell me when the price is below 50", sources=PAGE, owner_id=UUID(int=1))
    assert (await classifier.classify(request)).condition == "price < 50"
    assert RULES.name == "rules"
