"""What a monitor holds beside its stream: a name that no other one of the person has, a place among the active ones, and its
slots."""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from commands.caller import Caller
from commands.event_store import EventStore, KeepSchedule, QuotaExceeded, Release, Reserve
from domain.errors import DuplicateName, MonitorLimitExceeded, MonitorTotalExceeded, RuleViolation
from domain.name import numbered
from domain.plan import Plan
from domain.source import signal_ids

_NAMES, _PLACES = "monitor-name", "active-monitor"
NAMES_AT_ONCE = 100
"""How many names are looked up in one round trip."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the monitors of one person hold. At most `active_max` have a place, and `total_max` a name, so that counting names
    counts those that are not deleted."""

    caller: Caller
    active_max: int
    total_max: int

    def name(self, name: str, monitor_id: UUID, *, is_one_more: bool) -> Reserve:
        """A name. Another one for a monitor that has a name is given also where the limit was lowered since."""
        total_max = self.total_max if is_one_more else None
        return Reserve(self._names, name.casefold(), monitor_id, total_max)

    def no_name(self, name: str) -> Release:
        """The name is free again."""
        return Release(self._names, name.casefold())

    async def free_name(self, store: EventStore, name: str) -> str:
        """The name with the next number that no monitor has. Raises `DuplicateName` when there is none."""
        names = numbered(name)
        while several := list(islice(names, NAMES_AT_ONCE)):
            taken = await store.reserved(self._names, [each.casefold() for each in several])
            for free in several:
                if free.casefold() not in taken:
                    return free
        raise DuplicateName(field="name")

    def place(self, monitor_id: UUID) -> Reserve:
        """A place among the active ones."""
        return Reserve(self._places, str(monitor_id), monitor_id, self.active_max)

    def no_place(self, monitor_id: UUID) -> Release:
        """The place is free again."""
        return Release(self._places, str(monitor_id))

    def slots(self, monitor_id: UUID, plan: Plan, *, active: bool, due_at: datetime) -> KeepSchedule:
        """Its slots, the first of which is due then."""
        return KeepSchedule(
            monitor_id,
            self.caller.user_id,
            plan.schedule,
            active=active,
            due_at=due_at,
            signals=signal_ids(plan.sources),
        )

    @property
    def _names(self) -> str:
        return f"{_NAMES}:{self.caller.user_id}"

    @property
    def _places(self) -> str:
        return f"{_PLACES}:{self.caller.user_id}"


def limit_of(full: QuotaExceeded) -> RuleViolation:
    """Which limit of a person is reached."""
    return MonitorTotalExceeded() if full.scope.startswith(_NAMES) else MonitorLimitExceeded()
