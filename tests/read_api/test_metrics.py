"""What Prometheus scrapes: the figures of the log and its consumers, from the database, and the counts of the process."""

import asyncio
import re
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import psycopg
import pytest
from litestar import Litestar
from litestar.middleware import DefineMiddleware
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from uuid_utils.compat import uuid7

from adapters.model_figures import ModelFigures
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_schedule import PostgresSchedule
from adapters.prometheus_metrics import CountedEventStore, CountedLog, CountedReadTables, PrometheusMetrics
from bootstrap.metrics import metrics_route
from bootstrap.settings import read_settings
from commands.caller import Principal
from commands.event_store import ConcurrentAppend
from commands.http.bearer import BearerAuthentication
from commands.http.failures import EXCEPTION_HANDLERS
from commands.http.request import RequestIds
from domain.breaker import BreakerState, BreakerView
from domain.event import Metadata, NewEvents
from domain.log_entry import PARTITIONS
from domain.model_call import CallOutcome, ModelCalled, Task, TokenUsage
from domain.user import RoleGranted
from projections.core import CORE
from tests.conftest import AT
from tests.read_api.conftest import nobody_is_erased

EVERYWHERE = "0.0.0.0"  # noqa: S104  compared, not bound
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


class NoTokens:
    """Knows nobody."""

    def read(self, token: str) -> Principal:
        raise AssertionError(token)


