"""Exchanging the live tables for others, in one transaction with the places they have come to and what is parked for them."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from adapters.postgres_checkpoints import begin_places, forget_parked, forget_places
from adapters.postgres_pool import Connection
from adapters.postgres_read_tables import LIVE, record_first_use
from adapters.postgres_shadow import Shadow, drop_tables, shape
from domain.log_entry import PARTITIONS
from projections.projection import Projection

PREVIOUS = "read_model_previous"
_ASIDE = "read_model_aside"

_HOLD = "select partition, position from checkpoint where consumer = %s order by partition for update"
# A rebuild may have overtaken a live projector that stood still: tables and places change together.
_HAND_OVER = """
update checkpoint live set position = next.position, updated_at = clock_timestamp()
from checkpoint next
where live.consumer = %s and next.consumer = %s and next.partition = live.partition
"""
_GO_BACK = """
update checkpoint set position = (%(places)s::bigint[])[partition + 1], updated_at = clock_timestamp()
where consumer = %(consumer)s
"""

_RENAME_BUILT_BY = "update projection_tables set schema = %s, places = %s where projection = %s and schema = %s"
_FINISHED = "update projection_tables set built_at = now() where projection = %s and schema = %s"
_RENAME_PARKED = "update parked set consumer = %s where consumer = %s"

_PREVIOUS = """
select t.places from projection_tables t join pg_namespace n on n.nspname = t.schema
where t.projection = %s and t.schema = %s
"""


async def hold_live(connection: Connection, projection: Projection) -> dict[int, int]:
    """Keep the live projector from writing until the transaction ends; the places it has come to."""
    await record_first_use(connection, projection)
    await begin_places(connection, projection.name)
    rows = await (await connection.execute(_HOLD, (projection.name,))).fetchall()
    return dict(rows)


async def exchange(connection: Connection, projection: Projection, shadow: Shadow, live: Mapping[int, int]) -> None:
    """Let the shadow be the live tables, and keep those as the previous ones with the places `live`; those that were kept
    before are dropped."""
    name = projection.name
    await drop_tables(connection, projection, PREVIOUS)
    await forget_parked(connection, _kept(name))
    await _rename(connection, LIVE, PREVIOUS, projection=name, places=_listed(live))
    await connection.execute(_RENAME_PARKED, (_kept(name), name))
    await _rename(connection, shadow.schema, LIVE, projection=name, places=None)
    await connection.execute(_FINISHED, (name, LIVE))
    await connection.execute(_RENAME_PARKED, (name, shadow.consumer))
    await connection.execute(_HAND_OVER, (name, shadow.consumer))
    await forget_places(connection, shadow.consumer)


async def return_to_previous(connection: Connection, projection: Projection) -> str | None:
    """Let live and previous tables take each other's place; what keeps that from being done, None when it is done."""
    name = projection.name
    live = await hold_live(connection, projection)
    previous = await (await connection.execute(_PREVIOUS, (name, PREVIOUS))).fetchone()
    if previous is None or previous[0] is None:
        return f"no tables of {name} from before a rebuild are kept; `vigil projections rebuild {name}` makes new ones"
    if await shape(connection, PREVIOUS) != await shape(connection, LIVE):
        return (
            f"the tables of {name} from before the last rebuild have another shape than this program's: it would fail on"
            f" them. `vigil projections rebuild {name}` makes new ones"
        )
    await _rename(connection, LIVE, _ASIDE, projection=name, places=_listed(live))
    await _rename(connection, PREVIOUS, LIVE, projection=name, places=None)
    await _rename(connection, _ASIDE, PREVIOUS, projection=name, places=_listed(live))
    aside = f"{name}.aside"
    for new, old in ((aside, name), (name, _kept(name)), (_kept(name), aside)):
        await connection.execute(_RENAME_PARKED, (new, old))
    await connection.execute(_GO_BACK, {"places": previous[0], "consumer": name})
    return None


def _kept(name: str) -> str:
    """By which name goes what is parked for the previous tables."""
    return f"{name}.previous"


def _listed(places: Mapping[int, int]) -> list[int]:
    return [places[partition] for partition in range(PARTITIONS)]


async def _rename(connection: Connection, old: str, new: str, *, projection: str, places: Any) -> None:  # noqa: ANN401  a list or null
    statement = sql.SQL("alter schema {} rename to {}")
    await connection.execute(statement.format(sql.Identifier(old), sql.Identifier(new)))
    await connection.execute(_RENAME_BUILT_BY, (new, places, projection, old))
