"""Watches of changedetection.io as monitors: https://github.com/dgtlmoon/changedetection.io, model/__init__.py.

What Vigil has no counterpart for is told. Where that narrows what counts as a change, the monitor is imported paused: it
would otherwise tell of things nobody asked for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from commands.import_formats import WHOLE_TEXT, Body, entry_of, name_of, watching
from commands.monitor_copies import Entry
from domain.errors import InvalidInput
from domain.plan import FACTS_MAX
from domain.schedule import INTERVAL_SECONDS_MAX

FILTERS_MAX = 100
"""Each of them that is lost is told."""
PRICE = {"name": "price", "type": "number", "select": {"named": "price"}}

_NARROWING = {
    "trigger_text": "it waits for these words",
    "text_should_not_be_present": "it waits until these words are gone",
    "ignore_text": "it ignores these words",
    "extract_text": "it looks at parts of the text only",
    "subtractive_selectors": "it leaves parts of the page out",
    "conditions": "it has conditions",
    "check_unique_lines": "it looks for lines that were never there before",
    "price_change_min": "it has a lowest price",
    "price_change_max": "it has a highest price",
    "price_change_threshold_percent": "it ignores small changes of the price",
    "browser_steps": "it does something on the page first",
    "webdriver_js_execute_code": "it runs code on the page first",
    "body": "it sends a body",
}
_OTHERWISE = {
    "tag": "give the monitor a name that says it; what a group sets is not taken over",
    "tags": "give the monitor a name that says it; what a group sets is not taken over",
    "notification_urls": "make an action and a trigger for the monitor",
    "proxy": "Vigil reads pages directly",
    "webdriver_delay": "Vigil reads pages without a browser",
}
_PLAIN_BACKENDS = frozenset({"system", "html_requests", ""})
_UNITS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_SIMPLE_JQ = re.compile(r"(?:\.[A-Za-z_]\w*|\[\d+\]|\[\]|\.(?=\[))+")


class Watch(msgspec.Struct, frozen=True):
    """What is read of a watch; everything else in it is its past, or how it looks."""

    url: str
    title: str | None = None
    paused: bool | None = False
    include_filters: list[str] | None = None
    css_filter: str | None = None
    headers: dict[str, str] | None = None
    method: str | None = "GET"
    processor: str | None = "text_json_diff"
    fetch_backend: str | None = "system"
    time_between_check: dict[str, int | float | str | None] | None = None
    time_between_check_use_default: bool | None = None


class Backup(msgspec.Struct, frozen=True):
    """Watches by their ids, and the settings they share."""

    watches: Mapping[str, Any]
    settings: Mapping[str, Any]


def entries_of_backup(backup: Backup, *, interval_seconds_min: int, paused: bool) -> Iterator[Entry]:
    """Each watch as an entry, `paused` or as it is; one that is checked too often is checked as often as may be."""
    usual = _shared_interval(backup.settings)
    for key, raw in backup.watches.items():
        yield _entry(f"watching.{key}", raw, usual, interval_seconds_min, paused=paused)


def lost_settings(settings: Mapping[str, Any]) -> list[str]:
    """What all watches shared and none of the monitors has."""
    application = settings.get("application")
    known = ("global_ignore_text", "global_subtractive_selectors", "notification_urls")
    lost = [name for name in known if isinstance(application, dict) and application.get(name)]
    return [f"settings.application.{name} is not taken over" for name in lost]


def _entry(place: str, raw: object, usual: int | None, seconds_min: int, *, paused: bool) -> Entry:
    try:
        watch = msgspec.convert(raw, Watch, strict=False)
    except msgspec.ValidationError as wrong:
        return Entry(place=place, refusals=(InvalidInput(f"this is no watch: {wrong}"),))
    if watch.processor not in {"text_json_diff", "restock_diff", None, ""}:
        message = f"a watch of the kind {watch.processor!r} has no counterpart here"
        return Entry(place=place, refusals=(InvalidInput(message, field="processor"),))
    fields = raw if isinstance(raw, dict) else {}
    warnings, narrowed = list(_told(watch, fields)), list(_narrowings(watch, fields))
    facts, lost = _facts(watch)
    body = watching(watch.url.removeprefix("source:"), facts)
    body["name"] = name_of(watch.title) or body["name"]
    if watch.headers:
        body["sources"] = [{**body["sources"][0], "headers": watch.headers}]
    seconds = _interval(watch, usual)
    if seconds is not None:
        kept = max(seconds_min, min(seconds, INTERVAL_SECONDS_MAX))
        body["schedule"] = {"every": f"PT{kept}S"}
        warnings += [f"time_between_check: every {kept} s instead of every {seconds} s"] if kept != seconds else []
    if narrowed or lost:
        warnings += [*narrowed, *lost, "so it is imported paused: look at it, then resume it"]
    body["paused"] = bool(watch.paused or narrowed or lost or paused)
    return entry_of(place, body, warnings)


def _facts(watch: Watch) -> tuple[list[Body], list[str]]:
    """What to read, and what is lost of how it was told. A filter takes everything it matches, so each gives a list."""
    if watch.processor == "restock_diff":
        return [PRICE], []
    filters = [given.strip() for given in (*(watch.include_filters or ()), watch.css_filter or "") if given.strip()]
    selects, lost = [], []
    for given in filters[:FILTERS_MAX]:
        select = _select(given)
        if select is None:
            lost.append(f"the filter {given[:200]!r} is of a language that is not known here")
        else:
            selects.append(select)
    if len(selects) > FACTS_MAX or len(filters) > FILTERS_MAX:
        lost.append(f"of {len(filters)} filters at most {FACTS_MAX} are taken over")
    names = ["content", *(f"content_{n}" for n in range(2, FACTS_MAX + 1))]
    facts: list[Body] = [
        {"name": name, "type": "list", "select": select} for name, select in zip(names, selects, strict=False)
    ]
    return facts or [WHOLE_TEXT], lost


def _select(given: str) -> dict[str, str] | None:
    """A filter as a selector; None for jq beyond plain paths."""
    kind, colon, rest = given.partition(":")
    if given.startswith("/"):
        return {"xpath": given}
    match kind if colon else "":
        case "xpath" | "xpath1":
            return {"xpath": rest}
        case "json":
            return {"jsonpath": rest}
        case "jq" | "jqraw":
            path = rest.strip()
            return {"jsonpath": _as_jsonpath(path)} if _SIMPLE_JQ.fullmatch(path) else None
        case "css":
            return {"css": rest}
        case _:
            return {"css": given}


def _as_jsonpath(path: str) -> str:
    return "$" + path.replace("[]", "[*]").replace(".[", "[")


def _narrowings(watch: Watch, fields: Mapping[str, Any]) -> Iterator[str]:
    for name, what in _NARROWING.items():
        if fields.get(name):
            yield f"{name}: {what}, which is not taken over"
    for name in ("filter_text_added", "filter_text_removed", "filter_text_replaced"):
        if fields.get(name) is False:
            yield f"{name}: it tells of some changes only, which is not taken over"
    if (watch.method or "GET").upper() != "GET":
        yield f"method: Vigil reads with GET, not with {watch.method}"


def _told(watch: Watch, fields: Mapping[str, Any]) -> Iterator[str]:
    for name, instead in _OTHERWISE.items():
        if fields.get(name):
            yield f"{name} is not taken over: {instead}"
    if (watch.fetch_backend or "") not in _PLAIN_BACKENDS:
        yield "fetch_backend: Vigil reads the page without a browser; see whether everything is there"
    limit = fields.get("time_schedule_limit")
    if isinstance(limit, dict) and limit.get("enabled"):
        yield "time_schedule_limit is not taken over: give the monitor a cron schedule"
    if watch.url.startswith("source:"):
        yield "source: Vigil reads what a page shows, not its source"
    if watch.processor == "restock_diff":
        yield "processor restock_diff: the price is watched, and not whether there is stock"


def _shared_interval(settings: Mapping[str, Any]) -> int | None:
    requests = settings.get("requests")
    between = requests.get("time_between_check") if isinstance(requests, dict) else None
    return _seconds(between) if isinstance(between, dict) else None


def _interval(watch: Watch, usual: int | None) -> int | None:
    """How many seconds lie between two checks; None when nobody said."""
    own = _seconds(watch.time_between_check or {})
    return usual if own is None or watch.time_between_check_use_default else own


def _seconds(between: Mapping[str, Any]) -> int | None:
    amounts: Sequence[tuple[int, object]] = [(_UNITS[unit], between.get(unit)) for unit in _UNITS]
    try:
        seconds = int(sum(size * float(str(amount)) for size, amount in amounts if amount))
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