class Scraped:
    """An installation's figures, by name and consumer."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.store = CountedEventStore(pool, new_id=uuid7)
        self.log = CountedLog(pool)
        self.tables = CountedReadTables(pool, CORE)
        self.metrics = PrometheusMetrics(pool, now=lambda: AT)

    async def append(self, stream_id: UUID, *, after: int = 0) -> None:
        event = RoleGranted(role="auditor", granted_at=AT)
        new = NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=after, events=(event,))
        await self.store.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"))

    async def project(self) -> None:
        places = await self.tables.places(range(PARTITIONS))
        for partition in range(PARTITIONS):
            entries = await self.log.read(partition, after_place=places[partition], limit=100)
            if entries:
                await self.tables.apply(entries, places=places, epochs=dict.fromkeys(range(PARTITIONS), 1))

    async def figures(self) -> dict[str, float]:
        page = (await self.metrics.page()).decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


@pytest.fixture
def scraped(application_pool: Pool) -> Scraped:
    return Scraped(application_pool)


async def test_the_way_of_an_event_shows_in_the_figures(scraped: Scraped) -> None:
    at_first = await scraped.figures()
    stream = uuid7()
    await scraped.append(stream)
    await scraped.append(stream, after=1)
    with pytest.raises(ConcurrentAppend):
        await scraped.append(stream, after=1)
    appended = await scraped.figures()
    assert (appended["vigil_log_position"], appended["vigil_log_waiting_events"]) == (0, 2)
    assert appended["vigil_log_waiting_seconds"] > 0
    assert await scraped.log.sequence_batch()
    assert await scraped.log.sequence_batch() == []
    await scraped.tables.places(range(PARTITIONS))
    sequenced = await scraped.figures()
    assert (sequenced["vigil_log_position"], sequenced["vigil_log_waiting_events"]) == (2, 0)
    assert sequenced["vigil_consumer_lag_events core"] == 2
    assert sequenced["vigil_consumer_lag_seconds core"] > 0
    await scraped.project()
    async with scraped.pool.connection() as connection:
        await connection.execute(
            "insert into parked select 'core', 0, n, gen_random_uuid(), 'x' from generate_series(1, 3) n"
        )
    projected = await scraped.figures()
    assert (projected["vigil_consumer_lag_events core"], projected["vigil_consumer_lag_seconds core"]) == (0, 0)
    assert projected["vigil_consumer_parked_events core"] == 3
    assert "vigil_consumer_heartbeat_age_seconds core" in projected
    counted = {name: projected[name] - at_first[name] for name in projected if name.endswith("_total")}
    assert counted == {
        "vigil_events_appended_total": 2,
        "vigil_append_conflicts_total": 1,
        "vigil_rates_counted_alone_total": 0,
        "vigil_relay_batches_total": 1,
        "vigil_relay_events_total": 2,
        "vigil_projector_batches_total": 1,
        "vigil_projector_events_total": 2,
    }


async def test_an_open_transaction_and_a_restored_store_show(scraped: Scraped, database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute("select pg_current_xact_id()")
        await scraped.append(uuid7())
        held = await scraped.figures()
        assert held["vigil_log_held"] == 1
        assert held["vigil_oldest_transaction_seconds"] > 0
        other.rollback()
        other.execute("update log_head set cluster = 1")
        other.commit()
    free = await scraped.figures()
    assert (free["vigil_log_held"], free["vigil_store_restored"]) == (0, 1)


async def test_without_the_database_the_counts_are_still_told(scraped: Scraped, database: str) -> None:
    assert (await scraped.figures())["vigil_database_up"] == 1
    async with open_pool(database, size_max=1, size_min=0) as closed:
        scraped.metrics = PrometheusMetrics(closed, now=lambda: AT)
    figures = await scraped.figures()
    assert figures["vigil_database_up"] == 0
    assert "vigil_events_appended_total" in figures
    assert "vigil_log_position" not in figures


async def test_those_who_scrape_at_the_same_moment_cost_the_database_one_answer(scraped: Scraped) -> None:
    class Counted(PrometheusMetrics):
        asked = 0

        async def _asked(self) -> list[GaugeMetricFamily]:
            self.asked += 1
            return await super()._asked()

    metrics = Counted(scraped.pool, now=lambda: AT)
    pages = await asyncio.gather(*(metrics.page() for _ in range(50)))
    assert (metrics.asked, len(set(pages))) == (1, 1)
    assert b"vigil_database_up 1.0" in pages[0]
    await metrics.page()
    assert metrics.asked == 2


async def scrape(scraped: Scraped, *, token: str | None = None, **settings: str) -> httpx.Response:
    """The answer of an API with these settings."""
    app = Litestar(
        route_handlers=[metrics_route(scraped.metrics, read_settings(**settings))],
        middleware=[DefineMiddleware(BearerAuthentication, tokens=NoTokens(), is_erased=nobody_is_erased)],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app=cast("Any", RequestIds(app, new_id=uuid7)))
    async with httpx.AsyncClient(transport=transport, base_url="http://vigil.test") as client:
        return await client.get("/metrics", headers=headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_on_this_machine_anybody_may_scrape_and_learns_of_nobody(scraped: Scraped, host: str) -> None:
    stream = uuid7()
    await scraped.append(stream)
    answer = await scrape(scraped, http_host=host)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "vigil_log_waiting_events 1.0\n" in answer.text
    assert str(stream) not in answer.text


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.0.0.7", "vigil.example"])
async def test_an_api_that_others_reach_tells_no_figures_without_a_token(scraped: Scraped, host: str) -> None:
    answer = await scrape(scraped, http_host=host)
    assert answer.status_code == 403
    assert "set VIGIL_METRICS_TOKEN" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["127.0.0.1", EVERYWHERE])
async def test_with_a_token_only_who_sends_it_may_scrape(scraped: Scraped, host: str) -> None:
    secret = "a token of Prometheus"
    wrong = [None, "another token altogether", secret[:-1], f"{secret}x", ""]
    refused = [await scrape(scraped, http_host=host, metrics_token=secret, token=token) for token in wrong]
    assert [answer.status_code for answer in refused] == [401] * len(wrong)
    answer = await scrape(scraped, http_host=host, metrics_token=secret, token=secret)
    assert answer.status_code == 200


async def asked_models() -> bytes:
    """What one call of a model leaves, and a breaker."""
    figures = ModelFigures()
    called = ModelCalled(
        task=Task.EXTRACT,
        provider="claude",
        model="opus",
        outcome=CallOutcome.OK,
        usage=TokenUsage(input_tokens=1),
        cost_micros=1,
        prices="t",
        started_at=AT,
        duration_ms=1,
    )
    figures.count("opus", called, is_failover=True)
    return figures.page([BreakerView(provider="claude", model="opus", state=BreakerState.CLOSED)])


async def test_every_figure_is_told_in_the_operations_page_and_no_other(scraped: Scraped) -> None:
    await scraped.tables.places(range(PARTITIONS))
    await PostgresSchedule(scraped.pool).beat("scheduler", "test")
    scraped.metrics = PrometheusMetrics(scraped.pool, now=lambda: AT, more=asked_models)
    names = {name.split()[0] for name in await scraped.figures()}
    assert names == set(re.findall(r"(?m)^\| `(vigil_[a-z_]+)`", OPERATIONS.read_text()))
