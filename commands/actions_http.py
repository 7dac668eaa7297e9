"""POST, PUT and DELETE of /api/v1/actions."""

from typing import Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from commands.actions import ActionCommands
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
from commands.shapes import ActionShape, action_shape
from commands.shell import Written
from domain.action import Action, ActionCreated, EmailAction


class ActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do: `type` email sends a mail `to` verified addresses of yours (none: your own)."""

    name: str = "E-mail"
    type: Literal["email"]
    to: tuple[str, ...] = ()
    subject_template: str | None = None


class ActionWrites(Controller):
    """Creating and changing actions."""

    path = "/actions"
    tags = ("Actions",)

    @post("/", summary="Create an action")
    async def create_action(
        self,
        request: AnyRequest,
        data: JSONBody[ActionBody],
        actions: NamedDependency[ActionCommands],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[ActionShape]]:
        """Describe something to be done when a trigger fires."""
        caller = await caller_of(request)
        command = actions.create(caller, name=data.name, config=_config(data), answer=_as_created)
        return await started(request, command, _as_created, projected)

    @put("/{action_id:uuid}", summary="Replace an action")
    async def replace_action(
        self,
        request: AnyRequest,
        action_id: FromPath[UUID],
        data: JSONBody[ActionBody],
        actions: NamedDependency[ActionCommands],
        action_views: NamedDependency[Views[ActionShape]],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[ActionShape]]:
        """Do it differently from now on."""
        caller = await caller_of(request)
        command = actions.revise(
            caller, action_id, name=data.name, config=_config(data), if_version=if_version(request)
        )
        return await changed(request, caller, actions.shell, command, action_views, projected)

    @delete("/{action_id:uuid}", status_code=204, summary="Delete an action")
    async def delete_action(
        self,
        request: AnyRequest,
        action_id: FromPath[UUID],
        actions: NamedDependency[ActionCommands],
        projected: NamedDependency[Projected],
    ) -> Response[None]:
        """Do it no more."""
        caller = await caller_of(request)
        command = actions.delete(caller, action_id, if_version=if_version(request))
        return await deleted(request, command, projected)


def _config(data: ActionBody) -> EmailAction:
    return EmailAction(to=data.to, subject_template=data.subject_template)


def _as_created(written: Written[Action]) -> ActionShape:
    created = first_of(written, ActionCreated)
    return action_shape(
        id=written.stream_id,
        name=created.name,
        config=created.config,
        version=written.version,
        created_at=created.created_at,
        updated_at=created.created_at,
    )
