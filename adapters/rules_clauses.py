"""What the clauses of a prompt have in common: "the price drops below 200 EUR" as facts and a condition.

Each kind of clause is a pattern and a function which builds the condition, or says None: not mine after all.
"""

import re
from collections.abc import Callable

import msgspec

from adapters.rules_facts import FactFinder, NoSuchFact, is_demonstrative, is_page
from adapters.rules_quantities import LENGTH, Quantity
from adapters.rules_wish import Wish
from domain.fact import FactSpec
from domain.plan import Fires

SUBJECT = r"(?P<subject>.{1,80}?)"
DOWN = (
    r"(?:(?:drop|fall|decrease|decline|sink|dip|slip|shrink|plunge|tumble)(?:s|ped|es)?|(?:has |have )?(?:fallen|dropped)"
    r"|(?:goes|go|comes|come) down)"
)
UP = r"(?:(?:rise|increase|climb|grow|jump|gain|surge|soar)s?|(?:has |have )?(?:risen|increased)|(?:goes|go) up)"
BE = r"(?:is|are|was|gets?|becomes?|goes?|stays?|reads?|shows?|stands?|has|have|comes?|moves?|turns?)"
WINDOW = rf"(?:with)?(?:in|over|during|for|of|since) (?P<window>{LENGTH})"


class Clause(msgspec.Struct, frozen=True):
    """A clause understood: the fact it is about, the condition, the same in words, and notes on what was read into it.

    `is_compound` says that the condition has && or || at its top and wants brackets beside another; `subject` are the
    words that a following clause may leave out.
    """

    fact: FactSpec
    condition: str
    words: str
    fires: Fires | None = None
    notes: tuple[str, ...] = ()
    is_compound: bool = False
    subject: str | None = None


class Reading(msgspec.Struct, frozen=True):
    """What building a clause needs: the fact finder, and the wish for its quotes."""

    facts: FactFinder
    wish: Wish


Found = re.Match[str]
Build = Callable[[Reading, Found], Clause | None]


class ClauseKinds(msgspec.Struct):
    """A family of clauses; the first that fits is meant."""

    kinds: list[tuple[re.Pattern[str], Build]] = []

    def written(self, *patterns: str) -> Callable[[Build], Build]:
        """Add a kind of clause, written in one of these ways."""

        def add(build: Build) -> Build:
            self.kinds.extend((re.compile(pattern, re.IGNORECASE), build) for pattern in patterns)
            return build

        return add

    def read(self, reading: Reading, text: str) -> Clause | None:
        """The clause that `text` is, None when no kind fits. Raises `NoSuchFact` when one would, were its fact given."""
        missing: NoSuchFact | None = None
        for pattern, build in self.kinds:
            found = pattern.fullmatch(text)
            try:
                clause = build(reading, found) if found else None
            except NoSuchFact as error:
                missing = missing or error
                continue
            if clause is not None and found is not None:
                return msgspec.structs.replace(clause, subject=found.groupdict().get("subject"))
        if missing is not None:
            raise missing
        return None


def pattern_for(text: str, *, whole: bool = False) -> str:
    """A CEL text with an RE2 pattern that finds `text` (or is it, as a `whole`) whatever its capitals and line breaks."""
    words = (re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", word) for word in text.split())
    pattern = r"\s+".join(words)
    return cel_text(rf"(?i)^\s*{pattern}\s*$" if whole else f"(?i){pattern}")


def cel_text(text: str) -> str:
    """A text as a literal of CEL; raw where that reads better."""
    if "\\" in text and '"' not in text:
        return f'r"{text}"'
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def text_of(reading: Reading, words: str) -> str | None:
    """What a text clause looks for: a quoted text, or up to six bare words without "and" and "or"."""
    bare = re.sub(r"^(?:the )?(?:words?|text|phrase) ", "", words.strip())
    quoted = reading.wish.unquote(bare)
    if quoted is not None:
        return quoted or None
    is_plain = re.fullmatch(r"[\w&+#./:'-]+(?: [\w&+#./:'-]+){0,5}", bare)
    return bare if is_plain and not re.search(rf"\b(?:and|or|when|if|within|more|less|{LENGTH})\b", bare) else None


def measured(reading: Reading, words: str, quantity: Quantity) -> FactSpec | None:
    """The number that `words` name. What is pointed at ("it", "this monitor") and measured in money is meant by its price."""
    if quantity.is_money and is_demonstrative(words):
        return reading.facts.number("price" if is_page(words) else f"price of {words}", quantity.unit)
    return None if is_page(words) else reading.facts.number(words, quantity.unit)
