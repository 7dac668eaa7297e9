"""POST, PUT and DELETE of /api/v1/triggers."""

from datetime import timedelta
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from commands.http.form import AnyRequest, Envelope
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
from commands.shapes import TriggerShape, duration_text, parse_duration
from commands.shell import Written
from commands.triggers import TriggerCommands, TriggerWish
from domain.trigger import Frequency, Trigger, TriggerCondition, TriggerCreated


class TriggerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which change of which monitor sets off which action. `cooldown` (ISO 8601) is the least time between firings."""

    monitor_id: UUID
    action_id: UUID
    condition: TriggerCondition
    frequency: Frequency = Frequency.EVERY_TIME
    cooldown: str | None = None
    name: str | None = None


class TriggerWrites(Controller):
    """Creating and changing triggers."""

    path = "/triggers"
    tags = ("Triggers",)

    @post("/", summary="Create a trigger")
    async def create_trigger(
        self,
        request: AnyRequest,
        data: JSONBody[TriggerBody],
        triggers: NamedDependency[TriggerCommands],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[TriggerShape]]:
        """Link a monitor to an action."""
        caller = await caller_of(request)
        command = triggers.create(caller, _wish(data), answer=_as_created)
        return await started(request, command, _as_created, projected)

    @put("/{trigger_id:uuid}", summary="Replace a trigger")
    async def replace_trigger(
        self,
        request: AnyRequest,
        trigger_id: FromPath[UUID],
        data: JSONBody[TriggerBody],
        triggers: NamedDependency[TriggerCommands],
        trigger_views: NamedDependency[Views[TriggerShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[TriggerShape]]:
        """Wait for something else from now on."""
        caller = await caller_of(request)
        command = triggers.revise(caller, trigger_id, _wish(data), if_version=if_version(request))
        return await changed(request, caller, triggers.shell, command, trigger_views, projected)

    @post("/{trigger_id:uuid}/enable", status_code=200, summary="Enable a trigger")
    async def enable_trigger(
        self,
        request: AnyRequest,
        trigger_id: FromPath[UUID],
        triggers: NamedDependency[TriggerCommands],
        trigger_views: NamedDependency[Views[TriggerShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[TriggerShape]]:
        """Allow firing, and arm a `once` trigger again."""
        caller = await caller_of(request)
        command = triggers.enable(caller, trigger_id, if_version=if_version(request))
        return await changed(request, caller, triggers.shell, command, trigger_views, projected)

    @post("/{trigger_id:uuid}/disable", status_code=200, summary="Disable a trigger")
    async def disable_trigger(
        self,
        request: AnyRequest,
        trigger_id: FromPath[UUID],
        triggers: NamedDependency[TriggerCommands],
        trigger_views: NamedDependency[Views[TriggerShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[TriggerShape]]:
        """Forbid firing."""
        caller = await caller_of(request)
        command = triggers.disable(caller, trigger_id, if_version=if_version(request))
        return await changed(request, caller, triggers.shell, command, trigger_views, projected)

    @delete("/{trigger_id:uuid}", status_code=204, summary="Delete a trigger")
    async def delete_trigger(
        self,
        request: AnyRequest,
        trigger_id: FromPath[UUID],
        triggers: NamedDependency[TriggerCommands],
        projected: NamedDependency[Projected],
    ) -> Response[None]:
        """Remove the trigger; its firings stay in the history."""
        caller = await caller_of(request)
        command = triggers.delete(caller, trigger_id, if_version=if_version(request))
        return await deleted(request, command, projected)


def _wish(data: TriggerBody) -> TriggerWish:
    cooldown = timedelta() if data.cooldown is None else parse_duration(data.cooldown, field="cooldown")
    return TriggerWish(
        monitor_id=data.monitor_id,
        action_id=data.action_id,
        name=f"{data.condition.value} {data.frequency.value}".replace("_", " ") if data.name is None else data.name,
        condition=data.condition,
        frequency=data.frequency,
        cooldown=cooldown,
    )


def _as_created(written: Written[Trigger]) -> TriggerShape:
    created, state = first_of(written, TriggerCreated), written.state
    return TriggerShape(
        id=written.stream_id,
        monitor_id=created.monitor_id,
        action_id=created.action_id,
        name=created.name,
        condition=created.condition,
        frequency=created.frequency,
        cooldown=duration_text(state.cooldown) if state.cooldown else None,
        enabled=state.enabled,
        snoozed_until=None,
        version=written.version,
        created_at=created.created_at,
        updated_at=created.created_at,
    )
