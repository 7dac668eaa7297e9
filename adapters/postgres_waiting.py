"""What waits for batches of models, in PostgreSQL: inquiries, and the looks that need their answers."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import zstandard

from adapters.postgres_pool import Pool
from commands.asking import Inquiry
from commands.unhurried import Ended, WaitingInquiry
from commands.waiting_looks import WaitingLook
from domain.evidence import Document
from domain.fact import FactSpec
from domain.model_call import CallOutcome, OnBehalf

DOCUMENTS_BYTES_MAX = 256 * 2**20
"""Far beyond what the sources of one monitor can answer."""

# An erasure waits for this, and after one nothing is kept.
_HOLD_PERSON = "select pg_advisory_xact_lock_shared(person_lock(%(owner_id)s))"
_PUT = """
insert into waiting_inquiry as w
    (key, owner_id, monitor_id, evaluation_id, prefer, inquiry, facts, asked_at)
select %(key)s, %(owner_id)s, %(monitor_id)s, %(evaluation_id)s, %(prefer)s, %(inquiry)s, %(facts)s, %(asked_at)s
where not exists (select from person_key where owner_id = %(owner_id)s and destroyed_at is not null)
on conflict (key) do update
set owner_id = excluded.owner_id, monitor_id = excluded.monitor_id, evaluation_id = excluded.evaluation_id,
    prefer = excluded.prefer, inquiry = excluded.inquiry, facts = excluded.facts, asked_at = excluded.asked_at,
    call_id = null, outcome = null, message = null, provider = null, ended_at = null
where w.ended_at < %(since)s or (w.outcome = %(no_money)s and w.owner_id <> excluded.owner_id)
"""
_ENDED = "select outcome, provider, message from waiting_inquiry where key = %(key)s and outcome is not null"
_IS_PAID_FOR = "select exists (select from waiting_inquiry where key = %s and evaluation_id = %s)"

# What was asked anew after its answer came is waited for by others.
_BEGUN = """
select begun_at, spent_micros, waits, case when waits then null else documents end
from waiting_look l
cross join lateral (
    select l.begun_at >= %(since)s and exists (
        select from waiting_inquiry w where w.key = any (l.keys) and w.outcome is null and not exists (
            select from model_answer a where a.key = w.key and a.made_at between l.begun_at and w.asked_at
        )
    ) as waits
) w
where monitor_id = %(monitor_id)s and evaluation_id = %(evaluation_id)s
  and previous_id is not distinct from (select last_evaluation_id from schedule where monitor_id = %(monitor_id)s)
"""
_KEEP = """
insert into waiting_look
    (monitor_id, owner_id, evaluation_id, previous_id, begun_at, keys, documents, spent_micros)
select %(monitor_id)s, %(owner_id)s, %(evaluation_id)s,
       (select last_evaluation_id from schedule where monitor_id = %(monitor_id)s),
       %(begun_at)s, %(keys)s, %(documents)s, %(spent_micros)s
where not exists (select from person_key where owner_id = %(owner_id)s and destroyed_at is not null)
on conflict (monitor_id) do update
set owner_id = excluded.owner_id, evaluation_id = excluded.evaluation_id, previous_id = excluded.previous_id,
    begun_at = excluded.begun_at, keys = excluded.keys, documents = excluded.documents,
    spent_micros = excluded.spent_micros
"""

_json = msgspec.json.Encoder()
_inquiry = msgspec.json.Decoder(Inquiry)
_facts = msgspec.json.Decoder(tuple[FactSpec, ...])
_pack = msgspec.msgpack.Encoder()
_documents = msgspec.msgpack.Decoder(dict[str, Document])


def inquiry_of(stored: bytes) -> Inquiry:
    """An inquiry as it was asked."""
    return _inquiry.decode(stored)


def facts_of(stored: bytes) -> tuple[FactSpec, ...]:
    """The facts that it is about."""
    return _facts.decode(stored)


class PostgresWaitingInquiries:
    """Fulfils `commands.unhurried.WaitingInquiries`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(self, asked: WaitingInquiry, *, since: datetime) -> Ended | None:
        """As the port says."""
        values = {
            "key": asked.key,
            **_of(asked.on_behalf),
            "prefer": asked.prefer,
            "inquiry": _json.encode(asked.inquiry),
            "facts": _json.encode(asked.facts),
            "asked_at": asked.asked_at,
            "since": since,
            "no_money": CallOutcome.BUDGET_EXCEEDED,
        }
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_HOLD_PERSON, values)
            await connection.execute(_PUT, values)
            row = await (await connection.execute(_ENDED, values)).fetchone()
        if row is None:
            return None
        outcome, provider, message = row
        return Ended(outcome=CallOutcome(outcome), provider=provider, message=message)

    async def is_paid_for(self, key: bytes, evaluation_id: UUID) -> bool:
        """As the port says."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_IS_PAID_FOR, (key, evaluation_id))).fetchone()
        return row == (True,)


class PostgresWaitingLooks:
    """Fulfils `commands.waiting_looks.WaitingLooks`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begun(self, on_behalf: OnBehalf, *, since: datetime) -> WaitingLook | None:
        """As the port says."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_BEGUN, {**_of(on_behalf), "since": since})).fetchone()
        if row is None:
            return None
        begun_at, spent_micros, is_waiting, documents = row
        seen = {} if documents is None else _documents.decode(_unpacked(documents))
        return WaitingLook(begun_at=begun_at, documents=seen, spent_micros=spent_micros, is_waiting=is_waiting)

    async def keep(self, on_behalf: OnBehalf, look: WaitingLook, keys: Sequence[bytes]) -> None:
        """As the port says."""
        values = {
            **_of(on_behalf),
            "begun_at": look.begun_at,
            "keys": list(keys),
            "documents": zstandard.compress(_pack.encode(look.documents)),
            "spent_micros": look.spent_micros,
        }
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_HOLD_PERSON, values)
            await connection.execute(_KEEP, values)


def _of(on_behalf: OnBehalf) -> dict[str, UUID | None]:
    return {name: getattr(on_behalf, name) for name in ("owner_id", "monitor_id", "evaluation_id")}


def _unpacked(documents: bytes) -> bytes:
    return zstandard.decompress(documents, max_output_size=DOCUMENTS_BYTES_MAX)
