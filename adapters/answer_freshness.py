"""How long a server says its answer stays as it is (RFC 9111)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

FRESH_SECONDS_MAX = 3600
"""Whatever a server says, after an hour it is asked: a year's `max-age` is meant for files that change their name."""
HEADER_CHARS_MAX = 1024

_DIRECTIVE = re.compile(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:=("[^"]*"|[^",\s]*))?')
_ASK_AGAIN = frozenset({"no-store", "no-cache"})
_KEPT = frozenset(
    {
        *("age", "cache-control", "content-language", "content-type", "date", "etag", "expires", "last-modified"),
        *("link", "retry-after", "server", "vary"),
    }
)


def fresh_until(headers: Mapping[str, str], *, now: datetime) -> datetime | None:
    """Until when an answer that came at `now` need not be asked for again, at most an hour from now; None: ask.

    As a private cache reads it (sections 4.2 and 5.2.2): `s-maxage` is for others, and where nothing is said explicitly
    nothing is guessed. What the answer lived through on its way (`Age`) is gone already.
    """
    directives = _directives(headers.get("Cache-Control", ""))
    if directives.keys() & _ASK_AGAIN or headers.get("Vary", "").strip() == "*":
        return None
    lifetime = _seconds(directives.get("max-age"))
    if "max-age" not in directives:
        lifetime = _until_expiry(headers)
    seconds = min(lifetime - _seconds(headers.get("Age")), FRESH_SECONDS_MAX)
    return now + timedelta(seconds=seconds) if seconds > 0 else None


def worth_keeping(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are kept beside a content, by their name in lower case: what it is and when it was made, and nothing
    that says something about the one who asked, as cookies do."""
    kept = {name.lower(): value for name, value in headers.items() if name.lower() in _KEPT}
    return {name: value for name, value in sorted(kept.items()) if len(value) <= HEADER_CHARS_MAX and "\0" not in value}


def _directives(value: str) -> dict[str, str]:
    """The first of each name wins, whatever follows it."""
    found: dict[str, str] = {}
    for name, argument in _DIRECTIVE.findall(value[:HEADER_CHARS_MAX]):
        found.setdefault(name.lower(), argument.strip('"'))
    return found


def _seconds(text: str | None) -> int:
    """A number of seconds (section 1.2.2); what is none counts as none."""
    text = (text or "").strip()
    return int(text[:12]) if text.isascii() and text.isdigit() else 0


def _until_expiry(headers: Mapping[str, str]) -> int:
    """What `Expires` gives, on the server's own clock (section 5.3). Without a `Date` there is nothing to compare with."""
    moments = []
    for name in ("Expires", "Date"):
        try:
            moment = parsedate_to_datetime(headers.get(name, ""))
        except (ValueError, OverflowError):
            return 0
        moments.append(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    return int((moments[0] - moments[1]).total_seconds())
