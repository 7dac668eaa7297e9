"""The shapes clients read (API.md, Shapes that clients read), shared by the answers to commands and the read API."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import isodate
import msgspec

from domain.action import ActionConfig
from domain.errors import InvalidInput
from domain.fact import FactSpec, FactType, FactValue
from domain.forecast import Forecast
from domain.monitor import State
from domain.plan import Fires, Kind, Plan
from domain.schedule import Cron, Every, Schedule
from domain.source import Source
from domain.trigger import Frequency, TriggerCondition


class ScheduleShape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`{every: "PT5M"}` (ISO 8601 duration) or `{cron: "0 8 * * 1-5", timezone: "Europe/Berlin"}`."""

    every: str | None = None
    cron: str | None = None
    timezone: str | None = None


class FailingShape(msgspec.Struct, frozen=True, kw_only=True):
    """Why a monitor is failing: since when its sources cannot be read, how many looks in a row had failed when that was
    noticed, and what was wrong then."""

    since: datetime
    failures: int
    code: str
    message: str


class MonitorShape(msgspec.Struct, frozen=True, kw_only=True):
    """A monitor with its plan and present state; `failing` is null unless the status is failing. `forecast` is there where one
    monitor is told as it is now, and models read for it; `compile_cost_micros` (millionths of a US dollar) in the answer to
    its creation, where models were paid for compiling its prompt."""

    id: UUID
    name: str
    prompt: str
    kind: Kind
    status: str
    failing: FailingShape | None
    state: State
    facts: tuple[FactSpec, ...]
    condition: str
    sources: tuple[Source, ...]
    schedule: ScheduleShape
    confirmations: int
    min_confidence: float
    fires: Fires
    reset_condition: str | None
    provider: str | None
    batch: bool
    explanation: str
    last_evaluated_at: datetime | None
    next_due_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime
    forecast: Forecast | None = None
    compile_cost_micros: int | None = None


class FactShape(msgspec.Struct, frozen=True, kw_only=True):
    """A value that was read, and where it stands in the evidence. `confidence` is 0..1; `reason` is why a model says yes or no."""

    name: str
    type: FactType
    value: FactValue
    unit: str | None
    confidence: float
    quote: str
    source_url: str
    evidence_hash: str
    observed_at: datetime
    reason: str | None


class ConditionShape(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged: the expression, every value it used, and what it said (null: inconclusive)."""

    expression: str
    inputs: dict[str, FactValue | None]
    result: bool | None


class EvaluationError(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing could be judged."""

    code: str
    message: str


class PlanShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a wish was compiled into."""

    kind: Kind
    facts: tuple[FactSpec, ...]
    condition: str
    sources: tuple[Source, ...]
    schedule: ScheduleShape
    confirmations: int
    min_confidence: float
    fires: Fires
    reset_condition: str | None
    provider: str | None
    batch: bool
    explanation: str


class ActionShape(msgspec.Struct, frozen=True, kw_only=True):
    """An action; `type` says what it does, `config` how."""

    id: UUID
    name: str
    type: str
    to: tuple[str, ...]
    subject_template: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class TriggerShape(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger: which change of which monitor sets off which action, how often."""

    id: UUID
    monitor_id: UUID
    action_id: UUID
    name: str
    condition: TriggerCondition
    frequency: Frequency
    cooldown: str | None
    enabled: bool
    snoozed_until: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


def monitor_shape(
    *,
    id: UUID,  # noqa: A002  the field's name in the API
    name: str,
    prompt: str,
    status: str,
    state: State,
    failing: FailingShape | None = None,
    plan: Plan,
    last_evaluated_at: datetime | None,
    next_due_at: datetime | None,
    version: int,
    created_at: datetime,
    updated_at: datetime,
    forecast: Forecast | None = None,
) -> MonitorShape:
    """A monitor with its plan spread out."""
    return MonitorShape(
        id=id,
        name=name,
        prompt=prompt,
        kind=plan.kind,
        status=status,
        failing=failing,
        state=state,
        facts=plan.facts,
        condition=plan.condition,
        sources=plan.sources,
        schedule=schedule_shape(plan.schedule),
        confirmations=plan.confirmations,
        min_confidence=plan.min_confidence,
        fires=plan.fires,
        reset_condition=plan.reset_condition,
        provider=plan.provider,
        batch=plan.batch,
        explanation=plan.explanation,
        last_evaluated_at=last_evaluated_at,
        next_due_at=next_due_at,
        version=version,
        created_at=created_at,
        updated_at=updated_at,
        forecast=forecast,
    )


def plan_shape(plan: Plan) -> PlanShape:
    """A plan as clients read it."""
    return PlanShape(
        kind=plan.kind,
        facts=plan.facts,
        condition=plan.condition,
        sources=plan.sources,
        schedule=schedule_shape(plan.schedule),
        confirmations=plan.confirmations,
        min_confidence=plan.min_confidence,
        fires=plan.fires,
        reset_condition=plan.reset_condition,
        provider=plan.provider,
        batch=plan.batch,
        explanation=plan.explanation,
    )


def action_shape(
    *,
    id: UUID,  # noqa: A002  the field's name in the API
    name: str,
    config: ActionConfig,
    version: int,
    created_at: datetime,
    updated_at: datetime,
) -> ActionShape:
    """An action with its configuration spread out."""
    return ActionShape(
        id=id,
        name=name,
        type="email",
        to=config.to,
        subject_template=config.subject_template,
        version=version,
        created_at=created_at,
        updated_at=updated_at,
    )


def schedule_shape(schedule: Schedule) -> ScheduleShape:
    """A schedule as clients write it."""
    match schedule:
        case Every(seconds=seconds):
            return ScheduleShape(every=duration_text(timedelta(seconds=seconds)))
        case Cron(line=line, timezone=timezone):
            return ScheduleShape(cron=line, timezone=timezone)


def schedule_of(shape: ScheduleShape) -> Schedule:
    """A schedule as the domain knows it; raises `InvalidInput` naming the field."""
    if (shape.every is None) == (shape.cron is None):
        raise InvalidInput("give either every or cron", field="schedule")
    if shape.every is not None:
        if shape.timezone is not None:
            raise InvalidInput("a time zone goes with cron only", field="schedule.timezone")
        interval = parse_duration(shape.every, field="schedule.every")
        if interval.microseconds:
            raise InvalidInput("an interval is whole seconds", field="schedule.every")
        return Every(seconds=interval // timedelta(seconds=1))
    return Cron(line=shape.cron or "", timezone="UTC" if shape.timezone is None else shape.timezone)


def parse_duration(text: str, *, field: str) -> timedelta:
    """An ISO 8601 duration of days and times; raises `InvalidInput` naming the field."""
    try:
        duration = isodate.parse_duration(text, as_timedelta_if_possible=True)
    except (isodate.ISO8601Error, OverflowError, TypeError):
        duration = None
    if not isinstance(duration, timedelta):
        raise InvalidInput(
            f"{text!r} is not an ISO 8601 duration of days and times; write for example PT5M", field=field
        )
    return duration


def duration_text(duration: timedelta) -> str:
    """A duration as ISO 8601 writes it."""
    text: Any = isodate.duration_isoformat(duration)
    return str(text)
