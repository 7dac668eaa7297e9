"""The backtest: when a monitor would have fired with another condition or prompt, over what it really saw. Nothing is
stored, and what judges is what judges in earnest."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from commands.answer_reading import FactReading
from commands.event_store import EventStore
from commands.evidence_store import EvidenceStore
from commands.judging import ConditionJudging
from commands.kept_facts import KeptFacts, NotRepeatable
from commands.monitors import MONITOR
from commands.past_evaluations import PastEvaluation, PastEvaluations
from commands.plan_compiler import PlanCompiler, Wish
from commands.replaying import Replay, history_before
from commands.streams import load, load_own
from commands.triggers import TRIGGER
from domain.errors import InvalidInput, RuleViolation
from domain.evaluation import Previous, Verdict
from domain.monitor import Monitor, State, Status, check_exists
from domain.plan import Fires, Plan, asks_otherwise, judges_alike, read_alike
from domain.trigger import Frequency, Trigger, TriggerCondition

EVALUATIONS_MAX = 10_000
"""Five weeks of looking every five minutes."""
SECONDS_MAX = 20.0
CHUNK = 250
"""Evaluations in memory with their facts."""
TURN_SECONDS = 0.02
"""After so long others of this process are served."""


class BacktestTooLong(RuleViolation):
    """This period takes too long to go through. Take a shorter one: give from, or a later one."""

    code = "BACKTEST_TOO_LONG"


class BacktestRunning(Exception):
    """This person has a backtest running."""


class Over(StrEnum):
    """What a backtest judges: the facts that were read then, or facts that are read anew from the evidence."""

    FACTS = "facts"
    EVIDENCE = "evidence"


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation came to in earnest. `error_code` says why it came to nothing."""

    verdict: Verdict | None
    state_after: State | None
    error_code: str | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation would have come to, beside what it did. Without a verdict nothing was to be judged: it failed then,
    or `not_repeatable` says why what it saw cannot be read again."""

    evaluation_id: UUID
    at: datetime
    verdict: Verdict | None
    state_after: State
    reason: str | None
    would_fire: bool
    did_fire: bool
    happened: Happened
    not_repeatable: str | None


@dataclass(frozen=True, slots=True)
class Backtested:
    """A plan, and what it would have made of the evaluations of a period, in the order they were made."""

    plan: Plan
    over: Over
    begin: datetime
    end: datetime
    evaluations: tuple[Replayed, ...]


@dataclass(frozen=True, slots=True)
class Period:
    """From when, before when (None: from the first, to the last), and over what (None: facts, where these are the same)."""

    begin: datetime | None = None
    end: datetime | None = None
    over: Over | None = None


class Backtesting:
    """Runs backtests, one of a person at a time in each process."""

    def __init__(
        self,
        *,
        store: EventStore,
        past: PastEvaluations,
        contents: EvidenceStore,
        reading: FactReading,
        conditions: ConditionJudging,
        compiler: PlanCompiler,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._past = store, past
        self._contents, self._reading = contents, reading
        self._conditions, self._compiler = conditions, compiler
        self._now = now
        self._running: set[UUID] = set()

    async def run(
        self, person_id: UUID, monitor_id: UUID, wish_of: Callable[[Monitor], Wish] | None, period: Period
    ) -> Backtested:
        """Go through a period as if the plan that the wish leads to (None: the present one) had been put in place at its
        beginning. Raises `NotFound`, what is wrong with the wish, `InvalidInput` for the period, `BacktestTooLong`,
        `BacktestRunning`."""
        with self._alone(person_id):
            present = (await load_own(self._store, MONITOR, monitor_id, person_id)).state
            check_exists(present)
            plan = present.current_plan
            if wish_of is not None:
                _, plan = await self._compiler.compile(wish_of(present), owner_id=person_id)
            over = _over(plan, present.current_plan, period.over)
            try:
                async with asyncio.timeout(SECONDS_MAX):
                    return await self._run(monitor_id, present, plan, period, over)
            except TimeoutError:
                raise BacktestTooLong from None

    async def _run(self, monitor_id: UUID, present: Monitor, plan: Plan, period: Period, over: Over) -> Backtested:
        begin, end = period.begin or datetime.min.replace(tzinfo=self._now().tzinfo), period.end or self._now()
        if begin >= end:
            raise InvalidInput("the period begins after it ends, which is now unless `to` says otherwise", field="from")
        made = await self._past.made(monitor_id, begin=begin, end=end, limit=EVALUATIONS_MAX + 1)
        ids = [made_id for made_id, _ in made]
        if len(made) > EVALUATIONS_MAX:
            _, last = made[-1]
            raise InvalidInput(
                f"this period has more than {EVALUATIONS_MAX} evaluations; its first {EVALUATIONS_MAX} are before"
                f" {last:%Y-%m-%dT%H:%M:%SZ}: give that as `to`, or a later `from`",
                field="to" if period.end is not None else "from",
            )
        if not made:
            return Backtested(plan, over, begin if period.begin else end, end, ())
        [first] = await self._past.these(ids[:1])
        earliest = min(started_at for _, started_at in made)  # the first one, unless a clock jumped
        replay = await self._beginning(monitor_id, present, plan, first, earliest)
        kept = None
        if over is Over.EVIDENCE:
            kept = KeptFacts(self._contents, self._reading, plan.facts, plan.sources, present.plan_revision)
        fired = await self._fired(monitor_id, earliest, has_triggers=bool(await self._past.triggers(monitor_id)))
        found: list[Replayed] = []
        clock = asyncio.get_running_loop().time
        rested_at = clock()
        for i in range(0, len(ids), CHUNK):
            for past in await self._past.these(ids[i : i + CHUNK]):
                did_fire = past.id in fired if fired is not None else _is_occasion(past, present)
                found.append(await _replayed(replay, past, kept, did_fire=did_fire))
                if clock() - rested_at > TURN_SECONDS:  # a condition may look back on a long time for each of them
                    await asyncio.sleep(0)
                    rested_at = clock()
        return Backtested(plan, over, period.begin or earliest, end, tuple(found))

    async def _beginning(
        self, monitor_id: UUID, present: Monitor, plan: Plan, first: PastEvaluation, earliest: datetime
    ) -> Replay:
        """The monitor at its first evaluation of the period: as it was, where the plan is what it was judged by, and else as
        a change of the plan would have left it."""
        state, previous = await self._past.before(first, monitor_id)
        if first.plan_revision != present.plan_revision or asks_otherwise(plan, present.current_plan):
            state = State.UNKNOWN
        if first.plan_revision != present.plan_revision or not judges_alike(plan, present.current_plan):
            previous = Previous()
        alike = read_alike(plan, present.current_plan)
        read_since = {name: present.read_since.get(name, 1) for name in alike}
        return Replay(
            monitor_id=monitor_id,
            monitor=Monitor(status=Status.ACTIVE, plan=plan, plan_revision=first.plan_revision, state=state),
            previous=previous,
            triggers=await self._triggers(monitor_id),
            conditions=self._conditions,
            history=await history_before(
                self._past,
                self._conditions,
                monitor_id,
                plan,
                before=first,
                begin=earliest,
                read_since=read_since,
            ),
        )

    async def _triggers(self, monitor_id: UUID) -> dict[UUID, Trigger]:
        """The monitor's triggers as they are now, armed; without any, one that tells each time it becomes active."""
        loaded = {one: (await load(self._store, TRIGGER, one)).state for one in await self._past.triggers(monitor_id)}
        armed = {one: replace(state, fired=False, last_fired_at=None, last_occasion=0) for one, state in loaded.items()}
        stand_in = Trigger(
            monitor_id=monitor_id,
            condition=TriggerCondition.BECOMES_ACTIVE,
            frequency=Frequency.EVERY_TIME,
            cooldown=timedelta(),
            enabled=True,
        )
        return armed or {monitor_id: stand_in}

    async def _fired(self, monitor_id: UUID, earliest: datetime, *, has_triggers: bool) -> set[UUID] | None:
        """The evaluations about which a trigger fired; None where there is none that could have."""
        return await self._past.fired(monitor_id, since=earliest) if has_triggers else None

    @contextmanager
    def _alone(self, person_id: UUID) -> Iterator[None]:
        if person_id in self._running:
            raise BacktestRunning
        self._running.add(person_id)
        try:
            yield
        finally:
            self._running.discard(person_id)


