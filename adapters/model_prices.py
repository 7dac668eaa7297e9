"""What calls of models cost, after the price table that comes with the package `genai-prices`. Nothing is fetched: prices of a
version stay what they are, and another version of the package is another table.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import NamedTuple

import structlog
from genai_prices import Usage, __version__, data
from genai_prices.types import ModelInfo, ModelPrice, PriceContext, TieredPrices

from domain.budget import MICROS, plausible
from domain.model_call import TokenUsage

log = structlog.get_logger()

THEIR_NAMES = {"claude": "anthropic"}
"""What the table calls our providers, where it calls them otherwise."""

SEARCH_DOLLARS = Decimal("0.025")
"""A web search of a model for which the table has no price of them: the dearest that either provider takes (OpenAI, pricing,
built-in tools: 25 USD for 1,000 calls of web search preview with models that do not reason; both take 10 for all others)."""
SEARCHES_MAX = 5
SEARCH_INPUT_TOKENS = 20_000
"""What an estimate counts with: so many searches in a call, each of which brings so much text into it. OpenAI charges 8,000 at
its small models whatever came; one search that brought 13,000 was reported in its forum."""
CHARS_OF_A_TOKEN = 3
"""English has about four characters in a token (OpenAI, "What are tokens and how to count them"); fewer characters in each
make an estimate larger."""
WORDS_AROUND_TOKENS = 500
"""What providers put around an inquiry that is answered in a given form."""
NAMES_MAX = 1000
"""How many names of models are remembered: they come from outside."""

IN_A_BATCH: PriceContext = {"processing": "batch"}
"""What the table calls it."""

Rates = tuple[Decimal, Decimal]
"""US dollars for a million tokens that go in, and for a million that come out."""


class ModelPrices:
    """Prices by provider and model. `overrides` are the US dollars for a million tokens in, and out, of models by the names
    they are asked for: for one's own server, or where the table is wrong. Raises `ValueError` for prices below 0.

    The price of a model that neither has is that of the dearest ordinary one of its provider, so that no call ever counts as
    cheaper than it was, let alone as nothing. Ordinary are models that take and give text and keep what they read (they
    have a price for cached input), which all but special ones do today. Writing to a cache is priced as for five minutes.

    With `batch` they are those of batches, most of them half. Where the table has none, or one's own prices count, a call costs
    in a batch what it costs alone.
    """

    def __init__(self, overrides: Mapping[str, tuple[Decimal, Decimal]] | None = None, *, batch: bool = False) -> None:
        self._batch = batch
        self._overrides = {name.lower(): prices for name, prices in (overrides or {}).items()}
        for name, prices in self._overrides.items():
            if not all(price.is_finite() and price >= 0 for price in prices):
                raise ValueError(f"a price of {name} is below 0, or no number")
        self._named: set[tuple[str, str]] = set()

    @property
    def version(self) -> str:
        """Which prices these are."""
        table = f"genai-prices {__version__}{', batch' if self._batch else ''}"
        if not self._overrides:
            return table
        own = sorted((name, *map(str, prices)) for name, prices in self._overrides.items())
        return f"{table} + {hashlib.sha256(repr(own).encode()).hexdigest()[:8]}"

    def cost_micros(
        self, provider: str, model: str, usage: TokenUsage, *, at: datetime, asked_for: str | None = None
    ) -> int:
        """What this usage cost at the time `at`, in millionths of a US dollar, rounded up. `model` is what the provider says it
        used; where only the one that was `asked_for` has a price, that counts."""
        counted = plausible(usage)
        names = [model] if asked_for is None else [asked_for, model]
        for name in names:
            if (own := self._overrides.get(name.lower())) is not None:
                return _rounded(_at_rates(own, counted))
        for name in reversed(names):
            if (known := _known(provider, name, at, batch=self._batch)) is not None:
                plain = _plain(provider, name, at.replace(minute=0, second=0, microsecond=0), self._batch)
                if counted.input_tokens <= plain.input_tokens_max:
                    return _rounded(plain.dollars(counted))
                return _rounded(_at_prices(known, counted))
        self._name(provider, model)
        return _rounded(_at_rates(_dearest(provider, at), counted))

    def most_micros(
        self,
        provider: str,
        model: str,
        input_chars: int,
        output_tokens_max: int,
        *,
        at: datetime,
        searches: bool = False,
    ) -> int:
        """What a call can cost at most that is about to be made, in the same unit. For `input_chars` take the bytes of UTF-8: of
        other scripts than Latin a character may be a token, or two. What goes in may all be written to a cache, which
        costs more than to read it."""
        tokens = -(-max(0, input_chars) // CHARS_OF_A_TOKEN) + WORDS_AROUND_TOKENS
        if searches:
            tokens += SEARCHES_MAX * SEARCH_INPUT_TOKENS
        read = TokenUsage(
            input_tokens=tokens, output_tokens=max(0, output_tokens_max), searches=SEARCHES_MAX if searches else 0
        )
        written = TokenUsage(
            input_tokens=tokens, cache_write_tokens=tokens, output_tokens=read.output_tokens, searches=read.searches
        )
        return max(self.cost_micros(provider, model, usage, at=at) for usage in (read, written))

    def _name(self, provider: str, model: str) -> None:
        """Say once for each model that its price is not known. Names come from outside: there may be any number of them."""
        if (provider, model) in self._named or len(self._named) >= NAMES_MAX:
            return
        self._named.add((provider, model))
        cure = "set its price in VIGIL_AI_PRICES"
        log.warning(
            "no price of this model is known; the dearest is counted", provider=provider, model=model, cure=cure
        )


def _their_name(provider: str) -> str:
    return THEIR_NAMES.get(provider, provider)


@lru_cache(maxsize=NAMES_MAX)
def _model(provider: str, model: str) -> ModelInfo | None:
    found = next((one for one in data.providers if one.id == _their_name(provider)), None)
    return None if found is None else found.find_model(model)


def _known(provider: str, model: str, at: datetime, *, batch: bool = False) -> ModelPrice | None:
    """The prices of a model that has those of text."""
    found = _model(provider, model)
    prices = None if found is None else found.get_prices(at, IN_A_BATCH if batch else None)
    if prices is None or prices.input_mtok is None or prices.output_mtok is None:
        return None
    return prices


class _Plain(NamedTuple):
    """Prices in US dollars for one of each: tokens that go in and are not kept, tokens that come out, tokens read from and
    written to a cache, searches. They hold while no more than `input_tokens_max` go in, after which other prices begin."""

    put_in: Decimal
    out: Decimal
    read: Decimal
    written: Decimal
    searches: Decimal
    input_tokens_max: int

    def dollars(self, usage: TokenUsage) -> Decimal:
        """What a usage costs."""
        kept = usage.cache_read_tokens + usage.cache_write_tokens
        return (
            self.put_in * (usage.input_tokens - kept)
            + self.out * usage.output_tokens
            + self.read * usage.cache_read_tokens
            + self.written * usage.cache_write_tokens
            + self.searches * usage.searches
        )


@lru_cache(maxsize=NAMES_MAX)
def _plain(provider: str, model: str, hour: datetime, batch: bool = False) -> _Plain:  # noqa: FBT001, FBT002  part of what is remembered
    """The prices of a known model, found by asking the table for single tokens: it takes 80 microseconds for an answer, three
    times a call."""
    known = _known(provider, model, hour, batch=batch)
    if known is None:
        raise ValueError("this model has no prices")
    tiers = [price.tiers for price in vars(known).values() if isinstance(price, TieredPrices)]
    put_in = _at_prices(known, TokenUsage(input_tokens=1))
    return _Plain(
        put_in=put_in,
        out=_at_prices(known, TokenUsage(output_tokens=1)),
        read=_at_prices(known, TokenUsage(input_tokens=1, cache_read_tokens=1)),
        written=_at_prices(known, TokenUsage(input_tokens=1, cache_write_tokens=1)),
        searches=_at_prices(known, TokenUsage(searches=1)),
        input_tokens_max=min((tier.start for of in tiers for tier in of), default=sys.maxsize),
    )


def _dearest(provider: str, at: datetime) -> Rates:
    """Of a provider that the table does not have, the dearest of all of ours."""
    models = _models_of([_their_name(provider)]) or _models_of(["anthropic", "openai"])
    ordinary = [prices for model in models if (prices := model.get_prices(at)).cache_read_mtok is not None]
    return (
        max(_highest(prices.input_mtok) for prices in ordinary),
        max(_highest(prices.output_mtok) for prices in ordinary),
    )


def _models_of(names: Sequence[str]) -> list[ModelInfo]:
    return [model for provider in data.providers if provider.id in names for model in provider.models]


def _highest(price: Decimal | TieredPrices | None) -> Decimal:
    match price:
        case None:
            return Decimal(0)
        case TieredPrices(base=base, tiers=tiers):
            return max([base, *(tier.price for tier in tiers)])
        case _:
            return price


def _at_prices(prices: ModelPrice, usage: TokenUsage) -> Decimal:
    """In US dollars."""
    tokens = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        web_searches=usage.searches,
    )
    searches = SEARCH_DOLLARS * usage.searches if prices.web_searches_kcount is None else Decimal(0)
    return prices.calc_price(tokens)["total_price"] + searches


def _at_rates(rates: Rates, usage: TokenUsage) -> Decimal:
    """In US dollars; what is read from a cache costs as much as what is not."""
    tokens = (rates[0] * usage.input_tokens + rates[1] * usage.output_tokens) / MICROS
    return tokens + SEARCH_DOLLARS * usage.searches


def _rounded(dollars: Decimal) -> int:
    return int((dollars * MICROS).to_integral_value(ROUND_CEILING))
