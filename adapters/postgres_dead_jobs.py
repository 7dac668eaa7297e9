"""Evaluations that were given up: what an operator sees of them, and the two things to do about them."""

from datetime import datetime
from uuid import UUID

import msgspec

from adapters.audited_acts import Record
from adapters.postgres_pool import Pool
from domain.errors import NotFound

_LIST = """
select evaluation_id, monitor_id, owner_id, due_at, signal_id, attempts, error, died_at from dead_job
order by died_at, evaluation_id
"""
_TAKE = """
delete from dead_job where evaluation_id = %s returning monitor_id, owner_id, due_at, signal_id
"""
# It takes its old place among what was asked for, and is no waiting request: of those a monitor may have one.
_ASK_AGAIN = """
insert into evaluation_request (evaluation_id, monitor_id, owner_id, requested_at, ready_at, signal_id, enqueued_at)
values (%s, %s, %s, %s, now(), %s, '-infinity')
on conflict (evaluation_id) do nothing
"""


class DeadJob(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation that was tried `attempts` times in vain and then given up; `error` is why, the last time."""

    evaluation_id: UUID
    monitor_id: UUID
    owner_id: UUID
    due_at: datetime
    signal_id: UUID | None
    attempts: int
    error: str
    died_at: datetime


class PostgresDeadJobs:
    """The table dead_job. `record` writes down who does it, in the same transaction as the act."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[DeadJob]:
        """Those that were given up, the oldest first."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LIST)).fetchall()
        names = DeadJob.__struct_fields__
        return [DeadJob(**dict(zip(names, row, strict=True))) for row in rows]

    async def retry(self, evaluation_id: UUID, *, record: Record[UUID]) -> None:
        """Hand it out again, first of its monitor. Raises `NotFound` when it is not dead."""
        async with self._pool.connection() as connection, connection.transaction():
            row = await (await connection.execute(_TAKE, (evaluation_id,))).fetchone()
            if row is None:
                raise NotFound(f"the evaluation {evaluation_id} was not given up")
            await connection.execute(_ASK_AGAIN, (evaluation_id, *row))
            await record(evaluation_id)

    async def drop(self, evaluation_id: UUID, *, record: Record[UUID]) -> None:
        """Forget it. Raises `NotFound` when it is not dead."""
        async with self._pool.connection() as connection, connection.transaction():
            if await (await connection.execute(_TAKE, (evaluation_id,))).fetchone() is None:
                raise NotFound(f"the evaluation {evaluation_id} was not given up")
            await record(evaluation_id)
