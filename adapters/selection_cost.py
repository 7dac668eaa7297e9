"""How much work a selector can be on a page of a given shape, estimated before it is run.

The engines cannot be interrupted, and have shapes that hold them for minutes: lexbor was measured at 90 s for `p:nth-child(3)`
over 150,000 siblings, libxml2 at more for `//*[//*[//*]]` over 900. A selector that could take longer than the numbers below
say is not run. An estimate is never below what an engine does, as far as hostile selectors could find out, and may be above.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import NamedTuple

# lexbor holds up all threads of its process while it searches. A step was measured at 2 to 7 ns on a 2026 server core (looking
# at one sibling 2.3 to 6.6, testing one simple selector is three steps and 7 to 20), so that all others wait for 0.2 s, or hardly
# more. That is enough for `tr:nth-child(2) td` on a table of 5,000 rows and 2 columns, not of 3.
CSS_STEPS_MAX = 40_000_000
# libxml2 holds up nobody, but the thread it runs in: some seconds. Of small pages, which are read at once by the thread that
# everything else runs in, 0.3 s.
XPATH_STEPS_MAX = 20_000_000_000
XPATH_STEPS_MAX_IN_SMALL = 1_000_000_000
SMALL_ELEMENTS_MAX = 3_000

_STEPS_OF_A_TEST = 3
_CHEAP_TESTS_MAX = 10
"""Simple selectors that a page of 1,300,000 elements (300,000 tags, 1,000,000 reopened) affords."""
_STEPS_OF_A_VISIT = 40
"""A node that a predicate visits takes 10 to 20 ns, the steps of 5 s a quarter of one."""

_CSS_STRING = r"\"[^\"]*\"|'[^']*'|/\*.*?(?:\*/|\Z)"
_OPAQUE = re.compile(rf"{_CSS_STRING}|\[(?:{_CSS_STRING}|[^\]\"'])*\]?", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_SUBSTRING_TEST = re.compile(r"\*\s*=")
_SIMPLE = re.compile(r"[\w*][\w-]*|[.#:]+[\w-]*|\[")
_COUNTING = re.compile(r":(?:nth-|last-of|first-of|only-of|only-child)")
_COUNTED_FROM_THE_END = re.compile(r":(?:nth-last-|last-of|only-)|:has\(")
_OF_A_KIND = re.compile(r"\sof\s")

_XPATH_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_FAR_STEP = re.compile(r"//|\b(?:descendant|ancestor)\b")
_SIDE_STEP = re.compile(r"\b(?:following|preceding)\b")
_PARENT = re.compile(r"\.\.|\bparent\b")
_FROM_THE_ROOT = re.compile(r"(?:^|[\[(,=<>+*|!-]|\b(?:and|or|div|mod))\s*/|\bid\s*\(")
_COPIES_TEXT = re.compile(r"\b(?:concat|translate)\s*\(")


class Place(NamedTuple):
    """Where an element stands: its depth, how many siblings stand before and after it, and the same summed up over itself and
    all its ancestors."""

    depth: int
    before: int
    after: int
    before_path: int
    after_path: int


_TOP = Place(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class PageShape:
    """Where each element of a page of so many characters stands."""

    places: list[Place]
    chars: int = 0

    @cached_property
    def depth(self) -> int:
        """Of the deepest element."""
        return max((place.depth for place in self.places), default=0)

    @cached_property
    def family(self) -> int:
        """The most siblings that stand together."""
        return 1 + max((place.before + place.after for place in self.places), default=0)


def page_shape(parents: Iterable[tuple[int, int]], chars: int = 0) -> PageShape:
    """The shape of a tree given as (element, parent) identities, parents before their children."""
    pairs = list(parents)
    order: dict[int, int] = {}
    families: dict[int, int] = {}
    for element, parent in pairs:
        order[element] = families.get(parent, 0)
        families[parent] = order[element] + 1
    places: dict[int, Place] = {}
    for element, parent in pairs:
        above = places.get(parent, _TOP)
        before = order[element]
        after = families[parent] - before - 1
        places[element] = Place(above.depth + 1, before, after, above.before_path + before, above.after_path + after)
    return PageShape(list(places.values()), chars)


def is_cheap_css(selector: str) -> bool:
    """Whether a selector is cheap on any page, so that nobody needs to know the page's shape."""
    plain = _plain(selector)
    simple = not any(_far(part) or _asides(part) for part in _parts(plain))
    return simple and _tests(plain) <= _CHEAP_TESTS_MAX and not _SUBSTRING_TEST.search(selector)


def css_steps(selector: str, shape: PageShape) -> int:
    """The most comparisons a backtracking engine makes: each descendant combinator tries every ancestor, each `~` and
    each counted position every sibling, of the element and of each ancestor that is tried."""
    searched = len(_SUBSTRING_TEST.findall(selector)) * shape.chars * len(selector) // 16
    return searched + sum(_part_steps(part, shape) for part in _parts(_plain(selector)))


