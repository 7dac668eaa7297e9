"""Commands on monitors: create, change, pause, resume, delete, restore, evaluate now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from commands.caller import Caller
from commands.event_store import (
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    DropSchedule,
    KeepRequest,
    QuotaExceeded,
)
from commands.monitor_holdings import Holdings, limit_of
from commands.plan_compiler import PlanCompiler, Wish
from commands.shell import ATTEMPTS_MAX, Shell, Written
from commands.streams import Aggregate, Loaded, SnapshotRule, load_own
from domain import evaluation, monitor
from domain.errors import DuplicateName, StaleVersion
from domain.evaluation import Evaluation, EvaluationRequested
from domain.monitor import Monitor, Status
from domain.plan import Plan

MONITOR = Aggregate(
    initial=Monitor(), evolve=monitor.evolve, snapshots=SnapshotRule("monitor", version=1, state=Monitor)
)
EVALUATION = Aggregate(initial=Evaluation(), evolve=evaluation.evolve)

NAME_ATTEMPTS_MAX = 50
"""How often a free name is looked for while others take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMonitor:
    """A monitor to be started. Unless it `insists_on_name`, its name may get a number, or a higher one; a paused one takes
    no place among the active ones."""

    name: str
    prompt: str
    plan: Plan
    insists_on_name: bool = False
    paused: bool = False
    first_look_after: timedelta = timedelta()
    forked_from: UUID | None = None


