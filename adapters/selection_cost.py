"""How much work a selector can be on a page of a given shape, estimated before it is run.

The engines cannot be interrupted, and both have shapes that hold them for minutes: lexbor was measured at 90 s for
`p:nth-child(3)` over 150,000 siblings, libxml2 at 28 s for `//p/following-sibling::p` over 5,000. A selector that could
take more than a few seconds is not run.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb

# Steps at which the measured engines take some seconds on a 2026 server core. lexbor holds up all threads of its process
# while it searches, libxml2 does not: half a second of the one, five of the other.
CSS_STEPS_MAX = 100_000_000
XPATH_STEPS_MAX = 20_000_000_000

_ENCLOSED = re.compile(r"\"[^\"]*\"|'[^']*'|\[[^\]]*\]")
_SIBLING_COUNTING = re.compile(r":(nth-|last-of|first-of|only-of|only-child)")
_FAR_STEP = re.compile(r"//|\b(?:descendant|ancestor)\b")
_SIDE_STEP = re.compile(r"\b(?:following|preceding)\b")


@dataclass(frozen=True, slots=True)
class PageShape:
    """How many elements stand at each depth, and how many parents have each number of children."""

    depths: Counter[int]
    families: Counter[int]

    @property
    def elements(self) -> int:
        """All elements."""
        return self.depths.total()


def page_shape(parents: Iterable[tuple[int, int]]) -> PageShape:
    """The shape of a tree given as (element, parent) identities, parents before their children."""
    depth: dict[int, int] = {}
    children: Counter[int] = Counter()
    for element, parent in parents:
        depth[element] = depth.get(parent, 0) + 1
        children[parent] += 1
    return PageShape(depths=Counter(depth.values()), families=Counter(children.values()))


def is_cheap_css(selector: str) -> bool:
    """Whether a selector is cheap on any page, so that nobody needs to know the page's shape."""
    return all(_far(part) <= 1 and _aside(part) == 0 for part in _parts(selector))


def css_steps(selector: str, shape: PageShape) -> int:
    """The most comparisons a backtracking engine makes: each descendant combinator tries every ancestor, each `~` and
    each counted position every sibling."""
    return sum(
        sum(count * comb(depth, _far(part)) for depth, count in shape.depths.items())
        + (_crowd(shape, 1 + _aside(part)) if _aside(part) else 0)
        for part in _parts(selector)
    )


def is_cheap_xpath(expression: str) -> bool:
    """Whether an XPath is cheap on any page: at most one step to any depth, and none aside."""
    written = re.sub(r"\"[^\"]*\"|'[^']*'", "", expression)
    return len(_FAR_STEP.findall(written)) <= 1 and not _SIDE_STEP.search(written)


def xpath_steps(expression: str, shape: PageShape) -> int:
    """The most comparisons of libxml2, which looks through the whole result for each node it adds."""
    written = re.sub(r"\"[^\"]*\"|'[^']*'", "", expression)
    far = max(0, len(_FAR_STEP.findall(written)) - 1)
    depth = max(shape.depths, default=0)
    deep = far * depth * shape.elements**2 if far else shape.elements
    aside = len(_SIDE_STEP.findall(written))
    return deep + (_crowd(shape, 2 + aside) if aside else 0)


def _parts(selector: str) -> list[str]:
    return [part.strip() for part in re.sub(r"\s*([>+~,])\s*", r"\1", _ENCLOSED.sub("", selector)).split(",")]


def _far(part: str) -> int:
    return len(part.split()) - 1 + part.count(":has(")


def _aside(part: str) -> int:
    return max(part.count("~"), 1 if _SIBLING_COUNTING.search(part) else 0)


def _crowd(shape: PageShape, power: int) -> int:
    return sum(count * size**power for size, count in shape.families.items())