def is_cheap_xpath(expression: str) -> bool:
    """Whether an XPath is cheap on any page: at most one step to any depth, none aside, and none out of a predicate."""
    written = _XPATH_STRING.sub("''", expression)
    leaving = any(_reaches(level) for level in _predicates(written))
    far, aside = len(_FAR_STEP.findall(written)), _SIDE_STEP.search(written)
    return far <= 1 and not aside and not leaving and not _COPIES_TEXT.search(written)


def xpath_steps(expression: str, shape: PageShape) -> int:
    """The most comparisons of libxml2, which looks through the whole result for each node it adds, and evaluates a
    predicate anew for each node."""
    written = _XPATH_STRING.sub("''", expression)
    elements = len(shape.places)
    far = max(0, len(_FAR_STEP.findall(written)) - 1)
    deep = far * shape.depth * elements**2 if far else elements
    aside = len(_SIDE_STEP.findall(written))
    crowded = sum((place.before + place.after) ** (1 + aside) for place in shape.places) if aside else 0
    rounds = 1
    for level in _predicates(written):
        if _reaches(level):
            near = len(_PARENT.findall(level)) == 1 and level.count("/") <= 1 and not _leaves_its_family(level)
            rounds *= shape.family if near else elements + shape.chars // 50
    visits = _STEPS_OF_A_VISIT * elements * rounds if rounds > 1 else 0
    copied = 20 * shape.chars * len(expression) * rounds if _COPIES_TEXT.search(written) else 0
    return deep + crowded + visits + copied


def xpath_steps_max(shape: PageShape) -> int:
    """How many steps a page of this shape affords."""
    return XPATH_STEPS_MAX_IN_SMALL if len(shape.places) <= SMALL_ELEMENTS_MAX else XPATH_STEPS_MAX


def _plain(selector: str) -> str:
    """The selector as the engine understands it, without what stands in strings, attributes and comments: escapes are
    letters, and capitals are small ones."""
    unescaped = _ESCAPE.sub(lambda found: _unescaped(found[1], found[2]), selector)
    enclosed = _OPAQUE.sub(lambda found: "" if found[0].startswith("/*") else "[", unescaped)
    return re.sub(r"\s*([>+~,])\s*|(?<=\()\s+|\s+(?=\))", r"\1", enclosed.casefold()).strip()


def _unescaped(code: str | None, char: str | None) -> str:
    meant = chr(int(code, 16)) if code is not None and int(code, 16) < 128 else char or "_"
    return meant if meant.isalnum() or meant == "-" else "_"


def _parts(plain: str) -> Iterator[str]:
    """What stands between the commas that are in no brackets."""
    depth = start = 0
    for i, char in enumerate(plain):
        depth += (char == "(") - (char == ")")
        if char == "," and depth <= 0:
            yield plain[start:i]
            start = i + 1
    yield plain[start:]


def _part_steps(part: str, shape: PageShape) -> int:
    far, asides, tests = _far(part), _asides(part), _tests(part) * _STEPS_OF_A_TEST
    down = far if ":has(" in part else max(0, far - 1)
    only_counts = "~" not in part and not _OF_A_KIND.search(part)
    each = len(_COUNTING.findall(part)) if only_counts else tests
    both = _COUNTED_FROM_THE_END.search(part) is not None
    steps = 0
    for place in shape.places:
        steps += tests * comb(place.depth, far)
        if asides:
            beside = place.before_path if far or ">" in part else place.before
            if both:
                beside += place.after_path if far or ">" in part else place.after
            steps += each * place.depth**down * beside**asides
    return steps


def _tests(plain: str) -> int:
    return len(_SIMPLE.findall(plain))


def _far(part: str) -> int:
    return len(part.split()) - 1 + part.count(":has(")


def _asides(part: str) -> int:
    counted = len(_COUNTING.findall(part))
    nested = counted if _OF_A_KIND.search(part) else min(counted, 1)
    return part.count("~") + nested


def _predicates(written: str) -> list[str]:
    """What stands in predicates, by how deep they lie in each other."""
    levels: dict[int, list[str]] = {}
    depth = 0
    for char in written:
        if char == "[":
            depth += 1
            levels.setdefault(depth, []).append("[")
        elif char == "]":
            depth -= 1
        elif depth > 0:
            levels[depth].append(char)
    return ["".join(level) for level in levels.values()]


def _reaches(predicate: str) -> bool:
    """Whether it leaves what lies inside the element."""
    return _PARENT.search(predicate) is not None or _leaves_its_family(predicate)


def _leaves_its_family(predicate: str) -> bool:
    return any(mark.search(predicate) for mark in (_FAR_STEP, _SIDE_STEP, _FROM_THE_ROOT))
