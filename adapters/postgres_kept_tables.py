"""Erasing people in the read tables that are kept beside the live ones: those from before a rebuild, and half-made ones.

They are out of use, so no projection comes by with the erasure; what they say of a person would stay until the next rebuild.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import psycopg
import structlog
from psycopg import sql

from adapters.postgres_pool import Connection
from domain.log_entry import LogEntry

log = structlog.get_logger()

Write = Callable[[Connection, Sequence[LogEntry]], Awaitable[None]]

ERASURE = "user.erased"

_KEPT = r"select nspname from pg_namespace where nspname like 'read\_model\_%' order by 1"
_MISFITS = (psycopg.ProgrammingError, psycopg.DataError, psycopg.IntegrityError)
_SEARCH_PATH = "select current_setting('search_path')"
_USE = "select set_config('search_path', %s, true)"


async def erase_in_kept_tables(connection: Connection, entries: Sequence[LogEntry], write: Write) -> None:
    """Do the erasures among `entries` in every kept schema too, on a connection whose transaction holds the checkpoints of
    the live tables, so that no rebuild exchanges schemas meanwhile. `write` is what wrote them into the live tables.

    Tables that an older program made may not fit; then all rows of the person go. Those of somebody else, whom we may not
    change, hold nothing up: they are named in an error for the operator.
    """
    erasures = [entry for entry in entries if entry.type == ERASURE]
    if not erasures:
        return
    kept = [row[0] for row in await (await connection.execute(_KEPT)).fetchall()]
    before = await (await connection.execute(_SEARCH_PATH)).fetchone()
    for schema in kept:
        try:
            async with connection.transaction():
                await connection.execute(_USE, (f'"{schema}", public',))
                await write(connection, erasures)
        except _MISFITS as error:
            reason = error.diag.message_primary  # the details quote the row
            log.warning("kept read tables are of another make; the person goes whole", schema=schema, error=reason)
            await _delete(connection, schema, [entry.owner_id for entry in erasures])
    await connection.execute(_USE, before)


async def _delete(connection: Connection, schema: str, people: Sequence[UUID]) -> None:
    delete = sql.SQL("delete from {} where id = any (%s)").format(sql.Identifier(schema, "users"))
    try:
        async with connection.transaction():
            await connection.execute(delete, (people,))
    except _MISFITS as error:
        reason = error.diag.message_primary
        log.error("a copy of the read tables keeps people who were erased; drop it", schema=schema, error=reason)  # noqa: TRY400  the traceback says nothing
