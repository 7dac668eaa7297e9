"""`vigil archive`: closed evaluations out of the store, into files that prove themselves."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated

import typer

from cli.arguments import Json
from cli.output import failing_in_one_sentence

archive = typer.Typer(no_args_is_help=True, help="Move old evaluations to files that prove themselves.")


@archive.command(
    "run",
    short_help="Write old parts of the log to files and let go of them.",
    epilog="Example: vigil archive run --older-than P90D",
)
def archive_run(
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Only what was signed longer ago, as in P90D; at least P7D.")
    ] = "P90D",
    public_keys: Annotated[
        list[str] | None,
        typer.Option("--public-key", metavar="KEY", help="Whose signatures to trust; repeatable. Unset: our own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the log, part after part, to files in VIGIL_ARCHIVE_DIR and let the store go of the closed evaluations in them.

    Each file is verified and on disk before anything is let go. Everything that reads the log reads them from there.
    Run it as often as you like, from a timer for example; killed at any moment it loses nothing. Each file is an event of its
    own.
    """
    with failing_in_one_sentence():
        from cli.archiving import run_archive

        run_archive(older_than=older_than, public_keys=public_keys or [], as_json=as_json)


@archive.command("list", epilog="Example: vigil archive list --json")
def archive_list(as_json: Json = False) -> None:
    """The archive files, and whether each is there and what it was."""
    with failing_in_one_sentence():
        from cli.archiving import run_list

        run_list(as_json=as_json)
