"""The demo's web site: recorded weather and share prices on loopback, one recorded step further at every tick."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import msgspec
from aiohttp import web

from adapters import demo_pages
from adapters.recorded_series import StockMonth, WeatherDay, seattle_weather, stock_prices


@dataclass(frozen=True, slots=True)
class DemoMonitor:
    """A monitor the demo sets up: its name, its prompt in plain words, and the path of its source on the demo's site."""

    name: str
    prompt: str
    path: str


DEMO_MONITORS = (
    DemoMonitor("Frost in Seattle", "Tell me when temp_max drops below 5", "/weather/today.json"),
    DemoMonitor("Snow in Seattle", "Tell me when weather contains snow", "/weather/today.json"),
    DemoMonitor("AAPL above 30", "Tell me when price rises above 30", "/stocks/AAPL"),
)
"""Chosen so that each becomes active within the first 20 ticks, goes back, and becomes active again later."""


class DemoSite:
    """Serves the recorded series on a loopback port.

    `now` tells the time for Last-Modified; `port` 0 lets the system choose; `seconds_per_day` is the time between two
    ticks, None leaves the clock to `advance()`. At a tick the weather goes one day on and every share one month; a
    series that ends starts again from its beginning.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        host: str = "127.0.0.1",
        port: int = 0,
        seconds_per_day: float | None = 1.0,
    ) -> None:
        self._now, self._host, self._port = now, host, port
        self._seconds_per_day = seconds_per_day
        self._weather = seattle_weather()
        self._stocks = stock_prices()
        self._ticks = 0
        self._changed_at = now().replace(microsecond=0)
        self._runner: web.AppRunner | None = None
        self._clock: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the site is served, without a slash at the end; known once it has started."""
        return f"http://{self._host}:{self._port}"

    @property
    def day(self) -> WeatherDay:
        """The recorded day that is today on the site."""
        return self._days_so_far()[-1]

    def advance(self) -> None:
        """Go one recorded step on."""
        self._ticks += 1
        self._changed_at = self._now().replace(microsecond=0)

    async def start(self) -> None:
        """Serve, and let the days pass. Raises `OSError` when the port is taken."""
        app = web.Application()
        app.router.add_get("/", self._index)
        app.router.add_get("/weather/today.json", self._today)
        app.router.add_get("/weather/history.csv", self._history)
        app.router.add_get("/weather/feed.xml", self._feed)
        app.router.add_get("/stocks/{symbol}", self._stock)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]
        if self._seconds_per_day is not None:
            self._clock = asyncio.create_task(self._let_days_pass(self._seconds_per_day))

    async def stop(self) -> None:
        """Stop serving; stopping twice changes nothing."""
        if self._clock is not None:
            self._clock.cancel()
            with suppress(asyncio.CancelledError):
                await self._clock
            self._clock = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _let_days_pass(self, seconds_per_day: float) -> None:
        while True:
            await asyncio.sleep(seconds_per_day)
            self.advance()

    def _days_so_far(self) -> tuple[WeatherDay, ...]:
        return self._weather[: self._ticks % len(self._weather) + 1]

    def _months_so_far(self, symbol: str) -> tuple[StockMonth, ...]:
        months = self._stocks[symbol]
        return months[: self._ticks % len(months) + 1]

    async def _index(self, request: web.Request) -> web.Response:
        watched = [(monitor.prompt, monitor.path) for monitor in DEMO_MONITORS]
        page = demo_pages.index(self.day, symbols=sorted(self._stocks), watched=watched)
        return self._answer(request, page, "text/html")

    async def _today(self, request: web.Request) -> web.Response:
        return self._answer(request, msgspec.json.encode(self.day).decode(), "application/json")

    async def _history(self, request: web.Request) -> web.Response:
        return self._answer(request, demo_pages.history(self._days_so_far()), "text/csv")

    async def _feed(self, request: web.Request) -> web.Response:
        return self._answer(request, demo_pages.feed(self._days_so_far(), site=self.url), "application/rss+xml")

    async def _stock(self, request: web.Request) -> web.Response:
        symbol = request.match_info["symbol"]
        if symbol not in self._stocks:
            raise web.HTTPNotFound(text=f"recorded are {', '.join(sorted(self._stocks))}\n")
        return self._answer(request, demo_pages.stock(symbol, self._months_so_far(symbol)), "text/html")

    def _answer(self, request: web.Request, text: str, content_type: str) -> web.Response:
        """The page with its validators, or 304 when the request already has it (RFC 9110, section 13.2.2: an ETag
        decides alone; the date counts only without one)."""
        etag = hashlib.sha256(text.encode()).hexdigest()[:32]
        known, since = request.if_none_match, request.if_modified_since
        if known is not None:
            unchanged = any(tag.value in {etag, "*"} for tag in known)
        else:
            unchanged = since is not None and self._changed_at <= since
        if unchanged:
            response = web.Response(status=304)
        else:
            response = web.Response(text=text, content_type=content_type, charset="utf-8")
        response.etag = etag
        response.last_modified = self._changed_at
        response.headers["Cache-Control"] = "no-cache"
        return response
