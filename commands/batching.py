"""Batches of inquiries: what providers take in one go for half the price, to be answered within a day."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from commands.asking import Inquiry, Reply
from domain.budget import OpenCall
from domain.fact import FactSpec
from domain.model_call import CallOutcome, OnBehalf

LOST = Reply(outcome=CallOutcome.TIMEOUT, message="the provider's batch brought no answer to it")
"""Of a call that may have been made and paid for."""
TOO_LATE = Reply(outcome=CallOutcome.OVERLOADED, message="the provider did not come to it within a day")
"""Of one that was not made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One inquiry of a batch. Providers tell the call's id with its answer."""

    call_id: UUID
    inquiry: Inquiry


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What is sent: a batch of our own `id`."""

    id: UUID
    items: Sequence[BatchItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A batch that may have arrived since then: the ids of its `calls`, and what the provider calls those of our batches that
    it is not."""

    id: UUID
    calls: Collection[str]
    since: datetime
    known: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """Why a provider did not say that it took a batch. `may_have_arrived`: it may have taken it all the same."""

    reply: Reply
    may_have_arrived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The provider's id of a batch that was looked for. Without one, `is_certain` says that the provider has no such batch."""

    provider_id: str | None = None
    is_certain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What became of a batch: once it `is_over`, replies with the ids of their calls, in any order, and what holds for those
    that have none."""

    is_over: bool
    replies: Sequence[tuple[str, Reply]] = ()
    missing: Reply = LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch that is not done. `sent_at` is when somebody last began to send it; `provider_id` what the provider calls it,
    None until that is known."""

    id: UUID
    provider: str
    model: str
    made_at: datetime
    sent_at: datetime | None = None
    provider_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a call of a batch asks, since when, and for whom."""

    key: bytes
    inquiry: Inquiry
    facts: tuple[FactSpec, ...]
    on_behalf: OnBehalf
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCall:
    """A call of a batch to `provider`: what it `asked`, None when it is answered or nobody is to know any more; its account
    while that is `open`."""

    id: UUID
    provider: str
    asked: Asked | None
    open: OpenCall | None
