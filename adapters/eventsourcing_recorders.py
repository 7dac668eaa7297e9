"""The recorders of the `eventsourcing` library on Vigil's tables: streams, the log as a notification log, snapshots.

Events are inserted through `append_events` as everybody's are: without a lock, as the first write of the transaction, a
taken version being a conflict. A notification's id is the event's dense position in the log. All applications of one
store share its one log; of the library's own gaps in a stream there are none, since a stream here has no gaps.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    ProgrammingError,
    StoredEvent,
    Subscription,
    Tracking,
)
from uuid_utils.compat import uuid7

from adapters.eventsourcing_connection import Connection, StoreConnections
from adapters.eventsourcing_rows import (
    Row,
    StreamStart,
    notification,
    rows_of,
    stored_event,
    stream_id_of,
    stream_start,
    types_of,
)
from adapters.eventsourcing_sequencer import POSITION_PATIENCE_SECONDS, positions_of
from adapters.eventsourcing_subscription import PollingSubscription

_STARTS = "select stream_id, owner_id, type, data::text from event where stream_id = any(%s) and version = 1"

_APPEND = """
select append_events(%s::uuid[], %s::integer[], %s::uuid[], %s::text[], %s::smallint[],
                     %s::text[]::jsonb[], %s::text[]::jsonb[], %s::uuid[])
"""

# The library's number of an event is its version or, where the library counts from 0, one less. The conditions on the
# version are wider by that one and serve the index; those on the number are exact.
_SELECT = """
select stream_id, version, owner_id, type, type_version, data::text, metadata::text, event_id, recorded_at
from event cross join lateral (
    select case when starts_with(type, 'eventsourcing:') then (data ->> 'originator_version')::bigint else version end
) as counted (number)
where stream_id = %(stream_id)s
  and version > coalesce(%(gt)s::bigint, 0) and version <= coalesce(%(lte)s::bigint + 1, 9223372036854775807)
  and number > coalesce(%(gt)s::bigint, -1) and number <= coalesce(%(lte)s::bigint, 9223372036854775807)
"""
_FORWARDS = _SELECT + "order by version limit %(limit)s::bigint"
_BACKWARDS = _SELECT + "order by version desc limit %(limit)s::bigint"

_NOTIFICATIONS = """
select l.position, e.stream_id, e.version, e.owner_id, e.type, e.type_version, e.data::text, e.metadata::text, e.event_id,
       e.recorded_at
from event_log l join event e using (stream_id, version)
where l.position >= %(first)s::bigint and l.position <= coalesce(%(stop)s::bigint, 9223372036854775807)
  and (cardinality(%(types)s::text[]) = 0
       or (e.type, e.type_version) in (select * from unnest(%(types)s::text[], %(type_versions)s::smallint[])))
order by l.position limit %(limit)s::bigint
"""

_HEAD = "select nullif(position, 0) from log_head"

_INSERT_SNAPSHOTS = """
insert into eventsourcing_snapshot (originator_id, originator_version, topic, state)
select * from unnest(%s::uuid[], %s::integer[], %s::text[], %s::bytea[])
"""

_SELECT_SNAPSHOTS = """
select originator_id, originator_version, topic, state from eventsourcing_snapshot
where originator_id = %(stream_id)s
  and originator_version > coalesce(%(gt)s::bigint, -1)
  and originator_version <= coalesce(%(lte)s::bigint, 9223372036854775807)
