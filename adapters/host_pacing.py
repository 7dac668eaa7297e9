"""How fast one host may be asked by all evaluators together, and what hosts say about that themselves."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from yarl import URL

from adapters.network_guard import NetworkGuard
from adapters.redis_pacing import Pacing
from adapters.request_headers import HARMLESS
from commands.postponed import Postponed

WAITED_SECONDS_MAX = 1.0
"""A request that may go within this time waits where it is; any other gives its place to somebody else."""
JITTER_SECONDS_MAX = 0.1
RETRY_AFTER_SECONDS_MAX = 3_600
"""A host that asks for more is asked once an hour. Whoever can make it answer as they like holds it up for everybody no longer."""
TOO_OFTEN_SECONDS = 60.0
"""How long a host is left alone that says 429 without saying for how long."""


class HostPacing:
    """Admits requests to hosts. `per_second` requests go to one host in the long run, twice as many at once after a rest.

    Hosts written as an address in an allowed network are the operator's own: their rate is not limited, and each process
    keeps by itself to what they ask for.
    """

    def __init__(self, pacing: Pacing, guard: NetworkGuard, *, per_second: float, now: Callable[[], datetime]) -> None:
        self._pacing = pacing
        self._guard = guard
        self._per_second = per_second
        self._burst = max(1, round(2 * per_second))
        self._now = now

    async def admit(self, url: URL, own_headers: Mapping[str, str]) -> None:
        """Wait for the turn of a request with these headers of the person's own. Raises `Postponed` when that is later
        than `WAITED_SECONDS_MAX`."""
        host, credential = _key(url), _credential(own_headers)
        if self._guard.is_own_literal(url):
            wait = max(self._pacing.held_here(host + credential), self._pacing.held_here(host))
        else:
            wait = 0.0
            for key in dict.fromkeys((host + credential, host)):
                if wait <= WAITED_SECONDS_MAX:
                    wait = max(wait, await self._turn(key))
        if wait > WAITED_SECONDS_MAX:
            raise Postponed(self._now() + timedelta(seconds=wait + random.uniform(0, JITTER_SECONDS_MAX)))  # noqa: S311  no secret
        if wait > 0:
            await asyncio.sleep(wait + random.uniform(0, JITTER_SECONDS_MAX))  # noqa: S311  no secret

    async def heard(self, url: URL, own_headers: Mapping[str, str], status: int, retry_after: str | None) -> None:
        """Leave the host alone for as long as an answer of this status asks for (RFC 9110, section 10.2.3; RFC 6585,
        section 4): those with the same credential, where there is one, since its quota is what was used up."""
        seconds = retry_after_seconds(retry_after, now=self._now()) if status in {429, 503} else None
        if seconds is None and status == 429:
            seconds = TOO_OFTEN_SECONDS
        if seconds:
            await self._pacing.hold(_key(url) + _credential(own_headers), seconds)

    async def _turn(self, key: str) -> float:
        return await self._pacing.take_or_queue(
            key, per_second=self._per_second, burst=self._burst, patience=WAITED_SECONDS_MAX
        )


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """The seconds or the date of a Retry-After from `now` on, at most a day; None when it says neither.

    RFC 9110, sections 10.2.3 and 5.6.7, whose dates are always in GMT.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), RETRY_AFTER_SECONDS_MAX))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _key(url: URL) -> str:
    return f"fetch:{(url.raw_host or '').rstrip('.')}"


def _credential(own_headers: Mapping[str, str]) -> str:
    """What tells apart those who ask the same host with headers of their own, without being one of these."""
    secret = sorted((name.lower(), value) for name, value in own_headers.items() if name.lower() not in HARMLESS)
    return "" if not secret else "#" + hashlib.sha256(repr(secret).encode()).hexdigest()[:32]
