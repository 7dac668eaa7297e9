"""GET of /api/v1/signal-sources: where others send, how that does, and what came."""

from typing import Any, LiteralString
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commands.http.form import AnyRequest, Envelope, Page, answer
from commands.signal_shapes import SignalAddresses, SignalShape, SignalSourceDetailsShape, duration_of, schema_json
from domain.errors import NotFound
from read_api.database import Pool, fetch_row
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
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads

_COLUMNS = """
select s.id, s.name, s.schema, s.silent_after_seconds, s.signals as received, s.last_received_at,
       case when s.last_received_at is not null
            then greatest(extract(epoch from now() - s.last_received_at), 0) end as silent_seconds,
       case when s.last_received_at is null then 'never'
            when s.last_received_at < now() - make_interval(secs => s.silent_after_seconds) then 'silent'
            else 'live' end as status,
       case when s.overlap_ends_at > now() then s.overlap_ends_at end as older_secret_valid_until,
       coalesce(w.refused_count, 0) as refused, w.last_refused_at, w.last_refusal, s.version, s.created_at, s.updated_at
from signal_sources s left join signal_source w on w.id = s.id
"""

_OWN = " where s.owner_id = %(owner_id)s and s.deleted_at is null "

_FIND = _COLUMNS + _OWN + "and s.id = %(id)s"

_LIST = _COLUMNS + _OWN

_ORDERS: dict[str, LiteralString] = {
    "created_at:asc": "order by s.created_at, s.id",
    "created_at:desc": "order by s.created_at desc, s.id desc",
    "last_received_at:asc": "order by s.last_received_at nulls first, s.id",
    "last_received_at:desc": "order by s.last_received_at desc nulls last, s.id desc",
    "name:asc": "order by lower(s.name), s.id",
    "name:desc": "order by lower(s.name) desc, s.id desc",
    "updated_at:asc": "order by s.updated_at, s.id",
    "updated_at:desc": "order by s.updated_at desc, s.id desc",
}

_SIGNALS = """
select id, source_id, webhook_id, body, sent_at, received_at, evaluations from signals
where source_id = %(id)s and owner_id = %(owner_id)s and (received_at, id) < (%(after_at)s, %(after_id)s)
order by received_at desc, id desc limit %(limit)s
"""


class SignalSourceViews:
    """Fulfils `Views[SignalSourceDetailsShape]` from the table signal_sources; deleted ones are gone."""

    def __init__(self, pool: Pool, addresses: SignalAddresses) -> None:
        self._pool = pool
        self._addresses = addresses

    async def find(self, owner_id: UUID, id: UUID) -> SignalSourceDetailsShape | None:  # noqa: A002  the port's name for it
        """A person's signal source."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        return None if row is None else self._shape(row)

    async def listed(self, owner_id: UUID, window: Window) -> Listed[SignalSourceDetailsShape]:
        """A window of a person's signal sources."""
        return await fetch_window(self._pool, _LIST, {"owner_id": owner_id}, window, shape=self._shape)

    async def signals(self, owner_id: UUID, source_id: UUID, *, mark: Mark, limit: int) -> Stretch[SignalShape]:
        """Signals after `mark`, newest first; raises `NotFound` for a source that is not the person's."""
        own = {"owner_id": owner_id, "id": source_id}
        if await fetch_row(self._pool, _FIND, own) is None:
            raise NotFound
        return await fetch_stretch(
            self._pool,
            _SIGNALS,
            own,
            mark=mark,
            limit=limit,
            shape=_signal_shape,
            mark_of=lambda row: Mark(row["received_at"], row["id"]),
        )

    def _shape(self, row: dict[str, Any]) -> SignalSourceDetailsShape:
        return SignalSourceDetailsShape(
            id=row["id"],
            name=row["name"],
            url=self._addresses.of(row["id"]),
            schema=schema_json(row["schema"]),
            silent_after=duration_of(row["silent_after_seconds"]),
            status=row["status"],
            last_received_at=row["last_received_at"],
            silent_for=duration_of(row["silent_seconds"]),
            received=row["received"],
            refused=row["refused"],
            last_refused_at=row["last_refused_at"],
            last_refusal=row["last_refusal"],
            older_secret_valid_until=row["older_secret_valid_until"],
            version=row["version"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )


class SignalReads(Reads):
    """Reading signal sources."""

    path = "/signal-sources"
    tags = ("Signals",)

    @get("/", summary="List signal sources", responses=LIST_REFUSALS)
    async def list_signal_sources(
        self,
        request: AnyRequest,
        signal_source_views: NamedDependency[SignalSourceViews],
        sort: Sort = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Page[SignalSourceDetailsShape]:
        """Your signal sources and how they do, the newest first unless sorted otherwise."""
        window = Window(limit, offset, order_by(sort, _ORDERS, default="created_at:desc"))
        return listed_page(request, await signal_source_views.listed(request.user.user_id, window), window)

    @get("/{source_id:uuid}", summary="Read a signal source", responses=REFUSALS)
    async def read_signal_source(
        self,
        request: AnyRequest,
        source_id: FromPath[UUID],
        signal_source_views: NamedDependency[SignalSourceViews],
    ) -> Response[Envelope[SignalSourceDetailsShape]]:
        """A signal source and how it does; the ETag is what If-Match takes."""
        shape = await signal_source_views.find(request.user.user_id, source_id)
        if shape is None:
            raise NotFound
        return Response(answer(request, shape), headers={"ETag": f'"{shape.version}"'})

    @get("/{source_id:uuid}/signals", summary="List a source's signals", responses=REFUSALS)
    async def list_signals(
        self,
        request: AnyRequest,
        source_id: FromPath[UUID],
        signal_source_views: NamedDependency[SignalSourceViews],
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[SignalShape]:
        """Every signal as it came, with the evaluations it asked for, newest first."""
        mark = read_cursor(cursor, request.url.path)
        stretch = await signal_source_views.signals(request.user.user_id, source_id, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)


def _signal_shape(row: dict[str, Any]) -> SignalShape:
    return SignalShape(**{**row, "body": msgspec.Raw(row["body"].encode())})
