"""A look: what the sources of a monitor answered at one moment, and the facts that stand in it."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from commands.model_reading import ModelRead
from domain.condition import Judgement
from domain.evaluation import Evidence, Verdict
from domain.evidence import Document, FetchOutcome, Reading
from domain.fact import Fact
from domain.source import Source


@dataclass(frozen=True, slots=True)
class Reader:
    """Who read facts: a provider and its model, or a word for who else did."""

    provider: str
    model: str | None = None


RULES = Reader("rules")
NOBODY = Reader("nobody")
"""A model was to read, and none did or was asked."""
UNKNOWN = Reader("unknown")
"""A model read before it was remembered which."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the sources gave: an answer of each, and the facts that stand in them. `readings` are what was read
    from each answer that has contents and was read whole, in the order of the answers; `asked` is what models were asked for,
    and `remembered_micros` what they would have cost where what they read before was not read again."""

    answers: tuple[tuple[Source, Document], ...]
    facts: dict[str, Fact]
    started_at: datetime
    readings: tuple[Reading | None, ...] = ()
    asked: tuple[ModelRead, ...] = ()
    remembered_micros: int = 0

    @property
    def unread(self) -> str | None:
        """Why a model that was asked did not read, in words; such facts are missing and are to be asked for again."""
        return next((read.failure for read in self.asked if read.failure is not None), None)

    @property
    def may_be_read_soon(self) -> bool:
        """Whether what a model did not read is to be asked for soon, and not in vain once more."""
        return any(read.failure is not None and not read.is_in_vain for read in self.asked)

    @property
    def reader(self) -> Reader:
        """Who read last of the models that were asked; else the last one that read what was not read again."""
        for read in reversed(self.asked):
            if read.provider is not None:
                return Reader(read.provider, read.model)
        for reading in reversed(self.readings):
            if reading is not None and reading.provider is not None:
                return Reader(reading.provider, reading.model)
        if any(reading is not None and reading.cost_micros for reading in self.readings):
            return UNKNOWN
        return RULES if self.unread is None else NOBODY

    @property
    def cost_micros(self) -> int:
        """What models cost, in millionths of a US dollar."""
        return sum(read.cost_micros for read in self.asked)

    @property
    def saved_micros(self) -> int:
        """What they would have cost once more."""
        return self.remembered_micros + sum(read.saved_micros for read in self.asked)

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

    def explain(self, judgement: Judgement) -> Judgement:
        """Where a model was to read and did not, that is why a verdict is inconclusive."""
        if self.unread is None or judgement.verdict is not Verdict.INCONCLUSIVE:
            return judgement
        return msgspec.structs.replace(judgement, reason=self.unread)
