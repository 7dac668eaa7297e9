"""What can be imported, as entries: lists of addresses, and Vigil's own export. Every entry passes the checks of a body that
creates a monitor."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from commands.http.body import body_errors
from commands.monitor_copies import Entry
from commands.monitors_http import MonitorBody, wish_of
from domain.errors import InvalidInput
from domain.name import NAME_CHARS_MAX

ADDRESS_IN_PROMPT_CHARS_MAX = 1_000
WHOLE_TEXT = {"name": "content", "type": "text", "description": "the whole text of the page"}

Body = dict[str, Any]
"""A body that creates a monitor, as JSON has it."""


class MonitorEntry(MonitorBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A monitor in an export: what creates it, and whether it is paused."""

    paused: bool = False


def entries_of_lines(lines: Iterable[str], defaults: Body) -> Iterator[Entry]:
    """Each address of a list as a monitor of the whole text behind it. Empty lines and those that begin with # are passed
    over; what follows an address in its line is told as not taken over; an address that stood before is refused."""
    seen: dict[str, int] = {}
    for i, line in enumerate(lines):
        url, _, rest = line.strip().partition(" ")
        if not url or url.startswith("#"):
            continue
        place = f"urls[{i}]"
        if url in seen:
            yield Entry(place=place, refusals=(InvalidInput(f"the same address as urls[{seen[url]}]", field="url"),))
            continue
        seen[url] = i
        warnings = [f"{rest.strip()[:200]!r} behind the address is not taken over"] if rest.strip() else []
        yield entry_of(place, {**defaults, **watching(url)}, warnings)


def entries_of_export(monitors: Sequence[Body], defaults: Body) -> Iterator[Entry]:
    """The monitors of an export of Vigil's own."""
    for i, body in enumerate(monitors):
        yield entry_of(f"monitors[{i}]", {**defaults, **body})


def watching(url: str, facts: Sequence[Mapping[str, Any]] = (WHOLE_TEXT,)) -> Body:
    """The body of a monitor that tells of every change of these facts behind an address."""
    return {
        "prompt": f"Tell me when {url[:ADDRESS_IN_PROMPT_CHARS_MAX]} changes",
        "name": name_of(url.partition("://")[2]),
        "sources": [{"type": "http", "url": url}],
        "facts": list(facts),
        "condition": " || ".join(f"changed({fact['name']})" for fact in facts),
    }


def name_of(text: str | None) -> str | None:
    """A text as the name of a monitor; None when nothing of it can be shown."""
    beginning = (text or "").lstrip()[: 4 * NAME_CHARS_MAX]  # it may be megabytes
    return "".join(char for char in beginning if char.isprintable()).strip()[:NAME_CHARS_MAX].strip() or None


def entry_of(place: str, body: Body, warnings: Sequence[str] = ()) -> Entry:
    """The entry of a body, refused with everything that is wrong in its form."""
    if errors := body_errors(body, MonitorEntry):
        refusals = tuple(InvalidInput(error.message, field=error.field) for error in errors)
        return Entry(place=place, refusals=refusals, warnings=tuple(warnings))
    data = msgspec.convert(body, MonitorEntry)
    try:
        wish = wish_of(data)
    except InvalidInput as wrong:
        return Entry(place=place, refusals=(wrong,), warnings=tuple(warnings))
    return Entry(place=place, wish=wish, paused=data.paused, warnings=tuple(warnings))
