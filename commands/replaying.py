"""Replaying: what evaluations that were made would have come to under some plan, judged as the evaluator judges."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from commands.judging import ALIKE_ALWAYS, ConditionJudging, Judge
from commands.past_evaluations import PastEvaluation, PastEvaluations
from domain import monitor, trigger
from domain.evaluation import EvaluationCompleted, Previous, conclude, previous_after, streak_after
from domain.fact import Fact
from domain.firing import fire
from domain.history import Observation, lookback, observation_of
from domain.monitor import ConditionMetAgain, Monitor, MonitorEvent, StateChanged
from domain.plan import Plan
from domain.temporal_function import HELD_FOR, LAST_NOTIFIED
from domain.trigger import Trigger, TriggerFired


class ReplayedHistory:
    """Fulfils `FactHistory` for the time of a replay: what was seen before it, and what was seen in it so far, dated as in
    `domain.history`. Of a value that stays only the first look is kept: no function depends on how often it was looked at."""

    def __init__(
        self,
        seen: Mapping[str, list[Observation]],
        told: Mapping[str, Observation],
        confidence_min: float,
        *,
        weighs: bool,
        read_since: Mapping[str, int] = ALIKE_ALWAYS,
    ) -> None:
        """`seen` holds the accepted values of the facts that matter, oldest first; `told` those that were told last. Where an
        average `weighs` them every look is kept: the same time cut in other pieces gives another rounding. The values of a
        fact count from the plan's revision on that `read_since` gives."""
        self._seen: dict[str, list[Observation]] = {name: [] for name in seen}
        self._told, self._confidence_min, self._weighs = dict(told), confidence_min, weighs
        self._read_since = dict(read_since)
        for name, observations in seen.items():
            for observed in observations:
                self._note(name, observed)

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, since_revision: int, confidence_min: float
    ) -> list[Observation]:
        """As the port says."""
        del monitor_id, since_revision, confidence_min
        seen = self._seen[fact]
        if since is None:
            return seen[-1:]
        first = bisect_left(seen, since, key=lambda one: one.at)
        return seen[max(first - 1, 0) :]

    async def last_notified(
        self, monitor_id: UUID, fact: str, *, since_revision: int, confidence_min: float
    ) -> Observation | None:
        """As the port says."""
        del monitor_id, since_revision, confidence_min
        return self._told.get(fact)

    def reaches(self, revision: int) -> None:
        """What follows was made on this revision of the plan: what was read in another way before does not count."""
        for name in [name for name, since in self._read_since.items() if revision >= since]:
            del self._read_since[name]
            if name in self._seen:
                self._seen[name].clear()
            self._told.pop(name, None)

    def saw(self, facts: Mapping[str, Fact]) -> None:
        """From now on these are history, too."""
        for name, fact in facts.items():
            if name in self._seen and fact.confidence >= self._confidence_min:
                self._note(name, observation_of(fact))

    def _note(self, name: str, observed: Observation) -> None:
        seen = self._seen[name]
        for i in range(len(seen) - 1, -1, -1):
            if seen[i].at <= observed.at:
                break
            seen[i] = seen[i]._replace(at=observed.at)
        if self._weighs or not seen or seen[-1][1:] != observed[1:]:
            seen.append(observed)

    def told(self) -> None:
        """What is in force now was told."""
        self._told = {name: seen[-1] for name, seen in self._seen.items() if seen}


async def history_before(
    past: PastEvaluations,
    conditions: ConditionJudging,
    monitor_id: UUID,
    plan: Plan,
    *,
    before: PastEvaluation,
    begin: datetime,
    read_since: Mapping[str, int],
) -> ReplayedHistory:
    """What a plan can look back on at an evaluation, as far back as its conditions reach from `begin`, and facts are
    `read_since` a revision as this plan reads them: the values of others say nothing."""
    texts = [plan.condition, *([] if plan.reset_condition is None else [plan.reset_condition])]
    calls = [call for text in texts for call in conditions.check(text, plan.facts) if call.function != HELD_FOR]
    reach: dict[str, timedelta] = {}
    for call in calls:
        reach[call.fact] = max(reach.get(call.fact, timedelta()), lookback(call) or timedelta())
    certain = plan.confidence_needed
    seen: dict[str, list[Observation]] = {name: [] for name in reach}
    for name in reach.keys() & read_since.keys():
        seen[name] = await past.facts_before(
            monitor_id,
            name,
            since=begin - reach[name] if reach[name] else None,
            since_revision=read_since[name],
            before=before.id,
            confidence_min=certain,
        )
    told: dict[str, Observation] = {}
    for name in {call.fact for call in calls if call.function == LAST_NOTIFIED} & read_since.keys():
        found = await past.told_before(
            monitor_id, name, since_revision=read_since[name], before=before.id, confidence_min=certain
        )
        told |= {} if found is None else {name: found}
    later = {name: since for name, since in read_since.items() if since > before.plan_revision}
    weighs = any(call.function == "avg_over" for call in calls)
    return ReplayedHistory(seen, told, certain, weighs=weighs, read_since=later)


@dataclass(slots=True)
class Replay:
    """A monitor on its way through evaluations that were made."""

    monitor_id: UUID
    monitor: Monitor
    previous: Previous
    triggers: dict[UUID, Trigger]
    conditions: ConditionJudging
    history: ReplayedHistory
    occasions: int = 0

    async def evaluate(self, past: PastEvaluation, facts: Mapping[str, Fact]) -> tuple[EvaluationCompleted, bool]:
        """What the evaluation would have recorded over `facts`, and whether a trigger would have fired about it."""
        before, plan = self.monitor, self.monitor.current_plan
        previous = self.previous.on(before)
        judged = await Judge(self.conditions, self.history).judge(
            self.monitor_id, plan, facts, now=past.started_at, state=before.state, previous=previous
        )
        streak = streak_after(previous, judged.verdict)
        events = conclude(before, verdict=judged.verdict, streak=streak, evaluation_id=past.id, now=past.completed_at)
        for event in events:
            self.monitor = monitor.evolve(self.monitor, event)
        completed = EvaluationCompleted(
            monitor_id=self.monitor_id,
            plan_revision=before.plan_revision,
            due_at=past.started_at,
            verdict=judged.verdict,
            state_before=before.state,
            state_after=self.monitor.state,
            condition=judged.condition,
            inputs=judged.inputs,
            streak=streak,
            reason=judged.reason,
            held_since=judged.held_since,
            evidence=past.evidence,
            provider="",
            duration_ms=0,
            started_at=past.started_at,
            completed_at=past.completed_at,
        )
        self.previous = previous_after(self.previous, completed, past.id)
        self.history.saw(facts)
        return completed, self._fires(events, past.completed_at)

    def _fires(self, events: Sequence[MonitorEvent], now: datetime) -> bool:
        fired = False
        for occasion in events:
            if not isinstance(occasion, StateChanged | ConditionMetAgain):
                continue
            self.occasions += 1
            for trigger_id, state in self.triggers.items():
                for event in fire(trigger_id, state, occasion, place=self.occasions, obstacle=None, now=now):
                    self.triggers[trigger_id] = trigger.evolve(self.triggers[trigger_id], event)
                    fired = fired or isinstance(event, TriggerFired)
        if fired:
            self.history.told()
        return fired
