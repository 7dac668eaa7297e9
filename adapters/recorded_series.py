"""Recorded series of the `vega-datasets` package, read from its files: Seattle's weather and five share prices."""

import csv
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import msgspec

WEATHER_SOURCE = "daily weather of Seattle, 2012 to 2015, recorded by NOAA (data set seattle-weather of vega-datasets)"
STOCKS_SOURCE = "monthly closing prices, 2000 to 2010 (data set stocks of vega-datasets)"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class WeatherDay(msgspec.Struct, frozen=True):
    """One recorded day: precipitation in mm, temperatures in degrees Celsius, wind in m/s, weather as one word."""

    date: date
    precipitation: float
    temp_max: float
    temp_min: float
    wind: float
    weather: str


class StockMonth(msgspec.Struct, frozen=True):
    """One recorded month: its first day and the price in US dollars, written as it stands in the file."""

    month: date
    price: str


def seattle_weather() -> tuple[WeatherDay, ...]:
    """Every recorded day in order."""
    with _file("seattle-weather.csv").open(encoding="utf-8", newline="") as rows:
        return tuple(
            WeatherDay(
                date=date.fromisoformat(row["date"].replace("/", "-")),
                precipitation=float(row["precipitation"]),
                temp_max=float(row["temp_max"]),
                temp_min=float(row["temp_min"]),
                wind=float(row["wind"]),
                weather=row["weather"],
            )
            for row in csv.DictReader(rows)
        )


def stock_prices() -> dict[str, tuple[StockMonth, ...]]:
    """Every recorded month in order, by the share's symbol."""
    series: dict[str, list[StockMonth]] = {}
    with _file("stocks.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            name, day, year = row["date"].split()
            month = date(int(year), _MONTHS.index(name) + 1, int(day))
            series.setdefault(row["symbol"], []).append(StockMonth(month=month, price=row["price"]))
    return {symbol: tuple(months) for symbol, months in series.items()}


def _file(name: str) -> Path:
    # Importing the package would import pandas; finding it does not.
    spec = find_spec("vega_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package vega-datasets is not installed; the demo shows its recorded data")
    return Path(spec.submodule_search_locations[0]) / "_data" / name
