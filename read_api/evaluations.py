"""GET of /api/v1/monitors/{id}/history, /evaluations/{eid} and /facts/{name}: every look at the evidence, every value."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from commands.http.form import AnyRequest, Envelope, Page, answer
from domain.errors import InvalidInput, NotFound
from domain.evaluation import Evidence, Verdict
from domain.fact import FactType, FactValue
from domain.monitor import State
from read_api.database import Pool, fetch_row
from read_api.paging import Cursor, HistoryLimit, Mark, Stretch, fetch_stretch, read_cursor, stretch_page
from read_api.reading import REFUSALS, Reads
from read_api.times import moment_given

EvaluationStatus = Literal["queued", "running", "completed", "failed"]
Bucket = Literal["minute", "hour", "day", "week"]

_COLUMNS = """
select e.id, e.monitor_id, e.status, e.verdict, e.state_before, e.state_after,
       coalesce(e.state_before <> e.state_after, false) as changed,
       coalesce((
           select jsonb_agg(jsonb_build_object(
                      'name', f.name, 'type', f.type, 'value', f.value, 'unit', f.unit, 'confidence', f.confidence,
                      'quote', f.quote, 'source_url', f.source_url, 'evidence_hash', f.evidence_hash,
                      'observed_at', f.observed_at) order by f.name)
           from facts f where f.evaluation_id = e.id
       ), '[]') as facts,
       case when e.condition is not null then jsonb_build_object(
           'expression', e.condition, 'inputs', coalesce(e.inputs, '{}'),
           'result', case e.verdict when 'met' then true when 'not_met' then false end) end as condition,
       e.reason, e.evidence, e.provider, e.model, e.cost_micros, e.duration_ms,
       case when e.error_code is not null then jsonb_build_object(
           'code', e.error_code, 'message', e.error_message) end as error,
       e.due_at, e.started_at, e.completed_at
from evaluations e
"""

_FIND = _COLUMNS + "where e.id = %(id)s and e.owner_id = %(owner_id)s"

_HISTORY = (
    _COLUMNS
    + """
where e.monitor_id = %(monitor_id)s and e.owner_id = %(owner_id)s and (e.due_at, e.id) < (%(after_at)s, %(after_id)s)
order by e.due_at desc, e.id desc limit %(limit)s
"""
)

_OWNED = "select from monitors where id = %(monitor_id)s and owner_id = %(owner_id)s"

_OWN_FACT = """
select from monitors m
where m.id = %(monitor_id)s and m.owner_id = %(owner_id)s
  and (m.plan @> jsonb_build_object('facts', jsonb_build_array(jsonb_build_object('name', %(name)s::text)))
       or exists (select from facts f where f.monitor_id = m.id and f.name = %(name)s))
"""

_SERIES = """
select f.evaluation_id, f.name, f.type, f.value, f.unit, f.confidence, f.quote, f.source_url, f.evidence_hash,
       f.observed_at
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
       (array_agg(f.value order by f.observed_at, f.evaluation_id))[1] as first,
       (array_agg(f.value order by f.observed_at desc, f.evaluation_id desc))[1] as last
from facts f join monitors m on m.id = f.monitor_id
where f.monitor_id = %(monitor_id)s and f.name = %(name)s and m.owner_id = %(owner_id)s
  and f.observed_at >= %(start)s and f.observed_at < least(%(end)s, %(after_at)s)
group by 1 order by 1 desc limit %(limit)s
"""

_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NO_ID = UUID(int=0)


class FactShape(msgspec.Struct, frozen=True, kw_only=True):
    """A value that was read, and where it stands in the evidence. `confidence` is 0..1."""

    name: str
    type: FactType
    value: FactValue
    unit: str | None
    confidence: float
    quote: str
    source_url: str
    evidence_hash: str
    observed_at: datetime


class ConditionShape(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged: the expression, every value it used, and what it said (null: inconclusive)."""

    expression: str
    inputs: dict[str, FactValue | None]
    result: bool | None


