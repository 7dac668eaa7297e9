"""What the projections of the `eventsourcing` library keep: how far they have come, with what they wrote or not at all."""

from collections.abc import Callable, Sequence
from uuid import UUID

from eventsourcing.persistence import IntegrityError, ProcessRecorder, StoredEvent, Tracking, TrackingRecorder
from uuid_utils.compat import uuid7

from adapters.eventsourcing_connection import Connection, StoreConnections
from adapters.eventsourcing_recorders import VigilApplicationRecorder
from adapters.eventsourcing_rows import Row
from adapters.eventsourcing_sequencer import POSITION_PATIENCE_SECONDS

_TRACK = """
insert into eventsourcing_tracking as tracked (consumer, application_name, notification_id)
values (%(consumer)s, %(application_name)s, %(notification_id)s)
on conflict (consumer, application_name) do update set notification_id = excluded.notification_id
where tracked.notification_id < excluded.notification_id
"""

_MAX = "select notification_id from eventsourcing_tracking where consumer = %s and application_name = %s"


class VigilTrackingRecorder(TrackingRecorder):
    """How far `consumer` has come in each application's log: one row each, which only grows.

    A subclass keeps a view of its own: it writes and calls `track` in one transaction of `self.connections.writing()`.
    """

    def __init__(self, connections: StoreConnections, *, consumer: str) -> None:
        self.connections = connections
        self.consumer = consumer

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move to a later notification; an earlier one, or the same again, raises `IntegrityError`."""
        with self.connections.writing() as connection:
            self.track(connection, tracking)

    def track(self, connection: Connection, tracking: Tracking) -> None:
        """As `insert_tracking`, within a transaction of the caller's."""
        track(connection, self.consumer, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """The last notification of that application that was dealt with, None before the first."""
        return reached(self.connections, self.consumer, application_name)


class VigilProcessRecorder(VigilApplicationRecorder, ProcessRecorder):
    """Events together with the notification they answer, in one transaction: the events first, as the append demands."""

    def __init__(
        self,
        connections: StoreConnections,
        *,
        consumer: str,
        new_id: Callable[[], UUID] = uuid7,
        patience_seconds: float = POSITION_PATIENCE_SECONDS,
    ) -> None:
        super().__init__(connections, new_id=new_id, patience_seconds=patience_seconds)
        self.consumer = consumer

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move to a later notification; an earlier one, or the same again, raises `IntegrityError`."""
        with self._connections.writing() as connection:
            track(connection, self.consumer, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """The last notification of that application that was dealt with, None before the first."""
        return reached(self._connections, self.consumer, application_name)

    def _insert(
        self, connection: Connection, stored_events: Sequence[StoredEvent], *, tracking: Tracking | None = None
    ) -> list[Row]:
        if tracking is None:
            return self._append(connection, stored_events)
        with connection.transaction():
            rows = self._append(connection, stored_events)
            track(connection, self.consumer, tracking)
        return rows


def track(connection: Connection, consumer: str, tracking: Tracking) -> None:
    """Move a consumer to a later notification."""
    place = {
        "consumer": consumer,
        "application_name": tracking.application_name,
        "notification_id": tracking.notification_id,
    }
    if connection.execute(_TRACK, place).rowcount == 0:
        raise IntegrityError(f"{consumer} has dealt with notification {tracking.notification_id} before")


def reached(connections: StoreConnections, consumer: str, application_name: str) -> int | None:
    """The last notification a consumer has dealt with."""
    with connections.reading() as connection:
        row = connection.execute(_MAX, (consumer, application_name)).fetchone()
    return row[0] if row else None
