"""Clauses about history: changes, new items, drops by so much, records, silence."""

import re

from adapters.rules_clauses import (
    DOWN,
    SUBJECT,
    UP,
    WINDOW,
    Clause,
    ClauseKinds,
    Found,
    Reading,
    measured,
    pattern_for,
    text_of,
)
from adapters.rules_facts import ITEM_WORDS
from adapters.rules_quantities import LENGTH, Quantity, length_in_words, read_length, read_quantity
from domain.duration import iso_duration
from domain.errors import PromptNotUnderstood
from domain.fact import FactType
from domain.plan import Fires

DEFAULT_WINDOW = "7 days"
"""The length of time meant by "drops by 10 %" when none is named; the explanation says so."""
EVER = "3650 days"
"""What "record" and "ever" mean: longer than any monitor runs."""

NEEDS_FEED = (
    'new items can be told apart in a feed: give a source {"type": "feed", "url": "https://..."}, or a fact of type list'
    ' with a selector and the condition size(added(titles)) > 0. For any change of a page write "when the page changes".'
)

CHANGES = ClauseKinds()


@CHANGES.written(
    rf"{SUBJECT} (?:(?P<down>{DOWN})|(?P<up>{UP})) (?:by )?(?:(?:more than|at least|about) )?(?P<q>[^ ].*?)(?: or more)?(?: {WINDOW})?",
    rf"{SUBJECT} (?:(?P<down>halves?)|(?P<up>doubles?))(?P<q>)(?: {WINDOW})?",
    rf"{SUBJECT} (?:is|gets) (?P<q>[^ ]+ ?%) (?:(?P<down>cheaper|lower|less|off)|(?P<up>higher|more expensive|more))(?: {WINDOW})?",
)
def _moved_by(reading: Reading, found: Found) -> Clause | None:
    quantity = read_quantity(found["q"]) if found["q"] else Quantity(50.0 if found["down"] else 100.0, "%")
    by = re.search(r"\bby\b", found[0], re.IGNORECASE)
    if quantity is None or quantity.value <= 0 or not (by or quantity.unit == "%"):
        return None
    length = read_length(found["window"] or DEFAULT_WINDOW)
    is_percent = quantity.unit == "%"
    fact = reading.facts.number(found["subject"]) if is_percent else measured(reading, found["subject"], quantity)
    if fact is None or length is None or (is_percent and found["down"] and quantity.value > 100):
        return None
    window, times = f'"{iso_duration(length)}"', length_in_words(length)
    notes = () if found["window"] else (f"The prompt names no length of time, so {times} are meant.",)
    way, edge = ("below", "highest") if found["down"] else ("above", "lowest")
    words = (
        f"{fact.name} is at least {quantity.number} {quantity.unit or ''}".rstrip()
        + f" {way} its {edge} value in {times}"
    )
    if is_percent:
        function = "decreased_by" if found["down"] else "increased_by"
        return Clause(fact, f"{function}({fact.name}, {quantity.value / 100:g}, {window})", words, notes=notes)
    if found["down"]:
        return Clause(fact, f"{fact.name} <= max_over({fact.name}, {window}) - {quantity.number}", words, notes=notes)
    return Clause(fact, f"{fact.name} >= min_over({fact.name}, {window}) + {quantity.number}", words, notes=notes)


@CHANGES.written(
    rf"{SUBJECT} (?:is|are|hits?|reach(?:es)?|sets?|makes?|{DOWN}|{UP})(?: at| to| back at)?(?: (?:its|the|an?|their))?(?: new)?"
    rf" (?:(?P<ago>{LENGTH}) |all[- ]time |record )?(?:(?P<low>lowest|low|minimum|cheapest)|(?P<high>highest|high|maximum))"
    rf"(?: (?:price|value|level|point))?(?: ever| {WINDOW})?"
)
def _record(reading: Reading, found: Found) -> Clause | None:
    fact = reading.facts.number(found["subject"])
    given = found["ago"] or found["window"]
    length = read_length(given or EVER)
    if fact is None or length is None:
        return None
    function, edge = ("record_low", "lowest") if found["low"] else ("record_high", "highest")
    span = length_in_words(length) if given else "all the time it has been watched"
    words = f"{fact.name} is the {edge} of {span} (and was not always the same)"
    return Clause(fact, f'{function}({fact.name}, "{iso_duration(length)}")', words)


