"""Shadow tables: the read tables once more, in a schema of their own, to be filled from the log and compared or exchanged
with the live ones.

Keys are there from the start, so that what the tables refuse is refused for the event at hand. Other indexes and foreign
keys cost twice what all the rest does when they are kept while the tables are filled (benchmarks/README.md), so they are
made when that is done. Indexes are made `concurrently`: not for the sake of anybody who writes, but because that holds no
transaction id meanwhile, for which the sequencer would wait, and with it everything new in the log.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import sql

from adapters.postgres_checkpoints import begin_places, forget_parked, forget_places, places_of
from adapters.postgres_pool import Connection
from adapters.postgres_read_tables import LIVE
from domain.log_entry import PARTITIONS
from projections.projection import Projection

_BUILT_BY = "select version, fingerprint from projection_tables where projection = %s and schema = %s"
_BEGIN_BUILT_BY = """
insert into projection_tables (projection, schema, version, fingerprint) values (%s, %s, %s, %s)
"""

_DROP_BUILT_BY = "delete from projection_tables where projection = %s and schema = %s"

_TABLES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relkind = 'r' order by c.relname
"""

# What rows may be like: the columns of each table in their order, and its checks.
_SHAPE = """
select c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid)
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where n.nspname = %(schema)s and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
union all
select c.relname, null, k.conname, pg_get_constraintdef(k.oid), k.convalidated, null
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and k.contype = 'c'
order by 1, 2, 3
"""

# What holds between rows, as the catalogue prints it; with the schema in the search path it leaves its name out. An index
# that was not finished is not there.
_KEYS = """
select c.relname, k.conname, pg_get_constraintdef(k.oid, true), k.contype = 'f', null::boolean
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and k.contype in ('p', 'u', 'x', 'f') and k.convalidated
union all
select c.relname, x.relname, pg_get_indexdef(i.indexrelid, 0, true), false, i.indisunique
from pg_index i join pg_class c on c.oid = i.indrelid join pg_class x on x.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and i.indisvalid
  and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
order by 4, 1, 2
"""

_GRANTS = """
select c.relname, r.rolname, a.privilege_type, a.is_grantable
from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join aclexplode(c.relacl) a
left join pg_roles r on r.oid = a.grantee
where n.nspname = %(schema)s and c.relkind = 'r' and a.grantee <> c.relowner
union all
select null, r.rolname, a.privilege_type, a.is_grantable
from pg_namespace n cross join aclexplode(n.nspacl) a left join pg_roles r on r.oid = a.grantee
where n.nspname = %(schema)s and a.grantee <> n.nspowner
"""

_SESSION = "select set_config('search_path', %s, false), set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)"
_TRANSACTION = "select set_config('search_path', %s, true), set_config('statement_timeout', '0', true)"


class _Key(NamedTuple):
    """A constraint, or an index that belongs to none (`unique` says what kind); as the catalogue prints it."""

    table: str
    name: str
    definition: Any
    foreign: bool
    unique: bool | None

    @property
    def is_early(self) -> bool:
        """Whether it is there while the tables are filled: what tells that a row is there already."""
        return not self.foreign if self.unique is None else self.unique


