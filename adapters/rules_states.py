"""Clauses about the present: a number below, above or between, a text that says something, something available."""

import re

from adapters.rules_clauses import (
    BE,
    DOWN,
    SUBJECT,
    UP,
    Clause,
    ClauseKinds,
    Found,
    Reading,
    measured,
    pattern_for,
    text_of,
)
from adapters.rules_facts import is_name, is_page
from adapters.rules_quantities import Quantity, read_quantity
from adapters.rules_wish import QUOTE
from domain.errors import PromptNotUnderstood
from domain.fact import FactSpec, FactType

STATES = ClauseKinds()

_OPERATORS = {
    "<=": r"(?:at most|no (?:more|higher|greater|warmer) than|(?:not|no longer) (?:more than|above|over)|up to|<=|\u2264)",
    ">=": r"(?:at least|no (?:less|lower|fewer|colder) than|(?:not|no longer) (?:less than|below|under)|>=|\u2265)",
    "<": r"(?:below|under|beneath|(?:lower|less|fewer|cheaper|smaller|colder|cooler|shorter|slower) than|<)",
    ">": r"(?:above|over|past|beyond|(?:higher|more|greater|larger|bigger|warmer|hotter|longer|faster) than|>)",
    "!=": r"(?:not(?: equal to| exactly)?|no longer|anything but|!=|\u2260)",
    "==": r"(?:equal to|exactly|precisely|==?)",
}
_WORDS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least", "==": "exactly", "!=": "not"}
_OPERATOR = "|".join(f"(?P<op{i}>{pattern})" for i, pattern in enumerate(_OPERATORS.values()))
_VERB = rf"(?:{DOWN}|{UP}|{BE})(?: down| up| back| worth| priced| trading)?(?: to| at)?"
_AVAILABLE = r"in[ -]?stock|available(?: again)?|back in[ -]?stock|on sale|for sale|in store"
_SOLD_OUT = r"out[ -]of[ -]stock|sold[ -]?out|unavailable"
_SAYS_SOLD_OUT = (
    r'r"(?i)\b(out[ -]?of[ -]?stock|sold[ -]?out|not in stock|unavailable|(not|no longer|never) available)"'
)
_SAYS_IN_STOCK = r'r"(?i)\b(in[ -]?stock|available)"'
_VAGUE = frozenset(
    {
        "good",
        "bad",
        "nice",
        "great",
        "cheap",
        "cheaper",
        "expensive",
        "high",
        "low",
        "hot",
        "cold",
        "warm",
        "big",
        "small",
    }
    | {
        "interesting",
        "important",
        "relevant",
        "better",
        "worse",
        "different",
        "fine",
        "normal",
        "unusual",
        "okay",
        "right",
    }
)
"""Words whose meaning is a judgement."""
_STATES_OF = frozenset(
    {"status", "state", "availability", "condition", "weather", "phase", "stage", "mode", "health", "grade", "type"}
    | {"category", "color", "colour", "version", "name", "title", "severity"}
)
"""What is named by a single word, so that the word needs no quotes: status is open."""
_UNREACHABLE = (
    "whether a site answers is not something its pages say; give a fact with a selector for what a status page shows, for"
    ' example: tell me when status is "down"'
)


@STATES.written(
    r"(?:the |this |my |our )?(?:web ?site|site|web ?page|page|server|url|homepage) (?:is|goes|comes)(?: not| back)?"
    r" (?:up|down|offline|online|back|reachable|unreachable|dead|available|unavailable|slow|broken)(?: again)?"
)
def _reachable(reading: Reading, found: Found) -> Clause | None:
    del reading, found
    raise PromptNotUnderstood(_UNREACHABLE, field="prompt")


@STATES.written(
    rf"{SUBJECT}(?: (?:{DOWN}|{UP}|{BE}))? (?P<not>not |no longer )?(?:in )?between (?P<a>.+?) and (?P<b>.+)",
    rf"{SUBJECT}(?: (?:{DOWN}|{UP}|{BE}))? (?P<not>outside)(?: of)? (?P<a>.+?) (?:and|to|-) (?P<b>.+)",
)
def _between(reading: Reading, found: Found) -> Clause | None:
    low, high = read_quantity(found["a"]), read_quantity(found["b"])
    if low is None or high is None or low.value > high.value or (low.unit or high.unit) != (high.unit or low.unit):
        return None
    fact = measured(reading, found["subject"], high if high.unit else low)
    if fact is None:
        return None
    span = f"{low.number} and {high.text}"
    if found["not"]:
        condition = f"{fact.name} < {low.number} || {fact.name} > {high.number}"
        return Clause(fact, condition, f"{fact.name} is not between {span}", is_compound=True)
    condition = f"{fact.name} >= {low.number} && {fact.name} <= {high.number}"
    return Clause(fact, condition, f"{fact.name} is between {span}, both included", is_compound=True)


