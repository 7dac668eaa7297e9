"""GET of /api/v1/notifications: what was to be told to a person, and what became of it."""

from datetime import datetime
from typing import Literal, LiteralString
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from commands.http.form import AnyRequest, Envelope, Page, answer
from domain.errors import NotFound
from domain.notification import MailKind
from read_api.database import Pool, fetch_row
from read_api.paging import Limit, Listed, Offset, Sort, Window, fetch_window, listed_page, order_by
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads

NotificationStatus = Literal[
    "requested", "sending", "sent", "delivered", "deferred", "bounced", "complained", "suppressed", "failed"
]

_COLUMNS = """
select id, kind, monitor_id, trigger_id, action_id, evaluation_id, channel, recipient as "to", subject, status, attempts,
       next_attempt_at, created_at, sent_at
from notifications
"""

_FIND = _COLUMNS + "where id = %(id)s and owner_id = %(owner_id)s"

_LIST = (
    _COLUMNS
    + """
where owner_id = %(owner_id)s
  and (%(status)s::text is null or status = %(status)s)
  and (%(monitor_id)s::uuid is null or monitor_id = %(monitor_id)s)
"""
)

_ORDERS: dict[str, LiteralString] = {
    "created_at:asc": "order by created_at, id",
    "created_at:desc": "order by created_at desc, id",
    "sent_at:asc": "order by sent_at nulls last, id",
    "sent_at:desc": "order by sent_at desc nulls last, id",
    "status:asc": "order by status, id",
    "status:desc": "order by status desc, id",
}


class AttemptShape(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to deliver; `code` and `message` are what the mail server said."""

    at: datetime
    outcome: str
    code: int | None
    message: str | None


class NotificationShape(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a person: an alert of a monitor, or about their account (then without a monitor)."""

    id: UUID
    kind: MailKind
    monitor_id: UUID | None
    trigger_id: UUID | None
    action_id: UUID | None
    evaluation_id: UUID | None
    channel: str
    to: str
    subject: str
    status: NotificationStatus
    attempts: tuple[AttemptShape, ...]
    next_attempt_at: datetime | None
    created_at: datetime
    sent_at: datetime | None


class NotificationViews:
    """Notifications from their table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, owner_id: UUID, id: UUID) -> NotificationShape | None:  # noqa: A002  the port's name for it
        """A person's notification."""
        row = await fetch_row(self._pool, _FIND, {"owner_id": owner_id, "id": id})
        return None if row is None else msgspec.convert(row, NotificationShape)

    async def listed(
        self, owner_id: UUID, window: Window, *, status: NotificationStatus | None, monitor_id: UUID | None
    ) -> Listed[NotificationShape]:
        """A window of a person's notifications; None does not filter."""
        parameters = {"owner_id": owner_id, "status": status, "monitor_id": monitor_id}
        return await fetch_window(
            self._pool, _LIST, parameters, window, shape=lambda row: msgspec.convert(row, NotificationShape)
        )


class NotificationReads(Reads):
    """Reading notifications."""

    path = "/notifications"
    tags = ("Notifications",)

    @get("/", summary="List notifications", responses=LIST_REFUSALS)
    async def list_notifications(
        self,
        request: AnyRequest,
        notification_views: NamedDependency[NotificationViews],
        status: FromQuery[NotificationStatus | None] = None,
        monitor_id: FromQuery[UUID | None] = None,
        sort: Sort = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Page[NotificationShape]:
        """What was to be told to you, the newest first unless sorted otherwise."""
        window = Window(limit, offset, order_by(sort, _ORDERS, default="created_at:desc"))
        listed = await notification_views.listed(request.user.user_id, window, status=status, monitor_id=monitor_id)
        return listed_page(request, listed, window)

    @get("/{notification_id:uuid}", summary="Read a notification", responses=REFUSALS)
    async def read_notification(
        self,
        request: AnyRequest,
        notification_id: FromPath[UUID],
        notification_views: NamedDependency[NotificationViews],
    ) -> Envelope[NotificationShape]:
        """A notification with every attempt to deliver it."""
        shape = await notification_views.find(request.user.user_id, notification_id)
        if shape is None:
            raise NotFound
        return answer(request, shape)
