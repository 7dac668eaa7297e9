"""GET of /api/v1/monitors/{id}/history and /evaluations/{eid}: every look at the evidence, and what was made of it."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commands.http.form import AnyRequest, Envelope, Page, answer
from commands.shapes import ConditionShape, EvaluationError, FactShape
from domain.errors import NotFound
from domain.evaluation import Evidence, Verdict
from domain.monitor import State
from read_api.database import Pool, fetch_row, fetch_rows
from read_api.explanations import Explanations, ExplanationShape
from read_api.paging import Cursor, HistoryLimit, Mark, Stretch, fetch_stretch, read_cursor, stretch_page
from read_api.reading import REFUSALS, Reads

EvaluationStatus = Literal["queued", "running", "completed", "failed"]

_COLUMNS = """
select e.id, e.monitor_id, e.status, e.verdict, e.state_before, e.state_after,
       coalesce(e.state_before <> e.state_after, false) as changed,
       coalesce((
           select jsonb_agg(jsonb_build_object(
                      'name', f.name, 'type', f.type, 'value', f.value, 'unit', f.unit, 'confidence', f.confidence,
                      'quote', f.quote, 'source_url', f.source_url, 'evidence_hash', f.evidence_hash,
                      'observed_at', f.observed_at, 'reason', f.reason) order by f.name)
           from facts f where f.evaluation_id = e.id
       ), '[]') as facts,
       case when e.condition is not null then jsonb_build_object(
           'expression', e.condition, 'inputs', coalesce(e.inputs, '{}'),
           'result', case e.verdict when 'met' then true when 'not_met' then false end) end as condition,
       e.reason, e.evidence, e.provider, e.model, e.cost_micros, e.saved_micros, e.duration_ms,
       case when e.error_code is not null then jsonb_build_object(
           'code', e.error_code, 'message', e.error_message) end as error,
       e.due_at, e.started_at, e.completed_at
from evaluations e
"""

_FIND = _COLUMNS + "where e.id = %(id)s and e.owner_id = %(owner_id)s"

_THESE = _COLUMNS + "where e.id = any(%(ids)s)"

# One whose facts are told and whose outcome is not has no slot yet: it would change its place while somebody reads on.
_HISTORY = (
    _COLUMNS
    + """
where e.monitor_id = %(monitor_id)s and e.owner_id = %(owner_id)s and e.status <> 'running'
  and (e.due_at, e.id) < (%(after_at)s, %(after_id)s)
order by e.due_at desc, e.id desc limit %(limit)s
"""
)

_OWNED = "select from monitors where id = %(monitor_id)s and owner_id = %(owner_id)s"


class EvaluationShape(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the evidence. `reason` says why a verdict is inconclusive, or not met for want of history; `due_at`
    is its slot in the schedule, or when it was asked for; `cost_micros` is in millionths of a US dollar, and `saved_micros` is what models would have cost had they read again what did not change; `explanation` is
    there where one evaluation is read."""

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
    saved_micros: int
    duration_ms: int | None
    error: EvaluationError | None
    due_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    explanation: ExplanationShape | None = None


class EvaluationViews:
    """Evaluations from their tables. Those of an archived monitor stay readable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, owner_id: UUID, id: UUID) -> EvaluationShape | None:  # noqa: A002  the port's name for it
        """A person's evaluation."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        return None if row is None else msgspec.convert(row, EvaluationShape)

    async def these(self, ids: Collection[UUID]) -> list[EvaluationShape]:
        """The evaluations of these ids, whoever owns them, in any order."""
        rows = await fetch_rows(self._pool, _THESE, {"ids": list(ids)})
        return msgspec.convert(rows, list[EvaluationShape])

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


class EvaluationReads(Reads):
    """Reading evaluations."""

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
        """Every evaluation with its facts, verdict, cost and duration, by the slots they were due at, newest first."""
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
        explanations: NamedDependency[Explanations],
    ) -> Envelope[EvaluationShape]:
        """One evaluation with its evidence and everything the condition used, and why it came to what it did: the condition
        with the values put in, part by part, the rule that decided, and who was told or why nobody was."""
        shape = await evaluation_views.find(request.user.user_id, evaluation_id)
        if shape is None or shape.monitor_id != monitor_id:
            raise NotFound
        return answer(request, msgspec.structs.replace(shape, explanation=await explanations.of(evaluation_id)))
