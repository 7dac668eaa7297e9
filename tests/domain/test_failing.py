"""When a monitor whose sources cannot be read says so, and when it is well again."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import monitor
from domain.evaluation import EvaluationFailed, Previous, Verdict, conclude, previous_after, streak_after
from domain.event import Event
from domain.failing import FAILURES_UNTIL_FAILING, after_failure, after_verdict, in_a_row
from domain.monitor import Monitor, MonitorDeleted, MonitorPaused, MonitorResumed, State, Status
from domain.monitor_health import MonitorFailing, MonitorRecovered
from tests.conftest import AT
from tests.domain.plans import MONITOR_ID, PROMPT, completed, created, plan
from tests.domain.specification import Given

MINUTE = timedelta(minutes=1)
LOOKED = UUID(int=7)


def failed(code: str = "SOURCE_SERVER_ERROR", at: datetime = AT) -> EvaluationFailed:
    """A failure as a look gives it, without its place in a row."""
    return EvaluationFailed(
        monitor_id=MONITOR_ID,
        plan_revision=1,
        due_at=at,
        code=code,
        message="it answered 500",
        evidence=(),
        duration_ms=3,
        started_at=at,
        completed_at=at,
    )


class Life:
    """A monitor and what is left of each evaluation for the next, a minute between any two things that happen."""

    def __init__(self, failing_after: int = FAILURES_UNTIL_FAILING) -> None:
        self.stream = Given(Monitor(), monitor.evolve)(created())
        self.previous, self.now, self.failing_after, self.looks = Previous(), AT, failing_after, 0

    @property
    def state(self) -> Monitor:
        return self.stream.state

    def fails(self, code: str = "SOURCE_SERVER_ERROR") -> EvaluationFailed:
        looked = self._look()
        outcome = in_a_row(self.state, self.previous.on(self.state), failed(code, self.now))
        self._append(*after_failure(self.state, outcome, evaluation_id=looked, failing_after=self.failing_after))
        self.previous = previous_after(self.previous, outcome, looked)
        return outcome

    def judges(self, verdict: Verdict) -> None:
        looked = self._look()
        streak = streak_after(self.previous.on(self.state), verdict)
        self._append(
            *after_verdict(self.state, evaluation_id=looked, now=self.now),
            *conclude(self.state, verdict=verdict, streak=streak, evaluation_id=looked, now=self.now),
        )
        self.previous = previous_after(self.previous, completed(verdict), looked)

    def pauses(self) -> None:
        self.now += MINUTE
        self._append(*monitor.pause(self.state, now=self.now))

    def resumes(self) -> None:
        self.now += MINUTE
        self._append(*monitor.resume(self.state, now=self.now))

    def revises(self, confirmations: int = 2) -> None:
        self.now += MINUTE
        new = plan(confirmations=confirmations)
        self._append(*monitor.revise(self.state, prompt=PROMPT, plan=new, now=self.now))

    def told(self) -> list[str]:
        """What was told of it, in order."""
        kinds = {MonitorFailing: "failing", MonitorRecovered: "recovered"}
        return [kinds[type(event)] for event in self.stream.events if type(event) in kinds]

    def _look(self) -> UUID:
        self.now += MINUTE
        self.looks += 1
        return UUID(int=self.looks)

    def _append(self, *events: Event) -> None:
        self.stream = self.stream(*events)


def test_the_third_failure_in_a_row_makes_a_monitor_failing_and_the_fourth_says_nothing_new() -> None:
    life = Life()
    life.fails()
    life.fails()
    assert life.state.status is Status.ACTIVE
    third = life.fails()
    assert (third.failures, third.failed_since) == (3, AT + MINUTE)
    failing = MonitorFailing(
        failures=3,
        code="SOURCE_SERVER_ERROR",
        message="it answered 500",
        evaluation_id=UUID(int=3),
        since=AT + MINUTE,
        failed_at=AT + 3 * MINUTE,
    )
    assert life.stream.events[1:] == (failing,)
    assert (life.state.status, life.state.failing) == (Status.FAILING, failing)
    assert life.fails().failures == 4
    assert life.stream.events[1:] == (failing,)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_any_verdict_makes_it_well_again_also_an_inconclusive_one(verdict: Verdict) -> None:
    life = Life()
    for _ in range(3):
        life.fails()
    life.judges(verdict)
    recovered = MonitorRecovered(evaluation_id=UUID(int=4), failed_since=AT + MINUTE, recovered_at=AT + 4 * MINUTE)
    assert life.stream.events[2] == recovered
    assert (life.state.status, life.state.failing) == (Status.ACTIVE, None)
    assert life.fails().failures == 1


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_between_ends_the_row(verdict: Verdict) -> None:
    life = Life()
    life.fails()
    life.fails()
    life.judges(verdict)
    life.fails()
    life.fails()
    assert life.told() == []


def test_a_defect_of_vigil_itself_neither_counts_nor_ends_the_row() -> None:
    life = Life()
    for _ in range(9):
        life.fails("INTERNAL")
    assert life.told() == []
    assert life.previous.failures == 0
    life.fails()
    life.fails()
    assert life.fails("INTERNAL").failures == 2
    assert life.told() == []
    assert life.fails().failures == 3
    assert life.told() == ["failing"]


def test_a_defect_is_never_what_makes_a_monitor_failing() -> None:
    life = Life(failing_after=9)
    for _ in range(4):
        life.fails()
    life.failing_after = 3
    life.fails("INTERNAL")
    assert life.told() == []


@pytest.mark.parametrize("anew", [lambda life: life.revises(), lambda life: life.resumes()], ids=["revised", "resumed"])
def test_a_failing_monitor_that_is_revised_or_resumed_begins_anew(anew: Callable[[Life], None]) -> None:
    life = Life()
    for _ in range(3):
        life.fails()
    anew(life)
    assert (life.state.status, life.state.failing) == (Status.ACTIVE, None)
    assert [life.fails().failures for _ in range(3)] == [1, 2, 3]
    assert life.told() == ["failing", "failing"]
    life.judges(Verdict.MET)
    assert life.told() == ["failing", "failing", "recovered"]


def test_a_failing_monitor_can_be_paused_and_its_failures_are_forgotten() -> None:
    life = Life()
    for _ in range(3):
        life.fails()
    life.pauses()
    assert (life.state.status, life.state.failing) == (Status.PAUSED, None)
    life.fails()
    life.judges(Verdict.MET)
    life.resumes()
    assert life.fails().failures == 1
    assert life.told() == ["failing"]


def test_a_failing_monitor_can_be_renamed_and_deleted() -> None:
    life = Life()
    for _ in range(3):
        life.fails()
    life.stream = life.stream(*monitor.rename(life.state, name="Pot", now=AT))
    assert life.state.status is Status.FAILING
    monitor.check_evaluable(life.state)
    life.stream.when(lambda present: monitor.delete(present, now=AT)).then_and_only_once(MonitorDeleted(deleted_at=AT))
    gone = life.stream(MonitorDeleted(deleted_at=AT))
    assert (gone.state.status, gone.state.failing) == (Status.ARCHIVED, None)


def test_a_paused_monitor_that_somebody_asked_to_evaluate_is_not_made_failing() -> None:
    paused = Given(Monitor(), monitor.evolve)(created(), MonitorPaused(paused_at=AT)).state
    outcome = in_a_row(paused, Previous(failures=8, failed_since=AT), failed())
    assert outcome.failures == 9
    assert after_failure(paused, outcome, evaluation_id=LOOKED, failing_after=3) == []


def test_resuming_an_active_monitor_changes_nothing_and_a_failing_one_works_once() -> None:
    stream = Given(Monitor(), monitor.evolve)(created())
    stream.when(lambda present: monitor.resume(present, now=AT)).changes_nothing()
    life = Life()
    for _ in range(3):
        life.fails()
    resumed = MonitorResumed(resumed_at=AT)
    life.stream.when(lambda present: monitor.resume(present, now=AT)).then_and_only_once(resumed)


What = Literal["fails", "breaks", "met", "not_met", "inconclusive", "pauses", "resumes", "revises"]


@for_all(
    happens=st.lists(
        st.sampled_from(["fails"] * 6 + ["breaks", "met", "not_met", "inconclusive", "pauses", "resumes", "revises"]),
        max_size=40,
    ),
    failing_after=st.integers(1, 4),
)
def test_whatever_happens_each_period_is_told_once_and_failures_never_touch_the_state(
    happens: list[What], failing_after: int
) -> None:
    """Held against the list of what happened itself: how many looks failed since the last verdict or the last word of a
    person."""
    life, row, revisions = Life(failing_after), 0, 1
    for what in happens:
        before, told = life.state, len(life.told())
        match what:
            case "fails":
                row += 1
                outcome = life.fails()
                assert outcome.failures == row
                becomes = before.status is Status.ACTIVE and row >= failing_after
                assert (len(life.told()) > told) == becomes
            case "breaks":
                life.fails("INTERNAL")
                assert len(life.told()) == told
            case "met" | "not_met" | "inconclusive":
                row = 0
                life.judges(Verdict(what))
                assert (len(life.told()) > told) == (before.status is Status.FAILING)
            case "pauses":
                life.pauses()
            case "resumes":
                row = row if before.status is Status.ACTIVE else 0
                life.resumes()
            case "revises":
                row, revisions = 0, revisions + 1
                life.revises(2 - revisions % 2)
        if what in {"fails", "breaks", "pauses", "resumes"}:
            assert life.state.state is before.state
        assert (life.state.status is Status.FAILING) == (life.state.failing is not None)
        assert life.previous.on(life.state).failures == life.previous.failures
    for one, two in pairwise(life.told()):
        assert (one, two) != ("recovered", "recovered")


def test_being_failing_leaves_the_state_as_it_was() -> None:
    life = Life()
    life.judges(Verdict.MET)
    for _ in range(5):
        life.fails()
    assert (life.state.state, life.state.status) == (State.ACTIVE, Status.FAILING)
