"""Names: what people call their monitors, triggers, actions and signal sources, and themselves."""

import re
from collections.abc import Iterator

from domain.errors import InvalidInput

NAME_CHARS_MAX = 120
NUMBERS_MAX = 1_000
"""How many higher numbers a name may get: as many as may be imported at once."""
_NUMBERED = re.compile(r"(.+) \(([2-9]|[1-9][0-9]{1,2})\)", re.DOTALL)


def check_name(name: str, *, chars_max: int = NAME_CHARS_MAX) -> None:
    """Refuse a name that cannot be shown in one line, with `InvalidInput`."""
    if not 1 <= len(name.strip()) <= chars_max or not name.isprintable():
        raise InvalidInput(f"a name is 1 to {chars_max} printable characters", field="name")


def numbered(name: str) -> Iterator[str]:
    """The name, and what it may be called where that is taken: `Kettle`, `Kettle (2)`, `Kettle (3)`, after the number it
    has; one of more than three digits is none, but a year. A name that would be too long is cut before its number."""
    yield name
    found = _NUMBERED.fullmatch(name)
    base, number = (name, 1) if found is None else (found[1], int(found[2]))
    for above in range(number + 1, number + 1 + NUMBERS_MAX):
        told = f" ({above})"
        yield base[: NAME_CHARS_MAX - len(told)] + told
