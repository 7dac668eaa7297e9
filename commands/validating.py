"""Saying what a change of a monitor would come to, or everything that is wrong with it, without making it."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from commands.caller import Caller
from commands.monitors import MONITOR, MonitorCommands
from commands.plan_compiler import Wish
from commands.streams import load_own
from domain import monitor
from domain.errors import RuleViolation
from domain.monitor import Monitor, PlanRevised
from domain.plan import Plan


@dataclass(frozen=True, slots=True)
class Finding:
    """What a wish would come to: its name and plan, and whether the state of the monitor would be unknown again; or its
    mistakes."""

    name: str | None = None
    plan: Plan | None = None
    resets_state: bool = False
    mistakes: tuple[RuleViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class Validating:
    """Checks wishes as the commands would, and stores nothing."""

    monitors: MonitorCommands

    async def validate(self, caller: Caller, wish: Wish) -> Finding:
        """What a wish would come to as a new monitor."""
        compiler = self.monitors.compiler
        mistakes = (*compiler.mistakes(wish), *await compiler.unknown_signals(wish.sources, caller.user_id))
        if mistakes:
            return Finding(mistakes=mistakes)
        try:
            name, plan = await compiler.compile(wish, owner_id=caller.user_id)
        except RuleViolation as mistake:  # what was read from the words does not do
            return Finding(mistakes=(mistake,))
        return Finding(name=name, plan=plan)

    async def validate_change(self, caller: Caller, monitor_id: UUID, wish_of: Callable[[Monitor], Wish]) -> Finding:
        """What a wish, made from the present monitor, would change in it. Raises `NotFound`."""
        shell = self.monitors.shell
        present = (await load_own(shell.store, MONITOR, monitor_id, caller.user_id)).state
        monitor.check_exists(present)
        wish = wish_of(present)
        found = await self.validate(caller, wish)
        if found.plan is None:
            return found
        events = monitor.revise(present, prompt=wish.prompt, plan=found.plan, now=shell.now())
        return Finding(
            name=present.name if wish.name is None else wish.name,
            plan=found.plan,
            resets_state=any(isinstance(event, PlanRevised) and event.state_reset for event in events),
        )
