"""The call sweeper: finishes the accounts of calls of models whose caller is gone, so that no money is forgotten or counted
twice."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from domain.budget import OpenCall
from domain.model_call import NOTHING_USED, CallOutcome, ModelCalled
from workers.lifecycle import Leases, Stop, run_steps

log = structlog.get_logger()

LEASE = "call-sweeper"
LEASE_LIFETIME = timedelta(minutes=5)
REST_SECONDS = 30.0
LEFT_AFTER = timedelta(minutes=2)
"""Four times as long as an inquiry may take (`commands.asking.ANSWER_SECONDS_MAX`): nobody is at it any more."""
BATCH_CALLS_MAX = 100
MESSAGE = "whoever asked went away before the answer was recorded; it counts as the most that it can have cost"


class OpenCalls(Protocol):
    """The ledger of calls."""

    async def left_behind(self, *, before: datetime, limit: int) -> list[OpenCall]:
        """Calls that began before then and are not recorded, the oldest first; not those of batches, which take their time."""
        ...

    async def keep(self, call_id: UUID, owner_id: UUID, called: ModelCalled) -> ModelCalled:
        """Write down how a call ended, unless that was done before, and take it for recorded. What stands there."""
        ...


class CallSweeper:
    """One of any number: the one with the lease works, the others stand by. `prices` is what is written down as the price
    table of what it finishes."""

    def __init__(
        self, calls: OpenCalls, leases: Leases, *, prices: str, holder: str, now: Callable[[], datetime]
    ) -> None:
        self._calls = calls
        self._leases = leases
        self._prices = prices
        self._holder = holder
        self._now = now

    async def run(self, stop: Stop) -> None:
        """Sweep until asked to stop, then give the lease back."""
        await run_steps("call sweeper", self.step, stop)
        await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Finish one batch; how many seconds to rest."""
        if LEASE not in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME):
            return REST_SECONDS
        found = await self._calls.left_behind(before=self._now() - LEFT_AFTER, limit=BATCH_CALLS_MAX)
        await self._finish(found)
        return 0.0 if len(found) == BATCH_CALLS_MAX else REST_SECONDS

    async def _finish(self, found: Sequence[OpenCall]) -> None:
        for call in found:
            kept = await self._calls.keep(call.id, call.owner_id, self._as_called(call))
            log.info("a call was left behind", call_id=str(call.id), cost_micros=kept.cost_micros)

    def _as_called(self, call: OpenCall) -> ModelCalled:
        return ModelCalled(
            task=call.task,
            provider=call.provider,
            model=call.model,
            outcome=CallOutcome.TIMEOUT,
            usage=NOTHING_USED,
            cost_micros=call.set_aside_micros,
            prices=self._prices,
            is_estimated=True,
            monitor_id=call.monitor_id,
            evaluation_id=call.evaluation_id,
            message=MESSAGE,
            started_at=call.started_at,
            duration_ms=round((self._now() - call.started_at).total_seconds() * 1000),
        )
