"""What the notifier does when a monitor begins to fail or is well again: it asks for a mail to the monitor's owner."""

from datetime import datetime
from typing import assert_never
from uuid import UUID

import msgspec
import structlog

from commands.event_store import AlreadyReserved, ConcurrentAppend, EventStore, Reserve
from commands.identity import USER
from commands.monitors import MONITOR
from commands.streams import load
from domain.event import Event, Metadata, NewEvents, StreamEvent
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.notification import MailKind, NotificationRequested, NotificationSuppressed
from domain.outage_mail import GATHERED_FOR, hour_of, outage_mail_id, outage_subject

log = structlog.get_logger()


async def tell_of_outage(
    store: EventStore, stored: StreamEvent, event: MonitorFailing | MonitorRecovered, *, now: datetime
) -> None:
    """Ask for the mail, once for each outage however often this is done. Whoever is the first of the owner's monitors within
    the hour is told of at once, the others together when it is over. Whether it is still true is seen when it is sent."""
    match event:
        case MonitorFailing(since=since):
            kind = MailKind.FAILING
        case MonitorRecovered(failed_since=since):
            kind = MailKind.RECOVERED
        case _:
            assert_never(event)
    monitor_id, owner_id = stored.stream_id, stored.owner_id
    notification_id = outage_mail_id(monitor_id, kind, since)
    person = (await load(store, USER, owner_id)).state
    monitor = (await load(store, MONITOR, monitor_id)).state
    request = NotificationRequested(
        kind=kind,
        to=person.email,
        subject=outage_subject(kind, monitor.name, others=0),
        monitor_id=monitor_id,
        evaluation_id=event.evaluation_id,
        requested_at=now,
    )
    try:
        if not person.verified:
            unsent = NotificationSuppressed(reason="address_unverified", suppressed_at=now)
            return await _append(store, notification_id, stored, request, unsent)
        hour = hour_of(now)
        first = Reserve(f"{kind.value}-mail:{owner_id}", hour.isoformat(), notification_id)
        try:
            return await _append(store, notification_id, stored, request, first=first)
        except AlreadyReserved:
            later = msgspec.structs.replace(request, not_before=hour + GATHERED_FOR)
            return await _append(store, notification_id, stored, later)
    except ConcurrentAppend:
        log.info("notification exists already", notification_id=str(notification_id))


async def _append(
    store: EventStore, notification_id: UUID, cause: StreamEvent, *events: Event, first: Reserve | None = None
) -> None:
    new = NewEvents(stream_id=notification_id, owner_id=cause.owner_id, expected_version=0, events=events)
    context = Metadata(correlation_id=cause.metadata.correlation_id, causation_id=cause.event_id, actor="notifier")
    await store.append([new], metadata=context, companions=[] if first is None else [first])
