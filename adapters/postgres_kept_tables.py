"""Erasing people in the read tables that are kept beside the live ones: those from before a rebuild, and half-made ones.

They are out of use, so no projection comes by with the erasure; what they say of a person would stay until the next rebuild.
"""

from collections.abc import Awaitable, Callable, Sequence

import psycopg
import structlog
from psycopg import sql
from psycopg.rows import TupleRow

from domain.log_entry import LogEntry

log = structlog.get_logger()

Connection = psycopg.AsyncConnection[TupleRow]
Write = Callable[[Connection, Sequence[LogEntry]], Awaitable[None]]

ERASURE = "user.erased"

_KEPT = r"select nspname from pg_namespace where nspname like 'read\_model\_%' order by 1"
_SEARCH_PATH = "select current_setting('search_path')"
_USE = "select set_config('search_path', %s, true)"


async def erase_in_kept_tables(connection: Connection, entries: Sequence[LogEntry], write: Write) -> None:
    """Do the erasures among `entries` in every kept schema too, on a connection whose transaction holds the checkpoints of
    the live tables, so that no rebuild exchanges schemas meanwhile. `write` is what wrote them into the live tables.

    Tables that an older program made may not fit; then all rows of the person go.
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
        except psycopg.ProgrammingError as error:
            log.warning("kept read tables are of another make; the person goes whole", schema=schema, error=repr(error))
            delete = sql.SQL("delete from {} where id = any (%s)").format(sql.Identifier(schema, "users"))
            await connection.execute(delete, ([entry.owner_id for entry in erasures],))
    await connection.execute(_USE, before)
