"""One stored event as one readable line: time, what happened, to which monitor, and the essentials.

What a line shows comes partly from outside (pages, mail servers): it is stripped of everything that steers a terminal,
and of the parts of addresses that may hold secrets.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from uuid import UUID

from rich.text import Text

from domain import evaluation, notification, trigger, user
from domain.budget import dollars
from domain.event import Event, StreamEvent
from domain.fact import Fact, FactValue
from domain.model_call import CallOutcome, ModelCalled
from domain.monitor import (
    ConditionMetAgain,
    MonitorCreated,
    MonitorDeleted,
    MonitorPaused,
    MonitorRenamed,
    MonitorRestored,
    MonitorResumed,
    PlanRevised,
    State,
    StateChanged,
)
from domain.monitor_health import MonitorFailing, MonitorRecovered

VALUE_CHARS_MAX, TEXT_CHARS_MAX, NAME_CHARS_MAX = 40, 160, 28
WORD_CHARS = 11
_STATE_STYLES = {State.UNKNOWN: "yellow", State.INACTIVE: "cyan", State.ACTIVE: "bold green"}
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,20}://)(?:[^\s/?#]*@)?(?P<place>[^\s?#]*)(?P<rest>[?#]\S*)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier events told that a line needs: names of monitors and triggers by id, requested notifications by
    their stream, facts by the stream of their evaluation."""

    monitors: Mapping[UUID, str] = field(default_factory=dict)
    triggers: Mapping[UUID, str] = field(default_factory=dict)
    requests: Mapping[UUID, notification.NotificationRequested] = field(default_factory=dict)
    facts: Mapping[UUID, tuple[Fact, ...]] = field(default_factory=dict)


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class _Told:
    """The parts of a line after the time; `style` is for the word, or for the whole line when `quiet`."""

    icon: str
    word: str
    style: str
    subject: str = ""
    detail: Text = field(default_factory=Text)
    quiet: bool = False


def render_event_line(
    stream_event: StreamEvent, known: Known = NOTHING_KNOWN, *, timezone: tzinfo | None = UTC
) -> Text:
    """The line of an event, of any kind whatsoever, without a line break. `timezone` None is the local one."""
    told = _told(stream_event, known)
    at = stream_event.recorded_at.astimezone(timezone)
    body = Text.assemble((f"{told.icon} {told.word:<{WORD_CHARS}}", told.style))
    if told.subject:
        body.append(f" {clean(told.subject, NAME_CHARS_MAX)}", style="" if told.quiet else "bold")
    if told.detail:
        body.append("  ").append_text(told.detail)
    if told.quiet:
        body.stylize("dim")
    return Text.assemble((f"{at:%H:%M:%S} ", "dim"), body)


