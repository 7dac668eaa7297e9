"""Looking at the sources of a monitor: what they answer, and the facts that stand in it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol
from uuid import UUID

import msgspec

from domain.evaluation import Evidence
from domain.evidence import Document, FetchOutcome, Memory, Reading, Validators
from domain.fact import Fact, FactSpec
from domain.plan import Plan
from domain.schedule import Schedule, next_slot
from domain.source import HttpSource, SearchSource, SignalSource, Source, WebSource

PARSED_IN_PLACE_BYTES_MAX = 64 * 1024
SELECTED_IN_PLACE_BYTES_MAX = 8 * 1024
"""A selector may take time that grows with the square of the page: in 64 KiB, 21,500 paragraphs, 1.6 s for each fact."""

_encoder = msgspec.json.Encoder()


class Postponed(Exception):
    """A source is not to be read before `until`: it said so, or others of the same host come first. That is no failure."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__(until)


class Fetcher(Protocol):
    """Reads sources."""

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """One answer; whatever the source does is an outcome, never an exception."""
        ...


class Searching(Protocol):
    """Searches the web."""

    async def search(self, source: SearchSource, *, now: datetime) -> Document:
        """What is found; whatever the provider does is an outcome, never an exception."""
        ...


class FactReading(Protocol):
    """Reads facts from a document. Readers of one edition read the same from the same bytes."""

    @property
    def edition(self) -> str:
        """Which one this is."""
        ...

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in it, by name."""
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


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the sources gave: an answer of each, and the facts that stand in them. `readings` are what was read
    from each answer that has contents, in the order of the answers."""

    answers: tuple[tuple[Source, Document], ...]
    facts: dict[str, Fact]
    started_at: datetime
    readings: tuple[Reading | None, ...] = ()

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
class _Recall:
    """What a look remembers of a monitor's sources, and how long that is enough."""

    monitor_id: UUID
    memory: Mapping[str, Memory]
    schedule: Schedule
    now: datetime
    fresh: bool

    def of(self, source: WebSource) -> Memory | None:
        """What is remembered of a source that was asked with the same: what it answers to other headers, or shows in a
        browser, is another representation (RFC 9111, section 4.1)."""
        memory = self.memory.get(source.url)
        known = None if memory is None else memory.reading
        return memory if known is not None and known.asked == _asked(source) else None

    def suffices(self, memory: Memory) -> bool:
        """Whether the source of this need not be asked in this slot."""
        return memory.fresh_until is not None and not self.fresh and self.lasts(memory.fresh_until)

    def unchanged(self, source: Source, answer: Document) -> Memory | None:
        """What is remembered of a source that says that it stayed so."""
        if answer.outcome is not FetchOutcome.NOT_MODIFIED or not isinstance(source, WebSource):
            return None
        return self.of(source)

    def lasts(self, until: datetime) -> bool:
        """Whether what stays until then is still so in the next slot."""
        return until > self.now and next_slot(self.schedule, due_at=self.now, now=self.now) <= until


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks. Unchanged content is not fetched twice: a 304 answer is read from what was kept, and who said that an answer
    stays until after the monitor's next slot is not asked in this one. So nobody learns of a change later than the source
    itself said, or at the first slot after that."""

    fetcher: Fetcher
    reading: FactReading
    kept: KeptEvidence
    signals: SignalReading
    searching: Searching | None = None

    async def look(
        self,
        monitor_id: UUID,
        plan: Plan,
        *,
        started_at: datetime,
        fresh: bool = False,
        signal_id: UUID | None = None,
    ) -> Look:
        """Read every source of the plan once, and the facts that stand there. With `signal_id` that signal is what its source
        says, though others may have come since; with `fresh` sources are asked that said nothing changes yet. Raises
        `Postponed` when one of them is not to be read now."""
        recall = _Recall(monitor_id, await self.kept.memory(monitor_id), plan.schedule, now=started_at, fresh=fresh)
        documents = _all_read(
            await asyncio.gather(
                *(self._ask(source, recall, signal_id=signal_id) for source in plan.sources), return_exceptions=True
            )
        )
        facts: dict[str, Fact] = {}
        read: list[tuple[Document, Reading | None]] = []
        for source, document in zip(plan.sources, documents, strict=True):
            wanted = [fact for fact in plan.facts if fact.name not in facts]
            read.append(await self._read(wanted, source, document, recall))
            facts |= {} if read[-1][1] is None else {fact.name: fact for fact in read[-1][1].facts}
        return Look(
            answers=tuple(zip(plan.sources, (answer for answer, _ in read), strict=True)),
            facts=facts,
            started_at=started_at,
            readings=tuple(reading for _, reading in read),
        )

    async def _read(
        self, wanted: Sequence[FactSpec], source: Source, document: Document, recall: _Recall
    ) -> tuple[Document, Reading | None]:
        """What stands in an answer. Of content that stays as it was, what was read from it before stays too, as long as the
        same is wanted of it: that costs neither the content nor a parser."""
        of = _reading_of(self.reading.edition, wanted, source)
        remembered = recall.unchanged(source, document)
        if remembered is not None and isinstance(source, WebSource):
            known = remembered.reading
            if known is not None and known.of == of:
                facts = tuple(msgspec.structs.replace(fact, observed_at=document.fetched_at) for fact in known.facts)
                unchanged = msgspec.structs.replace(document, hash=remembered.evidence_hash)
                return unchanged, msgspec.structs.replace(known, facts=facts)
            kept = await self.kept.evidence(document, remembered)
            document = await self.fetcher.fetch(source, None) if kept is None else kept
        if not document.body:
            return document, None
        found = await self._read_facts(wanted, source, document)
        asked = _asked(source) if isinstance(source, WebSource) else ""
        reading = Reading(of=of, facts=tuple(found.values()), read_at=recall.now, asked=asked, url=document.url)
        if remembered is not None and document.outcome is FetchOutcome.NOT_MODIFIED and isinstance(source, WebSource):
            await self.kept.was_read(recall.monitor_id, source.url, remembered, reading)
        return document, reading

    async def _read_facts(self, wanted: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """Parsing a large document, searching one of some size, or finding the main text of any, must not hold up whatever
        else this process does."""
        if len(document.body) <= _in_place_bytes_max(wanted, source):
            return self.reading.read(wanted, source, document)
        return await asyncio.to_thread(self.reading.read, wanted, source, document)

    async def _ask(self, source: Source, recall: _Recall, *, signal_id: UUID | None) -> Document:
        """What a source answers; of outcome `not_modified`, without content, when that stayed as it is remembered."""
        if isinstance(source, SignalSource):
            return await self.signals.read(source.id, signal_id, now=recall.now)
        if isinstance(source, SearchSource):
            return await self._search(source, now=recall.now)
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
            return await self.fetcher.fetch(
                source, None
            )  # it redirects to another place, which said so of its own content
        until = answer.fresh_until if answer.outcome is FetchOutcome.NOT_MODIFIED else None
        if until is not None and recall.lasts(until):
            await self.kept.stays_fresh(recall.monitor_id, source.url, remembered, until)
        return answer

    async def _search(self, source: SearchSource, *, now: datetime) -> Document:
        if self.searching is not None:
            return await self.searching.search(source, now=now)
        message = "No search provider is set up here any more."
        return Document(url="", outcome=FetchOutcome.REFUSED, message=message, fetched_at=now)


def _reading_of(edition: str, wanted: Sequence[FactSpec], source: Source) -> str:
    """Tells one way to read from another: who reads, the facts that are looked for, and all that the source says of them."""
    return sha256(_encoder.encode((edition, wanted, source))).hexdigest()


def _asked(source: WebSource) -> str:
    """Tells one way to ask a source from another: all that it says but what is selected from the answer."""
    asked = msgspec.structs.replace(source, select=None) if isinstance(source, HttpSource) else source
    return sha256(_encoder.encode(asked)).hexdigest()


def _in_place_bytes_max(wanted: Sequence[FactSpec], source: Source) -> int:
    given = [source.select if isinstance(source, HttpSource) else None, *(fact.select for fact in wanted)]
    selects = [select for select in given if select is not None]
    if any(select.text is not None for select in selects):
        return -1
    searches = any((select.css or select.xpath or select.regex) is not None for select in selects)
    return SELECTED_IN_PLACE_BYTES_MAX if searches else PARSED_IN_PLACE_BYTES_MAX


def _all_read(results: Sequence[Document | BaseException]) -> list[Document]:
    """What all sources answered. Raises what went wrong otherwise, else the `Postponed` that is longest."""
    postponed = [result for result in results if isinstance(result, Postponed)]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Postponed):
            raise result
    if postponed:
        raise max(postponed, key=lambda late: late.until)
    return [result for result in results if isinstance(result, Document)]