@STATES.written(
    rf"{SUBJECT} costs? (?:(?:{_OPERATOR}) ?)?(?P<value>.+?)(?P<suffix> or (?:less|lower|below|under|more|higher|above|over))?",
)
def _costs(reading: Reading, found: Found) -> Clause | None:
    quantity = read_quantity(found["value"])
    fact = _price_of(reading, found["subject"], quantity) if quantity else None
    return None if fact is None or quantity is None else _comparison(fact, _operator(found), quantity)


def _price_of(reading: Reading, words: str, quantity: Quantity) -> FactSpec | None:
    return (
        reading.facts.number("price" if is_page(words) else f"price of {words}", quantity.unit)
        if is_name(words)
        else None
    )


@STATES.written(
    rf"there (?:is|are)(?: only)? (?:{_OPERATOR}) (?P<value>[\d.,]+|[a-z]+) (?P<subject>[^\d]+?)(?: left| available| remaining| open)?(?P<suffix>)",
)
def _there_are(reading: Reading, found: Found) -> Clause | None:
    quantity = read_quantity(found["value"])
    fact = reading.facts.number(found["subject"]) if quantity and quantity.unit is None else None
    return None if fact is None or quantity is None else _comparison(fact, _operator(found), quantity)


@STATES.written(
    rf"{SUBJECT} (?:{_VERB} )?(?:{_OPERATOR}) ?(?P<value>.+?)(?P<suffix> or (?:less|lower|below|under|more|higher|above|over))?",
    rf"{SUBJECT} (?:(?P<atmost>{DOWN} to)|(?P<atleast>{UP} to|reach(?:es)?|hits?)|(?P<more>exceeds?|surpass(?:es)?|tops|passes))"
    rf" (?P<value>.+?)(?P<suffix>)",
    rf"{SUBJECT} (?:{BE}|equals?|at)(?: at)? (?P<value>.+?)(?P<suffix> or (?:less|lower|below|under|more|higher|above|over))?",
)
def _compared(reading: Reading, found: Found) -> Clause | None:
    quantity = read_quantity(found["value"])
    fact = measured(reading, found["subject"], quantity) if quantity else None
    return None if fact is None or quantity is None else _comparison(fact, _operator(found), quantity)


def _operator(found: Found) -> str:
    """The sign that the words of a comparison mean; "or less", "or more" after the number widen it."""
    groups = found.groupdict()
    words = {"atmost": "<=", "atleast": ">=", "more": ">"} | {f"op{i}": sign for i, sign in enumerate(_OPERATORS)}
    sign = next((sign for group, sign in words.items() if groups.get(group)), "==")
    suffix = (groups.get("suffix") or "").strip()
    if not suffix:
        return sign
    return "<=" if suffix.split()[-1] in {"less", "lower", "below", "under"} else ">="


def _comparison(fact: FactSpec, sign: str, quantity: Quantity) -> Clause:
    words = f"{fact.name} is {_WORDS[sign]} {quantity.text}"
    return Clause(fact, f"{fact.name} {sign} {quantity.number}", words)


_ONE_OF_SEVERAL = re.compile(r"\b(?:before|after|size)\b", re.IGNORECASE)
"""What tells things apart that are on one page: the whole text cannot say which of them can be had."""


@STATES.written(
    rf"(?:{SUBJECT} )?(?:is|are|becomes?|gets?|comes?|goes?) (?P<not>not |no longer )?(?:back )?(?:(?P<yes>{_AVAILABLE})|(?P<no>{_SOLD_OUT}))",
    rf"{SUBJECT} (?P<not>)(?:(?P<no>sells out)|(?P<yes>can be (?:bought|ordered)))",
    rf"there (?:is|are) (?P<not>no )?{SUBJECT} (?:(?P<yes>{_AVAILABLE}|left)|(?P<no>{_SOLD_OUT}))",
)
def _available(reading: Reading, found: Found) -> Clause | None:
    subject = found["subject"]
    if subject is not None and (not is_name(subject) or _ONE_OF_SEVERAL.search(subject)):
        return None
    wants_stock = bool(found["yes"]) is not bool(found["not"])
    flag = reading.facts.only_boolean()
    if flag is not None:
        return Clause(flag, flag.name if wants_stock else f"!{flag.name}", f"{flag.name} is {str(wants_stock).lower()}")
    page = reading.facts.page()
    if page.type is not FactType.TEXT:
        return None
    about = "" if is_page(found["subject"] or "") else f" It does not look for the words {found['subject']}."
    note = f"The page is read as a whole: where it lists several things, one that is sold out counts.{about}"
    if wants_stock:
        condition = f"{page.name}.matches({_SAYS_IN_STOCK}) && !{page.name}.matches({_SAYS_SOLD_OUT})"
        words = f'{page.name} says "in stock" or "available", and nowhere "sold out", "out of stock", "unavailable" or "not available"'
        return Clause(page, condition, words, notes=(note,), is_compound=True)
    words = f'{page.name} says "sold out", "out of stock", "unavailable" or "not available"'
    return Clause(page, f"{page.name}.matches({_SAYS_SOLD_OUT})", words, notes=(note,))


