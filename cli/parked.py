"""`vigil projections parked`: what a consumer could not handle, handing it over once more, and giving it up."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated

import typer

from cli.arguments import Json, Stream
from cli.output import failing_in_one_sentence

parked = typer.Typer(no_args_is_help=True, help="Mend what a projection or the notifier could not handle.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The projection, or notifier.")]


@parked.command("list", epilog="Example: vigil projections parked list core --json")
def parked_list(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The projection, or notifier; else all.")] = None,
    as_json: Json = False,
) -> None:
    """Show the streams that have something parked.

    For each the event that could not be handled, why, and how many later ones of the stream wait behind it. Everything else
    goes on.
    """
    with failing_in_one_sentence():
        from cli.parked_acts import run_list

        run_list(name, as_json=as_json)


@parked.command("show", epilog="Example: vigil projections parked show core --stream monitor-<id>")
def parked_show(name: Name, stream: Stream, as_json: Json = False) -> None:
    """Show the parked event of a stream, and what waits behind it."""
    with failing_in_one_sentence():
        from cli.parked_acts import run_show

        run_show(name, stream, as_json=as_json)


@parked.command("retry", epilog="Example: vigil projections parked retry core --stream monitor-<id>")
def parked_retry(
    name: Name,
    stream: Annotated[str | None, typer.Option(metavar="STREAM", help="A stream's id, also as monitor-<id>.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every stream that has something parked.")] = False,
    as_json: Json = False,
) -> None:
    """Hand parked events over once more, in their order.

    It goes as far as it can: an event that is refused again stays parked with the new reason, and later ones of its stream
    behind it; then it exits with 1. It may run beside everything else. That it was done is an event of its own.
    """
    with failing_in_one_sentence():
        from cli.parked_acts import run_retry

        run_retry(name, stream, every=every, as_json=as_json)


@parked.command(
    "skip",
    epilog="Example: vigil projections parked skip core --stream monitor-<id> --version 3 --reason 'never valid'",
)
def parked_skip(
    name: Name,
    stream: Stream,
    version: Annotated[int, typer.Option(min=1, metavar="N", help="The parked event's version in its stream.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with your name.")],
    as_json: Json = False,
) -> None:
    """Give up the one event that a stream waits for.

    The read tables will lack what it says, until a rebuild. What waits behind it follows with `retry`. That it was done, by
    whom and why is an event of its own.
    """
    with failing_in_one_sentence():
        from cli.parked_acts import run_skip

        run_skip(name, stream, version=version, reason=reason, as_json=as_json)
