"""Replaying a history under its own plan gives that history: judged once with all that was seen, once as a replay."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from commands.past_evaluations import PastEvaluation
from commands.replaying import Replay, ReplayedHistory
from domain.evaluation import EvaluationCompleted, Previous
from domain.history import Observation
from domain.monitor import Monitor, Status
from domain.plan import Fires
from tests.commands.test_judging import CONDITIONS, Watch, price
from tests.conftest import AT
from tests.domain.plans import MONITOR_ID, plan

PRICE_CONDITIONS = [
    "price < 3",
    'price < 4 && held_for("20m") && held_for("45m")',
    "changed(price)",
    "previous(price) > price",
    'ago(price, "1h") > price',
    'changes(price, "90m") >= 2',
    'silent_for(price, "50m")',
    'record_low(price, "2h") || increased_by(price, 0.5, "1h")',
    'price < avg_over(price, "100m")',
    'min_over(price, "1h") + 1 < max_over(price, "40m")',
]


@settings(max_examples=150)
@given(
    looks=st.lists(st.tuples(st.integers(1, 40), st.none() | st.integers(1, 5).map(float)), min_size=1, max_size=25),
    condition=st.sampled_from(PRICE_CONDITIONS),
    reset=st.none() | st.sampled_from(PRICE_CONDITIONS),
    confirmations=st.integers(1, 3),
    cut=st.integers(0, 24),
)
async def test_a_history_replayed_under_its_own_plan_is_that_history(
    looks: list[tuple[int, float | None]], condition: str, reset: str | None, confirmations: int, cut: int
) -> None:
    of = plan(condition=condition, reset_condition=reset, confirmations=confirmations, fires=Fires.ON_ENTRY)
    watch, made = Watch(of), list[tuple[PastEvaluation, EvaluationCompleted]]()
    begins: list[tuple[Monitor, Previous, list[Observation]]] = []
    at = AT
    for minutes, value in looks:
        at += timedelta(minutes=minutes)
        begins.append((watch.monitor, watch.previous, list(watch.history.seen)))
        await watch.look(value, at)
        facts = () if value is None else (price(value, at),)
        recorded = watch.recorded[-1]
        past = PastEvaluation(
            id=UUID(int=watch.looks),
            plan_revision=1,
            verdict=recorded.verdict,
            error_code=None,
            state_before=recorded.state_before,
            state_after=recorded.state_after,
            facts=facts,
            evidence=(),
            started_at=at,
            completed_at=at,
        )
        made.append((past, recorded))
    first = min(cut, len(made) - 1)
    monitor, previous, seen = begins[first]
    assert monitor.status is Status.ACTIVE
    weighs = "avg_over" in f"{condition} {reset}"
    history = ReplayedHistory({"price": seen}, {}, of.min_confidence, weighs=weighs)
    replay = Replay(MONITOR_ID, monitor, previous, {}, CONDITIONS, history)
    for past, recorded in made[first:]:
        completed, fires = await replay.evaluate(past, {fact.name: fact for fact in past.facts})
        assert not fires
        assert told(completed) == told(recorded)


def told(completed: EvaluationCompleted) -> tuple[object, ...]:
    """All that judging gives."""
    return (
        *(completed.verdict, completed.state_before, completed.state_after, completed.condition),
        *(completed.inputs, completed.streak, completed.reason, completed.held_since),
    )
