"""Asking models: who is asked, how often, for how long, and with whose money. A model's answer is data of a closed shape;
what it means is decided elsewhere.

One loop of attempts over all providers, under one deadline; the providers themselves try once. What a provider does wrong is
an outcome, never an exception.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from commands.resting import Breakers, rest_seconds, told_of_rest
from commands.unread import ENDINGS
from domain.model_call import NOTHING_USED, UNAVAILABLE, CallOutcome, ModelCalled, OnBehalf, Task, TokenUsage

T = TypeVar("T")

ANSWER_SECONDS_MAX = 30.0
"""For an inquiry, however many providers are asked and however often."""
ATTEMPT_SECONDS_MIN = 1.0
"""With less left, nobody is asked any more."""
FAIR_SECONDS_MIN = 5.0
"""Who had less and did not answer has not failed: others may use up the time of an inquiry, such as a slow page, and with it
nobody is to make a provider rest. Nor is who stops waiting: five calls of one import that is broken off are no failures."""
ROUNDS_MAX = 3
"""How often a provider is asked that was not available."""
GARBAGE_ROUNDS_MAX = 2
"""How often one that answered something else than it was asked for: that costs money each time."""
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.5, 4.0
"""Before the second round, and the longest one; a provider may ask for another one that ends before the deadline."""

NOT_OF_THE_FORM = ENDINGS[CallOutcome.MALFORMED]
NO_TIME = "no time was left to ask anybody"

_GARBAGE = frozenset({CallOutcome.MALFORMED, CallOutcome.TRUNCATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What a model is asked. `instructions` are the same for all inquiries of a kind, so that providers can keep them;
    `content` comes after them, with everything untrusted between boundaries. `schema` (JSON Schema, every object closed and
    all of its properties required) is the only form of the answer. With `searches` the model searches the web, and the
    answer is JSON {"text", "results": [{"title", "url", "quote"}]} of what it found, whatever the schema says."""

    task: Task
    instructions: str
    content: str
    schema: Mapping[str, Any]
    output_tokens_max: int
    searches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a provider answered one call: `text` is the answer's JSON when the outcome is ok, and for garbage what came.
    `model` is what the provider says answered; `message` says in our words what went wrong; `retry_after_seconds` is when the
    provider wants to be asked again. With `is_unheard` the request was sent and the connection broke off: an answer may have
    been made, and be paid for."""

    outcome: CallOutcome
    text: str = ""
    usage: TokenUsage = NOTHING_USED
    model: str | None = None
    message: str | None = None
    retry_after_seconds: float | None = None
    is_unheard: bool = False


class Provider(Protocol):
    """A service with a model."""

    @property
    def name(self) -> str:
        """What settings and people call it."""
        ...

    @property
    def model(self) -> str:
        """The model that is asked for."""
        ...

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        """One request, over after `seconds` at the latest. Whatever happens is an outcome, never an exception."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A call that is about to be made."""

    id: UUID
    inquiry: Inquiry
    provider: str
    model: str
    on_behalf: OnBehalf
    started_at: datetime


class Ledger(Protocol):
    """Keeps account of calls and of what may be spent."""

    async def admit(self, call: PlannedCall) -> str | None:
        """Set aside what the call may cost at most; None when it may be made, else which budget is spent, in words."""
        ...

    async def record(self, call: PlannedCall, reply: Reply, *, duration_ms: int) -> ModelCalled:
        """Record how it ended and what it cost, once for good."""
        ...


