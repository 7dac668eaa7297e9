"""Reading facts in what a source answered: what they select is read here, and of the rest a model is asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from commands.giving_way import GivenWay
from commands.model_reading import ModelRead
from domain.evidence import Document
from domain.fact import Fact, FactSpec, ReadBy
from domain.model_call import OnBehalf
from domain.source import HttpSource, SignalSource, Source

PARSED_IN_PLACE_BYTES_MAX = 64 * 1024
SELECTED_IN_PLACE_BYTES_MAX = 8 * 1024
"""A selector may take time that grows with the square of the page: in 64 KiB, 21,500 paragraphs, 1.6 s for each fact."""
NO_MODEL = "No AI provider is set up here any more, and a model was to read this."


class FactReading(Protocol):
    """Reads facts from a document. Readers of one edition read the same from the same bytes."""

    @property
    def edition(self) -> str:
        """Which one this is."""
        ...

    def read(self, facts: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """The facts that stand in it, by name."""
        ...


class FactAsking(Protocol):
    """Has models read facts in a document. Readers of one edition ask the same of the same bytes."""

    @property
    def edition(self) -> str:
        """Which one this is."""
        ...

    async def read(
        self,
        specs: Sequence[FactSpec],
        source: Source,
        document: Document,
        *,
        on_behalf: OnBehalf,
        prefer: str | None,
        until: float | None,
        unhurried_since: datetime | None,
    ) -> ModelRead:
        """The facts that a model finds in it, asking `prefer` first, before `until` (time of the running loop, in seconds).
        With `unhurried_since`, when this look was begun, it may be answered later."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFor:
    """For whom a look is made, which provider is asked first, and until when; since when, where that may take hours; what
    models were asked for so far; and how large the documents are that are held meanwhile."""

    on_behalf: OnBehalf | None
    prefer: str | None
    until: float | None
    unhurried_since: datetime | None = None
    asked: list[ModelRead] = field(default_factory=list)
    held_bytes: int = 0

    @property
    def waiting(self) -> tuple[bytes, ...]:
        """The keys of inquiries whose answers are missing yet."""
        return tuple(key for read in self.asked for key in read.waiting)


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads answers. Without `models`, what a model was to read stays unread."""

    selections: FactReading
    models: FactAsking | None = None
    given_way: GivenWay = field(default_factory=GivenWay)

    def edition(self, wanted: Sequence[FactSpec]) -> str:
        """Another one whenever these facts may be read otherwise from the same bytes."""
        if self.models is None or all(spec.read_by is ReadBy.SELECTION for spec in wanted):
            return self.selections.edition
        return f"{self.selections.edition} {self.models.edition}"

    async def read(
        self, wanted: Sequence[FactSpec], source: Source, document: Document, asking: LookFor
    ) -> tuple[tuple[Fact, ...], ModelRead | None]:
        """The facts in the order they are wanted, and what a model was asked for, if one reads any of them."""
        selected = [spec for spec in wanted if spec.read_by is ReadBy.SELECTION]
        found = await self._read_facts(selected, source, document) if selected else {}
        asked = [spec for spec in wanted if spec.read_by is ReadBy.MODEL]
        if not asked:
            return tuple(found.values()), None
        read = ModelRead(facts={}, failure=NO_MODEL)
        if self.models is not None and asking.on_behalf is not None:
            self.given_way.give_way(max(asking.held_bytes, len(document.body)))
            read = await self.models.read(
                asked,
                source,
                document,
                on_behalf=asking.on_behalf,
                prefer=asking.prefer,
                until=asking.until,
                unhurried_since=None if isinstance(source, SignalSource) else asking.unhurried_since,
            )
        asking.asked.append(read)
        found = {**found, **read.facts}
        return tuple(found[spec.name] for spec in wanted if spec.name in found), read

    async def _read_facts(self, wanted: Sequence[FactSpec], source: Source, document: Document) -> dict[str, Fact]:
        """Parsing a large document, searching one of some size, or finding the main text of any, must not hold up whatever
        else this process does."""
        if len(document.body) <= _in_place_bytes_max(wanted, source):
            return self.selections.read(wanted, source, document)
        return await asyncio.to_thread(self.selections.read, wanted, source, document)


def _in_place_bytes_max(wanted: Sequence[FactSpec], source: Source) -> int:
    given = [source.select if isinstance(source, HttpSource) else None, *(fact.select for fact in wanted)]
    selects = [select for select in given if select is not None]
    if any(select.text is not None for select in selects):
        return -1
    searches = any((select.css or select.xpath or select.regex) is not None for select in selects)
    return SELECTED_IN_PLACE_BYTES_MAX if searches else PARSED_IN_PLACE_BYTES_MAX