"""
_SNAPSHOTS_FORWARDS = _SELECT_SNAPSHOTS + "order by originator_version limit %(limit)s::bigint"
_SNAPSHOTS_BACKWARDS = _SELECT_SNAPSHOTS + "order by originator_version desc limit %(limit)s::bigint"


class VigilAggregateRecorder(AggregateRecorder):
    """Streams, without positions: the relay gives those when it comes to it.

    `new_id` makes time-ordered ids for events that do not bring their own.
    """

    def __init__(self, connections: StoreConnections, *, new_id: Callable[[], UUID] = uuid7) -> None:
        self._connections = connections
        self._new_id = new_id

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401  the library's signature
        """Append events, all or none; `rows_of` tells what is refused. A taken version raises `IntegrityError`."""
        with self._connections.writing() as connection:
            self._insert(connection, stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of a stream with `gt < number <= lte`, at most `limit`, in their order or against it."""
        bounds = {"stream_id": stream_id_of(originator_id), "gt": gt, "lte": lte, "limit": limit}
        with self._connections.reading() as connection:
            return [stored_event(row) for row in connection.execute(_BACKWARDS if desc else _FORWARDS, bounds)]

    def _insert(
        self, connection: Connection, stored_events: Sequence[StoredEvent], *, tracking: Tracking | None = None
    ) -> list[Row]:
        """Append events; what became of them. Only a process recorder can keep tracking, and to drop it would be wrong."""
        if tracking is not None:
            raise ProgrammingError("this recorder keeps no tracking; a process recorder does")
        return self._append(connection, stored_events)

    def _append(self, connection: Connection, stored_events: Sequence[StoredEvent]) -> list[Row]:
        if not stored_events:
            return []
        streams = list({stream_id_of(stored.originator_id) for stored in stored_events})
        starts: dict[UUID, StreamStart] = {
            stream_id: stream_start(*first) for stream_id, *first in connection.execute(_STARTS, (streams,))
        }
        rows = rows_of(stored_events, starts, new_id=self._new_id)
        connection.execute(_APPEND, [list(column) for column in zip(*rows, strict=True)])
        return rows


class VigilApplicationRecorder(VigilAggregateRecorder, ApplicationRecorder):
    """Streams and the one log they are in, whose positions are the notification ids."""

    def __init__(
        self,
        connections: StoreConnections,
        *,
        new_id: Callable[[], UUID] = uuid7,
        patience_seconds: float = POSITION_PATIENCE_SECONDS,
    ) -> None:
        super().__init__(connections, new_id=new_id)
        self._patience_seconds = patience_seconds

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401  the library's signature
        """Append events, all or none, and give them their positions, which are returned.

        None when they are stored but have no positions yet: an older transaction is open and holds the sequencer back.
        """
        with self._connections.writing() as connection:
            rows = self._insert(connection, stored_events, **kwargs)
            if not rows:
                return []
            streams, versions = [row.stream_id for row in rows], [row.version for row in rows]
            return positions_of(connection, streams, versions, patience_seconds=self._patience_seconds)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events of the log from `start` to `stop`, at most `limit`; of these topics only, unless there are none."""
        types = types_of(topics)
        bounds = {
            "first": 1 if start is None else start + (not inclusive_of_start),
            "stop": stop,
            "limit": limit,
            "types": [tag for tag, _ in types],
            "type_versions": [version for _, version in types],
        }
        with self._connections.reading() as connection:
            return [notification(row) for row in connection.execute(_NOTIFICATIONS, bounds)]

    def max_notification_id(self) -> int | None:
        """The position of the last event, None for an empty log."""
        with self._connections.reading() as connection:
            row = connection.execute(_HEAD).fetchone()
            return row[0] if row else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Events of the log after position `gt`, for ever: it waits for those that are yet to come."""
        return PollingSubscription(self, gt=gt, topics=topics)


class VigilSnapshotRecorder(AggregateRecorder):
    """Snapshots of the library's aggregates, in a table of their own: versions have gaps, and all may be deleted."""

    def __init__(self, connections: StoreConnections) -> None:
        self._connections = connections

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:  # noqa: ANN401  the library's signature
        """Keep snapshots; one for a version that has one raises `IntegrityError`."""
        rows = [(stream_id_of(s.originator_id), s.originator_version, s.topic, s.state) for s in stored_events]
        if rows:
            with self._connections.writing() as connection:
                connection.execute(_INSERT_SNAPSHOTS, [list(column) for column in zip(*rows, strict=True)])
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The snapshots of an aggregate with `gt < version <= lte`, at most `limit`, in their order or against it."""
        bounds = {"stream_id": stream_id_of(originator_id), "gt": gt, "lte": lte, "limit": limit}
        with self._connections.reading() as connection:
            rows = connection.execute(_SNAPSHOTS_BACKWARDS if desc else _SNAPSHOTS_FORWARDS, bounds)
            return [StoredEvent(*row) for row in rows]
