"""Commands on monitors: create, change, pause, resume, delete, evaluate now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from commands.plan_compiler import PlanCompiler, Wish
from commands.shell import ATTEMPTS_MAX, Shell, Written
from commands.streams import Aggregate, SnapshotRule, load_own
from domain import evaluation, monitor
from domain.errors import DuplicateName, MonitorLimitExceeded, StaleVersion
from domain.evaluation import Evaluation, EvaluationRequested
from domain.monitor import Monitor, Status
from domain.plan import NAME_CHARS_MAX

MONITOR = Aggregate(
    initial=Monitor(), evolve=monitor.evolve, snapshots=SnapshotRule("monitor", version=1, state=Monitor)
)
EVALUATION = Aggregate(initial=Evaluation(), evolve=evaluation.evolve)

NAME_ATTEMPTS_MAX = 50


@dataclass(frozen=True, slots=True)
class MonitorCommands:
    """The write side of monitors."""

    shell: Shell
    compiler: PlanCompiler
    active_max: int

    async def create(
        self, caller: Caller, wish: Wish, *, answer: Callable[[Written[Monitor]], object]
    ) -> Written[Monitor]:
        """Create a monitor; its first evaluation is due at once. A name that Vigil chose gives way to one that is taken,
        a name that the person chose raises `DuplicateName`."""
        await self.shell.refuse_repeated(caller)
        name, plan = await self.compiler.compile(wish)
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
        _, plan = await self.compiler.compile(wish)
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
