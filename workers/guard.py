"""The guard: watches what can hold the log up, and says who does.

An open transaction with an older id holds up every event behind it. Nothing is lost, but nothing is seen either until it
ends, and since it is somebody else's, all that can be done here is to name it.
"""

from datetime import timedelta
from typing import Protocol

import msgspec
import structlog

from domain.log_state import LATE_SECONDS, REPAIR, RESTORED, LogState, OpenTransaction
from workers.lifecycle import Leases, Monotonic, Stop, run_steps

log = structlog.get_logger()

LEASE = "guard"
LEASE_LIFETIME = timedelta(seconds=5)
INTERVAL_SECONDS = 1.0
OPEN_SECONDS_MAX = 10.0
"""A transaction that is open for so long is told before an event waits for it: the next one will."""
REPEAT_SECONDS = 60.0


class Watching(Protocol):
    """The log in PostgreSQL, and who else works in the cluster."""

    async def state(self) -> LogState:
        """How the log stands now."""
        ...

    async def oldest_open(self) -> OpenTransaction | None:
        """The oldest open transaction; None when there is none any more."""
        ...


class Guard:
    """One of any number of guards: the one with the lease speaks, the others stand by."""

    def __init__(self, watching: Watching, leases: Leases, *, holder: str, monotonic: Monotonic) -> None:
        self._watching = watching
        self._leases = leases
        self._holder = holder
        self._monotonic = monotonic
        self._oldest: str | None = None
        self._oldest_since = 0.0
        self._position, self._position_since = -1, 0.0
        self._quiet_until: dict[str, float] = {}

    async def run(self, stop: Stop) -> None:
        """Watch until asked to stop, then give the lease back."""
        await run_steps("guard", self.step, stop)
        await self._leases.let_go([LEASE], self._holder)

    async def step(self) -> float:
        """Look once; how many seconds to rest."""
        if LEASE in await self._leases.hold([LEASE], self._holder, lifetime=LEASE_LIFETIME):
            await self._judge(await self._watching.state())
        return INTERVAL_SECONDS

    async def _judge(self, state: LogState) -> None:
        now = self._monotonic()
        if state.oldest_open != self._oldest:
            self._oldest, self._oldest_since = state.oldest_open, now
        if state.position != self._position:
            self._position, self._position_since = state.position, now
        open_long = self._oldest is not None and now - self._oldest_since > OPEN_SECONDS_MAX
        # After a pause of all of Vigil the first event has waited for long, and a relay has only just begun.
        stands_still = now - self._position_since > LATE_SECONDS
        if state.restored:
            self._tell("restored", f"{RESTORED}; {REPAIR}")
        elif (state.late and state.held) or open_long:
            await self._name(state)
        elif state.late and stands_still:
            self._tell("late", "events wait and nothing holds them up; does a relay run?", **_waiting(state))
        elif self._quiet_until and not state.late:
            self._quiet_until.clear()
            log.info("the log goes on", position=state.position)

    async def _name(self, state: LogState) -> None:
        """Say who holds the log up. It may have ended a moment ago: then the next look finds the log going on."""
        found = await self._watching.oldest_open()
        if found is not None:
            message = "an open transaction holds the log up; nothing is lost, end it to go on"
            self._tell(found.id, message, **_waiting(state), **_known(found))

    def _tell(self, about: str, message: str, **facts: object) -> None:
        """Warn, but about the same thing once in a while only."""
        now = self._monotonic()
        if now >= self._quiet_until.get(about, now):
            self._quiet_until[about] = now + REPEAT_SECONDS
            log.warning(message, **facts)


def _waiting(state: LogState) -> dict[str, object]:
    return {"waiting_events": state.waiting_events, "waiting_seconds": round(state.waiting_seconds, 1)}


def _known(found: OpenTransaction) -> dict[str, object]:
    """What is known of a transaction, its id as `transaction`."""
    facts = {name: value for name, value in msgspec.structs.asdict(found).items() if value is not None}
    return {"transaction": facts.pop("id"), **facts}
