"""JSONPath (RFC 9535) whose time has a bound: its regular expressions cannot backtrack, and its steps are counted.

A query of a few characters can be more work than anybody has: `$[?count($..*)>0]` looks at everything once for each element,
`$[0,0][0,0][0,0]` doubles with each pair.
"""

import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import re2
from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery
from jsonpath_rfc9535.filter_expressions import ComparisonExpression, Expression, FilterContext
from jsonpath_rfc9535.function_extensions import ExpressionType, FilterFunction
from jsonpath_rfc9535.node import JSONPathNode, JSONPathNodeList
from jsonpath_rfc9535.parse import Parser
from jsonpath_rfc9535.segments import JSONPathChildSegment, JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath_rfc9535.selectors import IndexSelector, NameSelector
from jsonpath_rfc9535.tokens import TokenStream

from adapters.bounded_regex import compiled_regex, searchable

PATTERN_CHARS_MAX = 1_000
_CHARS_OF_A_STEP = 64
"""Of a text that a regular expression is looked for in, or that is compared."""
_VALUES_OF_A_STEP = 8
"""Of values that are compared with each other."""


class _StepsLeft(threading.local):
    """How many more steps the query that this thread is at may take: nodes that are looked at."""

    steps = 0

    def take(self, steps: int) -> None:
        """Raise `JSONPathError` when it takes too many."""
        self.steps -= steps
        if self.steps < 0:
            raise JSONPathError("this takes too many steps", token=None)


_LEFT = _StepsLeft()


def jsonpath_values(query: str, value: Any, *, steps_max: int) -> Iterator[object]:  # noqa: ANN401  # any JSON value
    """What `query` finds in a JSON value, in its order. Raises `JSONPathError`, also after `steps_max` nodes were looked at."""
    _LEFT.steps = steps_max
    for node in compiled_jsonpath(query).finditer(value):
        yield node.value


@lru_cache(maxsize=512)
def compiled_jsonpath(query: str) -> JSONPathQuery:
    """A query to be checked or run. Raises `JSONPathError`."""
    return _JSONPATH.compile(query)


class _Re2Filter(FilterFunction):
    """JSONPath's `match` (whole string) and `search` (anywhere) in linear time (RFC 9535, sections 2.4.6 and 2.4.7)."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    @property
    def arg_types(self) -> list[ExpressionType]:
        return [ExpressionType.VALUE, ExpressionType.VALUE]

    @property
    def return_type(self) -> ExpressionType:
        return ExpressionType.LOGICAL

    def __call__(self, text: object, pattern: object) -> bool:
        if not isinstance(text, str) or not isinstance(pattern, str) or len(pattern) > PATTERN_CHARS_MAX:
            return False
        try:
            compiled = compiled_regex(pattern)
        except re2.error:
            return False
        _LEFT.take(len(text) // _CHARS_OF_A_STEP)
        look = compiled.fullmatch if self._whole else compiled.search
        return look(searchable(compiled, text)) is not None


def _steps(segment: JSONPathSegment, node: JSONPathNode) -> int:
    """How many nodes a segment looks at that is applied to `node`: one for a name or an index, else all children."""
    wide = sum(not isinstance(selector, NameSelector | IndexSelector) for selector in segment.selectors)
    children = len(node.value) if isinstance(node.value, dict | list) else 0
    return len(segment.selectors) + wide * children


class _ChildSegment(JSONPathChildSegment):
    def resolve(self, nodes: Iterable[JSONPathNode]) -> Iterator[JSONPathNode]:
        for node in nodes:
            _LEFT.take(_steps(self, node))
            yield from super().resolve([node])


class _DescentSegment(JSONPathRecursiveDescentSegment):
    def _visit(self, node: JSONPathNode, depth: int = 1) -> Iterable[JSONPathNode]:
        children = len(node.value) if isinstance(node.value, dict | list) else 0
        _LEFT.take(_steps(self, node) + children)
        return super()._visit(node, depth)


class _Compared(Expression):
    """One side of a comparison, which Python makes in one go however much there is to compare."""

    def __init__(self, side: Expression) -> None:
        super().__init__(side.token)
        self._side = side

    def __str__(self) -> str:
        return str(self._side)

    def evaluate(self, context: FilterContext) -> object:
        found = self._side.evaluate(context)
        value = found[0].value if isinstance(found, JSONPathNodeList) and len(found) == 1 else found
        _LEFT.take(_size(value) // _VALUES_OF_A_STEP)
        return found


def _size(value: object) -> int:
    """How many values are in it, a long text counted as several."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        size += 1 + (len(one) // _CHARS_OF_A_STEP if isinstance(one, str) else 0)
        if isinstance(one, dict | list):
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return size


class _CountingParser(Parser):
    def parse_infix_expression(self, stream: TokenStream, left: Expression) -> Expression:
        made = super().parse_infix_expression(stream, left)
        if isinstance(made, ComparisonExpression):
            made.left, made.right = _Compared(made.left), _Compared(made.right)
        return made

    def parse_query(self, stream: TokenStream, *, in_filter: bool = False) -> Iterator[JSONPathSegment]:
        for segment in super().parse_query(stream, in_filter=in_filter):
            counting = _DescentSegment if isinstance(segment, JSONPathRecursiveDescentSegment) else _ChildSegment
            yield counting(env=self.env, token=segment.token, selectors=segment.selectors)


class _BoundedJsonPath(JSONPathEnvironment):
    parser_class = _CountingParser

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["match"] = _Re2Filter(whole=True)
        self.function_extensions["search"] = _Re2Filter(whole=False)


_JSONPATH = _BoundedJsonPath()
