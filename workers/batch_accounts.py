"""What became of a batch: each answer is kept, each call recorded with what it cost, each inquiry ended. Done again, after a
crash at any step, it changes nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.asking import NOT_OF_THE_FORM, Inquiry, Malformed, Reply
from commands.batching import BatchCall
from commands.fact_answers import answer_decoder
from commands.kept_answers import KeptAnswer, KeptAnswers
from commands.unhurried import Ended
from domain.budget import OpenCall, plausible
from domain.mail import single_line
from domain.model_call import NOTHING_USED, CallOutcome, ModelCalled, TokenUsage

AT_ONCE = 50
NAME_CHARS_MAX, MESSAGE_CHARS_MAX = 200, 500


class Inquiries(Protocol):
    """Inquiries that waited."""

    async def end(self, call_id: UUID, ended: Ended, *, at: datetime) -> None:
        """What was asked in a call is answered, or will not be."""
        ...


class BatchRecords(Protocol):
    """The ledger of calls."""

    async def keep(self, call_id: UUID, owner_id: UUID, called: ModelCalled) -> ModelCalled:
        """Write down how a call ended, unless that was done before, and take it for recorded. What stands there."""
        ...


class BatchPricing(Protocol):
    """What models cost in batches."""

    @property
    def version(self) -> str:
        """Which prices these are."""
        ...

    def cost_micros(
        self, provider: str, model: str, usage: TokenUsage, *, at: datetime, asked_for: str | None = None
    ) -> int:
        """What a usage cost, in millionths of a US dollar."""
        ...


class BatchTracing(Protocol):
    """Tells observers of calls."""

    def called_in_batch(self, call: OpenCall, inquiry: Inquiry | None, called: ModelCalled) -> None:
        """A call of a batch ended; None for an inquiry that nobody is to know any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAccounts:
    """Ends calls of batches."""

    inquiries: Inquiries
    records: BatchRecords
    prices: BatchPricing
    answers: KeptAnswers
    tracing: BatchTracing
    now: Callable[[], datetime]

    async def end_all(self, calls: Sequence[BatchCall], replies: Mapping[str, Reply], *, otherwise: Reply) -> None:
        """End these calls with their `replies`, by the ids of calls; `otherwise` holds for those that have none."""
        for first in range(0, len(calls), AT_ONCE):
            some = calls[first : first + AT_ONCE]
            await asyncio.gather(*(self._end(call, replies.get(str(call.id), otherwise)) for call in some))

    async def _end(self, call: BatchCall, reply: Reply) -> None:
        """The answer is kept before the account is closed, and what was asked goes last: until then all of it is there for
        whoever does it again. Observers are told when the account is closed, which is not done again."""
        text = None
        if reply.outcome is CallOutcome.OK and call.asked is not None:
            try:
                text = msgspec.json.encode(answer_decoder(call.asked.facts)(reply.text)).decode()
            except (msgspec.DecodeError, Malformed, UnicodeError):  # what they say may quote the answer
                reply = replace(reply, outcome=CallOutcome.MALFORMED, message=NOT_OF_THE_FORM)
        called = None if call.open is None else self._as_called(call.open, reply)
        if text is not None and call.asked is not None and called is not None:
            answer = KeptAnswer(text, called.provider, called.model, called.cost_micros, came_at=self.now())
            await self.answers.keep(call.asked.key, answer, asked_at=call.asked.asked_at)
        if call.open is not None and called is not None:
            called = await self.records.keep(call.id, call.open.owner_id, called)
            self.tracing.called_in_batch(call.open, None if call.asked is None else call.asked.inquiry, called)
        if call.asked is not None:
            ended = Ended(outcome=reply.outcome, provider=call.provider, message=reply.message)
            await self.inquiries.end(call.id, ended, at=self.now())

    def _as_called(self, call: OpenCall, reply: Reply) -> ModelCalled:
        usage = plausible(reply.usage)
        is_estimated = reply.outcome is CallOutcome.TIMEOUT and usage == NOTHING_USED
        model = single_line(reply.model or "", chars_max=NAME_CHARS_MAX) or call.model
        paid = self.prices.cost_micros(call.provider, model, usage, at=call.started_at, asked_for=call.model)
        return ModelCalled(
            task=call.task,
            provider=call.provider,
            model=model,
            outcome=reply.outcome,
            usage=usage,
            cost_micros=call.set_aside_micros if is_estimated else paid,
            prices=self.prices.version,
            is_estimated=is_estimated,
            monitor_id=call.monitor_id,
            evaluation_id=call.evaluation_id,
            message=None if reply.message is None else single_line(reply.message, chars_max=MESSAGE_CHARS_MAX),
            started_at=call.started_at,
            duration_ms=max(0, round((self.now() - call.started_at).total_seconds() * 1000)),
        )
