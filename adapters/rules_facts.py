"""The facts a prompt speaks of: found among those a person gave, or described so that they can be found by name."""

import re

import msgspec

from domain.errors import InvalidInput
from domain.fact import FactSpec, FactType, Select
from domain.source import FeedSource, Source

SUBJECT_WORDS_MAX = 6
ITEM_WORDS = (
    "items?|posts?|articles?|entry|entries|story|stories|releases?|versions?|episodes?|videos?|photos?|announcements?"
    "|papers?|jobs?|offers?|listings?|headlines?|titles?|advisory|advisories|issues?|events?|products?|messages?|comments?"
)
"""What people call the items of a feed."""
_PRONOUNS = frozenset({"it", "this", "that", "they", "these", "those"})
_PAGE_WORDS = frozenset(
    {"page", "site", "website", "webpage", "web page", "url", "content", "text", "document", "anything", "something"}
    | {"homepage", "web site", "link", "article text", "whole page", "page content", "content of page"}
)
_NUMBER_NOUNS = frozenset(
    {"price", "cost", "fee", "rent", "fare", "bid", "total", "balance", "temperature", "temp", "humidity", "pressure"}
    | {"wind", "speed", "level", "rate", "score", "rating", "count", "number", "amount", "stock", "value", "population"}
    | {"index", "yield", "volume", "revenue", "salary", "distance", "depth", "height", "weight", "age", "rank", "queue"}
    | {
        "magnitude",
        "precipitation",
        "rainfall",
        "stars",
        "downloads",
        "followers",
        "visitors",
        "cases",
        "points",
        "votes",
    }
)
_HEADS = ("price", "cost", "temperature", "title", "status", "state", "stock", "rate", "headline", "value")
_STRANGERS = frozenset(
    {
        "i",
        "you",
        "he",
        "she",
        "we",
        "someone",
        "somebody",
        "anyone",
        "nobody",
        "everyone",
        "there",
        "who",
        "what",
        "when",
    }
    | {
        "if",
        "because",
        "any",
        "all",
        "none",
        "nothing",
        "not",
        "never",
        "me",
        "and",
        "or",
        "but",
        "than",
        "while",
        "then",
    }
    | {
        "is",
        "are",
        "was",
        "has",
        "have",
        "does",
        "do",
        "below",
        "above",
        "under",
        "contains",
        "mentions",
        "says",
        "changes",
    }
    | {"drops", "falls", "rises", "exceeds", "between", "without", "until", "tomorrow", "tonight"}
    | {"whether", "disappears"}
)


class NoSuchFact(InvalidInput):
    """The prompt speaks of something that is not among the facts given."""


