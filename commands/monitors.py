"""Commands on monitors: create, change, pause, resume, delete, evaluate now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from commands.event_store import (
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    DropSchedule,
    KeepRequest,
    KeepSchedule,
    QuotaExceeded,
    Release,
    Reserve,
)
from commands.http.caller import Caller
from commands.shell import ATTEMPTS_MAX, Shell, Written
from commands.streams import Aggregate, SnapshotRule, load_own
from domain import evaluation, monitor
from domain.classification import ClassifyRequest, Draft
from domain.condition import fires_by_default, kind_of
from domain.errors import DuplicateName, MonitorLimitExceeded, StaleVersion
from domain.evaluation import Evaluation, EvaluationRequested
from domain.fact import FactSpec, Select
from domain.history import TemporalCall
from domain.monitor import Monitor, Status
from domain.plan import NAME_CHARS_MAX, Fires, Plan, check_facts, check_plan, check_sources
from domain.schedule import Every, Schedule, check_schedule
from domain.source import Source

MONITOR = Aggregate(
    initial=Monitor(), evolve=monitor.evolve, snapshots=SnapshotRule("monitor", version=1, state=Monitor)
)
EVALUATION = Aggregate(initial=Evaluation(), evolve=evaluation.evolve)

INTERVAL_DEFAULT = timedelta(minutes=5)
NAME_ATTEMPTS_MAX = 50


class Classifier(Protocol):
    """Compiles a prompt into the draft of a plan."""

    async def classify(self, request: ClassifyRequest) -> Draft:
        """The draft; raises `PromptNotUnderstood` or `InvalidInput`."""
        ...


class ConditionLanguage(Protocol):
    """The language of conditions."""

    def check(self, condition: str, facts: Sequence[FactSpec]) -> Sequence[TemporalCall]:
        """Compile against the facts; what it needs of their history. Raises `ConditionInvalid`."""
        ...


class SourceRules(Protocol):
    """What may be watched, and with which selectors."""

    def check_source(self, source: Source, *, field: str) -> None:
        """Raise `InvalidInput` for a source that would never be read."""
        ...

    def check_select(self, select: Select, *, field: str) -> None:
        """Raise `InvalidInput` for a selector that does not compile."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for; None leaves the choice to the classifier or the defaults."""

    prompt: str
    name: str | None
    sources: tuple[Source, ...]
    schedule: Schedule | None
    condition: str | None
    facts: tuple[FactSpec, ...] | None
    confirmations: int
    min_confidence: float
    fires: Fires | None


