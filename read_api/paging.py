"""Parts of lists: short lists by limit and offset, histories by cursor, and the parameters both are asked with.

A cursor says after which row of one list to go on, so rows that come meanwhile neither shift nor repeat what is read.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any, Generic, LiteralString, TypeVar
from uuid import UUID

from litestar.params import QueryParameter
from psycopg import sql
from psycopg.rows import DictRow

from commands.http.form import AnyRequest, Page, Pagination, meta_of
from domain.errors import InvalidInput
from read_api.database import Pool, fetch_rows

LIMIT_MAX, HISTORY_LIMIT_MAX = 100, 1000
OFFSET_MAX = 1_000_000
"""Nobody reads so far by offset; it also keeps the number inside PostgreSQL's bigint."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="How many at most.")]
HistoryLimit = Annotated[int, QueryParameter(ge=1, le=HISTORY_LIMIT_MAX, description="How many at most.")]
Offset = Annotated[int, QueryParameter(ge=0, le=OFFSET_MAX, description="How many to pass over.")]
Sort = Annotated[
    str | None,
    QueryParameter(
        description="`field:asc` or `field:desc`; a field that does not exist is answered with the list of those that do."
    ),
]
Cursor = Annotated[
    str | None, QueryParameter(description="`pagination.next_cursor` of the page before; it fits the same path only.")
]

THING_ORDERS: Mapping[str, LiteralString] = {
    "created_at:asc": "order by created_at, id",
    "created_at:desc": "order by created_at desc, id desc",
    "name:asc": "order by lower(name), id",
    "name:desc": "order by lower(name) desc, id desc",
    "updated_at:asc": "order by updated_at, id",
    "updated_at:desc": "order by updated_at desc, id desc",
}
"""Of a table of named things."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MARK = struct.Struct(">q16s")
_CHECK_BYTES = 6


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a list. `order` is an `order by` clause that ends in a unique column, so that pages do not overlap."""

    limit: int
    offset: int
    order: LiteralString


@dataclass(frozen=True, slots=True)
class Listed(Generic[T_co]):
    """The things in a window, and how many the whole list has."""

    items: Sequence[T_co]
    total: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A row's place in a history, newest first: its time, then its id."""

    at: datetime
    id: UUID


NEWEST = Mark(at=datetime.max.replace(tzinfo=UTC), id=UUID(int=2**128 - 1))
"""Before the first row of every history."""


@dataclass(frozen=True, slots=True)
class Stretch(Generic[T_co]):
    """Things of a history in their order; `last` is the mark of the last one when more follow."""

    items: Sequence[T_co]
    last: Mark | None


def order_by(sort: str | None, orders: Mapping[str, LiteralString], *, default: str) -> LiteralString:
    """The clause for `sort` (`field` alone means ascending); raises `InvalidInput` naming the fields there are."""
    wanted = sort or default
    clause = orders.get(wanted if ":" in wanted else wanted + ":asc")
    if clause is None:
        fields = ", ".join(sorted({name.partition(":")[0] for name in orders}))
        raise InvalidInput(f"sort by field:asc or field:desc; the fields are {fields}", field="sort")
    return clause


async def fetch_window(
    pool: Pool,
    selection: LiteralString,
    parameters: Mapping[str, Any],
    window: Window,
    *,
    shape: Callable[[DictRow], T],
) -> Listed[T]:
    """The window of the rows that `selection` (a query without order) finds."""
    found = sql.SQL(selection)
    count = sql.SQL("select count(*) as total from ({}) as found").format(found)
    part = sql.SQL("{} {} limit %(limit)s offset %(offset)s").format(found, sql.SQL(window.order))
    counted = await fetch_rows(pool, count, parameters)
    rows = await fetch_rows(pool, part, {**parameters, "limit": window.limit, "offset": window.offset})
    return Listed([shape(row) for row in rows], total=counted[0]["total"])


async def fetch_stretch(
    pool: Pool,
    query: LiteralString,
    parameters: Mapping[str, Any],
    *,
    mark: Mark,
    limit: int,
    shape: Callable[[DictRow], T],
    mark_of: Callable[[DictRow], Mark],
) -> Stretch[T]:
    """The rows of a history after `mark`. `query` takes `after_at`, `after_id` and `limit`; it is asked for one row more
    than is shown, which says whether more follow."""
    after = {"after_at": mark.at, "after_id": mark.id, "limit": limit + 1}
    rows = await fetch_rows(pool, query, {**parameters, **after})
    kept = rows[:limit]
    return Stretch([shape(row) for row in kept], mark_of(kept[-1]) if len(rows) > limit else None)


def write_cursor(mark: Mark, scope: str) -> str:
    """A mark as 40 characters of base64url, for one list (`scope`).

    Its checksum finds a cursor that was changed or belongs to another list. It is no signature and need not be one: a
    forged cursor only chooses where the caller's own list begins.
    """
    packed = _MARK.pack((mark.at - _EPOCH) // _MICROSECOND, mark.id.bytes)
    return urlsafe_b64encode(packed + _check(packed, scope)).decode()


def read_cursor(cursor: str | None, scope: str) -> Mark:
    """The mark in a cursor, `NEWEST` without one; raises `InvalidInput` for what `write_cursor` did not write for this
    list."""
    if cursor is None:
        return NEWEST
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii"))
        packed, check = raw[: _MARK.size], raw[_MARK.size :]
        microseconds, id_bytes = _MARK.unpack(packed)
        mark = Mark(at=_EPOCH + microseconds * _MICROSECOND, id=UUID(bytes=id_bytes))
    except (ValueError, struct.error, OverflowError):
        raise _not_ours() from None
    # Decoders pass over characters outside the alphabet: only the one spelling we write is taken.
    if check != _check(packed, scope) or urlsafe_b64encode(raw).decode() != cursor:
        raise _not_ours()
    return mark


def listed_page(request: AnyRequest, listed: Listed[T], window: Window) -> Page[T]:
    """The answer with a window of a list."""
    pagination = Pagination(
        limit=window.limit,
        offset=window.offset,
        total=listed.total,
        has_more=window.offset + len(listed.items) < listed.total,
    )
    return Page(data=listed.items, pagination=pagination, meta=meta_of(request))


def stretch_page(request: AnyRequest, stretch: Stretch[T], limit: int) -> Page[T]:
    """The answer with a stretch of a history, and the cursor to go on with."""
    cursor = None if stretch.last is None else write_cursor(stretch.last, request.url.path)
    pagination = Pagination(limit=limit, offset=None, total=None, has_more=cursor is not None, next_cursor=cursor)
    return Page(data=stretch.items, pagination=pagination, meta=meta_of(request))


def _check(packed: bytes, scope: str) -> bytes:
    return blake2b(packed + scope.encode(), digest_size=_CHECK_BYTES).digest()


def _not_ours() -> InvalidInput:
    return InvalidInput("this is not a cursor of this list; take next_cursor from the page before", field="cursor")
