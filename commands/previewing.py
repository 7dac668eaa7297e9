"""A trial evaluation: what a monitor would see and say if it were created now. Nothing is stored."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from commands.judging import Judge
from commands.look import Look
from commands.looking import Looker
from commands.plan_compiler import PlanCompiler, Wish
from commands.postponed import Postponed
from domain.condition import Judgement
from domain.evaluation import conclude
from domain.evidence import Document, Memory, Reading
from domain.history import Observation
from domain.model_call import OnBehalf
from domain.monitor import Monitor, State, StateChanged, Status
from domain.plan import Plan

log = structlog.get_logger()

PREVIEW_SECONDS_MAX = 25.0
"""Above the deadline of one source, so that one that is slow says so itself."""
RECORDING_SECONDS = 0.5
"""Of them for recording what a model that is asked last has cost."""
PREVIEWS_AT_ONCE_MAX = 2


class TooManyPreviews(Exception):
    """As many previews of this person are being made as may be at once."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing could be judged: a stable code, and what happened."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a wish was compiled into, for how much (millionths of a US dollar), what was seen (None: nothing in time), and
    what that means."""

    name: str
    plan: Plan
    compile_cost_micros: int
    look: Look | None
    outcome: Judgement | Failure
    state_after: State
    started_at: datetime
    completed_at: datetime


class NothingKept:
    """Fulfils `KeptEvidence` and `FactHistory` for what was never looked at before."""

    async def memory(self, monitor_id: UUID) -> Mapping[str, Memory]:
        """Nothing."""
        del monitor_id
        return {}

    async def evidence(self, answer: Document, memory: Memory) -> Document | None:
        """Nothing."""
        del answer, memory
        return None

    async def stays_fresh(self, monitor_id: UUID, url: str, memory: Memory, until: datetime) -> None:
        """Nothing is remembered."""
        del monitor_id, url, memory, until

    async def was_read(self, monitor_id: UUID, url: str, memory: Memory, reading: Reading) -> None:
        """Nothing is remembered."""
        del monitor_id, url, memory, reading

    async def series(
        self, monitor_id: UUID, fact: str, *, since: datetime | None, since_revision: int, confidence_min: float
    ) -> list[Observation]:
        """Nothing."""
        del monitor_id, fact, since, since_revision, confidence_min
        return []

    async def last_notified(
        self, monitor_id: UUID, fact: str, *, since_revision: int, confidence_min: float
    ) -> Observation | None:
        """Nobody was told anything."""
        del monitor_id, fact, since_revision, confidence_min
        return None


class Previewing:
    """Makes trial evaluations, `PREVIEWS_AT_ONCE_MAX` of a person at a time in each process."""

    def __init__(
        self,
        compiler: PlanCompiler,
        looker: Looker,
        judge: Judge,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """`looker` and `judge` look back on `NothingKept`."""
        self._compiler, self._looker, self._judge = compiler, looker, judge
        self._now, self._new_id = now, new_id
        self._running: Counter[UUID] = Counter()

    async def preview(self, person_id: UUID, wish: Wish) -> Trial:
        """Compile the wish and look once. Raises `TooManyPreviews`, and what is wrong with the wish as creating it would;
        whatever the sources do is an outcome."""
        with self._counted(person_id):
            name, plan = await self._compiler.compile(wish, owner_id=person_id)
            started_at = self._now()
            look, outcome = await self._attempt(person_id, plan, started_at)
            return Trial(
                name=name,
                plan=plan,
                compile_cost_micros=wish.spent.micros,
                look=look,
                outcome=outcome,
                state_after=self._state_after(plan, outcome),
                started_at=started_at,
                completed_at=self._now(),
            )

    async def _attempt(
        self, person_id: UUID, plan: Plan, started_at: datetime
    ) -> tuple[Look | None, Judgement | Failure]:
        """Nobody has stored this monitor, so its id is one for this look only."""
        monitor_id = self._new_id()
        try:
            async with asyncio.timeout(PREVIEW_SECONDS_MAX) as limit:
                look = await self._looker.look(
                    monitor_id,
                    plan,
                    started_at=started_at,
                    on_behalf=OnBehalf(owner_id=person_id),
                    until=(limit.when() or 0.0) - RECORDING_SECONDS,
                )
                if look.failure is not None:
                    return look, _failure_of(look.failure)
                judgement = await self._judge.judge(monitor_id, plan, look.facts, now=started_at)
                return look, look.explain(judgement)
        except TimeoutError:
            return None, Failure("SOURCE_SLOW", f"the sources could not be read within {PREVIEW_SECONDS_MAX:.0f} s")
        except Postponed as postponed:
            until = postponed.until.isoformat(timespec="seconds")
            return None, Failure("SOURCE_POSTPONED", f"a source is not to be read again before {until}")
        except Exception as error:
            log.exception("preview failed by a defect")
            what = f"Vigil could not read this evidence ({type(error).__name__})"
            return None, Failure("INTERNAL", f"{what}; the log of the installation says more")

    def _state_after(self, plan: Plan, outcome: Judgement | Failure) -> State:
        """The state the first evaluation would leave the monitor in."""
        if isinstance(outcome, Failure):
            return State.UNKNOWN
        fresh = Monitor(status=Status.ACTIVE, plan=plan, plan_revision=1)
        events = conclude(fresh, verdict=outcome.verdict, streak=1, evaluation_id=self._new_id(), now=self._now())
        return next((event.to_state for event in events if isinstance(event, StateChanged)), State.UNKNOWN)

    @contextmanager
    def _counted(self, person_id: UUID) -> Iterator[None]:
        if self._running[person_id] >= PREVIEWS_AT_ONCE_MAX:
            raise TooManyPreviews
        self._running[person_id] += 1
        try:
            yield
        finally:
            self._running[person_id] -= 1
            if not self._running[person_id]:
                del self._running[person_id]


def _failure_of(document: Document) -> Failure:
    message = document.message or f"{document.url} could not be read ({document.outcome})"
    return Failure(f"SOURCE_{document.outcome.upper()}", message)
