"""Reading the log: whatever Redis holds, every entry comes once and in order. Redis and PostgreSQL are scripted here."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from domain.log_entry import PARTITIONS, LogEntry
from tests.workers.world import Ticks
from workers.log_reader import (
    ANSWER_SECONDS,
    BATCH_ENTRIES_MAX,
    BLOCK_MS,
    CHECK_SECONDS,
    REDIS_PAUSE_SECONDS,
    LogReader,
    LogRewound,
)
from workers.partitions import LEASE_LIFETIME, RENEWAL_SECONDS

NOBODY = UUID(int=0)


def entry(partition: int, place: int) -> LogEntry:
    return LogEntry(
        partition, place, place, NOBODY, place, NOBODY, "t", 1, "{}", "{}", NOBODY, "2026-01-01T00:00:00.000000Z"
    )


def ghost(partition: int, place: int) -> LogEntry:
    """What stood there in a history that PostgreSQL no longer has."""
    return msgspec.structs.replace(entry(partition, place), event_id=UUID(int=1))


class Truth:
    """The whole log, as PostgreSQL has it."""

    def __init__(self, heads: Mapping[int, int]) -> None:
        self.heads = [heads.get(partition, 0) for partition in range(PARTITIONS)]
        self.reads: list[tuple[int, int]] = []
        self.compared = 0
        self.confirmed: list[list[tuple[int, int]]] = []

    async def read(self, partition: int, *, after_place: int, limit: int) -> list[LogEntry]:
        self.reads.append((partition, after_place))
        last = min(self.heads[partition], after_place + limit)
        return [entry(partition, place) for place in range(after_place + 1, last + 1)]

    async def places(self) -> Sequence[int]:
        self.compared += 1
        return tuple(self.heads)

    async def confirm(self, entries: Sequence[LogEntry]) -> set[int]:
        self.confirmed.append([(one.partition, one.place) for one in entries])
        return {
            one.partition
            for one in entries
            if one.place <= self.heads[one.partition] and one == entry(one.partition, one.place)
        }


class Tail:
    """A Redis that gives these answers, then is silent. None: it is away."""

    def __init__(self, answers: Sequence[Sequence[LogEntry] | None]) -> None:
        self._answers = list(answers)

    async def read(self, after: Mapping[int, int], *, limit: int, block_ms: int) -> list[LogEntry]:
        if not self._answers:
            return []
        answer = self._answers.pop(0)
        if answer is None:
            raise ConnectionError("redis is away")
        return [one for one in answer if one.partition in after]


partitions = st.sampled_from([0, 3, 15])
answers = st.lists(
    st.none()
    | st.lists(st.tuples(partitions, st.integers(1, 14)), max_size=14)
    | st.builds(lambda p, first: [(p, place) for place in range(first, 15)], partitions, st.integers(1, 14)),
    max_size=8,
)


@given(
    heads=st.dictionaries(partitions, st.integers(0, 14), min_size=1),
    begin=st.integers(0, 3),
    seen=answers,
    haunted=st.dictionaries(partitions, st.integers(1, 14)),
    batch=st.integers(1, 6),
    seconds=st.lists(st.floats(0, 2), max_size=8),
    growth=st.lists(partitions, max_size=8),
)
@settings(max_examples=300)
async def test_every_entry_is_delivered_once_and_in_order_whatever_redis_holds(
    heads: dict[int, int],
    begin: int,
    seen: list[list[tuple[int, int]] | None],
    haunted: dict[int, int],
    batch: int,
    seconds: list[float],
    growth: list[int],
) -> None:
    truth, ticks = Truth(heads), Ticks()

    def held(partition: int, place: int) -> LogEntry:
        """Behind a first ghost there are only ghosts."""
        return (ghost if place >= haunted.get(partition, 100) else entry)(partition, place)

    tail = Tail([None if one is None else [held(*where) for where in sorted(one)] for one in seen])
    reader = LogReader(tail, truth, monotonic=ticks)
    begins = {partition: min(begin, head) for partition, head in heads.items()}
    places, delivered = dict(begins), defaultdict[int, list[int]](list)
    grows, passes = iter([p for p in growth if p in heads]), iter(seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.log_reader.BATCH_ENTRIES_MAX", batch)
        for reads in range(200):
            entries = await reader.read(places)
            for one in entries:
                assert one == entry(one.partition, places[one.partition] + 1)
                places[one.partition] = one.place
                delivered[one.partition].append(one.place)
            ticks.move(next(passes, 0))
            grown = next(grows, None)
            if grown is not None:
                truth.heads[grown] += 1
            elif not entries and reads >= len(seen):
                break
    event(f"read PostgreSQL {min(len(truth.reads), 3)} times or more")
    for partition, first in begins.items():
        assert delivered[partition] == list(range(first + 1, truth.heads[partition] + 1))


@given(heads=st.dictionaries(partitions, st.integers(1, 20), min_size=1))
@settings(max_examples=30)
async def test_a_complete_redis_spares_postgresql_all_but_the_comparison(heads: dict[int, int]) -> None:
    truth, ticks = Truth(heads), Ticks()
    held = [entry(partition, place) for partition, head in heads.items() for place in range(1, head + 1)]
    entries = await LogReader(Tail([held]), truth, monotonic=ticks).read(dict.fromkeys(heads, 0))
    assert entries == held
    assert truth.reads == []
    assert truth.compared == 1


async def test_places_are_compared_every_second_and_not_more_often_while_there_is_news() -> None:
    truth, ticks = Truth({0: 9}), Ticks()
    reader = LogReader(Tail([[entry(0, place)] for place in range(1, 10)]), truth, monotonic=ticks)
    truth.heads[0] = 1
    await reader.read({0: 0})
    truth.heads[0] = 9
    for place in range(1, 4):
        assert [one.place for one in await reader.read({0: place})] == [place + 1]
    assert truth.compared == 1
    ticks.move(CHECK_SECONDS)
    assert [one.place for one in await reader.read({0: 4})] == [5, 6, 7, 8, 9]
    assert truth.compared == 2


async def test_news_of_one_partition_does_not_hide_what_redis_lost_of_another() -> None:
    truth, ticks = Truth({0: 100, 3: 1}), Ticks()
    reader = LogReader(Tail([[entry(0, place)] for place in range(1, 101)]), truth, monotonic=ticks)
    places = {0: 0, 3: 0}
    truth.heads[3] = 0
    for read in range(1, 21):
        truth.heads[0] = read
        if read == 5:
            truth.heads[3] = 1
        places.update({one.partition: one.place for one in await reader.read(places)})
        ticks.move(0.1)
    assert places == {0: 20, 3: 1}


async def test_a_backlog_that_redis_has_more_of_is_not_read_from_postgresql() -> None:
    head = 3 * BATCH_ENTRIES_MAX
    truth, ticks = Truth({0: head, 3: 2}), Ticks()
    held = [entry(0, place) for place in range(1, BATCH_ENTRIES_MAX + 1)]
    entries = await LogReader(Tail([[*held, entry(3, 1)]]), truth, monotonic=ticks).read({0: 0, 3: 0})
    assert entries == [*held, entry(3, 1), entry(3, 2)]
    assert truth.reads == [(3, 1)]


async def test_silence_is_compared_at_once() -> None:
    truth, ticks = Truth({0: 2}), Ticks()
    reader = LogReader(Tail([]), truth, monotonic=ticks)
    assert len(await reader.read({0: 0})) == 2
    assert await reader.read({0: 2}) == []
    truth.heads[0] = 3
    assert len(await reader.read({0: 2})) == 1


async def test_entries_that_postgresql_does_not_have_do_not_bridge_a_gap() -> None:
    truth = Truth({0: 2})
    reader = LogReader(Tail([[entry(0, 5), entry(0, 6)]]), truth, monotonic=Ticks())
    assert [one.place for one in await reader.read({0: 0})] == [1, 2]


async def test_what_postgresql_has_otherwise_is_delivered_as_postgresql_has_it() -> None:
    truth = Truth({0: 4, 3: 2})
    held = [entry(0, 1), entry(0, 2), ghost(0, 3), ghost(0, 4), entry(3, 1), entry(3, 2)]
    with capture_logs() as logs:
        entries = await LogReader(Tail([held]), truth, monotonic=Ticks()).read({0: 0, 3: 0})
    assert sorted(entries, key=lambda one: (one.partition, one.place)) == [
        *(entry(0, place) for place in range(1, 5)),
        *(entry(3, place) for place in range(1, 3)),
    ]
    assert truth.confirmed == [[(0, 4), (3, 2)]]
    assert [one["partitions"] for one in logs] == [[0]]


class Hanging(Tail):
    """A Redis that takes a question and does not answer."""

    asked = 0

    async def read(self, after: Mapping[int, int], *, limit: int, block_ms: int) -> list[LogEntry]:
        self.asked += 1
        await asyncio.Event().wait()
        return []


async def test_a_redis_that_hangs_is_not_waited_for_and_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.log_reader.ANSWER_SECONDS", 0.01)
    truth, tail, ticks = Truth({0: 1}), Hanging([]), Ticks()
    reader = LogReader(tail, truth, monotonic=ticks)
    assert await reader.read({0: 0}, block_ms=1) == [entry(0, 1)]
    for place in range(1, 4):
        truth.heads[0] += 1
        assert await reader.read({0: place}, block_ms=1) == [entry(0, place + 1)]
    assert tail.asked == 1
    ticks.move(REDIS_PAUSE_SECONDS)
    assert await reader.read({0: 4}, block_ms=1) == []
    assert tail.asked == 2


def test_waiting_for_redis_leaves_time_to_renew_the_leases() -> None:
    assert LEASE_LIFETIME.total_seconds() > BLOCK_MS / 1000 + ANSWER_SECONDS + RENEWAL_SECONDS


async def test_a_long_gap_is_closed_in_bounded_pieces() -> None:
    head = 3 * BATCH_ENTRIES_MAX
    reader = LogReader(Tail([[entry(0, head)]]), Truth({0: head}), monotonic=Ticks())
    reader._check_at = float("inf")
    assert len(await reader.read({0: 0})) == BATCH_ENTRIES_MAX


async def test_a_log_that_ends_before_what_was_consumed_is_told() -> None:
    reader = LogReader(Tail([]), Truth({0: 2, 3: 1}), monotonic=Ticks())
    with pytest.raises(LogRewound, match="partition 0 was consumed up to 7, but the log ends at 2"):
        await reader.read({0: 7, 3: 0})
