"""GET of /api/v1/ai: what models were asked on one's behalf, what that cost, and what may still be spent today.

Amounts are in millionths of a US dollar. Calls are counted by when they began, savings by when the evaluation was done.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal, LiteralString
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from commands.http.form import AnyRequest, Envelope, Page, answer
from domain.budget import CURRENCY, Budgets, budget_stream, day_of, ends_at
from domain.errors import InvalidInput
from domain.model_call import CallOutcome, Task, TokenUsage
from read_api.database import Pool, fetch_rows
from read_api.paging import Cursor, HistoryLimit, Mark, Stretch, fetch_stretch, read_cursor, stretch_page
from read_api.reading import LIST_REFUSALS, Reads
from read_api.times import moment_given

DAYS_SHOWN = 30
"""How far back usage is told of that nobody asked for by time."""
DAYS_MAX = 366
GROUPS_MAX = 1000

Grouping = Literal["day", "monitor", "provider"]

# What was saved is told by another table, so that calls and savings are added up apart.
_USED = """
select case %(by)s::text when 'day' then (started_at at time zone 'UTC')::date::text
                         when 'monitor' then monitor_id::text when 'provider' then provider end as key,
       outcome, count(*) as calls, sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
       sum(cache_read_tokens)::bigint as cache_read_tokens, sum(cache_write_tokens)::bigint as cache_write_tokens,
       sum(searches)::bigint as searches, sum(cost_micros)::bigint as cost_micros, 0::bigint as saved_micros
from model_calls
where owner_id = %(owner_id)s and started_at >= %(start)s and started_at < %(end)s
group by 1, 2
union all
select case %(by)s::text when 'day' then (completed_at at time zone 'UTC')::date::text
                         when 'monitor' then monitor_id::text when 'provider' then provider end,
       null, 0, 0, 0, 0, 0, 0, 0, sum(saved_micros)::bigint
from evaluations
where owner_id = %(owner_id)s and saved_micros > 0 and completed_at >= %(start)s and completed_at < %(end)s
group by 1
"""

_COLUMNS = """
select id, monitor_id, evaluation_id, task, provider, model, outcome, cost_micros, is_estimated, prices, message, started_at,
       duration_ms,
       jsonb_build_object('input_tokens', input_tokens, 'output_tokens', output_tokens, 'searches', searches,
                          'cache_read_tokens', cache_read_tokens, 'cache_write_tokens', cache_write_tokens) as usage
from model_calls
where owner_id = %(owner_id)s
"""

_PAGE = """
  and (%(outcome)s::text is null or outcome = %(outcome)s)
  and (started_at, id) < (%(after_at)s, %(after_id)s)
order by started_at desc, id desc limit %(limit)s
"""

# Each by the index that finds the fewest.
_CALLS = _COLUMNS + _PAGE
_CALLS_OF_MONITOR = _COLUMNS + "and monitor_id = %(monitor_id)s" + _PAGE
_CALLS_OF_EVALUATION = (
    _COLUMNS
    + "and evaluation_id = %(evaluation_id)s and (%(monitor_id)s::uuid is null or monitor_id = %(monitor_id)s)"
    + _PAGE
)

# That a stop was told counts as long as the limit was not raised since.
_BUDGET = """
select coalesce((select spent_micros from model_spending where scope = %(owner_id)s and day = %(day)s), 0) as spent_micros,
       coalesce((
           select sum(set_aside_micros)::bigint from model_call_open where owner_id = %(owner_id)s and day = %(day)s
       ), 0) as set_aside_micros,
       exists (
           select from event where stream_id = %(stream_id)s and (data->>'limit_micros')::bigint >= %(limit_micros)s::bigint
       ) as was_told
"""


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, how they ended, what they used and cost, and what was saved because something need not be asked again."""

    calls: int = 0
    outcomes: dict[CallOutcome, int] = msgspec.field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    searches: int = 0
    cost_micros: int = 0
    saved_micros: int = 0


