"""Forecasting what a monitor will cost: who will be asked, how often at each look, and at which price."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Protocol

import msgspec

from commands.fact_inquiry import Shown, groups_of, inquiry_for
from commands.look import Look
from domain.fact import FactSpec, FactType, ReadBy
from domain.forecast import EVIDENCE_TOKENS, Forecast, LookPrice, forecast
from domain.model_call import TokenUsage
from domain.plan import Plan
from domain.source import SearchSource

CHARS_OF_A_TOKEN = 4
"""Of English (OpenAI, "What are tokens and how to count them"), in which our own words are."""
ANSWER_TOKENS: Mapping[FactType, int] = {
    FactType.NUMBER: 60,
    FactType.BOOLEAN: 100,
    FactType.TIMESTAMP: 70,
    FactType.TEXT: 120,
    FactType.LIST: 400,
}
"""Of one fact with its quote and its confidence."""
SEARCH = TokenUsage(input_tokens=20_000, output_tokens=1_000, searches=2)
"""A typical search of a model: it looks twice, and is charged for what that brings as for any other text."""


class Prices(Protocol):
    """What models cost."""

    def cost_micros(self, provider: str, model: str, usage: TokenUsage, *, at: datetime) -> int:
        """What a usage costs, in millionths of a US dollar."""
        ...


class Forecasting:
    """Forecasts. `readers` and `searchers` are the models by the names of their providers, in the order in which they are asked;
    `batchers` are those of them that take batches."""

    def __init__(
        self,
        prices: Prices,
        *,
        readers: Mapping[str, str],
        searchers: Mapping[str, str],
        batchers: Collection[str],
        now: Callable[[], datetime],
    ) -> None:
        self._prices, self._now = prices, now
        self._readers, self._searchers = readers, searchers
        self._batchers = {name: model for name, model in readers.items() if name in batchers}

    def of(self, plan: Plan, *, at: datetime | None = None, tried: Look | None = None) -> Forecast | None:
        """What a plan will cost from `at` on (None: from now on), after what a trial look cost, if there was one in which
        models were asked for all that a look may ask, and answered. None where no model is needed, or none is set up."""
        at = self._now() if at is None else at
        price = self._price(plan, at)
        if price is None:
            return None
        if tried is not None and _was_whole(tried, price):
            price = price.tried(tried.cost_micros + tried.saved_micros)
        return forecast(plan, price, at=at)

    def _price(self, plan: Plan, at: datetime) -> LookPrice | None:
        """What one look is estimated to cost."""
        waits = plan.batch and bool(self._batchers)
        reader = _first(self._batchers if waits else self._readers, plan.provider)
        searcher = _first(self._searchers, plan.provider)
        texts = [] if reader is None else list(_texts(plan))
        searches = 0 if searcher is None else sum(isinstance(source, SearchSource) for source in plan.sources)
        reading = sum(self._cost(reader, _usage(facts), at) for facts in texts)
        if not texts and not searches:
            return None
        return LookPrice(
            reader=None if reader is None else reader[1],
            searcher=None if searcher is None else searcher[1],
            readings=len(texts),
            searches=searches,
            reading_micros=Fraction(reading),
            searching_micros=Fraction(searches * self._cost(searcher, SEARCH, at)),
            is_halved=waits,
        )

    def _cost(self, asked: tuple[str, str] | None, usage: TokenUsage, at: datetime) -> int:
        return 0 if asked is None else self._prices.cost_micros(*asked, usage, at=at)


def _was_whole(look: Look, price: LookPrice) -> bool:
    """Whether models answered all that a look may ask them: where the first of several sources has every fact, or one has no
    such text, a later look may cost more."""
    return sum(read.answered for read in look.asked) == price.calls and look.unread is None


def _first(models: Mapping[str, str], prefer: str | None) -> tuple[str, str] | None:
    """The provider that is asked first, and its model."""
    return min(models.items(), key=lambda one: one[0] != prefer, default=None)


def _texts(plan: Plan) -> Iterator[Sequence[FactSpec]]:
    """The facts of each inquiry that a look makes, when no source has what another one has, too."""
    asked = [fact for fact in plan.facts if fact.read_by is ReadBy.MODEL]
    for source in plan.sources:
        for _, facts in groups_of(asked, source):
            yield facts


def _usage(facts: Sequence[FactSpec]) -> TokenUsage:
    """What one inquiry about these facts uses, for a text of typical size."""
    inquiry = inquiry_for(facts, Shown("", is_cut=False), bytes)
    ours = len(inquiry.instructions) + len(inquiry.content) + len(msgspec.json.encode(inquiry.schema))
    return TokenUsage(
        input_tokens=ours // CHARS_OF_A_TOKEN + EVIDENCE_TOKENS,
        output_tokens=sum(ANSWER_TOKENS[fact.type] for fact in facts),
    )
