"""`vigil events`: the log and its streams, shown to people, and handed to outsiders who can check it."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import Json, Stream
from cli.output import failing_in_one_sentence

events = typer.Typer(no_args_is_help=True, help="Read what happened: every event, in its order.")

Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type; repeatable.")
]
First = Annotated[int, typer.Option("--from", min=1, metavar="POSITION", help="The first position.")]


@events.command("tail", epilog="Example: vigil events tail --type monitor.state_changed --limit 5")
def events_tail(
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with new events until Ctrl-C.")] = True,
    types: Types = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="How many past events first.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest events, then each as it comes."""
    with failing_in_one_sentence():
        from cli.log_reading import run_tail

        run_tail(follow=follow, types=types or [], limit=limit, as_json=as_json)


@events.command("show", epilog="Example: vigil events show --stream monitor-<id> --as-of 2026-03-01T12:00:00Z")
def events_show(
    stream: Stream,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As it was then (RFC 3339; UTC unless it says)."),
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, metavar="N", help="As it was after this version.")] = None,
    position: Annotated[
        int | None, typer.Option(min=1, metavar="POSITION", help="As it was when the log had come to this position.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open what people said.")] = False,
    as_json: Json = False,
) -> None:
    """Show one stream: its events, and the state they fold into.

    A stream is a monitor, an action, a trigger, an evaluation, a notification, a person or what an operator did. What
    people said is shown as (sealed), unless --open says otherwise. At most one of --as-of, --version and --position says up to where.
    """
    with failing_in_one_sentence():
        from cli.event_stream import run_show

        run_show(stream=stream, as_of=as_of, version=version, position=position, opened=opened, as_json=as_json)


@events.command("replay", epilog="Example: vigil events replay --from 1 --json > log.ndjson")
def events_replay(
    first: First = 1,
    types: Types = None,
    as_json: Json = False,
) -> None:
    """Print the log in its global order.

    It goes from a position to the present end of the log. Nothing is done again by it.
    Lines are cut to be readable; --json has everything.
    """
    with failing_in_one_sentence():
        from cli.log_reading import run_replay

        run_replay(first=first, types=types or [], as_json=as_json)


@events.command("export", epilog="Example: vigil events export --signed --output log.ndjson")
def events_export(
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; it appears when it is complete.")],
    signed: Annotated[bool, typer.Option("--signed", help="With signatures that cover everything in it.")] = False,
    first: First = 1,
    last: Annotated[
        int | None, typer.Option("--to", min=1, metavar="POSITION", help="The last position, else the end of the log.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the log to a file that others can check.

    Each event with its hash, which covers everything before it. With --signed the file can be checked with nothing but the
    public key: see `vigil events verify FILE`.
    """
    with failing_in_one_sentence():
        from cli.log_proof import run_export

        run_export(output=output, first=first, last=last, signed=signed, as_json=as_json)


@events.command("verify", epilog="Example: vigil events verify log.ndjson --public-key vigil.pem")
def events_verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An exported log; without it, the store.")
    ] = None,
    public_keys: Annotated[
        list[str] | None,
        typer.Option("--public-key", metavar="KEY", help="Base64, PEM or a file with it; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that no event was changed, removed, inserted or moved.

    For a file nothing else is needed, no database and no settings. Without a file the store is compared with its chain and its
    signatures. Exits 1 and names the first wrong position when something is not as it was.
    """
    with failing_in_one_sentence():
        from cli.log_proof import run_verify

        run_verify(file, public_keys=public_keys or [], as_json=as_json)


@events.command("public-key", epilog="Example: vigil events public-key --pem > vigil.pem")
def events_public_key(
    pem: Annotated[bool, typer.Option("--pem", help="In PEM, for other programs.")] = False,
) -> None:
    """Print the key that exported logs are checked with.

    Keep it elsewhere, from the beginning: who can change the log may change what stands beside it.
    """
    with failing_in_one_sentence():
        from cli.log_proof import run_public_key

        run_public_key(pem=pem)