@STATES.written(
    r"it (?:is |starts |begins |will )?(?:to )?(?P<what>rain|snow|hail|drizzl|thunder)(?:e?s|ing|e)?"
    r"(?P<place> (?:in|at|on)(?: (?!in\b|a\b|row\b|days?\b|times?\b|and\b|or\b|for\b|next\b|this\b|the next\b)[^\W\d]+){1,3})?"
)
def _weather(reading: Reading, found: Found) -> Clause | None:
    weather = reading.facts.text("weather")
    if weather is None or weather.type is not FactType.TEXT:
        return None
    what = found["what"].lower()
    place = f" That it speaks of the place{found['place']} is up to the source too." if found["place"] else ""
    notes = (f"What the weather is called is up to the source; other words for it are not known.{place}",)
    words = f'{weather.name} holds a word that begins with "{what}" (in capitals or not)'
    return Clause(weather, f'{weather.name}.matches(r"(?i)\\b{what}")', words, notes=notes)


@STATES.written(
    rf"(?:{SUBJECT} )?(?P<not>(?:does not|do not|no longer|never|stops?) )?(?:contain|mention|includ|say|show|read|display|list(?!\s))(?:e?s|ing|e)?"
    r"(?: anymore)? (?P<text>.+)",
    rf"(?:the (?:words?|text|phrase) )?(?P<text>{QUOTE}\d+{QUOTE}|[\w-]+) (?P<not>no longer |does not |is not )?(?:appears?|mentioned|is mentioned|shows? up)"
    r"(?: (?:in|on) (?P<subject>.{1,60}))?",
)
def _contains(reading: Reading, found: Found) -> Clause | None:
    text = text_of(reading, found["text"])
    fact = reading.facts.text(found["subject"] or "page") if text else None
    if text is None or fact is None:
        return None
    test = f"matches({pattern_for(text)})"
    if fact.type is FactType.LIST:
        no, an = ("!", "no item") if found["not"] else ("", "an item")
        return Clause(
            fact, f"{no}{fact.name}.exists(t, t.{test})", f'{an} of {fact.name} contains "{text}" (in capitals or not)'
        )
    no, does = ("!", "does not contain") if found["not"] else ("", "contains")
    return Clause(fact, f"{no}{fact.name}.{test}", f'{fact.name} {does} "{text}" (in capitals or not)')


@STATES.written(
    rf"{SUBJECT} (?:is|are|becomes?|turns?|equals?|says|reads|shows|switches to|goes)(?: to)? (?P<not>not |no longer )?(?P<value>.+)"
)
def _is(reading: Reading, found: Found) -> Clause | None:
    if is_page(found["subject"]):
        return None
    value = found["value"].strip().lower()
    if value in {"true", "false"}:
        flag = reading.facts.boolean(found["subject"])
        yes = (value == "true") is not bool(found["not"])
        return (
            None
            if flag is None
            else Clause(flag, flag.name if yes else f"!{flag.name}", f"{flag.name} is {str(yes).lower()}")
        )
    quoted = reading.wish.unquote(found["value"])
    text = quoted if quoted is not None else found["value"]
    is_state = found["subject"].lower().split()[-1] in _STATES_OF and re.fullmatch(r"[^\W\d][\w-]*", value)
    if quoted is None and (value in _VAGUE or not is_state):
        return None
    fact = reading.facts.text(found["subject"])
    if fact is None or fact.type is not FactType.TEXT or not text:
        return None
    no, is_ = ("!", "is not") if found["not"] else ("", "is")
    return Clause(
        fact,
        f"{no}{fact.name}.matches({pattern_for(text, whole=True)})",
        f'{fact.name} {is_} "{text}" (in capitals or not)',
    )
