"""Looking at the sources of a monitor: what they answer, and the facts that stand in it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.answer_reading import AnswerReader, LookFor
from commands.look import Look
from commands.model_reading import ModelRead
from commands.postponed import Postponed
from commands.recall import Recall, asked_of, reading_of
from commands.waiting import IN_A_HURRY, Wait, Waiting
from commands.waiting_looks import WaitingLooks
from domain.evidence import Document, FetchOutcome, Memory, Reading, Validators
from domain.fact import Fact, FactSpec
from domain.model_call import OnBehalf
from domain.plan import Plan
from domain.source import SearchSource, SignalSource, Source, WebSource


class Fetcher(Protocol):
    """Reads sources."""

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """One answer; whatever the source does is an outcome, never an exception."""
        ...


class Searching(Protocol):
    """Searches the web."""

    async def search(
        self, source: SearchSource, *, on_behalf: OnBehalf, prefer: str | None, until: float | None, now: datetime
    ) -> tuple[Document, ModelRead]:
        """What is found, without content where nobody could search, and what was asked for it; whatever the provider does is an
        outcome, never an exception."""
        ...


class KeptEvidence(Protocol):
    """What earlier looks left behind."""

    async def memory(self, monitor_id: UUID) -> Mapping[str, Memory]:
        """What is remembered of each source, by url."""
        ...

    async def evidence(self, answer: Document, memory: Memory) -> Document | None:
        """The kept content behind an answer that brought none, as a document of outcome `not_modified`; None when it was
        let go."""
        ...

    async def stays_fresh(self, monitor_id: UUID, url: str, memory: Memory, until: datetime) -> None:
        """The source says that what is remembered stays until then."""
        ...

    async def was_read(self, monitor_id: UUID, url: str, memory: Memory, reading: Reading) -> None:
        """This is what the remembered content was read as."""
        ...


class SignalReading(Protocol):
    """Reads signals."""

    async def read(self, source_id: UUID, signal_id: UUID | None, *, now: datetime) -> Document:
        """The signal of this id, if it is of this source, else the last of the source; without content when none ever
        came, so that its facts are missing and nothing is concluded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """An answer with its contents, and what stands in it: a `reading` to be remembered, where all of it was read."""

    document: Document
    facts: tuple[Fact, ...] = ()
    reading: Reading | None = None
    remembered_micros: int = 0


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks. Unchanged content is not fetched twice: a 304 answer is read from what was kept, and who said that an answer
    stays until after the monitor's next slot is not asked in this one. So nobody learns of a change later than the source
    itself said, or at the first slot after that. With `waiting`, plans that are in no hurry wait for batches."""

    fetcher: Fetcher
    reader: AnswerReader
    kept: KeptEvidence
    signals: SignalReading
    searching: Searching | None = None
    waiting: WaitingLooks | None = None

    async def look(
        self,
        monitor_id: UUID,
        plan: Plan,
        *,
        started_at: datetime,
        fresh: bool = False,
        signal_id: UUID | None = None,
        on_behalf: OnBehalf | None = None,
        until: float | None = None,
    ) -> Look:
        """Read every source of the plan once, and the facts that stand there. With `signal_id` that signal is what its source
        says, though others may have come since; with `fresh` sources are asked that said nothing changes yet. Models are asked
        on somebody's behalf, and until then (time of the running loop, in seconds). Raises `Postponed` when one of the sources
        is not to be read now, or a model has not answered that may take hours."""
        recall = Recall(monitor_id, await self.kept.memory(monitor_id), plan.schedule, now=started_at, fresh=fresh)
        waiting = Waiting(self.waiting)
        wait = await waiting.begin(on_behalf, now=started_at) if plan.batch and not fresh else IN_A_HURRY
        asking = LookFor(on_behalf=on_behalf, prefer=plan.provider, until=until, unhurried_since=wait.since)
        answers = (self._answer(source, wait, recall, asking, signal_id=signal_id) for source in plan.sources)
        documents = _all_read(await asyncio.gather(*answers, return_exceptions=True))
        spent_micros = sum(asked.cost_micros for asked in asking.asked)
        held_bytes = sum(len(document.body) for document in documents)
        asking = replace(asking, asked=[*asking.asked, *wait.asked], held_bytes=held_bytes)
        facts: dict[str, Fact] = {}
        read: list[_Read] = []
        for place, source in enumerate(plan.sources):
            wanted = [fact for fact in plan.facts if fact.name not in facts]
            read.append(await self._read(wanted, source, documents[place], recall, asking))
            facts |= {fact.name: fact for fact in read[-1].facts}
            documents[place] = read[-1].document
            if asking.waiting:
                answered = list(zip(plan.sources, documents, strict=True))
                await waiting.postpone(wait, asking, answered, spent_micros=spent_micros, now=started_at)
        return Look(
            answers=tuple(zip(plan.sources, documents, strict=True)),
            facts=facts,
            started_at=started_at,
            readings=tuple(one.reading for one in read),
            asked=tuple(asking.asked),
            remembered_micros=sum(one.remembered_micros for one in read),
        )

    async def _answer(
        self, source: Source, wait: Wait, recall: Recall, asking: LookFor, *, signal_id: UUID | None
    ) -> Document:
        """What a source answered before this look began to wait, else what it answers now."""
        return wait.seen(source) or await self._ask(source, recall, asking, signal_id=signal_id)

    async def _read(
        self, wanted: Sequence[FactSpec], source: Source, document: Document, recall: Recall, asking: LookFor
    ) -> _Read:
        """What stands in an answer. Of content that stays as it was, what was read from it before stays too, as long as the
        same is wanted of it: that costs neither the content, nor a parser, nor a model."""
        of = reading_of(self.reader.edition(wanted), wanted, source)
        remembered = recall.unchanged(source, document)
        if remembered is not None and isinstance(source, WebSource):
            known = remembered.reading
            if known is not None and known.of == of:
                facts = tuple(msgspec.structs.replace(fact, observed_at=document.fetched_at) for fact in known.facts)
                unchanged = msgspec.structs.replace(document, hash=remembered.evidence_hash)
                kept_reading = msgspec.structs.replace(known, facts=facts)
                return _Read(document=unchanged, facts=facts, reading=kept_reading, remembered_micros=known.cost_micros)
            kept = await self.kept.evidence(document, remembered)
            document = await self.fetcher.fetch(source, None) if kept is None else kept
        if not document.body:
            return _Read(document=document)
        found, read = await self.reader.read(wanted, source, document, asking)
        if read is not None and (read.failure is not None or read.waiting):
            return _Read(document=document, facts=found)
        reading = Reading(
            of=of,
            facts=found,
            read_at=recall.now,
            asked=asked_of(source) if isinstance(source, WebSource) else "",
            url=document.url,
            cost_micros=0 if read is None else read.cost_micros + read.saved_micros,
            provider=None if read is None else read.provider,
            model=None if read is None else read.model,
        )
        if remembered is not None and document.outcome is FetchOutcome.NOT_MODIFIED and isinstance(source, WebSource):
            await self.kept.was_read(recall.monitor_id, source.url, remembered, reading)
        return _Read(document=document, facts=found, reading=reading)

    async def _ask(self, source: Source, recall: Recall, asking: LookFor, *, signal_id: UUID | None) -> Document:
        """What a source answers; of outcome `not_modified`, without content, when that stayed as it is remembered."""
        if isinstance(source, SignalSource):
            return await self.signals.read(source.id, signal_id, now=recall.now)
        if isinstance(source, SearchSource):
            return await self._search(source, asking, now=recall.now)
        remembered = recall.of(source)
        if remembered is None or remembered.reading is None:
            return await self.fetcher.fetch(source, None)
        if recall.suffices(remembered):
            return Document(
                url=remembered.reading.url,
                outcome=FetchOutcome.NOT_MODIFIED,
                fetched_at=recall.now,
                validators=remembered.validators,
            )
        answer = await self.fetcher.fetch(source, remembered.validators)
        if answer.outcome is FetchOutcome.NOT_MODIFIED and answer.url != remembered.reading.url:
            # It redirects to another place, which said so of its own content.
            return await self.fetcher.fetch(source, None)
        until = answer.fresh_until if answer.outcome is FetchOutcome.NOT_MODIFIED else None
        if until is not None and recall.lasts(until):
            await self.kept.stays_fresh(recall.monitor_id, source.url, remembered, until)
        return answer

    async def _search(self, source: SearchSource, asking: LookFor, *, now: datetime) -> Document:
        if self.searching is not None and asking.on_behalf is not None:
            document, read = await self.searching.search(
                source, on_behalf=asking.on_behalf, prefer=asking.prefer, until=asking.until, now=now
            )
            asking.asked.append(read)
            return document
        message = "No search provider is set up here any more."
        return Document(url="", outcome=FetchOutcome.REFUSED, message=message, fetched_at=now)


def _all_read(results: Sequence[Document | BaseException]) -> list[Document]:
    """What all sources answered. Raises what went wrong otherwise, else the `Postponed` that is longest."""
    postponed = [result for result in results if isinstance(result, Postponed)]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Postponed):
            raise result
    if postponed:
        raise max(postponed, key=lambda late: late.until)
    return [result for result in results if isinstance(result, Document)]