@dataclass(frozen=True, slots=True)
class MonitorCommands:
    """The write side of monitors."""

    shell: Shell
    classifier: Classifier
    conditions: ConditionLanguage
    sources: SourceRules
    interval_seconds_min: int
    active_max: int

    async def compile(self, wish: Wish) -> tuple[str, Plan]:
        """The name and the checked plan a wish leads to; raises what is wrong with it, naming the field."""
        monitor.check_prompt(wish.prompt)
        check_sources(wish.sources)
        if wish.facts is not None:
            check_facts(wish.facts)
        for i, source in enumerate(wish.sources):
            self.sources.check_source(source, field=f"sources[{i}]")
        draft = await self.classifier.classify(
            ClassifyRequest(
                prompt=wish.prompt,
                sources=wish.sources,
                facts=wish.facts,
                condition=wish.condition,
                schedule=wish.schedule,
            )
        )
        schedule = wish.schedule or draft.schedule or self._default_schedule()
        check_schedule(schedule, now=self.shell.now(), interval_seconds_min=self.interval_seconds_min)
        for i, fact in enumerate(draft.facts):
            if fact.select is not None:
                self.sources.check_select(fact.select, field=f"facts[{i}].select")
        calls = self.conditions.check(draft.condition, draft.facts)
        plan = Plan(
            kind=kind_of(calls),
            facts=draft.facts,
            condition=draft.condition,
            schedule=schedule,
            sources=wish.sources,
            explanation=draft.explanation,
            confirmations=wish.confirmations,
            min_confidence=wish.min_confidence,
            fires=wish.fires or draft.fires or fires_by_default(calls),
        )
        check_plan(plan)
        return draft.name if wish.name is None else wish.name, plan

    def _default_schedule(self) -> Every:
        return Every(seconds=max(int(INTERVAL_DEFAULT.total_seconds()), self.interval_seconds_min))

    async def create(
        self, caller: Caller, wish: Wish, *, answer: Callable[[Written[Monitor]], object]
    ) -> Written[Monitor]:
        """Create a monitor; its first evaluation is due at once. A name that Vigil chose gives way to one that is taken,
        a name that the person chose raises `DuplicateName`."""
        await self.shell.refuse_repeated(caller)
        name, plan = await self.compile(wish)
        now, monitor_id = self.shell.now(), self.shell.new_id()
        for attempt in range(1, NAME_ATTEMPTS_MAX + 1):
            candidate = name if attempt == 1 else f"{name[: NAME_CHARS_MAX - 5]} ({attempt})"
            events = monitor.create(name=candidate, prompt=wish.prompt, plan=plan, now=now)
            companions: list[Companion] = [
                self._name(caller, candidate, monitor_id),
                self._place(caller, monitor_id),
                KeepSchedule(monitor_id, caller.user_id, plan.schedule, active=True, due_at=now),
            ]
            try:
                return await self.shell.create(
                    caller, MONITOR, monitor_id, events, companions=companions, answer=answer
                )
            except AlreadyReserved:
                if wish.name is not None:
                    raise DuplicateName(field="name") from None
            except QuotaExceeded:
                raise MonitorLimitExceeded from None
        raise DuplicateName(field="name")

    async def revise(self, caller: Caller, monitor_id: UUID, wish: Wish, *, if_version: int | None) -> Written[Monitor]:
        """Change name and plan together."""
        await self.shell.refuse_repeated(caller)
        _, plan = await self.compile(wish)
        now = self.shell.now()

        def decide(current: Monitor) -> list[monitor.MonitorEvent]:
            renamed = monitor.rename(current, name=current.name if wish.name is None else wish.name, now=now)
            return [*renamed, *monitor.revise(current, prompt=wish.prompt, plan=plan, now=now)]

        def companions(before: Monitor, after: Monitor) -> list[Companion]:
            written: list[Companion] = []
            if after.name.casefold() != before.name.casefold():
                written += [Release(_name_scope(caller), before.name.casefold())]
                written += [self._name(caller, after.name, monitor_id)]
            if before.plan != after.plan:
                active = after.status is Status.ACTIVE
                written += [KeepSchedule(monitor_id, caller.user_id, plan.schedule, active=active, due_at=now)]
            return written

        return await self._change(caller, monitor_id, decide, companions, if_version)

    async def change(
        self, caller: Caller, monitor_id: UUID, wish_of: Callable[[Monitor], Wish], *, if_version: int | None
    ) -> Written[Monitor]:
        """Revise with a wish that is made from the present monitor, and made again when somebody was faster: what one of
        two changes leaves out, the other may have changed."""
        for _ in range(ATTEMPTS_MAX):
            present = await load_own(self.shell.store, MONITOR, monitor_id, caller.user_id)
            version = present.version if if_version is None else if_version
            try:
                return await self.revise(caller, monitor_id, wish_of(present.state), if_version=version)
            except StaleVersion:
                if if_version is not None:
                    raise
        raise ConcurrentAppend

    async def pause(self, caller: Caller, monitor_id: UUID, *, if_version: int | None) -> Written[Monitor]:
        """Stop evaluating; frees its place in the quota."""
        now = self.shell.now()

        def companions(_before: Monitor, after: Monitor) -> list[Companion]:
            schedule = after.current_plan.schedule
            return [
                Release(_place_scope(caller), str(monitor_id)),
                KeepSchedule(monitor_id, caller.user_id, schedule, active=False, due_at=now),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.pause(current, now=now), companions, if_version
        )

    async def resume(self, caller: Caller, monitor_id: UUID, *, if_version: int | None) -> Written[Monitor]:
        """Evaluate again, at once."""
        now = self.shell.now()

        def companions(_before: Monitor, after: Monitor) -> list[Companion]:
            schedule = after.current_plan.schedule
            return [
                self._place(caller, monitor_id),
                KeepSchedule(monitor_id, caller.user_id, schedule, active=True, due_at=now),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.resume(current, now=now), companions, if_version
        )

    async def delete(self, caller: Caller, monitor_id: UUID, *, if_version: int | None) -> Written[Monitor]:
        """Put away; its name and place are free again, its history stays."""
        now = self.shell.now()

        def companions(before: Monitor, _after: Monitor) -> list[Companion]:
            return [
                Release(_place_scope(caller), str(monitor_id)),
                Release(_name_scope(caller), before.name.casefold()),
                DropSchedule(monitor_id),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.delete(current, now=now), companions, if_version, status=204
        )

    async def evaluate(
        self, caller: Caller, monitor_id: UUID, *, answer: Callable[[Written[Evaluation]], object]
    ) -> Written[Evaluation]:
        """Ask for an evaluation now; a worker takes it up at once. While one that was asked for before has not begun, that
        one is the answer: it will see whatever a second one could."""
        await self.shell.refuse_repeated(caller)
        loaded = await load_own(self.shell.store, MONITOR, monitor_id, caller.user_id)
        monitor.check_evaluable(loaded.state)
        for _ in range(ATTEMPTS_MAX):
            now, evaluation_id = self.shell.now(), self.shell.new_id()
            request = KeepRequest(evaluation_id, monitor_id, caller.user_id, now)
            events = [EvaluationRequested(monitor_id=monitor_id, requested_at=now)]
            try:
                return await self.shell.create(
                    caller, EVALUATION, evaluation_id, events, companions=[request], answer=answer, status=202
                )
            except AlreadyReserved:
                waiting = await self.shell.store.find_waiting_request(monitor_id)
            if waiting is not None:
                asked = await load_own(self.shell.store, EVALUATION, waiting, caller.user_id)
                written = Written(stream_id=waiting, state=asked.state, version=asked.version, events=())
                return await self.shell.keep_as_it_is(caller, written, answer=answer, status=202)
        raise ConcurrentAppend

    async def _change(
        self,
        caller: Caller,
        monitor_id: UUID,
        decide: Callable[[Monitor], Sequence[monitor.MonitorEvent]],
        companions: Callable[[Monitor, Monitor], Sequence[Companion]],
        if_version: int | None,
        *,
        status: int = 200,
    ) -> Written[Monitor]:
        try:
            return await self.shell.change(
                caller, MONITOR, monitor_id, decide, if_version=if_version, companions=companions, status=status
            )
        except AlreadyReserved:
            raise DuplicateName(field="name") from None
        except QuotaExceeded:
            raise MonitorLimitExceeded from None

    def _name(self, caller: Caller, name: str, monitor_id: UUID) -> Reserve:
        return Reserve(_name_scope(caller), name.casefold(), monitor_id)

    def _place(self, caller: Caller, monitor_id: UUID) -> Reserve:
        return Reserve(_place_scope(caller), str(monitor_id), monitor_id, self.active_max)


def _name_scope(caller: Caller) -> str:
    return f"monitor-name:{caller.user_id}"


def _place_scope(caller: Caller) -> str:
    return f"active-monitor:{caller.user_id}"
