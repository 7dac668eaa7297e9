"""`vigil keys`: what the keys of people are wrapped with."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

import typer

from cli.arguments import Json
from cli.output import failing_in_one_sentence

keys = typer.Typer(no_args_is_help=True, help="See and change what the keys of people are wrapped with.")


@keys.command("status", epilog="Example: vigil keys status --json")
def keys_status(as_json: Json = False) -> None:
    """Show how many keys of people are wrapped by which wrapping key.

    Exits 1 when one of these is not configured here.
    """
    with failing_in_one_sentence():
        from cli.wrapping import run_status

        run_status(as_json=as_json)


@keys.command("rotate", epilog="Example: vigil keys rotate")
def keys_rotate(as_json: Json = False) -> None:
    """Wrap all keys of people with the first key of VIGIL_WRAPPING_KEYS.

    Every process must know that key before: docs/personal-data.md has the order. Interrupted and started again it goes on
    where it was. Each batch that was done is an event of its own.
    """
    with failing_in_one_sentence():
        from cli.wrapping import run_rotate

        run_rotate(as_json=as_json)
