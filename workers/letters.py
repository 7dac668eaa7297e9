"""Letters: notifications on their way, and those about outages that travel in one mail."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from commands.event_store import EventStore
from commands.monitors import MONITOR
from commands.notifications import NOTIFICATION
from commands.streams import load
from domain.event import Metadata, StreamEvent
from domain.mail import Outage
from domain.monitor import Monitor, Status
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.notification import DeliveryStatus, MailKind, Notification, NotificationRequested, is_pending
from domain.outage_mail import outage_mail_id
from domain.source import FeedSource, HttpSource

ABOUT_OUTAGES = frozenset({MailKind.FAILING, MailKind.RECOVERED})
TOGETHER_MAX = 1000


class Waiting(Protocol):
    """What waits for delivery."""

    async def due_of(self, owner_id: UUID, kind: MailKind, *, now: datetime, limit: int) -> list[UUID]:
        """Notifications of one kind to one person that are due, the oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification that is still to be delivered, as its stream tells it."""

    id: UUID
    owner_id: UUID
    version: int
    state: Notification
    request: NotificationRequested
    cause: UUID
    correlation_id: UUID

    @property
    def context(self) -> Metadata:
        """What surrounds whatever becomes of it."""
        return Metadata(correlation_id=self.correlation_id, causation_id=self.cause, actor="mailer")

    def due_at(self, now: datetime) -> datetime | None:
        """When it may be tried, if that is still to come."""
        later = self.state.retry_at
        return later if later is not None and now < later else None


@dataclass(frozen=True, slots=True)
class OutageMail:
    """Letters that go out as one mail: what it tells for which of them, and why it tells nothing for others."""

    told: tuple[tuple[Letter, Outage], ...]
    untold: tuple[tuple[Letter, str], ...]


async def load_letter(store: EventStore, notification_id: UUID) -> Letter | None:
    """The notification, unless nobody has to deliver it any more."""
    history = await store.load(notification_id)
    state = NOTIFICATION.fold([stored.event for stored in history])
    if state.request is None or not is_pending(state):
        return None
    first = history[0]
    return Letter(
        id=notification_id,
        owner_id=first.owner_id,
        version=len(history),
        state=state,
        request=state.request,
        cause=first.event_id,
        correlation_id=first.metadata.correlation_id,
    )


@dataclass(frozen=True, slots=True)
class OutageMails:
    """Puts letters about outages together. The oldest that is due takes the others along, whoever delivers them."""

    store: EventStore
    waiting: Waiting
    public_url: str

    async def with_others(self, letter: Letter, *, now: datetime) -> OutageMail | None:
        """The mail that this letter leads; None while an older one is to take it along, or while it is not known yet whether
        the person was told of the failing that is over."""
        due = await self.waiting.due_of(letter.owner_id, letter.request.kind, now=now, limit=TOGETHER_MAX)
        told: list[tuple[Letter, Outage]] = []
        untold: list[tuple[Letter, str]] = []
        for notification_id in dict.fromkeys([*due, letter.id]):
            is_own = notification_id == letter.id
            found = letter if is_own else await load_letter(self.store, notification_id)
            if found is None or found.due_at(now) is not None:
                continue
            if not is_own and not told and not untold:
                return None
            match await self._outage(found):
                case Outage() as outage:
                    told.append((found, outage))
                case str() as reason:
                    untold.append((found, reason))
                case None if is_own:
                    return None
                case None:
                    pass
        return OutageMail(tuple(told), tuple(untold))

    async def _outage(self, letter: Letter) -> Outage | str | None:
        """What is to be told; or why there is nothing to tell any more; None while that is not known."""
        monitor_id, evaluation_id = letter.request.monitor_id, letter.request.evaluation_id
        if monitor_id is None:
            return "no_monitor"
        history = await self.store.load(monitor_id)
        monitor = MONITOR.fold([stored.event for stored in history])
        if letter.request.kind is MailKind.FAILING:
            if monitor.failing is None or monitor.failing.evaluation_id != evaluation_id:
                return "not_failing_any_more"
            return self._told(monitor_id, monitor, monitor.failing)
        if monitor.status is Status.ARCHIVED:
            return "monitor_deleted"
        return await self._recovery(monitor_id, evaluation_id, monitor, history)

    async def _recovery(
        self, monitor_id: UUID, evaluation_id: UUID | None, monitor: Monitor, history: Sequence[StreamEvent]
    ) -> Outage | str | None:
        failing: MonitorFailing | None = None
        for stored in history:
            match stored.event:
                case MonitorFailing() as failing:
                    pass
                case MonitorRecovered(recovered_at=until) as recovered if recovered.evaluation_id == evaluation_id:
                    break
                case _:
                    pass
        else:
            return "not_recovered"
        if failing is None:
            return "not_failing_before"
        told_by = outage_mail_id(monitor_id, MailKind.FAILING, recovered.failed_since)
        told = (await load(self.store, NOTIFICATION, told_by)).state
        if is_pending(told):
            return None
        if told.status is not DeliveryStatus.SENT:
            return "failing_was_not_told"
        return self._told(monitor_id, monitor, failing, until=until)

    def _told(
        self, monitor_id: UUID, monitor: Monitor, failing: MonitorFailing, *, until: datetime | None = None
    ) -> Outage:
        return Outage(
            monitor_name=monitor.name,
            monitor_url=f"{self.public_url}/api/v1/monitors/{monitor_id}",
            source_urls=tuple(
                source.url for source in monitor.current_plan.sources if isinstance(source, HttpSource | FeedSource)
            ),
            state=monitor.state,
            failures=failing.failures,
            code=failing.code,
            message=failing.message,
            since=failing.since,
            until=until,
        )
