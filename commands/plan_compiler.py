"""From what a person asks for to a checked plan: what they leave out is read from their words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from domain.classification import ClassifyRequest, Draft
from domain.condition import fires_by_default, kind_of
from domain.errors import ConditionInvalid, InvalidInput
from domain.fact import FactSpec, Select
from domain.name import check_name
from domain.plan import (
    FACTS_MAX,
    SOURCES_MAX,
    Fires,
    Plan,
    check_confidence,
    check_confirmations,
    check_facts,
    check_plan,
    check_prompt,
    check_sources,
)
from domain.schedule import Every, Schedule, check_schedule
from domain.source import SignalSource, Source, signal_ids
from domain.temporal_function import TemporalCall

INTERVAL_DEFAULT = timedelta(minutes=5)


class Classifier(Protocol):
    """Compiles a prompt into the draft of a plan."""

    async def classify(self, request: ClassifyRequest) -> Draft:
        """The draft; raises `PromptNotUnderstood` or `InvalidInput`."""
        ...


class ConditionLanguage(Protocol):
    """The language of conditions."""

    def check_asked(self, condition: str, facts: Sequence[FactSpec]) -> Sequence[TemporalCall]:
        """Compile against the facts, of which it has to refer to one; what it needs of their history. Raises
        `ConditionInvalid`."""
        ...


class SourceRules(Protocol):
    """What may be watched, and with which selectors."""

    def check_source(self, source: Source, *, field: str) -> None:
        """Raise `InvalidInput` for a source that would never be read."""
        ...

    def check_select(self, select: Select, *, field: str) -> None:
        """Raise `InvalidInput` for a selector that does not compile."""
        ...


class OwnSignals(Protocol):
    """Which signal sources are whose."""

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of `source_ids` that this person has."""
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
    reset_condition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCompiler:
    """Compiles wishes into plans. `interval_seconds_min` is the shortest interval between two evaluations."""

    classifier: Classifier
    conditions: ConditionLanguage
    sources: SourceRules
    signals: OwnSignals
    interval_seconds_min: int
    now: Callable[[], datetime]

    async def compile(self, wish: Wish, *, owner_id: UUID) -> tuple[str, Plan]:
        """The name and the checked plan that the wish of this person leads to; raises what is wrong with it, naming the
        field."""
        await self.check(wish, owner_id=owner_id)
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
        self._check_schedule(schedule)
        for i, fact in enumerate(draft.facts):
            self._check_fact(fact, i)
        calls = self.conditions.check_asked(draft.condition, draft.facts)
        reset_calls = self._check_reset(wish.reset_condition, draft.facts)
        fires = wish.fires or (Fires.ON_ENTRY if wish.reset_condition else draft.fires)
        plan = Plan(
            kind=kind_of([*calls, *reset_calls]),
            facts=draft.facts,
            condition=draft.condition,
            schedule=schedule,
            sources=wish.sources,
            explanation=_explained(draft.explanation, wish.reset_condition),
            confirmations=wish.confirmations,
            min_confidence=wish.min_confidence,
            fires=fires or fires_by_default(calls),
            reset_condition=wish.reset_condition,
        )
        check_plan(plan)
        return draft.name if wish.name is None else wish.name, plan

    async def check(self, wish: Wish, *, owner_id: UUID) -> None:
        """Raise the first of the mistakes in what this person gave themselves."""
        for mistake in [*self.mistakes(wish), *await self.unknown_signals(wish.sources, owner_id)]:
            raise mistake

    async def unknown_signals(self, sources: Sequence[Source], owner_id: UUID) -> list[InvalidInput]:
        """What is wrong with naming these signal sources: that a person may only watch their own. That somebody else has
        one is not told."""
        wanted = signal_ids(sources)
        own = await self.signals.own(owner_id, wanted) if wanted else frozenset[UUID]()
        message = "you have no signal source with this id; POST /api/v1/signal-sources makes one"
        return [
            InvalidInput(message, field=f"sources[{i}].id")
            for i, source in enumerate(sources)
            if isinstance(source, SignalSource) and source.id not in own
        ]

    def mistakes(self, wish: Wish) -> Iterator[InvalidInput]:
        """Everything that is wrong with what a person gave themselves. What is left out is not read from their words; a
        condition is compared with facts that are given with it and in order."""
        for check in self._checks(wish):
            try:
                check()
            except InvalidInput as mistake:
                yield mistake

    def _checks(self, wish: Wish) -> Iterator[Callable[[], object]]:
        yield partial(check_prompt, wish.prompt)
        if wish.name is not None:
            yield partial(check_name, wish.name)
        yield partial(check_sources, wish.sources)
        for i, source in enumerate(wish.sources[:SOURCES_MAX]):
            yield partial(self.sources.check_source, source, field=f"sources[{i}]")
        if wish.facts is not None:
            yield partial(check_facts, wish.facts)
            for i, fact in enumerate(wish.facts[:FACTS_MAX]):
                yield partial(self._check_fact, fact, i)
            if wish.condition is not None:
                yield partial(self._check_condition, wish.condition, wish.facts)
            if wish.reset_condition is not None:
                yield partial(self._check_reset, wish.reset_condition, wish.facts)
        if wish.schedule is not None:
            yield partial(self._check_schedule, wish.schedule)
        yield partial(check_confirmations, wish.confirmations)
        yield partial(check_confidence, wish.min_confidence)

    def _check_fact(self, fact: FactSpec, i: int) -> None:
        if fact.select is not None:
            self.sources.check_select(fact.select, field=f"facts[{i}].select")

    def _check_condition(self, condition: str, facts: Sequence[FactSpec]) -> None:
        try:
            check_facts(facts)
        except InvalidInput:
            return  # told already, and what a condition makes of such facts would only repeat it
        self.conditions.check_asked(condition, facts)

    def _check_reset(self, reset_condition: str | None, facts: Sequence[FactSpec]) -> Sequence[TemporalCall]:
        """What the condition that ends the active state needs of history; raises `ConditionInvalid` for its own field."""
        if reset_condition is None:
            return ()
        try:
            return self.conditions.check_asked(reset_condition, facts)
        except ConditionInvalid as mistake:
            raise ConditionInvalid(mistake.message, field="reset_condition") from None

    def _check_schedule(self, schedule: Schedule) -> None:
        check_schedule(schedule, now=self.now(), interval_seconds_min=self.interval_seconds_min)

    def _default_schedule(self) -> Every:
        return Every(seconds=max(int(INTERVAL_DEFAULT.total_seconds()), self.interval_seconds_min))


def _explained(explanation: str, reset_condition: str | None) -> str:
    """Also what keeps the state once it is active."""
    if reset_condition is None:
        return explanation
    return f"{explanation} Once active, it stays so until {reset_condition} is true."
