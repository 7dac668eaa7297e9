"""Asking models: who is asked, how often, and what can come of it, whatever providers do."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from commands.asking import (
    ANSWER_SECONDS_MAX,
    ATTEMPT_SECONDS_MIN,
    FAIR_SECONDS_MIN,
    GARBAGE_ROUNDS_MAX,
    NO_TIME,
    ROUNDS_MAX,
    Answered,
    Asking,
    Inquiry,
    Malformed,
    PlannedCall,
    Reply,
)
from commands.unread import why_unread
from domain.breaker import BreakerState, BreakerView
from domain.model_call import IN_VAIN, UNAVAILABLE, CallOutcome, ModelCalled, OnBehalf, Task, TokenUsage
from tests.conftest import AT
from tests.skipping_loop import run_skipping

ADA = OnBehalf(owner_id=UUID(int=1))
INQUIRY = Inquiry(task=Task.EXTRACT, instructions="Read.", content="Price: 49", schema={}, output_tokens_max=100)
USED = TokenUsage(input_tokens=10, output_tokens=5)
CALL_MICROS = 7


class Price(msgspec.Struct):
    price: float


def decode(text: str) -> float:
    price = msgspec.json.decode(text, type=Price).price
    if price < 0:
        raise Malformed("a price is not negative")
    return price


def reply(
    outcome: CallOutcome = CallOutcome.OK,
    text: str | None = None,
    model: str | None = None,
    retry_after_seconds: float | None = None,
) -> Reply:
    said = ('{"price": 49}' if outcome is CallOutcome.OK else "") if text is None else text
    return Reply(outcome=outcome, text=said, usage=USED, model=model, retry_after_seconds=retry_after_seconds)


@dataclass
class Scripted:
    """A provider that answers what is written, the last line again and again; a number is how many seconds it hangs."""

    name: str
    replies: Sequence[Reply | float]
    model: str = "m-1"
    asked: int = 0

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        found = self.replies[min(self.asked, len(self.replies) - 1)]
        self.asked += 1
        if isinstance(found, Reply):
            return found
        await asyncio.sleep(min(found, seconds))
        return reply(CallOutcome.TIMEOUT) if found >= seconds else reply()


@dataclass
class Books:
    """Ledger, breakers and observers of a test. The ledger takes `admit_seconds`, and then may be away."""

    budget: int | None = None
    admit_seconds: float = 0
    is_away: bool = False
    resting: Mapping[str, BreakerView] = field(default_factory=dict)
    open: set[UUID] = field(default_factory=set)
    recorded: list[ModelCalled] = field(default_factory=list)
    noted: list[tuple[str, CallOutcome]] = field(default_factory=list)
    seen: list[ModelCalled] = field(default_factory=list)

    async def admit(self, call: PlannedCall) -> str | None:
        await asyncio.sleep(self.admit_seconds)
        if self.is_away:
            raise ConnectionError
        if self.budget is not None and len(self.recorded) >= self.budget:
            return "your budget of today is spent"
        self.open.add(call.id)
        return None

    async def record(self, call: PlannedCall, reply: Reply, *, duration_ms: int) -> ModelCalled:
        self.open.remove(call.id)
        called = ModelCalled(
            task=call.inquiry.task,
            provider=call.provider,
            model=reply.model or call.model,
            outcome=reply.outcome,
            usage=reply.usage,
            cost_micros=CALL_MICROS,
            prices="test",
            started_at=call.started_at,
            duration_ms=duration_ms,
        )
        self.recorded.append(called)
        return called

    async def allows(self, provider: str, model: str) -> bool:
        return provider not in self.resting

    def note(self, provider: str, model: str, outcome: CallOutcome) -> None:
        self.noted.append((provider, outcome))

    def view(self, provider: str, model: str) -> BreakerView:
        return self.resting.get(provider) or BreakerView(provider=provider, model=model, state=BreakerState.CLOSED)

    def called(self, call: PlannedCall, called: ModelCalled) -> None:
        self.seen.append(called)


def asking(books: Books, *providers: Scripted) -> Asking:
    return Asking(providers=providers, ledger=books, breakers=books, tracing=books, now=lambda: AT, new_id=uuid7)


def ask(books: Books, *providers: Scripted, **given: Any) -> tuple[Answered[float], float]:  # noqa: ANN401  as `Asking.ask` takes it
    return run_skipping(lambda: asking(books, *providers).ask(INQUIRY, decode, ADA, **given))


def test_an_answer_is_decoded_and_what_it_cost_is_told() -> None:
    books = Books()
    answered, _ = ask(books, Scripted("claude", [reply(model="m-1-2026")]))
    assert answered == Answered(
        outcome=CallOutcome.OK, value=49.0, provider="claude", model="m-1-2026", cost_micros=CALL_MICROS, calls=1
    )
    assert [called.outcome for called in books.recorded] == [CallOutcome.OK]
    assert books.seen == books.recorded


@pytest.mark.parametrize(
    "outcome", [one for one in CallOutcome if one not in {CallOutcome.OK, CallOutcome.BUDGET_EXCEEDED}]
)
def test_whatever_the_first_provider_does_the_second_is_asked(outcome: CallOutcome) -> None:
    books = Books()
    answered, seconds = ask(books, Scripted("claude", [reply(outcome)]), Scripted("openai", [reply()]))
    assert (answered.outcome, answered.provider, answered.calls) == (CallOutcome.OK, "openai", 2)
    assert seconds == 0
    assert answered.cost_micros == 2 * CALL_MICROS, "what led to nothing was paid for too"


@pytest.mark.parametrize(
    "text", ['{"price": 4', '{"price": "49"}', "<html>", "", "[]", '{"price": -1}', '{"price": "\\ud800"}']
)
def test_what_is_not_of_the_form_is_malformed_and_recorded_as_that(text: str) -> None:
    books = Books()
    answered, _ = ask(books, Scripted("claude", [reply(text=text)]))
    assert (answered.outcome, answered.value) == (CallOutcome.MALFORMED, None)
    assert answered.message is not None
    assert {called.outcome for called in books.recorded} == {CallOutcome.MALFORMED}
    assert {called.usage for called in books.recorded} == {USED}
    assert answered.calls == GARBAGE_ROUNDS_MAX


@pytest.mark.parametrize("outcome", sorted(UNAVAILABLE - {CallOutcome.TIMEOUT}))
def test_who_was_not_available_is_asked_again_after_a_pause(outcome: CallOutcome) -> None:
    provider = Scripted("claude", [reply(outcome), reply(outcome), reply()])
    answered, seconds = ask(Books(), provider)
    assert answered.outcome is CallOutcome.OK
    assert 1 <= seconds < 5
    always = Scripted("claude", [reply(outcome)])
    assert ask(Books(), always)[0].outcome is outcome
    assert always.asked == ROUNDS_MAX


@pytest.mark.parametrize("outcome", [CallOutcome.BAD_REQUEST, CallOutcome.AUTH, CallOutcome.REFUSED])
def test_what_asking_again_cannot_mend_is_asked_once(outcome: CallOutcome) -> None:
    provider = Scripted("claude", [reply(outcome)])
    answered, seconds = ask(Books(), provider)
    assert (answered.outcome, provider.asked, seconds) == (outcome, 1, 0)


def test_nobody_sleeps_an_hour_because_a_provider_says_so() -> None:
    limited = Scripted("claude", [reply(CallOutcome.RATE_LIMITED, retry_after_seconds=3600.0)])
    answered, seconds = ask(Books(), limited)
    assert (answered.outcome, limited.asked) == (CallOutcome.RATE_LIMITED, 1)
    assert seconds == 0


def test_a_provider_that_wants_a_few_seconds_gets_them() -> None:
    limited = Scripted("claude", [reply(CallOutcome.RATE_LIMITED, retry_after_seconds=8.0), reply()])
    answered, seconds = ask(Books(), limited)
    assert answered.outcome is CallOutcome.OK
    assert seconds == 8


def test_who_wants_a_pause_holds_nobody_else_up() -> None:
    slow = Scripted("claude", [reply(CallOutcome.RATE_LIMITED, retry_after_seconds=20.0)])
    other = Scripted("openai", [reply(CallOutcome.OVERLOADED), reply()])
    answered, seconds = ask(Books(), slow, other)
    assert answered.provider == "openai"
    assert seconds < 1


def test_a_provider_that_hangs_leaves_the_other_half_of_the_time() -> None:
    answered, seconds = ask(Books(), Scripted("claude", [1000.0]), Scripted("openai", [10.0]))
    assert (answered.outcome, answered.provider) == (CallOutcome.OK, "openai")
    assert seconds == ANSWER_SECONDS_MAX / 2 + 10


def test_who_is_preferred_is_asked_first_and_the_others_after() -> None:
    first, second = Scripted("claude", [reply()]), Scripted("openai", [reply(CallOutcome.AUTH)])
    answered, _ = ask(Books(), first, second, prefer="openai")
    assert (answered.provider, second.asked) == ("claude", 1)
    assert ask(Books(), first, second, prefer="nobody")[0].provider == "claude"


def test_who_rests_is_not_asked() -> None:
    resting, other = Scripted("claude", [reply()]), Scripted("openai", [reply()])
    answered, seconds = ask(Books(resting=rests("claude")), resting, other)
    assert (answered.provider, answered.rest_seconds, resting.asked, seconds) == ("openai", None, 0, 0)
    nobody, seconds = ask(Books(resting=rests("claude")), resting)
    assert (nobody.outcome, nobody.calls, seconds) == (CallOutcome.OVERLOADED, 0, 0)


def rests(*names: str, because: CallOutcome | None = None, seconds: float = 42.1) -> dict[str, BreakerView]:
    state = BreakerState.OPEN if seconds else BreakerState.HALF_OPEN
    return {
        name: BreakerView(provider=name, model="m-1", state=state, rest_seconds=seconds, because=because)
        for name in names
    }


@pytest.mark.parametrize(
    ("because", "seconds", "outcome", "told"),
    [
        (
            CallOutcome.AUTH,
            42.1,
            CallOutcome.AUTH,
            "it does not take the key (it rests, and is asked again in 43 seconds)",
        ),
        (
            CallOutcome.TIMEOUT,
            0.2,
            CallOutcome.TIMEOUT,
            "there was no whole answer in time (it rests, and is asked again in 1 second)",
        ),
        (
            CallOutcome.RATE_LIMITED,
            0.0,
            CallOutcome.RATE_LIMITED,
            "it takes no more requests at present (it rested, and one call is trying it now)",
        ),
        (
            CallOutcome.MALFORMED,
            3.0,
            CallOutcome.OVERLOADED,
            (
                "it does not work at present (it rests because its answer was not of the form that was asked for, and is asked"
                " again in 3 seconds)"
            ),
        ),
        (None, 3.0, CallOutcome.OVERLOADED, "it does not work at present (it rests, and is asked again in 3 seconds)"),
    ],
)
def test_when_all_rest_why_the_first_of_them_does_is_told_and_when_it_is_asked_again(
    because: CallOutcome | None, seconds: float, outcome: CallOutcome, told: str
) -> None:
    resting = rests("claude", because=because, seconds=seconds) | rests("openai", because=CallOutcome.OVERLOADED)
    answered, _ = ask(
        Books(resting=resting), Scripted("openai", [reply()]), Scripted("claude", [reply()]), prefer="claude"
    )
    assert (answered.outcome, answered.provider, answered.calls) == (outcome, "claude", 0)
    assert why_unread(answered.outcome, answered.provider, answered.message) == f"claude read nothing: {told}"
    assert answered.outcome not in IN_VAIN, "nobody paid for it"


def test_how_long_all_of_them_rest_is_how_long_the_first_that_comes_back_does() -> None:
    both = rests("a", seconds=9.0) | rests("b", seconds=4.5)
    assert ask(Books(resting=both), Scripted("a", [reply()]), Scripted("b", [reply()]))[0].rest_seconds == 4.5
    failing = Scripted("b", [reply(CallOutcome.AUTH)])
    answered, _ = ask(Books(resting=rests("a")), Scripted("a", [reply()]), failing)
    assert (answered.provider, answered.rest_seconds) == ("b", None), "b is asked again at once"


@dataclass
class Opening(Books):
    """Books in which whoever does not take the key rests from then on."""

    def note(self, provider: str, model: str, outcome: CallOutcome) -> None:
        self.resting = rests(provider, because=outcome) if outcome is CallOutcome.AUTH else {}


def test_a_call_that_makes_the_last_of_them_rest_is_told_with_how_long_that_is() -> None:
    answered, _ = ask(Opening(), Scripted("claude", [reply(CallOutcome.AUTH)]))
    assert (answered.outcome, answered.calls, answered.rest_seconds) == (CallOutcome.AUTH, 1, 42.1)
    assert ask(Opening(), Scripted("claude", [reply()]))[0].rest_seconds is None


def test_when_the_money_is_spent_nobody_is_asked_any_more() -> None:
    books, second = Books(budget=1), Scripted("openai", [reply()])
    answered, _ = ask(books, Scripted("claude", [reply(CallOutcome.MALFORMED)]), second)
    assert (answered.outcome, second.asked) == (CallOutcome.BUDGET_EXCEEDED, 0)
    assert (answered.cost_micros, answered.message) == (CALL_MICROS, "your budget of today is spent")
    assert books.noted[-1] == ("openai", CallOutcome.BUDGET_EXCEEDED), "a place that was kept for a probe is free again"


def test_a_call_that_nobody_waits_for_any_more_is_recorded_all_the_same_and_is_no_failure_of_the_provider() -> None:
    books = Books()

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * FAIR_SECONDS_MIN):
                await asking(books, Scripted("claude", [1000.0])).ask(INQUIRY, decode, ADA)

    run_skipping(cancelled)
    assert not books.open
    assert [called.outcome for called in books.recorded] == [CallOutcome.TIMEOUT]
    assert books.noted == [("claude", CallOutcome.BUDGET_EXCEEDED)]


def test_a_place_for_a_probe_is_free_again_when_the_ledger_is_away() -> None:
    books, provider = Books(is_away=True), Scripted("claude", [reply()])
    with pytest.raises(ConnectionError):
        ask(books, provider)
    assert (books.noted, provider.asked) == ([("claude", CallOutcome.BUDGET_EXCEEDED)], 0)


@pytest.mark.parametrize(
    ("until", "noted"),
    [(FAIR_SECONDS_MIN - 0.5, CallOutcome.BUDGET_EXCEEDED), (FAIR_SECONDS_MIN, CallOutcome.TIMEOUT)],
)
def test_who_had_little_time_to_answer_has_not_failed(until: float, noted: CallOutcome) -> None:
    books = Books()
    answered, _ = ask(books, Scripted("claude", [1000.0]), until=until)
    assert (answered.outcome, books.recorded[0].outcome) == (CallOutcome.TIMEOUT, CallOutcome.TIMEOUT)
    assert books.noted[0] == ("claude", noted), "a slow page shuts no provider out"


def test_a_call_that_waits_for_the_ledger_ends_in_time_all_the_same() -> None:
    answered, seconds = ask(Books(admit_seconds=2), Scripted("claude", [1000.0]), Scripted("openai", [reply()]))
    assert (answered.provider, seconds) == ("openai", 2 + (ANSWER_SECONDS_MAX - 2) / 2 + 2)
    answered, seconds = ask(Books(admit_seconds=2), Scripted("claude", [1000.0]))
    assert (answered.outcome, seconds) == (CallOutcome.TIMEOUT, ANSWER_SECONDS_MAX)


def test_with_too_little_time_left_nobody_is_asked() -> None:
    provider = Scripted("claude", [reply()])
    answered, _ = ask(Books(), provider, until=ATTEMPT_SECONDS_MIN / 2)
    assert (answered.outcome, answered.message, provider.asked) == (CallOutcome.TIMEOUT, NO_TIME, 0)


replies = st.one_of(
    st.builds(
        reply,
        st.sampled_from([one for one in CallOutcome if one is not CallOutcome.BUDGET_EXCEEDED]),
        retry_after_seconds=st.none() | st.floats(0, 1e9),
    ),
    st.floats(0, 1e4),
    st.builds(reply, text=st.text(max_size=20)),
)
scripts = st.lists(st.lists(replies, min_size=1, max_size=5), min_size=0, max_size=3)


@given(scripts, st.none() | st.floats(0, 40), st.none() | st.integers(0, 3))
def test_whatever_providers_do_it_ends_in_time_and_every_call_is_accounted_for(
    script: list[list[Reply | float]], until: float | None, budget: int | None
) -> None:
    books = Books(budget=budget)
    providers = [Scripted(f"p{place}", lines) for place, lines in enumerate(script)]
    answered, seconds = ask(books, *providers, until=until)
    assert seconds <= min(ANSWER_SECONDS_MAX, ANSWER_SECONDS_MAX if until is None else until) + 1e-6
    assert not books.open
    assert (answered.value is not None) == (answered.outcome is CallOutcome.OK)
    assert answered.calls == len(books.recorded) == sum(provider.asked for provider in providers)
    assert answered.cost_micros == CALL_MICROS * answered.calls
    assert all(provider.asked <= ROUNDS_MAX for provider in providers)
    assert [called.outcome for called in books.recorded].count(CallOutcome.OK) == (answered.outcome is CallOutcome.OK)
