"""A small world for tests of the read API: events appended, sequenced and projected by the real parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from domain.action import ActionCreated, EmailAction
from domain.evaluation import EvaluationCompleted, Evidence, FactExtracted, Verdict
from domain.event import Event, Metadata, NewEvents
from domain.fact import Fact, FactSpec, FactType, FactValue
from domain.log_entry import PARTITIONS, LogEntry
from domain.model_call import CallOutcome, ModelCalled, Task, TokenUsage
from domain.monitor import MonitorCreated, State, StateChanged
from domain.notification import MailKind, NotificationRequested
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.signal import SignalReceived, signal_id
from domain.signal_source import SignalSourceCreated
from domain.source import HttpSource
from domain.trigger import Frequency, TriggerCondition, TriggerCreated, TriggerFired
from domain.user import UserRegistered
from projections.core import CORE
from tests.conftest import AT

HASH = "a" * 64
URL = "https://shop.example/price.json"


def minutes(count: float) -> datetime:
    return AT + timedelta(minutes=count)


def plan(*, kind: Kind = Kind.CURRENT_STATE, fact: str = "price") -> Plan:
    return Plan(
        kind=kind,
        facts=(FactSpec(name=fact, type=FactType.NUMBER, unit="EUR"),),
        condition=f"{fact} < 50.0",
        schedule=Every(seconds=300),
        sources=(HttpSource(url=URL),),
        explanation="Fires when the price falls under 50 EUR.",
    )


def price(value: FactValue, at: datetime, *, name: str = "price", type: FactType = FactType.NUMBER) -> Fact:  # noqa: A002
    return Fact(
        name=name,
        type=type,
        value=value,
        unit="EUR",
        quote=str(value),
        source_url=URL,
        evidence_hash=HASH,
        observed_at=at,
    )


def completed(monitor_id: UUID, at: datetime, *, verdict: Verdict, before: State, after: State) -> EvaluationCompleted:
    return EvaluationCompleted(
        monitor_id=monitor_id,
        plan_revision=1,
        due_at=at,
        verdict=verdict,
        state_before=before,
        state_after=after,
        condition="price < 50.0",
        inputs={"price": 49.0},
        streak=1,
        evidence=(Evidence(url=URL, outcome="ok", hash=HASH, fetched_at=at),),
        provider="rules",
        cost_micros=7,
        duration_ms=12,
        started_at=at,
        completed_at=at,
    )


@dataclass
class World:
    """Appends events at the end of their streams. `project` brings everything appended into the read tables."""

    pool: Pool
    versions: dict[UUID, int] = field(default_factory=dict)
    appended: int = 0
    projected: int = 0

    def __post_init__(self) -> None:
        self.store = PostgresEventStore(self.pool, new_id=uuid7)
        self.log = PostgresLog(self.pool)
        self.tables = PostgresReadTables(self.pool, CORE)

    async def append(self, owner_id: UUID, stream_id: UUID, *events: Event) -> None:
        version = self.versions.get(stream_id, 0)
        new = NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=version, events=events)
        await self.store.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"))
        self.versions[stream_id] = version + len(events)
        self.appended += len(events)

    async def sequence(self) -> list[LogEntry]:
        return await self.log.sequence_batch()

    async def apply(self, entries: Sequence[LogEntry]) -> None:
        places = await self.tables.places(range(PARTITIONS))
        moved = await self.tables.apply(entries, places=places, epochs=dict.fromkeys(range(PARTITIONS), 0))
        assert moved is not None
        self.projected += len(entries)

    async def project(self) -> None:
        # An older transaction anywhere in the cluster (autovacuum) may hold events back for a moment.
        while self.projected < self.appended:
            entries = await self.sequence()
            if entries:
                await self.apply(entries)

    async def person(self, name: str = "Ada") -> UUID:
        user_id = uuid7()
        registered = UserRegistered(
            email=f"{name}-{user_id.hex}@example.org".lower(), name=name, timezone="Europe/Berlin", registered_at=AT
        )
        await self.append(user_id, user_id, registered)
        return user_id

    async def monitor(
        self, owner_id: UUID, name: str = "Price", *, prompt: str = "Tell me", at: datetime = AT, of: Plan | None = None
    ) -> UUID:
        monitor_id = uuid7()
        created = MonitorCreated(name=name, prompt=prompt, plan=of or plan(), created_at=at)
        await self.append(owner_id, monitor_id, created)
        return monitor_id

    async def evaluation(
        self,
        owner_id: UUID,
        monitor_id: UUID,
        at: datetime,
        *facts: Fact,
        verdict: Verdict = Verdict.NOT_MET,
        before: State = State.INACTIVE,
        after: State = State.INACTIVE,
        program: str | None = None,
    ) -> UUID:
        """A completed evaluation, with the monitor's change when the state changed."""
        evaluation_id = uuid7()
        read = [FactExtracted(monitor_id=monitor_id, fact=fact) for fact in facts]
        outcome = completed(monitor_id, at, verdict=verdict, before=before, after=after)
        await self.append(owner_id, evaluation_id, *read, msgspec.structs.replace(outcome, program=program))
        if before is not after:
            change = StateChanged(from_state=before, to_state=after, evaluation_id=evaluation_id, changed_at=at)
            await self.append(owner_id, monitor_id, change)
        return evaluation_id

    async def action(self, owner_id: UUID, name: str = "Mail me", *, at: datetime = AT) -> UUID:
        action_id = uuid7()
        config = EmailAction(to=("ada@example.org",), subject_template="{monitor}: {state}")
        await self.append(owner_id, action_id, ActionCreated(name=name, config=config, created_at=at))
        return action_id

    async def trigger(
        self, owner_id: UUID, monitor_id: UUID, action_id: UUID, *, name: str = "Alert", cooldown_seconds: int = 0
    ) -> UUID:
        trigger_id = uuid7()
        created = TriggerCreated(
            monitor_id=monitor_id,
            action_id=action_id,
            name=name,
            condition=TriggerCondition.BECOMES_ACTIVE,
            frequency=Frequency.EVERY_TIME,
            cooldown_seconds=cooldown_seconds,
            created_at=AT,
        )
        await self.append(owner_id, trigger_id, created)
        return trigger_id

    async def firing(
        self, owner_id: UUID, trigger_id: UUID, monitor_id: UUID, evaluation_id: UUID, at: datetime
    ) -> UUID:
        firing_id = uuid7()
        fired = TriggerFired(
            firing_id=firing_id, monitor_id=monitor_id, evaluation_id=evaluation_id, occasion=1, fired_at=at
        )
        await self.append(owner_id, trigger_id, fired)
        return firing_id

    async def signal_source(
        self, owner_id: UUID, name: str = "Greenhouse", *, silent_after_seconds: int | None = None
    ) -> UUID:
        source_id = uuid7()
        created = SignalSourceCreated(
            name=name,
            schema='{"type":"object"}',
            silent_after_seconds=silent_after_seconds,
            secret_id=uuid7(),
            created_at=AT,
        )
        await self.append(owner_id, source_id, created)
        return source_id

    async def signal(
        self, owner_id: UUID, source_id: UUID, webhook_id: str, at: datetime, body: str = '{"a": 1.10}'
    ) -> UUID:
        id = signal_id(source_id, webhook_id)  # noqa: A001  the field's name
        received = SignalReceived(
            source_id=source_id, webhook_id=webhook_id, body=body, evaluations=(uuid7(),), sent_at=at, received_at=at
        )
        await self.append(owner_id, id, received)
        return id

    async def model_call(self, owner_id: UUID) -> UUID:
        call_id = uuid7()
        called = ModelCalled(
            task=Task.EXTRACT,
            provider="claude",
            model="claude-haiku-4-5",
            outcome=CallOutcome.OK,
            usage=TokenUsage(input_tokens=1_000),
            cost_micros=1_000,
            prices="genai-prices",
            started_at=AT,
            duration_ms=812,
        )
        await self.append(owner_id, call_id, called)
        return call_id

    async def notification(
        self, owner_id: UUID, *, monitor_id: UUID | None = None, at: datetime = AT, subject: str = "Price is active"
    ) -> UUID:
        notification_id = uuid7()
        requested = NotificationRequested(
            kind=MailKind.ALERT, to="ada@example.org", subject=subject, monitor_id=monitor_id, requested_at=at
        )
        await self.append(owner_id, notification_id, requested)
        return notification_id
