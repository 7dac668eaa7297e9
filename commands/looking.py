"""Looking at the sources of a monitor: what they answer, and the facts that stand in it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.evaluation import Evidence
from domain.evidence import Document, FetchOutcome, Memory, Validators
from domain.fact import Fact, FactSpec
from domain.plan import Plan
from domain.source import Source

PARSED_IN_PLACE_BYTES_MAX = 64 * 1024


class Fetcher(Protocol):
    """Reads sources."""

    async def fetch(self, source: Source, known: Validators | None) -> Document:
        """One answer; whatever the source does is an outcome, never an exception."""
        ...


class FactReading(Protocol):
    """Reads facts from a document."""

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in it, by name."""
        ...


class KeptEvidence(Protocol):
    """What earlier looks left behind."""

    async def memory(self, monitor_id: UUID) -> Mapping[str, Memory]:
        """What is remembered of each source, by url."""
        ...

    async def evidence(self, answer: Document, memory: Memory) -> Document:
        """The kept content behind a 304 answer."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the sources gave: an answer of each, and the facts that stand in them."""

    answers: tuple[tuple[Source, Document], ...]
    facts: dict[str, Fact]
    started_at: datetime

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The answers as an evaluation records them."""
        return tuple(
            Evidence(url=document.url, outcome=document.outcome, hash=document.hash, fetched_at=document.fetched_at)
            for _, document in self.answers
        )

    @property
    def failure(self) -> Document | None:
        """The first answer that nothing can be read from."""
        readable = {FetchOutcome.OK, FetchOutcome.NOT_MODIFIED}
        return next((document for _, document in self.answers if document.outcome not in readable), None)


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks. Unchanged content is not fetched twice: a 304 answer is read from what was kept."""

    fetcher: Fetcher
    reading: FactReading
    kept: KeptEvidence

    async def look(self, monitor_id: UUID, plan: Plan, *, started_at: datetime) -> Look:
        """Read every source of the plan once, and the facts that stand there."""
        memory = await self.kept.memory(monitor_id)
        documents = await asyncio.gather(*(self._read(source, memory.get(source.url)) for source in plan.sources))
        facts: dict[str, Fact] = {}
        for source, document in zip(plan.sources, documents, strict=True):
            if document.body:
                wanted = [fact for fact in plan.facts if fact.name not in facts]
                facts |= await self._read_facts(wanted, source, document)
        answers = tuple(zip(plan.sources, documents, strict=True))
        return Look(answers=answers, facts=facts, started_at=started_at)

    async def _read_facts(self, wanted: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """Parsing a large document must not hold up the other evaluations of this process."""
        if len(document.body) <= PARSED_IN_PLACE_BYTES_MAX:
            return self.reading.read(wanted, source, document)
        return await asyncio.to_thread(self.reading.read, wanted, source, document)

    async def _read(self, source: Source, remembered: Memory | None) -> Document:
        known = None if remembered is None else remembered.validators
        document = await self.fetcher.fetch(source, known)
        if document.outcome is FetchOutcome.NOT_MODIFIED and remembered is not None:
            return await self.kept.evidence(document, remembered)
        return document
