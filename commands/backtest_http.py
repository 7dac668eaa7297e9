"""POST of /api/v1/monitors/{id}/backtest: when it would have fired."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, JSONBody

from commands.backtest import Backtested, Backtesting, BacktestRunning, Happened, Over, Period, Replayed
from commands.http.form import AnyRequest, Envelope, answer
from commands.monitors_http import MonitorPatch, merged_wish
from commands.shapes import PlanShape, plan_shape
from domain.errors import InvalidInput
from domain.evaluation import Verdict
from domain.fact import FactSpec
from domain.monitor import State
from domain.plan import Fires

RETRY_AFTER_SECONDS = 5


class BacktestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What to try, as PATCH of the monitor would change it; nothing: the monitor as it is. `from` (inclusive) and `to`
    (exclusive) bound when evaluations began. `over` says what is judged: the `facts` that were read then (the default while
    these are the same), or the `evidence`, read anew."""

    prompt: str | None = None
    condition: str | None = None
    facts: tuple[FactSpec, ...] | None = None
    confirmations: int | None = None
    min_confidence: float | None = None
    fires: Fires | None = None
    reset_condition: str | None = None
    from_: datetime | None = None
    to: datetime | None = None
    over: Over | None = None


class HappenedShape(msgspec.Struct, frozen=True, kw_only=True):
    """What the evaluation came to in earnest."""

    verdict: Verdict | None
    state_after: State | None
    error_code: str | None


class BacktestEvaluationShape(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation: what it would have come to, and what it did. `not_repeatable` says why nothing could be judged."""

    evaluation_id: UUID
    at: datetime
    verdict: Verdict | None
    state_after: State
    reason: str | None
    would_fire: bool
    did_fire: bool
    happened: HappenedShape
    not_repeatable: str | None


class BacktestFiringShape(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation about which a trigger would have fired, did, or both: `added` would be new, `missed` would be gone."""

    evaluation_id: UUID
    at: datetime
    change: Literal["same", "added", "missed"]


class BacktestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How many evaluations there were, and how many of them were judged again, failed then, or cannot be repeated; and how
    often a trigger would have fired and did."""

    evaluations: int
    judged: int
    failed: int
    not_repeatable: int
    would_have_fired: int
    did_fire: int
    added: int
    missed: int


class BacktestShape(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """What a plan would have made of a period. Firings and evaluations are in the order in which they were made."""

    plan: PlanShape
    over: Over
    from_: datetime
    to: datetime
    summary: BacktestSummary
    firings: tuple[BacktestFiringShape, ...]
    evaluations: tuple[BacktestEvaluationShape, ...]


class BacktestRoute(Controller):
    """Trying a change of a monitor on what it saw. Nothing is stored."""

    path = "/monitors"
    tags = ("Monitors",)

    @post("/{monitor_id:uuid}/backtest", status_code=200, summary="Backtest a monitor")
    async def backtest_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        data: JSONBody[BacktestBody],
        backtests: NamedDependency[Backtesting],
    ) -> Envelope[BacktestShape]:
        """Go through up to 10,000 evaluations as if this had been the plan from `from` on, and show beside each what it
        really came to. Who would have been told is decided by the monitor's triggers as they are now; where it has none, as
        if one told each time it becomes active. A question that is another begins with the state unknown. What failed then
        is not judged, nor is what can no longer be read: `not_repeatable` says why. One backtest at a time, at most 20
        seconds."""
        try:
            done = await backtests.run(
                request.user.user_id,
                monitor_id,
                None if _patch(data) == MonitorPatch() else lambda present: merged_wish(_patch(data), present),
                _period(data),
            )
        except BacktestRunning:
            raise TooManyRequestsException(
                "one backtest at a time; wait for yours to end", headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
            ) from None
        return answer(request, _shape(done))


def _patch(data: BacktestBody) -> MonitorPatch:
    return MonitorPatch(
        prompt=data.prompt,
        condition=data.condition,
        facts=data.facts,
        confirmations=data.confirmations,
        min_confidence=data.min_confidence,
        fires=data.fires,
        reset_condition=data.reset_condition,
    )


def _period(data: BacktestBody) -> Period:
    for field, moment in (("from", data.from_), ("to", data.to)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput("a time has its zone: 2026-01-31T08:00:00Z", field=field)
    if data.from_ is not None and data.to is not None and data.from_ >= data.to:
        raise InvalidInput("the period ends before it begins; `from` is before `to`", field="to")
    return Period(begin=data.from_, end=data.to, over=data.over)


def _shape(done: Backtested) -> BacktestShape:
    firings = tuple(
        BacktestFiringShape(evaluation_id=one.evaluation_id, at=one.at, change=_change(one))
        for one in done.evaluations
        if one.would_fire or one.did_fire
    )
    changes = [firing.change for firing in firings]
    failed = sum(one.happened.error_code is not None for one in done.evaluations)
    not_repeatable = sum(one.not_repeatable is not None for one in done.evaluations)
    return BacktestShape(
        plan=plan_shape(done.plan),
        over=done.over,
        from_=done.begin,
        to=done.end,
        summary=BacktestSummary(
            evaluations=len(done.evaluations),
            judged=len(done.evaluations) - failed - not_repeatable,
            failed=failed,
            not_repeatable=not_repeatable,
            would_have_fired=sum(one.would_fire for one in done.evaluations),
            did_fire=sum(one.did_fire for one in done.evaluations),
            added=changes.count("added"),
            missed=changes.count("missed"),
        ),
        firings=firings,
        evaluations=tuple(map(_replayed_shape, done.evaluations)),
    )


def _change(one: Replayed) -> Literal["same", "added", "missed"]:
    if one.would_fire and one.did_fire:
        return "same"
    return "added" if one.would_fire else "missed"


def _replayed_shape(one: Replayed) -> BacktestEvaluationShape:
    return BacktestEvaluationShape(
        evaluation_id=one.evaluation_id,
        at=one.at,
        verdict=one.verdict,
        state_after=one.state_after,
        reason=one.reason,
        would_fire=one.would_fire,
        did_fire=one.did_fire,
        happened=_happened_shape(one.happened),
        not_repeatable=one.not_repeatable,
    )


def _happened_shape(happened: Happened) -> HappenedShape:
    return HappenedShape(verdict=happened.verdict, state_after=happened.state_after, error_code=happened.error_code)
