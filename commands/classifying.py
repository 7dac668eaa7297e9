"""Who compiles a prompt: built-in rules, models, or one after the other. Whatever a model answers is checked as if a person
had written it, and mended once at most."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from msgspec.structs import replace

from commands.asking import Answered, Asking, Inquiry
from commands.plan_answer import PlanAnswer, decode_plan, draft_of, reason_of
from commands.plan_compiler import Classifier, ConditionLanguage, SourceRules
from commands.plan_inquiry import plan_inquiry, repair_inquiry
from commands.unread import in_seconds, why_unanswered
from domain.classification import ClassifyRequest, Draft
from domain.errors import (
    AiBudgetExceeded,
    AiUnavailable,
    ConditionInvalid,
    InvalidInput,
    PromptAmbiguous,
    PromptNotUnderstood,
    RuleViolation,
)
from domain.model_call import UNAVAILABLE, CallOutcome, OnBehalf
from domain.plan import Fires, check_facts
from domain.schedule import check_schedule
from domain.source import SearchSource

PLAN_SECONDS_MAX = 22.0
"""For everything models are asked about one prompt: who creates a monitor waits 25 s for an answer at most."""
RULES = "rules"
"""What settings call the built-in rules."""
MEND_KEY = "The operator has to mend that (`vigil ai check` tells what it takes); try again after it"
RULES_READ = "The built-in rules read this prompt"
OR_GIVE = ", or give facts and a condition yourself."
ASK_FOR_ONE = "Or let the operator set up an AI provider (VIGIL_AI_PROVIDERS)."


Refusal: TypeAlias = PromptNotUnderstood | InvalidInput | AiUnavailable | AiBudgetExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelClassifier:
    """Has models compile prompts. `interval_seconds_min` is the shortest interval between two evaluations; with `can_search`
    a prompt without sources may become a search of the web; `new_boundary` makes words that nobody can foresee."""

    asking: Asking
    conditions: ConditionLanguage
    sources: SourceRules
    interval_seconds_min: int
    can_search: bool
    now: Callable[[], datetime]
    new_boundary: Callable[[], str]

    async def classify(self, request: ClassifyRequest) -> Draft:
        """The draft, after `PLAN_SECONDS_MAX` at the latest; raises `PromptAmbiguous` with the model's questions,
        `PromptNotUnderstood` where it cannot be compiled or what was answered does not do, `ConditionInvalid` where a
        condition that the person gave does not, `AiUnavailable`, `AiBudgetExceeded`."""
        until = asyncio.get_running_loop().time() + PLAN_SECONDS_MAX
        boundary = self.new_boundary()
        inquiry = plan_inquiry(
            request,
            now=self.now(),
            boundary=boundary,
            interval_seconds_min=self.interval_seconds_min,
            can_search=self.can_search,
        )
        answer = await self._ask(inquiry, request, until)
        try:
            return self._checked(answer, request)
        except InvalidInput as mistake:
            again = repair_inquiry(inquiry, answer, reason_of(mistake), boundary=boundary)
        mended = await self._ask(again, request, until)
        try:
            return self._checked(mended, request)
        except ConditionInvalid as mistake:
            if getattr(request, mistake.field or "condition"):  # it is the person's own
                raise
            raise _useless(mistake) from None
        except InvalidInput as mistake:
            raise _useless(mistake) from None

    async def _ask(self, inquiry: Inquiry, request: ClassifyRequest, until: float) -> PlanAnswer:
        on_behalf = OnBehalf(owner_id=request.owner_id)
        answered = await self.asking.ask(inquiry, decode_plan, on_behalf, prefer=request.provider, until=until)
        request.spent.micros += answered.cost_micros
        if answered.value is None:
            raise _unanswered(answered)
        return answered.value

    def _checked(self, answer: PlanAnswer, request: ClassifyRequest) -> Draft:
        """The draft, if it would be taken from a person, too; raises `InvalidInput` where not."""
        if answer.questions:
            raise PromptAmbiguous(answer.questions)
        if not answer.facts and request.facts is None:
            why = answer.explanation or "there is nothing in it that a source could show"
            raise PromptNotUnderstood(f"this prompt cannot be watched: {why}", field="prompt")
        draft = draft_of(answer, request)
        check_facts(draft.facts)
        for i, fact in enumerate(draft.facts):
            if fact.select is not None:
                self.sources.check_select(fact.select, field=f"facts[{i}].select")
        self.conditions.check_asked(draft.condition, draft.facts)
        if reset_condition := request.reset_condition or draft.reset_condition:
            self._check_reset(draft, reset_condition)
        if draft.schedule is not None:
            check_schedule(draft.schedule, now=self.now(), interval_seconds_min=self.interval_seconds_min)
        if not request.sources:
            if draft.search_query is None:
                raise InvalidInput("no source is given: say what to search the web for", field="search_query")
            self.sources.check_source(SearchSource(query=draft.search_query), field="search_query")
        return draft

    def _check_reset(self, draft: Draft, reset_condition: str) -> None:
        if draft.fires is Fires.EACH_TIME:
            raise InvalidInput("a reset_condition does not go with fires each_time", field="reset_condition")
        try:
            self.conditions.check_asked(reset_condition, draft.facts)
        except ConditionInvalid as mistake:
            raise ConditionInvalid(mistake.message, field="reset_condition") from None


def _useless(mistake: InvalidInput) -> PromptNotUnderstood:
    return PromptNotUnderstood(
        f"what the AI provider made of this prompt does not do, also not after it was told why:\n{reason_of(mistake)}\n"
        "Say it more plainly, or give facts and a condition yourself.",
        field="prompt",
    )


def _unanswered(answered: Answered[PlanAnswer]) -> RuleViolation:
    """Why there is no answer: what passes by itself or is the operator's is told apart from what the prompt has to do with."""
    why = answered.message or answered.outcome.replace("_", " ")
    match answered.outcome:
        case CallOutcome.BUDGET_EXCEEDED:
            return AiBudgetExceeded(
                f"{why[:1].upper()}{why[1:]}. Give facts and a condition yourself, or try again then."
            )
        case CallOutcome.REFUSED:
            return PromptNotUnderstood(
                f"the AI provider does not want to read this prompt ({why}). Say it in another way, or give facts and a"
                " condition yourself.",
                field="prompt",
            )
        case outcome if outcome in UNAVAILABLE or outcome is CallOutcome.AUTH:
            who = f"{answered.provider}: " if answered.provider else ""
            again = "soon" if answered.rest_seconds is None else in_seconds(answered.rest_seconds)
            cure = MEND_KEY if outcome is CallOutcome.AUTH else f"Try again {again}"
            return AiUnavailable(
                f"No AI provider answers at present. {who}{why_unanswered(outcome, answered.message)}. {cure}{OR_GIVE}",
                rest_seconds=answered.rest_seconds,
            )
        case _:
            return PromptNotUnderstood(
                f"what the AI provider answered to this prompt cannot be used ({why}). Try again, say it more plainly, or"
                " give facts and a condition yourself.",
                field="prompt",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierChain:
    """Asks the rules and the models in the `order` of the providers, the models together where the first of them stands;
    who prefers a provider has models asked first. Where nothing is left to be read, the rules put it into words, and nobody
    else is asked; of prompts that come without sources only models can make something."""

    rules: Classifier
    models: Classifier | None
    order: Sequence[str]

    async def classify(self, request: ClassifyRequest) -> Draft:
        """The draft of whoever can make one; raises `PromptAmbiguous` as soon as somebody asks back, else why nobody
        could."""
        if self.models is None:
            return await self._without_models(request)
        if request.is_complete:
            return await self.rules.classify(request)
        refusals: dict[bool, Refusal] = {}
        for is_model, classifier in self._turns(request, self.models):
            try:
                return _told_of(refusals.get(True), await classifier.classify(request))
            except (PromptNotUnderstood, InvalidInput, AiUnavailable, AiBudgetExceeded) as refused:
                refusals[is_model] = refused
        raise _together(refusals[True], refusals.get(False))

    async def _without_models(self, request: ClassifyRequest) -> Draft:
        """Models would read more than the rules, which is told only where there are none."""
        try:
            return await self.rules.classify(request)
        except PromptNotUnderstood as refused:
            raise PromptNotUnderstood(f"{refused.message} {ASK_FOR_ONE}", field=refused.field) from None

    def _turns(self, request: ClassifyRequest, models: Classifier) -> Iterator[tuple[bool, Classifier]]:
        """Who is asked one after the other, with whether it is the models."""
        serves = RULES in self.order and bool(request.sources)
        rules_first = serves and self.order[0] == RULES and request.provider is None
        if rules_first:
            yield False, self.rules
        yield True, models
        if serves and not rules_first:
            yield False, self.rules


def _told_of(models: Refusal | None, draft: Draft) -> Draft:
    """The draft of the rules, which says so where models should have made one: their plan may be another."""
    if models is None:
        return draft
    why = "no AI provider answered" if isinstance(models, AiUnavailable) else "the AI provider made none of it"
    if isinstance(models, AiBudgetExceeded):
        why = "there was not enough money for the AI provider"
    return replace(draft, explanation=f"{draft.explanation} {RULES_READ}, because {why}.".lstrip())


def _together(models: Refusal, rules: Refusal | None) -> Refusal:
    """Both reasons in one, under the code of the models': without them, the rules are all there is."""
    if rules is None or isinstance(models, InvalidInput):
        return models
    message = f"{models.message.removesuffix(OR_GIVE).removesuffix('.')}.\nThe built-in rules were asked, too: {rules.message}"
    if isinstance(models, AiUnavailable):
        return AiUnavailable(message, rest_seconds=models.rest_seconds)
    return type(models)(message, field=models.field)
