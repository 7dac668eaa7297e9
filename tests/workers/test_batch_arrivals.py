"""Batches whose sending or fetching goes wrong: what may have arrived is looked for, and only what certainly did not is sent again."""

from datetime import timedelta

from domain.evaluation import Verdict
from domain.model_call import CallOutcome
from tests.batch_server import DROPPED
from tests.workers.batch_world import Unhurrying
from workers.batcher import LOOKED_FOR_AFTER, OVER_AFTER


async def test_a_batch_that_is_never_over_is_given_up_after_a_day(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    await here.sent()
    here.world.clock.move(OVER_AFTER.total_seconds())
    await here.batcher().step()
    assert await here.left() == [1, 1, 1, 1]
    here.world.clock.move(1)
    await here.batcher().step()
    completed = await here.evaluated(job)
    assert (completed.verdict, await here.left()) == (Verdict.INCONCLUSIVE, [0, 0, 0, 0])
    [called] = await here.called()
    assert (called.outcome, called.is_estimated) == (CallOutcome.TIMEOUT, True)


async def test_a_batch_that_did_not_arrive_is_sent_again_once_that_is_certain(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.server.faults["create"] = [500]
    batcher = await here.sent()
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds() - 1)
    await batcher.step()
    assert (here.server.taken, "list" in here.server.asked) == ([], False)
    here.world.clock.move(1)
    here.server.faults["list"] = [500]
    await batcher.step()
    assert here.server.taken == [], "nobody could say"
    await batcher.step()
    assert len(here.server.calls) == 1
    await here.over()
    assert (await here.evaluated(job)).verdict is Verdict.MET
    assert len(await here.called()) == 1


async def test_a_batch_whose_arrival_nobody_heard_of_is_found_and_not_sent_again(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.server.faults["create"] = [DROPPED]
    batcher = await here.sent()
    here.server.end()
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
    await batcher.step()
    await batcher.step()
    assert (await here.evaluated(job)).verdict is Verdict.MET
    assert (len(here.server.calls), len(await here.called())) == (1, 1)


async def test_what_may_have_arrived_and_cannot_be_found_is_given_up_after_a_day(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    here.server.faults = {"create": [DROPPED], "list": [500] * 5}
    batcher = await here.sent()
    here.world.clock.move(OVER_AFTER.total_seconds())
    await batcher.step()
    assert await here.left() == [1, 1, 1, 1]
    here.world.clock.move(1)
    await batcher.step()
    assert ((await here.evaluated(job)).verdict, len(here.server.calls)) == (Verdict.INCONCLUSIVE, 1)
    assert [called.is_estimated for called in await here.called()] == [True]


async def test_what_never_arrives_is_not_sent_for_ever(here: Unhurrying) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    here.server.faults["create"] = [500] * 10
    batcher = await here.sent()
    [made] = await here.batches.under_way()
    for _ in range(2):
        here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
        await batcher.step()
    assert here.server.asked.count("create") == 3
    here.world.clock.at = made.made_at + OVER_AFTER + timedelta(seconds=1)
    await batcher._try((await here.batches.under_way())[0])
    assert (await here.left(), await here.sums(ada)) == ([0, 0, 0, 1], [0])


async def test_too_many_requests_are_sent_later(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    here.server.faults["create"] = [429]
    batcher = await here.sent()
    assert (await here.left(), await here.called()) == ([0, 0, 0, 1], [])
    await batcher.step()
    await here.over()
    assert ((await here.evaluated(job)).verdict, len(here.server.calls)) == (Verdict.MET, 1)


async def test_a_key_that_is_not_taken_is_said(here: Unhurrying) -> None:
    ada = await here.world.person()
    job = await here.slot(ada)
    await here.waits(job)
    here.server.faults["create"] = [401]
    await here.sent()
    completed = await here.evaluated(job)
    assert completed.verdict is Verdict.INCONCLUSIVE
    assert "key" in str(completed.reason)
    assert [(called.outcome, called.cost_micros) for called in await here.called()] == [(CallOutcome.AUTH, 0)]
    assert (await here.left(), await here.sums(ada)) == ([0, 0, 0, 0], [0])


async def test_results_that_cannot_be_fetched_are_fetched_later(here: Unhurrying) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    here.server.faults = {"retrieve": [500], "results": [503]}
    for _ in range(2):
        await here.over()
        await here.waits(job)
    await here.over()
    assert (await here.evaluated(job)).verdict is Verdict.MET


async def test_other_batches_of_ours_are_not_taken_for_the_one_that_is_missing(here: Unhurrying) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    await here.sent()
    here.says("price 5 EUR")
    await here.waits(await here.slot(ada))
    here.server.faults["create"] = [500]
    batcher = await here.sent()
    here.world.clock.move(LOOKED_FOR_AFTER.total_seconds())
    await batcher.step()
    assert (len(here.server.calls), len(set(here.server.calls))) == (2, 2)
