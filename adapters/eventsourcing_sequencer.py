"""Positions for events right after their insert, which the `eventsourcing` library's recorders promise their callers.

Vigil itself gives positions later, by the relay. Here the one who inserted sequences: `sequence_batch` is the synchronous
twin of `PostgresLog.sequence_batch`, with its statements and its chaining, so both write the same log. Relay and
recorders may sequence at the same moment: the head's compare-and-set lets one of them win, the others write nothing.
What a recorder sequenced the relay finds when it next publishes or takes over; readers compare with PostgreSQL anyway.
"""

import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from psycopg import Error
from structlog.typing import FilteringBoundLogger

from adapters.eventsourcing_connection import Connection
from adapters.postgres_log import (
    ADVANCE_HEAD,
    BATCH_EVENTS_MAX,
    HEAD_COLUMNS,
    UNSEQUENCED,
    LogHead,
    advance_values,
    chain,
    head_of,
)

log: FilteringBoundLogger = structlog.get_logger()

POSITION_PATIENCE_SECONDS = 30.0
REST_SECONDS_MIN, REST_SECONDS_MAX = 0.0005, 0.02

_POSITIONS = """
select l.position
from unnest(%s::uuid[], %s::integer[]) with ordinality as mine (stream_id, version, rank)
join event_log l using (stream_id, version)
order by mine.rank
"""


def positions_of(
    connection: Connection, stream_ids: Sequence[UUID], versions: Sequence[int], *, patience_seconds: float
) -> list[int] | None:
    """The positions of committed events, in their order, sequencing until they have them.

    None when they have none after `patience_seconds`, because an older transaction is still open, or when the database
    went away: the events are stored, and an error would tell their writer that they are not.
    """
    deadline = time.monotonic() + patience_seconds
    rest = REST_SECONDS_MIN
    try:
        while True:
            sequenced = sequence_batch(connection)
            found = [position for (position,) in connection.execute(_POSITIONS, (list(stream_ids), list(versions)))]
            if len(found) == len(versions):
                return found
            if time.monotonic() > deadline:
                log.warning("events are stored and have no position yet: an older transaction is open")
                return None
            rest = REST_SECONDS_MIN if sequenced else min(rest * 2, REST_SECONDS_MAX)
            time.sleep(rest)
    except Error as error:
        log.warning("events are stored, their positions unknown", error=repr(error))
        return None


def sequence_batch(connection: Connection) -> bool:
    """Give positions to the next events, at most `BATCH_EVENTS_MAX`; whether there were any and no rival was faster."""
    found = connection.execute(UNSEQUENCED, (BATCH_EVENTS_MAX,)).fetchall()
    head = head_of(found[0] if found else None)
    rows = [row[HEAD_COLUMNS:] for row in found if row[HEAD_COLUMNS] is not None]
    if not rows:
        return False
    entries, hashes, places = chain(head, [row[2:] for row in rows])
    moved = LogHead(rows[-1][0], rows[-1][1], entries[-1].position, hashes[-1], places)
    cursor = connection.execute(ADVANCE_HEAD, advance_values(head, moved, entries, hashes))
    return cursor.rowcount == len(entries)
