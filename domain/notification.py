"""The notification aggregate: one message to one person, from the wish to send it to what became of it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid5

from domain.event import Event, stored_as
from domain.personal_data import Personal
from domain.upcasting import Fields, upcasts

ATTEMPTS_MAX = 8
"""With a base of 30 s and doubling, the last attempt comes about an hour after the first."""


class MailKind(StrEnum):
    """What a mail is about; it chooses the template."""

    ALERT = "alert"
    VERIFY_EMAIL = "verify_email"
    ALREADY_REGISTERED = "already_registered"
    FAILING = "failing"
    RECOVERED = "recovered"
    BUDGET = "budget"


class DeliveryStatus(StrEnum):
    """How far a notification has come."""

    REQUESTED = "requested"
    DEFERRED = "deferred"
    SENT = "sent"
    SUPPRESSED = "suppressed"
    FAILED = "failed"


@stored_as("notification.requested", version=4, personal={"to": Personal.ADDRESS, "subject": Personal.TEXT})
class NotificationRequested(Event, frozen=True, kw_only=True):
    """A message is to be sent, not before `not_before`. For one about a monitor the ids lead to everything it will tell; for
    account mail `token_id` is what its link is derived from, which works until `expires_at`."""

    kind: MailKind
    to: str
    subject: str
    monitor_id: UUID | None = None
    trigger_id: UUID | None = None
    action_id: UUID | None = None
    firing_id: UUID | None = None
    evaluation_id: UUID | None = None
    token_id: UUID | None = None
    expires_at: datetime | None = None
    not_before: datetime | None = None
    requested_at: datetime


@upcasts("notification.requested", from_version=1)
def _say_when_the_link_expires(fields: Fields) -> Fields:
    """Mails of version 1 counted 24 hours from when they were asked for, which a notifier that was late did later than the
    link began."""
    has_link = fields["kind"] == "verify_email"
    expires_at = datetime.fromisoformat(fields["requested_at"]) + timedelta(hours=24) if has_link else None
    return fields | {"expires_at": None if expires_at is None else expires_at.isoformat()}


@upcasts("notification.requested", from_version=2)
def _let_it_go_at_once(fields: Fields) -> Fields:
    return fields | {"not_before": None}


@upcasts("notification.requested", from_version=3)
def _speak_of_no_budget(fields: Fields) -> Fields:
    """There was no mail about money."""
    return fields


_ANSWER = {"message": Personal.TEXT}
"""What a mail server says most often names the recipient (RFC 5321, 4.2.1 leaves the text to it)."""


@stored_as("notification.sent", personal=_ANSWER)
class NotificationSent(Event, frozen=True, kw_only=True):
    """The mail server took responsibility for the message (RFC 5321, 250 after the final dot)."""

    message_id: str
    code: int
    message: str
    sent_at: datetime


@stored_as("notification.deferred", personal=_ANSWER)
class DeliveryDeferred(Event, frozen=True, kw_only=True):
    """An attempt failed in a way that may pass; the next one comes at `retry_at`."""

    code: int | None
    message: str
    failed_at: datetime
    retry_at: datetime


@stored_as("notification.failed", personal=_ANSWER)
class NotificationFailed(Event, frozen=True, kw_only=True):
    """The message was refused for good, or the attempts are used up."""

    code: int | None
    message: str
    failed_at: datetime


@stored_as("notification.suppressed")
class NotificationSuppressed(Event, frozen=True, kw_only=True):
    """The message is not sent; `reason` says why."""

    reason: str
    suppressed_at: datetime


NotificationEvent = (
    NotificationRequested | NotificationSent | DeliveryDeferred | NotificationFailed | NotificationSuppressed
)


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as the events so far tell it; it is not tried before `retry_at`."""

    request: NotificationRequested | None = None
    status: DeliveryStatus | None = None
    attempts: int = 0
    retry_at: datetime | None = None


def evolve(notification: Notification, event: NotificationEvent) -> Notification:
    """The notification after `event`."""
    match event:
        case NotificationRequested():
            return Notification(request=event, status=DeliveryStatus.REQUESTED, retry_at=event.not_before)
        case NotificationSent():
            attempts = notification.attempts + 1
            return replace(notification, status=DeliveryStatus.SENT, attempts=attempts, retry_at=None)
        case DeliveryDeferred(retry_at=retry_at):
            attempts = notification.attempts + 1
            return replace(notification, status=DeliveryStatus.DEFERRED, attempts=attempts, retry_at=retry_at)
        case NotificationFailed():
            attempts = notification.attempts + 1
            return replace(notification, status=DeliveryStatus.FAILED, attempts=attempts, retry_at=None)
        case NotificationSuppressed():
            return replace(notification, status=DeliveryStatus.SUPPRESSED, retry_at=None)


def notification_id(firing_id: UUID, recipient: str) -> UUID:
    """One firing never makes two notifications for one recipient."""
    return uuid5(firing_id, recipient.lower())


def is_pending(notification: Notification) -> bool:
    """Whether somebody still has to send it."""
    return notification.status in {DeliveryStatus.REQUESTED, DeliveryStatus.DEFERRED}


def record_sent(
    notification: Notification, *, message_id: str, code: int, message: str, now: datetime
) -> list[NotificationEvent]:
    """The server accepted the message; what is no longer pending stays as it is."""
    if not is_pending(notification):
        return []
    return [NotificationSent(message_id=message_id, code=code, message=message, sent_at=now)]


def record_suppressed(notification: Notification, *, reason: str, now: datetime) -> list[NotificationEvent]:
    """The message is not to be sent any more; what is no longer pending stays as it is."""
    return [NotificationSuppressed(reason=reason, suppressed_at=now)] if is_pending(notification) else []


def record_failure(
    notification: Notification, *, code: int | None, message: str, permanent: bool, retry_base: timedelta, now: datetime
) -> list[NotificationEvent]:
    """An attempt failed: try again later, twice as long each time, until the attempts are used up."""
    if not is_pending(notification):
        return []
    if permanent or notification.attempts + 1 >= ATTEMPTS_MAX:
        return [NotificationFailed(code=code, message=message, failed_at=now)]
    retry_at = now + retry_base * 2**notification.attempts
    return [DeliveryDeferred(code=code, message=message, failed_at=now, retry_at=retry_at)]
