"""Firing: what a trigger does about a change of its monitor."""

from datetime import datetime, timedelta
from uuid import UUID, uuid5

from domain.monitor import ConditionMetAgain, State, StateChanged
from domain.trigger import Frequency, Trigger, TriggerCondition, TriggerEvent, TriggerFired, TriggerSuppressed

Occasion = StateChanged | ConditionMetAgain


def fire(
    trigger_id: UUID, trigger: Trigger, occasion: Occasion, *, place: int, obstacle: str | None, now: datetime
) -> list[TriggerEvent]:
    """What a trigger does about a change: fires, is suppressed with a reason, or (not its change) nothing.

    `place` is the change's position in its partition of the log, which only grows; `obstacle` a reason from outside the
    trigger why its action cannot be done.
    """
    if trigger.monitor_id is None or trigger.deleted or place <= trigger.last_occasion:
        return []
    if not _waits_for(trigger.condition, occasion):
        return []
    firing_id = uuid5(trigger_id, str(place))
    reason = _reason_not_to_fire(trigger, now) or obstacle
    if reason is not None:
        return [
            TriggerSuppressed(
                firing_id=firing_id,
                monitor_id=trigger.monitor_id,
                evaluation_id=occasion.evaluation_id,
                occasion=place,
                reason=reason,
                suppressed_at=now,
            )
        ]
    return [
        TriggerFired(
            firing_id=firing_id,
            monitor_id=trigger.monitor_id,
            evaluation_id=occasion.evaluation_id,
            occasion=place,
            fired_at=now,
        )
    ]


def _waits_for(condition: TriggerCondition, occasion: Occasion) -> bool:
    match condition:
        case TriggerCondition.BECOMES_ACTIVE:
            return isinstance(occasion, ConditionMetAgain) or occasion.to_state is State.ACTIVE
        case TriggerCondition.BECOMES_INACTIVE:
            return (
                isinstance(occasion, StateChanged)
                and occasion.from_state is State.ACTIVE
                and occasion.to_state is State.INACTIVE
            )
        case TriggerCondition.STATE_CHANGE:
            return isinstance(occasion, StateChanged) and occasion.from_state is not State.UNKNOWN


def _reason_not_to_fire(trigger: Trigger, now: datetime) -> str | None:
    if not trigger.enabled:
        return "disabled"
    if trigger.frequency is Frequency.ONCE and trigger.fired:
        return "once_already_fired"
    # A firing that lies ahead is of a clock that was ahead: it cools down nothing, or mails would be missed until then.
    if trigger.last_fired_at is not None and timedelta() <= now - trigger.last_fired_at < trigger.cooldown:
        return "cooldown"
    return None
