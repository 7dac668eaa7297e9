"""POST of /api/v1/monitors/preview, /validate and /{id}/validate: finding out before anything is stored."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, JSONBody

from commands.forecasting import Forecasting
from commands.http.failures import details_of
from commands.http.form import AnyRequest, Envelope, ErrorDetail, answer
from commands.monitors import MonitorCommands
from commands.monitors_http import MonitorBody, MonitorPatch, merged_wish, wish_of
from commands.previewing import PREVIEWS_AT_ONCE_MAX, Failure, Previewing, TooManyPreviews, Trial
from commands.shapes import (
    ConditionShape,
    EvaluationError,
    FactShape,
    PlanShape,
    ScheduleShape,
    plan_shape,
    schedule_of,
)
from commands.validating import Finding, Validating
from domain.condition import Judgement
from domain.errors import InvalidInput
from domain.evaluation import Verdict
from domain.evidence import Document
from domain.forecast import Forecast
from domain.monitor import State

RETRY_AFTER_SECONDS = 5


class ValidationShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a body would come to. `details` are its mistakes, all that can be told at once; then there is no plan."""

    valid: bool
    name: str | None
    plan: PlanShape | None
    resets_state: bool
    details: tuple[ErrorDetail, ...]


class TrialEvidenceShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a source answered in a trial. Its content is not shown, only what was read from it."""

    url: str
    outcome: str
    status: int | None
    content_type: str
    bytes: int
    hash: str | None
    message: str | None
    fetched_at: datetime


class TrialShape(msgspec.Struct, frozen=True, kw_only=True):
    """A first evaluation that was only tried, in the form of an evaluation. It has no id, for it is not kept. Its costs are in
    millionths of a US dollar."""

    id: UUID | None = None
    monitor_id: UUID | None = None
    status: Literal["completed", "failed"]
    verdict: Verdict | None
    state_before: State
    state_after: State
    changed: bool
    facts: tuple[FactShape, ...]
    condition: ConditionShape | None
    reason: str | None
    evidence: tuple[TrialEvidenceShape, ...]
    error: EvaluationError | None
    cost_micros: int | None
    saved_micros: int | None
    duration_ms: int
    started_at: datetime
    completed_at: datetime


class PreviewShape(msgspec.Struct, frozen=True, kw_only=True):
    """The monitor a body would become, its first evaluation, what it would cost, where models read for it, and what compiling
    its prompt cost, where models were paid for that."""

    name: str
    plan: PlanShape
    compile_cost_micros: int | None
    forecast: Forecast | None
    evaluation: TrialShape


B = TypeVar("B", bound=MonitorBody | MonitorPatch)


class MonitorTrials(Controller):
    """Trying monitors out. Nothing is stored, and no place is taken."""

    path = "/monitors"
    tags = ("Monitors",)

    @post("/preview", status_code=200, summary="Preview a monitor")
    async def preview_monitor(
        self,
        request: AnyRequest,
        data: JSONBody[MonitorBody],
        previews: NamedDependency[Previewing],
        forecasting: NamedDependency[Forecasting],
    ) -> Envelope[PreviewShape]:
        """Compile the prompt and look once, at most 25 seconds: the plan, the facts with the words they were read from, and
        the verdict, as the first evaluation would have them. What is wrong with the body is refused as at creation; what is
        wrong with a source is an answer, with `status` `failed`. A condition on history has none yet: its verdict is
        `not_met`, and `reason` says so. What models read for it is asked and paid for. Two previews at a time."""
        try:
            trial = await previews.preview(request.user.user_id, wish_of(data))
        except TooManyPreviews:
            raise TooManyRequestsException(
                f"at most {PREVIEWS_AT_ONCE_MAX} previews at a time; wait for one to end",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from None
        forecast = forecasting.of(trial.plan, at=trial.completed_at, tried=trial.look)
        return answer(request, _preview_shape(trial, forecast))

    @post("/validate", status_code=200, summary="Validate a monitor")
    async def validate_monitor(
        self, request: AnyRequest, data: JSONBody[MonitorBody], monitors: NamedDependency[MonitorCommands]
    ) -> Envelope[ValidationShape]:
        """What the body would be compiled into as a new monitor, or all its mistakes, without a look at the sources. The
        answer is 200 either way; only a body with unknown fields or wrong types is refused. Whether the name is taken
        shows when the monitor is created."""

        async def validate(sound: MonitorBody) -> Finding:
            return await Validating(monitors).validate(request.user, wish_of(sound))

        return answer(request, await _found(data, validate))

    @post("/{monitor_id:uuid}/validate", status_code=200, summary="Validate a change of a monitor")
    async def validate_change(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        data: JSONBody[MonitorPatch] = MonitorPatch(),  # noqa: B008  frozen
    ) -> Envelope[ValidationShape]:
        """What the monitor would be with this change, as PATCH would make it, or all mistakes in it. `resets_state` says
        that it asks another question, whose state is unknown again."""

        async def validate(sound: MonitorPatch) -> Finding:
            return await Validating(monitors).validate_change(
                request.user, monitor_id, lambda present: merged_wish(sound, present)
            )

        return answer(request, await _found(data, validate))


async def _found(data: B, validate: Callable[[B], Awaitable[Finding]]) -> ValidationShape:
    """What was found, also of a body whose schedule is none: that is told beside everything else."""
    wrong = _mistake_in(data.schedule)
    found = await validate(data if wrong is None else msgspec.structs.replace(data, schedule=None))
    mistakes = (*found.mistakes, *(() if wrong is None else (wrong,)))
    sound = not mistakes
    return ValidationShape(
        valid=sound,
        name=found.name if sound else None,
        plan=plan_shape(found.plan) if sound and found.plan is not None else None,
        resets_state=sound and found.resets_state,
        details=tuple(detail for mistake in mistakes for detail in details_of(mistake)),
    )


def _mistake_in(schedule: ScheduleShape | None) -> InvalidInput | None:
    try:
        if schedule is not None:
            schedule_of(schedule)
    except InvalidInput as mistake:
        return mistake
    return None


def _preview_shape(trial: Trial, forecast: Forecast | None) -> PreviewShape:
    look, outcome = trial.look, trial.outcome
    judged = outcome if isinstance(outcome, Judgement) else None
    failed = outcome if isinstance(outcome, Failure) else None
    evaluation = TrialShape(
        status="completed" if failed is None else "failed",
        verdict=None if judged is None else judged.verdict,
        state_before=State.UNKNOWN,
        state_after=trial.state_after,
        changed=trial.state_after is not State.UNKNOWN,
        facts=()
        if look is None
        else tuple(msgspec.convert(fact, FactShape, from_attributes=True) for fact in look.facts.values()),
        condition=None if judged is None else _condition_shape(trial.plan.condition, judged),
        reason=None if judged is None else judged.reason,
        evidence=() if look is None else tuple(_evidence_shape(document) for _, document in look.answers),
        error=None if failed is None else EvaluationError(code=failed.code, message=failed.message),
        cost_micros=None if look is None else look.cost_micros,
        saved_micros=None if look is None else look.saved_micros,
        duration_ms=int((trial.completed_at - trial.started_at).total_seconds() * 1000),
        started_at=trial.started_at,
        completed_at=trial.completed_at,
    )
    return PreviewShape(
        name=trial.name,
        plan=plan_shape(trial.plan),
        compile_cost_micros=trial.compile_cost_micros or None,
        forecast=forecast,
        evaluation=evaluation,
    )


def _condition_shape(expression: str, judged: Judgement) -> ConditionShape:
    result = {Verdict.MET: True, Verdict.NOT_MET: False, Verdict.INCONCLUSIVE: None}[judged.verdict]
    return ConditionShape(expression=expression, inputs=judged.inputs, result=result)


def _evidence_shape(document: Document) -> TrialEvidenceShape:
    return TrialEvidenceShape(
        url=document.url,
        outcome=document.outcome,
        status=document.status,
        content_type=document.content_type,
        bytes=len(document.body),
        hash=document.hash,
        message=document.message,
        fetched_at=document.fetched_at,
    )
