"""The waiting of a look: in no hurry it is made in several goes, and each reads what the sources answered in the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from commands.answer_reading import LookFor
from commands.model_reading import ModelRead
from commands.postponed import Postponed
from commands.unhurried import WAITED_MAX
from commands.waiting_looks import LOOK_AGAIN, WaitingLook, WaitingLooks, seen_of, worth_keeping
from domain.evidence import Document
from domain.model_call import OnBehalf
from domain.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The waiting of one look: since when, None for one that waits for nobody; what sources answered in earlier goes, by
    `seen_of`; and what these cost beside what is waited for (millionths of a US dollar)."""

    since: datetime | None = None
    documents: Mapping[str, Document] = field(default_factory=dict)
    spent_micros: int = 0

    def seen(self, source: Source) -> Document | None:
        """What this source answered in an earlier go."""
        return self.documents.get(seen_of(source)) if self.documents else None

    @property
    def asked(self) -> list[ModelRead]:
        """What models were asked for in earlier goes, as far as it is not asked for again."""
        return [ModelRead(facts={}, cost_micros=self.spent_micros)] if self.spent_micros else []


IN_A_HURRY = Wait()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Lets looks wait. Without `looks` nobody does."""

    looks: WaitingLooks | None

    async def begin(self, on_behalf: OnBehalf | None, *, now: datetime) -> Wait:
        """The wait of this evaluation, or a new one; what is looked at for no evaluation waits for nobody. Raises `Postponed`
        while an answer is missing."""
        if self.looks is None or on_behalf is None or on_behalf.monitor_id is None or on_behalf.evaluation_id is None:
            return IN_A_HURRY
        begun = await self.looks.begun(on_behalf, since=now - WAITED_MAX)
        if begun is None:
            return Wait(since=now)
        if begun.is_waiting:
            raise Postponed(now + LOOK_AGAIN)
        return Wait(since=begun.begun_at, documents=begun.documents, spent_micros=begun.spent_micros)

    async def postpone(
        self,
        wait: Wait,
        asking: LookFor,
        answers: Sequence[tuple[Source, Document]],
        *,
        spent_micros: int,
        now: datetime,
    ) -> NoReturn:
        """Keep what sources answered, and what this go cost beside what is waited for, until the missing answers of models are
        there, and raise `Postponed`."""
        if self.looks is not None and asking.on_behalf is not None and wait.since is not None:
            look = WaitingLook(
                begun_at=wait.since,
                documents=worth_keeping(answers),
                spent_micros=wait.spent_micros + spent_micros,
            )
            await self.looks.keep(asking.on_behalf, look, asking.waiting)
        raise Postponed(now + LOOK_AGAIN)
