"""From what a person asks for to a checked plan: what they leave out is read from their words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from domain.classification import ClassifyRequest, Draft
from domain.condition import fires_by_default, kind_of
from domain.fact import FactSpec, Select
from domain.history import TemporalCall
from domain.monitor import check_prompt
from domain.plan import Fires, Plan, check_facts, check_plan, check_sources
from domain.schedule import Every, Schedule, check_schedule
from domain.source import Source

INTERVAL_DEFAULT = timedelta(minutes=5)


class Classifier(Protocol):
    """Compiles a prompt into the draft of a plan."""

    async def classify(self, request: ClassifyRequest) -> Draft:
        """The draft; raises `PromptNotUnderstood` or `InvalidInput`."""
        ...


class ConditionLanguage(Protocol):
    """The language of conditions."""

    def check(self, condition: str, facts: Sequence[FactSpec]) -> Sequence[TemporalCall]:
        """Compile against the facts; what it needs of their history. Raises `ConditionInvalid`."""
        ...


class SourceRules(Protocol):
    """What may be watched, and with which selectors."""

    def check_source(self, source: Source, *, field: str) -> None:
        """Raise `InvalidInput` for a source that would never be read."""
        ...

    def check_select(self, select: Select, *, field: str) -> None:
        """Raise `InvalidInput` for a selector that does not compile."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for; None leaves the choice to the classifier or the defaults."""

    prompt: str
    name: str | None
    sources: tuple[Source, ...]
    schedule: Schedule | None
    condition: str | None
    facts: tuple[FactSpec, ...] | None
    confirmations: int
    min_confidence: float
    fires: Fires | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCompiler:
    """Compiles wishes into plans. `interval_seconds_min` is the shortest interval between two evaluations."""

    classifier: Classifier
    conditions: ConditionLanguage
    sources: SourceRules
    interval_seconds_min: int
    now: Callable[[], datetime]

    async def compile(self, wish: Wish) -> tuple[str, Plan]:
        """The name and the checked plan a wish leads to; raises what is wrong with it, naming the field."""
        check_prompt(wish.prompt)
        check_sources(wish.sources)
        if wish.facts is not None:
            check_facts(wish.facts)
        for i, source in enumerate(wish.sources):
            self.sources.check_source(source, field=f"sources[{i}]")
        draft = await self.classifier.classify(
            ClassifyRequest(
                prompt=wish.prompt,
                sources=wish.sources,
                facts=wish.facts,
                condition=wish.condition,
                schedule=wish.schedule,
                schedule_default=self._default_schedule(),
            )
        )
        schedule = wish.schedule or draft.schedule or self._default_schedule()
        check_schedule(schedule, now=self.now(), interval_seconds_min=self.interval_seconds_min)
        for i, fact in enumerate(draft.facts):
            if fact.select is not None:
                self.sources.check_select(fact.select, field=f"facts[{i}].select")
        calls = self.conditions.check(draft.condition, draft.facts)
        plan = Plan(
            kind=kind_of(calls),
            facts=draft.facts,
            condition=draft.condition,
            schedule=schedule,
            sources=wish.sources,
            explanation=draft.explanation,
            confirmations=wish.confirmations,
            min_confidence=wish.min_confidence,
            fires=wish.fires or draft.fires or fires_by_default(calls),
        )
        check_plan(plan)
        return draft.name if wish.name is None else wish.name, plan

    def _default_schedule(self) -> Every:
        return Every(seconds=max(int(INTERVAL_DEFAULT.total_seconds()), self.interval_seconds_min))
