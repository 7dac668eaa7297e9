"""Providers that rest because they failed: nobody asks them, and whoever would is told why and until when."""

from collections.abc import Iterable
from typing import Protocol

from commands.unread import it_rests
from domain.breaker import REST_SECONDS, BreakerState, BreakerView
from domain.model_call import CallOutcome


class Breakers(Protocol):
    """Which providers and models are worth asking at present."""

    async def allows(self, provider: str, model: str) -> bool:
        """Whether to ask now; of one that rests, once in a while one caller may."""
        ...

    def note(self, provider: str, model: str, outcome: CallOutcome) -> None:
        """How a call that was allowed ended; with `budget_exceeded` it was not made, or says nothing."""
        ...

    def view(self, provider: str, model: str) -> BreakerView:
        """How one stands, as far as this process knows: of one that may not be asked, why and for how long."""
        ...


def told_of_rest(breakers: Breakers, provider: str, model: str) -> tuple[CallOutcome, str]:
    """What an inquiry comes to that only meets those who rest, and in words. Nothing was answered to it: a provider that
    answered others with garbage does not work, and that is no garbage that was paid for here."""
    view = breakers.view(provider, model)
    because = view.because or CallOutcome.OVERLOADED
    return CallOutcome.OVERLOADED if because is CallOutcome.MALFORMED else because, it_rests(view)


def rest_seconds(breakers: Breakers, of: Iterable[tuple[str, str]]) -> float | None:
    """How long it takes until one of these providers and models is asked again, None when one may be now. One that is being
    tried answers, or rests again."""
    views = [breakers.view(provider, model) for provider, model in of]
    if any(view.state is BreakerState.CLOSED for view in views):
        return None
    return min((view.rest_seconds or REST_SECONDS for view in views), default=None)
