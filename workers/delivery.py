"""Delivery: one notification becomes a mail and is handed to a mail server, at least once, always under the same Message-ID.

The only window for a second delivery lies between the server's 250 and our append (RFC 1047 describes why nobody can
close it); a recipient's mail program sees the same Message-ID twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar, assert_never
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from commands.event_store import ConcurrentAppend, EventStore
from commands.identity import USER
from commands.identity_ports import LinkTokens
from commands.monitors import EVALUATION, MONITOR
from commands.notifications import NOTIFICATION
from commands.streams import load
from domain.crash_points import CrashPoint, reached
from domain.evaluation import EvaluationCompleted
from domain.event import NewEvents
from domain.mail import (
    AlertContent,
    AlreadyRegisteredContent,
    FailingContent,
    MailBody,
    MailContent,
    MailReceipt,
    MailRefused,
    Outage,
    OutgoingMail,
    RecoveredContent,
    VerifyEmailContent,
)
from domain.notification import (
    MailKind,
    Notification,
    NotificationEvent,
    NotificationRequested,
    record_failure,
    record_sent,
    record_suppressed,
)
from domain.outage_mail import outage_subject
from workers.budget_notices import budget_content
from workers.letters import ABOUT_OUTAGES, Letter, OutageMail, OutageMails, load_letter

log = structlog.get_logger()

T = TypeVar("T")

PERSON_ERASED = "person_erased"
"""Why a notification to an erased person is suppressed."""

TAKEN_ALONG_AFTER = timedelta(seconds=2)
"""A letter that an older one takes along is looked at again after so long."""

Outcome = tuple[Letter, Sequence[NotificationEvent]]


class MailRenderer(Protocol):
    """Gives content its form."""

    def render(self, content: MailContent) -> MailBody:
        """Both parts of the mail."""
        ...


class MailSender(Protocol):
    """Hands mail to a server."""

    async def send(self, mail: OutgoingMail) -> MailReceipt:
        """Return when the server took responsibility; raises `MailRefused`."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """Delivers one notification and records what became of it."""

    store: EventStore
    renderer: MailRenderer
    sender: MailSender
    outages: OutageMails
    links: LinkTokens
    public_url: str
    retry_base: timedelta
    now: Callable[[], datetime]

    async def deliver(self, notification_id: UUID) -> datetime | None:
        """Deliver if it is still to be delivered, and append the outcome. When it is to be tried again, None for never.

        The claim of what is done is left to run out: the read table may call it due for a while yet, and a claim that
        ended would be taken again and again, before everything younger."""
        letter = await load_letter(self.store, notification_id)
        if letter is None:
            return None
        if letter.due_at(self.now()) is not None:
            return letter.due_at(self.now())
        if letter.request.kind not in ABOUT_OUTAGES:
            outcomes = await self._attempt([letter], letter.request.subject, self._content(letter))
        elif (mail := await self.outages.with_others(letter, now=self.now())) is not None:
            outcomes = await self._attempt_together(mail)
        else:
            return self.now() + TAKEN_ALONG_AFTER
        await self._record(letter, outcomes)
        return next(NOTIFICATION.fold(events, one.state).retry_at for one, events in outcomes if one.id == letter.id)

    async def _record(self, letter: Letter, outcomes: Sequence[Outcome]) -> None:
        batch = [
            NewEvents(stream_id=one.id, owner_id=one.owner_id, expected_version=one.version, events=tuple(events))
            for one, events in outcomes
        ]
        try:
            await self.store.append(batch, metadata=letter.context)
            reached(CrashPoint.MAILER_AFTER_RECORD)
        except ConcurrentAppend:
            log.warning("a second mailer delivered this too", notification_id=str(letter.id))

    async def _attempt_together(self, mail: OutageMail) -> list[Outcome]:
        """Tell what is still true in one mail; what is not needs none."""
        now = self.now()
        outcomes: list[Outcome] = [
            (letter, record_suppressed(letter.state, reason=reason, now=now)) for letter, reason in mail.untold
        ]
        if mail.told:
            letters = [letter for letter, _ in mail.told]
            outages = tuple(outage for _, outage in mail.told)
            kind, name = letters[0].request.kind, outages[0].monitor_name
            subject = outage_subject(kind, name, others=len(outages) - 1)
            outcomes += await self._attempt(letters, subject, self._about_outages(letters[0], outages))
        return outcomes

    async def _attempt(self, letters: Sequence[Letter], subject: str, content: Awaitable[MailContent]) -> list[Outcome]:
        """Send one mail for all of these, under the first one's Message-ID."""
        first = letters[0]
        message_id = f"<{first.id.hex}@{_domain(self.public_url)}>"
        record: Callable[[Notification], Sequence[NotificationEvent]]
        try:
            body = self.renderer.render(await content)
            mail = OutgoingMail(message_id=message_id, to=first.request.to, subject=subject, body=body)
            if await self.store.is_erased(first.owner_id):  # the last moment to find out
                record = partial(record_suppressed, reason=PERSON_ERASED, now=self.now())
            else:
                receipt = await self.sender.send(mail)
                reached(CrashPoint.MAILER_AFTER_ACCEPTANCE)
                record = partial(
                    record_sent, message_id=message_id, code=receipt.code, message=receipt.message, now=self.now()
                )
        except MailRefused as refused:
            record = self._failure(refused.code, refused.message, permanent=refused.permanent)
        except Exception as error:
            log.exception("mail could not be made", notification_id=str(first.id))
            record = self._failure(None, f"the mail could not be made: {type(error).__name__}", permanent=False)
        return [(letter, record(letter.state)) for letter in letters]

    def _failure(
        self, code: int | None, message: str, *, permanent: bool
    ) -> Callable[[Notification], Sequence[NotificationEvent]]:
        return partial(
            record_failure,
            code=code,
            message=message,
            permanent=permanent,
            retry_base=self.retry_base,
            now=self.now(),
        )

    async def _about_outages(self, letter: Letter, outages: tuple[Outage, ...]) -> MailContent:
        person = (await load(self.store, USER, letter.owner_id)).state
        made = FailingContent if letter.request.kind is MailKind.FAILING else RecoveredContent
        return made(person_name=person.name, timezone=person.timezone, outages=outages)

    async def _content(self, letter: Letter) -> MailContent:
        owner_id, request = letter.owner_id, letter.request
        person = (await load(self.store, USER, owner_id)).state
        match request.kind:
            case MailKind.VERIFY_EMAIL:
                token = self.links.make("verify-email", owner_id, _needed(request.token_id))
                return VerifyEmailContent(
                    person_name=person.name,
                    link=f"{self.public_url}/api/v1/auth/verify-email?token={token}",
                    token=token,
                    expires_at=_needed(request.expires_at),
                )
            case MailKind.ALREADY_REGISTERED:
                return AlreadyRegisteredContent(person_name=person.name, login_url=self.public_url)
            case MailKind.ALERT:
                return await self._alert(person.name, person.timezone, request)
            case MailKind.BUDGET:
                return await budget_content(self.store, letter, person, public_url=self.public_url)
            case MailKind.FAILING | MailKind.RECOVERED:
                raise MailRefused(None, "a mail about outages is made of several letters", permanent=True)
            case _:
                assert_never(request.kind)

    async def _alert(self, name: str, timezone: str, request: NotificationRequested) -> AlertContent:
        monitor_id, evaluation_id = _needed(request.monitor_id), _needed(request.evaluation_id)
        monitor = (await load(self.store, MONITOR, monitor_id)).state
        evaluation = (await load(self.store, EVALUATION, evaluation_id)).state
        outcome = evaluation.outcome
        if not isinstance(outcome, EvaluationCompleted):
            raise MailRefused(None, f"evaluation {evaluation_id} has no verdict to tell of", permanent=True)
        return AlertContent(
            person_name=name,
            timezone=timezone,
            monitor_id=monitor_id,
            monitor_name=monitor.name,
            prompt=monitor.prompt,
            explanation=monitor.current_plan.explanation,
            condition=outcome.condition,
            state_before=outcome.state_before,
            state_after=outcome.state_after,
            facts=evaluation.facts,
            inputs=outcome.inputs,
            evidence=outcome.evidence,
            evaluation_id=evaluation_id,
            evaluated_at=outcome.completed_at,
            monitor_url=f"{self.public_url}/api/v1/monitors/{monitor_id}",
        )


def _needed(value: T | None) -> T:
    if value is None:
        raise MailRefused(None, "the notification lacks what its kind always has", permanent=True)
    return value


def _domain(public_url: str) -> str:
    """The host part for Message-IDs."""
    host = urlsplit(public_url).hostname or "localhost"
    return f"[{host}]" if ":" in host else host
