"""What auditors read: events in the order of the log, and single streams as they were.

Events come as they are stored, so that what was sealed stays sealed and what this program does not know passes through;
states come from the program's own folds. Nothing of it comes from the read tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import DictRow

from commands.event_store import EventStore
from domain.errors import InvalidInput, NotFound
from domain.event_codec import UnknownEvent
from domain.stream_name import StreamName
from read_api.database import Pool, fetch_row, fetch_rows
from read_api.stream_states import kind_of, state_after

WINDOW_POSITIONS = 10_000
"""So many positions one request looks at, however rare what it looks for: the log has no index by type, actor or
correlation, which every append would pay for. A page may therefore be short, or empty, before the end."""

CLOCK_SLACK = timedelta(minutes=1)
"""The log is in the order of transactions and `recorded_at` is a clock's: where the log begins to be later than a moment is
looked for so much before it. Clocks that are kept by NTP differ by far less (RFC 5905)."""

GAP_POSITIONS_MAX = 1_000
"""So many positions are passed over in search of one whose event is in the store."""

# `limit 1` keeps the planner from reading all events for a few positions.
_LOGGED = """
from event_log l cross join lateral (
    select owner_id, type, type_version, data, metadata, event_id, recorded_at from event
    where stream_id = l.stream_id and version = l.version limit 1
) e
"""
_COLUMNS = """
select l.position::text as position, l.stream_id, l.version, e.owner_id, e.type, e.type_version, e.data, e.metadata,
       e.event_id, e.recorded_at, encode(l.hash, 'hex') as hash
"""

_CONDITIONS: dict[str, LiteralString] = {
    "stream_id": "l.stream_id = %(stream_id)s",
    "kind": "split_part(e.type, '.', 1) = %(kind)s",
    "type": "e.type = %(type)s",
    "actor": "e.metadata->>'actor' = %(actor)s",
    "correlation_id": "(e.metadata->>'correlation_id')::uuid = %(correlation_id)s",
    "start": "e.recorded_at >= %(start)s",
    "end": "e.recorded_at < %(end)s",
}

_HEAD = "select position from log_head"

_RECORDED_NEAR = sql.SQL(
    """
    select e.recorded_at {logged}
    where l.position >= %(position)s and l.position < %(position)s + %(gap)s order by l.position limit 1
    """
).format(logged=sql.SQL(_LOGGED))

# Not simply the events that were recorded up to then: should a clock have been set back, a stream is still cut in two.
_STREAM = """
select first.type, first.owner_id, last.version as head,
       exists (select from event where stream_id = %(stream_id)s and data is null) as archived, least(
    coalesce((
        select min(version) - 1 from event where stream_id = %(stream_id)s and recorded_at > %(as_of)s::timestamptz
    ), last.version),
    coalesce(%(version)s::integer, last.version),
    case when %(position)s::bigint is null then last.version else (
        select coalesce(max(version), 0) from event_log
        where stream_id = %(stream_id)s and position <= %(position)s::bigint
    ) end
) as version
from (select type, owner_id from event where stream_id = %(stream_id)s order by version limit 1) first,
     (select version from event where stream_id = %(stream_id)s order by version desc limit 1) last
"""

# `left join` because an event may not have its position yet.
_EVENTS_OF_STREAM = """
select l.position::text as position, e.stream_id, e.version, e.owner_id, e.type, e.type_version, e.data, e.metadata,
       e.event_id, e.recorded_at, encode(l.hash, 'hex') as hash
from event e left join event_log l using (stream_id, version)
where e.stream_id = %(stream_id)s and e.version > %(after)s and e.version <= %(until)s order by e.version limit %(limit)s
"""


class AuditEventShape(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored. `position` is its place in the whole log and `hash` covers it and everything before it;
    both are null while the sequencer has not given them. `data` and `metadata` are null once they went to an archive
    file."""

    position: str | None
    stream_id: UUID
    version: int
    owner_id: UUID
    type: str
    type_version: int
    data: dict[str, Any] | None
    metadata: dict[str, Any] | None
    event_id: UUID
    recorded_at: datetime
    hash: str | None


class AuditStreamShape(msgspec.Struct, frozen=True, kw_only=True):
    """A stream up to one of its versions: its events, and the state they fold into. `state` is null for what operators
    did, and where the events cannot be read here: then `state_missing` says why."""

    id: UUID
    kind: str
    owner_id: UUID
    version: int
    state: dict[str, Any] | None
    state_missing: str | None
    events: Sequence[AuditEventShape]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; None does not filter. `kind` is that of a stream. Times are those of recording, `start` included and
    `end` not."""

    stream_id: UUID | None = None
    kind: str | None = None
    type: str | None = None
    actor: str | None = None
    correlation_id: UUID | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a stream is cut: after what was recorded until `as_of`, after a version, or after a position of the log. At most
    one of them is given; none is the present."""

    as_of: datetime | None = None
    version: int | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """Events in the order that was asked for, and the position to go on from, None at the end."""

    events: Sequence[AuditEventShape]
    next: int | None


