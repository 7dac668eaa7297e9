"""Commands on triggers: create, revise, enable, disable, delete."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from commands.actions import ACTION
from commands.caller import Caller
from commands.monitors import MONITOR
from commands.shell import Shell, Written
from commands.streams import Aggregate, SnapshotRule, load_own
from domain import trigger
from domain.errors import InvalidInput, NotFound
from domain.monitor import Status
from domain.trigger import Frequency, Trigger, TriggerCondition, TriggerEvent

TRIGGER = Aggregate(
    initial=Trigger(), evolve=trigger.evolve, snapshots=SnapshotRule("trigger", version=1, state=Trigger)
)


@dataclass(frozen=True, slots=True)
class TriggerWish:
    """What a person asks for."""

    monitor_id: UUID
    action_id: UUID
    name: str
    condition: TriggerCondition
    frequency: Frequency
    cooldown: timedelta


@dataclass(frozen=True, slots=True)
class TriggerCommands:
    """The write side of triggers."""

    shell: Shell

    async def create(
        self, caller: Caller, wish: TriggerWish, *, answer: Callable[[Written[Trigger]], object]
    ) -> Written[Trigger]:
        """Link a monitor to an action; both must be the caller's."""
        await self.shell.refuse_repeated(caller)
        await self._check_monitor(caller, wish.monitor_id)
        await self._check_action(caller, wish.action_id)
        events = trigger.create(
            monitor_id=wish.monitor_id,
            action_id=wish.action_id,
            name=wish.name,
            condition=wish.condition,
            frequency=wish.frequency,
            cooldown=wish.cooldown,
            now=self.shell.now(),
        )
        return await self.shell.create(caller, TRIGGER, self.shell.new_id(), events, answer=answer)

    async def revise(
        self, caller: Caller, trigger_id: UUID, wish: TriggerWish, *, if_version: int | None
    ) -> Written[Trigger]:
        """Wait for something else from now on. The monitor of a trigger never changes."""
        await self.shell.refuse_repeated(caller)
        await self._check_action(caller, wish.action_id)
        now = self.shell.now()

        def decide(present: Trigger) -> Sequence[TriggerEvent]:
            if present.monitor_id is not None and wish.monitor_id != present.monitor_id:
                raise InvalidInput("a trigger stays with its monitor; create another one", field="monitor_id")
            return trigger.revise(
                present,
                action_id=wish.action_id,
                name=wish.name,
                condition=wish.condition,
                frequency=wish.frequency,
                cooldown=wish.cooldown,
                now=now,
            )

        return await self.shell.change(caller, TRIGGER, trigger_id, decide, if_version=if_version)

    async def enable(self, caller: Caller, trigger_id: UUID, *, if_version: int | None) -> Written[Trigger]:
        """Allow firing, and arm a `once` trigger again."""
        now = self.shell.now()
        return await self.shell.change(
            caller, TRIGGER, trigger_id, lambda present: trigger.enable(present, now=now), if_version=if_version
        )

    async def disable(self, caller: Caller, trigger_id: UUID, *, if_version: int | None) -> Written[Trigger]:
        """Forbid firing."""
        now = self.shell.now()
        return await self.shell.change(
            caller, TRIGGER, trigger_id, lambda present: trigger.disable(present, now=now), if_version=if_version
        )

    async def delete(self, caller: Caller, trigger_id: UUID, *, if_version: int | None) -> Written[Trigger]:
        """Remove; what it fired stays in the history."""
        now = self.shell.now()
        return await self.shell.change(
            caller,
            TRIGGER,
            trigger_id,
            lambda present: trigger.delete(present, now=now),
            if_version=if_version,
            status=204,
        )

    async def _check_monitor(self, caller: Caller, monitor_id: UUID) -> None:
        try:
            loaded = await load_own(self.shell.store, MONITOR, monitor_id, caller.user_id)
        except NotFound:
            raise InvalidInput("you have no monitor with this id", field="monitor_id") from None
        if loaded.state.status is Status.ARCHIVED:
            raise InvalidInput("this monitor was deleted", field="monitor_id")

    async def _check_action(self, caller: Caller, action_id: UUID) -> None:
        try:
            loaded = await load_own(self.shell.store, ACTION, action_id, caller.user_id)
        except NotFound:
            raise InvalidInput("you have no action with this id", field="action_id") from None
        if loaded.state.config is None:
            raise InvalidInput("this action was deleted", field="action_id")
