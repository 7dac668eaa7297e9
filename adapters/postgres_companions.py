"""How each companion of an append is written."""

from collections.abc import Sequence
from typing import assert_never
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from adapters.postgres_erasure import erase_person
from adapters.postgres_evidence import keep_evidence
from adapters.postgres_pool import Connection
from commands.event_store import (
    CloseEvaluation,
    Companion,
    ConcurrentAppend,
    DropRequest,
    DropSchedule,
    DropSignalSource,
    ErasePerson,
    KeepCredential,
    KeepEvidence,
    KeepLastSignal,
    KeepReceipt,
    KeepRequest,
    KeepSchedule,
    KeepSignalSecret,
    QuotaExceeded,
    Release,
    Reserve,
)

_RESERVE = "insert into reservation (scope, value, stream_id) values (%s, %s, %s)"
_COUNT_PLACES = "select count(*) from reservation where scope = %s"
_RELEASE = "delete from reservation where scope = %s and value = %s"

_KEEP_SCHEDULE = """
insert into schedule (monitor_id, owner_id, schedule, active, due_at, ready_at)
values (%(monitor_id)s, %(owner_id)s, %(schedule)s, %(active)s, %(due_at)s, %(due_at)s)
on conflict (monitor_id) do update
set schedule = excluded.schedule, active = excluded.active, due_at = excluded.due_at, ready_at = excluded.ready_at,
    enqueued_at = null, attempts = 0
"""
_DROP_SCHEDULE = """
with watched as (delete from signal_watch where monitor_id = %(id)s) delete from schedule where monitor_id = %(id)s
"""
_WATCH_SIGNALS = """
with watched_no_more as (
    delete from signal_watch where monitor_id = %(monitor_id)s and source_id <> all (%(signals)s::uuid[])
)
insert into signal_watch (source_id, monitor_id, owner_id)
select source_id, %(monitor_id)s, %(owner_id)s from unnest(%(signals)s::uuid[]) as source_id
on conflict do nothing
"""
_CLOSE_EVALUATION = """
update schedule
set last_evaluation_id = %(evaluation_id)s,
    previous = %(leaves)s,
    due_at = case when due_at = %(due_at)s then %(next_due_at)s else due_at end,
    ready_at = case when due_at = %(due_at)s then %(next_ready_at)s else ready_at end,
    enqueued_at = case when due_at = %(due_at)s then null else enqueued_at end,
    attempts = case when due_at = %(due_at)s then 0 else attempts end
where monitor_id = %(monitor_id)s and last_evaluation_id is not distinct from %(previous_id)s::uuid
"""

_KEEP_REQUEST = """
insert into evaluation_request (evaluation_id, monitor_id, owner_id, requested_at, ready_at, signal_id)
values (%s, %s, %s, %s, %s, %s)
"""
_CLOSE_REQUEST = "delete from evaluation_request where evaluation_id = %s"

_MAKE_SIGNAL_SOURCE = "insert into signal_source (id, owner_id) values (%s, %s) on conflict (id) do nothing"
_END_OLD_SECRETS = "delete from signal_secret where source_id = %s and ends_at is not null"
_END_LAST_SECRET = "update signal_secret set ends_at = %s where source_id = %s"  # noqa: S105  a statement, no secret
_KEEP_SECRET = """
insert into signal_secret (id, source_id, owner_id, sealed, made_at) values (%s, %s, %s, %s, %s)
"""  # noqa: S105  a statement, no secret
_DROP_SIGNAL_SOURCE = """
with watched as (delete from signal_watch where source_id = %(id)s) delete from signal_source where id = %(id)s
"""
_KEEP_LAST_SIGNAL = """
update signal_source
set last_signal_id = case when last_received_at > %(received_at)s then last_signal_id else %(signal_id)s end,
    last_received_at = greatest(last_received_at, %(received_at)s)
where id = %(source_id)s
"""

_KEEP_CREDENTIAL = """
insert into credential (user_id, password_hash, changed_at) values (%s, %s, %s)
on conflict (user_id) do update set password_hash = excluded.password_hash, changed_at = excluded.changed_at
"""
_KEEP_RECEIPT = """
insert into command_receipt (owner_id, command_id, fingerprint, status, answer)
values (%s, %s, %s, %s, jsonb_build_object('stream_id', %s::uuid, 'version', %s::integer, 'data', %s::jsonb))
"""


