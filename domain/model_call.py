"""Calls of AI models: what was asked of whom, how it ended, what it cost. A model only reads; nothing here decides."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from domain.event import Event, stored_as


class Task(StrEnum):
    """What a model is asked to do: compile a prompt into a plan; read facts of any type, or answers to yes/no questions, in
    evidence; search the web; say that it is there."""

    CLASSIFY = "classify"
    EXTRACT = "extract"
    EVALUATE = "evaluate"
    SEARCH = "search"
    CHECK = "check"


class CallOutcome(StrEnum):
    """How a call ended. Only `ok` can lead to a verdict.

    `truncated`: the answer stops at the limit of its length; `refused`: the model will not answer; `malformed`: it is not of
    the shape that was asked for; `rate_limited`: too many requests (429); `overloaded`: the provider does not work (5xx, 529,
    no connection); `timeout`: no whole answer in time; `bad_request`: the provider does not take such a request; `auth`: it
    does not take the key; `budget_exceeded`: nobody was asked, for too little of the day's money is left.
    """

    OK = "ok"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    MALFORMED = "malformed"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    BUDGET_EXCEEDED = "budget_exceeded"


UNAVAILABLE = frozenset({CallOutcome.RATE_LIMITED, CallOutcome.OVERLOADED, CallOutcome.TIMEOUT})
"""What passes by itself, and speaks against the provider and not against what was asked."""
IN_VAIN = frozenset({CallOutcome.TRUNCATED, CallOutcome.REFUSED, CallOutcome.MALFORMED})
"""What is paid for and comes to nothing, and may do so each time the same is asked: a page can bring it about."""


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens as the provider counted them: `input_tokens` are all that went in, those read from its cache (`cache_read_tokens`)
    and written to it included; `searches` are web searches, which some providers charge for one by one."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    searches: int = 0

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        """Both together."""
        names = self.__struct_fields__
        return TokenUsage(**{name: getattr(self, name) + getattr(other, name) for name in names})


NOTHING_USED = TokenUsage()


class OnBehalf(msgspec.Struct, frozen=True, kw_only=True):
    """Whose money a call spends, and what it is made for: nothing more than the person while a monitor is not created."""

    owner_id: UUID
    monitor_id: UUID | None = None
    evaluation_id: UUID | None = None


@stored_as("model.called")
class ModelCalled(Event, frozen=True, kw_only=True):
    """A model was called once: a stream of one event, owned by whoever it was called for.

    `model` is the one the provider says it used, else the one asked for; `message` is ours, and holds neither what was asked
    nor what was answered. `cost_micros` is in millionths of a US dollar, after the price table `prices`; of a call that was
    interrupted before its cost was known it is the most it can have been (`is_estimated`).
    """

    task: Task
    provider: str
    model: str
    outcome: CallOutcome
    usage: TokenUsage
    cost_micros: int
    prices: str
    is_estimated: bool = False
    monitor_id: UUID | None = None
    evaluation_id: UUID | None = None
    message: str | None = None
    started_at: datetime
    duration_ms: int


ModelCallEvent = ModelCalled
