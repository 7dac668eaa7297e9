"""Workers outlive what fails, rest as long as they are told to, and stop at once."""

import asyncio

import pytest

from tests.workers.world import RestlessStop
from workers.lifecycle import FAILURE_PAUSE_SECONDS, FAILURE_PAUSE_SECONDS_MAX, Stop, run_steps


async def test_a_failing_step_is_tried_again_after_growing_pauses_up_to_a_limit() -> None:
    stop = RestlessStop(rests_max=8)

    async def fail() -> float:
        raise ConnectionError

    await run_steps("test", fail, stop)
    assert stop.rests[0] == FAILURE_PAUSE_SECONDS
    assert stop.rests == [min(FAILURE_PAUSE_SECONDS * 2**n, FAILURE_PAUSE_SECONDS_MAX) for n in range(8)]
    assert stop.rests[-1] == FAILURE_PAUSE_SECONDS_MAX


async def test_after_a_success_the_pauses_begin_anew() -> None:
    stop = RestlessStop(rests_max=5)
    outcomes = iter([ValueError(), ValueError(), None, ValueError(), ValueError()])

    async def step() -> float:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return 0.25

    await run_steps("test", step, stop)
    assert stop.rests == [0.5, 1.0, 0.25, 0.5, 1.0]


async def test_a_worker_rests_as_long_as_its_step_says() -> None:
    stop = RestlessStop(rests_max=3)
    rests = iter([0.0, 7.0, 0.1])

    async def step() -> float:
        return next(rests)

    await run_steps("test", step, stop)
    assert stop.rests == [0.0, 7.0, 0.1]


async def test_a_worker_that_rests_stops_at_once() -> None:
    stop, steps = Stop(), 0

    async def step() -> float:
        nonlocal steps
        steps += 1
        return 3600.0

    running = asyncio.create_task(run_steps("test", step, stop))
    await asyncio.sleep(0)
    stop.ask()
    async with asyncio.timeout(1):
        await running
    assert steps == 1


async def test_a_worker_that_pauses_after_a_failure_stops_at_once() -> None:
    stop = Stop()

    async def fail() -> float:
        raise OSError

    running = asyncio.create_task(run_steps("test", fail, stop))
    await asyncio.sleep(0)
    stop.ask()
    async with asyncio.timeout(0.4):  # below the first pause
        await running


async def test_a_worker_asked_to_stop_before_it_began_does_nothing() -> None:
    stop = Stop()
    stop.ask()
    stop.ask()

    async def step() -> float:
        raise AssertionError

    await run_steps("test", step, stop)


async def test_a_worker_that_never_rests_lets_others_run_and_stops() -> None:
    stop, steps = Stop(), 0

    async def step() -> float:
        nonlocal steps
        steps += 1
        return 0.0

    running = asyncio.create_task(run_steps("test", step, stop))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.ask()
    await running
    assert steps >= 1


async def test_cancelling_a_worker_is_no_failure_of_its_step() -> None:
    stop = Stop()

    async def step() -> float:
        await asyncio.Event().wait()
        return 0.0

    running = asyncio.create_task(run_steps("test", step, stop))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
async def test_waiting_tells_whether_somebody_asked_meanwhile(seconds: float) -> None:
    stop = Stop()
    assert not await stop.within(seconds)
    assert not stop.asked
    stop.ask()
    assert await stop.within(seconds)
    assert stop.asked


async def test_waiting_ends_when_somebody_asks() -> None:
    stop = Stop()
    waiting = asyncio.create_task(stop.within(3600))
    await asyncio.sleep(0)
    stop.ask()
    async with asyncio.timeout(1):
        assert await waiting
