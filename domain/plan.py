"""A plan: what a prompt was compiled into. People see it, may change it, and every version is an event."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from domain.errors import InvalidInput
from domain.fact import FactSpec, ReadBy
from domain.schedule import Schedule
from domain.source import Source

SOURCES_MAX = 10
FACTS_MAX = 20
CONFIRMATIONS_MAX = 10
FACT_NAME_CHARS_MAX, UNIT_CHARS_MAX, DESCRIPTION_CHARS_MAX = 64, 40, 500
PROMPT_CHARS_MIN, PROMPT_CHARS_MAX = 3, 2000
CONFIDENCE_SMALLEST = 1e-6
"""What is not certain at all is never used, whatever the plan says."""


class Kind(StrEnum):
    """Whether a condition looks at the present only or compares it with history."""

    CURRENT_STATE = "current_state"
    HISTORICAL_CHANGE = "historical_change"


class Fires(StrEnum):
    """When a met verdict counts as an occasion: on entering the active state, or each time."""

    ON_ENTRY = "on_entry"
    EACH_TIME = "each_time"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The typed form of a prompt.

    `condition` is a CEL expression over the facts' names; `confirmations` is how many verdicts in a row are needed
    to switch the state; facts below `min_confidence` (0..1) make a verdict inconclusive. With a `reset_condition` (CEL over
    the same facts) an active monitor stays active until that is met, whatever `condition` says meanwhile. Of AI providers
    `provider` is asked first (None: as the installation says); with `batch` what a model reads may take hours, for half the
    price.
    """

    kind: Kind
    facts: tuple[FactSpec, ...]
    condition: str
    schedule: Schedule
    sources: tuple[Source, ...]
    explanation: str
    confirmations: int = 1
    min_confidence: float = 0.5
    fires: Fires = Fires.ON_ENTRY
    reset_condition: str | None = None
    provider: str | None = None
    batch: bool = False

    @property
    def confidence_needed(self) -> float:
        """The least confidence of a fact that a verdict uses."""
        return max(self.min_confidence, CONFIDENCE_SMALLEST)

    @property
    def needs_model(self) -> bool:
        """Whether a model reads any of the facts."""
        return any(fact.read_by is ReadBy.MODEL for fact in self.facts)


def asks_otherwise(plan: Plan, other: Plan) -> bool:
    """Whether two plans ask different questions, so that the state of one says nothing about the other."""
    return (plan.condition, plan.facts, plan.sources) != (other.condition, other.facts, other.sources)


def read_alike(plan: Plan, other: Plan) -> frozenset[str]:
    """The names of the facts that both plans read in the same way from the same sources: their values may be compared."""
    if plan.sources != other.sources:
        return frozenset()
    before = {fact.name: _how_read(fact) for fact in other.facts}
    return frozenset(fact.name for fact in plan.facts if before.get(fact.name) == _how_read(fact))


def _how_read(fact: FactSpec) -> tuple[object, ...]:
    told = fact.description if fact.read_by is ReadBy.MODEL else None
    return fact.type, fact.unit, fact.select, fact.read_by, told


def judges_alike(plan: Plan, other: Plan) -> bool:
    """Whether two plans differ in nothing that a verdict or a state depends on."""
    rules = [(one.reset_condition, one.confirmations, one.min_confidence, one.fires) for one in (plan, other)]
    return not asks_otherwise(plan, other) and rules[0] == rules[1]


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that says nothing or too much, with `InvalidInput`."""
    if len(prompt.strip()) < PROMPT_CHARS_MIN or len(prompt) > PROMPT_CHARS_MAX:
        raise InvalidInput(f"a prompt is {PROMPT_CHARS_MIN} to {PROMPT_CHARS_MAX} characters", field="prompt")


def check_plan(plan: Plan) -> None:
    """Refuse a plan whose shape no evaluation could serve, with `InvalidInput` naming the field."""
    check_sources(plan.sources)
    check_facts(plan.facts)
    check_confirmations(plan.confirmations)
    check_confidence(plan.min_confidence)
    if plan.reset_condition is not None and plan.fires is Fires.EACH_TIME:
        raise InvalidInput(
            "a reset_condition says when a state ends, and fires each_time counts occurrences; give one of them",
            field="reset_condition",
        )


def check_confirmations(confirmations: int) -> None:
    """Refuse a number of verdicts in a row that is none or too many, with `InvalidInput`."""
    if not 1 <= confirmations <= CONFIRMATIONS_MAX:
        raise InvalidInput(f"confirmations is 1 to {CONFIRMATIONS_MAX}", field="confirmations")


def check_confidence(min_confidence: float) -> None:
    """Refuse what is no share of certainty, with `InvalidInput`."""
    if not 0 <= min_confidence <= 1:
        raise InvalidInput("min_confidence is 0 to 1", field="min_confidence")


def check_sources(sources: Sequence[Source]) -> None:
    """Refuse none and too many, with `InvalidInput`."""
    if not 1 <= len(sources) <= SOURCES_MAX:
        raise InvalidInput(
            f"a monitor has 1 to {SOURCES_MAX} sources, each with a url; this has {len(sources)}", field="sources"
        )


def check_facts(facts: Sequence[FactSpec]) -> None:
    """Refuse none, too many, and names that a condition could not tell apart, with `InvalidInput` naming the field."""
    if not 1 <= len(facts) <= FACTS_MAX:
        raise InvalidInput(f"a plan has 1 to {FACTS_MAX} facts; this has {len(facts)}", field="facts")
    names = [fact.name for fact in facts]
    for i, fact in enumerate(facts):
        if len(fact.unit or "") > UNIT_CHARS_MAX:
            raise InvalidInput(f"a unit has at most {UNIT_CHARS_MAX} characters", field=f"facts[{i}].unit")
        if len(fact.description or "") > DESCRIPTION_CHARS_MAX:
            raise InvalidInput(
                f"a description has at most {DESCRIPTION_CHARS_MAX} characters", field=f"facts[{i}].description"
            )
        if fact.read_by is ReadBy.MODEL and not (fact.description or "").strip():
            raise InvalidInput(
                "what a model reads is told by the description, for example: the price of the cheapest ticket",
                field=f"facts[{i}].description",
            )
    for i, name in enumerate(names):
        if not name.isidentifier() or not name.isascii() or name.startswith("_") or len(name) > FACT_NAME_CHARS_MAX:
            raise InvalidInput(
                f"{name[:FACT_NAME_CHARS_MAX]!r} cannot be used in a condition; use up to {FACT_NAME_CHARS_MAX} letters, digits and underscores",
                field=f"facts[{i}].name",
            )
        if name in names[:i]:
            raise InvalidInput(f"two facts are named {name!r}", field=f"facts[{i}].name")
