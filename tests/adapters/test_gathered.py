"""Questions that are asked together: everybody gets an answer of their own."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.gathered import GROUPS_AT_ONCE, TOGETHER_MAX, Gathered


class Oracle:
    """Answers a number with its double when it is let; what is in `odd` with an exception, a group with `dead` not at all."""

    def __init__(self, *, odd: frozenset[int] = frozenset(), dead: frozenset[int] = frozenset()) -> None:
        self.odd, self.dead = odd, dead
        self.groups: list[list[int]] = []
        self.at_once = self.most_at_once = 0
        self.let = asyncio.Event()
        self.let.set()

    async def __call__(self, questions: Sequence[int]) -> Sequence[int | Exception]:
        self.groups.append(list(questions))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.let.wait()
        await asyncio.sleep(0)
        self.at_once -= 1
        if not self.dead.isdisjoint(questions):
            raise LookupError("nobody is there")
        return [ValueError(question) if question in self.odd else question * 2 for question in questions]


async def asked(gathered: Gathered[int, int], *questions: int) -> list[int | BaseException]:
    return await asyncio.gather(*(gathered.ask(one) for one in questions), return_exceptions=True)


async def test_what_is_asked_at_the_same_moment_is_asked_once_in_order() -> None:
    oracle = Oracle()
    assert await asked(Gathered(oracle), *range(50)) == [2 * n for n in range(50)]
    assert oracle.groups == [list(range(50))]


async def test_what_is_asked_meanwhile_goes_together_and_few_groups_at_once() -> None:
    oracle = Oracle()
    oracle.let.clear()
    gathered = Gathered(oracle)
    tasks = []
    for number in range(3 * TOGETHER_MAX):
        tasks.append(asyncio.create_task(gathered.ask(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert oracle.groups == [[0], [1]]
    oracle.let.set()
    assert await asyncio.gather(*tasks) == [2 * n for n in range(3 * TOGETHER_MAX)]
    assert [len(group) for group in oracle.groups] == [1, 1, TOGETHER_MAX, TOGETHER_MAX, TOGETHER_MAX - 2]
    assert [number for group in oracle.groups for number in group] == list(range(3 * TOGETHER_MAX))
    assert oracle.most_at_once == GROUPS_AT_ONCE


async def test_an_exception_among_the_answers_is_told_to_who_asked_that_alone() -> None:
    answers = await asked(Gathered(Oracle(odd=frozenset({3}))), *range(6))
    assert [answer for answer in answers if isinstance(answer, int)] == [0, 2, 4, 8, 10]
    assert isinstance(answers[3], ValueError)


async def test_an_exception_instead_of_answers_is_told_to_all_of_the_group_and_the_next_is_answered() -> None:
    gathered = Gathered(Oracle(dead=frozenset({3})))
    assert [type(answer) for answer in await asked(gathered, *range(6))] == [LookupError] * 6
    assert await asked(gathered, 7) == [14]


async def test_a_wrong_number_of_answers_is_told_to_all_of_the_group() -> None:
    async def mute(questions: Sequence[int]) -> Sequence[int]:
        return list(questions)[1:]

    async with asyncio.timeout(5):
        assert [type(answer) for answer in await asked(Gathered(mute), *range(3))] == [ValueError] * 3


async def test_who_asks_in_the_turn_in_which_all_others_are_answered_is_answered_too() -> None:
    oracle = Oracle()
    oracle.let.clear()

    async def at_once(questions: Sequence[int]) -> Sequence[int]:
        await oracle.let.wait()
        return questions

    gathered = Gathered(at_once)
    tasks = []
    for number in range(GROUPS_AT_ONCE):
        tasks.append(asyncio.create_task(gathered.ask(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def late() -> int:
        await oracle.let.wait()
        return await gathered.ask(7)

    tasks.append(asyncio.create_task(late()))
    await asyncio.sleep(0)
    oracle.let.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*tasks) == [0, 1, 7]


async def test_who_stops_waiting_stops_nobody_else() -> None:
    oracle = Oracle()
    oracle.let.clear()
    gathered = Gathered(oracle)
    tasks = [asyncio.create_task(gathered.ask(number)) for number in range(6)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[4].cancel()
    oracle.let.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [asyncio.CancelledError, int, int, int, asyncio.CancelledError, int]
    assert not gathered._waiting
    assert gathered._answering == 0


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=60),
    odd=st.frozensets(st.integers(0, 59), max_size=5),
    dead=st.frozensets(st.integers(0, 59), max_size=2),
)
@settings(max_examples=60)
def test_however_questions_come_each_is_put_once_and_answered_and_nothing_is_left(
    arrivals: list[tuple[int, bool]], odd: frozenset[int], dead: frozenset[int]
) -> None:
    async def come() -> None:
        oracle = Oracle(odd=odd, dead=dead)
        gathered: Gathered[int, int] = Gathered(oracle)
        tasks = []
        for number, (turns, leaves) in enumerate(arrivals):
            tasks.append(asyncio.create_task(gathered.ask(number)))
            for _ in range(turns):
                await asyncio.sleep(0)
            if leaves:
                tasks[-1].cancel()
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            while gathered._tasks:
                await asyncio.sleep(0)
        put = [number for group in oracle.groups for number in group]
        assert put == sorted(set(put))
        assert oracle.most_at_once <= GROUPS_AT_ONCE
        assert not gathered._waiting
        unlucky = {number for group in oracle.groups if not dead.isdisjoint(group) for number in group}
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, asyncio.CancelledError):
                assert arrivals[number][1]
            elif number in unlucky:
                assert isinstance(outcome, LookupError)
            elif number in odd:
                assert isinstance(outcome, ValueError)
            else:
                assert outcome == 2 * number

    asyncio.run(come())


@pytest.mark.parametrize("count", [TOGETHER_MAX, TOGETHER_MAX + 1])
async def test_a_group_is_not_longer_than_it_may_be(count: int) -> None:
    oracle = Oracle()
    await asked(Gathered(oracle), *range(count))
    assert [len(group) for group in oracle.groups] == ([count] if count == TOGETHER_MAX else [TOGETHER_MAX, 1])
