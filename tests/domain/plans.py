"""Plans and the events around them, for tests that need some and do not care which."""

from uuid import UUID

import msgspec

from domain.evaluation import EvaluationCompleted, Verdict
from domain.fact import FactSpec, FactType, Select
from domain.monitor import ConditionMetAgain, MonitorCreated, State, StateChanged
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from tests.conftest import AT

MONITOR_ID, EVALUATION_ID = UUID(int=1), UUID(int=2)
PROMPT = "Tell me when the price is under 50"

PLAN = Plan(
    kind=Kind.CURRENT_STATE,
    facts=(FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.price")),),
    condition="price < 50.0",
    schedule=Every(seconds=300),
    sources=(HttpSource(url="https://shop.example/price.json"),),
    explanation="Watches the price. Fires when it is under 50.",
)


def plan(**changes: object) -> Plan:
    """The plan with changes."""
    return msgspec.structs.replace(PLAN, **changes)


def created(**changes: object) -> MonitorCreated:
    """The monitor "Kettle" with a plan that has these changes."""
    return MonitorCreated(name="Kettle", prompt=PROMPT, plan=plan(**changes), created_at=AT)


def changed(from_state: State, to_state: State, evaluation_id: UUID = EVALUATION_ID) -> StateChanged:
    """A switch of the state."""
    return StateChanged(from_state=from_state, to_state=to_state, evaluation_id=evaluation_id, changed_at=AT)


def met_again(evaluation_id: UUID = EVALUATION_ID) -> ConditionMetAgain:
    """One more occurrence."""
    return ConditionMetAgain(evaluation_id=evaluation_id, met_at=AT)


def completed(verdict: Verdict = Verdict.MET) -> EvaluationCompleted:
    """A finished evaluation."""
    return EvaluationCompleted(
        monitor_id=MONITOR_ID,
        plan_revision=1,
        due_at=AT,
        verdict=verdict,
        state_before=State.INACTIVE,
        state_after=State.ACTIVE,
        condition=PLAN.condition,
        inputs={"price": 49.0},
        streak=1,
        evidence=(),
        provider="rules",
        duration_ms=3,
        started_at=AT,
        completed_at=AT,
    )
