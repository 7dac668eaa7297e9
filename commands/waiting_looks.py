"""What a look saw that waits for answers of models: the same is read when they are there, so that a page which says something
else each time is read in the end, and no source is asked twice for one evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

import msgspec

from domain.evidence import Document, FetchOutcome
from domain.model_call import OnBehalf
from domain.source import SignalSource, Source

LOOK_AGAIN = timedelta(minutes=5)
"""After which an evaluation asks whether answers are there."""
_READABLE = frozenset({FetchOutcome.OK, FetchOutcome.NOT_MODIFIED})

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLook:
    """A look that was begun at `begun_at`, and what sources answered it, by `seen_of`. With `is_waiting` an answer of a model is
    missing yet, and the documents are not told. `spent_micros` is what it has cost so far beside what is waited for (millionths
    of a US dollar)."""

    begun_at: datetime
    documents: Mapping[str, Document] = field(default_factory=dict)
    spent_micros: int = 0
    is_waiting: bool = False


class WaitingLooks(Protocol):
    """Looks that wait, one of each monitor."""

    async def begun(self, on_behalf: OnBehalf, *, since: datetime) -> WaitingLook | None:
        """The look of this evaluation, unless another one of the monitor was recorded after it began: what it saw would be
        older than what is known. One that began before `since` waits no longer."""
        ...

    async def keep(self, on_behalf: OnBehalf, look: WaitingLook, keys: Sequence[bytes]) -> None:
        """Keep a look that waits for the answers to these inquiries, in place of an earlier one of the monitor; nothing for an
        erased person."""
        ...


def seen_of(source: Source) -> str:
    """Tells what one source answers from what another one does."""
    return sha256(_encoder.encode(source)).hexdigest()


def worth_keeping(answers: Sequence[tuple[Source, Document]]) -> dict[str, Document]:
    """The answers that are read later: what stayed as it is remembered is read from there, and what a person signalled is
    kept nowhere else, and costs nothing to be looked up."""
    return {
        seen_of(source): document
        if document.outcome is FetchOutcome.OK
        else msgspec.structs.replace(document, body=b"")
        for source, document in answers
        if document.outcome in _READABLE and not isinstance(source, SignalSource)
    }
