"""Mail: what is told to a person, before and after it has a form."""

from datetime import datetime
from uuid import UUID

import msgspec

from domain.evaluation import Evidence
from domain.fact import Fact, FactValue
from domain.monitor import State


class AlertContent(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an alert tells: what was asked, what was seen, why it counts, where to look."""

    person_name: str
    timezone: str
    monitor_id: UUID
    monitor_name: str
    prompt: str
    explanation: str
    condition: str
    state_before: State
    state_after: State
    facts: tuple[Fact, ...]
    inputs: dict[str, FactValue | None]
    evidence: tuple[Evidence, ...]
    evaluation_id: UUID
    evaluated_at: datetime
    monitor_url: str


class VerifyEmailContent(msgspec.Struct, frozen=True, kw_only=True):
    """The link that proves an address, and until when it works."""

    person_name: str
    link: str
    token: str
    expires_at: datetime


class AlreadyRegisteredContent(msgspec.Struct, frozen=True, kw_only=True):
    """Tells the owner of an account that somebody tried to register its address again."""

    person_name: str
    login_url: str


MailContent = AlertContent | VerifyEmailContent | AlreadyRegisteredContent


class MailBody(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered mail in both forms."""

    html: str
    text: str


class OutgoingMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail ready to be sent. `message_id` (with angle brackets, RFC 5322) is fixed before the first attempt, so that a
    mail sent twice is recognised as one."""

    message_id: str
    to: str
    subject: str
    body: MailBody


class MailReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The server's last word on an accepted mail."""

    code: int
    message: str


class MailRefused(Exception):
    """The server did not take the mail. `permanent` (5yz) means that trying again is of no use."""

    def __init__(self, code: int | None, message: str, *, permanent: bool) -> None:
        self.code, self.message, self.permanent = code, message, permanent
        super().__init__(f"{code}: {message}")
