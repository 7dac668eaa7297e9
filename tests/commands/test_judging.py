"""Judging over time: what has held, what was told, and when an active monitor resets. Real conditions, a history in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.cel_condition import CelConditionLanguage
from commands.judging import Judge
from domain.condition import Judgement
from domain.evaluation import (
    EvaluationCompleted,
    EvaluationFailed,
    Previous,
    Verdict,
    conclude,
    previous_after,
    streak_after,
)
from domain.fact import Fact, FactType
from domain.history import Observation
from domain.monitor import Monitor, State, Status, evolve
from domain.plan import Plan
from tests.conftest import AT
from tests.domain.plans import MONITOR_ID, plan

CONDITIONS = CelConditionLanguage()
MET, NOT_MET, INCONCLUSIVE = Verdict.MET, Verdict.NOT_MET, Verdict.INCONCLUSIVE
MINUTE = timedelta(minutes=1)


@dataclass
class MemoryHistory:
    """The accepted prices, and the one that was told last."""

    seen: list[Observation] = field(default_factory=list)
    told: Observation | None = None

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, since_revision: int, confidence_min: float
    ) -> list[Observation]:
        del monitor_id, fact, since_revision, confidence_min
        if since is None:
            return self.seen[-1:]
        before = [one for one in self.seen if one[0] < since]
        return [*before[-1:], *(one for one in self.seen if one[0] >= since)]

    async def last_notified(
        self, monitor_id: UUID, fact: str, *, since_revision: int, confidence_min: float
    ) -> Observation | None:
        del monitor_id, fact, since_revision, confidence_min
        return self.told


def price(value: float, at: datetime) -> Fact:
    return Fact(
        name="price",
        type=FactType.NUMBER,
        value=value,
        quote=str(value),
        source_url="https://shop.example/",
        evidence_hash="a" * 64,
        observed_at=at,
    )


class Watch:
    """One monitor, looked at again and again; a price of None was not found."""

    def __init__(self, of: Plan) -> None:
        self.history = MemoryHistory()
        self.judge = Judge(CONDITIONS, self.history)
        self.monitor = Monitor(status=Status.ACTIVE, plan=of, plan_revision=1, question_revision=1)
        self.previous = Previous()
        self.recorded: list[EvaluationCompleted] = []
        self.looks = 0

    async def look(self, value: float | None, at: datetime) -> Judgement:
        facts = {} if value is None else {"price": price(value, at)}
        plan_, state, previous = self.monitor.current_plan, self.monitor.state, self.previous.on(self.monitor)
        judged = await self.judge.judge(MONITOR_ID, plan_, facts, now=at, state=state, previous=previous)
        streak = streak_after(previous, judged.verdict)
        self.looks += 1
        looked = UUID(int=self.looks)
        events = conclude(self.monitor, verdict=judged.verdict, streak=streak, evaluation_id=looked, now=at)
        for event in events:
            self.monitor = evolve(self.monitor, event)
        completed = EvaluationCompleted(
            monitor_id=MONITOR_ID,
            plan_revision=self.revision,
            due_at=at,
            verdict=judged.verdict,
            state_before=state,
            state_after=self.monitor.state,
            condition=judged.condition,
            inputs=judged.inputs,
            streak=streak,
            reason=judged.reason,
            held_since=judged.held_since,
            evidence=(),
            provider="rules",
            duration_ms=0,
            started_at=at,
            completed_at=at,
        )
        self.recorded.append(completed)
        self.previous = previous_after(self.previous, completed, looked)
        if value is not None:
            self.history.seen.append(Observation(at, value))
        return judged

    def fail(self, at: datetime) -> None:
        self.looks += 1
        failed = EvaluationFailed(
            monitor_id=MONITOR_ID,
            plan_revision=self.revision,
            due_at=at,
            code="SOURCE_SLOW",
            message="",
            evidence=(),
            duration_ms=0,
            started_at=at,
            completed_at=at,
        )
        self.previous = previous_after(self.previous, failed, UUID(int=self.looks))

    def revise(self) -> None:
        """The same plan again, as a change of its schedule would leave it."""
        self.monitor = replace(self.monitor, plan_revision=self.revision + 1)

    def ask_otherwise(self) -> None:
        """The same plan again, as if it asked another question."""
        self.revise()
        self.monitor = replace(self.monitor, question_revision=self.revision, state=State.UNKNOWN)

    @property
    def revision(self) -> int:
        return self.monitor.plan_revision


CHEAP, DEAR = 40.0, 60.0
steps = st.lists(
    st.tuples(
        st.integers(0, 12), st.sampled_from([CHEAP, CHEAP, CHEAP, DEAR, None, "fails", "revised", "asked otherwise"])
    ),
    max_size=25,
)


def held_minutes(past: Sequence[tuple[datetime, object]], at: datetime) -> float | None:
    """The slow and obvious way: back from now, over what said nothing, to the first of the looks that said yes."""
    first = None
    for when, what in reversed([*past, (at, CHEAP)]):
        if what in {DEAR, "asked otherwise"}:
            break
        first = when if what == CHEAP else first
    return None if first is None else (at - first) / MINUTE


@given(steps)
async def test_a_condition_has_held_since_the_first_of_the_met_looks_in_a_row(
    taken: list[tuple[int, float | str | None]],
) -> None:
    watch = Watch(plan(condition='price < 50 && held_for("10m") && held_for("PT15M")'))
    past: list[tuple[datetime, object]] = []
    at = AT
    for minutes, what in taken:
        at += minutes * MINUTE
        if what == "fails":
            watch.fail(at)
        elif what == "revised":
            watch.revise()
        elif what == "asked otherwise":
            watch.ask_otherwise()
        else:
            assert not isinstance(what, str)
            judged = await watch.look(what, at)
            if what is None:
                expected = INCONCLUSIVE
            elif what == DEAR:
                expected = NOT_MET
            else:
                held = held_minutes(past, at)
                assert held is not None
                expected = MET if held >= 15 else NOT_MET
                assert judged.inputs['held_for("PT10M")'] is (held >= 10)
                assert judged.held_since == at - held * MINUTE
            assert judged.verdict is expected
        past.append((at, what))


async def test_what_held_for_says_of_each_look_is_kept_with_it() -> None:
    watch = Watch(plan(condition='price < 50 && held_for("10m")'))
    said = []
    for minutes, value in ((0, CHEAP), (5, None), (9, CHEAP), (10, CHEAP), (11, DEAR), (12, CHEAP)):
        judged = await watch.look(value, AT + minutes * MINUTE)
        said.append((judged.verdict, judged.inputs['held_for("PT10M")'], judged.held_since))
    assert said == [
        (NOT_MET, False, AT),
        (INCONCLUSIVE, None, AT),
        (NOT_MET, False, AT),
        (MET, True, AT),
        (NOT_MET, False, None),
        (NOT_MET, False, AT + 12 * MINUTE),
    ]


async def test_a_rest_without_enough_history_has_not_held() -> None:
    watch = Watch(plan(condition='previous(price) < 50 && held_for("10m")'))
    first = await watch.look(CHEAP, AT)
    assert (first.verdict, first.held_since) == (NOT_MET, None)
    assert first.reason == "not enough history yet for previous(price)"
    assert (await watch.look(CHEAP, AT + MINUTE)).held_since == AT + MINUTE
    assert (await watch.look(CHEAP, AT + 11 * MINUTE)).verdict is MET


OVER_TIME = [
    'price < 3 && held_for("40m")',
    'held_for("20m") && price < 4 && held_for("90m")',
    'changes(price, "2h") >= 2',
    'silent_for(price, "1h")',
    'record_low(price, "3h") || decreased_by(price, 0.3, "2h")',
]


@settings(max_examples=60)
@given(
    values=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5).map(float)), min_size=1, max_size=8),
    extra=st.lists(st.integers(0, 400), max_size=12),
    condition=st.sampled_from(OVER_TIME),
)
async def test_how_often_an_unchanged_value_was_looked_at_changes_no_verdict(
    values: list[tuple[int, float]], extra: list[int], condition: str
) -> None:
    """Looked at once at each change, or also at any moment between: the same verdict at the end."""
    changes: dict[int, float] = {}
    minute = 0
    for minutes, value in values:
        minute += minutes
        changes[minute] = value
    end, first = minute + 30, values[0][0]

    def in_force(at: int) -> float:
        return changes[max(when for when in changes if when <= at)]

    async def final(moments: set[int]) -> Judgement:
        watch = Watch(plan(condition=condition))
        for moment in sorted(moments):
            await watch.look(in_force(moment), AT + moment * MINUTE)
        return await watch.look(in_force(end), AT + end * MINUTE)

    seldom = {*changes}
    often = seldom | {moment for moment in extra if first <= moment < end}
    assert await final(often) == await final(seldom)


degrees = st.one_of(st.none(), st.integers(25, 33).map(float))


@given(st.lists(degrees, max_size=30), st.integers(1, 3))
async def test_a_reset_condition_holds_the_active_state_until_it_is_met(
    seen: list[float | None], confirmations: int
) -> None:
    """Held against the two thresholds themselves."""
    of = plan(condition="price > 30", reset_condition="price < 28", confirmations=confirmations)
    watch, state, votes = Watch(of), State.UNKNOWN, list[bool]()
    for i, value in enumerate(seen):
        await watch.look(value, AT + i * MINUTE)
        if value is not None:
            up = value >= 28 if state is State.ACTIVE else value > 30
            votes.append(up)
            target = State.ACTIVE if up else State.INACTIVE
            quiet = state is State.UNKNOWN and not up
            if target is not state and (quiet or votes[-confirmations:] == [up] * confirmations):
                state = target
        assert watch.monitor.state is state


async def test_a_reset_that_says_nothing_leaves_the_monitor_active() -> None:
    reset = 'price < 28 && held_for("10m")'
    watch = Watch(plan(condition="price > 30", reset_condition=reset))
    seen = [(0, 31.0), (1, 29.0), (2, 27.0), (3, None), (11, 27.0), (12, 26.0), (13, 31.0), (14, 27.0), (24, 27.0)]
    states, conditions = [], []
    for minutes, value in seen:
        conditions.append((await watch.look(value, AT + minutes * MINUTE)).condition)
        states.append(watch.monitor.state.value)
    assert states == [*["active"] * 5, "inactive", "active", "active", "inactive"]
    assert conditions == ["price > 30", *[f"!({reset})"] * 5, "price > 30", *[f"!({reset})"] * 2]


async def test_how_long_the_condition_held_does_not_count_for_the_reset_condition() -> None:
    of = plan(condition='price > 30 && held_for("5m")', reset_condition='price < 28 && held_for("10m")')
    watch, states = Watch(of), []
    for minutes, value in ((0, 31.0), (5, 31.0), (6, 27.0), (11, 27.0), (16, 27.0)):
        await watch.look(value, AT + minutes * MINUTE)
        states.append(watch.monitor.state.value)
    assert states == ["inactive", "active", "active", "active", "inactive"]


async def test_an_active_monitor_whose_reset_compares_with_too_little_history_stays_active() -> None:
    watch = Watch(plan(condition="price > 30", reset_condition="last_notified(price) - price > 5"))
    await watch.look(31.0, AT)
    judged = await watch.look(20.0, AT + MINUTE)
    assert (judged.verdict, watch.monitor.state) == (MET, State.ACTIVE)
    assert judged.reason == "not enough history yet for last_notified(price)"
    watch.history.told = Observation(AT, 31.0)
    assert (await watch.look(20.0, AT + 2 * MINUTE)).verdict is NOT_MET
    assert watch.monitor.state is State.INACTIVE


@pytest.mark.parametrize(("confidence", "verdict"), [(0.9, MET), (0.7, INCONCLUSIVE)])
async def test_a_fact_below_the_plans_confidence_counts_as_not_read(confidence: float, verdict: Verdict) -> None:
    facts = {"price": msgspec.structs.replace(price(CHEAP, AT), confidence=confidence)}
    judge = Judge(CONDITIONS, MemoryHistory())
    judged = await judge.judge(MONITOR_ID, plan(condition="price < 50", min_confidence=0.8), facts, now=AT)
    assert judged.verdict is verdict


@pytest.mark.parametrize(
    ("confidence", "confidence_min", "why"),
    [
        (0.4, 0.7, "price was read with a confidence of 0.4, which is below 0.7"),
        (0.0, 0.7, "price is not believed, because what is quoted for it does not stand in the evidence"),
        (0.0, 0.0, "price is not believed, because what is quoted for it does not stand in the evidence"),
        (None, 0.7, "price was not found"),
    ],
)
async def test_an_inconclusive_verdict_says_why_a_fact_is_not_used(
    confidence: float | None, confidence_min: float, why: str
) -> None:
    read = {} if confidence is None else {"price": msgspec.structs.replace(price(CHEAP, AT), confidence=confidence)}
    asked = plan(condition="price < 50", min_confidence=confidence_min)
    judged = await Judge(CONDITIONS, MemoryHistory()).judge(MONITOR_ID, asked, read, now=AT)
    assert judged.verdict is INCONCLUSIVE
    assert str(judged.reason).startswith(why)
