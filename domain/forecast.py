"""Forecasts: what models will cost that read for a monitor, told before they do. Money is in millionths of a US dollar."""

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from functools import lru_cache
from math import ceil
from zoneinfo import ZoneInfo

import msgspec

from domain.plan import Plan
from domain.schedule import Cron, Every, Schedule, next_due
from domain.source import SearchSource, SignalSource

DAY_SECONDS = 86_400
DAYS_COUNTED = 52 * 7
"""Whole weeks, so that working days count as they are; a year, so that a line that is due once a month counts at all."""
LINES_MAX = 1000
"""How many cron lines are remembered: people write them."""
EVIDENCE_TOKENS = 4_000
"""Of a typical page, as text."""
NOT_BATCHED = "No AI provider that is set up takes batches: what a model reads is read at once, at the whole price."
BATCHED = "It may take hours to read, for half the price."


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a monitor will cost a day at most, by its schedule and at the price of `cost_micros_a_call`: when its evidence is
    new at every look. That price `is_estimated`, for evidence of typical size, or is what a trial cost. `looks_a_day` is the
    mean of its schedule; the figures of a day are None where looks come with signals, however many those are. `basis` says
    in words what all this rests on, and `notes` what of the plan comes to nothing."""

    looks_a_day: float | None
    calls_a_day_max: float | None
    cost_micros_a_day_max: int | None
    cost_micros_a_call: int
    basis: str
    is_estimated: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPrice:
    """What one look costs at the full price when everything is new: `readings` and `searches` are calls, each kind with what it
    costs together and the model that is asked first. `is_halved`: readings wait for batches, and cost half of that. `is_tried`:
    that is what a trial cost, and no estimate."""

    reader: str | None
    searcher: str | None
    readings: int
    searches: int
    reading_micros: Fraction
    searching_micros: Fraction
    is_halved: bool = False
    is_tried: bool = False

    @property
    def calls(self) -> int:
        """How many calls a look makes."""
        return self.readings + self.searches

    def tried(self, cost_micros: int) -> "LookPrice":
        """The same after a trial that cost so much, divided between readings and searches as was estimated."""
        estimated = self.reading_micros + self.searching_micros
        share = self.reading_micros / estimated if estimated else Fraction(1)
        return replace(
            self, reading_micros=cost_micros * share, searching_micros=cost_micros * (1 - share), is_tried=True
        )


def forecast(plan: Plan, price: LookPrice, *, at: datetime) -> Forecast:
    """What a plan that models read for will cost from `at` on. Amounts are rounded up."""
    reading = price.reading_micros / 2 if price.is_halved else price.reading_micros
    of_look = reading + price.searching_micros
    has_slots = not all(isinstance(source, SignalSource) for source in plan.sources)
    looks = looks_a_day(plan.schedule, at=at) if has_slots else None
    return Forecast(
        looks_a_day=None if looks is None else float(looks),
        calls_a_day_max=None if looks is None else float(looks * price.calls),
        cost_micros_a_day_max=None if looks is None else ceil(looks * of_look),
        cost_micros_a_call=ceil(of_look / price.calls),
        basis=_basis(plan, price),
        is_estimated=not price.is_tried,
        notes=(NOT_BATCHED,) if plan.batch and price.readings and not price.is_halved else (),
    )


def looks_a_day(schedule: Schedule, *, at: datetime) -> Fraction:
    """How often a schedule is due a day: exact for an interval, the mean of the 52 weeks after `at` for a cron line."""
    match schedule:
        case Every(seconds=seconds):
            return Fraction(DAY_SECONDS, seconds)
        case Cron(timezone=timezone):
            return _cron_looks_a_day(schedule, at.astimezone(ZoneInfo(timezone)).date())


@lru_cache(maxsize=LINES_MAX)
def _cron_looks_a_day(cron: Cron, today: date) -> Fraction:
    """Every day on which a line is due has the same times, so that one day's are counted, and then days. A line that is not
    due in all that time counts once."""
    last = today + timedelta(days=DAYS_COUNTED - 1)
    day = _next_day(cron, today)
    times, instant, ends = 0, _first(cron, day), _midnight(cron, day + timedelta(days=1))
    while instant < ends:
        times += 1
        instant = next_due(cron, after=instant)
    days = 0
    while day <= last:
        days += 1
        day = _next_day(cron, day + timedelta(days=1))
    return Fraction(max(1, times * days), DAYS_COUNTED)


def _next_day(cron: Cron, day: date) -> date:
    """The first day from this one on, by the line's own clock, on which it is due."""
    return _first(cron, day).astimezone(ZoneInfo(cron.timezone)).date()


def _first(cron: Cron, day: date) -> datetime:
    """The first instant at which the line is due on this day or later."""
    return next_due(cron, after=_midnight(cron, day) - timedelta(microseconds=1))


def _midnight(cron: Cron, day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=ZoneInfo(cron.timezone))


def _basis(plan: Plan, price: LookPrice) -> str:
    """What a forecast rests on, for people."""
    searching = [f"{price.searcher} searches the web"] if price.searches else []
    reading = [f"{price.reader} reads {_texts(price.readings)}"] if price.readings else []
    said = [f"At each look {' and '.join([*searching, *reading])}.", _price_in_words(price)]
    if price.is_halved and price.readings:
        said.append(BATCHED)
    if price.readings:
        said.append(
            "At this price it is the most that looks by the schedule cost: what has not changed is not read again, and costs"
            " nothing."
        )
    if any(isinstance(source, SearchSource) for source in plan.sources):
        said.append("Searching costs at every look.")
    if any(isinstance(source, SignalSource) for source in plan.sources):
        said.append("Each signal is a look of its own; nobody knows how many will come.")
    return " ".join(said)


def _price_in_words(price: LookPrice) -> str:
    """Where the price of a look comes from, and what makes it another one."""
    if price.is_tried:
        return "The price is what this trial cost, kept answers included; more text costs more."
    searches = ["a typical search"] if price.searches else []
    texts = [f"texts of typical size ({EVIDENCE_TOKENS:,} tokens)"] if price.readings else []
    return f"The price is an estimate for {' and '.join([*searches, *texts])}; more text costs more."


def _texts(count: int) -> str:
    return "one text" if count == 1 else f"{count} texts"
