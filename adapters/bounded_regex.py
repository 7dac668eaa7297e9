"""Regular expressions whose time has a bound: RE2, which is linear in the text and in the size of the expression.

RE2 lets other threads run while it searches.
"""

from functools import lru_cache
from typing import Any

import re2

INSTRUCTIONS_MAX = 5_000
"""Counted repetitions multiply: `((a|b){1,30}){1,30}` has 3,664 instructions, `Price.{0,200}EUR` 1,812, most have fewer than 50."""
STEPS_MAX = 1_000_000_000
"""Instructions times characters. A step takes up to 7 ns on a 2026 server core."""
TEXT_CHARS_MAX = 1_000_000


@lru_cache(maxsize=512)
def compiled_regex(pattern: str) -> Any:  # noqa: ANN401  # the library ships no types
    """An RE2 expression. Raises `re2.error`, also for one of too many instructions."""
    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern, options)
    if compiled.programsize > INSTRUCTIONS_MAX:
        raise re2.error(f"it is too large: {compiled.programsize} steps for each character, {INSTRUCTIONS_MAX} at most")
    return compiled


def searchable(regex: Any, text: str) -> str:  # noqa: ANN401  # the library ships no types
    """The beginning of `text` that `regex` is looked for in."""
    return text[: min(TEXT_CHARS_MAX, STEPS_MAX // max(1, regex.programsize))]
