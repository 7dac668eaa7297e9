"""How each companion of an append is written."""

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never
from uuid import UUID

import msgspec
import zstandard
from psycopg.types.json import Jsonb

from adapters.postgres_erasure import erase_person
from adapters.postgres_pool import Connection
from commands.event_store import (
    CloseEvaluation,
    Companion,
    ConcurrentAppend,
    DropRequest,
    DropSchedule,
    ErasePerson,
    KeepCredential,
    KeepEvidence,
    KeepReceipt,
    KeepRequest,
    KeepSchedule,
    QuotaExceeded,
    Release,
    Reserve,
)

_RESERVE = "insert into reservation (scope, value, stream_id) values (%s, %s, %s)"
_COUNT_PLACES = "select count(*) from reservation where scope = %s"
_RELEASE = "delete from reservation where scope = %s and value = %s"

_KEEP_SCHEDULE = """
insert into schedule (monitor_id, owner_id, schedule, active, due_at) values (%s, %s, %s, %s, %s)
on conflict (monitor_id) do update
set schedule = excluded.schedule, active = excluded.active, due_at = excluded.due_at, enqueued_at = null
"""
_DROP_SCHEDULE = "delete from schedule where monitor_id = %s"
_CLOSE_EVALUATION = """
update schedule
set last_evaluation_id = %(evaluation_id)s,
    due_at = case when due_at = %(due_at)s then %(next_due_at)s else due_at end,
    enqueued_at = case when due_at = %(due_at)s then null else enqueued_at end
where monitor_id = %(monitor_id)s and last_evaluation_id is not distinct from %(previous_id)s::uuid
"""

_KEEP_REQUEST = """
insert into evaluation_request (evaluation_id, monitor_id, owner_id, requested_at) values (%s, %s, %s, %s)
"""
_CLOSE_REQUEST = "delete from evaluation_request where evaluation_id = %s"

_KEEP_EVIDENCE = """
insert into evidence (hash, body, body_bytes, read_at) values (%s, %s, %s, %s)
on conflict (hash) do nothing
"""
_REMEMBER_SOURCE = """
insert into source_memory (monitor_id, url, etag, last_modified, content_type, charset, evidence_hash, read_at)
values (%s, %s, %s, %s, %s, %s, %s, %s)
on conflict (monitor_id, url) do update
set etag = excluded.etag, last_modified = excluded.last_modified, content_type = excluded.content_type,
    charset = excluded.charset, evidence_hash = excluded.evidence_hash, read_at = excluded.read_at
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
        case KeepSchedule(monitor_id, owner_id, schedule, active, due_at):
            document = Jsonb(msgspec.to_builtins(schedule))
            await connection.execute(_KEEP_SCHEDULE, (monitor_id, owner_id, document, active, due_at))
        case DropSchedule() | DropRequest() | ErasePerson():
            await _drop(connection, companion)
        case CloseEvaluation():
            await _close_evaluation(connection, companion)
        case KeepRequest(evaluation_id, monitor_id, owner_id, requested_at):
            await connection.execute(_KEEP_REQUEST, (evaluation_id, monitor_id, owner_id, requested_at))
        case KeepEvidence():
            await _keep_evidence(connection, companion)
        case KeepCredential(user_id, password_hash, changed_at):
            await connection.execute(_KEEP_CREDENTIAL, (user_id, password_hash, changed_at))
        case KeepReceipt(owner_id, command_id, kept):
            led_to = (kept.fingerprint, kept.status, kept.stream_id, kept.version, Jsonb(kept.answer))
            await connection.execute(_KEEP_RECEIPT, (owner_id, command_id, *led_to))
        case _:
            assert_never(companion)


async def _drop(connection: Connection, companion: DropSchedule | DropRequest | ErasePerson) -> None:
    match companion:
        case DropSchedule(monitor_id):
            await connection.execute(_DROP_SCHEDULE, (monitor_id,))
        case DropRequest(evaluation_id):
            await connection.execute(_CLOSE_REQUEST, (evaluation_id,))
        case ErasePerson(user_id):
            await erase_person(connection, user_id)


async def _reserve(connection: Connection, reserve: Reserve) -> None:
    await connection.execute(_RESERVE, (reserve.scope, reserve.value, reserve.stream_id))
    if reserve.places_max is None:
        return
    row = await (await connection.execute(_COUNT_PLACES, (reserve.scope,))).fetchone()
    if row is None or row[0] > reserve.places_max:
        raise QuotaExceeded


async def _close_evaluation(connection: Connection, close: CloseEvaluation) -> None:
    cursor = await connection.execute(_CLOSE_EVALUATION, msgspec.to_builtins(close, builtin_types=(UUID, datetime)))
    if cursor.rowcount == 0:
        raise ConcurrentAppend
    await connection.execute(_CLOSE_REQUEST, (close.evaluation_id,))


async def _keep_evidence(connection: Connection, keep: KeepEvidence) -> None:
    document = keep.document
    body = zstandard.compress(document.body)
    await connection.execute(
        _KEEP_EVIDENCE,
        (document.hash, body, len(document.body), document.fetched_at),
    )
    validators = document.validators
    await connection.execute(
        _REMEMBER_SOURCE,
        (
            keep.monitor_id,
            keep.source_url,
            validators.etag,
            validators.last_modified,
            document.content_type,
            document.charset,
            document.hash,
            document.fetched_at,
        ),
    )
