"""Reading facts once more from evidence that was kept."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from email.message import Message

import msgspec

from commands.answer_reading import FactReading
from commands.evidence_store import EvidenceStore
from commands.past_evaluations import PastEvaluation
from domain.evaluation import Evidence
from domain.evidence import Content, Document, FetchOutcome, LetGo
from domain.fact import Fact, FactSpec
from domain.source import FeedSource, HttpSource, Source

READ_MAX = 64
"""Contents whose facts are remembered: most looks find what the one before found."""


class NotRepeatable(Exception):
    """What an evaluation saw cannot be read again; the message says why."""


@dataclass(slots=True)
class KeptFacts:
    """Reads the facts of one plan, which is of this revision of its monitor, from what its sources answered then."""

    contents: EvidenceStore
    reading: FactReading
    facts: tuple[FactSpec, ...]
    sources: tuple[Source, ...]
    plan_revision: int
    _read: OrderedDict[tuple[str, int], dict[str, Fact]] = field(default_factory=OrderedDict)

    async def of(self, past: PastEvaluation) -> dict[str, Fact]:
        """The facts that stand in the evidence of an evaluation, by name, as of then. Raises `NotRepeatable`."""
        if past.plan_revision != self.plan_revision and not self._are_the_sources_of(past):
            raise NotRepeatable("the monitor watched other sources then")
        facts: dict[str, Fact] = {}
        for place, evidence in enumerate(past.evidence[: len(self.sources)]):
            wanted = [fact for fact in self.facts if fact.name not in facts]
            found = await self._facts_in(evidence, place)
            facts |= {fact.name: found[fact.name] for fact in wanted if fact.name in found}
        return facts

    def _are_the_sources_of(self, past: PastEvaluation) -> bool:
        own = [source.url if isinstance(source, HttpSource | FeedSource) else None for source in self.sources]
        return own == [evidence.url for evidence in past.evidence]

    async def _facts_in(self, evidence: Evidence, place: int) -> dict[str, Fact]:
        if evidence.hash is None:
            return {}
        key = (evidence.hash, place)
        found = self._read.get(key)
        if found is None:
            document = _document(evidence, await self.contents.get(evidence.hash))
            found = await asyncio.to_thread(self.reading.read, self.facts, self.sources[place], document)
            self._read[key] = found
            while len(self._read) > READ_MAX:
                self._read.popitem(last=False)
        return {
            name: msgspec.structs.replace(fact, observed_at=evidence.fetched_at, source_url=evidence.url)
            for name, fact in found.items()
        }


def _document(evidence: Evidence, content: Content | LetGo | None) -> Document:
    match content:
        case None:
            raise NotRepeatable(f"what {evidence.url} answered was not kept")
        case LetGo(removed_at=removed_at):
            raise NotRepeatable(f"what {evidence.url} answered was let go on {removed_at:%Y-%m-%d}, as the policy says")
        case Content():
            header = Message()
            header["Content-Type"] = content.headers.get("content-type", "")
            return Document(
                url=evidence.url,
                outcome=FetchOutcome.OK,
                fetched_at=evidence.fetched_at,
                content_type=header.get_content_type() if content.headers.get("content-type") else "",
                charset=header.get_content_charset(),
                body=content.body,
                hash=evidence.hash,
            )
