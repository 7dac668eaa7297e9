"""An append of several events, or with companions: one transaction, the locks that come first in it, and what its refusals
mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from adapters.postgres_append_groups import CommitUnknown
from adapters.postgres_companions import write_companions
from adapters.postgres_pool import Connection, Pool
from commands.event_store import (
    WAITING_REQUEST,
    AlreadyAnswered,
    AlreadyReserved,
    Companion,
    ConcurrentAppend,
    ErasePerson,
    KeepCredential,
    KeepLastSignal,
    KeepReceipt,
    KeepRequest,
    KeepSchedule,
    KeepSignalSecret,
    PersonErased,
    Reserve,
)

_APPEND = """
select append_events(%s::uuid[], %s::integer[], %s::uuid[], %s::text[], %s::smallint[],
                     %s::text[]::jsonb[], %s::text[]::jsonb[], %s::uuid[])
"""

# Neither takes a transaction id, so the append stays the first write.
_HOLD_PEOPLE = "select hold_people(%s)"
_HOLD_FOR_ERASURE = "select pg_advisory_xact_lock(person_lock(%s))"
_LOCK_SCOPE = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"

EXPECTED_VERSION_AHEAD = "VG002"
PERSON_ERASED = "VG003"

LEFT_BEHIND = (
    *(Reserve, KeepSchedule, KeepRequest, KeepCredential, KeepReceipt),
    *(KeepSignalSecret, KeepLastSignal),
)
"""What stays of a person until their erasure."""


async def append_together(pool: Pool, rows: Sequence[Mapping[str, Any]], companions: Sequence[Companion]) -> None:
    """Append rows of the table event and write companions, all or nothing, durably.

    Raises what the port `commands.event_store.EventStore` tells, and `CommitUnknown`."""
    async with pool.connection() as connection:
        try:
            async with connection.transaction():
                await _hold_people(connection, rows, companions)
                await _lock_quotas(connection, companions)
                await _append(connection, rows)
                await write_companions(connection, companions)
        except psycopg.errors.UniqueViolation as error:
            raise _meaning(error) from error
        except psycopg.Error as error:
            if error.sqlstate == EXPECTED_VERSION_AHEAD:
                raise ConcurrentAppend from error
            if error.sqlstate == PERSON_ERASED:
                raise PersonErased from error
            # The victim of a deadlock has written nothing, and may try again as whoever does not know.
            if connection.broken or isinstance(error, psycopg.errors.DeadlockDetected):
                raise CommitUnknown from error
            raise


async def _append(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        columns = zip(*(row.values() for row in rows), strict=True)
        await connection.execute(_APPEND, [list(column) for column in columns])


async def _hold_people(
    connection: Connection, rows: Sequence[Mapping[str, Any]], companions: Sequence[Companion]
) -> None:
    """An erasure waits for everybody who is leaving something of the person behind, and who comes after it is refused."""
    for companion in companions:
        if isinstance(companion, ErasePerson):
            await connection.execute(_HOLD_FOR_ERASURE, (companion.user_id,))
            return
    if any(isinstance(companion, LEFT_BEHIND) for companion in companions):
        owners = {row["owner_id"] for row in rows}
        owners |= {companion.owner_id for companion in companions if isinstance(companion, KeepReceipt)}
        await connection.execute(_HOLD_PEOPLE, (sorted(owners),))


async def _lock_quotas(connection: Connection, companions: Sequence[Companion]) -> None:
    """Counting places needs everybody who takes one in a row. An advisory lock assigns no transaction id, so the
    append stays the first write."""
    for scope in sorted({c.scope for c in companions if isinstance(c, Reserve) and c.places_max is not None}):
        await connection.execute(_LOCK_SCOPE, (scope,))


def _meaning(error: psycopg.errors.UniqueViolation) -> Exception:
    match error.diag.constraint_name:
        case "event_pkey":
            return ConcurrentAppend()
        case "reservation_pkey":
            detail = error.diag.message_detail or ""
            return AlreadyReserved(detail.partition("=(")[2].partition(",")[0])
        case "evaluation_request_one_waiting":
            return AlreadyReserved(WAITING_REQUEST)
        case "command_receipt_pkey":
            return AlreadyAnswered()
        case _:
            return error
