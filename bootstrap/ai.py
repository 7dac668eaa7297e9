"""The composition of what models are asked with. The SDKs of providers are loaded only where one is set up and asked."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import redis.asyncio as redis

from adapters.claude_provider import ClaudeProvider
from adapters.evidence_text import EvidenceText
from adapters.model_figures import ModelFigures
from adapters.model_prices import ModelPrices
from adapters.model_tracing import ModelTracing
from adapters.openai_provider import OpenAIProvider
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_pool import Pool
from adapters.redis_breakers import RedisBreakers
from bootstrap.ai_batches import AiBatches
from bootstrap.ai_settings import AiSettings
from bootstrap.now_and_new import new_id, utc_now
from bootstrap.settings import Settings
from commands.asking import Asking
from commands.event_store import EventStore
from commands.forecasting import Forecasting
from commands.model_reading import ModelReading
from commands.model_searching import ModelSearching
from domain.budget import Budgets, micros_of

SetUp = ClaudeProvider | OpenAIProvider


def providers(settings: AiSettings) -> list[SetUp]:
    """The providers that are set up, in order of preference."""
    return [_provider(name, settings) for name in settings.models]


def _provider(name: str, settings: AiSettings) -> SetUp:
    if name == "claude":
        return ClaudeProvider(settings.anthropic_api_key or "", settings.claude_model, settings.anthropic_base_url)
    wire = settings.openai_wire or ("chat" if settings.openai_base_url else "responses")
    return OpenAIProvider(settings.openai_api_key or "", settings.openai_model, settings.openai_base_url, wire)


class Ai:
    """What models are asked with in one process. `holder` names the process among all."""

    def __init__(self, settings: Settings, pool: Pool, client: redis.Redis, store: EventStore, *, holder: str) -> None:
        self._settings, self._pool = settings, pool
        self.breakers = RedisBreakers(
            client, namespace=settings.redis_namespace, holder=holder, monotonic=time.monotonic
        )
        self.prices = ModelPrices(settings.ai_prices)
        self.budgets = Budgets(
            person_day_micros=None
            if settings.ai_budget_person_day is None
            else micros_of(settings.ai_budget_person_day),
            installation_day_micros=None if settings.ai_budget_day is None else micros_of(settings.ai_budget_day),
        )
        self.figures = ModelFigures()
        self.ledger = PostgresModelLedger(pool, store, self.prices, self.budgets, now=utc_now)
        self._tracing = ModelTracing(self.figures)
        self.batches = AiBatches(settings, pool, self._tracing)

    @cached_property
    def providers(self) -> Sequence[SetUp]:
        """Those that are set up, each with its connections."""
        return providers(self._settings)

    @cached_property
    def asking(self) -> Asking:
        """How they are asked."""
        return Asking(
            providers=self.providers,
            ledger=self.ledger,
            breakers=self.breakers,
            tracing=self._tracing,
            now=utc_now,
            new_id=new_id,
        )

    @cached_property
    def reading(self) -> ModelReading | None:
        """Reads facts; None where no model is set up."""
        if not self._settings.models:
            return None
        answers = PostgresModelAnswers(self._pool)
        return ModelReading(self.asking, EvidenceText(), answers, now=utc_now, unhurried=self.batches.unhurried)

    @cached_property
    def searching(self) -> ModelSearching | None:
        """Searches the web; None where nobody who is set up can."""
        return ModelSearching(replace(self.asking, providers=self._searchers)) if self._searchers else None

    @cached_property
    def forecasting(self) -> Forecasting:
        """Tells what monitors will cost."""
        searchers = {provider.name: provider.model for provider in self._searchers}
        return Forecasting(
            self.prices,
            readers=self._settings.models,
            searchers=searchers,
            batchers=self.batches.able,
            now=utc_now,
        )

    @cached_property
    def _searchers(self) -> Sequence[SetUp]:
        return [provider for provider in self.providers if provider.can_search]

    async def page(self) -> bytes:
        """What Prometheus is told of calls and breakers."""
        return self.figures.page(await self.breakers.states(self._settings.models.items()))

    async def close(self) -> None:
        """Let go of connections, with the books in order."""
        await self.ledger.settled()
        await self.breakers.close()
        await self.batches.close()
        for provider in vars(self).get("providers", ()):
            await provider.close()
