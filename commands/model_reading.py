"""Facts that a model reads in evidence. It is asked once for all facts of a text, and never again as long as the same is
asked; what it answers is checked against the text before anything is made of it."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec

from commands.asked_text import AskedText
from commands.asking import Answered, Asking
from commands.fact_answers import ModelAnswer
from commands.fact_inquiry import asked_key, groups_of, shown_of
from commands.kept_answers import KeptAnswer, KeptAnswers
from commands.single_flight import SingleFlight, TooLate
from commands.unhurried import Unhurried, WaitingInquiry
from commands.unread import unproved, why_unproved, why_unread
from domain.evidence import Document
from domain.fact import Fact, FactSpec, Select
from domain.model_call import IN_VAIN, CallOutcome, OnBehalf
from domain.source import Source

IN_PLACE_BYTES_MAX = 8 * 1024
"""Finding the text of more than that, or the main text of any page, must not hold up whatever else this process does."""
READING = ("fact_answers", "fact_inquiry", "untrusted_text")
"""The modules that decide what is asked and what is made of the answer."""

NOBODY = "no AI provider that reads facts is set up here"


class EvidenceTexts(Protocol):
    """Evidence as people read it. Those of one edition find the same text in the same bytes."""

    @property
    def edition(self) -> str:
        """Which one this is."""
        ...

    def text_of(self, source: Source, document: Document, select: Select | None) -> str:
        """What a person sees of a document, or of what is selected in it: no hidden parts, no invisible characters."""
        ...

    def numbers_in(self, text: str) -> Sequence[float]:
        """The numbers that stand in a text of at most some hundred characters, as people write them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRead:
    """What a model read: `facts` by name, those left out that are not there. `failure` says in words why some or all could not be
    read at all; `provider` and `model` are who did read, and `answered` counts the inquiries that were answered, now or before.
    `cost_micros` was spent now, `saved_micros` is what answers had cost that were there already. `waiting` are the keys of
    inquiries whose answers will come later, which is no failure. With `is_in_vain` a failure was paid for, and would be paid
    for again."""

    facts: dict[str, Fact]
    failure: str | None = None
    provider: str | None = None
    model: str | None = None
    answered: int = 0
    cost_micros: int = 0
    saved_micros: int = 0
    waiting: tuple[bytes, ...] = ()
    is_in_vain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asker:
    """Who asks, whom first, and until when (time of the running loop, in seconds); since when, where there is no hurry."""

    on_behalf: OnBehalf
    prefer: str | None
    until: float | None
    unhurried_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Landed:
    """What came of an inquiry that was made at the expense of `owner_id`."""

    owner_id: UUID
    outcome: CallOutcome
    answer: ModelAnswer | None = None
    provider: str | None = None
    model: str | None = None
    failure: str | None = None
    cost_micros: int = 0
    saved_micros: int = 0
    is_waiting: bool = False


