"""Who runs the installation, by the read tables."""

from uuid import UUID

from adapters.postgres_pool import Pool

_EVERYBODY = "select id from users where verified and roles && array['operator', 'admin'] order by id"


class PostgresOperators:
    """Fulfils `workers.budget_notices.Operators`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def everybody(self) -> list[UUID]:
        """As the port says; a role that was given a moment ago may not be known yet."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_EVERYBODY)).fetchall()
        return [row[0] for row in rows]
