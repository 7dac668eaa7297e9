"""Mail about outages: which message tells of which outage, and how few of them there are.

Whatever happens, a person gets at most two mails an hour that monitors are failing, and two that they are well again: the
first of the hour at once, and one when it is over that tells of all the others. When a person's network provider, a large
site, or this installation's own network is away, a hundred monitors fail within minutes.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid5

from domain.action import SUBJECT_CHARS_MAX
from domain.mail import single_line
from domain.notification import MailKind

GATHERED_FOR = timedelta(hours=1)


def outage_mail_id(monitor_id: UUID, kind: MailKind, since: datetime) -> UUID:
    """The notification about the outage of a monitor that began at `since`: one that it is failing, one that it is over."""
    return uuid5(monitor_id, f"{kind.value} {since.isoformat()}")


def hour_of(moment: datetime) -> datetime:
    """When the hour began that `moment` (of a zone with whole hours, such as UTC) lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def outage_subject(kind: MailKind, monitor: str, *, others: int) -> str:
    """The subject of a mail about this monitor and so many others."""
    more = "" if others == 0 else f" and {others} other{'s' if others > 1 else ''}"
    happened = "can be read again" if kind is MailKind.RECOVERED else "cannot be read"
    # The name gives way, so that what is told of it is never cut off.
    around = len(f"Vigil: {more} {happened}")
    return f"Vigil: {single_line(monitor, chars_max=SUBJECT_CHARS_MAX - around)}{more} {happened}"
