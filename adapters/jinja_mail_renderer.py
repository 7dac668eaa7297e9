"""Gives mails their form: HTML with inlined styles, and text from a template of its own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from css_inline import CSSInliner
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from domain.budget import dollars
from domain.fact import Fact, FactType, FactValue
from domain.mail import (
    AlertContent,
    AlreadyRegisteredContent,
    BudgetContent,
    FailingContent,
    MailBody,
    MailContent,
    Outage,
    RecoveredContent,
    VerifyEmailContent,
    several_lines,
    single_line,
)
from domain.monitor import State
from domain.name import NAME_CHARS_MAX
from domain.plan import PROMPT_CHARS_MAX

HTML_BYTES_MAX = 100_000
"""Gmail cuts a message off at about 102 KB."""
ROWS_MAX = (20, 8, 3, 1)
"""How many facts, inputs and sources a mail shows: the first of these with which it is small enough."""
VALUE_CHARS_MAX = 300
TEXT_CHARS_MAX = 1000
URL_CHARS_MAX = 2000
URL_CHARS_SHOWN = 160
LIST_ITEMS_SHOWN = 12

SOURCES_SHOWN = 3

_PASSES_BY_ITSELF = (
    "Most often this passes by itself. If the page opens in your browser all the while, look at its address again."
)
_ADVICE = {
    "SOURCE_UNREACHABLE": _PASSES_BY_ITSELF,
    "SOURCE_SERVER_ERROR": _PASSES_BY_ITSELF,
    "SOURCE_SLOW": _PASSES_BY_ITSELF,
    "SOURCE_BLOCKED": "The site turns automatic readers away. Let the monitor look less often, or give it another address"
    " with the same information, such as a feed.",
    "SOURCE_GONE": "The page is not there any more. Find out in your browser where it went, and give the monitor its new"
    " address.",
    "SOURCE_TOO_LARGE": "Give the monitor an address with less behind it.",
    "SOURCE_WRONG_TYPE": "The source answers with something that cannot be read. Open it in your browser, and give the"
    " monitor an address with a page, a document or a feed.",
    "SOURCE_REFUSED": "This address may not be read from here. Choose another one, or ask whoever runs this Vigil.",
}
"""What a person can do, by the code of a failure."""
_ADVICE_OTHERWISE = "Open the monitor: its last evaluations say more."

_OUTCOMES = {"ok": "read", "not_modified": "unchanged since the last look"}


@dataclass(frozen=True, slots=True)
class _Link:
    """An address as text, and as something to click on when that is safe."""

    text: str
    href: str | None


class JinjaMailRenderer:
    """Renders mails from the templates beside this file. Text from outside is a value and never a template (CWE-1336); in
    HTML it is escaped, and in both forms it is cut and has no control characters."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "mail_templates"),
            autoescape=select_autoescape(["html.j2"], disabled_extensions=["txt.j2"], default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._styles = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)

    def render(self, content: MailContent) -> MailBody:
        """The mail in both forms; the HTML has at most `HTML_BYTES_MAX` bytes. Pure: the same content gives the same mail."""
        match content:
            case AlertContent():
                return self._in_rows("alert", lambda rows_max: _alert(content, rows_max=rows_max))
            case FailingContent():
                return self._in_rows("failing", lambda rows_max: _outages(content, rows_max=rows_max))
            case RecoveredContent():
                return self._in_rows("recovered", lambda rows_max: _outages(content, rows_max=rows_max))
            case VerifyEmailContent():
                return self._both("verify_email", _verify_email(content))
            case AlreadyRegisteredContent():
                return self._both("already_registered", _already_registered(content))
            case BudgetContent():
                return self._both("budget", _budget(content))

    def _in_rows(self, name: str, values: Callable[[int], Mapping[str, object]]) -> MailBody:
        """With as many rows as are small enough."""
        bodies = (self._both(name, values(rows_max)) for rows_max in ROWS_MAX)
        body = next(bodies)
        while len(body.html.encode()) > HTML_BYTES_MAX:
            body = next(bodies)
        return body

    def _both(self, name: str, values: Mapping[str, object]) -> MailBody:
        html = self._templates.get_template(f"{name}.html.j2").render(values)
        text = self._templates.get_template(f"{name}.txt.j2").render(values)
        return MailBody(html=self._styles.inline(html), text=text)


def _alert(content: AlertContent, *, rows_max: int) -> dict[str, object]:
    zone = _zone(content.timezone)
    hosts = {urlsplit(e.url).hostname for e in content.evidence if _is_web(e.url)}
    facts = [_fact(fact, zone=zone, hosts=hosts) for fact in content.facts[:rows_max]]
    inputs = [
        {"name": _value(name), "value": _shown(value, zone=zone)}
        for name, value in list(content.inputs.items())[:rows_max]
    ]
    headline = _headline(content)
    seen = "; ".join(f"{fact['name']}: {fact['value']} {fact['unit']}".strip() for fact in facts[:3])
    return {
        "headline": headline,
        "preheader": seen or single_line(content.explanation, chars_max=VALUE_CHARS_MAX),
        "person": _name(content.person_name),
        "before": content.state_before.value,
        "after": content.state_after.value,
        "when": _moment(content.evaluated_at, zone),
        "facts": facts,
        "facts_more": len(content.facts) - len(facts),
        "prompt": several_lines(content.prompt, chars_max=PROMPT_CHARS_MAX),
        "explanation": several_lines(content.explanation, chars_max=TEXT_CHARS_MAX),
        "condition": several_lines(content.condition, chars_max=TEXT_CHARS_MAX),
        "inputs": inputs,
        "inputs_more": len(content.inputs) - len(inputs),
        "sources": [
            {"link": _link(e.url), "outcome": _OUTCOMES.get(e.outcome, _value(e.outcome).replace("_", " "))}
            for e in content.evidence[:rows_max]
        ],
        "sources_more": max(0, len(content.evidence) - rows_max),
        "monitor_link": _link(content.monitor_url),
        "evaluation_id": str(content.evaluation_id),
    }


