"""Answers of models that are kept, so that nobody pays twice for the same."""

from datetime import datetime
from typing import Protocol

import msgspec


class KeptAnswer(msgspec.Struct, frozen=True):
    """An answer (JSON) of a model, what it cost (millionths of a US dollar), and when it came."""

    text: str
    provider: str
    model: str
    cost_micros: int
    came_at: datetime


class KeptAnswers(Protocol):
    """Answers to what was asked before, by the SHA-256 of all that was asked.

    They belong to no person. Whoever finds one has asked exactly the same of exactly the same text, and would have been told
    the same: the answer was made of nothing else. That somebody asked it before is all that can be learnt.

    A batch brings answers that nobody has held against the text yet. Those that are not proved are for who asked before they
    came; everybody else asks anew.
    """

    async def find(self, key: bytes, *, at: datetime) -> KeptAnswer | None:
        """The answer; it counts as used then, to about a day."""
        ...

    async def keep(self, key: bytes, answer: KeptAnswer, *, asked_at: datetime) -> None:
        """Keep an answer to what was asked then, unless another one came since."""
        ...
