"""GET of /api/v1/monitors/{id}/facts/{name}: every value that was read, or what they come to over time.

A series is ordered by the times at which its values were observed, as a chart shows it, also where a clock was set back
between two looks; conditions look back in the order of the log. Values of one moment stand in an order that never changes, so
that pages hold each of them once.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from commands.http.form import AnyRequest, Page
from commands.shapes import FactShape
from domain.errors import InvalidInput, NotFound
from domain.fact import FactValue
from read_api.database import Pool, fetch_row
from read_api.paging import Cursor, HistoryLimit, Mark, Stretch, fetch_stretch, read_cursor, stretch_page
from read_api.reading import REFUSALS, Reads
from read_api.times import moment_given

Bucket = Literal["minute", "hour", "day", "week"]

_OWN_FACT = """
select from monitors m
where m.id = %(monitor_id)s and m.owner_id = %(owner_id)s
  and (m.plan @> jsonb_build_object('facts', jsonb_build_array(jsonb_build_object('name', %(name)s::text)))
       or exists (select from facts f where f.monitor_id = m.id and f.name = %(name)s))
"""

_SERIES = """
select f.evaluation_id, f.name, f.type, f.value, f.unit, f.confidence, f.quote, f.source_url, f.evidence_hash,
       f.observed_at, f.reason
from facts f join monitors m on m.id = f.monitor_id
where f.monitor_id = %(monitor_id)s and f.name = %(name)s and m.owner_id = %(owner_id)s
  and f.observed_at >= %(start)s and f.observed_at < %(end)s
  and (f.observed_at, f.evaluation_id) < (%(after_at)s, %(after_id)s)
order by f.observed_at desc, f.evaluation_id desc limit %(limit)s
"""

# A bucket is whole on its page: the mark of a page is the start of its last bucket, and what lies before it follows.
_BUCKETS = """
select date_trunc(%(bucket)s, f.observed_at, 'UTC') as start, count(*) as count, min(f.number) as min,
       max(f.number) as max, avg(f.number) as avg,
       (array_agg(f.value order by f.observed_at, f.place, f.evaluation_id))[1] as first,
       (array_agg(f.value order by f.observed_at desc, f.place desc, f.evaluation_id desc))[1] as last
from facts f join monitors m on m.id = f.monitor_id
where f.monitor_id = %(monitor_id)s and f.name = %(name)s and m.owner_id = %(owner_id)s
  and f.observed_at >= %(start)s and f.observed_at < least(%(end)s, %(after_at)s)
group by 1 order by 1 desc limit %(limit)s
"""

_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NO_ID = UUID(int=0)


class FactPoint(FactShape, frozen=True, kw_only=True):
    """A fact in its series."""

    evaluation_id: UUID


class FactBucket(msgspec.Struct, frozen=True, kw_only=True):
    """The values observed from `start` (UTC; weeks begin on Monday) to the next bucket. `min`, `max` and `avg` are null
    where the fact is no number."""

    start: datetime
    count: int
    min: float | None
    max: float | None
    avg: float | None
    first: FactValue
    last: FactValue


class FactSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Which values of which fact: observed at `start` or later, and before `end`."""

    monitor_id: UUID
    name: str
    start: datetime
    end: datetime


class FactViews:
    """Facts from their table. Those of an archived monitor stay readable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def series(self, owner_id: UUID, wanted: FactSeries, *, mark: Mark, limit: int) -> Stretch[FactPoint]:
        """Values after `mark`, newest first; raises `NotFound` for a fact that no monitor of the person has."""
        parameters = _of_series(owner_id, wanted)
        stretch = await fetch_stretch(
            self._pool,
            _SERIES,
            parameters,
            mark=mark,
            limit=limit,
            shape=lambda row: msgspec.convert(row, FactPoint),
            mark_of=lambda row: Mark(row["observed_at"], row["evaluation_id"]),
        )
        if not stretch.items and await fetch_row(self._pool, _OWN_FACT, parameters) is None:
            raise NotFound
        return stretch

    async def buckets(
        self, owner_id: UUID, wanted: FactSeries, bucket: Bucket, *, mark: Mark, limit: int
    ) -> Stretch[FactBucket]:
        """Values gathered by time, the newest bucket first, empty ones left out; raises as `series` does."""
        parameters = _of_series(owner_id, wanted)
        stretch = await fetch_stretch(
            self._pool,
            _BUCKETS,
            {**parameters, "bucket": bucket},
            mark=mark,
            limit=limit,
            shape=lambda row: msgspec.convert(row, FactBucket),
            mark_of=lambda row: Mark(row["start"], _NO_ID),
        )
        if not stretch.items and await fetch_row(self._pool, _OWN_FACT, parameters) is None:
            raise NotFound
        return stretch


class FactReads(Reads):
    """Reading facts."""

    path = "/monitors/{monitor_id:uuid}"
    tags = ("Monitors",)

    @get("/facts/{name:str}", summary="Read a fact over time", responses=REFUSALS)
    async def read_fact(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        name: FromPath[str],
        fact_views: NamedDependency[FactViews],
        start: Annotated[datetime | None, QueryParameter(name="from", description="Observed then or later.")] = None,
        end: Annotated[datetime | None, QueryParameter(name="to", description="Observed before then.")] = None,
        bucket: Annotated[
            Literal["raw"] | Bucket,
            QueryParameter(description="Gather the values by UTC minute, hour, day or ISO week."),
        ] = "raw",
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[FactPoint | FactBucket]:
        """The values of a fact by the time they were observed, newest first: each with its evidence, or gathered by time."""
        if not name.isidentifier() or not name.isascii():
            raise NotFound
        mark = read_cursor(cursor, request.url.path)
        wanted = FactSeries(
            monitor_id=monitor_id,
            name=name,
            start=moment_given(start, field="from") or _EARLIEST,
            end=moment_given(end, field="to") or _LATEST,
        )
        if wanted.start > wanted.end:
            raise InvalidInput("from lies after to", field="from")
        stretch: Stretch[FactPoint] | Stretch[FactBucket]
        if bucket == "raw":
            stretch = await fact_views.series(request.user.user_id, wanted, mark=mark, limit=limit)
        else:
            stretch = await fact_views.buckets(request.user.user_id, wanted, bucket, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)


def _of_series(owner_id: UUID, wanted: FactSeries) -> dict[str, Any]:
    return {"owner_id": owner_id, **msgspec.structs.asdict(wanted)}