async def _replayed(replay: Replay, past: PastEvaluation, kept: KeptFacts | None, *, did_fire: bool) -> Replayed:
    happened = Happened(verdict=past.verdict, state_after=past.state_after, error_code=past.error_code)
    verdict, reason, would_fire, not_repeatable = None, None, False, None
    if past.error_code is None:
        try:
            facts = {fact.name: fact for fact in past.facts} if kept is None else await kept.of(past)
        except NotRepeatable as why:
            not_repeatable = str(why)
        else:
            if kept is None:
                replay.history.reaches(past.plan_revision)
            completed, would_fire = await replay.evaluate(past, facts)
            verdict, reason = completed.verdict, completed.reason
    return Replayed(
        evaluation_id=past.id,
        at=past.started_at,
        verdict=verdict,
        state_after=replay.monitor.state,
        reason=reason,
        would_fire=would_fire,
        did_fire=did_fire,
        happened=happened,
        not_repeatable=not_repeatable,
    )


def _over(plan: Plan, present: Plan, wanted: Over | None) -> Over:
    """What to judge; raises `InvalidInput` where the facts that were read then are not those the plan asks for."""
    were_read = all(fact in present.facts for fact in plan.facts) and plan.sources == present.sources
    if plan.needs_model and (wanted is Over.EVIDENCE or not were_read):
        cure = (
            "judge those that were read then: facts"
            if were_read
            else "keep the facts as they are, to judge those that were read then"
        )
        raise InvalidInput(f"facts that a model reads are not read again over kept evidence; {cure}", field="over")
    if wanted is Over.FACTS and not were_read:
        raise InvalidInput(
            "this asks for facts that the monitor did not read; read them from the evidence: evidence", field="over"
        )
    return wanted or (Over.FACTS if were_read else Over.EVIDENCE)


def _is_occasion(past: PastEvaluation, present: Monitor) -> bool:
    """Whether the evaluation made the monitor active, or met its condition once more where that counts."""
    if past.state_after is not State.ACTIVE:
        return False
    each_time = present.current_plan.fires is Fires.EACH_TIME and past.plan_revision == present.plan_revision
    again = each_time and past.verdict is Verdict.MET
    return past.state_before is not State.ACTIVE or again
