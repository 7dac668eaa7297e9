"""POST, PUT, PATCH and DELETE of /api/v1/monitors."""

from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from commands.forecasting import Forecasting
from commands.http.form import Accepted, AnyRequest, Envelope
from commands.http.writing import (
    Projected,
    Views,
    caller_of,
    changed,
    deleted,
    first_of,
    if_version,
    started,
)
from commands.monitors import MonitorCommands
from commands.plan_compiler import Wish
from commands.shapes import MonitorShape, ScheduleShape, monitor_shape, schedule_of
from commands.shell import Written
from domain.classification import Spent
from domain.fact import FactSpec
from domain.monitor import Monitor, MonitorCreated
from domain.plan import Fires
from domain.source import Source


class MonitorBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to watch. Only `prompt` and `sources` are needed, and no sources where the prompt names addresses; facts and a
    condition given here need no model. With a `reset_condition` an active monitor stays active until that is met: active above
    30, inactive again only below 28."""

    prompt: str
    name: str | None = None
    sources: tuple[Source, ...] = ()
    schedule: ScheduleShape | None = None
    condition: str | None = None
    facts: tuple[FactSpec, ...] | None = None
    confirmations: int = 1
    min_confidence: float = 0.5
    fires: Fires | None = None
    reset_condition: str | None = None
    provider: str | None = None
    batch: bool = False


class MonitorPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; what is left out stays. A new prompt without facts and condition is compiled again. An empty
    `reset_condition` takes it away, and so does an empty `provider`."""

    prompt: str | None = None
    name: str | None = None
    sources: tuple[Source, ...] | None = None
    schedule: ScheduleShape | None = None
    condition: str | None = None
    facts: tuple[FactSpec, ...] | None = None
    confirmations: int | None = None
    min_confidence: float | None = None
    fires: Fires | None = None
    reset_condition: str | None = None
    provider: str | None = None
    batch: bool | None = None


class RestoreBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another name, where the old one was taken meanwhile."""

    name: str | None = None


class MonitorWrites(Controller):
    """Creating and changing monitors."""

    path = "/monitors"
    tags = ("Monitors",)

    @post("/", summary="Create a monitor", raises=[])
    async def create_monitor(
        self,
        request: AnyRequest,
        data: JSONBody[MonitorBody],
        monitors: NamedDependency[MonitorCommands],
        forecasting: NamedDependency[Forecasting],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[MonitorShape]]:
        """Compile the prompt and watch from now on. 201 with the compiled plan, what compiling it cost, and what it will cost
        at most where models read for it; the first evaluation runs at once."""
        caller, wish = await caller_of(request), wish_of(data)
        shape = partial(as_created, forecasting, wish.spent)
        command = monitors.create(caller, wish, answer=shape)
        return await started(request, command, shape, projected)

    @put("/{monitor_id:uuid}", summary="Replace a monitor's name and plan")
    async def replace_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        data: JSONBody[MonitorBody],
        monitors: NamedDependency[MonitorCommands],
        monitor_views: NamedDependency[Views[MonitorShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[MonitorShape]]:
        """Compile again; another question makes the state unknown again."""
        caller = await caller_of(request)
        command = monitors.revise(caller, monitor_id, wish_of(data), if_version=if_version(request))
        return await changed(request, caller, monitors.shell, command, monitor_views, projected)

    @patch("/{monitor_id:uuid}", summary="Change parts of a monitor")
    async def change_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        data: JSONBody[MonitorPatch],
        monitors: NamedDependency[MonitorCommands],
        monitor_views: NamedDependency[Views[MonitorShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[MonitorShape]]:
        """Change what is given and keep the rest."""
        caller = await caller_of(request)
        command = monitors.change(
            caller, monitor_id, lambda present: merged_wish(data, present), if_version=if_version(request)
        )
        return await changed(request, caller, monitors.shell, command, monitor_views, projected)

    @delete("/{monitor_id:uuid}", status_code=204, summary="Delete a monitor")
    async def delete_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        projected: NamedDependency[Projected],
    ) -> Response[None]:
        """Stop watching and put the monitor away; its history stays, and it can be restored."""
        caller = await caller_of(request)
        command = monitors.delete(caller, monitor_id, if_version=if_version(request))
        return await deleted(request, command, projected)

    @post("/{monitor_id:uuid}/restore", status_code=200, summary="Restore a deleted monitor")
    async def restore_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        monitor_views: NamedDependency[Views[MonitorShape]],
        projected: NamedDependency[Projected],
        data: JSONBody[RestoreBody] = RestoreBody(),  # noqa: B008  frozen
    ) -> Response[Envelope[MonitorShape]]:
        """Watch again what was deleted, whenever that was: with its history, triggers and state, from now on. It needs a
        free place, and its name or another one; a monitor that is not deleted stays as it is. Deleted monitors are listed
        by `GET /monitors?status=archived`."""
        caller = await caller_of(request)
        command = monitors.restore(caller, monitor_id, name=data.name, if_version=if_version(request))
        return await changed(request, caller, monitors.shell, command, monitor_views, projected)

    @post("/{monitor_id:uuid}/pause", status_code=200, summary="Pause a monitor")
    async def pause_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        monitor_views: NamedDependency[Views[MonitorShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[MonitorShape]]:
        """Stop evaluating until it is resumed."""
        caller = await caller_of(request)
        command = monitors.pause(caller, monitor_id, if_version=if_version(request))
        return await changed(request, caller, monitors.shell, command, monitor_views, projected)

    @post("/{monitor_id:uuid}/resume", status_code=200, summary="Resume a monitor")
    async def resume_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        monitor_views: NamedDependency[Views[MonitorShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[MonitorShape]]:
        """Evaluate again, the first time at once."""
        caller = await caller_of(request)
        command = monitors.resume(caller, monitor_id, if_version=if_version(request))
        return await changed(request, caller, monitors.shell, command, monitor_views, projected)

    @post("/{monitor_id:uuid}/evaluate", status_code=202, summary="Evaluate a monitor now")
    async def evaluate_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[Accepted]]:
        """Ask for an evaluation beside the schedule; 202 with its id."""
        caller = await caller_of(request)
        command = monitors.evaluate(caller, monitor_id, answer=_accepted)
        return await started(request, command, _accepted, projected, status=202)


def wish_of(data: MonitorBody) -> Wish:
    """What a whole body asks for; raises `InvalidInput` for its schedule."""
    return Wish(
        prompt=data.prompt,
        name=data.name,
        sources=data.sources,
        schedule=None if data.schedule is None else schedule_of(data.schedule),
        condition=data.condition,
        facts=data.facts,
        confirmations=data.confirmations,
        min_confidence=data.min_confidence,
        fires=data.fires,
        reset_condition=data.reset_condition,
        provider=data.provider,
        batch=data.batch,
    )


def merged_wish(data: MonitorPatch, present: Monitor) -> Wish:
    """The present monitor with the changes; a new prompt drops what the old one was compiled into. Raises `InvalidInput`
    for the schedule, `NotFound` for a monitor that was never created."""
    plan = present.current_plan
    recompiled = data.prompt is not None and data.prompt != present.prompt
    reset = data.reset_condition
    if reset is None and not recompiled:
        reset = plan.reset_condition
    return Wish(
        prompt=present.prompt if data.prompt is None else data.prompt,
        name=data.name,
        sources=plan.sources if data.sources is None else data.sources,
        schedule=plan.schedule if data.schedule is None else schedule_of(data.schedule),
        condition=(None if recompiled else plan.condition) if data.condition is None else data.condition,
        facts=(None if recompiled else plan.facts) if data.facts is None else data.facts,
        confirmations=plan.confirmations if data.confirmations is None else data.confirmations,
        min_confidence=plan.min_confidence if data.min_confidence is None else data.min_confidence,
        fires=data.fires or (plan.fires if not recompiled and data.condition is None else None),
        reset_condition=reset,
        provider=plan.provider if data.provider is None else data.provider,
        batch=plan.batch if data.batch is None else data.batch,
    )


def as_created(forecasting: Forecasting, spent: Spent, written: Written[Monitor]) -> MonitorShape:
    """A monitor that was just started, as the answer to that shows it, with what was `spent` on compiling its prompt."""
    state, at = written.state, first_of(written, MonitorCreated).created_at
    shape = monitor_shape(
        id=written.stream_id,
        name=state.name,
        prompt=state.prompt,
        status=state.status,
        state=state.state,
        plan=state.current_plan,
        last_evaluated_at=None,
        next_due_at=at,
        version=written.version,
        created_at=at,
        updated_at=at,
        forecast=forecasting.of(state.current_plan, at=at),
    )
    return msgspec.structs.replace(shape, compile_cost_micros=spent.micros or None)


def _accepted(written: Written[Any]) -> Accepted:
    return Accepted(id=written.stream_id)
