"""`vigil ai`: whether the models answer."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

import typer

from cli.arguments import Json
from cli.output import failing_in_one_sentence

ai = typer.Typer(no_args_is_help=True, help="See whether the AI providers answer.")


@ai.callback()
def _ai() -> None:
    """A group, also with one command in it."""


@ai.command("check", epilog="Example: vigil ai check")
def ai_check(as_json: Json = False) -> None:
    """Make one short inquiry of each AI provider that is set up.

    Says how fast it answers and what that cost, or why it does not and what to do. One that answers rests no more.
    Exits 1 when one does not answer.
    """
    with failing_in_one_sentence():
        from cli.ai_check import run_check

        run_check(as_json=as_json)
