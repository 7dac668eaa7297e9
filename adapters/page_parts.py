"""What a page that is shown may load: every request of the browser is answered here, by our own fetcher, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from domain.evidence import Document, FetchOutcome
from domain.source import HttpSource

REQUESTS_MAX = 120
PARTS_BYTES_MAX = 15 * 1024 * 1024
NAVIGATIONS_MAX = 5
LOADED = frozenset({"document", "script", "stylesheet", "xhr", "fetch", "manifest", "other"})
"""Kinds of requests that can change what a page says. Pictures, media and fonts cannot, and event streams never end."""
_SENT = frozenset({"accept", "accept-language", "authorization"})


class PartFetcher(Protocol):
    """Reads one address, guarded."""

    async def fetch(self, source: HttpSource, known: None) -> Document:
        """One answer; whatever the server does is an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the browser. `is_page` says that it would replace the page itself."""

    url: str
    method: str
    kind: str
    is_page: bool
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What the browser is told."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class PageParts:
    """The answers for one page: the page itself, which was read already, and what it loads, within limits.

    A page may lead elsewhere by itself; `led_to` is the answer there when it is none to show.
    Headers of the person's own go along to the origin they were written for alone, and only while the page is of that origin
    itself: a page elsewhere would else read with them what is the person's. The browser keeps no cookies and has none, so
    any other answer may be read by any script: what would be protected is what anybody can read.
    """

    page: Document
    source: HttpSource
    fetcher: PartFetcher
    requests: int = 0
    parts_bytes: int = 0
    navigations: int = 0
    led_to: Document | None = None
    shown: str | None = None

    def begin_anew(self) -> None:
        """The page is shown from its beginning again."""
        self.requests = self.parts_bytes = self.navigations = 0
        self.led_to = self.shown = None

    async def answer(self, asked: Asked) -> Answered | None:
        """The answer to a request; None for one that is not made."""
        if asked.is_page:
            self.navigations += 1
            if self.navigations == 1:
                self.shown = self.page.url
                return _answered(self.page, asked)
        if not self._is_loaded(asked):
            return None
        self.requests += 1
        document = await self.fetcher.fetch(HttpSource(url=asked.url, headers=self._headers(asked)), None)
        self.parts_bytes += len(document.body)
        if asked.is_page and document.outcome is not FetchOutcome.OK:
            self.led_to = document  # what the browser shows in its place is its own, and no content
            return None
        if document.status is None or self.parts_bytes > PARTS_BYTES_MAX:
            return None
        if asked.is_page:
            self.shown = document.url  # the fetcher followed redirects, the browser thinks that it is where it asked
        return _answered(document, asked)

    def _is_loaded(self, asked: Asked) -> bool:
        is_frame = asked.kind == "document" and not asked.is_page
        return (
            asked.method == "GET"
            and asked.kind in LOADED
            and not is_frame
            and self.navigations <= NAVIGATIONS_MAX
            and self.requests < REQUESTS_MAX
            and self.parts_bytes <= PARTS_BYTES_MAX
        )

    def _headers(self, asked: Asked) -> dict[str, str]:
        sent = {
            name: value
            for name, value in asked.headers.items()
            if name.lower() in _SENT or (name.lower().startswith("x-") and value.isascii())
        }
        own = _origin(self.source.url)
        asks = asked.headers.get("origin") or self.shown  # a page that comes next may ask before the one before is gone
        is_own = _origin(asked.url) == own and (asked.is_page or asks is None or _origin(asks) == own)
        return sent | self.source.headers if is_own else sent


def _answered(document: Document, asked: Asked) -> Answered:
    """As the server answered, or without content when it gave none that can be read."""
    content_type = document.content_type or "text/html"
    if document.charset:
        content_type = f"{content_type}; charset={document.charset}"
    origin = asked.headers.get("origin", "")
    open_to = {"access-control-allow-origin": origin, "access-control-allow-credentials": "true"} if origin else {}
    status = document.status or 200
    is_ok = document.outcome is FetchOutcome.OK
    return Answered(
        status=status, headers={"content-type": content_type} | open_to, body=document.body if is_ok else b""
    )


def _origin(url: str) -> object:
    try:
        return URL(url).origin()
    except ValueError:
        return None
