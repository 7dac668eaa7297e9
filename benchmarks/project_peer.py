"""What the live projection is compared with: the `eventsourcing` library's `ProjectionRunner` on its own tables.

It does the same work on the same events: for each, the SQL of Vigil's projection brings it into read tables of the same
shape, and the library's tracking is moved in the same transaction. It runs as the library does, event by event.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from uuid_utils.compat import uuid7

from adapters import yoyo_migrations
from adapters.postgres_read_tables import statements_for
from domain.log_entry import LogEntry
from projections.core import CORE

STORED_AT_ONCE = 500
LATE_SECONDS_MAX = 300

_entry_encoder = msgspec.json.Encoder()
_entry_decoder = msgspec.json.Decoder(LogEntry)


class EntryMapper(Mapper):  # type: ignore[type-arg]  # ids are UUIDs, as the library assumes
    """Hands the stored entry on as it is, which costs the library less than its own mapper would."""

    def to_domain_event(self, stored_event: StoredEvent) -> LogEntry:  # type: ignore[override]  # any object will do
        """The entry in the stored state."""
        return _entry_decoder.decode(stored_event.state)


class PeerApplication(Application):  # type: ignore[type-arg]  # as above
    """A plain application on the library's PostgreSQL tables."""


class PeerTables(PostgresTrackingRecorder):
    """Read tables that change in the transaction of the library's tracking."""

    handlers = CORE.by_type()

    def apply(self, entry: LogEntry, tracking: Tracking) -> None:
        """Bring one event into the tables."""
        handler = self.handlers.get(entry.type)
        with self.datastore.transaction(commit=True) as cursor:
            for statement, values in statements_for(handler, [entry]) if handler else ():
                cursor.execute(statement, values)
            self._insert_tracking(cursor, tracking)


class PeerProjection(Projection[PeerTables]):
    """The library's form of a projection."""

    name = "peer"

    def process_event(self, domain_event: LogEntry, tracking: Tracking) -> None:
        """As the library calls it."""
        self.view.apply(domain_event, tracking)


def library_rate(database_url: str, entries: Sequence[LogEntry]) -> float:
    """Events a second that the library's runner projects, from its start until the last is tracked; in a database of its
    own on the same server, with the events stored before."""
    with _own_database(database_url) as url:
        environment = _environment(url)
        last = _store(environment, entries)
        started = time.perf_counter()
        with ProjectionRunner(
            application_class=PeerApplication, projection_class=PeerProjection, view_class=PeerTables, env=environment
        ) as runner:
            runner.wait(last, timeout=LATE_SECONDS_MAX)
            took = time.perf_counter() - started
        _check(url, entries)
    return len(entries) / took


def _store(environment: dict[str, str], entries: Sequence[LogEntry]) -> int | None:
    """Fill the library's store; the last event's id there."""
    topic = get_topic(LogEntry)
    with PeerApplication(env=environment) as application:
        recorder = application.recorder
        for start in range(0, len(entries), STORED_AT_ONCE):
            part = entries[start : start + STORED_AT_ONCE]
            recorder.insert_events([StoredEvent(e.stream_id, e.version, topic, _entry_encoder.encode(e)) for e in part])
        return recorder.max_notification_id()


@contextmanager
def _own_database(database_url: str) -> Iterator[str]:
    """The URL of a migrated database that is removed afterwards."""
    name = f"peer_{uuid7().hex}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            for setting in (
                "search_path = read_model, public",
                "synchronous_commit = off",
            ):  # as Vigil's projection has it
                alter = sql.SQL("alter database {} set {}").format(sql.Identifier(name), sql.SQL(setting))
                connection.execute(alter)
            before, _, query = database_url.partition("?")
            url = f"{before.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
            yoyo_migrations.up(url)
            yield url
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _environment(url: str) -> dict[str, str]:
    at = conninfo_to_dict(url)
    names = {"DBNAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "MAPPER_TOPIC": get_topic(EntryMapper),
        "POSTGRES_SCHEMA": "public",
        **{f"POSTGRES_{name}": str(at.get(key) or ("5432" if key == "port" else "")) for name, key in names.items()},
    }


def _check(url: str, entries: Sequence[LogEntry]) -> None:
    """A runner that left events out would be a fast one."""
    wanted = len({entry.stream_id for entry in entries if entry.type.startswith("evaluation.")})
    with psycopg.connect(make_conninfo(url)) as connection:
        row = connection.execute("select count(*) from read_model.evaluations").fetchone()
    if row != (wanted,):
        raise RuntimeError(f"of {wanted} evaluations {row} were projected")
