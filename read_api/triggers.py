"""GET of /api/v1/triggers: what sets off what, and every time it did or was held back."""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from commands.http.form import AnyRequest, Envelope, Page, answer
from commands.shapes import TriggerShape, duration_text
from domain.errors import NotFound
from read_api.database import Pool, fetch_row
from read_api.paging import (
    THING_ORDERS,
    Cursor,
    HistoryLimit,
    Limit,
    Listed,
    Mark,
    Offset,
    Sort,
    Stretch,
    Window,
    fetch_stretch,
    fetch_window,
    listed_page,
    order_by,
    read_cursor,
    stretch_page,
)
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads

_COLUMNS = """
select id, monitor_id, action_id, name, condition, frequency, cooldown_seconds, enabled,
       null::timestamptz as snoozed_until, version, created_at, updated_at
from triggers
"""

_OWN = " where owner_id = %(owner_id)s and deleted_at is null "

_FIND = _COLUMNS + _OWN + "and id = %(id)s"

_LIST = _COLUMNS + _OWN + "and (%(monitor_id)s::uuid is null or monitor_id = %(monitor_id)s)"

_OWNED = "select from triggers where id = %(trigger_id)s and owner_id = %(owner_id)s"

# An evaluation changes the state at most once; an occasion that changed no state (met again) has no change.
_FIRINGS = """
select f.id, f.trigger_id, f.outcome, f.reason,
       (select c.id from changes c where c.monitor_id = t.monitor_id and c.evaluation_id = f.evaluation_id limit 1)
           as change_id,
       f.evaluation_id, f.fired_at as "at"
from firings f join triggers t on t.id = f.trigger_id
where f.trigger_id = %(trigger_id)s and t.owner_id = %(owner_id)s
  and (f.fired_at, f.id) < (%(after_at)s, %(after_id)s)
order by f.fired_at desc, f.id desc limit %(limit)s
"""


class FiringShape(msgspec.Struct, frozen=True, kw_only=True):
    """A change a trigger waited for. `outcome` suppressed: the action was not done, and `reason` says why."""

    id: UUID
    trigger_id: UUID
    outcome: Literal["fired", "suppressed"]
    reason: str | None
    change_id: UUID | None
    evaluation_id: UUID
    at: datetime


class TriggerViews:
    """Fulfils `Views[TriggerShape]` from the tables triggers, firings and changes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, owner_id: UUID, id: UUID) -> TriggerShape | None:  # noqa: A002  the port's name for it
        """A person's trigger that was not deleted."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        return None if row is None else _shape(row)

    async def listed(self, owner_id: UUID, monitor_id: UUID | None, window: Window) -> Listed[TriggerShape]:
        """A window of a person's triggers, all or those of one monitor."""
        parameters = {"owner_id": owner_id, "monitor_id": monitor_id}
        return await fetch_window(self._pool, _LIST, parameters, window, shape=_shape)

    async def firings(self, owner_id: UUID, trigger_id: UUID, *, mark: Mark, limit: int) -> Stretch[FiringShape]:
        """Firings after `mark`, newest first, also of a deleted trigger; raises `NotFound` for one that is not the
        person's."""
        owned = {"owner_id": owner_id, "trigger_id": trigger_id}
        stretch = await fetch_stretch(
            self._pool,
            _FIRINGS,
            owned,
            mark=mark,
            limit=limit,
            shape=lambda row: msgspec.convert(row, FiringShape),
            mark_of=lambda row: Mark(row["at"], row["id"]),
        )
        if not stretch.items and await fetch_row(self._pool, _OWNED, owned) is None:
            raise NotFound
        return stretch


class TriggerReads(Reads):
    """Reading triggers."""

    path = "/triggers"
    tags = ("Triggers",)

    @get("/", summary="List triggers", responses=LIST_REFUSALS)
    async def list_triggers(
        self,
        request: AnyRequest,
        trigger_views: NamedDependency[TriggerViews],
        monitor_id: FromQuery[UUID | None] = None,
        sort: Sort = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Page[TriggerShape]:
        """Your triggers, the newest first unless sorted otherwise."""
        window = Window(limit, offset, order_by(sort, THING_ORDERS, default="created_at:desc"))
        return listed_page(request, await trigger_views.listed(request.user.user_id, monitor_id, window), window)

    @get("/{trigger_id:uuid}", summary="Read a trigger", responses=REFUSALS)
    async def read_trigger(
        self, request: AnyRequest, trigger_id: FromPath[UUID], trigger_views: NamedDependency[TriggerViews]
    ) -> Response[Envelope[TriggerShape]]:
        """A trigger; the ETag is what If-Match takes."""
        shape = await trigger_views.find(request.user.user_id, trigger_id)
        if shape is None:
            raise NotFound
        return Response(answer(request, shape), headers={"ETag": f'"{shape.version}"'})

    @get("/{trigger_id:uuid}/firings", summary="List a trigger's firings", responses=REFUSALS)
    async def list_firings(
        self,
        request: AnyRequest,
        trigger_id: FromPath[UUID],
        trigger_views: NamedDependency[TriggerViews],
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[FiringShape]:
        """Every change it waited for, fired and suppressed, newest first."""
        mark = read_cursor(cursor, request.url.path)
        stretch = await trigger_views.firings(request.user.user_id, trigger_id, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)


def _shape(row: dict[str, Any]) -> TriggerShape:
    cooldown = timedelta(seconds=row["cooldown_seconds"])
    return msgspec.convert({**row, "cooldown": duration_text(cooldown) if cooldown else None}, TriggerShape)
