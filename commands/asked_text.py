"""A text that a model is asked about, and what its answers to that are worth."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from commands.asking import Inquiry
from commands.fact_answers import FactChecks, ModelAnswer, NumbersIn, answer_decoder
from commands.fact_inquiry import Shown, inquiry_for
from commands.unread import unproved
from domain.evidence import Document
from domain.fact import Fact, FactSpec

IN_PLACE_CHARS_MAX = 8 * 1024
"""Looking up thousands of items in a longer text takes a second, which must not hold up whatever else this process does."""


@dataclass(kw_only=True)
class AskedText:
    """What is `shown` of a document to a model that is to read these facts. `key` tells it from everything else that is asked."""

    key: bytes
    specs: Sequence[FactSpec]
    shown: Shown
    document: Document
    numbers_in: NumbersIn
    _checked: tuple[ModelAnswer, dict[str, Fact]] | None = field(default=None, init=False)

    @cached_property
    def decode(self) -> Callable[[str], ModelAnswer]:
        """What reads an answer, and raises `msgspec.DecodeError` or `Malformed` for what is none."""
        return answer_decoder(self.specs)

    def inquiry(self, random_bytes: Callable[[int], bytes]) -> Inquiry:
        """What is asked."""
        return inquiry_for(self.specs, self.shown, random_bytes)

    async def facts(self, answer: ModelAnswer) -> dict[str, Fact]:
        """What an answer says, by name, and how far that is to be believed."""
        if self._checked is None or self._checked[0] != answer:
            self._checked = answer, await self._facts(answer)
        return self._checked[1]

    async def is_proved(self, answer: ModelAnswer) -> bool:
        """Whether all that an answer quotes stands in the text."""
        return not unproved(await self.facts(answer))

    async def _facts(self, answer: ModelAnswer) -> dict[str, Fact]:
        facts = FactChecks(self.shown, self.document, self.numbers_in).facts
        if len(self.shown.text) <= IN_PLACE_CHARS_MAX:
            return facts(self.specs, answer)
        return await asyncio.to_thread(facts, self.specs, answer)
