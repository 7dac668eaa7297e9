"""A small world for tests of the workers: people, monitors, triggers and pages, on the real store and real servers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString, TypeVar
from uuid import UUID

from aiohttp import web
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.cel_condition import CelConditionLanguage
from adapters.fact_reader import FactReader
from adapters.postgres_briefings import PostgresBriefings
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_history import PostgresHistory
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool, is_outage
from adapters.postgres_read_tables import PostgresReadTables
from adapters.postgres_schedule import PostgresSchedule
from adapters.postgres_signals import PostgresSignals
from commands.answer_reading import AnswerReader, FactAsking, FactReading
from commands.event_store import Companion, KeepRequest, KeepSchedule
from commands.judging import Judge
from commands.looking import Looker
from commands.monitors import EVALUATION, MONITOR
from commands.streams import load
from commands.waiting_looks import WaitingLooks
from domain.action import ActionCreated, EmailAction
from domain.evaluation import (
    EvaluationCompleted,
    EvaluationFailed,
    EvaluationJob,
    EvaluationRequested,
    Evidence,
    FactExtracted,
    Lane,
    Verdict,
    evaluation_id,
)
from domain.event import Event, Metadata, NewEvents
from domain.fact import Fact, FactSpec, FactType, Select
from domain.log_entry import PARTITIONS, LogEntry, partition_of
from domain.monitor import ConditionMetAgain, Monitor, MonitorCreated, State, StateChanged
from domain.notification import MailKind, NotificationRequested
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource, Source, signal_ids
from domain.trigger import Frequency, TriggerCondition, TriggerCreated
from domain.user import EmailVerified, RoleGranted, UserRegistered
from projections.core import CORE
from tests.conftest import AT
from workers.evaluator import Evaluator
from workers.known_monitors import KnownMonitors
from workers.lifecycle import Stop
from workers.sight import Sight

E = TypeVar("E", bound=Event)

ADA = "ada@example.org"
PRICE = FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.price"))
EVERY_SECONDS = 300
CONDITIONS = CelConditionLanguage()

_UNSEQUENCED = """
select exists (select from event e where not exists (
    select from event_log l where l.stream_id = e.stream_id and l.version = e.version))
"""


class Clock:
    """A wall clock that stands still until the test moves it."""

    def __init__(self, at: datetime = AT) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Ticks:
    """A monotonic clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.seconds += seconds


class ClearSeals:
    """Keeps secrets as they are: who seals them is tested elsewhere."""

    async def seal(self, _owner_id: UUID, plaintext: bytes, *, associated: bytes) -> bytes:
        return plaintext

    async def unseal(self, _owner_id: UUID, sealed: bytes, *, associated: bytes) -> bytes:
        return sealed


class RestlessStop(Stop):
    """Notes how long a worker would rest, and does not let it; asks to stop after so many rests."""

    def __init__(self, rests_max: int) -> None:
        super().__init__()
        self.rests: list[float] = []
        self._rests_max = rests_max

    async def within(self, seconds: float) -> bool:
        self.rests.append(seconds)
        if len(self.rests) >= self._rests_max:
            self.ask()
        return await super().within(0)


async def until(holds: Callable[[], bool]) -> None:
    """Let others run until it holds."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


def somebody_in(partition: int) -> UUID:
    """The id of a person whose events go to this partition."""
    while partition_of(someone := uuid7()) != partition:
        pass
    return someone


def plan(*urls: str, condition: str = "price < 200", **others: object) -> Plan:
    """A plan over `price`, read as JSON from each url in turn; `others` are fields of `Plan`."""
    sources: tuple[Source, ...] = tuple(HttpSource(url=url) for url in urls)
    fields: dict[str, object] = {
        "kind": Kind.CURRENT_STATE,
        "facts": (PRICE,),
        "schedule": Every(seconds=EVERY_SECONDS),
        "explanation": "Fires when the price is low.",
        **others,
    }
    return Plan(condition=condition, sources=sources or (HttpSource(url="http://127.0.0.1:9/"),), **fields)  # type: ignore[arg-type]  # fields of Plan by name


def price_fact(value: float, at: datetime) -> Fact:
    return Fact(
        name="price",
        type=FactType.NUMBER,
        value=value,
        quote=str(value),
        source_url="http://127.0.0.1/",
        evidence_hash="a" * 64,
        observed_at=at,
    )


class Page:
    """A shop's page on loopback whose answer the test sets."""

    def __init__(self) -> None:
        self.content: dict[str, object] = {"price": 250.0}
        self.status = 200
        self.etag: str | None = None
        self.text: tuple[bytes, str] | None = None
        self.hold: asyncio.Event | None = None
        self.on_request: Callable[[], Awaitable[None]] | None = None
        self.seen: list[dict[str, str]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append(dict(request.headers))
        if self.on_request is not None:
            await self.on_request()
        if self.hold is not None:
            await self.hold.wait()
        headers = {} if self.etag is None else {"ETag": self.etag}
        if self.etag is not None and request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304, headers=headers)
        if self.text is not None:  # these bytes, called so, in place of the content
            body, content_type = self.text
            return web.Response(body=body, headers={**headers, "Content-Type": content_type})
        return web.json_response(self.content, status=self.status, headers=headers)


