"""Judging: what facts and their history mean for a condition. One judge serves the evaluator, the preview and the backtest,
so that what was shown beforehand is what happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

import msgspec

from domain.condition import Judgement, reset_as_recorded, reset_as_verdict, reset_in_force
from domain.evaluation import Previous, Verdict
from domain.fact import Fact, FactSpec, FactValue
from domain.history import Observation, has_held, lookback, observation_of, resolve
from domain.monitor import State
from domain.plan import Plan
from domain.temporal_function import HELD_FOR, LAST_NOTIFIED, TemporalCall

NOTHING_BEFORE = Previous()
ALIKE_ALWAYS: Mapping[str, int] = MappingProxyType({})
"""Every fact has been read in the same way since the first plan."""


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
        *,
        not_used: Mapping[str, str],
    ) -> Judgement:
        """The verdict with everything it used. `not_used` says in words why facts have no value that were found."""
        ...


class FactHistory(Protocol):
    """The accepted values of facts over time."""

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, since_revision: int, confidence_min: float
    ) -> list[Observation]:
        """A fact's accepted values since a moment with the one in force at it (None: the last one only), in the order they
        were seen, whatever the clocks said then; those seen on plans before a revision do not count."""
        ...

    async def last_notified(
        self, monitor_id: UUID, fact: str, *, since_revision: int, confidence_min: float
    ) -> Observation | None:
        """The accepted value that was in force when a trigger of the monitor last fired; None before any, and where it was
        seen on a plan before a revision. Raises `FiringsBehind`."""
        ...


class FiringsBehind(Exception):
    """Whether the monitor's last change fires a trigger is not decided yet."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges a plan's condition over facts and their history."""

    conditions: ConditionJudging
    history: FactHistory

    async def judge(
        self,
        monitor_id: UUID,
        plan: Plan,
        facts: Mapping[str, Fact],
        *,
        now: datetime,
        state: State = State.UNKNOWN,
        previous: Previous = NOTHING_BEFORE,
        read_since: Mapping[str, int] = ALIKE_ALWAYS,
    ) -> Judgement:
        """The verdict of `plan` at `now` over `facts` by name, for a monitor in this `state` after `previous` evaluations on
        this plan, with facts `read_since` these revisions as they are now. A fact below the plan's confidence counts as not
        read. Raises `FiringsBehind`."""
        reset = reset_in_force(plan, state)
        recorded = plan.condition if reset is None else reset_as_recorded(reset)
        held_since = previous.held_since if previous.condition == recorded else None
        if reset is None and state is State.ACTIVE and previous.verdict is None and held_since is None:
            held_since = self._held_since_at_least(plan, now)
        looking_back = _LookingBack(self.history, monitor_id, plan.confidence_needed, read_since, now)
        judged = await self._judge(looking_back, plan, reset or plan.condition, facts, held_since=held_since)
        return judged if reset is None else reset_as_verdict(judged)

    def _held_since_at_least(self, plan: Plan, now: datetime) -> datetime | None:
        """Of an active monitor whose earlier looks are not known, because it was restored, or its plan asks the same in
        another way: the state itself says that the rest has held for as long as is asked."""
        calls = self.conditions.check(plan.condition, plan.facts)
        return min((now - call.window for call in calls if call.function == HELD_FOR), default=None)

    async def _judge(
        self,
        looking_back: "_LookingBack",
        plan: Plan,
        condition: str,
        facts: Mapping[str, Fact],
        *,
        held_since: datetime | None,
    ) -> Judgement:
        now = looking_back.now
        certain = {name: fact for name, fact in facts.items() if fact.confidence >= plan.confidence_needed}
        values = {spec.name: certain[spec.name].value if spec.name in certain else None for spec in plan.facts}
        seen = {name: observation_of(fact) for name, fact in certain.items()}
        temporal: dict[TemporalCall, FactValue | bool | None] = {}
        calls = self.conditions.check(condition, plan.facts)
        for call in calls:
            if call.function == HELD_FOR:
                temporal[call] = True  # so that what is judged is the rest
            else:
                series = await looking_back.series(call)
                temporal[call] = resolve(call, current=seen.get(call.fact), series=series, now=now)
        not_used = {name: _why_not_used(fact, plan) for name, fact in facts.items() if name not in certain}
        rest = self.conditions.judge(condition, plan.facts, values, temporal, not_used=not_used)
        held = [call for call in calls if call.function == HELD_FOR]
        return _with_held(rest, held, held_since, now=now) if held else rest


@dataclass(frozen=True, slots=True)
class _LookingBack:
    """The history of a monitor's facts, as a condition asks for it at `now`."""

    history: FactHistory
    monitor_id: UUID
    confidence_min: float
    read_since: Mapping[str, int]
    now: datetime

    async def series(self, call: TemporalCall) -> Sequence[Observation]:
        of, certain, revision = self.monitor_id, self.confidence_min, self.read_since.get(call.fact, 1)
        if call.function == LAST_NOTIFIED:
            told = await self.history.last_notified(of, call.fact, since_revision=revision, confidence_min=certain)
            return [] if told is None else [told]
        reach = lookback(call)
        since = None if reach is None else self.now - reach
        return await self.history.series(of, call.fact, since=since, since_revision=revision, confidence_min=certain)


def _why_not_used(fact: Fact, plan: Plan) -> str:
    """For people: why a value that was read counts as not read."""
    if not fact.confidence:
        return f"{fact.name} is not believed, because what is quoted for it does not stand in the evidence, or says something else"
    return f"{fact.name} was read with a confidence of {fact.confidence:g}, which is below {plan.confidence_needed:g}"


def _with_held(rest: Judgement, held: Sequence[TemporalCall], carried: datetime | None, *, now: datetime) -> Judgement:
    """The verdict of `rest && held_for(...) && ...`, where the rest has been met since `carried`. An inconclusive rest does
    not end that."""
    match rest.verdict:
        case Verdict.INCONCLUSIVE:
            known: dict[str, FactValue | None] = {call.text: None for call in held}
            return msgspec.structs.replace(rest, inputs=rest.inputs | known, held_since=carried)
        case Verdict.NOT_MET:
            return msgspec.structs.replace(rest, inputs=rest.inputs | {call.text: False for call in held})
        case Verdict.MET:
            since = now if carried is None else carried
            said = {call.text: has_held(call, since=since, now=now) for call in held}
            verdict = Verdict.MET if all(said.values()) else Verdict.NOT_MET
            return msgspec.structs.replace(rest, verdict=verdict, inputs=rest.inputs | said, held_since=since)