class AuditLog:
    """The log and the streams, read without taking part in them."""

    def __init__(self, pool: Pool, store: EventStore) -> None:
        self._pool = pool
        self._store = store

    async def events(
        self, wanted: EventFilter, *, beyond: int | None, limit: int, newest_first: bool = False
    ) -> FoundEvents:
        """Up to `limit` events after the position `beyond` (before it, when the newest come first), as far as one window
        reaches; events of one stream are found wherever they are."""
        first, last = await self._bounds(wanted)
        if beyond is not None:
            first, last = (first, min(last, beyond - 1)) if newest_first else (max(first, beyond + 1), last)
        reach_first, reach_last = first, last
        if wanted.stream_id is None:
            reach_first = max(first, last - WINDOW_POSITIONS + 1) if newest_first else first
            reach_last = last if newest_first else min(last, first + WINDOW_POSITIONS - 1)
        values = {**_given(wanted), "first": reach_first, "last": reach_last, "limit": limit + 1}
        found = await fetch_rows(self._pool, _query(wanted, newest_first=newest_first), values)
        events = [_shape(row) for row in found[:limit]]
        if len(found) > limit:
            return FoundEvents(events, int(found[limit - 1]["position"]))
        left = reach_first > first if newest_first else reach_last < last
        return FoundEvents(events, (reach_first if newest_first else reach_last) if left else None)

    async def stream(self, wanted: StreamName, cut: Cut, *, after: int, limit: int) -> AuditStreamShape:
        """A stream as it was at `cut`, with its events after the version `after`; raises `NotFound` for a stream that was
        not there then or is of another kind, `InvalidInput` for a version or position that is not there yet."""
        stream_id = wanted.id
        values = {"stream_id": stream_id, "as_of": cut.as_of, "version": cut.version, "position": cut.position}
        row = await fetch_row(self._pool, _STREAM, values)
        if row is None or not wanted.fits(kind_of(row["type"])):
            raise NotFound
        if cut.version is not None and cut.version > row["head"]:
            raise InvalidInput(f"this stream has the versions 1 to {row['head']}", field="version")
        if cut.position is not None and cut.position > (head := await self.head()):
            raise InvalidInput(f"the log ends at position {head}", field="position")
        if row["version"] < 1:
            raise NotFound
        kind, version = kind_of(row["type"]), row["version"]
        values = {"stream_id": stream_id, "after": after, "until": version, "limit": limit}
        events = await fetch_rows(self._pool, _EVENTS_OF_STREAM, values)
        archived = (None, "its events went to an archive file")
        state, missing = archived if row["archived"] else await self._state(stream_id, kind, version)
        return AuditStreamShape(
            id=stream_id,
            kind=kind,
            owner_id=row["owner_id"],
            version=version,
            state=state,
            state_missing=missing,
            events=[_shape(event) for event in events],
        )

    async def head(self) -> int:
        """The position of the last event, 0 for an empty log."""
        row = await fetch_row(self._pool, _HEAD, {})
        return 0 if row is None else int(row["position"])

    async def _state(self, stream_id: UUID, kind: str, version: int) -> tuple[dict[str, Any] | None, str | None]:
        try:
            history = await self._store.load(stream_id)
            return state_after(kind, [stored.event for stored in history if stored.version <= version]), None
        except (UnknownEvent, msgspec.MsgspecError) as error:
            return None, f"an event of this stream cannot be read by this program: {error}"

    async def _bounds(self, wanted: EventFilter) -> tuple[int, int]:
        """The first and the last position that what is wanted can have."""
        head = await self.head()
        first = 1 if wanted.start is None else await self._first_at(wanted.start, -CLOCK_SLACK, head)
        last = head if wanted.end is None else await self._first_at(wanted.end, CLOCK_SLACK, head) - 1
        return first, last

    async def _first_at(self, moment: datetime, slack: timedelta, head: int) -> int:
        """The first position that was recorded then or later, one past the end when there is none. A binary search."""
        try:
            moment += slack
        except OverflowError:
            return 1 if slack < timedelta() else head + 1
        low, high = 1, head + 1
        while low < high:
            middle = (low + high) // 2
            row = await fetch_row(self._pool, _RECORDED_NEAR, {"position": middle, "gap": GAP_POSITIONS_MAX})
            if row is not None and row["recorded_at"] >= moment:
                high = middle
            else:
                low = middle + 1
        return low


def _given(wanted: EventFilter) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}


def _query(wanted: EventFilter, *, newest_first: bool) -> sql.Composed:
    conditions: list[LiteralString] = [
        "l.position >= %(first)s",
        "l.position <= %(last)s",
        *(_CONDITIONS[name] for name in _given(wanted)),
    ]
    # Within a stream versions are in the order of positions, and the index is by version.
    column = "l.position" if wanted.stream_id is None else "l.version"
    return sql.SQL("{columns} {logged} where {conditions} order by {column} {direction} limit %(limit)s").format(
        columns=sql.SQL(_COLUMNS),
        logged=sql.SQL(_LOGGED),
        conditions=sql.SQL(" and ").join([sql.SQL(condition) for condition in conditions]),
        column=sql.SQL(column),
        direction=sql.SQL("desc" if newest_first else "asc"),
    )


def _shape(row: DictRow) -> AuditEventShape:
    return AuditEventShape(**row)
