"""Why an evaluation came to what it did, as it is read."""

from collections.abc import Callable
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from domain.evaluation import EvaluationFailed, EvaluationRequested, FactExtracted, Verdict
from domain.monitor import PlanRevised, State
from domain.trigger import TriggerSuppressed
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World, completed, minutes, plan, price

As = Callable[[UUID], Reader]


async def test_an_evaluation_is_explained_with_its_condition_rule_triggers_and_versions(
    world: World, reader: As
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    action = await world.action(ada)
    mail, slow = [await world.trigger(ada, monitor, action, name=name) for name in ("Mail", "Slow")]
    first = await world.evaluation(ada, monitor, minutes(1), verdict=Verdict.NOT_MET)
    second = await world.evaluation(
        ada, monitor, minutes(2), price(49.0, minutes(2)), verdict=Verdict.MET, after=State.ACTIVE, program="0.4.0"
    )
    await world.firing(ada, mail, monitor, second, minutes(2))
    held_back = TriggerSuppressed(
        firing_id=uuid7(),
        monitor_id=monitor,
        evaluation_id=second,
        occasion=1,
        reason="cooldown",
        suppressed_at=minutes(2),
    )
    await world.append(ada, slow, held_back)
    await world.project()
    shown = (await reader(ada).data(f"/monitors/{monitor}/evaluations/{second}"))["explanation"]
    assert shown == {
        "summary": "The condition is met, so the state went from inactive to active.",
        "told": "The trigger 'Mail' fired. The trigger 'Slow' did not fire: it fired not long ago, and its cool-down was"
        " not over.",
        "rule": "switched",
        "asked": "condition",
        "condition": {
            "text": "price < 50.0",
            "with_values": "49 < 50.0",
            "result": True,
            "joined_by": None,
            "clauses": [],
        },
        "confirmations": {"in_a_row": 1, "needed": 1},
        "previous": {
            "evaluation_id": str(first),
            "verdict": "not_met",
            "streak": 1,
            "state_after": "inactive",
            "completed_at": "2026-01-01T00:01:00Z",
        },
        "triggers": [
            {"trigger_id": str(mail), "name": "Mail", "outcome": "fired", "reason": None},
            {"trigger_id": str(slow), "name": "Slow", "outcome": "suppressed", "reason": "cooldown"},
        ],
        "versions": {"plan_revision": 1, "provider": "rules", "model": None, "program": "0.4.0"},
    }
    shown = (await reader(ada).data(f"/monitors/{monitor}/evaluations/{first}"))["explanation"]
    assert (shown["previous"], shown["versions"]["program"]) == (None, None), "before programs said who they were"


async def test_what_an_active_monitor_was_asked_is_its_reset_condition(world: World, reader: As) -> None:
    ada = await world.person()
    of = msgspec.structs.replace(plan(), reset_condition="price > 60.0 && price < 90.0")
    monitor, found = await world.monitor(ada, of=of), uuid7()
    outcome = msgspec.structs.replace(
        completed(monitor, AT, verdict=Verdict.MET, before=State.ACTIVE, after=State.ACTIVE),
        condition="!(price > 60.0 && price < 90.0)",
        inputs={"price": 55.0},
    )
    await world.append(ada, found, FactExtracted(monitor_id=monitor, fact=price(55.0, AT)), outcome)
    await world.project()
    shown = (await reader(ada).data(f"/monitors/{monitor}/evaluations/{found}"))["explanation"]
    assert (shown["asked"], shown["rule"]) == ("reset_condition", "held_by_reset")
    assert (shown["condition"]["with_values"], shown["condition"]["result"]) == ("55 > 60.0 && 55 < 90.0", False)
    assert [one["result"] for one in shown["condition"]["clauses"]] == [False, True]


async def test_an_evaluation_on_an_older_plan_is_explained_by_what_was_read(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    found = await world.evaluation(ada, monitor, minutes(1), price(49.0, minutes(1)), verdict=Verdict.MET)
    revised = PlanRevised(prompt="Tell me", plan=plan(fact="stock"), state_reset=True, revised_at=minutes(2))
    await world.append(ada, monitor, revised)
    await world.project()
    shown = (await reader(ada).data(f"/monitors/{monitor}/evaluations/{found}"))["explanation"]
    assert shown["condition"]["result"] is True
    assert shown["confirmations"] == {"in_a_row": 1, "needed": None}
    assert shown["rule"] == "confirming"


async def test_failed_and_waiting_evaluations_are_explained_too(world: World, reader: As) -> None:
    ada = await world.person()
    monitor, failed, queued = await world.monitor(ada), uuid7(), uuid7()
    failure = EvaluationFailed(
        monitor_id=monitor,
        plan_revision=1,
        due_at=AT,
        code="SOURCE_SLOW",
        message="the shop does not answer",
        evidence=(),
        duration_ms=3,
        started_at=AT,
        completed_at=AT,
    )
    await world.append(ada, failed, failure)
    await world.append(ada, queued, EvaluationRequested(monitor_id=monitor, requested_at=AT))
    await world.project()
    shown = [
        (await reader(ada).data(f"/monitors/{monitor}/evaluations/{one}"))["explanation"] for one in (failed, queued)
    ]
    assert [(one["rule"], one["asked"], one["condition"], one["triggers"]) for one in shown] == [
        ("failed", None, None, []),
        ("not_done", None, None, []),
    ]
    assert "the shop does not answer." in shown[0]["summary"]