def clean(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A text from anywhere as a piece of a line: addresses lose user, password, query and fragment, what is not
    printable (line breaks, escape sequences, changes of direction) becomes a space, and the end is cut off."""
    without_secrets = _URL.sub(lambda url: f"{url['scheme']}{url['place']}{'?…' if url['rest'] else ''}", text)
    printable = " ".join("".join(c if c.isprintable() else " " for c in without_secrets).split())
    return printable if len(printable) <= chars_max else printable[: chars_max - 1] + "…"


def _told(stored: StreamEvent, known: Known) -> _Told:
    event = stored.event
    told = (
        _of_monitor(event, _named(known.monitors, stored.stream_id))
        or _of_evaluation(event, stored.stream_id, known)
        or _of_model(event, known)
        or _of_trigger(event, stored.stream_id, known)
        or _of_notification(event, stored.stream_id, known)
        or _of_person(event)
    )
    if told is not None:
        return told
    tag = getattr(event, "tag", type(event).__name__)
    subject, _, happened = str(tag).partition(".")
    return _Told("·", clean(subject, WORD_CHARS), "dim", detail=Text(clean(happened).replace("_", " ")), quiet=True)


def _of_monitor(event: Event, name: str) -> _Told | None:
    match event:
        case MonitorCreated(name=given, prompt=prompt):
            return _Told("+", "watching", "blue", given, Text(clean(prompt), style="italic"))
        case MonitorRenamed(name=given):
            return _Told("~", "renamed", "blue", name, Text(f"now {clean(given, NAME_CHARS_MAX)}"))
        case PlanRevised(prompt=prompt, state_reset=reset):
            again = Text(" (the state is unknown again)") if reset else Text()
            return _Told("~", "revised", "blue", name, Text(clean(prompt), style="italic") + again)
        case MonitorPaused():
            return _Told("=", "paused", "yellow", name)
        case MonitorResumed():
            return _Told(">", "resumed", "blue", name)
        case MonitorDeleted():
            return _Told("x", "deleted", "yellow", name)
        case MonitorRestored():
            return _Told(">", "restored", "blue", name)
        case StateChanged(from_state=before, to_state=after):
            return _Told("●", "changed", _STATE_STYLES[after], name, _arrow(before, after))
        case ConditionMetAgain():
            return _Told("●", "met again", "green", name)
        case MonitorFailing(code=code, message=message):
            return _Told("!", "failing", "bold red", name, _trouble(code, message))
        case MonitorRecovered():
            return _Told(">", "recovered", "green", name)
        case _:
            return None


def _of_evaluation(event: Event, stream_id: UUID, known: Known) -> _Told | None:
    match event:
        case evaluation.EvaluationRequested(monitor_id=monitor):
            return _Told("·", "asked", "dim", _named(known.monitors, monitor), Text("to evaluate now"), quiet=True)
        case evaluation.FactExtracted(monitor_id=monitor, fact=fact):
            return _Told("·", "fact", "dim", _named(known.monitors, monitor), _facts((fact,)), quiet=True)
        case evaluation.EvaluationCompleted(monitor_id=monitor):
            facts = known.facts.get(stream_id, ())
            detail = _facts(facts) if facts else _inputs(event.inputs)
            detail.append(f"; {event.verdict.value.replace('_', ' ')}")
            if event.reason:
                detail.append(f" ({clean(event.reason)})")
            unchanged = event.state_before is event.state_after
            return _Told("·", "looked", "", _named(known.monitors, monitor), detail, quiet=unchanged)
        case evaluation.EvaluationFailed(monitor_id=monitor, code=code, message=message):
            return _Told("!", "failed", "red", _named(known.monitors, monitor), _trouble(code, message))
        case _:
            return None


def _of_model(event: Event, known: Known) -> _Told | None:
    if not isinstance(event, ModelCalled):
        return None
    subject = "" if event.monitor_id is None else _named(known.monitors, event.monitor_id)
    who, outcome = f"{clean(event.provider)} {clean(event.model)}", event.outcome.value.replace("_", " ")
    cost = f"{'at most ' if event.is_estimated else ''}{dollars(event.cost_micros)}"
    detail = Text(f"{who}: {outcome}, {cost}{f' ({clean(event.message)})' if event.message else ''}")
    if event.outcome is CallOutcome.OK:
        return _Told("·", "called", "dim", subject, detail, quiet=True)
    return _Told("!", "called", "yellow", subject, detail)


def _of_trigger(event: Event, stream_id: UUID, known: Known) -> _Told | None:
    name = _named(known.triggers, stream_id)
    match event:
        case trigger.TriggerCreated(name=given, condition=condition, frequency=frequency):
            detail = Text(f"{condition.value}, {frequency.value}".replace("_", " "))
            return _Told("+", "trigger", "blue", given, detail)
        case trigger.TriggerFired(monitor_id=monitor):
            return _Told("»", "fired", "magenta", _named(known.monitors, monitor), Text(clean(name, NAME_CHARS_MAX)))
        case trigger.TriggerSuppressed(monitor_id=monitor, reason=reason):
            detail = Text(f"{clean(name, NAME_CHARS_MAX)}: {clean(reason).replace('_', ' ')}")
            return _Told("-", "suppressed", "yellow", _named(known.monitors, monitor), detail)
        case trigger.TriggerEnabled():
            return _Told(">", "enabled", "blue", name)
        case trigger.TriggerDisabled():
            return _Told("=", "disabled", "yellow", name)
        case _:
            return None


def _of_notification(event: Event, stream_id: UUID, known: Known) -> _Told | None:
    match event:
        case notification.NotificationRequested():
            return _Told("·", "mail due", "dim", _about(event, known), _letter(event), quiet=True)
        case notification.NotificationSent():
            request = known.requests.get(stream_id)
            return _Told("✉", "mail sent", "bold magenta", _about(request, known), _letter(request))
        case notification.DeliveryDeferred(code=code, message=message, retry_at=retry_at):
            request = known.requests.get(stream_id)
            trouble = _trouble(code, message).append(f"; again at {retry_at.astimezone(UTC):%H:%M:%S} UTC")
            return _Told("!", "mail later", "yellow", _about(request, known), trouble)
        case notification.NotificationFailed(code=code, message=message):
            request = known.requests.get(stream_id)
            return _Told("!", "mail failed", "red", _about(request, known), _trouble(code, message))
        case notification.NotificationSuppressed(reason=reason):
            request = known.requests.get(stream_id)
            return _Told("-", "no mail", "yellow", _about(request, known), Text(clean(reason)))
        case _:
            return None


def _of_person(event: Event) -> _Told | None:
    match event:
        case user.UserRegistered(email=address):
            return _Told("+", "registered", "blue", address)
        case user.EmailVerified(email=address):
            return _Told("+", "verified", "blue", address)
        case user.RoleGranted(role=role):
            return _Told("~", "granted", "blue", detail=Text(f"the role {clean(role)}"))
        case _:
            return None


def _named(names: Mapping[UUID, str], subject: UUID) -> str:
    # The end of an id: the beginning of a version 7 UUID is its time, alike in all of one day.
    return names.get(subject) or f"…{subject.hex[-6:]}"


def _about(request: notification.NotificationRequested | None, known: Known) -> str:
    return "" if request is None or request.monitor_id is None else _named(known.monitors, request.monitor_id)


def _letter(request: notification.NotificationRequested | None) -> Text:
    if request is None:
        return Text()
    return Text.assemble(f"to {clean(request.to)}: ", (clean(request.subject), "italic"))


def _trouble(code: str | int | None, message: str) -> Text:
    return Text(clean(message) if code is None else f"{clean(str(code))}: {clean(message)}")


def _arrow(before: State, after: State) -> Text:
    return Text.assemble((before.value, _STATE_STYLES[before]), " → ", (after.value, _STATE_STYLES[after]))


def _facts(facts: tuple[Fact, ...]) -> Text:
    return Text(", ".join(f"{_fact(f.name, f.value)}{' ' + clean(f.unit, 12) if f.unit else ''}" for f in facts))


def _inputs(inputs: Mapping[str, FactValue | None]) -> Text:
    return Text(", ".join(_fact(name, value) for name, value in inputs.items()))


def _fact(name: str, value: FactValue | None) -> str:
    return f"{clean(name, VALUE_CHARS_MAX)} {_value(value)}"


def _value(value: FactValue | None) -> str:
    match value:
        case None:
            return "not known"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:.12g}"
        case str():
            return clean(value, VALUE_CHARS_MAX)
        case list():
            count = f"{len(value)} item{'' if len(value) == 1 else 's'}"
            return f"{count}: {clean(', '.join(value), VALUE_CHARS_MAX)}" if value else count
