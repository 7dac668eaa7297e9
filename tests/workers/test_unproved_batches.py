"""Answers of batches whose quotes do not stand in the evidence: told to who waited for them, and asked anew by everybody else."""

import msgspec
import pytest

from adapters.postgres_waiting import PostgresWaitingLooks
from domain.evaluation import EvaluationCompleted, Verdict
from domain.model_call import OnBehalf
from tests.conftest import AT
from tests.model_server import model_server, ok
from tests.reading_model import USED, reads
from tests.workers.batch_world import Killed, Unhurrying, costs
from workers.evaluator import Evaluator

UNPROVED = ok({"price": {"quote": "148 EUR", "value": 148, "confidence": 0.9}}, USED)


def told(completed: EvaluationCompleted) -> tuple[Verdict, bool]:
    return completed.verdict, "does not stand in the evidence" in str(completed.reason)


NOT_BELIEVED = (Verdict.INCONCLUSIVE, True)


async def test_what_a_batch_quotes_and_nobody_finds_is_told_and_asked_again_in_the_next_slot(here: Unhurrying) -> None:
    here.server.script = lambda _: UNPROVED
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    monitor_id = await here.monitor(ada)
    job = await here.world.slot(ada, monitor_id)
    await here.waits(job)
    await here.sent()
    await here.over()
    completed = await here.evaluated(job)
    assert (told(completed), completed.cost_micros) == (NOT_BELIEVED, costs(here.provider.name))
    here.server.script = reads
    here.world.clock.at = await here.world.due_at(monitor_id)
    again = await here.world.slot(ada, monitor_id)
    await here.waits(again)
    on_behalf = OnBehalf(owner_id=ada, monitor_id=monitor_id, evaluation_id=again.evaluation_id)
    begun = await PostgresWaitingLooks(here.world.pool).begun(on_behalf, since=AT)
    assert begun is not None
    assert begun.is_waiting
    await here.sent()
    await here.over()
    completed = await here.evaluated(again)
    assert (completed.inputs, completed.cost_micros) == ({"price": 149.0}, costs(here.provider.name))
    assert (await here.evaluated(await here.slot(bob))).inputs == {"price": 149.0}, "what is proved is kept"
    assert len(here.server.calls) == 2


async def test_when_nothing_better_comes_it_is_told_once_for_each_slot(here: Unhurrying) -> None:
    here.server.script = lambda _: UNPROVED
    ada = await here.world.person()
    monitor_id = await here.monitor(ada)
    for calls in (1, 2, 3):
        job = await here.world.slot(ada, monitor_id)
        await here.waits(job)
        await here.sent()
        await here.over()
        assert (told(await here.evaluated(job)), len(here.server.calls)) == (NOT_BELIEVED, calls)
        here.world.clock.at = await here.world.due_at(monitor_id)
    assert await here.sums(ada) == [costs(here.provider.name, 3)]


async def test_whoever_waited_is_told_although_somebody_asks_anew_already(here: Unhurrying) -> None:
    here.server.script = lambda _: UNPROVED
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    monitor_id = await here.monitor(ada)
    first, other = await here.world.slot(ada, monitor_id), await here.slot(bob)
    for job in (first, other):
        await here.waits(job)
    await here.sent()
    await here.over()
    assert told(await here.evaluated(first)) == NOT_BELIEVED
    here.world.clock.at = await here.world.due_at(monitor_id)
    again = await here.world.slot(ada, monitor_id)
    await here.waits(again)
    completed = await here.evaluated(other)
    assert told(completed) == NOT_BELIEVED
    assert (completed.cost_micros, completed.saved_micros) == (0, costs(here.provider.name))
    here.server.script = reads
    await here.sent()
    await here.over()
    assert (await here.evaluated(again)).inputs == {"price": 149.0}
    assert (len(here.server.calls), await here.left()) == (2, [0, 0, 0, 0])


async def test_an_evaluator_that_dies_after_it_was_told_is_told_the_same_again(
    here: Unhurrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.server.script = lambda _: UNPROVED
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    await here.over()

    async def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Evaluator, "_record", dies)
        with pytest.raises(Killed):
            await here.evaluator().evaluate(job)
    await here.world.schedule.put_back(job, until=job.due_at, attempts=1)
    job = msgspec.structs.replace(job, attempts=1)
    completed = await here.evaluated(job)
    assert (told(completed), completed.cost_micros) == (NOT_BELIEVED, costs(here.provider.name))
    assert (len(here.server.calls), await here.left()) == (1, [0, 0, 0, 0])


async def test_who_is_in_a_hurry_asks_anew_what_a_batch_could_not_prove(here: Unhurrying) -> None:
    here.server.script = lambda _: UNPROVED
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    job = await here.slot(ada)
    await here.waits(job)
    await here.sent()
    await here.over()
    assert told(await here.evaluated(job)) == NOT_BELIEVED
    here.world.clock.move(1)
    async with model_server(reads) as direct:
        asked = await here.evaluated(await here.world.request(bob, await here.monitor(bob)), direct)
        assert (asked.inputs, direct.count) == ({"price": 149.0}, 1)
    assert (await here.evaluated(await here.slot(ada))).inputs == {"price": 149.0}, "it is kept in place of the other"
    assert len(here.server.calls) == 1


async def test_what_a_batch_could_not_prove_takes_the_place_of_nothing_that_was_proved_meanwhile(
    here: Unhurrying,
) -> None:
    here.server.script = lambda _: UNPROVED
    ada, bob = await here.world.person(), await here.world.person(email="bob@example.org")
    monitor_id = await here.monitor(ada)
    job = await here.world.slot(ada, monitor_id)
    await here.waits(job)
    await here.sent()
    await here.over()
    assert told(await here.evaluated(job)) == NOT_BELIEVED
    here.world.clock.at = await here.world.due_at(monitor_id)
    again = await here.world.slot(ada, monitor_id)
    await here.waits(again)
    await here.sent()
    async with model_server(reads) as direct:
        await here.evaluated(await here.world.request(bob, await here.monitor(bob)), direct)
    await here.over()
    assert (await here.evaluated(again)).inputs == {"price": 149.0}
