"""When a provider is worth asking: by what its calls came to, and by time that is told."""

import math

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.breaker import (
    AUTH_REST_SECONDS,
    CALLS_MIN,
    FAILURES,
    FAILURES_IN_A_ROW,
    PROBE_SECONDS_MAX,
    REST_SECONDS,
    REST_SECONDS_MAX,
    WINDOW_SECONDS,
    Breaker,
    BreakerState,
)
from domain.model_call import CallOutcome

OK, TIMEOUT, MALFORMED, AUTH = CallOutcome.OK, CallOutcome.TIMEOUT, CallOutcome.MALFORMED, CallOutcome.AUTH
OF_WHAT_WAS_ASKED = (CallOutcome.REFUSED, CallOutcome.TRUNCATED, CallOutcome.BAD_REQUEST)
START = 1000.0
LONG = 2 * WINDOW_SECONDS


class Asked:
    """A breaker, asked by a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.breaker, self.now = Breaker(), START

    def state(self) -> BreakerState:
        return self.breaker.state(self.now)

    @property
    def rest(self) -> float:
        return self.breaker.rest_seconds(self.now)

    def allows(self) -> bool:
        return self.breaker.ask(self.now) is not None

    def begins(self) -> int:
        turn = self.breaker.ask(self.now)
        assert turn is not None
        return turn

    def calls(self, *outcomes: CallOutcome, apart: float = 0.0) -> None:
        """Calls one after the other."""
        for outcome in outcomes:
            self.breaker.note(self.begins(), outcome, self.now)
            self.now += apart

    def probes(self, outcome: CallOutcome) -> None:
        """The rest passes, and a call is made."""
        self.now += self.rest
        assert self.state() is BreakerState.HALF_OPEN
        self.calls(outcome)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def opened(asked: Asked) -> Asked:
    asked.calls(*[TIMEOUT] * FAILURES_IN_A_ROW)
    assert asked.state() is BreakerState.OPEN
    return asked


def test_at_first_everybody_asks(asked: Asked) -> None:
    assert (asked.state(), asked.rest, asked.breaker.open_seconds(asked.now)) == (BreakerState.CLOSED, 0, 0)
    assert all(asked.allows() for _ in range(10))


@pytest.mark.parametrize("failure", sorted(FAILURES - {AUTH}))
def test_half_of_five_calls_in_the_window_open_it(asked: Asked, failure: CallOutcome) -> None:
    asked.calls(OK, OK, failure, failure)
    assert asked.state() is BreakerState.CLOSED, "four calls are no rate"
    asked.calls(failure)
    assert (asked.state(), asked.rest, asked.breaker.failures) == (BreakerState.OPEN, REST_SECONDS, 3)
    assert not asked.allows()


def test_less_than_half_leave_it_closed(asked: Asked) -> None:
    for _ in range(100):
        asked.calls(OK, OK, OK, TIMEOUT, TIMEOUT)
    assert asked.state() is BreakerState.CLOSED


def test_what_lies_before_the_window_counts_no_more(asked: Asked) -> None:
    asked.calls(*[TIMEOUT] * 4)
    asked.now += WINDOW_SECONDS
    asked.calls(OK, OK, OK, TIMEOUT, TIMEOUT)
    assert asked.state() is BreakerState.CLOSED


def test_failures_in_a_row_open_it_however_far_apart_they_are(asked: Asked) -> None:
    asked.calls(*[TIMEOUT] * (FAILURES_IN_A_ROW - 1), OK, *[TIMEOUT] * (FAILURES_IN_A_ROW - 1), apart=LONG)
    assert asked.state() is BreakerState.CLOSED, "an answer ends a row"
    asked.calls(TIMEOUT)
    assert asked.state() is BreakerState.OPEN


def test_a_page_that_no_model_can_read_does_not_open_it_however_often_it_comes_up(asked: Asked) -> None:
    asked.calls(*[MALFORMED] * 100, apart=LONG)
    assert asked.state() is BreakerState.CLOSED


@pytest.mark.parametrize("outcome", OF_WHAT_WAS_ASKED)
def test_what_speaks_of_the_inquiry_counts_neither_way(asked: Asked, outcome: CallOutcome) -> None:
    asked.calls(*[outcome] * 100)
    assert asked.state() is BreakerState.CLOSED
    asked.calls(*[TIMEOUT] * (FAILURES_IN_A_ROW - 1), outcome, apart=LONG)
    asked.calls(TIMEOUT)
    assert asked.state() is BreakerState.OPEN


def test_a_key_that_is_not_taken_opens_it_at_once_for_longer(asked: Asked) -> None:
    asked.calls(OK, AUTH)
    assert (asked.state(), asked.rest) == (BreakerState.OPEN, AUTH_REST_SECONDS)
    asked.probes(AUTH)
    assert asked.rest == 2 * AUTH_REST_SECONDS


@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_it_tells_of_the_last_failure_also_when_an_answer_opens_it_and_when_a_probe_fails(
    asked: Asked, failure: CallOutcome
) -> None:
    asked.calls(failure)
    if failure is not AUTH:
        asked.calls(failure, failure, OK, OK)
    assert (asked.state(), asked.breaker.because) == (BreakerState.OPEN, failure)
    asked.probes(TIMEOUT)
    assert asked.breaker.because is TIMEOUT
    asked.probes(OK)
    assert asked.breaker.because is None


def test_each_probe_that_fails_doubles_the_rest_up_to_its_bound(opened: Asked) -> None:
    rests = []
    for _ in range(8):
        rests.append(opened.rest)
        opened.probes(TIMEOUT)
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]
    assert opened.breaker.failures == FAILURES_IN_A_ROW + 8
    assert opened.breaker.open_seconds(opened.now) == sum(rests)


@pytest.mark.parametrize("answer", [OK, *OF_WHAT_WAS_ASKED])
def test_an_answer_to_the_probe_closes_it_and_the_next_rest_is_short_again(opened: Asked, answer: CallOutcome) -> None:
    opened.probes(TIMEOUT)
    opened.probes(answer)
    assert (opened.state(), opened.breaker.failures) == (BreakerState.CLOSED, 0)
    opened.calls(*[TIMEOUT] * FAILURES_IN_A_ROW)
    assert opened.rest == REST_SECONDS


def test_one_call_at_a_time_is_the_probe(opened: Asked) -> None:
    opened.now += REST_SECONDS
    assert [opened.allows() for _ in range(3)] == [True, False, False]


def test_a_probe_that_was_not_made_is_another_ones(opened: Asked) -> None:
    opened.now += REST_SECONDS
    opened.calls(CallOutcome.BUDGET_EXCEEDED)
    assert opened.state() is BreakerState.HALF_OPEN
    assert [opened.allows(), opened.allows()] == [True, False]


def test_calls_that_were_not_made_count_for_nothing(asked: Asked) -> None:
    asked.calls(*[CallOutcome.BUDGET_EXCEEDED] * 100)
    assert (asked.state(), asked.breaker.failures) == (BreakerState.CLOSED, 0)


def test_a_probe_that_never_ends_is_given_up_and_says_nothing_when_it_does(opened: Asked) -> None:
    opened.now += REST_SECONDS
    lost = opened.begins()
    opened.now += PROBE_SECONDS_MAX - 0.001
    assert not opened.allows()
    opened.now += 0.001
    assert [opened.allows(), opened.allows()] == [True, False]
    opened.breaker.note(lost, OK, opened.now)
    assert opened.state() is BreakerState.HALF_OPEN


@pytest.mark.parametrize("outcome", [OK, TIMEOUT, CallOutcome.BUDGET_EXCEEDED])
def test_calls_from_before_it_opened_say_nothing_about_now(asked: Asked, outcome: CallOutcome) -> None:
    before = [asked.begins() for _ in range(50)]
    asked.calls(*[TIMEOUT] * FAILURES_IN_A_ROW)
    for turn in before[:20]:
        asked.breaker.note(turn, outcome, asked.now)
    assert asked.rest == REST_SECONDS
    asked.now += REST_SECONDS
    probe = asked.begins()
    for turn in before[20:40]:
        asked.breaker.note(turn, outcome, asked.now)
    assert not asked.allows()
    asked.breaker.note(probe, OK, asked.now)
    for turn in before[40:]:
        asked.breaker.note(turn, outcome, asked.now)
    assert (asked.state(), asked.breaker.failures) == (BreakerState.CLOSED, 0)


def test_who_notes_in_the_present_turn_while_it_rests_changes_nothing(opened: Asked) -> None:
    for outcome in (OK, TIMEOUT):
        opened.breaker.note(opened.breaker.turn, outcome, opened.now)
        assert opened.rest == REST_SECONDS


def test_what_somebody_else_found_holds_here(asked: Asked) -> None:
    before = asked.begins()
    asked.breaker.rest(asked.now, seconds=7, pause_seconds=40, failures=9, open_seconds=75, because=AUTH)
    assert (asked.state(), asked.rest, asked.breaker.failures) == (BreakerState.OPEN, 7, 9)
    assert asked.breaker.open_seconds(asked.now) == 75
    asked.breaker.note(before, OK, asked.now)
    assert asked.state() is BreakerState.OPEN
    assert asked.breaker.because is AUTH
    asked.probes(TIMEOUT)
    assert (asked.rest, asked.breaker.because) == (80, TIMEOUT)
    asked.breaker.close()
    assert asked.state() is BreakerState.CLOSED


@pytest.mark.parametrize(("seconds", "pause", "rest"), [(-5.0, 40.0, 0.0), (1e9, 1e9, REST_SECONDS_MAX), (9, 5, 5)])
def test_nobody_else_makes_it_rest_for_longer_than_it_may(
    asked: Asked, seconds: float, pause: float, rest: float
) -> None:
    asked.breaker.rest(asked.now, seconds=seconds, pause_seconds=pause, failures=1, open_seconds=0, because=None)
    assert (asked.rest, asked.breaker.is_closed) == (rest, False)


def test_a_clock_that_is_set_back_makes_it_rest_for_no_longer_than_once_more(opened: Asked) -> None:
    opened.now -= 500
    assert opened.rest == REST_SECONDS
    opened.now += REST_SECONDS
    assert opened.allows()
    opened.now -= 500
    assert not opened.allows()
    opened.now += PROBE_SECONDS_MAX
    assert opened.allows()


def test_a_clock_that_is_set_back_forgets_what_was_counted_in_what_is_to_come(asked: Asked) -> None:
    asked.calls(*[MALFORMED] * 4)
    asked.now -= 500
    asked.calls(OK, OK, OK, MALFORMED, MALFORMED)
    assert asked.state() is BreakerState.CLOSED


@for_all(st.lists(st.booleans(), max_size=60))
def test_at_one_moment_it_is_open_when_the_rate_or_the_row_says_so_and_not_before(failed: list[bool]) -> None:
    asked, ends = Asked(), list[bool]()
    for each in failed:
        asked.calls(TIMEOUT if each else OK)
        ends.append(each)
        is_too_much = len(ends) >= CALLS_MIN and 2 * sum(ends) >= len(ends)
        in_a_row = all(ends[-FAILURES_IN_A_ROW:]) and len(ends) >= FAILURES_IN_A_ROW
        assert asked.breaker.is_closed is not (is_too_much or in_a_row)
        if not asked.breaker.is_closed:
            break


class Life(RuleBasedStateMachine):
    """Callers that come, end, and die in any order, by a clock that stands still and jumps."""

    @initialize(start=st.floats(0, 1e6))
    def begin(self, start: float) -> None:
        self.breaker, self.now = Breaker(), start
        self.under_way = list[int]()
        self.probe: tuple[int, float] | None = None
        self.row = 0

    @rule()
    def somebody_asks(self) -> None:
        was_closed, rest = self.breaker.is_closed, self.breaker.rest_seconds(self.now)
        turn = self.breaker.ask(self.now)
        if was_closed:
            assert turn is not None
        elif turn is not None:
            assert rest == 0, "nobody asks while it rests"
            if self.probe is not None and self.probe[0] in self.under_way:
                assert self.now - self.probe[1] >= PROBE_SECONDS_MAX, "two probes at a time"
            self.probe = (turn, self.now)
        if turn is not None:
            self.under_way.append(turn)

    @precondition(lambda self: self.under_way)
    @rule(place=st.integers(0, 1000), outcome=st.sampled_from(CallOutcome))
    def a_call_ends(self, place: int, outcome: CallOutcome) -> None:
        turn = self.under_way.pop(place % len(self.under_way))
        was_closed, began, counts = self.breaker.is_closed, self.breaker.turn, turn == self.breaker.turn
        self.breaker.note(turn, outcome, self.now)
        if not counts:
            assert self.breaker.turn == began, "what began before says something about now"
        elif was_closed:
            self.row = 0 if outcome is OK else self.row + (outcome in FAILURES - {MALFORMED})
            assert self.row < FAILURES_IN_A_ROW or not self.breaker.is_closed
            assert outcome is not AUTH or not self.breaker.is_closed
        if self.breaker.turn != began:
            self.row = 0

    @precondition(lambda self: self.under_way)
    @rule(place=st.integers(0, 1000))
    def a_caller_dies(self, place: int) -> None:
        turn = self.under_way[place % len(self.under_way)]
        if self.probe is None or turn != self.probe[0]:  # nobody hears of a probe's death, and it counts as under way
            self.under_way.remove(turn)

    @rule(seconds=st.floats(0, 700))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(0, 700))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.now -= seconds
        if self.probe is not None:
            self.probe = (self.probe[0], min(self.probe[1], self.now))

    @rule(seconds=st.floats(-10, 1000), pause=st.floats(0, 1000))
    def somebody_else_opens_it(self, seconds: float, pause: float) -> None:
        self.breaker.rest(self.now, seconds=seconds, pause_seconds=pause, failures=1, open_seconds=1, because=TIMEOUT)
        self.probe, self.row = None, 0

    @rule()
    def somebody_else_closes_it(self) -> None:
        self.breaker.close()
        self.row = 0

    @invariant()
    def it_rests_for_a_bounded_time(self) -> None:
        assert 0 <= self.breaker.rest_seconds(self.now) <= REST_SECONDS_MAX
        assert math.isfinite(self.breaker.open_seconds(self.now))

    def teardown(self) -> None:
        """Once nothing fails any more it is closed soon, whatever happened."""
        if not hasattr(self, "breaker"):
            return
        since = self.now
        while not self.breaker.is_closed:
            turn = self.breaker.ask(self.now)
            if turn is not None:
                self.breaker.note(turn, OK, self.now)
            self.now += 1
            assert self.now - since <= REST_SECONDS_MAX + PROBE_SECONDS_MAX + 1


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
