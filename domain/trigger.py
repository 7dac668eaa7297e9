"""The trigger aggregate: which changes of a monitor set off which action, and how often."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.errors import InvalidInput, NotFound
from domain.event import Event, stored_as
from domain.name import check_name
from domain.personal_data import Personal

COOLDOWN_MAX = timedelta(days=366)


class TriggerCondition(StrEnum):
    """Which change a trigger waits for. The first verdict ever is no `state_change`, and `becomes_inactive` waits for
    a monitor that was active."""

    STATE_CHANGE = "state_change"
    BECOMES_ACTIVE = "becomes_active"
    BECOMES_INACTIVE = "becomes_inactive"


class Frequency(StrEnum):
    """How often a trigger fires: once and then never until it is enabled again, or every time."""

    ONCE = "once"
    EVERY_TIME = "every_time"


@stored_as("trigger.created", personal={"name": Personal.TEXT})
class TriggerCreated(Event, frozen=True, kw_only=True):
    """A person linked a monitor to an action."""

    monitor_id: UUID
    action_id: UUID
    name: str
    condition: TriggerCondition
    frequency: Frequency
    cooldown_seconds: int = 0
    created_at: datetime


@stored_as("trigger.revised", personal={"name": Personal.TEXT})
class TriggerRevised(Event, frozen=True, kw_only=True):
    """The trigger waits for something else, or fires otherwise, from now on."""

    action_id: UUID
    name: str
    condition: TriggerCondition
    frequency: Frequency
    cooldown_seconds: int = 0
    revised_at: datetime


@stored_as("trigger.enabled")
class TriggerEnabled(Event, frozen=True, kw_only=True):
    """The trigger may fire (again)."""

    enabled_at: datetime


@stored_as("trigger.disabled")
class TriggerDisabled(Event, frozen=True, kw_only=True):
    """The trigger does not fire until it is enabled."""

    disabled_at: datetime


@stored_as("trigger.deleted")
class TriggerDeleted(Event, frozen=True, kw_only=True):
    """The trigger is gone."""

    deleted_at: datetime


@stored_as("trigger.fired")
class TriggerFired(Event, frozen=True, kw_only=True):
    """The change the trigger waited for came, and the action is to be done."""

    firing_id: UUID
    monitor_id: UUID
    evaluation_id: UUID
    occasion: int
    fired_at: datetime


@stored_as("trigger.suppressed")
class TriggerSuppressed(Event, frozen=True, kw_only=True):
    """The change came, but the action is not done; `reason` says why (disabled, once_already_fired,
    cooldown, action_deleted, address_unverified)."""

    firing_id: UUID
    monitor_id: UUID
    evaluation_id: UUID
    occasion: int
    reason: str
    suppressed_at: datetime


TriggerEvent = (
    TriggerCreated
    | TriggerRevised
    | TriggerEnabled
    | TriggerDisabled
    | TriggerDeleted
    | TriggerFired
    | TriggerSuppressed
)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger as the events so far tell it. `last_occasion` is the place in the log of the last change it judged, so
    that a change delivered twice is judged once."""

    monitor_id: UUID | None = None
    action_id: UUID | None = None
    name: str = ""
    condition: TriggerCondition = TriggerCondition.BECOMES_ACTIVE
    frequency: Frequency = Frequency.EVERY_TIME
    cooldown: timedelta = timedelta()
    enabled: bool = False
    deleted: bool = False
    fired: bool = False
    last_fired_at: datetime | None = None
    last_occasion: int = 0


def evolve(trigger: Trigger, event: TriggerEvent) -> Trigger:
    """The trigger after `event`."""
    match event:
        case TriggerCreated():
            return Trigger(
                monitor_id=event.monitor_id,
                action_id=event.action_id,
                name=event.name,
                condition=event.condition,
                frequency=event.frequency,
                cooldown=timedelta(seconds=event.cooldown_seconds),
                enabled=True,
            )
        case TriggerRevised():
            return replace(
                trigger,
                action_id=event.action_id,
                name=event.name,
                condition=event.condition,
                frequency=event.frequency,
                cooldown=timedelta(seconds=event.cooldown_seconds),
            )
        case TriggerEnabled():
            return replace(trigger, enabled=True, fired=False)
        case TriggerDisabled():
            return replace(trigger, enabled=False)
        case TriggerDeleted():
            return replace(trigger, deleted=True)
        case TriggerFired(occasion=occasion, fired_at=at):
            return replace(trigger, fired=True, last_fired_at=at, last_occasion=occasion)
        case TriggerSuppressed(occasion=occasion):
            return replace(trigger, last_occasion=occasion)


def create(
    *,
    monitor_id: UUID,
    action_id: UUID,
    name: str,
    condition: TriggerCondition,
    frequency: Frequency,
    cooldown: timedelta,
    now: datetime,
) -> list[TriggerEvent]:
    """A new, enabled trigger."""
    _check(name, cooldown)
    return [
        TriggerCreated(
            monitor_id=monitor_id,
            action_id=action_id,
            name=name,
            condition=condition,
            frequency=frequency,
            cooldown_seconds=int(cooldown.total_seconds()),
            created_at=now,
        )
    ]


def revise(
    trigger: Trigger,
    *,
    action_id: UUID,
    name: str,
    condition: TriggerCondition,
    frequency: Frequency,
    cooldown: timedelta,
    now: datetime,
) -> list[TriggerEvent]:
    """Change a trigger; the same content changes nothing."""
    _must_exist(trigger)
    _check(name, cooldown)
    wanted = (action_id, name, condition, frequency, cooldown)
    if wanted == (trigger.action_id, trigger.name, trigger.condition, trigger.frequency, trigger.cooldown):
        return []
    return [
        TriggerRevised(
            action_id=action_id,
            name=name,
            condition=condition,
            frequency=frequency,
            cooldown_seconds=int(cooldown.total_seconds()),
            revised_at=now,
        )
    ]


def enable(trigger: Trigger, *, now: datetime) -> list[TriggerEvent]:
    """Allow firing; arms a `once` trigger again. Enabling an armed trigger changes nothing."""
    _must_exist(trigger)
    spent = trigger.fired and trigger.frequency is Frequency.ONCE
    return [] if trigger.enabled and not spent else [TriggerEnabled(enabled_at=now)]


def disable(trigger: Trigger, *, now: datetime) -> list[TriggerEvent]:
    """Forbid firing; disabling a disabled trigger changes nothing."""
    _must_exist(trigger)
    return [TriggerDisabled(disabled_at=now)] if trigger.enabled else []


def delete(trigger: Trigger, *, now: datetime) -> list[TriggerEvent]:
    """Remove a trigger; removing it twice changes nothing."""
    return [] if trigger.deleted else [TriggerDeleted(deleted_at=now)]


def _must_exist(trigger: Trigger) -> None:
    if trigger.monitor_id is None or trigger.deleted:
        raise NotFound


def _check(name: str, cooldown: timedelta) -> None:
    check_name(name)
    if not timedelta() <= cooldown <= COOLDOWN_MAX or cooldown.microseconds:
        raise InvalidInput("a cool-down is whole seconds between PT0S and P366D", field="cooldown")
