"""Mail: what is told to a person, before and after it has a form."""

import re
import unicodedata
from datetime import datetime
from uuid import UUID

import msgspec

from domain.action import PLACEHOLDERS, SUBJECT_CHARS_MAX
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


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a monitor's sources could not be read: since when, until when if it is over, what was wrong when it was
    noticed after so many `failures`, and the state the monitor keeps through it."""

    monitor_name: str
    monitor_url: str
    source_urls: tuple[str, ...]
    state: State
    failures: int
    code: str
    message: str
    since: datetime
    until: datetime | None = None


class FailingContent(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a person which of their monitors cannot be read; at least one."""

    person_name: str
    timezone: str
    outages: tuple[Outage, ...]


class RecoveredContent(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a person which of the monitors they know to be failing are well again; at least one."""

    person_name: str
    timezone: str
    outages: tuple[Outage, ...]


class BudgetContent(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a person that their budget for models has run short until `resets_at`, or, who runs the installation, that its
    budget has. Amounts are in millionths of a US dollar."""

    person_name: str
    timezone: str
    is_installation: bool
    limit_micros: int
    spent_micros: int
    resets_at: datetime
    usage_url: str


MailContent = (
    AlertContent | VerifyEmailContent | AlreadyRegisteredContent | FailingContent | RecoveredContent | BudgetContent
)


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


SUBJECT_DEFAULT = "Vigil: {monitor} is now {state}"

_PLACEHOLDER = re.compile("{(" + "|".join(sorted(PLACEHOLDERS)) + ")}")
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reorder the text around them (Unicode Standard Annex 9, section 2): a name could look like another."""
_REMOVED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Controls, lone surrogates (they have no UTF-8), line and paragraph separators."""


def several_lines(text: str, *, chars_max: int) -> str:
    """`text` without control characters but with its line breaks, cut to `chars_max` characters; nothing that came from
    outside may steer a terminal, a mail header or the direction of other text."""
    lines = (_without_controls(line).strip() for line in text.splitlines())
    return _cut("\n".join(lines).strip(), chars_max)


def single_line(text: str, *, chars_max: int) -> str:
    """`text` on one line: control characters removed, white space and line breaks made one space, cut to `chars_max`
    characters."""
    return _cut(" ".join(_without_controls(" ".join(text.split())).split()), chars_max)


def render_subject(template: str | None, *, monitor: str, state: str, explanation: str) -> str:
    """The subject of an alert: `template` (`SUBJECT_DEFAULT` when None, or when nothing visible is left of it) with
    {monitor}, {state} and {explanation} replaced once, on one line of 1 to `SUBJECT_CHARS_MAX` characters.

    What is put in is never looked at again, so a monitor named "{explanation}" stays that (CWE-1336).
    """
    values = {"monitor": monitor, "state": state, "explanation": explanation}

    def filled(text: str) -> str:
        return single_line(_PLACEHOLDER.sub(lambda found: values[found[1]], text), chars_max=SUBJECT_CHARS_MAX)

    return filled(template or "") or filled(SUBJECT_DEFAULT)


def _without_controls(text: str) -> str:
    return "".join(
        c
        for c in text.replace("\t", " ")
        if unicodedata.category(c) not in _REMOVED_CATEGORIES and c not in _BIDI_CONTROLS
    )


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"
