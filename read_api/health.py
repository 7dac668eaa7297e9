"""Whether Vigil lives and whether it can serve: for orchestrators and people."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency

from commands.http.bearer import ANONYMOUS_ROUTE
from domain.log_state import REPAIR, RESTORED, LogState
from projections.core import CORE
from read_api.database import Pool

LAG_SECONDS_MAX = 30.0

_LAG = """
select coalesce(sum(head.place - coalesce(c.position, 0)), 0)::bigint
from (
    select (n - 1)::smallint as partition, place
    from log_head, unnest(partition_positions) with ordinality as p (place, n)
) head
left join checkpoint c on c.consumer = %s and c.partition = head.partition
"""

_OLDEST_WAITING = """
select extract(epoch from clock_timestamp() - min(e.recorded_at))
from event_log l join event e using (stream_id, version)
join checkpoint c on c.consumer = %s and c.partition = l.partition and l.partition_position = c.position + 1
"""


# A slot that waits is nobody's fault while a scheduler is at work: evaluators may have much to do.
_SCHEDULER = """
select extract(epoch from clock_timestamp() - (select min(ready_at) from schedule where active)),
       extract(epoch from clock_timestamp() - (select max(beat_at) from heartbeat where worker = 'scheduler'))
"""
SCHEDULER_SECONDS_MAX = 30.0
"""How old the last heartbeat of a scheduler may be (it beats every 5 s) while slots wait as long."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing Vigil needs: `ok` or what is wrong with it."""

    status: str
    message: str | None = None


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a projection is behind the log, and how long the next event has waited for it."""

    events: int
    seconds: float
    unsequenced_seconds: float


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests can be served: `ready`; `degraded` (still 200) when Redis is away or no scheduler is at work, which
    delays evaluations, or when somebody's open transaction holds the log up, which delays what is read: all lose nothing,
    and sending people elsewhere would help nobody. `not_ready` (503) without the database, with read tables far behind, or with a store that
    was restored into another cluster."""

    status: str
    checks: dict[str, Check]
    projections: dict[str, Lag]


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: str
    started_at: datetime


class LogStates(Protocol):
    """The log in PostgreSQL."""

    async def state(self) -> LogState:
        """How the log stands now."""
        ...


class HealthChecks:
    """Asks every dependency."""

    def __init__(
        self, pool: Pool, log: LogStates, probes: Mapping[str, Callable[[], Awaitable[Any]]], *, started_at: datetime
    ) -> None:
        self._pool = pool
        self._log = log
        self._probes = probes
        self.started_at = started_at

    async def readiness(self) -> Readiness:
        """What is there and what is not, never an exception."""
        checks = {name: await self._probe(probe) for name, probe in self._probes.items()}
        lags: dict[str, Lag] = {}
        behind = True
        try:
            state = await self._log.state()
            lags[CORE.name] = lag = await self._lag(state)
            checks |= {"postgres": Check(status="ok"), "log": _judged(state), "scheduler": await self._scheduler()}
            late = state.waiting_seconds > LAG_SECONDS_MAX and not state.held
            behind = late or state.restored or lag.seconds > LAG_SECONDS_MAX
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is "not ready"
            checks["postgres"] = Check(status="down", message=type(error).__name__)
        if behind:
            status = "not_ready"
        else:
            status = "ready" if all(check.status == "ok" for check in checks.values()) else "degraded"
        return Readiness(status=status, checks=checks, projections=lags)

    async def _probe(self, probe: Callable[[], Awaitable[Any]]) -> Check:
        try:
            await probe()
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is "not ready"
            return Check(status="down", message=type(error).__name__)
        return Check(status="ok")

    async def _scheduler(self) -> Check:
        async with self._pool.connection(timeout=2) as connection:
            row = await (await connection.execute(_SCHEDULER)).fetchone()
        waiting, silent = row or (None, None)
        is_late = waiting is not None and waiting > SCHEDULER_SECONDS_MAX
        if not is_late or (silent is not None and silent < SCHEDULER_SECONDS_MAX):
            return Check(status="ok")
        since = "none ever was" if silent is None else f"the last one was {silent:.0f} s ago"
        return Check(status="late", message=f"monitors are due and no scheduler is at work: {since}")

    async def _lag(self, state: LogState) -> Lag:
        async with self._pool.connection(timeout=2) as connection:
            events = await (await connection.execute(_LAG, (CORE.name,))).fetchone()
            waiting = await (await connection.execute(_OLDEST_WAITING, (CORE.name,))).fetchone()
        return Lag(
            events=int(events[0]) if events else 0,
            seconds=float(waiting[0] or 0) if waiting else 0.0,
            unsequenced_seconds=state.waiting_seconds,
        )


def _judged(state: LogState) -> Check:
    """What to know about the log, and nothing of who else works in the database: anybody may ask."""
    if state.restored:
        return Check(
            status="restored",
            message=f"{RESTORED}; {REPAIR}",
        )
    if not state.late:
        return Check(status="ok")
    waiting = f"events wait for {state.waiting_seconds:.0f} s"
    if state.held:
        return Check(
            status="held", message=f"{waiting}: an open transaction holds the log up; `vigil doctor` says whose it is"
        )
    return Check(status="late", message=f"{waiting} and nothing holds them up; does a relay run?")


class Health(Controller):
    """Probes; no token needed, nothing private told."""

    path = "/health"
    tags = ("System",)
    opt = {ANONYMOUS_ROUTE: True}  # noqa: RUF012  Litestar's own form of options

    @get("/live", summary="Whether the process answers")
    async def live(self, health: NamedDependency[HealthChecks]) -> Liveness:
        """200 as long as the process answers."""
        return Liveness(status="live", started_at=health.started_at)

    @get("/ready", summary="Whether requests can be served")
    async def ready(self, health: NamedDependency[HealthChecks]) -> Response[Readiness]:
        """200 when requests can be served, else 503; each dependency and each projection's lag is told either way."""
        readiness = await health.readiness()
        return Response(readiness, status_code=503 if readiness.status == "not_ready" else 200)
