"""GET of /api/v1/actions: what is done when a trigger fires."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commands.http.form import AnyRequest, Envelope, Page, answer
from commands.shapes import ActionShape, action_shape
from domain.action import ActionConfig
from domain.errors import NotFound
from read_api.database import Pool, fetch_row
from read_api.paging import THING_ORDERS, Limit, Listed, Offset, Sort, Window, fetch_window, listed_page, order_by
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads

_COLUMNS = "select id, name, config, version, created_at, updated_at from actions"

_OWN = " where owner_id = %(owner_id)s and deleted_at is null "

_FIND = _COLUMNS + _OWN + "and id = %(id)s"

_LIST = _COLUMNS + _OWN


class ActionViews:
    """Fulfils `Views[ActionShape]` from the table actions; deleted ones are gone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, owner_id: UUID, id: UUID) -> ActionShape | None:  # noqa: A002  the port's name for it
        """A person's action."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        return None if row is None else _shape(row)

    async def listed(self, owner_id: UUID, window: Window) -> Listed[ActionShape]:
        """A window of a person's actions."""
        return await fetch_window(self._pool, _LIST, {"owner_id": owner_id}, window, shape=_shape)


class ActionReads(Reads):
    """Reading actions."""

    path = "/actions"
    tags = ("Actions",)

    @get("/", summary="List actions", responses=LIST_REFUSALS)
    async def list_actions(
        self,
        request: AnyRequest,
        action_views: NamedDependency[ActionViews],
        sort: Sort = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Page[ActionShape]:
        """Your actions, the newest first unless sorted otherwise."""
        window = Window(limit, offset, order_by(sort, THING_ORDERS, default="created_at:desc"))
        return listed_page(request, await action_views.listed(request.user.user_id, window), window)

    @get("/{action_id:uuid}", summary="Read an action", responses=REFUSALS)
    async def read_action(
        self, request: AnyRequest, action_id: FromPath[UUID], action_views: NamedDependency[ActionViews]
    ) -> Response[Envelope[ActionShape]]:
        """An action; the ETag is what If-Match takes."""
        shape = await action_views.find(request.user.user_id, action_id)
        if shape is None:
            raise NotFound
        return Response(answer(request, shape), headers={"ETag": f'"{shape.version}"'})


def _shape(row: dict[str, Any]) -> ActionShape:
    config: ActionConfig = msgspec.convert(row["config"], ActionConfig)
    return action_shape(**{**row, "config": config})
