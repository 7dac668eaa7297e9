"""Pages of what a monitor saw and did, whatever the clocks said: each row once, in an order that does not change."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain.evaluation import EvaluationRequested, FactExtracted, Verdict
from domain.monitor import State, StateChanged
from tests.read_api.conftest import Reader
from tests.read_api.world import World, completed, minutes, price

As = Callable[[UUID], Reader]
Clock = list[float]
"""What the clock said at each look, in minutes: it stands still, runs and is set back."""

clocks: st.SearchStrategy[Clock] = st.lists(
    st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 61.0, 1441.0]), min_size=1, max_size=9
)
one_database = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def looked(world: World, owner: UUID, monitor: UUID, clock: Clock) -> list[UUID]:
    """A look with its fact and a change of the state for each time on the clock, in this order in the log; the n-th value
    is n. As those of slots are, the ids are in no order."""
    found = [uuid5(monitor, str(world.appended + n)) for n in range(len(clock))]
    for n, at in enumerate(map(minutes, clock)):
        fact = FactExtracted(monitor_id=monitor, fact=price(float(n), at))
        outcome = completed(monitor, at, verdict=Verdict.MET, before=State.INACTIVE, after=State.ACTIVE)
        change = StateChanged(from_state=State.INACTIVE, to_state=State.ACTIVE, evaluation_id=found[n], changed_at=at)
        await world.append(owner, found[n], fact, outcome)
        await world.append(owner, monitor, change)
    await world.project()
    return found


async def pages(
    reader: Reader, path: str, limit: int, between: Callable[[], Any] | None = None, **asked: str
) -> list[Any]:
    rows: list[Any] = []
    page = await reader.get(path, limit=limit, **asked)
    while (cursor := page["pagination"]["next_cursor"]) is not None:
        rows += page["data"]
        assert len(page["data"]) == limit
        if between is not None:
            await between()
        page = await reader.get(path, limit=limit, cursor=cursor, **asked)
    return [*rows, *page["data"]]


LISTS = [("history", "id", "due_at"), ("changes", "id", "at"), ("facts/price", "evaluation_id", "observed_at")]


@pytest.mark.parametrize(("name", "key", "time"), LISTS)
@one_database
@given(clock=clocks, meanwhile=clocks, limit=st.integers(1, 4))
async def test_pages_hold_each_row_once_by_time_while_looks_are_added_at_any_time(
    world: World, reader: As, name: str, key: str, time: str, clock: Clock, meanwhile: Clock, limit: int
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await looked(world, ada, monitor, clock)
    path, coming = f"/monitors/{monitor}/{name}", list(meanwhile)
    before = await reader(ada).data(path, limit=1000)

    async def look_again() -> None:
        if coming:
            await looked(world, ada, monitor, [coming.pop()])

    rows = await pages(reader(ada), path, limit, look_again)
    known, ids = {row[key] for row in before}, [row[key] for row in rows]
    assert len(known) == len(clock)
    assert len(set(ids)) == len(ids)
    assert [row for row in rows if row[key] in known] == before
    assert [row[time] for row in rows] == sorted((row[time] for row in rows), reverse=True)


@one_database
@given(clock=clocks, limit=st.integers(1, 3))
async def test_buckets_gather_every_value_once_and_the_last_of_a_moment_is_the_last_that_was_seen(
    world: World, reader: As, clock: Clock, limit: int
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await looked(world, ada, monitor, clock)
    buckets = await pages(reader(ada), f"/monitors/{monitor}/facts/price", limit, bucket="minute")
    expected: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for n, at in enumerate(clock):
        expected[int(at)].append((at, n))
    newest_first = sorted(expected.items(), reverse=True)
    assert [(one["count"], one["first"], one["last"]) for one in buckets] == [
        (len(seen), min(seen)[1], max(seen)[1]) for _, seen in newest_first
    ]
    starts = [one["start"] for one in buckets]
    assert starts == sorted(set(starts), reverse=True)


async def test_an_evaluation_has_its_place_in_the_history_once_its_outcome_is_told(world: World, reader: As) -> None:
    """Its facts may be shown a moment earlier, when nobody knows yet which slot it fills."""
    ada = await world.person()
    monitor, found, asked = await world.monitor(ada), uuid7(), uuid7()
    await world.append(ada, asked, EvaluationRequested(monitor_id=monitor, requested_at=minutes(9)))
    await world.append(ada, found, FactExtracted(monitor_id=monitor, fact=price(1.0, minutes(5))))
    await world.project()
    ada_reads, path = reader(ada), f"/monitors/{monitor}"
    assert [(one["id"], one["status"]) for one in await ada_reads.data(f"{path}/history")] == [(str(asked), "queued")]
    assert (await ada_reads.data(f"{path}/evaluations/{found}"))["status"] == "running"
    outcome = completed(monitor, minutes(5), verdict=Verdict.NOT_MET, before=State.INACTIVE, after=State.INACTIVE)
    await world.append(ada, found, outcome)
    await world.project()
    assert await ada_reads.ids(f"{path}/history") == [str(asked), str(found)]


async def test_what_was_before_an_evaluation_is_told_in_the_order_of_the_log(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    found = await looked(world, ada, monitor, [10.0, 12.0, 3.0, 3.0, 11.0])
    told = [
        (await reader(ada).data(f"/monitors/{monitor}/evaluations/{one}"))["explanation"]["previous"] for one in found
    ]
    assert [one and one["evaluation_id"] for one in told] == [None, *map(str, found[:-1])]