def _outages(content: FailingContent | RecoveredContent, *, rows_max: int) -> dict[str, object]:
    zone = _zone(content.timezone)
    first = content.outages[0]
    others = len(content.outages) - 1
    who = f"“{_name(first.monitor_name)}”" + ("" if not others else f" and {others} other{'s' if others > 1 else ''}")
    return {
        "who": who,
        "person": _name(content.person_name),
        "outages": [_outage(outage, zone) for outage in content.outages[:rows_max]],
        "more": max(0, others + 1 - rows_max),
    }


def _outage(outage: Outage, zone: tzinfo) -> dict[str, object]:
    return {
        "name": _name(outage.monitor_name),
        "link": _link(outage.monitor_url),
        "since": _moment(outage.since, zone),
        "until": "" if outage.until is None else _moment(outage.until, zone),
        "failures": outage.failures,
        "said": single_line(outage.message, chars_max=VALUE_CHARS_MAX),
        "code": _value(outage.code),
        "advice": _ADVICE.get(outage.code, _ADVICE_OTHERWISE),
        "state": outage.state.value,
        "sources": [_link(url) for url in outage.source_urls[:SOURCES_SHOWN]],
        "sources_more": max(0, len(outage.source_urls) - SOURCES_SHOWN),
    }


def _verify_email(content: VerifyEmailContent) -> dict[str, object]:
    return {
        "person": _name(content.person_name),
        "link": _link(content.link, chars_shown=URL_CHARS_MAX),
        "token": _value(content.token),
        "expires": _moment(content.expires_at, UTC),
    }


def _already_registered(content: AlreadyRegisteredContent) -> dict[str, object]:
    return {"person": _name(content.person_name), "link": _link(content.login_url, chars_shown=URL_CHARS_MAX)}


def _budget(content: BudgetContent) -> dict[str, object]:
    about = {"person": _name(content.person_name), "is_installation": content.is_installation}
    where = {"link": _link(content.usage_url), "resets": _moment(content.resets_at, _zone(content.timezone))}
    return {**about, **where, "limit": dollars(content.limit_micros), "spent": dollars(content.spent_micros)}


def _headline(content: AlertContent) -> str:
    name = f"“{_name(content.monitor_name)}”"
    match content.state_before, content.state_after:
        case State.ACTIVE, State.ACTIVE:
            return f"{name} is still active, and its condition was met again."
        case before, after if before is after:
            return f"{name} is still {after.value}."
        case before, after:
            return f"{name} is now {after.value}; it was {before.value} before."


def _fact(fact: Fact, *, zone: tzinfo, hosts: set[str | None]) -> dict[str, object]:
    """A fact as a row. Its source is a link only where the evaluation itself has read: no other address gets into a mail
    as something to click on."""
    link = _link(fact.source_url)
    if link.href and urlsplit(link.href).hostname not in hosts:
        link = _Link(link.text, None)
    return {
        "name": _value(fact.name),
        "value": _shown(fact.value, zone=zone, is_timestamp=fact.type is FactType.TIMESTAMP),
        "unit": _value(fact.unit or ""),
        "quote": single_line(fact.quote, chars_max=VALUE_CHARS_MAX),
        "source": link,
        "read_at": _short_moment(fact.observed_at, zone),
        "confidence": f"{fact.confidence:.0%}" if fact.confidence < 1 else "",
    }


def _shown(value: FactValue | None, *, zone: tzinfo, is_timestamp: bool = False) -> str:
    """A value as people write it. Numbers keep 15 significant digits, which is what a double holds (IEEE 754)."""
    match value:
        case None:
            return "not known"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:.15g}"
        case str() if is_timestamp:
            return _timestamp(value, zone)
        case str():
            return _value(value)
        case _:
            return _listed(value)


def _listed(items: Iterable[str]) -> str:
    shown = [_value(item) for item in items]
    more = len(shown) - LIST_ITEMS_SHOWN
    text = ", ".join(shown[:LIST_ITEMS_SHOWN]) or "nothing"
    return _value(text) if more <= 0 else f"{_value(text)} and {more} more"


def _timestamp(value: str, zone: tzinfo) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return _value(value)
    return _short_moment(moment, zone) if moment.tzinfo else _value(value)


def _moment(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    offset = f"UTC{local.isoformat()[-6:]}" if local.utcoffset() else "UTC"
    place = f"{zone.key}, {offset}" if isinstance(zone, ZoneInfo) and zone.key != "UTC" else offset
    return f"{local:%A}, {local.day} {local:%B %Y, %H:%M} ({place})"


def _short_moment(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    return f"{local.day} {local:%B %Y, %H:%M}"


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _link(url: str, *, chars_shown: int = URL_CHARS_SHOWN) -> _Link:
    return _Link(single_line(url, chars_max=chars_shown), url if _is_web(url) else None)


def _is_web(url: str) -> bool:
    """Whether `url` is a plain http or https address; anything else (`javascript:`, `data:`) stays text."""
    if len(url) > URL_CHARS_MAX or single_line(url, chars_max=URL_CHARS_MAX) != url or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _name(text: str) -> str:
    return single_line(text, chars_max=NAME_CHARS_MAX)


def _value(text: str) -> str:
    return single_line(text, chars_max=VALUE_CHARS_MAX)
