"""What `vigil projections status` does: how far the read tables are, and by which SQL they are made."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters.postgres_status import ConsumerStatus, TablesStatus, consumer_status, tables_status
from bootstrap.settings import Settings
from cli.connection import configured, open_database, run
from cli.output import WRONG_USE, fail, print_json
from projections.core import CORE
from projections.projection import Projection

PROJECTIONS = {CORE.name: CORE}


def chosen(name: str | None, *, every: bool) -> list[Projection]:
    """The projections an operator means; ends the command when that is not clear."""
    if (name is None) != every:
        fail("say which projection, or --all", code=WRONG_USE)
    if name is not None and name not in PROJECTIONS:
        fail(f"there is no projection {name!r}; known are {', '.join(PROJECTIONS)}", code=WRONG_USE)
    return list(PROJECTIONS.values()) if name is None else [PROJECTIONS[name]]


def run_status(*, as_json: bool) -> None:
    """Show how far each consumer is."""
    consumers, tables = run(_status(configured()))
    if as_json:
        print_json([_told(each, tables) for each in consumers])
        return
    if not consumers:
        typer.echo("no consumer ever ran on this database")
    elif sys.stdout.isatty():
        Console().print(_table(consumers))
    else:
        for each in consumers:
            typer.echo(
                f"{each.consumer}: position {each.position} of {each.head}, behind {_behind(each)}, last moved {_moved(each)},"
                f" {each.partitions} partitions, worked on by {', '.join(each.holders) or 'nobody'}, {each.parked} parked"
            )
    for name, made in tables.items():
        if made.rebuild_needed:
            typer.echo(
                f"{name}: rebuild needed, its tables are made by other SQL; run `vigil projections rebuild {name}`"
            )


def _told(each: ConsumerStatus, tables: Mapping[str, TablesStatus]) -> dict[str, Any]:
    made = tables.get(each.consumer)
    return msgspec.structs.asdict(each) | {"tables": None if made is None else msgspec.structs.asdict(made)}


def _table(consumers: Sequence[ConsumerStatus]) -> Table:
    table = Table("consumer", "position", "behind", "last moved", "parked", "worked on by")
    for each in consumers:
        workers = Text("\n".join(each.holders) or "nobody", overflow="fold")
        position = f"{each.position} of {each.head}"
        table.add_row(each.consumer, position, _behind(each), _moved(each), str(each.parked), workers)
    return table


def _behind(status: ConsumerStatus) -> str:
    return f"{status.lag_events} events, {status.lag_seconds:.1f} s"


def _moved(status: ConsumerStatus) -> str:
    at = status.heartbeat_at
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def _status(settings: Settings) -> tuple[list[ConsumerStatus], dict[str, TablesStatus]]:
    async with open_database(settings) as pool:
        tables = {name: await tables_status(pool, projection) for name, projection in PROJECTIONS.items()}
        return await consumer_status(pool), tables
