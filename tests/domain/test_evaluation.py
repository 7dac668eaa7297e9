"""What a verdict means for a monitor: when its state switches, and when it does not."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import evaluation, monitor
from domain.errors import NotFound
from domain.evaluation import (
    Evaluation,
    EvaluationFailed,
    EvaluationRequested,
    Evidence,
    FactExtracted,
    Previous,
    Verdict,
    conclude,
    evaluation_id,
    streak_after,
)
from domain.fact import Fact, FactType
from domain.monitor import ConditionMetAgain, Monitor, MonitorEvent, State, StateChanged
from domain.plan import Fires
from tests.conftest import AT
from tests.domain.plans import EVALUATION_ID, MONITOR_ID, changed, completed, created, met_again
from tests.domain.specification import Given, Outcome

given = Given(Monitor(), monitor.evolve)
UNKNOWN = given(created())
INACTIVE = UNKNOWN(changed(State.UNKNOWN, State.INACTIVE))
ACTIVE = UNKNOWN(changed(State.UNKNOWN, State.ACTIVE))

MET, NOT_MET, INCONCLUSIVE = Verdict.MET, Verdict.NOT_MET, Verdict.INCONCLUSIVE


def judged(stream: Given[Monitor], verdict: Verdict, streak: int = 1) -> Outcome[Monitor]:
    return stream.when(
        lambda present: conclude(present, verdict=verdict, streak=streak, evaluation_id=EVALUATION_ID, now=AT)
    )


def test_the_first_evaluation_takes_the_state_from_unknown_to_what_it_saw() -> None:
    judged(UNKNOWN, MET).then_and_only_once(changed(State.UNKNOWN, State.ACTIVE))
    judged(UNKNOWN, NOT_MET).then_and_only_once(changed(State.UNKNOWN, State.INACTIVE))


def test_later_verdicts_switch_the_state_both_ways() -> None:
    judged(INACTIVE, MET).then_and_only_once(changed(State.INACTIVE, State.ACTIVE))
    judged(ACTIVE, NOT_MET).then_and_only_once(changed(State.ACTIVE, State.INACTIVE))


def test_a_verdict_that_says_what_is_known_changes_nothing() -> None:
    judged(ACTIVE, MET, streak=7).changes_nothing()
    judged(INACTIVE, NOT_MET, streak=7).changes_nothing()


@pytest.mark.parametrize("stream", [UNKNOWN, INACTIVE, ACTIVE], ids=["unknown", "inactive", "active"])
@pytest.mark.parametrize("fires", list(Fires))
def test_an_inconclusive_verdict_changes_nothing(stream: Given[Monitor], fires: Fires) -> None:
    again = Given(stream.initial, stream.evolve, (created(fires=fires), *stream.events[1:]))
    judged(again, INCONCLUSIVE, streak=100).changes_nothing()


def test_with_each_time_every_met_verdict_is_an_occurrence_also_when_the_one_before_was_met() -> None:
    unknown = given(created(fires=Fires.EACH_TIME))
    active = judged(unknown, MET).then(changed(State.UNKNOWN, State.ACTIVE))
    again = judged(active, MET, streak=2).then(met_again())
    judged(again, MET, streak=3).then(met_again())
    inactive = judged(again, NOT_MET).then(changed(State.ACTIVE, State.INACTIVE))
    judged(inactive, NOT_MET, streak=2).changes_nothing()
    judged(inactive, MET).then(changed(State.INACTIVE, State.ACTIVE))


def test_confirmations_hold_back_every_switch_but_the_quiet_first_one() -> None:
    unknown = given(created(confirmations=3))
    judged(unknown, MET, streak=1).changes_nothing()
    judged(unknown, MET, streak=2).changes_nothing()
    active = judged(unknown, MET, streak=3).then(changed(State.UNKNOWN, State.ACTIVE))
    judged(active, NOT_MET, streak=2).changes_nothing()
    judged(active, NOT_MET, streak=3).then(changed(State.ACTIVE, State.INACTIVE))
    inactive = judged(unknown, NOT_MET, streak=1).then(changed(State.UNKNOWN, State.INACTIVE))
    judged(inactive, MET, streak=2).changes_nothing()


def test_a_monitor_that_never_was_is_not_judged() -> None:
    judged(given, MET).is_refused(NotFound)


def test_a_streak_counts_equal_verdicts_and_an_inconclusive_one_neither_adds_nor_breaks() -> None:
    def after(*verdicts: Verdict) -> int:
        previous = Previous()
        for verdict in verdicts:
            previous = next_previous(previous, verdict)
        return previous.streak

    assert after() == 0
    assert after(MET) == 1
    assert after(MET, MET, MET) == 3
    assert after(MET, MET, NOT_MET) == 1
    assert after(MET, INCONCLUSIVE, MET) == 2
    assert after(INCONCLUSIVE, INCONCLUSIVE) == 0
    assert after(MET, INCONCLUSIVE, NOT_MET) == 1


def next_previous(previous: Previous, verdict: Verdict) -> Previous:
    """What the history shows after one more verdict: the last conclusive one, and how often in a row."""
    streak = streak_after(previous, verdict)
    return Previous(verdict=previous.verdict if verdict is INCONCLUSIVE else verdict, streak=streak)


@for_all(
    verdicts=st.lists(st.sampled_from(list(Verdict)), max_size=30),
    confirmations=st.integers(1, 4),
    fires=st.sampled_from(list(Fires)),
)
def test_a_monitor_switches_only_after_as_many_equal_verdicts_in_a_row_as_it_wants(
    verdicts: list[Verdict], confirmations: int, fires: Fires
) -> None:
    """Held against the list of verdicts itself, without streaks."""
    stream, previous = given(created(confirmations=confirmations, fires=fires)), Previous()
    conclusive: list[Verdict] = []
    for i, verdict in enumerate(verdicts):
        before = stream.state.state
        previous = next_previous(previous, verdict)
        events = conclude(stream.state, verdict=verdict, streak=previous.streak, evaluation_id=UUID(int=i), now=AT)
        stream = stream(*events)
        assert len(events) <= 1
        if verdict is INCONCLUSIVE:
            assert events == []
            continue
        conclusive.append(verdict)
        assert events == expected(before, conclusive, confirmations, fires, UUID(int=i))
    switches = [event for event in stream.events if isinstance(event, StateChanged)]
    assert all(one.to_state is two.from_state for one, two in pairwise(switches))
    assert all(switch.from_state is not switch.to_state for switch in switches)
    assert [switch.from_state for switch in switches].count(State.UNKNOWN) <= 1


def expected(
    before: State, conclusive: list[Verdict], confirmations: int, fires: Fires, looked: UUID
) -> list[MonitorEvent]:
    """The rule in other words: what the last verdict leads to, told from all conclusive ones so far."""
    target = State.ACTIVE if conclusive[-1] is MET else State.INACTIVE
    if before is target:
        occurs = target is State.ACTIVE and fires is Fires.EACH_TIME
        return [ConditionMetAgain(evaluation_id=looked, met_at=AT)] if occurs else []
    agreed = len(conclusive) >= confirmations and set(conclusive[-confirmations:]) == {conclusive[-1]}
    first_quiet = before is State.UNKNOWN and target is State.INACTIVE
    if not agreed and not first_quiet:
        return []
    return [StateChanged(from_state=before, to_state=target, evaluation_id=looked, changed_at=AT)]


def test_the_same_slot_is_the_same_evaluation_in_every_time_zone() -> None:
    here = datetime(2026, 3, 1, 12, tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert evaluation_id(MONITOR_ID, here) == evaluation_id(MONITOR_ID, there)
    assert evaluation_id(MONITOR_ID, here).version == 5
    others = {
        evaluation_id(MONITOR_ID, here + timedelta(microseconds=1)),
        evaluation_id(UUID(int=9), here),
        evaluation_id(MONITOR_ID, here),
    }
    assert len(others) == 3


def test_an_evaluation_collects_its_facts_until_it_ends() -> None:
    fact = Fact(
        name="price",
        type=FactType.NUMBER,
        value=49.0,
        quote="49.00",
        source_url="https://shop.example/",
        evidence_hash="0" * 64,
        observed_at=AT,
    )
    stream = Given(Evaluation(), evaluation.evolve)
    asked = stream(EvaluationRequested(monitor_id=MONITOR_ID, requested_at=AT))
    assert asked.state == Evaluation(monitor_id=MONITOR_ID)
    seen = asked(FactExtracted(monitor_id=MONITOR_ID, fact=fact), FactExtracted(monitor_id=MONITOR_ID, fact=fact))
    assert seen.state == Evaluation(monitor_id=MONITOR_ID, facts=(fact, fact))
    assert seen(completed()).state == Evaluation(monitor_id=MONITOR_ID, facts=(fact, fact), outcome=completed())


def test_an_evaluation_that_failed_says_why() -> None:
    failed = EvaluationFailed(
        monitor_id=MONITOR_ID,
        plan_revision=1,
        due_at=AT,
        code="SOURCE_GONE",
        message="the page is gone (410)",
        evidence=(Evidence(url="https://shop.example/", outcome="gone", fetched_at=AT),),
        duration_ms=3,
        started_at=AT,
        completed_at=AT,
    )
    assert Given(Evaluation(), evaluation.evolve)(failed).state == Evaluation(monitor_id=MONITOR_ID, outcome=failed)
