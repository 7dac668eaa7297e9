"""Why a model did not read, in words for people."""

import math
from collections.abc import Mapping, Sequence

from domain.breaker import BreakerView
from domain.fact import Fact
from domain.model_call import CallOutcome

ENDINGS = {
    CallOutcome.TRUNCATED: "its answer was too long",
    CallOutcome.REFUSED: "it refused to answer",
    CallOutcome.MALFORMED: "its answer was not of the form that was asked for",
    CallOutcome.RATE_LIMITED: "it takes no more requests at present",
    CallOutcome.OVERLOADED: "it does not work at present",
    CallOutcome.TIMEOUT: "there was no whole answer in time",
    CallOutcome.BAD_REQUEST: "it does not take such a request",
    CallOutcome.AUTH: "it does not take the key",
    CallOutcome.BUDGET_EXCEEDED: "too little of the money of the day is left",
}
"""Of "it", the provider. A message that says no more than this begins with the same words."""


def why_unread(outcome: CallOutcome, provider: str | None = None, message: str | None = None) -> str:
    """For people: who was asked last, and how that ended."""
    who = f"{provider} read nothing" if provider else "nobody read the facts"
    return f"{who}: {why_unanswered(outcome, message)}"


def why_unanswered(outcome: CallOutcome, message: str | None = None) -> str:
    """For people: how the last attempt at an inquiry ended, or why there was none, of "it", the provider. Nothing is told twice:
    a message is told alone where it says that itself, as that of a budget always does."""
    ending = ENDINGS[outcome]
    if not message:
        return ending
    says_all = outcome is CallOutcome.BUDGET_EXCEEDED or message.startswith(ending)
    return message if says_all else f"{ending} ({message})"


def it_rests(view: BreakerView) -> str:
    """For people: that nobody asks this provider, and until when. Why goes without saying where its last failure tells it."""
    why = "" if view.because is not CallOutcome.MALFORMED else f" because {ENDINGS[view.because]}"
    if view.rest_seconds <= 0:
        return f"it rested{why}, and one call is trying it now"
    return f"it rests{why}, and is asked again {in_seconds(view.rest_seconds)}"


def in_seconds(seconds: float) -> str:
    """For people: when that is, "in 43 seconds", rounded up."""
    whole = max(1, math.ceil(seconds))
    return f"in {whole} second" if whole == 1 else f"in {whole} seconds"


def unproved(facts: Mapping[str, Fact]) -> list[str]:
    """The facts whose quotes do not stand in the evidence, or do not say what was read."""
    return [name for name, fact in facts.items() if fact.confidence == 0]


def why_unproved(names: Sequence[str], provider: str | None) -> str:
    """For people: that these facts were read and not believed."""
    return f"what {provider or 'a model'} quotes for {', '.join(names)} does not stand in the evidence, or says something else"