class EvaluationError(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing could be judged."""

    code: str
    message: str


class EvaluationShape(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the evidence. `reason` says why a verdict is inconclusive, or not met for want of history; `due_at`
    is its slot in the schedule, or when it was asked for; `cost_micros` is in millionths of the currency."""

    id: UUID
    monitor_id: UUID
    status: EvaluationStatus
    verdict: Verdict | None
    state_before: State | None
    state_after: State | None
    changed: bool
    facts: tuple[FactShape, ...]
    condition: ConditionShape | None
    reason: str | None
    evidence: tuple[Evidence, ...]
    provider: str | None
    model: str | None
    cost_micros: int
    duration_ms: int | None
    error: EvaluationError | None
    due_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


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


class EvaluationViews:
    """Evaluations and facts from their tables. Those of an archived monitor stay readable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, owner_id: UUID, id: UUID) -> EvaluationShape | None:  # noqa: A002  the port's name for it
        """A person's evaluation."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        return None if row is None else msgspec.convert(row, EvaluationShape)

    async def history(self, owner_id: UUID, monitor_id: UUID, *, mark: Mark, limit: int) -> Stretch[EvaluationShape]:
        """Evaluations after `mark`, newest first; raises `NotFound` for a monitor that is not the person's."""
        owned = {"owner_id": owner_id, "monitor_id": monitor_id}
        stretch = await fetch_stretch(
            self._pool,
            _HISTORY,
            owned,
            mark=mark,
            limit=limit,
            shape=lambda row: msgspec.convert(row, EvaluationShape),
            mark_of=lambda row: Mark(row["due_at"], row["id"]),
        )
        if not stretch.items and await fetch_row(self._pool, _OWNED, owned) is None:
            raise NotFound
        return stretch

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


class EvaluationReads(Reads):
    """Reading evaluations and facts."""

    path = "/monitors/{monitor_id:uuid}"
    tags = ("Monitors",)

    @get("/history", summary="List a monitor's evaluations", responses=REFUSALS)
    async def list_evaluations(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        evaluation_views: NamedDependency[EvaluationViews],
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[EvaluationShape]:
        """Every evaluation with its facts, verdict, cost and duration, newest first."""
        mark = read_cursor(cursor, request.url.path)
        stretch = await evaluation_views.history(request.user.user_id, monitor_id, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)

    @get("/evaluations/{evaluation_id:uuid}", summary="Read an evaluation", responses=REFUSALS)
    async def read_evaluation(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        evaluation_id: FromPath[UUID],
        evaluation_views: NamedDependency[EvaluationViews],
    ) -> Envelope[EvaluationShape]:
        """One evaluation with its evidence and everything the condition used."""
        shape = await evaluation_views.find(request.user.user_id, evaluation_id)
        if shape is None or shape.monitor_id != monitor_id:
            raise NotFound
        return answer(request, shape)

    @get("/facts/{name:str}", summary="Read a fact over time", responses=REFUSALS)
    async def read_fact(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        name: FromPath[str],
        evaluation_views: NamedDependency[EvaluationViews],
        start: Annotated[datetime | None, QueryParameter(name="from", description="Observed then or later.")] = None,
        end: Annotated[datetime | None, QueryParameter(name="to", description="Observed before then.")] = None,
        bucket: Annotated[
            Literal["raw"] | Bucket,
            QueryParameter(description="Gather the values by UTC minute, hour, day or ISO week."),
        ] = "raw",
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[FactPoint | FactBucket]:
        """The values of a fact, newest first: each with its evidence, or gathered by time."""
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
            stretch = await evaluation_views.series(request.user.user_id, wanted, mark=mark, limit=limit)
        else:
            stretch = await evaluation_views.buckets(request.user.user_id, wanted, bucket, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)


def _of_series(owner_id: UUID, wanted: FactSeries) -> dict[str, Any]:
    return {"owner_id": owner_id, **msgspec.structs.asdict(wanted)}
