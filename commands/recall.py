"""What is remembered of a monitor's sources, and when that is enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec

from domain.evidence import Document, FetchOutcome, Memory
from domain.fact import FactSpec
from domain.schedule import Schedule, next_slot
from domain.source import HttpSource, Source, WebSource

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Recall:
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
        return memory if known is not None and known.asked == asked_of(source) else None

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


def asked_of(source: WebSource) -> str:
    """Tells one way to ask a source from another: all that it says but what is selected from the answer."""
    asked = msgspec.structs.replace(source, select=None) if isinstance(source, HttpSource) else source
    return sha256(_encoder.encode(asked)).hexdigest()


def reading_of(edition: str, wanted: Sequence[FactSpec], source: Source) -> str:
    """Tells one way to read from another: who reads, the facts that are looked for, and all that the source says of them."""
    return sha256(_encoder.encode((edition, wanted, source))).hexdigest()