@dataclass(frozen=True, slots=True)
class MonitorCommands:
    """The write side of monitors. A person has at most `active_max` that are active, and `total_max` that are not deleted:
    each of these holds one name, so that counting names counts them."""

    shell: Shell
    compiler: PlanCompiler
    active_max: int
    total_max: int

    async def create(
        self, caller: Caller, wish: Wish, *, answer: Callable[[Written[Monitor]], object]
    ) -> Written[Monitor]:
        """Compile a wish and start the monitor it leads to. Raises what is wrong with it, naming the field, and what
        `start` raises."""
        await self.shell.refuse_repeated(caller)
        name, plan = await self.compiler.compile(wish, owner_id=caller.user_id)
        new = NewMonitor(name=name, prompt=wish.prompt, plan=plan, insists_on_name=wish.name is not None)
        return await self.start(caller, new, answer=answer)

    async def start(
        self, caller: Caller, new: NewMonitor, *, answer: Callable[[Written[Monitor]], object]
    ) -> Written[Monitor]:
        """Create a monitor; its first evaluation is due at once, or later as it says. A name that is taken raises
        `DuplicateName` where it is insisted on, and otherwise gets the next free number. Raises
        `MonitorLimitExceeded`, `MonitorTotalExceeded`."""
        now, monitor_id, name = self.shell.now(), self.shell.new_id(), new.name
        held = self._of(caller)
        for _ in range(NAME_ATTEMPTS_MAX):
            events = monitor.create(name=name, prompt=new.prompt, plan=new.plan, now=now, forked_from=new.forked_from)
            if new.paused:
                events += monitor.pause(MONITOR.fold(events), now=now)
            companions: list[Companion] = [
                held.name(name, monitor_id, is_one_more=True),
                *([] if new.paused else [held.place(monitor_id)]),
                held.slots(monitor_id, new.plan, active=not new.paused, due_at=now + new.first_look_after),
            ]
            try:
                return await self.shell.create(
                    caller, MONITOR, monitor_id, events, companions=companions, answer=answer
                )
            except AlreadyReserved:
                if new.insists_on_name:
                    raise DuplicateName(field="name") from None
                name = await held.free_name(self.shell.store, new.name)
            except QuotaExceeded as full:
                raise limit_of(full) from None
        raise DuplicateName(field="name")

    async def revise(
        self,
        caller: Caller,
        monitor_id: UUID,
        wish: Wish,
        *,
        if_version: int | None,
        present: Loaded[Monitor] | None = None,
    ) -> Written[Monitor]:
        """Change name and plan together."""
        await self.shell.refuse_repeated(caller)
        _, plan = await self.compiler.compile(wish, owner_id=caller.user_id)
        now, held = self.shell.now(), self._of(caller)

        def decide(current: Monitor) -> list[monitor.MonitorEvent]:
            renamed = monitor.rename(current, name=current.name if wish.name is None else wish.name, now=now)
            return [*renamed, *monitor.revise(current, prompt=wish.prompt, plan=plan, now=now)]

        def companions(before: Monitor, after: Monitor) -> list[Companion]:
            written: list[Companion] = []
            if after.name.casefold() != before.name.casefold():
                written += [held.no_name(before.name)]
                written += [held.name(after.name, monitor_id, is_one_more=False)]
            if before.plan != after.plan:
                active = after.status is Status.ACTIVE
                written += [held.slots(monitor_id, plan, active=active, due_at=now)]
            return written

        return await self._change(caller, monitor_id, decide, companions, if_version, present=present)

    async def change(
        self, caller: Caller, monitor_id: UUID, wish_of: Callable[[Monitor], Wish], *, if_version: int | None
    ) -> Written[Monitor]:
        """Revise with a wish that is made from the present monitor, and made again when somebody was faster: what one of
        two changes leaves out, the other may have changed."""
        for _ in range(ATTEMPTS_MAX):
            present = await load_own(self.shell.store, MONITOR, monitor_id, caller.user_id)
            version = present.version if if_version is None else if_version
            try:
                wish = wish_of(present.state)
                return await self.revise(caller, monitor_id, wish, if_version=version, present=present)
            except StaleVersion:
                if if_version is not None:
                    raise
        raise ConcurrentAppend

    async def pause(self, caller: Caller, monitor_id: UUID, *, if_version: int | None) -> Written[Monitor]:
        """Stop evaluating; frees its place in the quota."""
        now, held = self.shell.now(), self._of(caller)

        def companions(_before: Monitor, after: Monitor) -> list[Companion]:
            return [
                held.no_place(monitor_id),
                held.slots(monitor_id, after.current_plan, active=False, due_at=now),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.pause(current, now=now), companions, if_version
        )

    async def resume(self, caller: Caller, monitor_id: UUID, *, if_version: int | None) -> Written[Monitor]:
        """Evaluate again, at once; a failing one has its place already."""
        now, held = self.shell.now(), self._of(caller)

        def companions(before: Monitor, after: Monitor) -> list[Companion]:
            return [
                *([held.place(monitor_id)] if before.status is Status.PAUSED else []),
                held.slots(monitor_id, after.current_plan, active=True, due_at=now),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.resume(current, now=now), companions, if_version
        )

    async def delete(self, caller: Caller, monitor_id: UUID, *, if_version: int | None) -> Written[Monitor]:
        """Put away; its name and place are free again, its history stays."""
        now, held = self.shell.now(), self._of(caller)

        def companions(before: Monitor, _after: Monitor) -> list[Companion]:
            return [
                held.no_place(monitor_id),
                held.no_name(before.name),
                DropSchedule(monitor_id),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.delete(current, now=now), companions, if_version, status=204
        )

    async def restore(
        self, caller: Caller, monitor_id: UUID, *, name: str | None, if_version: int | None
    ) -> Written[Monitor]:
        """Take a deleted monitor out again, under another name if one is given, and evaluate it at once. Raises
        `DuplicateName` when its name was taken meanwhile, `MonitorLimitExceeded` or `MonitorTotalExceeded` when no place is
        free."""
        now, held = self.shell.now(), self._of(caller)

        def companions(_before: Monitor, after: Monitor) -> list[Companion]:
            return [
                held.name(after.name, monitor_id, is_one_more=True),
                held.place(monitor_id),
                held.slots(monitor_id, after.current_plan, active=True, due_at=now),
            ]

        return await self._change(
            caller, monitor_id, lambda current: monitor.restore(current, name=name, now=now), companions, if_version
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
        present: Loaded[Monitor] | None = None,
        status: int = 200,
    ) -> Written[Monitor]:
        try:
            return await self.shell.change(
                caller,
                MONITOR,
                monitor_id,
                decide,
                if_version=if_version,
                present=present,
                companions=companions,
                status=status,
            )
        except AlreadyReserved:
            raise DuplicateName(field="name") from None
        except QuotaExceeded as full:
            raise limit_of(full) from None

    def _of(self, caller: Caller) -> Holdings:
        return Holdings(caller, self.active_max, self.total_max)
