"""Making a store that was restored into another cluster ready for it.

Positions, hashes and contents stay what they are. What is put right is what the transaction ids of the old cluster would
spoil: events that had no position yet get theirs, and no id is left that lies in the new cluster's future.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.postgres_log import (
    ADVANCE_HEAD,
    BATCH_EVENTS_MAX,
    COUNT,
    EVENT_COLUMNS,
    HOME,
    SETTLE,
    LogHead,
    advance_values,
    chain,
    read_head,
)
from adapters.postgres_pool import Connection, Pool

APPLICATION_NAME = "vigil store repair"
_LEAVING_SECONDS, _LOOK_SECONDS = 3.0, 0.1
"""How long whoever was stopped may take to be gone: a server process ends a moment after its client."""

_BEGIN = "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0"

# Without the application nobody appends; the lock holds also for whoever is neither called nor connected as it usually is.
_LOCK = "lock table event, event_log in access exclusive mode"

_AT_WORK = """
select application_name || ' (pid ' || pid || ')' from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
  and (starts_with(application_name, 'vigil') or usename = 'vigil_app')
union all
select name || ' (' || holder || ')' from lease where expires_at > now()
"""

# What was restored comes first, in the order of its own cluster; then what was appended here before anybody noticed. A row
# was written here if and only if its transaction is the one that the system column of its row version names.
_WITHOUT_POSITION = (
    "select "  # noqa: S608  a constant
    + EVENT_COLUMNS
    + """
from event e
where not exists (select from event_log l where l.stream_id = e.stream_id and l.version = e.version)
order by e.xmin = e.tx::xid and e.tx < pg_current_xact_id(), e.tx, e.seq
"""
)

# Losses are known now; that the store is at home here is said by `settle`.
_UNSETTLE = "update log_head set lost_at = null, cluster = 0"

_FROM_THE_FUTURE = "select exists (select from event where tx >= pg_current_xact_id())"

# Rewrites the table as a whole, which for many rows is faster than updating them, leaves no dead ones behind, and fires no
# trigger. Their order is in the log now, so one id serves them all.
_BRING_BACK = """
alter table event alter column tx type xid8
using case when tx >= pg_current_xact_id() then pg_current_xact_id() else tx end
"""

_SET_HEAD = """
update log_head set tx = pg_current_xact_id(),
    seq = coalesce((select seq from event where tx = pg_current_xact_id() order by seq desc limit 1), 0)
"""


class StoreInUse(Exception):
    """Vigil still works on the store; the message says who."""

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__(f"stop everything of Vigil that works on this store first: {', '.join(found)}")


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did: how many events got their position, and whether transaction ids had to be rewritten."""

    events: int
    rewritten: bool


class StoreRepair:
    """The repair of a store. `pool` connects as the owner of the tables, with one connection named `APPLICATION_NAME`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def is_needed(self) -> bool:
        """Whether the store is not at home in this cluster, or would lose events. Counts all events; changes nothing."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_BEGIN)
            young, home = await _one(connection, HOME)
            return bool(young) or not home or await _one(connection, COUNT) != (True,)

    async def run(self) -> Repaired:
        """Repair in one transaction: killed at any moment, either nothing has happened or all of it.

        Raises `StoreInUse`, `psycopg.errors.LockNotAvailable`. The store stays needy until `settle`, so that whoever is
        killed before he could record the act is asked to do it again.
        """
        async with self._pool.connection() as connection:
            await _alone(connection)
            async with connection.transaction():
                await connection.execute(_BEGIN)
                await connection.execute(_LOCK)
                await connection.execute(_UNSETTLE)
                events = await _sequence(connection)
                (rewritten,) = await _one(connection, _FROM_THE_FUTURE)
                if rewritten:
                    await connection.execute(_BRING_BACK)
                await connection.execute(_SET_HEAD)
                await connection.execute("set local synchronous_commit = on")  # sequencing had relaxed it
        return Repaired(events=events, rewritten=bool(rewritten))

    async def settle(self) -> None:
        """The store is at home here from now on."""
        async with self._pool.connection() as connection:
            await connection.execute(SETTLE)


async def _alone(connection: Connection) -> None:
    """Wait for those who are just leaving; raises `StoreInUse` when somebody stays."""
    for patience in range(round(_LEAVING_SECONDS / _LOOK_SECONDS), -1, -1):
        found = [row[0] for row in await (await connection.execute(_AT_WORK)).fetchall()]
        if not found:
            return
        if not patience:
            raise StoreInUse(found)
        await asyncio.sleep(_LOOK_SECONDS)


async def _sequence(connection: Connection) -> int:
    """Give every event its position; how many had none. All of them are committed: nobody else holds the table."""
    head, done = await read_head(connection), 0
    async with connection.cursor(name="without_position") as waiting:
        await waiting.execute(_WITHOUT_POSITION)
        while rows := await waiting.fetchmany(BATCH_EVENTS_MAX):
            head = await _advance(connection, head, rows)
            done += len(rows)
    return done


async def _advance(connection: Connection, head: LogHead, rows: Sequence[tuple[Any, ...]]) -> LogHead:
    entries, hashes, places = chain(head, rows)
    moved = LogHead(head.tx, head.seq, entries[-1].position, hashes[-1], places)
    cursor = await connection.execute(ADVANCE_HEAD, advance_values(head, moved, entries, hashes))
    if cursor.rowcount != len(entries):
        raise StoreInUse(["somebody moved the log's head"])
    return moved


async def _one(connection: Connection, query: Any) -> tuple[Any, ...]:  # noqa: ANN401  a constant
    row = await (await connection.execute(query)).fetchone()
    return row or ()
