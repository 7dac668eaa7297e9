"""`vigil store`: the event store as a whole."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

import typer

from cli.arguments import Json, Yes
from cli.output import failing_in_one_sentence

store = typer.Typer(no_args_is_help=True, help="Care for the event store as a whole.")


@store.command("repair", epilog="Example: vigil store repair --yes")
def store_repair(
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a store that was restored into another cluster ready for it.

    Stop Vigil first. Events that had no position get theirs, and transaction ids of the old cluster that lie in the
    future of this one are rewritten; positions, hashes and contents stay. Doing it again changes nothing.
    """
    with failing_in_one_sentence():
        from cli.repairing import run_repair

        run_repair(yes=yes, as_json=as_json)
