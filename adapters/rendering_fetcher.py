"""A fetcher that lets a browser show the pages of sources that ask for it."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from adapters.challenge_pages import asks_for_a_human
from adapters.page_parts import PageParts, PartFetcher
from adapters.playwright_browser import INSTALL, CannotShow
from commands.postponed import Postponed
from domain.evidence import Document, FetchOutcome, Validators
from domain.source import HttpSource, WebSource

AT_ONCE = 2
WAITED_SECONDS_MAX = 5.0
LATER = timedelta(seconds=10)
SHOWN_BYTES_MAX = 5 * 1024 * 1024
_MARKUP = frozenset({"text/html", "application/xhtml+xml", ""})


class ClosableFetcher(Protocol):
    """What answers first."""

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """One answer of a source."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Showing(Protocol):
    """Shows pages."""

    async def show(self, url: str, parts: PageParts) -> str:
        """The document after its scripts ran; raises `CannotShow`."""
        ...

    async def close(self) -> None:
        """End."""
        ...


class ClosableParts(PartFetcher, Protocol):
    """Reads what pages load."""

    async def close(self) -> None:
        """Let go of connections."""
        ...


class RenderingFetcher:
    """Passes on what another fetcher answers; a source with `render` is read as its page is after its scripts ran.

    The page itself is read by that fetcher, like any: with its pace, its refusals and its redirects. `parts` reads what the
    page loads, `own_parts` what a page loads that `is_own` says is the operator's own: its scripts may read that network, those
    of a page elsewhere, which could carry what they read away, may not. Without a `browser` such a source is refused. Two
    pages are shown at a time.
    """

    def __init__(
        self,
        fetcher: ClosableFetcher,
        *,
        parts: ClosableParts,
        own_parts: ClosableParts | None = None,
        is_own: Callable[[str], bool] = lambda _url: False,
        browser: Showing | None,
        now: Callable[[], datetime],
        waited_seconds_max: float = WAITED_SECONDS_MAX,
    ) -> None:
        self._fetcher = fetcher
        self._parts = parts
        self._own_parts = own_parts or parts
        self._is_own = is_own
        self._browser = browser
        self._now = now
        self._waited_seconds_max = waited_seconds_max
        self._places = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """What the source answers. That a page did not change says nothing of what its scripts load: it is read anew each
        time. Raises `Postponed` while other pages are shown."""
        if not isinstance(source, HttpSource) or not source.render:
            return await self._fetcher.fetch(source, known)
        if self._browser is None:
            return Document(url=source.url, outcome=FetchOutcome.REFUSED, message=INSTALL, fetched_at=self._now())
        try:
            await asyncio.wait_for(self._places.acquire(), self._waited_seconds_max)
        except TimeoutError:
            raise Postponed(self._now() + LATER) from None
        try:
            return await self._shown(source, self._browser)
        finally:
            self._places.release()

    async def close(self) -> None:
        """End the browser, and close the fetchers."""
        if self._browser is not None:
            await self._browser.close()
        await self._parts.close()
        await self._own_parts.close()
        await self._fetcher.close()

    async def _shown(self, source: HttpSource, browser: Showing) -> Document:
        page = await self._fetcher.fetch(source, None)
        if page.outcome is not FetchOutcome.OK or page.content_type not in _MARKUP:
            return page
        parts = PageParts(page, source, self._own_parts if self._is_own(page.url) else self._parts)
        try:
            text = await browser.show(page.url, parts)
        except CannotShow as failed:
            outcome = FetchOutcome.SLOW if failed.slow else FetchOutcome.SERVER_ERROR
            return parts.led_to or _without_body(page, outcome, failed.message)
        if parts.led_to is not None:
            return parts.led_to
        body = text.encode("utf-8", "replace")
        if len(body) > SHOWN_BYTES_MAX:
            message = f"The page as shown is larger than {SHOWN_BYTES_MAX} bytes; name a smaller one, or an API."
            return _without_body(page, FetchOutcome.TOO_LARGE, message)
        if asks_for_a_human(page.headers, body):
            return _without_body(
                page, FetchOutcome.BLOCKED, "The server shows a page that asks for a human instead of its content."
            )
        return msgspec.structs.replace(
            page,
            content_type="text/html",
            charset="utf-8",
            body=body,
            hash=hashlib.sha256(body).hexdigest(),
            validators=Validators(),
            fresh_until=None,
            fetched_at=self._now(),
        )


def _without_body(page: Document, outcome: FetchOutcome, message: str) -> Document:
    return msgspec.structs.replace(
        page,
        outcome=outcome,
        message=message,
        body=b"",
        hash=None,
        validators=Validators(),
        fresh_until=None,
    )
