"""Monitors in no hurry, for tests of batches: a stand-in of a provider, and everything from a look to the batcher on the real
store."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.claude_batches import ClaudeBatches
from adapters.claude_provider import ClaudeProvider
from adapters.evidence_text import EvidenceText
from adapters.model_prices import ModelPrices
from adapters.model_tracing import ModelTracing
from adapters.openai_batches import OpenAIBatches
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_waiting import PostgresWaitingInquiries, PostgresWaitingLooks
from commands.asking import Asking
from commands.model_reading import ModelReading
from commands.unhurried import Unhurried
from commands.waiting_looks import LOOK_AGAIN
from domain.budget import Budgets
from domain.evaluation import EvaluationCompleted, EvaluationJob
from domain.fact import FactSpec, FactType, ReadBy
from domain.model_call import ModelCalled
from tests.batch_server import BatchServer
from tests.commands.model_world import Books
from tests.conftest import AT
from tests.model_server import ModelServer
from tests.reading_model import USED
from tests.workers.world import Page, World, plan
from workers.batch_accounts import BatchAccounts
from workers.batcher import GATHERED_FOR, REST_SECONDS, Batcher
from workers.evaluator import Evaluator
from workers.later import NotYet
from workers.lifecycle import Leases

MODEL = "claude-haiku-4-5"
PRICE = FactSpec(
    name="price", type=FactType.NUMBER, unit="EUR", description="the price of the kettle", read_by=ReadBy.MODEL
)
STOCK = FactSpec(name="stock", type=FactType.NUMBER, description="how many there are", read_by=ReadBy.MODEL)
PRICES, BATCH_PRICES = ModelPrices(), ModelPrices(batch=True)
TABLES: tuple[LiteralString, ...] = (
    "select count(*) from model_batch",
    "select count(*) from model_batch_call",
    "select count(*) from model_call_open",
    "select count(*) from waiting_inquiry where outcome is null",
)


class Killed(BaseException):
    """The process is gone."""


class Everybody(Leases):
    """A lease that everybody believes to hold, as who was paused for long does."""

    async def hold(self, names: Sequence[str], holder: str, *, lifetime: timedelta) -> dict[str, int]:
        return dict.fromkeys(names, 1)

    async def let_go(self, names: Sequence[str], holder: str) -> None:
        """Nothing to give back."""


class Unhurrying:
    """Monitors in no hurry, a stand-in of a provider's batches, and one for calls made alone."""

    def __init__(self, world: World, fetcher: AiohttpFetcher, page: Page, server: BatchServer, name: str) -> None:
        self.world, self.fetcher, self.page, self.server = world, fetcher, page, server
        self.provider: ClaudeBatches | OpenAIBatches = (
            ClaudeBatches("key", MODEL, server.url)
            if name == "claude"
            else OpenAIBatches("key", MODEL, server.openai_url)
        )
        self.batches = PostgresBatches(world.pool, new_id=uuid7)
        self.answers = PostgresModelAnswers(world.pool)
        self.budgets = Budgets()
        self.tracing = ModelTracing()
        self.alone: list[ClaudeProvider] = []

    async def close(self) -> None:
        for provider in (self.provider, *self.alone):
            await provider.close()

    def ledger(self) -> PostgresModelLedger:
        return PostgresModelLedger(self.world.pool, self.world.store, BATCH_PRICES, self.budgets, now=self.world.clock)

    def batcher(self, holder: str = "one", *, leases: Leases | None = None, **others: Any) -> Batcher:  # noqa: ANN401  its fields
        ledger = self.ledger()
        accounts = BatchAccounts(
            inquiries=self.batches,
            records=ledger,
            prices=BATCH_PRICES,
            answers=self.answers,
            tracing=self.tracing,
            now=self.world.clock,
        )
        fields: dict[str, Any] = {"providers": [self.provider], **others}
        return Batcher(
            batches=self.batches,
            ledger=ledger,
            accounts=accounts,
            leases=leases or PostgresLeases(self.world.pool),
            holder=holder,
            now=self.world.clock,
            **fields,
        )

    def evaluator(self, direct: ModelServer | None = None) -> Evaluator:
        """One whose models are asked alone at `direct`."""
        world, books = self.world, Books()
        providers = [] if direct is None else [ClaudeProvider("key", MODEL, direct.url)]
        self.alone += providers
        asking = Asking(providers=providers, ledger=books, breakers=books, tracing=books, now=world.clock, new_id=uuid7)
        unhurried = Unhurried(self.answers, PostgresWaitingInquiries(world.pool), world.clock)
        models = ModelReading(asking, EvidenceText(), self.answers, now=world.clock, unhurried=unhurried)
        return world.evaluator(self.fetcher, models=models, waiting=PostgresWaitingLooks(world.pool))

    async def monitor(self, owner_id: UUID, *urls: str, **others: object) -> UUID:
        fields: dict[str, Any] = {"facts": (PRICE,), "batch": True, **others}
        return await self.world.monitor(owner_id, plan(*(urls or (self.page.url,)), **fields))

    async def slot(self, owner_id: UUID, *urls: str, **others: object) -> EvaluationJob:
        return await self.world.slot(owner_id, await self.monitor(owner_id, *urls, **others))

    def says(self, text: str) -> None:
        self.page.text = f"<p>{text}</p>".encode(), "text/html"

    async def waits(self, job: EvaluationJob, direct: ModelServer | None = None) -> None:
        await self.put_back(job, self.evaluator(direct))

    async def put_back(self, job: EvaluationJob, evaluator: Evaluator) -> None:
        """It cannot be evaluated yet, and waits as the queue has it wait."""
        with pytest.raises(NotYet) as later:
            await evaluator.evaluate(job)
        assert (later.value.until, later.value.is_attempt) == (self.world.clock() + LOOK_AGAIN, False)
        await self.world.schedule.put_back(job, until=later.value.until, attempts=job.attempts)

    async def evaluated(self, job: EvaluationJob, direct: ModelServer | None = None) -> EvaluationCompleted:
        await self.evaluator(direct).evaluate(job)
        return await self.world.verdict(job)

    async def sent(self, **others: Any) -> Batcher:  # noqa: ANN401  fields of a batcher
        """What waits is sent."""
        self.world.clock.move(GATHERED_FOR.total_seconds())
        batcher = self.batcher(**others)
        assert await batcher.step() == REST_SECONDS
        return batcher

    async def over(self) -> None:
        """Batches are over, and fetched."""
        self.server.end()
        await self.batcher().step()

    async def left(self) -> list[int]:
        return [int(str(await self.world.value(table))) for table in TABLES]

    async def kept(self) -> list[int]:
        """How many inquiries and looks there are, whether they wait or not."""
        tables: tuple[LiteralString, ...] = (
            "select count(*) from waiting_inquiry",
            "select count(*) from waiting_look",
        )
        return [int(str(await self.world.value(table))) for table in tables]

    async def sums(self, *scopes: UUID) -> list[int]:
        query: LiteralString = "select coalesce(sum(spent_micros), 0)::bigint from model_spending where scope = %s"
        return [int(str(await self.world.value(query, scope))) for scope in scopes]

    async def called(self) -> list[ModelCalled]:
        return await self.world.all(ModelCalled)


def costs(provider: str, count: int = 1) -> int:
    return count * BATCH_PRICES.cost_micros(provider, MODEL, USED, at=AT, asked_for=MODEL)
