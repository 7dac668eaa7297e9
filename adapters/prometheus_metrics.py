"""What Prometheus scrapes: how the log and its consumers stand, asked of PostgreSQL at the scrape and so the same from
every process, and counts of what this process did since it began. `docs/operations.md` tells every name."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

import prometheus_client
import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from adapters.postgres_status import ConsumerStatus, EngineStatus, consumer_status, engine_status
from adapters.redis_pacing import Pacing
from commands.event_store import Companion, ConcurrentAppend
from domain.event import Metadata, NewEvents
from domain.log_entry import LogEntry
from domain.log_state import LogState, OpenTransaction

log = structlog.get_logger()

SCRAPE_SECONDS_MAX = 3.0
"""Below the 10 s after which Prometheus gives up: without the database the counts are still told."""
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library says no types there
_counts = CollectorRegistry()
_APPENDED = Counter("vigil_events_appended", "Events this process appended.", registry=_counts)
_CONFLICTS = Counter("vigil_append_conflicts", "Appends that found somebody else's event.", registry=_counts)
_SEQUENCED_BATCHES = Counter("vigil_relay_batches", "Batches this process gave positions to.", registry=_counts)
_SEQUENCED = Counter("vigil_relay_events", "Events this process gave positions to.", registry=_counts)
_PROJECTED_BATCHES = Counter("vigil_projector_batches", "Batches this process projected.", registry=_counts)
_PROJECTED = Counter("vigil_projector_events", "Events this process projected.", registry=_counts)

_COUNTED_ALONE = Counter(
    "vigil_rates_counted_alone", "Places this process counted by itself, because Redis was away.", registry=_counts
)


class CountedEventStore(PostgresEventStore):
    """Counts what is appended, and what found somebody else's event in its place."""

    async def append(
        self, batch: Sequence[NewEvents], *, metadata: Metadata, companions: Sequence[Companion] = ()
    ) -> None:
        """As the store does."""
        try:
            await super().append(batch, metadata=metadata, companions=companions)
        except ConcurrentAppend:
            _CONFLICTS.inc()
            raise
        _APPENDED.inc(sum(len(new.events) for new in batch))


class CountedLog(PostgresLog):
    """Counts what gets its position."""

    async def sequence_batch(self) -> list[LogEntry]:
        """As the log does."""
        entries = await super().sequence_batch()
        if entries:
            _SEQUENCED_BATCHES.inc()
            _SEQUENCED.inc(len(entries))
        return entries


class CountedReadTables(PostgresReadTables):
    """Counts what is projected."""

    async def apply(
        self, entries: Sequence[LogEntry], *, places: Mapping[int, int], epochs: Mapping[int, int]
    ) -> dict[int, int] | None:
        """As the tables do."""
        moved = await super().apply(entries, places=places, epochs=epochs)
        if moved is not None:
            _PROJECTED_BATCHES.inc()
            _PROJECTED.inc(len(entries))
        return moved


class CountedPacing(Pacing):
    """Counts what is not counted for all processes together."""

    def counted_alone(self) -> None:
        """As the name says."""
        _COUNTED_ALONE.inc()


