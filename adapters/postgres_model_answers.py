"""Answers of models in PostgreSQL: found by all that was asked, forgotten when nobody asks the same any more."""

from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from adapters.postgres_pool import Pool
from commands.model_reading import KeptAnswer

# When it was used is written once a day: a monitor that looks every minute writes nothing for most of its looks.
_FIND = """
with used as (
    update model_answer set used_at = %(at)s where key = %(key)s and used_at < %(at)s::timestamptz - interval '1 day'
)
select answer as text, provider, model, cost_micros from model_answer where key = %(key)s
"""
_KEEP = """
insert into model_answer (key, answer, provider, model, cost_micros, made_at, used_at)
values (%(key)s, %(text)s, %(provider)s, %(model)s, %(cost_micros)s, %(at)s, %(at)s)
on conflict (key) do nothing
"""
_FORGET = """
delete from model_answer where key in (
    select key from model_answer where used_at < %s order by used_at limit %s for update skip locked
)
"""


class PostgresModelAnswers:
    """Fulfils `commands.model_reading.KeptAnswers` and `workers.retention.KeptAnswers`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, key: bytes, *, at: datetime) -> KeptAnswer | None:
        """As the port says."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(KeptAnswer)) as cursor,
        ):
            await cursor.execute(_FIND, {"key": key, "at": at})
            return await cursor.fetchone()

    async def keep(self, key: bytes, answer: KeptAnswer, *, at: datetime) -> None:
        """As the port says."""
        values: dict[str, Any] = {
            "key": key,
            "text": answer.text,
            "provider": answer.provider,
            "model": answer.model,
            "cost_micros": answer.cost_micros,
            "at": at,
        }
        async with self._pool.connection() as connection:
            await connection.execute(_KEEP, values)

    async def forget(self, *, unused_since: datetime, limit: int) -> int:
        """As the port says."""
        async with self._pool.connection() as connection:
            return (await connection.execute(_FORGET, (unused_since, limit))).rowcount
