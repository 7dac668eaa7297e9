"""`vigil evaluations`: what became of evaluations that could not be made."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated
from uuid import UUID

import typer

from cli.arguments import Json
from cli.output import failing_in_one_sentence

evaluations = typer.Typer(no_args_is_help=True, help="Care for evaluations that could not be made.")
dead = typer.Typer(no_args_is_help=True, help="Evaluations that were given up after several attempts.")
evaluations.add_typer(dead, name="dead", epilog="Example: vigil evaluations dead list")

Which = Annotated[UUID | None, typer.Argument(metavar="ID", help="The evaluation's id.")]
Every = Annotated[bool, typer.Option("--all", help="All that were given up.")]


@dead.command("list", epilog="Example: vigil evaluations dead list --json")
def dead_list(as_json: Json = False) -> None:
    """Show the evaluations that were given up: whose monitor, when it was due, how often it was tried, and why it failed.

    Each failed by a defect, not by its source: a source that fails is an evaluation that failed, and its owner reads why.
    Its monitor goes on with the next slot.
    """
    with failing_in_one_sentence():
        from cli.dead_evaluations import run_list

        run_list(as_json=as_json)


@dead.command("retry", epilog="Example: vigil evaluations dead retry 0198c0de-0000-7000-8000-000000000001")
def dead_retry(which: Which = None, every: Every = False, as_json: Json = False) -> None:
    """Hand evaluations out once more, under the ids they had. That it was done, and by whom, is an event of its own."""
    with failing_in_one_sentence():
        from cli.dead_evaluations import run_retry

        run_retry(which, every=every, as_json=as_json)


@dead.command(
    "drop", epilog="Example: vigil evaluations dead drop 0198c0de-0000-7000-8000-000000000001 --reason 'page is gone'"
)
def dead_drop(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with your name.")],
    which: Which = None,
    every: Every = False,
    as_json: Json = False,
) -> None:
    """Forget evaluations that were given up. That it was done, by whom and why, is an event of its own."""
    with failing_in_one_sentence():
        from cli.dead_evaluations import run_drop

        run_drop(which, reason=reason, every=every, as_json=as_json)