@dataclass
class World:
    """Appends what people and other workers would, and brings it into the read tables when asked to."""

    pool: Pool
    owner: Pool
    clock: Clock

    def __post_init__(self) -> None:
        self.store = PostgresEventStore(self.pool, new_id=uuid7)
        self.log = PostgresLog(self.pool)
        self.tables = PostgresReadTables(self.pool, CORE)
        self.schedule = PostgresSchedule(self.pool)
        self.signals = PostgresSignals(self.pool, self.store, ClearSeals())

    async def append(
        self, owner_id: UUID, stream_id: UUID, *events: Event, companions: Sequence[Companion] = ()
    ) -> None:
        """Append at the end of a stream."""
        version = len(await self.store.load(stream_id))
        new = NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=version, events=events)
        await self.store.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"), companions=companions)

    async def notes(self, owner_id: UUID, count: int) -> None:
        """So many events of a person that mean nothing to anybody else."""
        events = [RoleGranted(role="member", granted_at=AT) for _ in range(count)]
        await self.append(owner_id, owner_id, *events)

    async def sequence(self) -> list[LogEntry]:
        """Give everything its place. An older transaction in the cluster (autovacuum) may hold events back a moment."""
        entries: list[LogEntry] = []
        while await self.unsequenced():
            entries += await self.log.sequence_batch()
        return entries

    async def unsequenced(self) -> bool:
        """Whether an event still waits for its place."""
        return bool(await self.value(_UNSEQUENCED))

    async def project(self, *, epoch: int = 0) -> None:
        """Bring everything into the read tables."""
        await self.sequence()
        places = await self.tables.places(range(PARTITIONS))
        for partition, head in enumerate(await self.log.places()):
            if head > places[partition]:
                entries = await self.log.read(partition, after_place=places[partition], limit=10_000)
                epochs = dict.fromkeys(range(PARTITIONS), epoch)
                assert await self.tables.apply(entries, places=places, epochs=epochs) is not None

    async def events(self, stream_id: UUID, kind: type[E]) -> list[E]:
        """The events of one type in a stream, in order."""
        return [stored.event for stored in await self.store.load(stream_id) if isinstance(stored.event, kind)]

    async def streams_with(self, kind: type[Event]) -> list[UUID]:
        """The stream of every event of a type, in the order of appending."""
        async with self.pool.connection() as connection:
            rows = await (
                await connection.execute("select stream_id from event where type = %s order by tx, seq", (kind.tag,))
            ).fetchall()
        return [row[0] for row in rows]

    async def all(self, kind: type[E]) -> list[E]:
        """Every event of a type."""
        found: list[E] = []
        for stream_id in dict.fromkeys(await self.streams_with(kind)):
            found += await self.events(stream_id, kind)
        return found

    async def execute(self, statement: LiteralString, *values: object) -> None:
        """Change a table as time or an accident would."""
        async with self.pool.connection() as connection:
            await connection.execute(statement, values)

    async def tamper(self, statement: LiteralString, *values: object) -> None:
        """Change what the triggers of the store guard, which only the owner of the database can."""
        async with self.owner.connection() as connection, connection.transaction():
            await connection.execute("set local session_replication_role = replica")
            await connection.execute(statement, values)

    async def value(self, query: LiteralString, *values: object) -> object:
        """The first column of the first row."""
        async with self.pool.connection() as connection:
            row = await (await connection.execute(query, values)).fetchone()
        return None if row is None else row[0]

    async def person(self, *, verified: bool = True, email: str = ADA) -> UUID:
        owner_id = uuid7()
        events: list[Event] = [UserRegistered(email=email, name="Ada", timezone="Europe/Berlin", registered_at=AT)]
        if verified:
            events.append(EmailVerified(email=email, verified_at=AT))
        await self.append(owner_id, owner_id, *events)
        return owner_id

    async def monitor(self, owner_id: UUID, of: Plan, *, due_at: datetime | None = None, active: bool = True) -> UUID:
        """A monitor, due now unless said otherwise."""
        monitor_id = uuid7()
        due = KeepSchedule(
            monitor_id,
            owner_id,
            of.schedule,
            active=active,
            due_at=due_at or self.clock(),
            signals=signal_ids(of.sources),
        )
        created = MonitorCreated(name="Kettle", prompt="Tell me when it is cheap", plan=of, created_at=AT)
        await self.append(owner_id, monitor_id, created, companions=[due])
        return monitor_id

    async def due_at(self, monitor_id: UUID) -> datetime:
        found = await self.value("select due_at from schedule where monitor_id = %s", monitor_id)
        assert isinstance(found, datetime)
        return found

    async def slot(self, owner_id: UUID, monitor_id: UUID) -> EvaluationJob:
        """The job of the monitor's present slot, as the scheduler makes it when it hands it out now."""
        due_at = await self.due_at(monitor_id)
        return EvaluationJob(
            evaluation_id=evaluation_id(monitor_id, due_at),
            monitor_id=monitor_id,
            owner_id=owner_id,
            due_at=due_at,
            handed_out_at=self.clock(),
        )

    async def request(self, owner_id: UUID, monitor_id: UUID) -> EvaluationJob:
        """Somebody asks to evaluate now."""
        job = EvaluationJob(
            evaluation_id=uuid7(),
            monitor_id=monitor_id,
            owner_id=owner_id,
            due_at=self.clock(),
            lane=Lane.ASKED,
            handed_out_at=self.clock(),
        )
        await self.append(
            owner_id,
            job.evaluation_id,
            EvaluationRequested(monitor_id=monitor_id, requested_at=job.due_at),
            companions=[KeepRequest(job.evaluation_id, monitor_id, owner_id, job.due_at)],
        )
        return job

    async def state(self, monitor_id: UUID) -> Monitor:
        return (await load(self.store, MONITOR, monitor_id)).state

    async def outcome(self, job: EvaluationJob) -> EvaluationCompleted | EvaluationFailed | None:
        return (await load(self.store, EVALUATION, job.evaluation_id)).state.outcome

    async def verdict(self, job: EvaluationJob) -> EvaluationCompleted:
        found = await self.outcome(job)
        assert isinstance(found, EvaluationCompleted), found
        return found

    async def change(
        self, owner_id: UUID, monitor_id: UUID, before: State = State.INACTIVE, after: State = State.ACTIVE
    ) -> UUID:
        """An evaluation that moved the monitor to another state (or met its condition again); the evaluation's id."""
        found_id, at = uuid7(), self.clock()
        completed = EvaluationCompleted(
            monitor_id=monitor_id,
            plan_revision=1,
            due_at=at,
            verdict=Verdict.MET if after is State.ACTIVE else Verdict.NOT_MET,
            state_before=before,
            state_after=after,
            condition="price < 200",
            inputs={"price": 187.5},
            streak=1,
            evidence=(Evidence(url="http://127.0.0.1/", outcome="ok", hash="a" * 64, fetched_at=at),),
            provider="rules",
            duration_ms=3,
            started_at=at,
            completed_at=at,
        )
        await self.append(
            owner_id, found_id, FactExtracted(monitor_id=monitor_id, fact=price_fact(187.5, at)), completed
        )
        occasion: Event = ConditionMetAgain(evaluation_id=found_id, met_at=at)
        if before is not after:
            occasion = StateChanged(from_state=before, to_state=after, evaluation_id=found_id, changed_at=at)
        await self.append(owner_id, monitor_id, occasion)
        return found_id

    async def action(self, owner_id: UUID, *to: str, subject_template: str | None = None) -> UUID:
        action_id = uuid7()
        config = EmailAction(to=to, subject_template=subject_template)
        await self.append(owner_id, action_id, ActionCreated(name="mail", config=config, created_at=AT))
        return action_id

    async def trigger(
        self,
        owner_id: UUID,
        monitor_id: UUID,
        action_id: UUID,
        *,
        condition: TriggerCondition = TriggerCondition.BECOMES_ACTIVE,
        frequency: Frequency = Frequency.EVERY_TIME,
        cooldown_seconds: int = 0,
    ) -> UUID:
        trigger_id = uuid7()
        created = TriggerCreated(
            monitor_id=monitor_id,
            action_id=action_id,
            name="tell me",
            condition=condition,
            frequency=frequency,
            cooldown_seconds=cooldown_seconds,
            created_at=AT,
        )
        await self.append(owner_id, trigger_id, created)
        return trigger_id

    async def alert(self, owner_id: UUID, monitor_id: UUID, found_id: UUID, *, to: str = ADA) -> UUID:
        """The wish to tell somebody of a change; the notification's id."""
        alert_id = uuid7()
        requested = NotificationRequested(
            kind=MailKind.ALERT,
            to=to,
            subject="Vigil: Kettle is now active",
            monitor_id=monitor_id,
            evaluation_id=found_id,
            requested_at=self.clock(),
        )
        await self.append(owner_id, alert_id, requested)
        return alert_id

    def evaluator(
        self,
        fetcher: AiohttpFetcher,
        *,
        reading: FactReading | None = None,
        models: FactAsking | None = None,
        waiting: WaitingLooks | None = None,
        retries_max: int = 0,
    ) -> Evaluator:
        """A real evaluator on this world's clock, which takes the first answer of a source for its last."""
        return Evaluator(
            store=self.store,
            monitors=KnownMonitors(self.store),
            briefings=PostgresBriefings(self.pool),
            sight=Sight(
                Looker(
                    fetcher=fetcher,
                    reader=AnswerReader(reading or FactReader(), models),
                    kept=PostgresHistory(self.pool),
                    signals=self.signals,
                    waiting=waiting,
                ),
                now=self.clock,
                is_outage=is_outage,
                retries_max=retries_max,
            ),
            judge=Judge(CONDITIONS, PostgresHistory(self.pool)),
            now=self.clock,
        )
