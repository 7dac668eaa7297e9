"""Asking models in no hurry: an inquiry waits for a batch, which costs half and may take hours. It is answered when its answer
is kept, as if somebody had asked before."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from commands.asking import Inquiry
from commands.kept_answers import KeptAnswer, KeptAnswers
from domain.fact import FactSpec
from domain.model_call import CallOutcome, OnBehalf

WAITED_MAX = timedelta(hours=28)
"""Providers give a batch 24 hours, and the batcher gives them two more. Who has waited longer waits for nobody: no batcher
runs."""
NO_BATCHER = "nothing was sent to a provider for more than a day; is the worker `batcher` running?"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingInquiry:
    """An inquiry about `facts` that waits for a batch, told from others by its `key` (SHA-256 of all that is asked)."""

    key: bytes
    inquiry: Inquiry
    facts: tuple[FactSpec, ...]
    on_behalf: OnBehalf
    prefer: str | None
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an inquiry ended that had waited; with `ok` its answer is kept. `message` says why, in our words."""

    outcome: CallOutcome
    provider: str | None = None
    message: str | None = None


class WaitingInquiries(Protocol):
    """Inquiries that wait, or waited some days ago."""

    async def put(self, asked: WaitingInquiry, *, since: datetime) -> Ended | None:
        """Let it wait, unless it waits already; how it ended, if it did so since then. What ended before is asked anew, as is
        what ended because somebody else's money was spent. Nothing waits for an erased person."""
        ...

    async def is_paid_for(self, key: bytes, evaluation_id: UUID) -> bool:
        """Whether it was for this evaluation that it was asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a batch, or somebody who was faster, brought: an answer, or why there is none. `is_own`: it was asked for this
    evaluation, which it has cost something."""

    ended: Ended
    kept: KeptAnswer | None = None
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Unhurried:
    """Asks in no hurry."""

    answers: KeptAnswers
    waiting: WaitingInquiries
    now: Callable[[], datetime]

    async def answer(
        self, asked: WaitingInquiry, is_proved: Callable[[KeptAnswer], Awaitable[bool]], *, since: datetime
    ) -> Brought | None:
        """What came of an inquiry since that moment, when whoever asks began to, or was proved before; None while it
        waits."""
        if (kept := await self._kept(asked, is_proved, since)) is not None:
            return await self._brought(asked, kept)
        ended = await self.waiting.put(asked, since=since)
        if ended is not None and ended.outcome is CallOutcome.OK:
            if (kept := await self._kept(asked, is_proved, since)) is not None:  # it came this moment
                return await self._brought(asked, kept)
            ended = await self.waiting.put(asked, since=self.now())  # it was forgotten
        if ended is None and self.now() - since > WAITED_MAX:
            ended = Ended(outcome=CallOutcome.TIMEOUT, message=NO_BATCHER)
        return None if ended is None else Brought(ended=ended)

    async def _kept(
        self, asked: WaitingInquiry, is_proved: Callable[[KeptAnswer], Awaitable[bool]], since: datetime
    ) -> KeptAnswer | None:
        """The answer that is kept, unless it is one that was not proved, for those who had waited for it by then."""
        kept = await self.answers.find(asked.key, at=self.now())
        return kept if kept is not None and (kept.came_at >= since or await is_proved(kept)) else None

    async def _brought(self, asked: WaitingInquiry, kept: KeptAnswer) -> Brought:
        evaluation_id = asked.on_behalf.evaluation_id
        is_own = evaluation_id is not None and await self.waiting.is_paid_for(asked.key, evaluation_id)
        return Brought(ended=Ended(outcome=CallOutcome.OK, provider=kept.provider), kept=kept, is_own=is_own)