class UsageGroup(UsageSums, frozen=True, kw_only=True):
    """The sums of one day of UTC, monitor or provider: `key` is its date, id or name; null for calls made for no monitor."""

    key: str | None


class UsageShape(UsageSums, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The sums of a stretch of time; with `group`, also those of each day, the newest first, or of each monitor or provider,
    the dearest first, of which `groups_left_out` are not shown."""

    from_: datetime
    to: datetime
    currency: str = CURRENCY
    groups: tuple[UsageGroup, ...] = ()
    groups_left_out: int = 0


class TokenCounts(TokenUsage, frozen=True, kw_only=True, omit_defaults=False):
    """What a call used; `input_tokens` are all that went in, those that a cache gave or took included."""


class ModelCallShape(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model. What was asked and answered is not kept."""

    id: UUID
    monitor_id: UUID | None
    evaluation_id: UUID | None
    task: Task
    provider: str
    model: str
    outcome: CallOutcome
    usage: TokenCounts
    cost_micros: int
    is_estimated: bool
    prices: str
    message: str | None
    started_at: datetime
    duration_ms: int


class BudgetShape(msgspec.Struct, frozen=True, kw_only=True):
    """One's own budget of today: what is spent of it, what is set aside for calls under way, and whether a call was not made
    because it did not fit. `limit_micros` is null where there is no limit."""

    limit_micros: int | None
    spent_micros: int
    set_aside_micros: int
    currency: str = CURRENCY
    resets_at: datetime
    exhausted: bool


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls."""

    monitor_id: UUID | None = None
    evaluation_id: UUID | None = None
    outcome: CallOutcome | None = None


class ModelUsageViews:
    """Calls of models from their table, and budgets from the ledger's."""

    def __init__(self, pool: Pool, budgets: Budgets, *, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._budgets = budgets
        self._now = now

    async def usage(
        self, owner_id: UUID, start: datetime | None, end: datetime | None, by: Grouping | None
    ) -> UsageShape:
        """What was used from `start` to before `end`; raises `InvalidInput` for a stretch that is none or too long."""
        end = end or self._now()
        start = start or datetime.combine(day_of(end) - timedelta(days=DAYS_SHOWN - 1), time(), tzinfo=UTC)
        if start > end:
            raise InvalidInput("from lies after to", field="from")
        if end - start > timedelta(days=DAYS_MAX):
            raise InvalidInput(f"at most {DAYS_MAX} days are added up at once", field="from")
        values = {"owner_id": owner_id, "start": start, "end": end, "by": by}
        rows = await fetch_rows(self._pool, _USED, values)
        groups = _grouped(rows, by)
        return UsageShape(
            **msgspec.structs.asdict(_summed(rows)),
            from_=start,
            to=end,
            groups=tuple(groups[:GROUPS_MAX]),
            groups_left_out=max(0, len(groups) - GROUPS_MAX),
        )

    async def calls(self, owner_id: UUID, wanted: CallFilter, *, mark: Mark, limit: int) -> Stretch[ModelCallShape]:
        """A person's calls after `mark`, the newest first."""
        if wanted.evaluation_id is not None:
            query: LiteralString = _CALLS_OF_EVALUATION
        else:
            query = _CALLS if wanted.monitor_id is None else _CALLS_OF_MONITOR
        return await fetch_stretch(
            self._pool,
            query,
            {"owner_id": owner_id, **msgspec.structs.asdict(wanted)},
            mark=mark,
            limit=limit,
            shape=lambda row: msgspec.convert(row, ModelCallShape),
            mark_of=lambda row: Mark(row["started_at"], row["id"]),
        )

    async def budget(self, owner_id: UUID) -> BudgetShape:
        """A person's budget of today."""
        day, limit = day_of(self._now()), self._budgets.of(owner_id)
        values = {"owner_id": owner_id, "day": day, "stream_id": budget_stream(owner_id, day), "limit_micros": limit}
        [row] = await fetch_rows(self._pool, _BUDGET, values)
        spent = row["spent_micros"]
        return BudgetShape(
            limit_micros=limit,
            spent_micros=spent,
            set_aside_micros=row["set_aside_micros"],
            resets_at=ends_at(day),
            exhausted=limit is not None and (row["was_told"] or spent >= limit),
        )


class ModelUsageReads(Reads):
    """Reading what models cost."""

    path = "/ai"
    tags = ("AI",)

    @get("/usage", summary="Read what models cost", responses=LIST_REFUSALS)
    async def read_model_usage(
        self,
        request: AnyRequest,
        model_usage_views: NamedDependency[ModelUsageViews],
        start: Annotated[datetime | None, QueryParameter(name="from", description="Begun then or later.")] = None,
        end: Annotated[datetime | None, QueryParameter(name="to", description="Begun before then.")] = None,
        group: Annotated[
            Grouping | None, QueryParameter(description="Also add up by UTC day, by monitor or by provider.")
        ] = None,
    ) -> Envelope[UsageShape]:
        """Your own calls of AI models: how many, how they ended, tokens, cost, and what was saved. The last 30 days unless
        you say otherwise, and at most 366 at once."""
        start, end = moment_given(start, field="from"), moment_given(end, field="to")
        return answer(request, await model_usage_views.usage(request.user.user_id, start, end, group))

    @get("/calls", summary="List calls of models", responses=LIST_REFUSALS)
    async def list_model_calls(
        self,
        request: AnyRequest,
        model_usage_views: NamedDependency[ModelUsageViews],
        monitor_id: Annotated[UUID | None, QueryParameter(description="Only those made for this monitor.")] = None,
        evaluation_id: Annotated[
            UUID | None, QueryParameter(description="Only those made for this evaluation.")
        ] = None,
        outcome: Annotated[CallOutcome | None, QueryParameter(description="Only those that ended so.")] = None,
        limit: HistoryLimit = 100,
        cursor: Cursor = None,
    ) -> Page[ModelCallShape]:
        """Your own calls of AI models, the newest first: of whom, for what, how they ended, tokens, cost and duration."""
        wanted = CallFilter(monitor_id=monitor_id, evaluation_id=evaluation_id, outcome=outcome)
        mark = read_cursor(cursor, request.url.path)
        stretch = await model_usage_views.calls(request.user.user_id, wanted, mark=mark, limit=limit)
        return stretch_page(request, stretch, limit)

    @get("/budget", summary="Read your AI budget", responses=LIST_REFUSALS)
    async def read_model_budget(
        self, request: AnyRequest, model_usage_views: NamedDependency[ModelUsageViews]
    ) -> Envelope[BudgetShape]:
        """What may still be spent on your behalf today. When it is spent, monitors that need a model are inconclusive until
        `resets_at`."""
        return answer(request, await model_usage_views.budget(request.user.user_id))


def _summed(rows: Iterable[Mapping[str, Any]]) -> UsageSums:
    sums = dict.fromkeys(UsageSums.__struct_fields__, 0)
    outcomes: dict[CallOutcome, int] = {}
    del sums["outcomes"]
    for row in rows:
        for name in sums:
            sums[name] += row[name]
        if row["outcome"] is not None:
            outcome = CallOutcome(row["outcome"])
            outcomes[outcome] = outcomes.get(outcome, 0) + row["calls"]
    return UsageSums(**sums, outcomes=outcomes)


def _grouped(rows: Iterable[Mapping[str, Any]], by: Grouping | None) -> list[UsageGroup]:
    if by is None:
        return []
    of_keys: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_keys.setdefault(row["key"], []).append(row)
    groups = [UsageGroup(key=key, **msgspec.structs.asdict(_summed(found))) for key, found in of_keys.items()]
    if by == "day":
        return sorted(groups, key=lambda group: group.key or "", reverse=True)
    return sorted(groups, key=lambda group: (-group.cost_micros, group.key or ""))
