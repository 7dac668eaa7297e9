"""What reading by models needs around it in tests: books that admit every call, and answers that are kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from uuid_utils.compat import uuid7

from adapters.evidence_text import EvidenceText
from commands.asking import Asking, PlannedCall, Provider, Reply
from commands.kept_answers import KeptAnswer
from commands.model_reading import ModelReading
from domain.breaker import BreakerState, BreakerView
from domain.evidence import Document, FetchOutcome
from domain.fact import FactSpec, FactType, ReadBy
from domain.model_call import CallOutcome, ModelCalled, OnBehalf
from domain.source import HttpSource
from tests.conftest import AT

CALL_MICROS = 7
ADA, BOB = OnBehalf(owner_id=UUID(int=1), monitor_id=UUID(int=11)), OnBehalf(owner_id=UUID(int=2))
URL = "http://shop.example/kettle"
SHOP = HttpSource(url=URL)


def spec(name: str, kind: str, told: str, **given: object) -> FactSpec:
    return FactSpec(name=name, type=FactType(kind), description=told, read_by=ReadBy.MODEL, **given)  # type: ignore[arg-type]  # one of the fields


PRICE = spec("price", "number", "the price of the kettle", unit="EUR")
IN_STOCK = spec("in_stock", "boolean", "whether the kettle can be bought now")
NAME = spec("name", "text", "what the product is called")
COLOURS = spec("colours", "list", "the colours it comes in")
WANTED = (PRICE, IN_STOCK, NAME, COLOURS)


@dataclass
class Books:
    """Ledger, breakers and observers of a test. People in `spent` may spend nothing more; with `resting`, that is how every
    provider stands."""

    spent: frozenset[UUID] = frozenset()
    resting: BreakerView | None = None
    recorded: list[tuple[PlannedCall, Reply]] = field(default_factory=list)

    async def admit(self, call: PlannedCall) -> str | None:
        return "your budget of today is spent" if call.on_behalf.owner_id in self.spent else None

    async def record(self, call: PlannedCall, reply: Reply, *, duration_ms: int) -> ModelCalled:
        self.recorded.append((call, reply))
        return ModelCalled(
            task=call.inquiry.task,
            provider=call.provider,
            model=reply.model or call.model,
            outcome=reply.outcome,
            usage=reply.usage,
            cost_micros=CALL_MICROS,
            prices="test",
            started_at=call.started_at,
            duration_ms=duration_ms,
        )

    async def allows(self, provider: str, model: str) -> bool:
        return self.resting is None

    def note(self, provider: str, model: str, outcome: CallOutcome) -> None:
        """Nothing changes how they stand."""

    def view(self, provider: str, model: str) -> BreakerView:
        return self.resting or BreakerView(provider=provider, model=model, state=BreakerState.CLOSED)

    def called(self, call: PlannedCall, called: ModelCalled) -> None:
        """Nobody observes."""


@dataclass
class AnswersInMemory:
    """Fulfils `commands.kept_answers.KeptAnswers` and `workers.retention.KeptAnswers`."""

    kept: dict[bytes, tuple[KeptAnswer, datetime]] = field(default_factory=dict)

    async def find(self, key: bytes, *, at: datetime) -> KeptAnswer | None:
        if key not in self.kept:
            return None
        answer, used_at = self.kept[key]
        self.kept[key] = (answer, at if used_at < at - timedelta(days=1) else used_at)
        return answer

    async def keep(self, key: bytes, answer: KeptAnswer, *, asked_at: datetime) -> None:
        if key not in self.kept or self.kept[key][0].came_at < asked_at:
            self.kept[key] = (answer, answer.came_at)

    async def forget(self, *, unused_since: datetime, limit: int) -> int:
        unused = [key for key, (_, used_at) in self.kept.items() if used_at < unused_since][:limit]
        for key in unused:
            del self.kept[key]
        return len(unused)


def reading(*providers: Provider, books: Books | None = None, answers: AnswersInMemory | None = None) -> ModelReading:
    books = books or Books()
    asking = Asking(providers=providers, ledger=books, breakers=books, tracing=books, now=lambda: AT, new_id=uuid7)
    return ModelReading(asking, EvidenceText(), answers or AnswersInMemory(), now=lambda: AT)


def document(text: str, content_type: str = "text/html") -> Document:
    body = text.encode("utf-8", "replace")
    return Document(
        url=URL,
        outcome=FetchOutcome.OK,
        fetched_at=AT,
        content_type=content_type,
        charset="utf-8",
        body=body,
        hash=sha256(body).hexdigest(),
    )


def outside(content: str) -> Sequence[str]:
    """What an inquiry holds outside of its boundaries."""
    lines = content.split("\n")
    boundary = lines[-1]
    return [line.replace(boundary, "boundary") for line in lines[: lines.index(boundary)]]
