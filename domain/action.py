"""The action aggregate: what is to be done when a trigger fires."""

import re
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from domain.errors import InvalidInput, NotFound
from domain.event import Event, stored_as
from domain.name import check_name
from domain.personal_data import Personal

RECIPIENTS_MAX = 10
SUBJECT_CHARS_MAX = 200
PLACEHOLDERS = frozenset({"monitor", "state", "explanation"})


class EmailAction(msgspec.Struct, frozen=True, kw_only=True, tag="email", forbid_unknown_fields=True):
    """Send an e-mail. `to` are verified addresses of the person (none: their own); `subject_template` may hold the
    placeholders {monitor}, {state}, {explanation}, and is never compiled as code (CWE-1336)."""

    to: tuple[str, ...] = ()
    subject_template: str | None = None


ActionConfig = EmailAction
"""A tagged union of what an action can do; the next kind is added here with `|`."""


_PERSONAL = {"name": Personal.TEXT, "config.to": Personal.LIST, "config.subject_template": Personal.TEXT}


@stored_as("action.created", personal=_PERSONAL)
class ActionCreated(Event, frozen=True, kw_only=True):
    """A person described something to be done."""

    name: str
    config: ActionConfig
    created_at: datetime


@stored_as("action.revised", personal=_PERSONAL)
class ActionRevised(Event, frozen=True, kw_only=True):
    """The action is done differently from now on."""

    name: str
    config: ActionConfig
    revised_at: datetime


@stored_as("action.deleted")
class ActionDeleted(Event, frozen=True, kw_only=True):
    """The action is done no more."""

    deleted_at: datetime


ActionEvent = ActionCreated | ActionRevised | ActionDeleted


@dataclass(frozen=True, slots=True)
class Action:
    """An action as the events so far tell it; `config` is None before it exists and after it was deleted."""

    name: str = ""
    config: ActionConfig | None = None


def evolve(action: Action, event: ActionEvent) -> Action:
    """The action after `event`."""
    match event:
        case ActionCreated(name=name, config=config) | ActionRevised(name=name, config=config):
            return Action(name=name, config=config)
        case ActionDeleted():
            return replace(action, config=None)


def create(*, name: str, config: ActionConfig, own_address: str, now: datetime) -> list[ActionEvent]:
    """A new action; mail may go only to the person's own verified address."""
    _check(name, config, own_address)
    return [ActionCreated(name=name, config=config, created_at=now)]


def revise(action: Action, *, name: str, config: ActionConfig, own_address: str, now: datetime) -> list[ActionEvent]:
    """Change an action; the same content changes nothing."""
    if action.config is None:
        raise NotFound
    _check(name, config, own_address)
    return (
        []
        if (name, config) == (action.name, action.config)
        else [ActionRevised(name=name, config=config, revised_at=now)]
    )


def delete(action: Action, *, now: datetime) -> list[ActionEvent]:
    """Remove an action; removing it twice changes nothing."""
    return [] if action.config is None else [ActionDeleted(deleted_at=now)]


def _check(name: str, config: ActionConfig, own_address: str) -> None:
    check_name(name)
    if len(config.to) > RECIPIENTS_MAX:
        raise InvalidInput(f"an e-mail goes to at most {RECIPIENTS_MAX} addresses", field="to")
    for i, address in enumerate(config.to):
        if address.lower() != own_address.lower():
            raise InvalidInput(f"{address!r} is not a verified address of yours", field=f"to[{i}]")
        if address.lower() in {earlier.lower() for earlier in config.to[:i]}:
            raise InvalidInput(f"{address!r} stands there twice", field=f"to[{i}]")
    template = config.subject_template
    if template is None:
        return
    if not template.isprintable() or not 1 <= len(template) <= SUBJECT_CHARS_MAX:
        raise InvalidInput(f"a subject is 1 to {SUBJECT_CHARS_MAX} printable characters", field="subject_template")
    for name_used in re.findall(r"\{(\w*)\}", template):
        if name_used not in PLACEHOLDERS:
            known = ", ".join(f"{{{p}}}" for p in sorted(PLACEHOLDERS))
            raise InvalidInput(f"{{{name_used}}} is not a placeholder; known are {known}", field="subject_template")