class ModelReading:
    """Reads facts. `random_bytes` makes the boundaries around evidence: nobody outside may foresee them. Without `unhurried`
    everybody is in a hurry."""

    def __init__(
        self,
        asking: Asking,
        texts: EvidenceTexts,
        answers: KeptAnswers,
        *,
        now: Callable[[], datetime],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        unhurried: Unhurried | None = None,
    ) -> None:
        self._asking = asking
        self._texts = texts
        self._answers = answers
        self._now = now
        self._random_bytes = random_bytes
        self._unhurried = unhurried
        self._under_way = SingleFlight[_Landed]()

    @property
    def edition(self) -> str:
        """Another one whenever something else would be asked about the same evidence, or made of the same answer, whoever is
        asked: the program's own text tells."""
        return sha256(f"{_edition()} {self._texts.edition}".encode()).hexdigest()[:16]

    async def read(
        self,
        specs: Sequence[FactSpec],
        source: Source,
        document: Document,
        *,
        on_behalf: OnBehalf,
        prefer: str | None,
        until: float | None,
        unhurried_since: datetime | None = None,
    ) -> ModelRead:
        """Read these facts of one document. There is one inquiry for all that stand in one selected text. `prefer` is the
        provider that is asked first, `until` (time of the running loop, in seconds) when to give up at the latest. With
        `unhurried_since`, when whoever asks began to, an inquiry may wait for a batch."""
        asker = _Asker(on_behalf=on_behalf, prefer=prefer, until=until, unhurried_since=unhurried_since)
        groups = groups_of(specs, source)
        results = await asyncio.gather(
            *(self._read(group, select, source, document, asker) for select, group in groups), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return _together([result for result in results if isinstance(result, ModelRead)])

    async def _read(
        self, specs: Sequence[FactSpec], select: Select | None, source: Source, document: Document, asker: _Asker
    ) -> ModelRead:
        shown = shown_of(await self._text(source, document, select))
        if not shown.text:
            return ModelRead(facts={})
        key = asked_key(_edition(), specs, shown)
        text = AskedText(key=key, specs=specs, shown=shown, document=document, numbers_in=self._texts.numbers_in)
        landed = await self._brought(text, asker) or await self._landed(text, asker)
        facts = {} if landed.answer is None else await text.facts(landed.answer)
        missing = unproved(facts)
        return ModelRead(
            facts=facts,
            failure=why_unproved(missing, landed.provider) if missing else landed.failure,
            provider=None if landed.answer is None else landed.provider,
            model=None if landed.answer is None else landed.model,
            answered=0 if landed.answer is None else 1,
            cost_micros=landed.cost_micros,
            saved_micros=landed.saved_micros,
            waiting=(key,) if landed.is_waiting else (),
            is_in_vain=bool(missing) or landed.outcome in IN_VAIN,
        )

    async def _text(self, source: Source, document: Document, select: Select | None) -> str:
        is_small = len(document.body) <= IN_PLACE_BYTES_MAX and (select is None or select.text is None)
        if is_small:
            return self._texts.text_of(source, document, select)
        return await asyncio.to_thread(self._texts.text_of, source, document, select)

    async def _landed(self, text: AskedText, asker: _Asker) -> _Landed:
        """What comes of the inquiry, made now or under way already; in that case it is paid by whoever made it first, and no
        longer waited for than this one may. That the money of one person is spent keeps no other one from asking."""
        own = asker.on_behalf.owner_id
        while True:
            try:
                landed, leads = await self._under_way.join(
                    text.key, lambda: self._answer(text, asker), until=asker.until
                )
            except TooLate:
                return _Landed(owner_id=own, outcome=CallOutcome.TIMEOUT, failure=why_unread(CallOutcome.TIMEOUT))
            if leads:
                return landed
            if landed.outcome is CallOutcome.BUDGET_EXCEEDED and landed.owner_id != own:
                continue
            saved = 0 if landed.answer is None else landed.cost_micros + landed.saved_micros
            return replace(landed, cost_micros=0, saved_micros=saved)

    async def _brought(self, text: AskedText, asker: _Asker) -> _Landed | None:
        """What a batch brought, or that one is to be waited for; None for whoever does not wait for one."""
        since, own = asker.unhurried_since, asker.on_behalf.owner_id
        if self._unhurried is None or since is None:
            return None
        asked = WaitingInquiry(
            key=text.key,
            inquiry=text.inquiry(self._random_bytes),
            facts=tuple(text.specs),
            on_behalf=asker.on_behalf,
            prefer=asker.prefer,
            asked_at=self._now(),
        )

        async def is_proved(kept: KeptAnswer) -> bool:
            return await text.is_proved(text.decode(kept.text))

        brought = await self._unhurried.answer(asked, is_proved, since=since)
        if brought is None:
            return _Landed(owner_id=own, outcome=CallOutcome.TIMEOUT, is_waiting=True)
        ended, kept = brought.ended, brought.kept
        if kept is None:
            failure = why_unread(ended.outcome, ended.provider, ended.message)
            return _Landed(owner_id=own, outcome=ended.outcome, provider=ended.provider, failure=failure)
        landed = _kept(own, text.decode(kept.text), kept)
        return replace(landed, cost_micros=kept.cost_micros, saved_micros=0) if brought.is_own else landed

    async def _answer(self, text: AskedText, asker: _Asker) -> _Landed:
        """The answer that was kept, or a new one, which is kept; what is no answer, or quotes what is not there, never is. A
        batch may have left such a one for those who waited for it."""
        asked_at = self._now()
        kept = await self._answers.find(text.key, at=asked_at)
        if kept is not None and await text.is_proved(known := text.decode(kept.text)):
            return _kept(asker.on_behalf.owner_id, known, kept)
        inquiry = text.inquiry(self._random_bytes)
        answered = await self._asking.ask(inquiry, text.decode, asker.on_behalf, prefer=asker.prefer, until=asker.until)
        if answered.value is not None and await text.is_proved(answered.value):
            told = KeptAnswer(
                text=msgspec.json.encode(answered.value).decode(),
                provider=answered.provider or "",
                model=answered.model or "",
                cost_micros=answered.cost_micros,
                came_at=self._now(),
            )
            await self._answers.keep(text.key, told, asked_at=asked_at)
        return _Landed(
            owner_id=asker.on_behalf.owner_id,
            outcome=answered.outcome,
            answer=answered.value,
            provider=answered.provider,
            model=answered.model,
            failure=self._failure(answered),
            cost_micros=answered.cost_micros,
        )

    def _failure(self, answered: Answered[ModelAnswer]) -> str | None:
        if answered.value is not None:
            return None
        if not self._asking.is_possible:
            return NOBODY
        return why_unread(answered.outcome, answered.provider, answered.message)


def _kept(owner_id: UUID, answer: ModelAnswer, kept: KeptAnswer) -> _Landed:
    return _Landed(
        owner_id=owner_id,
        outcome=CallOutcome.OK,
        answer=answer,
        provider=kept.provider,
        model=kept.model,
        saved_micros=kept.cost_micros,
    )


@cache
def _edition() -> str:
    told = sha256()
    for module in READING:
        told.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return told.hexdigest()[:16]


def _together(reads: Sequence[ModelRead]) -> ModelRead:
    facts: dict[str, Fact] = {}
    for read in reads:
        facts |= read.facts
    return ModelRead(
        facts=facts,
        failure=next((read.failure for read in reads if read.failure is not None), None),
        provider=next((read.provider for read in reads if read.provider is not None), None),
        model=next((read.model for read in reads if read.model is not None), None),
        answered=sum(read.answered for read in reads),
        cost_micros=sum(read.cost_micros for read in reads),
        saved_micros=sum(read.saved_micros for read in reads),
        waiting=tuple(key for read in reads for key in read.waiting),
        is_in_vain={read.is_in_vain for read in reads if read.failure is not None} == {True},
    )
