"""Judging: what facts and their history mean for a condition. One judge serves the evaluator, the preview and the backtest,
so that what was shown beforehand is what happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.condition import Judgement
from domain.fact import Fact, FactSpec, FactValue
from domain.history import Observation, TemporalCall, lookback, resolve
from domain.plan import Plan


class ConditionJudging(Protocol):
    """Judges conditions."""

    def check(self, condition: str, facts: Sequence[FactSpec]) -> Sequence[TemporalCall]:
        """What the condition needs of history."""
        ...

    def judge(
        self,
        condition: str,
        facts: Sequence[FactSpec],
        values: Mapping[str, FactValue | None],
        temporal: Mapping[TemporalCall, FactValue | bool | None],
    ) -> Judgement:
        """The verdict with everything it used."""
        ...


class FactHistory(Protocol):
    """The accepted values of facts over time."""

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, confidence_min: float
    ) -> list[Observation]:
        """A fact's accepted values since a moment with the one in force at it, oldest first; None: the last one only."""
        ...


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges a plan's condition over facts and their history."""

    conditions: ConditionJudging
    history: FactHistory

    async def judge(self, monitor_id: UUID, plan: Plan, facts: Mapping[str, Fact], *, now: datetime) -> Judgement:
        """The verdict of `plan` at `now` over `facts` by name. A fact below the plan's confidence counts as not read."""
        certain = {name: fact for name, fact in facts.items() if fact.confidence >= plan.min_confidence}
        values = {spec.name: certain[spec.name].value if spec.name in certain else None for spec in plan.facts}
        temporal: dict[TemporalCall, FactValue | bool | None] = {}
        for call in self.conditions.check(plan.condition, plan.facts):
            reach = lookback(call)
            since = None if reach is None else now - reach
            series = await self.history.series(monitor_id, call.fact, since=since, confidence_min=plan.min_confidence)
            temporal[call] = resolve(call, current=values[call.fact], series=series, now=now)
        return self.conditions.judge(plan.condition, plan.facts, values, temporal)