class FactFinder(msgspec.Struct, frozen=True):
    """Turns the words of a prompt into facts.

    `given` are the facts a person wrote themselves (None: none were): then only those can be meant, and `NoSuchFact`
    is raised for others.
    """

    sources: tuple[Source, ...]
    given: tuple[FactSpec, ...] | None

    @property
    def watches_feed(self) -> bool:
        """Whether every source is a feed, so that items have titles."""
        return bool(self.sources) and all(isinstance(source, FeedSource) for source in self.sources)

    def titles(self) -> FactSpec | None:
        """The titles of the feed's items, None where there is no feed."""
        if self.given is None and not self.watches_feed:
            return None
        about = "the titles of the feed's items"
        return self._found(
            "titles", FactSpec(name="titles", type=FactType.LIST, description=about, select=Select(feed="title"))
        )

    def page(self) -> FactSpec:
        """The whole text of the source (of a feed, the titles of its items)."""
        titles = self.titles() if self.watches_feed else None
        about = "the whole text of the page"
        return titles or self._found("page", FactSpec(name="page", type=FactType.TEXT, description=about))

    def number(self, words: str, unit: str | None = None) -> FactSpec | None:
        """The number that `words` name, None when they name nothing a source could hold."""
        return self._named(words, FactType.NUMBER, unit)

    def text(self, words: str) -> FactSpec | None:
        """The text that `words` name; the words for a page name its whole text."""
        if self.watches_feed and re.fullmatch(ITEM_WORDS, _bare(words)):
            words = "feed"
        return self.page() if is_page(words) else self._named(words, FactType.TEXT, None)

    def boolean(self, words: str) -> FactSpec | None:
        """The yes-or-no value that `words` name."""
        return self._named(words, FactType.BOOLEAN, None)

    def anything(self, words: str) -> FactSpec | None:
        """What `words` name: a given fact, a number for the usual names of numbers, else a text."""
        label = _label(words)
        known = self._given(label or "page", frozenset(FactType))
        is_number = label is not None and not is_page(words) and label.split()[-1] in _NUMBER_NOUNS
        return known or (self.number(words) if is_number else self.text(words))

    def only_boolean(self) -> FactSpec | None:
        """The one yes-or-no value among the facts given."""
        booleans = [fact for fact in self.given or () if fact.type is FactType.BOOLEAN]
        return booleans[0] if len(booleans) == 1 else None

    def _named(self, words: str, kind: FactType, unit: str | None) -> FactSpec | None:
        label = _label(words)
        if label is None:
            return None
        about = None if label == _bare(words) else _bare(words)
        name = identifier(label)
        return self._found(
            label, FactSpec(name=name, type=kind, unit=unit, description=about, select=Select(named=label))
        )

    def _found(self, label: str, described: FactSpec) -> FactSpec:
        if self.given is None:
            return described
        kinds = {described.type, FactType.LIST} if described.type is FactType.TEXT else {described.type}
        found = self._given(label, frozenset(kinds))
        if found is None:
            names = ", ".join(f"{fact.name} ({fact.type})" for fact in self.given) or "none"
            raise NoSuchFact(
                f"the prompt speaks of {label!r} ({described.type}); the facts given are: {names}", field="facts"
            )
        return found

    def _given(self, label: str, kinds: frozenset[FactType]) -> FactSpec | None:
        """The given fact of that name, else the only one if its type fits."""
        given = self.given or ()
        named = [fact for fact in given if fact.name.lower() == identifier(label)]
        return next((fact for fact in (named or given if named or len(given) == 1 else ()) if fact.type in kinds), None)


def is_page(words: str) -> bool:
    """Whether the words mean the source as a whole."""
    return _bare(words) in _PAGE_WORDS | _PRONOUNS | {"feed", "rss feed"} | {""}


def is_name(words: str) -> bool:
    """Whether the words can be the name of something: not half a sentence."""
    return is_page(words) or _label(words) is not None


def is_demonstrative(words: str) -> bool:
    """Whether the words point at the thing that the source shows: "it", "this monitor", "the product"."""
    return (
        re.fullmatch(r"(?:it|this|that|(?:this|that|the (?:item|product|article|thing)).*)", words.strip().lower())
        is not None
    )


def identifier(words: str) -> str:
    """A name for the condition: "Temp max" -> temp_max, "5-day average" -> n5_day_average."""
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return f"n{name}" if name[:1].isdigit() else name or "value"


def _bare(words: str) -> str:
    """Without articles and possessives, in small letters: "The price" -> price."""
    text = re.sub(r"\b(?:the|an?|this|that|these|those|its|their|my|our|current|any)\b ?", "", words.strip().lower())
    return re.sub(r"\s+", " ", text).strip(" ,'")


def _label(words: str) -> str | None:
    """The name a source would use: "the price of the RTX 5090" -> price. None for what is no name."""
    text = _bare(words)
    head = re.match(rf"({'|'.join(_HEADS)}) (?:of|for|on) \S", text)
    if head is not None:
        return head[1]
    parts = text.split()
    is_plain = re.fullmatch(r"[^\W_][\w .%/&'-]*", text) and re.search(r"[a-z]", text)
    return text if is_plain and len(parts) <= SUBJECT_WORDS_MAX and not _STRANGERS & set(parts) else None
