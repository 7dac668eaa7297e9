"""The notifier: turns changes into firings and firings into notifications. A reactor: it acts on the world, so it is
never replayed, and doing an entry twice does nothing the second time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid5

import structlog

from commands.actions import ACTION
from commands.event_store import ConcurrentAppend, EventStore
from commands.identity import USER
from commands.monitors import MONITOR
from commands.streams import load
from commands.triggers import TRIGGER
from domain.action import EmailAction
from domain.budget import BudgetExhausted
from domain.event import Event, Metadata, NewEvents, StreamEvent, personal_fields
from domain.event_codec import decode_entry
from domain.firing import Occasion, fire
from domain.log_entry import LogEntry
from domain.mail import render_subject
from domain.monitor import ConditionMetAgain, State, StateChanged
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.notification import MailKind, NotificationRequested, notification_id
from domain.trigger import TriggerFired
from domain.user import EmailVerificationRequested, RegistrationRepeated
from workers.budget_notices import Operators, tell_of_budget
from workers.lifecycle import Stop
from workers.log_reader import LogReader
from workers.outage_notices import tell_of_outage
from workers.partitions import PartitionLeases
from workers.reactor import Checkpoints, NotYet, Reactor

log = structlog.get_logger()

CONSUMER = "notifier"
ATTEMPTS_MAX = 5

HANDLED = frozenset(
    event.tag
    for event in (
        StateChanged,
        ConditionMetAgain,
        MonitorFailing,
        MonitorRecovered,
        EmailVerificationRequested,
        RegistrationRepeated,
        BudgetExhausted,
    )
)


class TriggersOf(Protocol):
    """Which triggers watch a monitor."""

    async def of_monitor(self, monitor_id: UUID, *, partition: int, place: int) -> list[UUID] | None:
        """Triggers that existed at this place of the log; None while the read tables have not come that far."""
        ...


class ReadTablesBehind(NotYet):
    """The read tables have not come as far as the change."""


class Notifier:
    """One of any number of notifiers.

    Two that handle the same entry by accident decide on the same streams, and the loser's append is refused.
    """

    def __init__(
        self,
        reader: LogReader,
        checkpoints: Checkpoints,
        partitions: PartitionLeases,
        store: EventStore,
        triggers: TriggersOf,
        operators: Operators,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._reactor = Reactor(reader, checkpoints, partitions, name=CONSUMER, handles=HANDLED, react=self.react)
        self._store = store
        self._triggers = triggers
        self._operators = operators
        self._now = now

    async def run(self, stop: Stop) -> None:
        """React until asked to stop, then hand the partitions over."""
        await self._reactor.run(stop)

    async def step(self) -> float:
        """Handle one batch and move the checkpoints; how many seconds to rest."""
        return await self._reactor.step()

    async def react(self, entry: LogEntry) -> None:
        """Do what an entry asks for; done twice, it changes nothing the second time. Raises `ReadTablesBehind`, and
        whatever may be wrong with the entry."""
        if await self._store.is_erased(entry.owner_id):
            log.info("nothing is done for an erased person", type=entry.type, stream_id=str(entry.stream_id))
            return
        stored = await self._opened(entry) if personal_fields(entry.type) else decode_entry(entry)
        match stored.event:
            case StateChanged() | ConditionMetAgain():
                for trigger_id in await self._triggers_at(entry):
                    await self._fire(trigger_id, stored, stored.event, entry.place)
            case MonitorFailing() | MonitorRecovered():
                await tell_of_outage(self._store, stored, stored.event, now=self._now())
            case BudgetExhausted():
                await tell_of_budget(self._store, self._operators, stored, stored.event, now=self._now())
            case EmailVerificationRequested(token_id=token_id, email=email, expires_at=expires_at):
                request = NotificationRequested(
                    kind=MailKind.VERIFY_EMAIL,
                    to=email,
                    subject="Vigil: confirm your address",
                    token_id=token_id,
                    expires_at=expires_at,
                    requested_at=self._now(),
                )
                await self._tell(stored, request)
            case RegistrationRepeated(email=email):
                request = NotificationRequested(
                    kind=MailKind.ALREADY_REGISTERED,
                    to=email,
                    subject="Vigil: you already have an account",
                    requested_at=self._now(),
                )
                await self._tell(stored, request)
            case _:
                pass

    async def _opened(self, entry: LogEntry) -> StreamEvent:
        """The event with what its person said, which is sealed in the log."""
        return (await self._store.load(entry.stream_id, after_version=entry.version - 1))[0]

    async def _triggers_at(self, entry: LogEntry) -> list[UUID]:
        """The read tables must have come as far as the change, or a trigger made just before it would be missed."""
        found = await self._triggers.of_monitor(entry.stream_id, partition=entry.partition, place=entry.place)
        if found is None:
            raise ReadTablesBehind
        return found

    async def _fire(self, trigger_id: UUID, stored: StreamEvent, occasion: Occasion, place: int) -> None:
        """Decide with the trigger and record its decision together with the notifications it leads to."""
        for _ in range(ATTEMPTS_MAX):
            trigger = await load(self._store, TRIGGER, trigger_id)
            if trigger.state.action_id is None:
                return None
            action = (await load(self._store, ACTION, trigger.state.action_id)).state.config
            person = (await load(self._store, USER, stored.owner_id)).state
            obstacle = "action_deleted" if action is None else None if person.verified else "address_unverified"
            events = fire(trigger_id, trigger.state, occasion, place=place, obstacle=obstacle, now=self._now())
            if not events:
                return None
            batch = [_new(trigger_id, stored, trigger.version, events)]
            for event in events:
                if isinstance(event, TriggerFired) and action is not None:
                    batch += await self._notifications(
                        trigger_id, trigger.state.action_id, event, stored, occasion, action, person.email
                    )
            try:
                return await self._store.append(batch, metadata=_because_of(stored))
            except ConcurrentAppend:
                continue
        raise ConcurrentAppend

    async def _notifications(
        self,
        trigger_id: UUID,
        action_id: UUID,
        firing: TriggerFired,
        stored: StreamEvent,
        occasion: Occasion,
        action: EmailAction,
        own_address: str,
    ) -> list[NewEvents]:
        monitor = (await load(self._store, MONITOR, firing.monitor_id)).state
        state = occasion.to_state if isinstance(occasion, StateChanged) else State.ACTIVE
        subject = render_subject(
            action.subject_template,
            monitor=monitor.name,
            state=state.value,
            explanation=monitor.current_plan.explanation,
        )
        notifications: list[NewEvents] = []
        for recipient in {to.lower(): to for to in action.to or (own_address,)}.values():
            request = NotificationRequested(
                kind=MailKind.ALERT,
                to=recipient,
                subject=subject,
                monitor_id=firing.monitor_id,
                trigger_id=trigger_id,
                action_id=action_id,
                firing_id=firing.firing_id,
                evaluation_id=firing.evaluation_id,
                requested_at=firing.fired_at,
            )
            notifications.append(_new(notification_id(firing.firing_id, recipient), stored, 0, [request]))
        return notifications

    async def _tell(self, stored: StreamEvent, request: NotificationRequested) -> None:
        """An account mail, one for each event that asks for it."""
        new = _new(uuid5(stored.event_id, request.kind.value), stored, 0, [request])
        try:
            await self._store.append([new], metadata=_because_of(stored))
        except ConcurrentAppend:
            log.info("notification exists already", notification_id=str(new.stream_id))


def _new(stream_id: UUID, cause: StreamEvent, expected_version: int, events: Sequence[Event]) -> NewEvents:
    return NewEvents(
        stream_id=stream_id, owner_id=cause.owner_id, expected_version=expected_version, events=tuple(events)
    )


def _because_of(cause: StreamEvent) -> Metadata:
    return Metadata(correlation_id=cause.metadata.correlation_id, causation_id=cause.event_id, actor=CONSUMER)
