"""The port to evaluations that were made: what each saw, what came of it, and what there was before it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.evaluation import Evidence, Previous, Verdict
from domain.fact import Fact
from domain.history import Observation
from domain.monitor import State


class PastEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation that was made: a verdict with the states around it, or the code of its failure. `started_at` is the time
    its condition was judged for."""

    id: UUID
    plan_revision: int
    verdict: Verdict | None
    error_code: str | None
    state_before: State | None
    state_after: State | None
    facts: tuple[Fact, ...]
    evidence: tuple[Evidence, ...]
    started_at: datetime
    completed_at: datetime


class PastEvaluations(Protocol):
    """Evaluations of a monitor as the read tables show them, also those whose events were archived."""

    async def made(
        self, monitor_id: UUID, *, begin: datetime, end: datetime, limit: int
    ) -> list[tuple[UUID, datetime]]:
        """Up to `limit` of those that began from `begin` on and before `end`, and when they did, in the order they were made.
        Where clocks jumped, one that began later than a following one counts as begun when that did."""
        ...

    async def these(self, ids: Sequence[UUID]) -> list[PastEvaluation]:
        """The evaluations of these ids, in their order."""
        ...

    async def before(self, first: PastEvaluation, monitor_id: UUID) -> tuple[State, Previous]:
        """The state that `first` found, and what the evaluations before it came to that were made on its plan."""
        ...

    async def facts_before(
        self,
        monitor_id: UUID,
        fact: str,
        *,
        since: datetime | None,
        since_revision: int,
        before: UUID,
        confidence_min: float,
    ) -> list[Observation]:
        """As `commands.judging.FactHistory.series`, of what was seen before an evaluation."""
        ...

    async def told_before(
        self, monitor_id: UUID, fact: str, *, since_revision: int, before: UUID, confidence_min: float
    ) -> Observation | None:
        """As `commands.judging.FactHistory.last_notified`, of what was told before an evaluation."""
        ...

    async def fired(self, monitor_id: UUID, *, since: datetime) -> set[UUID]:
        """The evaluations since a moment about which a trigger of the monitor fired."""
        ...

    async def triggers(self, monitor_id: UUID) -> list[UUID]:
        """The monitor's triggers."""
        ...
