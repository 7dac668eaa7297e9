"""Histories of people, monitors and evaluations, made by the domain's own decisions: for benchmarks and property tests.

The same seed gives the same history, ids included.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar
from uuid import UUID

from domain import action, evaluation, firing, monitor, notification, trigger, user
from domain.action import EmailAction
from domain.evaluation import EvaluationCompleted, EvaluationEvent, EvaluationFailed, Evidence, FactExtracted, Verdict
from domain.event import Event
from domain.event_codec import encode
from domain.fact import Fact, FactSpec, FactType, Select
from domain.log_entry import PARTITIONS, LogEntry, partition_of
from domain.monitor import Monitor, State, StateChanged, Status
from domain.notification import MailKind, NotificationRequested, notification_id
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from domain.trigger import Frequency, Trigger, TriggerCondition, TriggerFired

S = TypeVar("S")
E = TypeVar("E")

START = datetime(2026, 1, 1, tzinfo=UTC)


class History:
    """Makes one history. Iterate `entries(n)` to get at least `n` log entries in their global order."""

    def __init__(self, seed: int, *, people: int = 20, monitors_each: int = 5) -> None:
        self._random = Random(seed)  # noqa: S311  a reproducible history, no secret
        self._now = START
        self._places = [0] * PARTITIONS
        self._position = 0
        self._versions: dict[UUID, int] = {}
        self._people = people
        self._monitors_each = monitors_each
        self._monitors: dict[UUID, tuple[UUID, Monitor]] = {}
        self._triggers: dict[UUID, tuple[UUID, Trigger]] = {}
        self._actions: dict[UUID, UUID] = {}

    def entries(self, least: int) -> Iterator[LogEntry]:
        """Set-up of all people and monitors, then evaluations with what they set off, and now and then a change."""
        for _ in range(self._people):
            yield from self._person()
        while self._position < least:
            yield from self._something()

    def id(self) -> UUID:
        """An id from the seed."""
        return UUID(int=self._random.getrandbits(128))

    def _stored(self, stream_id: UUID, owner_id: UUID, *events: Event) -> Iterator[LogEntry]:
        for event in events:
            self._now += timedelta(milliseconds=self._random.randint(1, 50))
            partition = partition_of(owner_id)
            self._places[partition] += 1
            self._position += 1
            self._versions[stream_id] = self._versions.get(stream_id, 0) + 1
            yield LogEntry(
                partition,
                self._places[partition],
                self._position,
                stream_id,
                self._versions[stream_id],
                owner_id,
                event.tag,
                event.tag_version,
                encode(event).decode(),
                f'{{"actor":"history","correlation_id":"{stream_id}"}}',
                self.id(),
                self._now.isoformat(),
            )

    def _person(self) -> Iterator[LogEntry]:
        owner_id, token_id = self.id(), self.id()
        email = f"{owner_id.hex[-12:]}@example.org"
        events = user.register(email=email, name="Ada", timezone="UTC", token_id=token_id, now=self._now)
        verified = user.EmailVerified(email=email, verified_at=self._now)
        yield from self._stored(owner_id, owner_id, *events, verified)
        action_id = self.id()
        yield from self._stored(
            action_id,
            owner_id,
            *action.create(name="mail me", config=EmailAction(), own_address=email, now=self._now),
        )
        self._actions[owner_id] = action_id
        for number in range(self._monitors_each):
            yield from self._monitor(owner_id, action_id, number)

    def _monitor(self, owner_id: UUID, action_id: UUID, number: int) -> Iterator[LogEntry]:
        monitor_id, trigger_id = self.id(), self.id()
        plan = Plan(
            kind=Kind.CURRENT_STATE,
            facts=(FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.price")),),
            condition=f"price < {self._random.randint(20, 80)}",
            schedule=Every(seconds=60),
            sources=(HttpSource(url=f"https://shop.example/{number}"),),
            explanation="Watches the price and fires when it is low.",
        )
        created = monitor.create(name=f"price {number}", prompt="Tell me when it is cheap", plan=plan, now=self._now)
        self._monitors[monitor_id] = (owner_id, _folded(Monitor(), created, monitor.evolve))
        yield from self._stored(monitor_id, owner_id, *created)
        linked = trigger.create(
            monitor_id=monitor_id,
            action_id=action_id,
            name="tell me",
            condition=self._random.choice(list(TriggerCondition)),
            frequency=self._random.choice(list(Frequency)),
            cooldown=timedelta(),
            now=self._now,
        )
        self._triggers[trigger_id] = (owner_id, _folded(Trigger(), linked, trigger.evolve))
        yield from self._stored(trigger_id, owner_id, *linked)

    def _something(self) -> Iterator[LogEntry]:
        monitor_id = self._random.choice(list(self._monitors))
        owner_id, state = self._monitors[monitor_id]
        dice = self._random.random()
        if state.status is Status.ACTIVE and dice < 0.97:
            yield from self._evaluation(monitor_id, owner_id, state)
            return
        events: list[monitor.MonitorEvent] = []
        if state.status is not Status.ARCHIVED:
            change = self._random.choice(["rename", "pause", "resume", "revise"])
            match change:
                case "rename":
                    events = monitor.rename(state, name=f"named {self._random.randint(1, 99)}", now=self._now)
                case "pause":
                    events = monitor.pause(state, now=self._now)
                case "resume":
                    events = monitor.resume(state, now=self._now)
                case _:
                    events = monitor.revise(state, prompt="Another wording", plan=state.current_plan, now=self._now)
        self._monitors[monitor_id] = (owner_id, _folded(state, events, monitor.evolve))
        yield from self._stored(monitor_id, owner_id, *events)
        trigger_id = self._random.choice(list(self._triggers))
        trigger_owner, armed = self._triggers[trigger_id]
        toggled = (trigger.disable if armed.enabled else trigger.enable)(armed, now=self._now)
        self._triggers[trigger_id] = (trigger_owner, _folded(armed, toggled, trigger.evolve))
        yield from self._stored(trigger_id, trigger_owner, *toggled)

    def _evaluation(self, monitor_id: UUID, owner_id: UUID, state: Monitor) -> Iterator[LogEntry]:
        evaluation_id, price = self.id(), float(self._random.randint(1, 100))
        seen = Evidence(url="https://shop.example/", outcome="ok", hash="0" * 64, fetched_at=self._now)
        if self._random.random() < 0.02:
            yield from self._stored(evaluation_id, owner_id, self._failure(monitor_id, seen))
            return
        verdict = Verdict.MET if price < float(state.current_plan.condition.split()[-1]) else Verdict.NOT_MET
        changes = evaluation.conclude(state, verdict=verdict, streak=1, evaluation_id=evaluation_id, now=self._now)
        after = _folded(state, changes, monitor.evolve)
        events: list[EvaluationEvent] = [
            FactExtracted(
                monitor_id=monitor_id,
                fact=Fact(
                    name="price",
                    type=FactType.NUMBER,
                    value=price,
                    quote=str(price),
                    source_url="https://shop.example/",
                    evidence_hash="0" * 64,
                    observed_at=self._now,
                ),
            ),
            self._completion(monitor_id, state, after.state, verdict, price, seen),
        ]
        yield from self._stored(evaluation_id, owner_id, *events)
        self._monitors[monitor_id] = (owner_id, after)
        yield from self._stored(monitor_id, owner_id, *changes)
        for change in changes:
            if isinstance(change, StateChanged):
                yield from self._firings(monitor_id, change)

    def _completion(
        self, monitor_id: UUID, before: Monitor, after: State, verdict: Verdict, price: float, seen: Evidence
    ) -> EvaluationCompleted:
        return EvaluationCompleted(
            monitor_id=monitor_id,
            plan_revision=before.plan_revision,
            due_at=self._now,
            verdict=verdict,
            state_before=before.state,
            state_after=after,
            condition=before.current_plan.condition,
            inputs={"price": price},
            streak=1,
            evidence=(seen,),
            provider="rules",
            duration_ms=3,
            started_at=self._now,
            completed_at=self._now,
        )

    def _failure(self, monitor_id: UUID, seen: Evidence) -> EvaluationFailed:
        return EvaluationFailed(
            monitor_id=monitor_id,
            plan_revision=1,
            due_at=self._now,
            code="SOURCE_SLOW",
            message="the source took too long",
            evidence=(seen,),
            duration_ms=20_000,
            started_at=self._now,
            completed_at=self._now,
        )

    def _firings(self, monitor_id: UUID, change: StateChanged) -> Iterator[LogEntry]:
        for trigger_id, (owner_id, armed) in list(self._triggers.items()):
            if armed.monitor_id != monitor_id:
                continue
            place = self._places[partition_of(owner_id)]
            decided = firing.fire(trigger_id, armed, change, place=place, obstacle=None, now=self._now)
            self._triggers[trigger_id] = (owner_id, _folded(armed, decided, trigger.evolve))
            yield from self._stored(trigger_id, owner_id, *decided)
            for event in decided:
                if isinstance(event, TriggerFired):
                    yield from self._notification(owner_id, trigger_id, event)

    def _notification(self, owner_id: UUID, trigger_id: UUID, fired: TriggerFired) -> Iterator[LogEntry]:
        request = NotificationRequested(
            kind=MailKind.ALERT,
            to="ada@example.org",
            subject="Vigil: price is now active",
            monitor_id=fired.monitor_id,
            trigger_id=trigger_id,
            action_id=self._actions[owner_id],
            firing_id=fired.firing_id,
            evaluation_id=fired.evaluation_id,
            requested_at=self._now,
        )
        state = notification.evolve(notification.Notification(), request)
        events: list[Event] = [request]
        if self._random.random() < 0.2:
            retry = timedelta(seconds=30)
            events += notification.record_failure(
                state, code=451, message="try later", permanent=False, retry_base=retry, now=self._now
            )
        events += notification.record_sent(state, message_id="<m@x>", code=250, message="ok", now=self._now)
        yield from self._stored(notification_id(fired.firing_id, request.to), owner_id, *events)


def _folded(state: S, events: Sequence[E], evolve: Callable[[S, E], S]) -> S:
    for event in events:
        state = evolve(state, event)
    return state