@CHANGES.written(
    rf"{SUBJECT} (?:has not|have not|does not|do not|did not) (?:changed?|been updated|update|move|moved) {WINDOW}",
    rf"{SUBJECT} (?:stays|remains|is) (?:the same|unchanged) {WINDOW}",
    rf"(?:there (?:is|are|has been|have been) )?no new (?:{ITEM_WORDS})(?: (?:appears?|comes?|is published|are published))? {WINDOW}(?P<subject>)",
)
def _silent(reading: Reading, found: Found) -> Clause | None:
    fact = reading.facts.anything(found["subject"]) if found["subject"] else reading.facts.titles()
    length = read_length(found["window"])
    if fact is None or length is None:
        return None
    return Clause(
        fact,
        f'silent_for({fact.name}, "{iso_duration(length)}")',
        f"{fact.name} has not changed for {length_in_words(length)}",
    )


@CHANGES.written(
    rf"(?:there(?: is|'s| are) )?(?:an? |any |some |the )?(?:new|another) (?:(?P<kind>[\w-]+) )?(?:{ITEM_WORDS})"
    r"(?: (?:is|are|was|gets|has been) (?:published|posted|released|added|out|available|listed|up)"
    r"| (?:appears?|comes? out|arrives?|shows? up|drops?))?"
    r"(?: (?:of|from|by|for) (?P<of>(?!(?:the|this) feed)(?:(?! and | or |,).){1,60}?))?(?: (?:in|on|to|from) (?:the|this) (?:rss |atom )?(?:feed|blog|list|channel|podcast))?"
    r"(?: (?:is|are|was|gets|has been) (?:published|posted|released|added|out|available|listed|up)| (?:appears?|comes? out|arrives?))?"
    r"(?: (?:that |which |and it )?(?:mention(?:s|ing)?|contain(?:s|ing)?|includ(?:es|ing)|about|with|titled|named) (?P<text>.+))?",
    rf"(?:something|an? (?:{ITEM_WORDS})|(?:{ITEM_WORDS})) (?:new )?(?:is|are|gets) (?:added|published|posted)(?: to the (?:feed|list))?"
    r"(?P<kind>)(?P<of>)(?P<text>)",
)
def _new_item(reading: Reading, found: Found) -> Clause | None:
    titles = reading.facts.titles()
    text = text_of(reading, found["text"]) if found["text"] else None
    if titles is None:
        raise PromptNotUnderstood(NEEDS_FEED, field="prompt")
    if found["text"] and text is None:
        return None
    passed_over = [reading.wish.restore(words) for words in (found["kind"], found["of"]) if words]
    notes = tuple(f"Whether it is about {words} is not looked at: what the feed holds counts." for words in passed_over)
    if text is None:
        return Clause(
            titles, f"size(added({titles.name})) > 0", f"{titles.name} has a new item", Fires.EACH_TIME, notes
        )
    condition = f"added({titles.name}).exists(t, t.matches({pattern_for(text)}))"
    return Clause(
        titles,
        condition,
        f'{titles.name} has a new item that contains "{text}" (in capitals or not)',
        Fires.EACH_TIME,
        notes,
    )


@CHANGES.written(
    rf"(?:an? )?(?:{ITEM_WORDS}) (?:is|are|gets) (?:removed|deleted|taken down)(?: from the (?:feed|list))?",
    r"(?:something|anything) (?:is removed|disappears|is taken)(?: from the (?:feed|list))?",
)
def _gone_item(reading: Reading, found: Found) -> Clause | None:
    del found
    titles = reading.facts.titles()
    return (
        None
        if titles is None
        else Clause(titles, f"size(removed({titles.name})) > 0", f"an item of {titles.name} is gone", Fires.EACH_TIME)
    )


@CHANGES.written(
    rf"(?:watch|monitor|track|check|follow|look at) {SUBJECT} for (?:any )?(?:changes|updates)",
    rf"{SUBJECT} (?:changes?|has changed|have changed|is updated|gets updated|has been updated|is different|is modified|updates|is edited)",
    rf"(?:there(?: is|'s| are) )?(?:an? |any |some )?(?:changes?|updates?) (?:in|on|to|of) {SUBJECT}",
)
def _changed(reading: Reading, found: Found) -> Clause | None:
    fact = reading.facts.anything(found["subject"])
    return (
        None
        if fact is None
        else Clause(fact, f"changed({fact.name})", f"{fact.name} differs from the time before", Fires.EACH_TIME)
    )


@CHANGES.written(
    rf"{SUBJECT} (?:(?P<down>{DOWN}|gets cheaper|gets lower)|(?P<up>{UP}|gets more expensive|gets higher))"
)
def _moves(reading: Reading, found: Found) -> Clause | None:
    fact = reading.facts.anything(found["subject"])
    if fact is None or fact.type is not FactType.NUMBER:
        return None
    sign, word = ("<", "lower") if found["down"] else (">", "higher")
    words = f"{fact.name} is {word} than the time before"
    return Clause(fact, f"{fact.name} {sign} previous({fact.name})", words, Fires.EACH_TIME)
