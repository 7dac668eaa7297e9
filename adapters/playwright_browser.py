"""A browser without a network: shows a page whose every request is answered by our own fetcher, and reads what it says.

Two layers keep it off the network. Requests are routed to `page_parts` before they leave the browser's own code, web sockets
are closed, service workers, downloads and frames are not there. What no route sees (WebRTC, workers' sockets, look-ups ahead
of time, Chromium's own traffic) meets a proxy that is nowhere, and no name and no address can be resolved.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import structlog

from adapters.page_parts import Asked, PageParts

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page, Request, Route, WebSocketRoute

log = structlog.get_logger()

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PAGES_MAX = 50
"""A browser is replaced after so many pages: it grows."""
LOAD_SECONDS, REST_SECONDS_MAX, ENDING_SECONDS_MAX = 10.0, 4.0, 3.0
INSTALL = (
    "Pages are shown by a browser that is not installed here: pip install 'vigil[browser]' and a Chromium (apt install"
    " chromium, or its path in VIGIL_BROWSER_PATH), where the API and the evaluators run, and start them again."
)
NOWHERE = (
    "--proxy-server=http://nowhere.invalid:1",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    "--dns-prefetch-disable",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
)
_SMALL = ("--disable-dev-shm-usage", "--disable-gpu", "--mute-audio", "--js-flags=--max-old-space-size=256")
_WITHOUT = """
for (const name of ["RTCPeerConnection", "webkitRTCPeerConnection", "RTCDataChannel", "WebTransport", "EventSource"])
  delete globalThis[name];
"""


class CannotShow(Exception):
    """The page could not be shown; `slow` says that time ran out. `message` is for people."""

    def __init__(self, message: str, *, slow: bool = False) -> None:
        self.message, self.slow = message, slow
        super().__init__(message)


class _Died(Exception):
    """The browser's process ended while it showed a page."""


def browser_program(path: str | None) -> str | None:
    """The program of the browser: `path`, else the first that is found; None without one, or without Playwright."""
    if find_spec("playwright") is None:
        return None
    return shutil.which(path) if path else next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@dataclass(slots=True)
class _Running:
    """A browser process, how many pages it showed and shows."""

    browser: "Browser"
    stack: AsyncExitStack
    shown: int = 0
    showing: int = 0


