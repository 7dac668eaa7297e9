"""The pages of the demo's web site as texts. Every number in them is from the recorded series."""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from email.utils import format_datetime
from html import escape

import msgspec

from adapters.recorded_series import STOCKS_SOURCE, WEATHER_SOURCE, StockMonth, WeatherDay

FEED_ITEMS_MAX = 30
TABLE_MONTHS_MAX = 6

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse}th,td{text-align:left;padding:.2rem 1.5rem .2rem 0}"
    "dt{font-weight:600}dd{margin:0 0 .5rem}footer{margin-top:2rem;font-size:.875rem;opacity:.75}"
)


def index(day: WeatherDay, *, symbols: Sequence[str], watched: Sequence[tuple[str, str]]) -> str:
    """The first page: what is served, which day it is, where to look. `watched` are prompts with their paths."""
    shares = "".join(f'<li><a href="/stocks/{escape(s)}">{escape(s)}</a></li>' for s in symbols)
    prompts = "".join(
        f'<li>{escape(prompt)} <a href="{escape(path)}">{escape(path)}</a></li>' for prompt, path in watched
    )
    return _page(
        "Recorded days",
        f"""<p>This site replays what was really recorded, one step at every tick: it gives monitors something to watch.
When a series ends it starts again from its beginning.</p>
<dl><dt>Today in Seattle</dt><dd><time datetime="{day.date}">{day.date}</time></dd>
<dt>Weather</dt><dd>{escape(day.weather)}, {day.temp_min} to {day.temp_max} &deg;C</dd></dl>
<h2>Weather</h2>
<ul><li><a href="/weather/today.json">today, as JSON</a></li>
<li><a href="/weather/history.csv">every day so far, as CSV</a></li>
<li><a href="/weather/feed.xml">the last {FEED_ITEMS_MAX} days, as RSS</a></li></ul>
<h2>Share prices</h2>
<ul>{shares}</ul>
<h2>Watched in the demo</h2>
<ul>{prompts}</ul>""",
        source=f"{WEATHER_SOURCE}; {STOCKS_SOURCE}",
    )


def stock(symbol: str, months: Sequence[StockMonth]) -> str:
    """The page of one share at the last of `months`: the price labelled for people and as JSON-LD (schema.org Offer)."""
    latest = months[-1]
    offer = {"@type": "Offer", "price": latest.price, "priceCurrency": "USD"}
    product = {"@context": "https://schema.org", "@type": "Product", "name": symbol, "offers": offer}
    # "</" inside a script element would end it.
    json_ld = msgspec.json.encode(product).decode().replace("</", "<\\/")
    rows = "".join(
        f"<tr><td>{month.month:%Y-%m}</td><td>{escape(month.price)}</td></tr>"
        for month in reversed(months[-TABLE_MONTHS_MAX:])
    )
    return _page(
        escape(symbol),
        f"""<script type="application/ld+json">{json_ld}</script>
<dl><dt>Price</dt><dd>{escape(latest.price)} USD</dd>
<dt>Month</dt><dd><time datetime="{latest.month:%Y-%m}">{latest.month:%Y-%m}</time></dd></dl>
<table><thead><tr><th>Month</th><th>Close in USD</th></tr></thead><tbody>{rows}</tbody></table>
<p><a href="/">All series</a></p>""",
        source=STOCKS_SOURCE,
    )


def history(days: Sequence[WeatherDay]) -> str:
    """The days as CSV (RFC 4180), oldest first."""
    lines = [",".join(WeatherDay.__struct_fields__)]
    lines += [",".join(str(value) for value in msgspec.structs.astuple(day)) for day in days]
    return "".join(f"{line}\r\n" for line in lines)


def feed(days: Sequence[WeatherDay], *, site: str) -> str:
    """The last days as RSS 2.0, newest first; `site` is the site's address without a slash at the end."""
    items = "".join(_feed_item(day, site) for day in reversed(days[-FEED_ITEMS_MAX:]))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<rss version="2.0"><channel>'
        f"<title>Weather in Seattle, day by day</title><link>{escape(site)}/</link>"
        f"<description>The {escape(WEATHER_SOURCE)}, replayed</description>{items}</channel></rss>\n"
    )


def _feed_item(day: WeatherDay, site: str) -> str:
    midnight = datetime.combine(day.date, time(), tzinfo=UTC)
    return (
        f"<item><title>{day.date}: {escape(day.weather)}, {day.temp_max} C</title>"
        f"<link>{escape(site)}/weather/history.csv#{day.date}</link>"
        f'<guid isPermaLink="false">seattle-weather-{day.date}</guid>'
        f"<pubDate>{format_datetime(midnight, usegmt=True)}</pubDate>"
        f"<description>precipitation {day.precipitation} mm, {day.temp_min} to {day.temp_max} C, "
        f"wind {day.wind} m/s</description></item>"
    )


def _page(title: str, body: str, *, source: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n{body}\n<footer>Recorded data: {escape(source)}.</footer></body></html>\n"
    )