async def write_companions(connection: Connection, companions: Sequence[Companion]) -> None:
    """Write all of them on a connection that is inside the transaction of their events."""
    for companion in companions:
        await _write(connection, companion)


async def _write(connection: Connection, companion: Companion) -> None:
    match companion:
        case Reserve():
            await _reserve(connection, companion)
        case Release(scope, value):
            await connection.execute(_RELEASE, (scope, value))
        case KeepSchedule():
            values = {**msgspec.structs.asdict(companion), "schedule": Jsonb(msgspec.to_builtins(companion.schedule))}
            await connection.execute(_KEEP_SCHEDULE, values)
            await connection.execute(_WATCH_SIGNALS, {**values, "signals": _watched(companion)})
        case KeepSignalSecret():
            await _keep_secret(connection, companion)
        case KeepLastSignal():
            await _keep_last_signal(connection, companion)
        case DropSchedule() | DropRequest() | DropSignalSource() | ErasePerson():
            await _drop(connection, companion)
        case CloseEvaluation():
            await _close_evaluation(connection, companion)
        case KeepRequest(evaluation_id, monitor_id, owner_id, at, signal_id):
            await connection.execute(_KEEP_REQUEST, (evaluation_id, monitor_id, owner_id, at, at, signal_id))
        case KeepEvidence():
            await keep_evidence(connection, [companion])
        case KeepCredential(user_id, password_hash, changed_at):
            await connection.execute(_KEEP_CREDENTIAL, (user_id, password_hash, changed_at))
        case KeepReceipt(owner_id, command_id, kept):
            led_to = (kept.fingerprint, kept.status, kept.stream_id, kept.version, Jsonb(kept.answer))
            await connection.execute(_KEEP_RECEIPT, (owner_id, command_id, *led_to))
        case _:
            assert_never(companion)


async def _drop(connection: Connection, companion: DropSchedule | DropRequest | DropSignalSource | ErasePerson) -> None:
    match companion:
        case DropSchedule(monitor_id):
            await connection.execute(_DROP_SCHEDULE, {"id": monitor_id})
        case DropSignalSource(source_id):
            await connection.execute(_DROP_SIGNAL_SOURCE, {"id": source_id})
        case DropRequest(evaluation_id):
            await connection.execute(_CLOSE_REQUEST, (evaluation_id,))
        case ErasePerson(user_id):
            await erase_person(connection, user_id)


def _watched(keep: KeepSchedule) -> list[UUID]:
    return list(keep.signals) if keep.active else []


async def _keep_secret(connection: Connection, keep: KeepSignalSecret) -> None:
    await connection.execute(_MAKE_SIGNAL_SOURCE, (keep.source_id, keep.owner_id))
    await connection.execute(_END_OLD_SECRETS, (keep.source_id,))
    await connection.execute(_END_LAST_SECRET, (keep.others_end_at, keep.source_id))
    made = (keep.secret_id, keep.source_id, keep.owner_id, keep.sealed, keep.made_at)
    await connection.execute(_KEEP_SECRET, made)


async def _keep_last_signal(connection: Connection, keep: KeepLastSignal) -> None:
    cursor = await connection.execute(_KEEP_LAST_SIGNAL, msgspec.structs.asdict(keep))
    if cursor.rowcount == 0:
        raise ConcurrentAppend


async def _reserve(connection: Connection, reserve: Reserve) -> None:
    await connection.execute(_RESERVE, (reserve.scope, reserve.value, reserve.stream_id))
    if reserve.places_max is None:
        return
    row = await (await connection.execute(_COUNT_PLACES, (reserve.scope,))).fetchone()
    if row is None or row[0] > reserve.places_max:
        raise QuotaExceeded(reserve.scope)


async def _close_evaluation(connection: Connection, close: CloseEvaluation) -> None:
    values = {**msgspec.structs.asdict(close), "leaves": Jsonb(msgspec.to_builtins(close.leaves))}
    cursor = await connection.execute(_CLOSE_EVALUATION, values)
    if cursor.rowcount == 0:
        raise ConcurrentAppend
    await connection.execute(_CLOSE_REQUEST, (close.evaluation_id,))
