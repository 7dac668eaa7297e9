"""`vigil migrate`: the database's tables, up to date or back."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated

import typer

from cli.arguments import Json, Yes
from cli.output import failing_in_one_sentence

migrate = typer.Typer(no_args_is_help=True, help="Bring the database's tables up to date, or back.")


@migrate.command("up", epilog="Example: vigil migrate up")
def migrate_up() -> None:
    """Apply the migrations the database lacks."""
    with failing_in_one_sentence():
        from cli.migrating import run_up

        run_up()


@migrate.command("down", epilog="Example: vigil migrate down --steps 1 --yes")
def migrate_down(
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="How many migrations, the newest first.")] = 1,
    yes: Yes = False,
) -> None:
    """Take migrations back, with all they hold."""
    with failing_in_one_sentence():
        from cli.migrating import run_down

        run_down(steps=steps, yes=yes)


@migrate.command("status", epilog="Example: vigil migrate status --json")
def migrate_status(as_json: Json = False) -> None:
    """Show which migrations the database has."""
    with failing_in_one_sentence():
        from cli.migrating import run_status

        run_status(as_json=as_json)
