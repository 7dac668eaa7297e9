"""What the notifier does when a day's budget for models runs short: it asks for a mail to the person whose budget it is, or to
everybody who runs the installation. How such a mail comes by what it tells is here, too.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from commands.event_store import ConcurrentAppend, EventStore, PersonErased
from commands.identity import USER
from commands.streams import load
from domain.budget import BudgetExhausted, budget_mail_id, budget_subject, ends_at
from domain.event import Event, Metadata, NewEvents, StreamEvent
from domain.mail import BudgetContent, MailRefused
from domain.notification import MailKind, NotificationRequested, NotificationSuppressed
from domain.operation import INSTALLATION
from domain.user import User
from workers.letters import Letter

log = structlog.get_logger()


class Operators(Protocol):
    """Who runs the installation."""

    async def everybody(self) -> Sequence[UUID]:
        """People whose address is verified and who are operators or admins, as far as is known."""
        ...


async def tell_of_budget(
    store: EventStore, operators: Operators, stored: StreamEvent, event: BudgetExhausted, *, now: datetime
) -> None:
    """Ask for the mails, one to each person for each scope and day, however often this is done."""
    people = await operators.everybody() if event.scope == INSTALLATION else [event.scope]
    if not people:
        log.warning("the installation's budget has run short, and nobody is an operator or admin to be told")
    for person_id in people:
        person = (await load(store, USER, person_id)).state
        request = NotificationRequested(
            kind=MailKind.BUDGET, to=person.email, subject=budget_subject(event.scope), requested_at=now
        )
        unsent = NotificationSuppressed(reason="address_unverified", suppressed_at=now)
        await _append(store, person_id, stored, [request] if person.verified else [request, unsent])


async def budget_content(store: EventStore, letter: Letter, person: User, *, public_url: str) -> BudgetContent:
    """What a mail about a budget tells. Its correlation leads to the budget; raises `MailRefused` when it does not."""
    found = [one.event for one in await store.load(letter.correlation_id)]
    match found:
        case [BudgetExhausted() as event]:
            return BudgetContent(
                person_name=person.name,
                timezone=person.timezone,
                is_installation=event.scope == INSTALLATION,
                limit_micros=event.limit_micros,
                spent_micros=event.spent_micros,
                resets_at=ends_at(event.day),
                usage_url=f"{public_url}/api/v1/ai/usage",
            )
        case _:
            raise MailRefused(None, f"{letter.correlation_id} is no budget that was spent", permanent=True)


async def _append(store: EventStore, person_id: UUID, cause: StreamEvent, events: Sequence[Event]) -> None:
    new = NewEvents(
        stream_id=budget_mail_id(cause.stream_id, person_id),
        owner_id=person_id,
        expected_version=0,
        events=tuple(events),
    )
    context = Metadata(correlation_id=cause.stream_id, causation_id=cause.event_id, actor="notifier")
    try:
        await store.append([new], metadata=context)
    except ConcurrentAppend:
        log.info("notification exists already", notification_id=str(new.stream_id))
    except PersonErased:
        log.info("an erased person is not told", notification_id=str(new.stream_id))
