"""Batches of inquiries in PostgreSQL: each step is written down before and after the provider hears of it, so that whoever dies
in between leaves what the next one needs."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row, dict_row

from adapters.postgres_pool import Pool
from adapters.postgres_waiting import facts_of, inquiry_of
from commands.batching import Asked, Batch, BatchCall
from commands.unhurried import Ended
from domain.budget import OpenCall
from domain.model_call import CallOutcome, OnBehalf

# Somebody in a hurry may have asked the same meanwhile: then this evaluation has cost nothing. What came before it was asked
# for is no answer to it: it was not proved.
_ANSWERED = """
update waiting_inquiry w
set outcome = %(ok)s, ended_at = %(at)s, inquiry = null, facts = null, evaluation_id = null
where call_id is null and outcome is null and exists (
    select from model_answer a where a.key = w.key and a.made_at >= w.asked_at
)
"""
_CHOOSE = """
select key, asked_at, candidates
from (
    select key, asked_at, sum(octet_length(inquiry)) over oldest as bytes, row_number() over oldest as place,
           count(*) over () as candidates
    from (
        select key, asked_at, inquiry from waiting_inquiry
        where call_id is null and outcome is null
          and case when prefer = any (%(able)s) then prefer else %(first)s end = %(provider)s
        order by asked_at, key limit %(count_max)s
    ) c
    window oldest as (order by asked_at, key)
) chosen
where bytes <= %(bytes_max)s or place = 1
order by asked_at, key
"""
_MAKE = "insert into model_batch (id, provider, model, made_at) values (%(id)s, %(provider)s, %(model)s, %(at)s)"
_TAKE = """
with taken as (
    update waiting_inquiry w set call_id = c.call_id
    from unnest(%(keys)s::bytea[], %(call_ids)s::uuid[]) as c (key, call_id)
    where w.key = c.key and w.call_id is null and w.outcome is null
    returning w.call_id
)
insert into model_batch_call (call_id, batch_id) select call_id, %(id)s from taken
"""
_UNDER_WAY = "select id, provider, model, made_at, sent_at, provider_id from model_batch order by made_at, id"
_CALLS = """
select b.call_id, m.provider, w.key, w.inquiry, w.facts, w.owner_id, w.monitor_id, w.evaluation_id, w.asked_at
from model_batch_call b join model_batch m on m.id = b.batch_id
left join waiting_inquiry w on w.call_id = b.call_id and w.outcome is null
where b.batch_id = %s order by b.call_id
"""
_OPEN = """
select o.id, o.owner_id, o.monitor_id, o.evaluation_id, o.task, o.provider, o.model, o.set_aside_micros, o.started_at
from model_call_open o join model_batch_call b on b.call_id = o.id where b.batch_id = %s
"""
_CLAIM = """
update model_batch set sent_at = %(at)s
where id = %(id)s and provider_id is null and sent_at is not distinct from %(was)s
"""
_ARRIVED = "update model_batch set provider_id = %s where id = %s and provider_id is null"
_END = """
update waiting_inquiry
set outcome = %(outcome)s, provider = %(provider)s, message = %(message)s, ended_at = %(at)s, inquiry = null, facts = null
where call_id = %(call_id)s and outcome is null
"""
_LEAVE = "delete from model_batch_call where call_id = %s"
_WITHDRAW = "delete from model_call_open where id = %s"
_WITHDRAW_ALL = "delete from model_call_open where id in (select call_id from model_batch_call where batch_id = %s)"
_PUT_BACK = """
update waiting_inquiry set call_id = null
where call_id in (select call_id from model_batch_call where batch_id = %s) and outcome is null
"""
_CLOSE = "delete from model_batch where id = %s"
_FORGET = (
    "delete from waiting_inquiry where ended_at < %(before)s",
    "delete from waiting_inquiry where call_id is null and outcome is null and asked_at < %(before)s",
    "delete from waiting_look where begun_at < %(before)s",
)


class PostgresBatches:
    """Fulfils `workers.batcher.Batches` and `workers.batch_accounts.Inquiries`."""

    def __init__(self, pool: Pool, *, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._new_id = new_id

    async def make(
        self,
        provider: str,
        model: str,
        *,
        able: Sequence[str],
        at: datetime,
        waiting_since: datetime,
        count_max: int,
        bytes_max: int,
    ) -> Batch | None:
        """As the port says."""
        batch = Batch(id=self._new_id(), provider=provider, model=model, made_at=at)
        values: dict[str, Any] = {
            "id": batch.id,
            "provider": provider,
            "model": model,
            "able": list(able),
            "first": able[0],
            "at": at,
            "count_max": count_max,
            "bytes_max": bytes_max,
            "ok": CallOutcome.OK,
        }
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_ANSWERED, values)
            rows = await (await connection.execute(_CHOOSE, values)).fetchall()
            if not rows or not (rows[0][1] <= waiting_since or rows[0][2] == count_max or len(rows) < rows[0][2]):
                return None
            await connection.execute(_MAKE, values)
            taken = {"id": batch.id, "keys": [row[0] for row in rows], "call_ids": [self._new_id() for _ in rows]}
            await connection.execute(_TAKE, taken)
        return batch

    async def under_way(self) -> list[Batch]:
        """As the port says."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Batch)) as cursor:
            await cursor.execute(_UNDER_WAY)
            return await cursor.fetchall()

    async def calls(self, batch_id: UUID) -> list[BatchCall]:
        """As the port says."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_CALLS, (batch_id,))).fetchall()
            async with connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(_OPEN, (batch_id,))
                found = msgspec.convert(await cursor.fetchall(), list[OpenCall])
        accounts = {call.id: call for call in found}
        return [
            BatchCall(id=call_id, provider=provider, asked=_asked(*asked), open=accounts.get(call_id))
            for call_id, provider, *asked in rows
        ]

    async def claim(self, batch: Batch, *, at: datetime) -> bool:
        """As the port says."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_CLAIM, {"id": batch.id, "was": batch.sent_at, "at": at})
            return cursor.rowcount == 1

    async def arrived(self, batch_id: UUID, provider_id: str) -> None:
        """As the port says."""
        async with self._pool.connection() as connection:
            await connection.execute(_ARRIVED, (provider_id, batch_id))

    async def end(self, call_id: UUID, ended: Ended, *, at: datetime) -> None:
        """As the port says."""
        async with self._pool.connection() as connection:
            await connection.execute(_END, _ending(call_id, ended, at))

    async def leave(self, call_id: UUID, ended: Ended | None, *, at: datetime) -> None:
        """As the port says."""
        async with self._pool.connection() as connection, connection.transaction():
            if ended is not None:
                await connection.execute(_END, _ending(call_id, ended, at))
            await connection.execute(_WITHDRAW, (call_id,))
            await connection.execute(_LEAVE, (call_id,))

    async def dissolve(self, batch_id: UUID) -> None:
        """As the port says."""
        async with self._pool.connection() as connection, connection.transaction():
            for statement in (_WITHDRAW_ALL, _PUT_BACK, _CLOSE):
                await connection.execute(statement, (batch_id,))

    async def close(self, batch_id: UUID) -> None:
        """As the port says."""
        async with self._pool.connection() as connection:
            await connection.execute(_CLOSE, (batch_id,))

    async def forget(self, *, before: datetime) -> None:
        """As the port says."""
        async with self._pool.connection() as connection:
            for statement in _FORGET:
                await connection.execute(statement, {"before": before})

    async def known(self, provider: str) -> Collection[str]:
        """As the port says."""
        return {one.provider_id for one in await self.under_way() if one.provider == provider and one.provider_id}


def _ending(call_id: UUID, ended: Ended, at: datetime) -> dict[str, Any]:
    return {
        "call_id": call_id,
        "outcome": ended.outcome,
        "provider": ended.provider,
        "message": ended.message,
        "at": at,
    }


def _asked(
    key: bytes | None,
    inquiry: bytes | None,
    facts: bytes | None,
    owner_id: UUID | None,
    monitor_id: UUID | None,
    evaluation_id: UUID | None,
    asked_at: datetime | None,
) -> Asked | None:
    if key is None or inquiry is None or facts is None or owner_id is None or asked_at is None:
        return None
    return Asked(
        key=key,
        inquiry=inquiry_of(inquiry),
        facts=facts_of(facts),
        on_behalf=OnBehalf(owner_id=owner_id, monitor_id=monitor_id, evaluation_id=evaluation_id),
        asked_at=asked_at,
    )