class PrometheusMetrics:
    """The page that is scraped. `more` gives the figures that others keep, and never raises."""

    def __init__(
        self, pool: Pool, *, now: Callable[[], datetime], more: Callable[[], Awaitable[bytes]] | None = None
    ) -> None:
        self._pool = pool
        self._guard = PostgresGuard(pool)
        self._now = now
        self._more = more
        self._asking: asyncio.Task[list[GaugeMetricFamily]] | None = None

    async def page(self) -> bytes:
        """Everything in Prometheus' text format, within `SCRAPE_SECONDS_MAX`; never raises for a database that is away.

        Those who ask at the same moment cost the database one answer for all of them."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._gauges())
        asked = generate_latest(_Families(await asyncio.shield(self._asking)))
        return generate_latest(_counts) + asked + (b"" if self._more is None else await self._more())

    async def _gauges(self) -> list[GaugeMetricFamily]:
        gauges = [_gauge("vigil_database_up", "Whether PostgreSQL answered this scrape.", 0)]
        try:
            async with asyncio.timeout(SCRAPE_SECONDS_MAX):
                gauges = [
                    _gauge("vigil_database_up", "Whether PostgreSQL answered this scrape.", 1),
                    *await self._asked(),
                ]
        except (psycopg.Error, TimeoutError, OSError) as error:
            log.warning("the database did not answer a scrape", error=repr(error))
        return gauges

    async def _asked(self) -> list[GaugeMetricFamily]:
        state, oldest = await self._guard.state(), await self._guard.oldest_open()
        consumers, engine = await consumer_status(self._pool), await engine_status(self._pool)
        return [*_of_log(state, oldest), *_of_consumers(consumers, self._now()), *_of_engine(engine)]


class _Families(Collector):
    """What was asked before the page is written."""

    def __init__(self, families: Sequence[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All of it."""
        return self._families


def _of_log(state: LogState, oldest: OpenTransaction | None) -> list[GaugeMetricFamily]:
    families = [
        _gauge("vigil_log_position", "The position of the last event in the log.", state.position),
        _gauge("vigil_log_waiting_events", "Events without a position, counted up to 10000.", state.waiting_events),
        _gauge("vigil_log_waiting_seconds", "How long the first of them has waited.", state.waiting_seconds),
        _gauge("vigil_log_held", "Whether an open transaction holds the log up.", state.held),
        _gauge("vigil_store_restored", "Whether the store needs `vigil store repair`.", state.restored),
    ]
    open_seconds = 0.0 if oldest is None else oldest.open_seconds
    if open_seconds is not None:  # this role may see how old others' transactions are
        help_text = "Age of the oldest open transaction that has an id, anywhere in the cluster."
        families.append(_gauge("vigil_oldest_transaction_seconds", help_text, open_seconds))
    return families


def _of_consumers(consumers: Sequence[ConsumerStatus], now: datetime) -> list[GaugeMetricFamily]:
    events = _by_consumer("vigil_consumer_lag_events", "Events a consumer has still to take in.")
    seconds = _by_consumer("vigil_consumer_lag_seconds", "How long the next of them has waited.")
    heartbeat = _by_consumer("vigil_consumer_heartbeat_age_seconds", "How long ago a consumer last moved.")
    kept_aside = _by_consumer("vigil_consumer_parked_events", "Events kept aside because they could not be handled.")
    for each in consumers:
        events.add_metric([each.consumer], each.lag_events)
        seconds.add_metric([each.consumer], each.lag_seconds)
        kept_aside.add_metric([each.consumer], each.parked)
        if each.heartbeat_at is not None:
            heartbeat.add_metric([each.consumer], (now - each.heartbeat_at).total_seconds())
    return [events, seconds, heartbeat, kept_aside]


def _of_engine(engine: EngineStatus) -> list[GaugeMetricFamily]:
    heartbeat = GaugeMetricFamily(
        "vigil_worker_heartbeat_age_seconds",
        "How long ago any worker of a kind last said that it works.",
        labels=["worker"],
    )
    for worker, age in engine.heartbeat_ages.items():
        heartbeat.add_metric([worker], age)
    waits = "How long the slot has waited that waits longest."
    return [
        _gauge("vigil_schedule_ready", "Slots that are due and not handed out, counted up to 10000.", engine.ready),
        _gauge("vigil_schedule_slip_seconds", waits, engine.slip_seconds),
        _gauge("vigil_evaluations_handed_out", "Slots that are handed out and not done.", engine.handed_out),
        _gauge("vigil_evaluations_asked", "Evaluations that were asked for and are not done.", engine.asked),
        _gauge("vigil_evaluations_dead", "Evaluations that were given up (`vigil evaluations dead`).", engine.dead),
        heartbeat,
    ]


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


def _by_consumer(name: str, help_text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=["consumer"])
