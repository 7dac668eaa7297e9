"""The `eventsourcing` library's own suites for projections, unchanged, against a Vigil store.

What of them cannot apply: `TaggedDecisionCountersProjectionTestCase`, whose events lie in no stream; a Vigil store has
streams only. An event-sourced projection writes to the log of its own store, so it has another than it follows.
"""

import uuid

import psycopg
import pytest
from eventsourcing.persistence import Tracking
from eventsourcing.tests import projection as suites
from psycopg import sql

from adapters.eventsourcing_connection import StoreConnections
from adapters.eventsourcing_tracking import VigilTrackingRecorder
from tests.conformance.vigil_store import OnFreshStore
from tests.conftest import database_url


class EventCounters(VigilTrackingRecorder, suites.EventCountersView):
    """A view with a table of its own, moved in the transaction of its tracking."""

    def __init__(self, connections: StoreConnections, *, consumer: str) -> None:
        super().__init__(connections, consumer=consumer)
        with self.connections.writing() as connection:
            connection.execute("create table if not exists counter (name text primary key, number bigint not null)")

    def get_created_event_counter(self) -> int:
        return self._number("created")

    def get_subsequent_event_counter(self) -> int:
        return self._number("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._count("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._count("subsequent", tracking)

    def _number(self, name: str) -> int:
        with self.connections.reading() as connection:
            row = connection.execute("select number from counter where name = %s", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _count(self, name: str, tracking: Tracking) -> None:
        with self.connections.writing() as connection, connection.transaction():
            connection.execute(
                "insert into counter values (%s, 1) on conflict (name) do update set number = counter.number + 1",
                (name,),
            )
            self.track(connection, tracking)


class TestEventCountersView(OnFreshStore, suites.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> suites.EventCountersView:
        view = self.open_factory().tracking_recorder(EventCounters)
        assert isinstance(view, EventCounters)
        return view


class TestEventCountersProjection(OnFreshStore, suites.AggregateEventCountersProjectionTestCase):
    view_class = EventCounters


class TestEventSourcedProjection(OnFreshStore, suites.EventSourcedProjectionTestCase):
    @pytest.fixture(autouse=True)
    def _give_the_projection_its_own_store(
        self, postgres_url: str, template_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"c{uuid.uuid1().hex}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            create = sql.SQL("create database {} template {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template_database)))
        monkeypatch.setenv("COUNTERS_VIGIL_DATABASE_URL", database_url(postgres_url, name))
