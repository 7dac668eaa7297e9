"""The composition of batches of models: who takes them, and their accounts at the price of batches."""

from collections.abc import Sequence
from functools import cached_property

from adapters.claude_batches import ClaudeBatches
from adapters.model_prices import ModelPrices
from adapters.model_tracing import ModelTracing
from adapters.openai_batches import OpenAIBatches
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_pool import Pool
from adapters.postgres_waiting import PostgresWaitingInquiries, PostgresWaitingLooks
from bootstrap.ai_settings import AiSettings
from bootstrap.now_and_new import new_id, utc_now
from commands.event_store import EventStore
from commands.unhurried import Unhurried
from domain.budget import Budgets
from workers.batch_accounts import BatchAccounts
from workers.batcher import Batcher

SetUp = ClaudeBatches | OpenAIBatches


class AiBatches:
    """What is asked in no hurry, and how. Where nobody takes batches, everybody is in a hurry."""

    def __init__(self, settings: AiSettings, pool: Pool, tracing: ModelTracing) -> None:
        self._settings, self._pool, self._tracing = settings, pool, tracing
        self.answers = PostgresModelAnswers(pool)

    @property
    def able(self) -> list[str]:
        """The providers that take batches, in order of preference: OpenAI's own, or one with the same interface of responses.
        Servers that speak chat have no batches."""
        has_responses = (self._settings.openai_wire or "") == "responses" or not (
            self._settings.openai_wire or self._settings.openai_base_url
        )
        return [name for name in self._settings.models if name == "claude" or has_responses]

    @cached_property
    def providers(self) -> Sequence[SetUp]:
        """Those that take batches, each with its connections."""
        return [_provider(name, self._settings) for name in self.able]

    @property
    def unhurried(self) -> Unhurried | None:
        """Asks in no hurry; None where nobody takes batches."""
        return Unhurried(self.answers, PostgresWaitingInquiries(self._pool), utc_now) if self.able else None

    @property
    def waiting_looks(self) -> PostgresWaitingLooks | None:
        """Looks that wait; None where nobody takes batches."""
        return PostgresWaitingLooks(self._pool) if self.able else None

    def batcher(self, store: EventStore, budgets: Budgets, *, holder: str) -> Batcher:
        """Sends batches and fetches what is answered."""
        prices = ModelPrices(self._settings.ai_prices, batch=True)
        batches = PostgresBatches(self._pool, new_id=new_id)
        ledger = PostgresModelLedger(self._pool, store, prices, budgets, now=utc_now)
        accounts = BatchAccounts(
            inquiries=batches,
            records=ledger,
            prices=prices,
            answers=self.answers,
            tracing=self._tracing,
            now=utc_now,
        )
        return Batcher(
            providers=self.providers,
            batches=batches,
            ledger=ledger,
            accounts=accounts,
            leases=PostgresLeases(self._pool),
            holder=holder,
            now=utc_now,
        )

    async def close(self) -> None:
        """Let go of connections."""
        for provider in vars(self).get("providers", ()):
            await provider.close()


def _provider(name: str, settings: AiSettings) -> SetUp:
    if name == "claude":
        return ClaudeBatches(settings.anthropic_api_key or "", settings.claude_model, settings.anthropic_base_url)
    return OpenAIBatches(settings.openai_api_key or "", settings.openai_model, settings.openai_base_url)