class PlaywrightBrowser:
    """Shows pages in Chromium, each in a context of its own that is thrown away. The process is started when first needed,
    replaced after `pages_max` pages or when it breaks, and ended by `close`.

    `program` is the browser's path. Without `sandbox` (which root cannot have) a page that breaks out of the renderer has
    what this process has.
    """

    def __init__(
        self,
        program: str,
        *,
        user_agent: str,
        sandbox: bool = True,
        pages_max: int = PAGES_MAX,
        load_seconds: float = LOAD_SECONDS,
    ) -> None:
        self._program = program
        self._user_agent = user_agent
        self._sandbox = sandbox and os.geteuid() != 0
        self._pages_max = pages_max
        self._load_seconds = load_seconds
        self._starting = asyncio.Lock()
        self._running: _Running | None = None

    async def show(self, url: str, parts: PageParts) -> str:
        """The document after its scripts ran and its network came to rest, as HTML. Raises `CannotShow`."""
        try:
            return await self._show(url, parts)
        except _Died:
            pass  # perhaps of another page that was shown there
        try:
            parts.begin_anew()
            return await self._show(url, parts)
        except _Died:
            raise CannotShow("The page made the browser break off.") from None

    async def _show(self, url: str, parts: PageParts) -> str:
        from playwright.async_api import Error  # noqa: PLC0415  an extra
        from playwright.async_api import TimeoutError as TooSlow  # noqa: PLC0415  an extra

        running = await self._taken()
        try:
            async with self._context(running) as context:
                page = await self._page(context, parts)
                await page.goto(url, wait_until="domcontentloaded", timeout=self._load_seconds * 1000)
                with suppress(TooSlow):  # some pages never rest; what stands there by then is what they say
                    await page.wait_for_load_state("networkidle", timeout=REST_SECONDS_MAX * 1000)
                async with asyncio.timeout(REST_SECONDS_MAX):
                    content = await page.content()
                if not page.url.startswith(("http://", "https://")):
                    raise CannotShow("The page leads to an address that cannot be read.")
                return content
        except (TooSlow, TimeoutError):
            raise CannotShow("The page's scripts do not come to an end.", slow=True) from None
        except Error as error:
            if not running.browser.is_connected():
                raise _Died from None
            reason = str(error).splitlines()[0][:200]
            raise CannotShow(f"The browser could not show the page ({reason}).") from None

    async def close(self) -> None:
        """End the browser."""
        running, self._running = self._running, None
        if running is not None:
            await _end(running)

    @asynccontextmanager
    async def _context(self, running: _Running) -> AsyncIterator["BrowserContext"]:
        context: BrowserContext | None = None
        try:
            context = await running.browser.new_context(
                user_agent=self._user_agent,
                service_workers="block",
                accept_downloads=False,
                locale="en-US",
                timezone_id="UTC",
            )
            yield context
        finally:
            running.showing -= 1
            if context is None or not await _closed(context):
                self._retire(running)  # it hangs or broke
            await self._end_if_done(running)

    async def _page(self, context: "BrowserContext", parts: PageParts) -> "Page":
        async def answer(route: "Route", request: "Request") -> None:
            await _answer(route, _asked(request, page), parts)

        async def refuse(socket: "WebSocketRoute") -> None:
            await socket.close()

        page = await context.new_page()
        await context.add_init_script(_WITHOUT)
        await context.route("**/*", answer)
        await context.route_web_socket("**/*", refuse)
        return page

    async def _taken(self) -> _Running:
        async with self._starting:
            old = self._running
            if old is not None and (old.shown >= self._pages_max or not old.browser.is_connected()):
                self._retire(old)
                await self._end_if_done(old)
            if self._running is None:
                self._running = await self._started()
            self._running.shown += 1
            self._running.showing += 1
            return self._running

    def _retire(self, running: _Running) -> None:
        """Give it no more pages; who shows the last one there ends it."""
        if self._running is running:
            self._running = None

    async def _end_if_done(self, running: _Running) -> None:
        if running is not self._running and running.showing == 0:
            await _end(running)

    async def _started(self) -> _Running:
        from playwright.async_api import async_playwright  # noqa: PLC0415  an extra

        stack = AsyncExitStack()
        playwright = await stack.enter_async_context(async_playwright())
        try:
            browser = await playwright.chromium.launch(
                executable_path=self._program, chromium_sandbox=self._sandbox, args=[*NOWHERE, *_SMALL], timeout=20_000
            )
        except BaseException:
            await stack.aclose()
            raise
        stack.push_async_callback(browser.close)
        log.info("browser started", version=browser.version, sandbox=self._sandbox)
        return _Running(browser, stack)


def _asked(request: "Request", page: "Page") -> Asked:
    try:
        is_page = request.is_navigation_request() and request.frame == page.main_frame
    except Exception:  # noqa: BLE001  a window that a script opens has no frame yet
        is_page = False
    return Asked(request.url, request.method, request.resource_type, is_page, request.headers)


async def _answer(route: "Route", asked: Asked, parts: PageParts) -> None:
    try:
        answered = await parts.answer(asked)
    except Exception as error:  # noqa: BLE001  one part less; a request without an answer would hang the page
        log.warning("a part of a page could not be read", error=repr(error))
        answered = None
    with suppress(Exception):  # the page went away while its part was read
        if answered is None:
            await route.abort("blockedbyclient")
        else:
            await route.fulfill(status=answered.status, headers=dict(answered.headers), body=answered.body)


async def _closed(context: "BrowserContext") -> bool:
    try:
        async with asyncio.timeout(ENDING_SECONDS_MAX):
            await context.close()
    except Exception as error:  # noqa: BLE001  then the whole browser goes
        log.warning("browser context not closed", error=repr(error))
        return False
    return True


async def _end(running: _Running) -> None:
    try:
        async with asyncio.timeout(ENDING_SECONDS_MAX):
            await running.stack.aclose()
    except Exception as error:  # noqa: BLE001  the driver takes the browser with it
        log.warning("browser not ended in time", error=repr(error))
