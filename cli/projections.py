"""`vigil projections`: how far the read tables are, made again, taken back, and proved."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated

import typer

from cli.arguments import Json
from cli.output import failing_in_one_sentence
from cli.parked import parked

projections = typer.Typer(no_args_is_help=True, help="Watch and rebuild the read tables.")
projections.add_typer(parked, name="parked", epilog="Example: vigil projections parked list")

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="The projection: core is the only one.")]
Every = Annotated[bool, typer.Option("--all", help="All projections.")]
Throttle = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="At most so many events a second, to spare live traffic.")
]


@projections.command("status", epilog="Example: vigil projections status --json")
def projections_status(as_json: Json = False) -> None:
    """Show how far each consumer of the log is."""
    with failing_in_one_sentence():
        from cli.read_tables import run_status

        run_status(as_json=as_json)


@projections.command("rebuild", epilog="Example: vigil projections rebuild core --throttle 5000")
def projections_rebuild(
    name: Name = None,
    every: Every = False,
    throttle: Throttle = None,
    as_json: Json = False,
) -> None:
    """Build read tables again from the log.

    It is done beside live traffic, and the new tables then take the place of the old ones, which are kept for `rollback`.
    An interrupted rebuild goes on where it was when it is started again. That it was done is an event of its own.
    """
    with failing_in_one_sentence():
        from cli.rebuilding import run_rebuild

        run_rebuild(name, every=every, throttle=throttle, as_json=as_json)


@projections.command(
    "rollback",
    short_help="Take the read tables from before a rebuild again.",
    epilog="Example: vigil projections rollback core",
)
def projections_rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The projection.")],
    as_json: Json = False,
) -> None:
    """Take the read tables from before the last rebuild again, at once.

    What happened since is then projected into them. Done again, it is undone. That it was done is an event of its own.
    """
    with failing_in_one_sentence():
        from cli.rebuilding import run_roll_back

        run_roll_back(name, as_json=as_json)


@projections.command("verify", epilog="Example: vigil projections verify core")
def projections_verify(
    name: Name = None,
    every: Every = False,
    rows: Annotated[int, typer.Option("--rows", min=0, metavar="N", help="How many rows of a table to name.")] = 20,
    throttle: Throttle = None,
    as_json: Json = False,
) -> None:
    """Prove that read tables are what the log says.

    The log is replayed beside the live tables, and every row compared where both have come equally far. Nothing is changed.
    Exits 1 and names the rows that differ, with their columns.
    """
    with failing_in_one_sentence():
        from cli.rebuilding import run_verify

        run_verify(name, every=every, throttle=throttle, rows=rows, as_json=as_json)
