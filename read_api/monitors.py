"""GET of /api/v1/monitors: what a person watches, and every change of state."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Literal, LiteralString
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from commands.forecasting import Forecasting
from commands.http.form import AnyRequest, Envelope, Page, answer
from commands.shapes import FailingShape, MonitorShape, monitor_shape
from domain.errors import InvalidInput, NotFound
from domain.monitor import State
from domain.plan import Kind, Plan
from read_api.database import Pool, fetch_row, fetch_rows
from read_api.paging import (
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
from read_api.past_monitors import PastMonitors
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads
from read_api.times import moment_given

SEARCH_CHARS_MAX = 200

MonitorStatus = Literal["active", "paused", "failing", "archived"]

_COLUMNS = """
select m.id, m.name, m.prompt, m.status, m.failing, m.state, m.plan::text as plan, m.last_evaluated_at, s.due_at as next_due_at,
       m.version, m.created_at, m.updated_at
from monitors m left join schedule s on s.monitor_id = m.id and s.active
"""

_FIND = _COLUMNS + "where m.id = %(id)s and m.owner_id = %(owner_id)s and m.deleted_at is null"

_THESE = _COLUMNS + "where m.id = any(%(ids)s)"

_MATCHING = """
where m.owner_id = %(owner_id)s
  and (m.deleted_at is null or %(status)s::text = 'archived')
  and (%(status)s::text is null or m.status = %(status)s)
  and (%(state)s::text is null or m.state = %(state)s)
  and (%(kind)s::text is null or m.kind = %(kind)s)
  and (%(q)s::text is null or strpos(lower(m.name), lower(%(q)s)) > 0 or strpos(lower(m.prompt), lower(%(q)s)) > 0)
"""

_LIST = _COLUMNS + _MATCHING

_ORDERS: dict[str, LiteralString] = {
    "created_at:asc": "order by m.created_at, m.id",
    "created_at:desc": "order by m.created_at desc, m.id desc",
    "last_evaluated_at:asc": "order by m.last_evaluated_at nulls last, m.id",
    "last_evaluated_at:desc": "order by m.last_evaluated_at desc nulls last, m.id desc",
    "name:asc": "order by lower(m.name), m.id",
    "name:desc": "order by lower(m.name) desc, m.id desc",
    "next_due_at:asc": "order by s.due_at nulls last, m.id",
    "next_due_at:desc": "order by s.due_at desc nulls last, m.id desc",
    "state:asc": "order by m.state, m.id",
    "state:desc": "order by m.state desc, m.id desc",
    "status:asc": "order by m.status, m.id",
    "status:desc": "order by m.status desc, m.id desc",
    "updated_at:asc": "order by m.updated_at, m.id",
    "updated_at:desc": "order by m.updated_at desc, m.id desc",
}

_OWNED = "select from monitors where id = %(monitor_id)s and owner_id = %(owner_id)s"

_CHANGE_COLUMNS = """
select c.id, c.monitor_id, c.from_state as "from", c.to_state as "to", c.evaluation_id, c.changed_at as "at"
from changes c
"""

_THESE_CHANGES = _CHANGE_COLUMNS + "where c.id = any(%(ids)s)"

_CHANGES = (
    _CHANGE_COLUMNS
    + """
join monitors m on m.id = c.monitor_id
where c.monitor_id = %(monitor_id)s and m.owner_id = %(owner_id)s
  and (c.changed_at, c.id) < (%(after_at)s, %(after_id)s)
order by c.changed_at desc, c.id desc limit %(limit)s
"""
)

_plan = msgspec.json.Decoder(Plan)


class ChangeShape(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A switch of a monitor from one state to another, and the evaluation that caused it."""

    id: UUID
    monitor_id: UUID
    from_: State
    to: State
    evaluation_id: UUID
    at: datetime


class MonitorFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which monitors to list; None does not filter, but archived ones come only when asked for. `q` is looked for in
    name and prompt, without regard to case."""

    status: MonitorStatus | None = None
    state: State | None = None
    kind: Kind | None = None
    q: str | None = None


class MonitorViews:
    """Fulfils `Views[MonitorShape]` from the tables monitors, changes and schedule. Without `forecasting` it tells no
    forecasts."""

    def __init__(self, pool: Pool, forecasting: Forecasting | None = None) -> None:
        self._pool, self._forecasting = pool, forecasting

    async def find(self, owner_id: UUID, id: UUID) -> MonitorShape | None:  # noqa: A002  the port's name for it
        """A person's monitor that was not deleted, with what it will cost."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        if row is None:
            return None
        forecast = None if self._forecasting is None else self._forecasting.of(_plan.decode(row["plan"]))
        return msgspec.structs.replace(_shape(row), forecast=forecast)

    async def these(self, ids: Collection[UUID]) -> list[MonitorShape]:
        """The monitors of these ids, whoever owns them, archived ones too, in any order."""
        return [_shape(row) for row in await fetch_rows(self._pool, _THESE, {"ids": list(ids)})]

    async def these_changes(self, ids: Collection[UUID]) -> list[ChangeShape]:
        """The state changes of these ids, whoever owns them, in any order."""
        return msgspec.convert(await fetch_rows(self._pool, _THESE_CHANGES, {"ids": list(ids)}), list[ChangeShape])

    async def listed(self, owner_id: UUID, wanted: MonitorFilter, window: Window) -> Listed[MonitorShape]:
        """A window of a person's monitors."""
        parameters = {"owner_id": owner_id, **msgspec.structs.asdict(wanted)}
        return await fetch_window(self._pool, _LIST, parameters, window, shape=_shape)

    async def changes(self, owner_id: UUID, monitor_id: UUID, *, mark: Mark, limit: int) -> Stretch[ChangeShape]:
        """State changes after `mark`, newest first, also of an archived monitor; raises `NotFound` for a monitor that
        is not the person's."""
        owned = {"owner_id": owner_id, "monitor_id": monitor_id}
        stretch = await fetch_stretch(
            self._pool,
            _CHANGES,
            owned,
            mark=mark,
            limit=limit,
            shape=lambda row: msgspec.convert(row, ChangeShape),
            mark_of=lambda row: Mark(row["at"], row["id"]),
        )
        if not stretch.items and await fetch_row(self._pool, _OWNED, owned) is None:
            raise NotFound
        return stretch


class MonitorReads(Reads):
    """Reading monitors."""

    path = "/monitors"
    tags = ("Monitors",)

    @get("/", summary="List monitors", responses=LIST_REFUSALS)
    async def list_monitors(
        self,
        request: AnyRequest,
        monitor_views: NamedDependency[MonitorViews],
        status: Annotated[
            MonitorStatus | None, QueryParameter(description="Archived monitors are listed only with status=archived.")
        ] = None,
        in_state: Annotated[State | None, QueryParameter(name="state")] = None,
        kind: FromQuery[Kind | None] = None,
        q: Annotated[
            str | None, QueryParameter(max_length=SEARCH_CHARS_MAX, description="Text to find in name or prompt.")
        ] = None,
        sort: Sort = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Page[MonitorShape]:
        """Your monitors, the newest first unless sorted otherwise."""
        if q is not None and "\x00" in q:
            raise InvalidInput("a search text has no NUL character", field="q")
        window = Window(limit, offset, order_by(sort, _ORDERS, default="created_at:desc"))
        wanted = MonitorFilter(status=status, state=in_state, kind=kind, q=q)
        return listed_page(request, await monitor_views.listed(request.user.user_id, wanted, window), window)

    @get("/{monitor_id:uuid}", summary="Read a monitor", responses=REFUSALS)
    async def read_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitor_views: NamedDependency[MonitorViews],
        past_monitors: NamedDependency[PastMonitors],
        as_of: Annotated[
            datetime | None,
            QueryParameter(
                description="As it was then (RFC 3339): events count from the times they carry. Left out: as it is."
            ),
        ] = None,
    ) -> Response[Envelope[MonitorShape]]:
        """A monitor with its plan and state; the ETag is what If-Match takes.

        With `as_of` it is the monitor as it was at that moment, also one that was deleted since; `next_due_at` is null then.
        Events count from the time they carry, the first one from `created_at` and a state change from its `at`, and where
        clocks jumped from when they were recorded, if that was earlier, and not before the event in front of them. Before a
        monitor was created the answer is 404.
        """
        owner_id, moment = request.user.user_id, moment_given(as_of, field="as_of")
        if moment is None:
            shape = await monitor_views.find(owner_id, monitor_id)
        else:
            shape = await past_monitors.find(owner_id, monitor_id, moment)
        if shape is None:
            raise NotFound
        return Response(answer(request, shape), headers={"ETag": f'"{shape.version}"'})

    @get("/{monitor_id:uuid}/changes", summary="List a monitor's state changes", responses=REFUSALS)
    async def list_changes(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitor_views: NamedDependency[MonitorViews],
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[ChangeShape]:
        """Every switch from one state to another, newest first."""
        mark = read_cursor(cursor, request.url.path)
        stretch = await monitor_views.changes(request.user.user_id, monitor_id, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)


def _shape(row: dict[str, Any]) -> MonitorShape:
    failing = msgspec.convert(row["failing"], FailingShape | None)
    return monitor_shape(**{**row, "plan": _plan.decode(row["plan"]), "state": State(row["state"]), "failing": failing})
