"""Answers of models in PostgreSQL: found by all that was asked, forgotten when nobody asks the same any more."""

from collections.abc import Sequence
from datetime import datetime

from adapters.gathered import Gathered
from adapters.postgres_pool import Pool
from commands.kept_answers import KeptAnswer

# When it was used is written once a day: a monitor that looks every minute writes nothing for most of its looks.
_FIND = """
with used as (
    update model_answer set used_at = %(at)s
    where key = any (%(keys)s) and used_at < %(at)s::timestamptz - interval '1 day'
)
select key, answer as text, provider, model, cost_micros, made_at as came_at from model_answer where key = any (%(keys)s)
"""
# In one order for everybody: two that keep the same would wait for each other.
_KEEP = """
with kept (key, answer, provider, model, cost_micros, came_at, asked_at) as (
    select * from unnest(
        %s::bytea[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[]
    )
)
insert into model_answer (key, answer, provider, model, cost_micros, made_at, used_at)
select distinct on (key) key, answer, provider, model, cost_micros, came_at, came_at from kept order by key, came_at
on conflict (key) do update
set answer = excluded.answer, provider = excluded.provider, model = excluded.model, cost_micros = excluded.cost_micros,
    made_at = excluded.made_at, used_at = excluded.used_at
where model_answer.made_at < (select min(asked_at) from kept where kept.key = excluded.key)
"""
_FORGET = """
delete from model_answer where key in (
    select key from model_answer where used_at < %s order by used_at limit %s for update skip locked
)
"""


class PostgresModelAnswers:
    """Fulfils `commands.kept_answers.KeptAnswers` and `workers.retention.KeptAnswers`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._found = Gathered(self._find_all)
        self._kept = Gathered(self._keep_all)

    async def find(self, key: bytes, *, at: datetime) -> KeptAnswer | None:
        """As the port says."""
        return await self._found.ask((key, at))

    async def keep(self, key: bytes, answer: KeptAnswer, *, asked_at: datetime) -> None:
        """As the port says."""
        await self._kept.ask((key, answer, asked_at))

    async def _find_all(self, asked: Sequence[tuple[bytes, datetime]]) -> list[KeptAnswer | None]:
        async with self._pool.connection() as connection:
            values = {"keys": [key for key, _ in asked], "at": max(at for _, at in asked)}
            rows = await (await connection.execute(_FIND, values)).fetchall()
        found = {bytes(key): KeptAnswer(*answer) for key, *answer in rows}
        return [found.get(key) for key, _ in asked]

    async def _keep_all(self, kept: Sequence[tuple[bytes, KeptAnswer, datetime]]) -> list[None]:
        rows = [
            (key, answer.text, answer.provider, answer.model, answer.cost_micros, answer.came_at, asked_at)
            for key, answer, asked_at in kept
        ]
        async with self._pool.connection() as connection:
            await connection.execute(_KEEP, tuple(map(list, zip(*rows, strict=True))))
        return [None] * len(kept)

    async def forget(self, *, unused_since: datetime, limit: int) -> int:
        """As the port says."""
        async with self._pool.connection() as connection:
            return (await connection.execute(_FORGET, (unused_since, limit))).rowcount
