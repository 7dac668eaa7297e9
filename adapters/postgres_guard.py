"""What can go wrong with the log inside PostgreSQL: an open transaction that holds it up, a store that was restored into
another cluster, and a role that could change what was recorded.

Only a transaction that has an id, and has not ended, holds the log up: it may yet commit an event that belongs before
others. That includes prepared ones and those of other databases of the cluster. What holds back vacuum only (a long
query, a replication slot, a standby's feedback) does not.
"""

import re
from typing import Any, LiteralString

import msgspec

from adapters.postgres_log import HOME, NO_HEAD
from adapters.postgres_pool import Pool
from domain.log_state import WAITING_EVENTS_MAX, LogState, OpenTransaction

QUERY_CHARACTERS_MAX = 100

# Two index scans of a few rows, however long the log is: the order keeps the planner, who does not know how few events wait,
# from reading all of them. The first event in the order of commits stands for the oldest.
_STATE = """
select h.position,
       (select count(*) from (
           select from event e where (e.tx, e.seq) > (h.tx, h.seq) order by e.tx, e.seq limit %s
       ) waiting),
       coalesce(extract(epoch from clock_timestamp() - first.recorded_at), 0)::float,
       coalesce(first.tx >= pg_snapshot_xmin(now), false),
       case when pg_snapshot_xmin(now) < pg_snapshot_xmax(now) then pg_snapshot_xmin(now)::text end
from log_head h
cross join pg_current_snapshot() as now
left join lateral (
    select e.tx, e.recorded_at from event e where (e.tx, e.seq) > (h.tx, h.seq) order by e.tx, e.seq limit 1
) first on true
"""

# Every transaction locks its own id, and everybody may see the locks; who may not see more gets nulls for the rest.
_OLDEST_OPEN = """
select l.transactionid::text, l.pid, p.gid, coalesce(a.datname, p.database), coalesce(a.usename, p.owner),
       a.application_name, coalesce(host(a.client_addr), case when a.client_port = -1 then 'this machine' end), a.state,
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float, a.query
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid
left join pg_prepared_xacts p on p.transaction = l.transactionid
where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted
  and l.transactionid = pg_snapshot_xmin(pg_current_snapshot())::xid
"""

# A member of the owning role can give itself everything back, and disable triggers; who may make functions where the owner
# looks for them can have the owner do it.
_MAY_CHANGE = """
select bool_or(pg_has_role(c.relowner, 'member') or has_table_privilege(c.oid, 'update, delete, truncate'))
       or has_schema_privilege('public', 'create')
from pg_class c where c.oid in ('event'::regclass, 'event_log'::regclass, 'signed_head'::regclass)
"""

_FIRST_VALUE = re.compile(r"['$]|--|/\*|(?<!\w)\d")


class PostgresGuard:
    """Fulfils `workers.guard.Watching` and `read_api.health.LogStates`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def state(self) -> LogState:
        """How the log stands now. Raises `RuntimeError` for a store that was not migrated."""
        row, home = await self._row(_STATE, WAITING_EVENTS_MAX), await self._row(HOME)
        if row is None or home is None:
            raise RuntimeError(NO_HEAD)
        position, events, seconds, held, oldest_open = row
        return LogState(
            position=position,
            waiting_events=events,
            waiting_seconds=seconds,
            held=held,
            oldest_open=oldest_open,
            restored=home != (False, True),
        )

    async def oldest_open(self) -> OpenTransaction | None:
        """The oldest open transaction that has an id; None when there is none, or when it has just ended."""
        row = await self._row(_OLDEST_OPEN)
        if row is None:
            return None
        found = OpenTransaction(**dict(zip(OpenTransaction.__struct_fields__, row, strict=True)))
        return msgspec.structs.replace(found, query=_without_values(found.query))

    async def may_change_events(self) -> bool:
        """Whether this role could change or delete what was recorded, triggers or not."""
        row = await self._row(_MAY_CHANGE)
        return row is not None and bool(row[0])

    async def _row(self, query: LiteralString, *values: object) -> tuple[Any, ...] | None:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query, values)).fetchone()


def _without_values(query: str | None) -> str | None:
    """The beginning of a statement on one line, up to the first literal, parameter or comment: those may be anybody's
    personal data."""
    if query is None:
        return None
    return " ".join(_FIRST_VALUE.split(query, maxsplit=1)[0].split())[:QUERY_CHARACTERS_MAX]
