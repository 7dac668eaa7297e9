"""From what a person asks for to a checked plan: what they leave out is read from their words."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from domain.classification import ClassifyRequest, Draft, Spent
from domain.condition import fires_by_default, kind_of
from domain.errors import ConditionInvalid, InvalidInput
from domain.fact import FactSpec, ReadBy, Select
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
from domain.source import HttpSource, SearchSource, SignalSource, Source, signal_ids
from domain.temporal_function import TemporalCall

INTERVAL_DEFAULT = timedelta(minutes=5)
NO_MODELS = "no AI provider is set up here: ask the operator for one (VIGIL_AI_PROVIDERS)"

_ADDRESS = re.compile(r"https?://[^\s<>\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb]+", re.IGNORECASE)


class Classifier(Protocol):
    """Compiles a prompt into the draft of a plan."""

    async def classify(self, request: ClassifyRequest) -> Draft:
        """The draft; raises `PromptNotUnderstood`, `PromptAmbiguous`, `InvalidInput`, `AiUnavailable` or
        `AiBudgetExceeded`."""
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
    """What a person asks for; None leaves the choice to the classifier or the defaults, and so do no sources. An empty
    `reset_condition` and an empty `provider` are none. What compiling it costs is added to `spent`."""

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
    provider: str | None = None
    batch: bool = False
    spent: Spent = field(default_factory=Spent, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCompiler:
    """Compiles wishes into plans. `interval_seconds_min` is the shortest interval between two evaluations; `models` are the
    names of the AI providers there are; with `can_search` a wish without sources may become a search of the web."""

    classifier: Classifier
    conditions: ConditionLanguage
    sources: SourceRules
    signals: OwnSignals
    interval_seconds_min: int
    now: Callable[[], datetime]
    models: tuple[str, ...] = ()
    can_search: bool = False

    async def compile(self, wish: Wish, *, owner_id: UUID) -> tuple[str, Plan]:
        """The name and the checked plan that the wish of this person leads to; raises what is wrong with it, naming the
        field, and what the classifier raises."""
        await self.check(wish, owner_id=owner_id)
        wish = _placed(wish)
        draft = await self.classifier.classify(self._request(wish, owner_id))
        schedule = wish.schedule or draft.schedule or self._default_schedule()
        self._check_schedule(schedule)
        for i, fact in enumerate(draft.facts):
            self._check_fact(fact, i)
        reset_condition = (draft.reset_condition if wish.reset_condition is None else wish.reset_condition) or None
        calls = self.conditions.check_asked(draft.condition, draft.facts)
        reset_calls = self._check_reset(reset_condition, draft.facts)
        fires = wish.fires or (Fires.ON_ENTRY if reset_condition else draft.fires)
        plan = Plan(
            kind=kind_of([*calls, *reset_calls]),
            facts=draft.facts,
            condition=draft.condition,
            schedule=schedule,
            sources=wish.sources or _searched(draft),
            explanation=_explained(draft.explanation, reset_condition),
            confirmations=wish.confirmations,
            min_confidence=wish.min_confidence,
            fires=fires or fires_by_default(calls),
            reset_condition=reset_condition,
            provider=wish.provider or None,
            batch=wish.batch,
        )
        check_plan(plan)
        return draft.name if wish.name is None else wish.name, plan

    def _request(self, wish: Wish, owner_id: UUID) -> ClassifyRequest:
        return ClassifyRequest(
            prompt=wish.prompt,
            sources=wish.sources,
            owner_id=owner_id,
            facts=wish.facts,
            condition=wish.condition,
            reset_condition=wish.reset_condition,
            fires=wish.fires,
            schedule=wish.schedule,
            schedule_default=self._default_schedule(),
            provider=wish.provider or None,
            spent=wish.spent,
        )

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
        placed = _placed(wish).sources
        if placed or not self.can_search:
            yield partial(check_sources, placed)
        for i, source in enumerate(placed[:SOURCES_MAX]):
            yield partial(self._check_source, source, f"sources[{i}]" if wish.sources else None)
        if wish.facts is not None:
            yield partial(check_facts, wish.facts)
            for i, fact in enumerate(wish.facts[:FACTS_MAX]):
                yield partial(self._check_fact, fact, i)
            if wish.condition is not None:
                yield partial(self._check_condition, wish.condition, wish.facts)
            if wish.reset_condition:
                yield partial(self._check_reset, wish.reset_condition, wish.facts)
        if wish.schedule is not None:
            yield partial(self._check_schedule, wish.schedule)
        yield partial(check_confirmations, wish.confirmations)
        yield partial(check_confidence, wish.min_confidence)
        yield partial(self._check_provider, wish.provider)

    def _check_source(self, source: Source, field: str | None) -> None:
        """One that was found in the prompt has no field of its own."""
        try:
            self.sources.check_source(source, field=field or "prompt")
        except InvalidInput as mistake:
            if field is not None or not isinstance(source, HttpSource):
                raise
            raise InvalidInput(f"{source.url}: {mistake.message}", field="prompt") from None

    def _check_provider(self, provider: str | None) -> None:
        if provider and provider not in self.models:
            there_are = f"there are: {', '.join(self.models)}" if self.models else NO_MODELS
            raise InvalidInput(
                f"{provider[:64]!r} is no AI provider of this installation; {there_are}", field="provider"
            )

    def _check_fact(self, fact: FactSpec, i: int) -> None:
        if fact.read_by is ReadBy.MODEL and not self.models:
            raise InvalidInput(f"{NO_MODELS}; or say with select where it stands", field=f"facts[{i}].read_by")
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


def _placed(wish: Wish) -> Wish:
    """A wish without sources looks where its prompt says, if it names addresses."""
    if wish.sources:
        return wish
    found = (address.rstrip(".,;:!?)]}") for address in _ADDRESS.findall(wish.prompt))
    return replace(wish, sources=tuple(HttpSource(url=url) for url in dict.fromkeys(found)))


def _searched(draft: Draft) -> tuple[Source, ...]:
    """A search of the web, where the draft says what to search for."""
    return () if draft.search_query is None else (SearchSource(query=draft.search_query),)


def _explained(explanation: str, reset_condition: str | None) -> str:
    """Also what keeps the state once it is active."""
    if reset_condition is None:
        return explanation
    return f"{explanation} Once active, it stays so until {reset_condition} is true."
