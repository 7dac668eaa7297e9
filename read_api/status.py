"""GET of /api/v1/status: whether those answer who read prompts and pages, and whether there is money for them.

All of it comes from calls that were made anyway; nobody is called for it. It is of the whole installation, and says nothing
of any person, nor how much is asked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import msgspec
from litestar import get
from litestar.di import NamedDependency

from commands.http.form import AnyRequest, Envelope, answer
from domain.breaker import BreakerState, BreakerView
from domain.budget import budget_stream, day_of
from domain.model_call import CallOutcome
from domain.operation import INSTALLATION
from read_api.database import Pool, fetch_row, fetch_rows
from read_api.reading import LIST_REFUSALS, Reads

LOOK_BACK = timedelta(days=1)
CALLS_MAX = 200
"""The latest calls of a provider; older ones say little of how it is now."""

ProviderState = Literal["ok", "failing", "resting", "trying", "unknown"]

_RECENT = """
select names.provider, c.*
from unnest(%(providers)s::text[]) as names (provider), lateral (
    select max(recent.started_at) filter (where recent.outcome = 'ok') as last_ok_at,
           percentile_cont(0.5) within group (order by recent.duration_ms) filter (where recent.outcome = 'ok') as latency_ms,
           (100.0 * count(*) filter (where recent.outcome <> 'ok') / nullif(count(*), 0))::float8 as failed_percent
    from (
        select started_at, outcome, duration_ms from model_calls
        where provider = names.provider and started_at >= %(since)s
        order by started_at desc limit %(limit)s
    ) recent
) c
"""

# A limit that was raised since is not spent.
_SPENT = """
select from event where stream_id = %(stream)s and (data->>'limit_micros')::bigint >= %(limit)s
"""

_SPENDING = "select spent_micros from model_spending where scope = %(scope)s and day = %(day)s"


class ProviderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider does, by its latest 200 calls of one day: `ok`: it answers; `failing`: none of these calls was
    answered; `resting`: it failed so often that nobody asks it until `rests_until`; `trying`: it has rested, and the next
    call shows whether it works; `unknown`: it was not asked. Of one that rests or is tried, `because` is how the last call ended
    that failed. `latency_ms` is the median of its answers. Rules, which are no service, have no model and are always `ok`."""

    name: str
    model: str | None
    state: ProviderState
    last_ok_at: datetime | None = None
    latency_ms: int | None = None
    failed_percent: int | None = None
    failures: int = 0
    down_since: datetime | None = None
    rests_until: datetime | None = None
    because: CallOutcome | None = None
    is_shared: bool = True


class AiStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads prompts and pages, in order of preference. The installation's budget of the day is `ok`, or `spent`: a call
    was refused because it may have cost more than is left, and such calls are until midnight UTC."""

    providers: tuple[ProviderStatus, ...]
    budget: Literal["ok", "spent"]


class StatusShape(msgspec.Struct, frozen=True, kw_only=True):
    """`ok`, or `degraded` when the first provider fails or rests, or the budget is spent: then what needs a model takes another
    one, or waits; nothing is lost."""

    status: Literal["ok", "degraded"]
    version: str
    ai: AiStatus


class BreakerStates(Protocol):
    """Which providers rest."""

    async def states(self, of: Iterable[tuple[str, str]]) -> Sequence[BreakerView]:
        """How the breakers of these providers and models stand, soon, whatever does not answer."""
        ...


class Statuses:
    """Tells how those do who are set up: `providers` are their names in order of preference, `models` what those are asked for
    that have one; `budget_micros` is what may be spent in a day, None for any amount."""

    def __init__(
        self,
        pool: Pool,
        breakers: BreakerStates,
        *,
        providers: Sequence[str],
        models: Mapping[str, str],
        budget_micros: int | None,
        version: str,
        now: Callable[[], datetime],
    ) -> None:
        self._pool, self._breakers, self._now = pool, breakers, now
        self._providers, self._models = providers, models
        self._budget_micros = budget_micros
        self._version = version

    async def status(self) -> StatusShape:
        """How it is now."""
        now = self._now()
        recent = {"providers": list(self._models), "since": now - LOOK_BACK, "limit": CALLS_MAX}
        calls = {row["provider"]: row for row in await fetch_rows(self._pool, _RECENT, recent)}
        breakers = {view.provider: view for view in await self._breakers.states(self._models.items())}
        told = tuple(
            _told(breakers[name], calls[name], now)
            if name in breakers
            else ProviderStatus(name=name, model=None, state="ok")
            for name in self._providers
        )
        is_spent = await self._is_spent(now)
        is_well = not is_spent and told[0].state in {"ok", "unknown"}
        ai = AiStatus(providers=told, budget="spent" if is_spent else "ok")
        return StatusShape(status="ok" if is_well else "degraded", version=self._version, ai=ai)

    async def spent_micros(self) -> int:
        """What the installation has spent today, in millionths of a US dollar. Of no person, and told to who runs it alone."""
        row = await fetch_row(self._pool, _SPENDING, {"scope": INSTALLATION, "day": day_of(self._now())})
        return 0 if row is None else int(row["spent_micros"])

    async def _is_spent(self, now: datetime) -> bool:
        if self._budget_micros is None:
            return False
        asked = {"stream": budget_stream(INSTALLATION, day_of(now)), "limit": self._budget_micros}
        return await fetch_row(self._pool, _SPENT, asked) is not None


def _told(breaker: BreakerView, calls: Mapping[str, Any], now: datetime) -> ProviderStatus:
    latency, failed = calls["latency_ms"], calls["failed_percent"]
    rests = breaker.state is BreakerState.OPEN
    return ProviderStatus(
        name=breaker.provider,
        model=breaker.model,
        state=_state(breaker.state, was_asked=failed is not None, has_answered=calls["last_ok_at"] is not None),
        last_ok_at=calls["last_ok_at"],
        latency_ms=None if latency is None else round(latency),
        failed_percent=None if failed is None else round(failed),
        failures=breaker.failures,
        down_since=None if breaker.state is BreakerState.CLOSED else now - timedelta(seconds=breaker.open_seconds),
        rests_until=now + timedelta(seconds=breaker.rest_seconds) if rests else None,
        because=breaker.because,
        is_shared=breaker.is_shared,
    )


def _state(breaker: BreakerState, *, was_asked: bool, has_answered: bool) -> ProviderState:
    match breaker:
        case BreakerState.OPEN:
            return "resting"
        case BreakerState.HALF_OPEN:
            return "trying"
        case BreakerState.CLOSED if has_answered:
            return "ok"
        case BreakerState.CLOSED:
            return "failing" if was_asked else "unknown"


class StatusReads(Reads):
    """Reading how Vigil does."""

    path = "/status"
    tags = ("System",)

    @get("/", summary="Read whether the AI providers answer", responses=LIST_REFUSALS)
    async def read_status(self, request: AnyRequest, statuses: NamedDependency[Statuses]) -> Envelope[StatusShape]:
        """Which providers answer and how fast, by the calls that were made lately, and whether the budget is spent; for everybody
        who has a token."""
        return answer(request, await statuses.status())
