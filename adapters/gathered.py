"""What many ask at the same moment is asked once: a round trip costs the same for one question and for fifty."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

GROUPS_AT_ONCE = 2
"""One fills while another is answered; with one alone, a slow answer would hold up everybody."""
TOGETHER_MAX = 100


class Gathered(Generic[Q, A]):
    """Answers questions, those that come while others are answered together with each other.

    `answer` gets questions in the order they came and gives as many answers; one that is an exception is raised to whoever
    asked that question, one that `answer` raises to all.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._answering = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, question: Q) -> A:
        """The answer. Whoever stops waiting does not stop the others."""
        asked: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, asked))
        if self._answering < GROUPS_AT_ONCE:
            self._answering += 1
            task = asyncio.create_task(self._answer_all())
            self._tasks.add(task)  # the loop itself would not keep it
            task.add_done_callback(self._tasks.discard)
        return await asked

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
                await self._answer_group(group)
        finally:
            # In the same turn that finds nobody waiting: told by a callback, it would be believed at work a turn longer, and
            # who asked in that turn would wait for nobody.
            self._answering -= 1

    async def _answer_group(self, group: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._answer([question for question, _ in group])
            answered = list(zip(group, answers, strict=True))
        except Exception as error:  # noqa: BLE001  whoever waits must learn of it, whatever it is
            answered = [(one, error) for one in group]
        for (_, asked), answer in answered:
            if asked.done():
                continue
            if isinstance(answer, Exception):
                asked.set_exception(answer)
            else:
                asked.set_result(answer)
