"""The demo's web site: recorded series, one step at a tick, with validators."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from lxml import etree
from selectolax.lexbor import LexborHTMLParser

from adapters.demo_site import DEMO_MONITORS, DemoSite
from adapters.recorded_series import WeatherDay, seattle_weather, stock_prices

START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(clock: Clock) -> AsyncIterator[DemoSite]:
    site = DemoSite(now=clock, seconds_per_day=None)
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def body(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as response:
        assert response.status == 200
        return await response.text()


async def test_today_is_the_first_recorded_day_and_then_the_next(site: DemoSite, http: aiohttp.ClientSession) -> None:
    first = json.loads(await body(http, f"{site.url}/weather/today.json"))
    assert first == {
        "date": "2012-01-01",
        "precipitation": 0.0,
        "temp_max": 12.8,
        "temp_min": 5.0,
        "wind": 4.7,
        "weather": "drizzle",
    }
    site.advance()
    second = json.loads(await body(http, f"{site.url}/weather/today.json"))
    assert (second["date"], second["weather"], second["precipitation"]) == ("2012-01-02", "rain", 10.9)
    assert site.day.date.isoformat() == "2012-01-02"


async def test_the_history_ends_today(site: DemoSite, http: aiohttp.ClientSession) -> None:
    for _ in range(2):
        site.advance()
    rows = list(csv.DictReader(io.StringIO(await body(http, f"{site.url}/weather/history.csv"))))
    assert [row["date"] for row in rows] == ["2012-01-01", "2012-01-02", "2012-01-03"]
    assert rows[-1]["temp_max"] == "11.7"


async def test_the_feed_holds_the_last_thirty_days_newest_first(site: DemoSite, http: aiohttp.ClientSession) -> None:
    for _ in range(40):
        site.advance()
    feed = etree.fromstring((await body(http, f"{site.url}/weather/feed.xml")).encode())
    titles, ids = (feed.xpath(f"channel/item/{name}/text()") for name in ("title", "guid"))
    assert len(titles) == len(ids) == 30
    assert titles[0] == "2012-02-10: rain, 12.8 C"
    assert ids[0] == "seattle-weather-2012-02-10"
    assert ids == sorted(ids, reverse=True)


async def test_a_share_shows_the_same_recorded_price_to_people_and_machines(
    site: DemoSite, http: aiohttp.ClientSession
) -> None:
    site.advance()
    page = LexborHTMLParser(await body(http, f"{site.url}/stocks/AAPL"))
    script = page.css_first('script[type="application/ld+json"]')
    label = page.css_first("dt")
    assert script is not None
    assert label is not None
    product = json.loads(script.text())
    assert (product["@type"], product["name"]) == ("Product", "AAPL")
    assert product["offers"] == {"@type": "Offer", "price": "28.66", "priceCurrency": "USD"}
    assert label.text() == "Price"
    assert label.next is not None
    assert label.next.text() == "28.66 USD"
    assert [cell.text() for cell in page.css("tbody tr:first-child td")] == ["2000-02", "28.66"]


@pytest.mark.parametrize("symbol", ["NOPE", "aapl", "%3Cscript%3E"])
async def test_an_unrecorded_share_is_not_found(symbol: str, site: DemoSite, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{site.url}/stocks/{symbol}") as response:
        assert response.status == 404
        assert "script" not in await response.text()


async def test_a_series_that_ends_starts_again_on_its_own_clock(site: DemoSite, http: aiohttp.ClientSession) -> None:
    for _ in range(68):  # GOOG has 68 recorded months, the others 123
        site.advance()
    assert ">102.37 USD<" in await body(http, f"{site.url}/stocks/GOOG")
    assert ">102.37 USD<" not in await body(http, f"{site.url}/stocks/IBM")
    for _ in range(1461 - 68):  # four years with one leap day
        site.advance()
    assert site.day == seattle_weather()[0]
    assert len((await body(http, f"{site.url}/weather/history.csv")).splitlines()) == 2


async def test_the_index_says_what_is_served_and_links_to_it(site: DemoSite, http: aiohttp.ClientSession) -> None:
    page = LexborHTMLParser(await body(http, f"{site.url}/"))
    text = page.text()
    assert "2012-01-01" in text
    assert "NOAA" in text
    assert "vega-datasets" in text
    links = {link.attributes["href"] for link in page.css("a")}
    assert {"/weather/today.json", "/weather/history.csv", "/weather/feed.xml", "/stocks/GOOG"} <= links
    for link in links:
        await body(http, f"{site.url}{link}")


PATHS = ["/", "/weather/today.json", "/weather/history.csv", "/weather/feed.xml", "/stocks/MSFT"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_already_known_by_etag_is_not_sent_again(
    path: str, site: DemoSite, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{site.url}{path}") as response:
        etag = response.headers["ETag"]
        modified = response.headers["Last-Modified"]
    async with http.get(f"{site.url}{path}", headers={"If-None-Match": f'"other", W/{etag}'}) as response:
        assert response.status == 304
        assert (response.headers["ETag"], response.headers["Last-Modified"]) == (etag, modified)
        assert await response.read() == b""
    site.advance()
    # The tag decides alone: the date, which still fits within the second, does not make it a 304.
    headers = {"If-None-Match": etag, "If-Modified-Since": modified}
    async with http.get(f"{site.url}{path}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["ETag"] != etag


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_not_changed_since_is_not_sent_again(
    path: str, site: DemoSite, clock: Clock, http: aiohttp.ClientSession
) -> None:
    since = {"If-Modified-Since": format_datetime(START, usegmt=True)}
    async with http.get(f"{site.url}{path}", headers=since) as response:
        assert response.status == 304
    clock.now = START + timedelta(seconds=1)
    site.advance()
    async with http.get(f"{site.url}{path}", headers=since) as response:
        assert response.status == 200
        assert response.headers["Last-Modified"] == "Sun, 01 Mar 2026 12:00:01 GMT"


async def test_days_pass_by_themselves_until_it_is_stopped(clock: Clock) -> None:
    site = DemoSite(now=clock, seconds_per_day=0.01)
    await site.start()
    async with aiohttp.ClientSession() as http:
        seen: set[str] = set()
        while len(seen) < 3:
            seen.add(json.loads(await body(http, f"{site.url}/weather/today.json"))["date"])
        url = site.url
        await site.stop()
        await site.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{url}/")


async def test_a_taken_port_is_said_and_nothing_stays_open(site: DemoSite, clock: Clock) -> None:
    port = int(site.url.rsplit(":", 1)[1])
    second = DemoSite(now=clock, port=port)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()


def occasions(met: Callable[[int], bool], ticks: int) -> list[int]:
    """The ticks at which a condition begins to hold."""
    return [n for n in range(ticks) if met(n) and not (n and met(n - 1))]


def test_every_demo_monitor_has_something_to_tell_early_and_again_later() -> None:
    weather: tuple[WeatherDay, ...] = seattle_weather()
    apple = stock_prices()["AAPL"]
    frost, snow, share = DEMO_MONITORS
    assert (frost.path, snow.path, share.path) == ("/weather/today.json", "/weather/today.json", "/stocks/AAPL")
    assert frost.prompt.endswith("temp_max drops below 5")
    assert snow.prompt.endswith("weather contains snow")
    assert share.prompt.endswith("price rises above 30")
    assert occasions(lambda n: weather[n].temp_max < 5, 20) == [5, 13]
    assert occasions(lambda n: weather[n].weather == "snow", 60) == [13, 56, 58]
    assert occasions(lambda n: float(apple[n].price) > 30, 60) == [2, 7, 58]
    assert len(occasions(lambda n: weather[n].temp_max < 5, 1461)) > 5


def test_the_recorded_files_are_read_without_pandas() -> None:
    assert len(seattle_weather()) == 1461
    assert {symbol: len(months) for symbol, months in stock_prices().items()} == {
        "AAPL": 123,
        "AMZN": 123,
        "GOOG": 68,
        "IBM": 123,
        "MSFT": 123,
    }
    # In a process of its own: another test may have imported pandas here.
    read = "import sys, adapters.recorded_series as r; r.stock_prices(); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", read], check=False).returncode == 0
