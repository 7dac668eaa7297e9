"""Why a model did not read, in words for people."""

from collections.abc import Mapping, Sequence

from domain.fact import Fact
from domain.model_call import CallOutcome

_ENDINGS = {
    CallOutcome.TRUNCATED: "its answer was too long",
    CallOutcome.REFUSED: "it refused to answer",
    CallOutcome.MALFORMED: "its answer was not of the form that was asked for",
    CallOutcome.RATE_LIMITED: "it takes no more requests at present",
    CallOutcome.OVERLOADED: "it does not work at present",
    CallOutcome.TIMEOUT: "there was no whole answer in time",
    CallOutcome.BAD_REQUEST: "it does not take such a request",
    CallOutcome.AUTH: "it does not take the key",
    CallOutcome.BUDGET_EXCEEDED: "the money of the day is spent",
}


def why_unread(outcome: CallOutcome, provider: str | None = None, message: str | None = None) -> str:
    """For people: who was asked last, and how that ended."""
    who = f"{provider} read nothing" if provider else "nobody read the facts"
    return f"{who}: {_ENDINGS[outcome]}" + (f" ({message})" if message else "")


def unproved(facts: Mapping[str, Fact]) -> list[str]:
    """The facts whose quotes do not stand in the evidence, or do not say what was read."""
    return [name for name, fact in facts.items() if fact.confidence == 0]


def why_unproved(names: Sequence[str], provider: str | None) -> str:
    """For people: that these facts were read and not believed."""
    return f"what {provider or 'a model'} quotes for {', '.join(names)} does not stand in the evidence, or says something else"
