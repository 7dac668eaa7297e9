"""Comparing tables with the same tables made another way, inside PostgreSQL: rows do not travel, differences do."""

from typing import Any, LiteralString

import msgspec
from psycopg import sql

from adapters.postgres_pool import Connection

_PRIMARY_KEYS = """
select c.relname, array_agg(a.attname order by a.attnum)
from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
where n.nspname = %s and i.indisprimary group by c.relname order by c.relname
"""

# Rows as wholes, so that null equals null; what the columns of a row are is only looked at where rows differ.
_DRIFT: LiteralString = """
select count(*) over (), {first} is null, replayed.{key} is null, jsonb_build_object({names}),
       array(
           select key from jsonb_each(to_jsonb(live)) l full join jsonb_each(to_jsonb(replayed)) r using (key)
           where l.value is distinct from r.value order by key
       )
from {live} live full join {replayed} replayed using ({keys})
where row(live.*) is distinct from row(replayed.*)
order by {keys} limit {limit}
"""
_COUNT = "select count(*) from {}"


class RowDrift(msgspec.Struct, frozen=True):
    """A row that is not what the log says. `kind`: `missing` in the live tables, `unknown` to the log, or `changed` in
    `columns`. `key` has the columns of the primary key."""

    kind: str
    key: dict[str, Any]
    columns: tuple[str, ...]


class TableDrift(msgspec.Struct, frozen=True):
    """A table: how many rows the live one has, how many differ from the replayed one, and the first of those."""

    table: str
    rows: int
    differing: int
    examples: tuple[RowDrift, ...]


async def compare(connection: Connection, *, live: str, replayed: str, examples_max: int) -> list[TableDrift]:
    """Every table of the schema `live` against the same of `replayed`, within the transaction that the connection is in."""
    await connection.execute("set local statement_timeout = 0")
    primary_keys = await (await connection.execute(_PRIMARY_KEYS, (live,))).fetchall()
    return [
        await _compare(connection, table, keys, schemas=(live, replayed), examples_max=examples_max)
        for table, keys in primary_keys
    ]


async def _compare(
    connection: Connection, table: str, keys: list[str], *, schemas: tuple[str, str], examples_max: int
) -> TableDrift:
    live, replayed = (sql.Identifier(schema, table) for schema in schemas)
    first = sql.Identifier("live", keys[0])
    statement = sql.SQL(_DRIFT).format(
        first=first,
        key=sql.Identifier(keys[0]),
        names=sql.SQL(", ").join(part for key in keys for part in (sql.Literal(key), sql.Identifier(key))),
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
        live=live,
        replayed=replayed,
        limit=sql.Literal(max(1, examples_max)),
    )
    rows = await (await connection.execute(statement)).fetchall()
    count = await (await connection.execute(sql.SQL(_COUNT).format(live))).fetchone()
    return TableDrift(
        table=table,
        rows=count[0] if count else 0,
        differing=rows[0][0] if rows else 0,
        examples=tuple(_row_drift(*row[1:]) for row in rows[:examples_max]),
    )


def _row_drift(is_missing: bool, is_unknown: bool, key: dict[str, Any], columns: list[str]) -> RowDrift:  # noqa: FBT001  a row
    kind = "missing" if is_missing else "unknown" if is_unknown else "changed"
    return RowDrift(kind=kind, key=key, columns=tuple(columns) if kind == "changed" else ())
