"""A monitor as it was at a moment: its stream folded up to then, in the shape it is read in today.

The moment is one of the times that people are shown (when a monitor was created, when its state changed), so an event counts
from the time it carries. Clocks jump: it counts from when it was recorded where that was earlier, and never before the event
in front of it. What had been recorded at a moment, by the database's clock alone, is what auditors read (`read_api.audit`).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from commands.event_store import EventStore
from commands.monitors import MONITOR
from commands.shapes import FailingShape, MonitorShape, monitor_shape
from domain import monitor
from domain.event import StreamEvent
from domain.monitor import MonitorCreated, MonitorEvent, Status
from domain.monitor_health import MonitorFailing, MonitorRecovered
from read_api.database import Pool, fetch_row

_LAST_EVALUATION = """
select completed_at from evaluations
where monitor_id = %(monitor_id)s and verdict is not null and completed_at <= %(as_of)s
order by place desc, completed_at desc, due_at desc, id desc limit 1
"""


class PastMonitors:
    """Monitors from their streams."""

    def __init__(self, pool: Pool, store: EventStore) -> None:
        self._pool = pool
        self._store = store

    async def find(self, owner_id: UUID, monitor_id: UUID, as_of: datetime) -> MonitorShape | None:
        """A person's monitor as it was; None when it was not there then, or is not theirs. When it would have been
        looked at next was kept by nobody: `next_due_at` is None."""
        history = await self._store.load(monitor_id)
        past = list(_until(as_of, history))
        created = past[0].event if past and past[0].owner_id == owner_id else None
        if not isinstance(created, MonitorCreated):
            return None
        state = MONITOR.fold([stored.event for stored in past])
        if state.status is Status.ARCHIVED:
            return None
        row = await fetch_row(self._pool, _LAST_EVALUATION, {"monitor_id": monitor_id, "as_of": as_of})
        return monitor_shape(
            id=monitor_id,
            name=state.name,
            prompt=state.prompt,
            status=state.status,
            state=state.state,
            failing=None
            if state.failing is None
            else msgspec.convert(state.failing, FailingShape, from_attributes=True),
            plan=state.current_plan,
            last_evaluated_at=None if row is None else row["completed_at"],
            next_due_at=None,
            version=past[-1].version,
            created_at=created.created_at,
            updated_at=past[-1].recorded_at,
        )


def _until(moment: datetime, history: Sequence[StreamEvent]) -> Iterator[StreamEvent]:
    for stored in history:
        if not isinstance(stored.event, MonitorEvent) or min(_told_at(stored.event), stored.recorded_at) > moment:
            return
        yield stored


def _told_at(event: MonitorEvent) -> datetime:
    match event:
        case (
            monitor.MonitorCreated(created_at=at)
            | monitor.MonitorRenamed(renamed_at=at)
            | monitor.PlanRevised(revised_at=at)
            | monitor.MonitorPaused(paused_at=at)
            | monitor.MonitorResumed(resumed_at=at)
            | monitor.MonitorDeleted(deleted_at=at)
            | monitor.MonitorRestored(restored_at=at)
            | monitor.StateChanged(changed_at=at)
            | monitor.ConditionMetAgain(met_at=at)
            | MonitorFailing(failed_at=at)
            | MonitorRecovered(recovered_at=at)
        ):
            return at