class Shadow:
    """The shadow tables of a projection in `schema`; `consumer` is the name their progress goes by."""

    def __init__(self, projection: Projection, schema: str, consumer: str) -> None:
        self._projection = projection
        self.schema = schema
        self.consumer = consumer

    @property
    def search_path(self) -> str:
        """What lets unqualified names mean these tables."""
        return f"{self.schema}, public"

    async def prepare(self, connection: Connection) -> None:
        """Make the tables, unless those that an interrupted run left are of the same SQL and the same shape."""
        async with connection.transaction():
            if not await self._goes_on(connection):
                await self.begin(connection, complete=False)

    async def begin(self, connection: Connection, *, complete: bool) -> None:
        """Make empty tables, with all their keys from the start if `complete`; what was there is dropped."""
        async with connection.transaction():
            await self.discard(connection)
            # Moved in the transactions that write the tables.
            await begin_places(connection, self.consumer)
            built_by = (self._projection.version, self._projection.fingerprint())
            await connection.execute(_BEGIN_BUILT_BY, (self._projection.name, self.schema, *built_by))
            await connection.execute(sql.SQL("create schema {}").format(sql.Identifier(self.schema)))
            for (table,) in await _rows(connection, _TABLES, (LIVE,)):
                statement = sql.SQL("create table {} (like {} including all excluding indexes)")
                names = sql.Identifier(self.schema, table), sql.Identifier(LIVE, table)
                await connection.execute(statement.format(*names))
            await self._grant(connection)
            keys = await _keys(connection, LIVE)
            await connection.execute(_TRANSACTION, (self.search_path,))
            for key in keys:
                if complete or key.is_early:
                    await _add(connection, key, concurrently=False)

    async def discard(self, connection: Connection) -> None:
        """Drop the tables and all that is known of them."""
        async with connection.transaction():
            await drop_tables(connection, self._projection, self.schema)
            await forget_places(connection, self.consumer)
            await forget_parked(connection, self.consumer)

    async def places(self, connection: Connection) -> dict[int, int]:
        """How far the tables have come in each partition."""
        return await places_of(connection, self.consumer)

    async def is_complete(self, connection: Connection) -> bool:
        """Whether the tables have every key the live ones have."""
        async with connection.transaction():
            return not await self._missing(connection)

    async def is_like_live(self, connection: Connection) -> bool:
        """Whether the tables have the shape and exactly the keys of the live ones, inside a transaction."""
        if await shape(connection, self.schema) != await shape(connection, LIVE):
            return False
        return set(await _keys(connection, LIVE)) == set(await _keys(connection, self.schema))

    async def complete(self, connection: Connection) -> None:
        """Make the keys that are missing, each in transactions of its own, and tell the planner what is in the tables.

        Waits for whoever has looked at the database since before. Raises `psycopg.errors.ForeignKeyViolation` when rows
        refer to what is not there."""
        async with connection.transaction():
            missing = await self._missing(connection)
            tables = await _rows(connection, _TABLES, (self.schema,))
        await connection.execute(_SESSION, (self.search_path,))
        try:
            for key in missing:
                await _add(connection, key, concurrently=True)
            for (table,) in tables:
                await connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
        finally:
            if not connection.closed:
                await connection.execute("reset all")

    async def _goes_on(self, connection: Connection) -> bool:
        built_by = await _rows(connection, _BUILT_BY, (self._projection.name, self.schema))
        if built_by != [(self._projection.version, self._projection.fingerprint())]:
            return False
        if len(await self.places(connection)) != PARTITIONS:
            return False
        if await shape(connection, self.schema) != await shape(connection, LIVE):
            return False
        live, own = set(await _keys(connection, LIVE)), set(await _keys(connection, self.schema))
        return own <= live and {key for key in live if key.is_early} <= own

    async def _missing(self, connection: Connection) -> list[_Key]:
        own = set(await _keys(connection, self.schema))
        return [key for key in await _keys(connection, LIVE) if key not in own]

    async def _grant(self, connection: Connection) -> None:
        """Let everybody do with the tables what they may do with the live ones, whoever has made these."""
        for table, role, privilege, grantable in await _rows(connection, _GRANTS, {"schema": LIVE}):
            thing = sql.SQL("schema {}").format(sql.Identifier(self.schema))
            if table is not None:
                thing = sql.SQL("table {}").format(sql.Identifier(self.schema, table))
            whom = sql.SQL("public") if role is None else sql.Identifier(role)
            option = sql.SQL(" with grant option" if grantable else "")
            # The name of a privilege comes from the catalogue of this database, not from anybody's input.
            statement = sql.SQL("grant {} on {} to {}{}").format(sql.SQL(privilege), thing, whom, option)
            await connection.execute(statement)


async def shape(connection: Connection, schema: str) -> list[Any]:
    """The columns and checks of the tables in a schema, inside a transaction."""
    await connection.execute(_TRANSACTION, (f"{schema}, public",))
    return await _rows(connection, _SHAPE, {"schema": schema})


async def drop_tables(connection: Connection, projection: Projection, schema: str) -> None:
    """Drop the tables of a projection in a schema, if they are there, and what is known of how they were made."""
    await connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
    await connection.execute(_DROP_BUILT_BY, (projection.name, schema))


async def _keys(connection: Connection, schema: str) -> list[_Key]:
    await connection.execute(_TRANSACTION, (f"{schema}, public",))
    return [_Key(*row) for row in await _rows(connection, _KEYS, {"schema": schema})]


async def _add(connection: Connection, key: _Key, *, concurrently: bool) -> None:
    """Make a key of a table in the search path. Definitions come from the catalogue of this database, not from anybody's
    input."""
    if key.unique is None:
        statement = sql.SQL("alter table {} add constraint {} {}")
        names = sql.Identifier(key.table), sql.Identifier(key.name)
        await connection.execute(statement.format(*names, sql.SQL(key.definition)))
        return
    # An unfinished one that a killed process left, or that one of it is still making: this waits for that.
    await connection.execute(sql.SQL("drop index if exists {}").format(sql.Identifier(key.name)))
    definition = key.definition
    if concurrently:
        definition = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    await connection.execute(sql.SQL(definition))


async def _rows(connection: Connection, query: Any, values: Sequence[Any] | dict[str, Any]) -> list[Any]:  # noqa: ANN401  a constant
    return await (await connection.execute(query, values)).fetchall()