class Tracing(Protocol):
    """Tells observers of calls."""

    def called(self, call: PlannedCall, called: ModelCalled) -> None:
        """A call was made."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[T]):
    """What came of an inquiry: a `value` when the outcome is ok, from `provider` and `model`; else how the last attempt ended,
    and why in words; where everybody rests and there was no attempt, why the first of them does. `rest_seconds` is how long it
    takes until one of them is asked again, None when one may be now. `cost_micros` (millionths of a US dollar) is that of all
    calls that were made for it."""

    outcome: CallOutcome
    value: T | None = None
    provider: str | None = None
    model: str | None = None
    message: str | None = None
    rest_seconds: float | None = None
    cost_micros: int = 0
    calls: int = 0


class Malformed(Exception):
    """An answer is JSON but says what cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks the providers in their order."""

    providers: Sequence[Provider]
    ledger: Ledger
    breakers: Breakers
    tracing: Tracing
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    @property
    def is_possible(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.providers)

    async def ask(
        self,
        inquiry: Inquiry,
        decode: Callable[[str], T],
        on_behalf: OnBehalf,
        *,
        prefer: str | None = None,
        until: float | None = None,
    ) -> Answered[T]:
        """Ask until somebody answers in the shape that `decode` reads; it raises `msgspec.DecodeError` or `Malformed` for
        anything else. `prefer` is asked first, the others in their order after it. `until` (time of the running loop, in
        seconds) ends it earlier than after `ANSWER_SECONDS_MAX`."""
        clock = asyncio.get_running_loop().time
        ends = clock() + ANSWER_SECONDS_MAX if until is None else min(until, clock() + ANSWER_SECONDS_MAX)
        order = sorted(self.providers, key=lambda provider: provider.name != prefer)
        return await _Attempts(self, inquiry, decode, on_behalf, ends).run(order)


@dataclass(slots=True)
class _Attempts(Generic[T]):
    """The attempts at one inquiry, which end at `ends` (time of the running loop, in seconds)."""

    asking: Asking
    inquiry: Inquiry
    decode: Callable[[str], T]
    on_behalf: OnBehalf
    ends: float
    last: Answered[T] = field(default_factory=lambda: Answered(outcome=CallOutcome.TIMEOUT, message=NO_TIME))
    cost_micros: int = 0
    calls: int = 0

    async def run(self, order: Sequence[Provider]) -> Answered[T]:
        """Round after round, in each of them those of which another attempt may come to more."""
        waiting: dict[str, float] = {}
        for turn in range(ROUNDS_MAX):
            again: list[Provider] = []
            for place, provider in enumerate(order):
                await self._rest(waiting.get(provider.name, 0.0))
                if self._left() < ATTEMPT_SECONDS_MIN or not await self._is_allowed(provider):
                    continue
                reply = await self._attempt(provider, shared_by=len(order) - place)
                if self.last.outcome in {CallOutcome.OK, CallOutcome.BUDGET_EXCEEDED}:
                    return self._answered()
                if turn + 1 < _rounds(self.last.outcome):
                    again.append(provider)
                    waiting[provider.name] = self._now() + max(_pause(turn), reply.retry_after_seconds or 0.0)
            in_time = [one for one in again if waiting[one.name] + ATTEMPT_SECONDS_MIN < self.ends]
            order = sorted(in_time, key=lambda provider: waiting[provider.name])
        return self._answered()

    async def _is_allowed(self, provider: Provider) -> bool:
        if await self.asking.breakers.allows(provider.name, provider.model):
            return True
        if self.last.provider is None:
            outcome, message = told_of_rest(self.asking.breakers, provider.name, provider.model)
            self.last = Answered(outcome=outcome, provider=provider.name, message=message)
        return False

    async def _attempt(self, provider: Provider, *, shared_by: int) -> Reply:
        """One call, recorded whatever it comes to: who is cancelled while it is under way has spent the money all the
        same. It gets its part of the time that is left to so many providers, this one included."""
        asking = self.asking
        call = PlannedCall(
            id=asking.new_id(),
            inquiry=self.inquiry,
            provider=provider.name,
            model=provider.model,
            on_behalf=self.on_behalf,
            started_at=asking.now(),
        )
        try:
            spent = await asking.ledger.admit(call)
        except BaseException:  # a place that was kept for a probe is free again
            asking.breakers.note(provider.name, provider.model, CallOutcome.BUDGET_EXCEEDED)
            raise
        if spent is not None:
            asking.breakers.note(provider.name, provider.model, CallOutcome.BUDGET_EXCEEDED)
            self.last = Answered(outcome=CallOutcome.BUDGET_EXCEEDED, message=spent)
            return Reply(outcome=CallOutcome.BUDGET_EXCEEDED, message=spent)
        began, seconds = self._now(), self._left() / shared_by
        reply = given_up = Reply(outcome=CallOutcome.TIMEOUT, message="nobody waited for the answer")
        value: T | None = None
        try:
            reply = await provider.call(self.inquiry, seconds=seconds)
            reply, value = self._read(reply)
        finally:
            is_unfair = reply is given_up or (reply.outcome is CallOutcome.TIMEOUT and seconds < FAIR_SECONDS_MIN)
            noted = CallOutcome.BUDGET_EXCEEDED if is_unfair else reply.outcome
            asking.breakers.note(provider.name, provider.model, noted)
            recording = asking.ledger.record(call, reply, duration_ms=round((self._now() - began) * 1000))
            called = await asyncio.shield(asyncio.ensure_future(recording))
            asking.tracing.called(call, called)
        self.cost_micros += called.cost_micros
        self.calls += 1
        self.last = Answered(
            outcome=reply.outcome, value=value, provider=provider.name, model=called.model, message=reply.message
        )
        return reply

    def _read(self, reply: Reply) -> tuple[Reply, T | None]:
        if reply.outcome is not CallOutcome.OK:
            return reply, None
        try:
            return reply, self.decode(reply.text)
        except (msgspec.DecodeError, Malformed, UnicodeError):  # what they say may quote the answer
            return replace(reply, outcome=CallOutcome.MALFORMED, message=NOT_OF_THE_FORM), None

    def _answered(self) -> Answered[T]:
        rest = None
        if self.last.outcome is not CallOutcome.OK:
            of = [(provider.name, provider.model) for provider in self.asking.providers]
            rest = rest_seconds(self.asking.breakers, of)
        return replace(self.last, rest_seconds=rest, cost_micros=self.cost_micros, calls=self.calls)

    async def _rest(self, until: float) -> None:
        await asyncio.sleep(max(0.0, until - self._now()))

    def _left(self) -> float:
        return self.ends - self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _rounds(outcome: CallOutcome) -> int:
    """In how many rounds a provider is asked that answers like this."""
    if outcome in UNAVAILABLE:
        return ROUNDS_MAX
    return GARBAGE_ROUNDS_MAX if outcome in _GARBAGE else 1


def _pause(turn: int) -> float:
    return min(PAUSE_SECONDS * 2.0**turn, PAUSE_SECONDS_MAX)
