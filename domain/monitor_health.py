"""What a monitor tells of its health: that its sources cannot be read, and that they can again. `domain.failing` decides when."""

from datetime import datetime
from uuid import UUID

from domain.event import Event, stored_as


@stored_as("monitor.failing")
class MonitorFailing(Event, frozen=True, kw_only=True):
    """So many looks in a row (`failures`), the first of them at `since`, could not read the sources; the last of them, with
    `code` and `message`, was `evaluation_id`."""

    failures: int
    code: str
    message: str
    evaluation_id: UUID
    since: datetime
    failed_at: datetime


@stored_as("monitor.recovered")
class MonitorRecovered(Event, frozen=True, kw_only=True):
    """A failing monitor's sources could be read again."""

    evaluation_id: UUID
    failed_since: datetime
    recovered_at: datetime
