"""`vigil`: every command with its options, on one page. What a command does stands in the module it imports when it
runs, so that help is there at once."""

# ruff: noqa: PLC0415  see above
# ruff: noqa: FBT002  an option without a value is a boolean parameter

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from cli.archive import archive
from cli.keys import keys
from cli.output import failing_in_one_sentence
from cli.parked import parked

app = typer.Typer(
    name="vigil",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Vigil says in an e-mail when what you asked it to watch has changed, and can prove why.",
    epilog="Example: vigil up --demo",
)
migrate = typer.Typer(no_args_is_help=True, help="Bring the database's tables up to date, or back.")
users = typer.Typer(no_args_is_help=True, help="Make accounts, give roles, erase people.")
store = typer.Typer(no_args_is_help=True, help="Care for the event store as a whole.")
projections = typer.Typer(no_args_is_help=True, help="Watch and rebuild the read tables.")
events = typer.Typer(no_args_is_help=True, help="Read what happened: every event, in its order.")
app.add_typer(migrate, name="migrate", epilog="Example: vigil migrate status")
app.add_typer(users, name="users", epilog="Example: vigil users grant ada@example.org operator")
app.add_typer(store, name="store", epilog="Example: vigil store repair")
app.add_typer(projections, name="projections", epilog="Example: vigil projections status")
app.add_typer(events, name="events", epilog="Example: vigil events tail")
projections.add_typer(parked, name="parked", epilog="Example: vigil projections parked list")
app.add_typer(keys, name="keys", epilog="Example: vigil keys status")
app.add_typer(archive, name="archive", epilog="Example: vigil archive run --older-than P90D")

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Throttle = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="At most so many events a second, to spare live traffic.")
]
Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type; repeatable.")
]


def _show_version(wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vigil {version('vigil')}")
        raise typer.Exit


@app.callback()
def _vigil(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    _ = version


@app.command(epilog="Example: vigil up --demo")
def up(
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Also set up a person with three monitors on recorded data, and show the log."),
    ] = False,
) -> None:
    """Run everything on this machine until Ctrl-C.

    PostgreSQL, Redis and a mail catcher with an inbox are started too, unless VIGIL_DATABASE_URL, VIGIL_REDIS_URL or
    VIGIL_SMTP_URL name others. Their data stay in VIGIL_DATA_DIR.
    """
    with failing_in_one_sentence():
        from cli.up import run_up

        run_up(demo=demo)


@app.command(epilog="Example: vigil api")
def api() -> None:
    """Serve the API alone.

    The servers are those that are configured, else those of the `vigil up` that runs in the data folder.
    """
    with failing_in_one_sentence():
        from cli.workers import run_roles

        run_roles([], api=True)


@app.command(epilog="Example: vigil worker evaluator mailer")
def worker(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="relay, projector, scheduler, evaluator, notifier, mailer, notary or guard."
        ),
    ],
) -> None:
    """Run some of the workers alone.

    Any number of processes share the work. The servers are those that are configured, else those of the `vigil up` that
    runs in the data folder.
    """
    with failing_in_one_sentence():
        from cli.workers import run_roles

        run_roles(names, api=False)


@migrate.command("up", epilog="Example: vigil migrate up")
def migrate_up() -> None:
    """Apply the migrations the database lacks."""
    with failing_in_one_sentence():
        from cli.migrate import run_up

        run_up()


@migrate.command("down", epilog="Example: vigil migrate down --steps 1 --yes")
def migrate_down(
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="How many migrations, the newest first.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take migrations back, with all they hold."""
    with failing_in_one_sentence():
        from cli.migrate import run_down

        run_down(steps=steps, yes=yes)


@migrate.command("status", epilog="Example: vigil migrate status --json")
def migrate_status(as_json: Json = False) -> None:
    """Show which migrations the database has."""
    with failing_in_one_sentence():
        from cli.migrate import run_status

        run_status(as_json=as_json)


@users.command("create", epilog="Example: vigil users create ada@example.org --name 'Ada Lovelace'")
def users_create(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")],
    name: Annotated[str, typer.Option(metavar="TEXT", help="The person's name.")],
    password: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Better left out: other users of this machine may see it here."),
    ] = None,
    timezone: Annotated[str, typer.Option(metavar="IANA", help="The person's time zone.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Create an account with a verified address.

    It works also where registration is closed. Without --password it is asked for, or read from the first line of
    standard input.
    """
    with failing_in_one_sentence():
        from cli.users import run_create

        run_create(email=email, name=name, password=password, timezone=timezone, as_json=as_json)


@users.command("grant", epilog="Example: vigil users grant ada@example.org operator")
def users_grant(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address of the account.")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="member, operator, auditor or admin.")],
    as_json: Json = False,
) -> None:
    """Give a person a role, from their next login on."""
    with failing_in_one_sentence():
        from cli.users import run_grant

        run_grant(email=email, role=role, as_json=as_json)


@users.command("erase", epilog="Example: vigil users erase ada@example.org --yes")
def users_erase(
    person: Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The address or id of the account.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a person for ever.

    Their key is destroyed: nobody can read again what they said, in no event, mail or backup that lacks the key. Their
    monitors are evaluated no more. It is recorded who did it.
    """
    with failing_in_one_sentence():
        from cli.users import run_erase

        run_erase(person=person, yes=yes, as_json=as_json)


@store.command("repair", epilog="Example: vigil store repair --yes")
def store_repair(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Make a store that was restored into another cluster ready for it.

    Stop Vigil first. Events that had no position get theirs, and transaction ids of the old cluster that lie in the
    future of this one are rewritten; positions, hashes and contents stay. Doing it again changes nothing.
    """
    with failing_in_one_sentence():
        from cli.store import run_repair

        run_repair(yes=yes, as_json=as_json)


@projections.command("status", epilog="Example: vigil projections status --json")
def projections_status(as_json: Json = False) -> None:
    """Show how far each consumer of the log is."""
    with failing_in_one_sentence():
        from cli.projections import run_status

        run_status(as_json=as_json)


@projections.command("rebuild", epilog="Example: vigil projections rebuild core --throttle 5000")
def projections_rebuild(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The projection.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All projections.")] = False,
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


@projections.command("rollback", epilog="Example: vigil projections rollback core")
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
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The projection.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All projections.")] = False,
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


@events.command("tail", epilog="Example: vigil events tail --type monitor.state_changed --limit 5")
def events_tail(
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with new events until Ctrl-C.")] = True,
    types: Types = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="How many past events first.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest events, then each as it comes."""
    with failing_in_one_sentence():
        from cli.events import run_tail

        run_tail(follow=follow, types=types or [], limit=limit, as_json=as_json)


@events.command("show", epilog="Example: vigil events show --stream monitor-<id> --as-of 2026-03-01T12:00:00Z")
def events_show(
    stream: Annotated[str, typer.Option(metavar="STREAM", help="A stream's id, also as monitor-<id>.")],
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
    first: Annotated[int, typer.Option("--from", min=1, metavar="POSITION", help="The first position.")] = 1,
    types: Types = None,
    as_json: Json = False,
) -> None:
    """Print the log in its global order.

    It goes from a position to the present end of the log. Nothing is done again by it.
    Lines are cut to be readable; --json has everything.
    """
    with failing_in_one_sentence():
        from cli.events import run_replay

        run_replay(first=first, types=types or [], as_json=as_json)


@events.command("export", epilog="Example: vigil events export --signed --output log.ndjson")
def events_export(
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; it appears when it is complete.")],
    signed: Annotated[bool, typer.Option("--signed", help="With signatures that cover everything in it.")] = False,
    first: Annotated[int, typer.Option("--from", min=1, metavar="POSITION", help="The first position.")] = 1,
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


@app.command(epilog="Example: vigil doctor")
def doctor(as_json: Json = False) -> None:
    """Check everything that Vigil needs.

    Configuration, data folder, connections, clocks, migrations, lag and mail: each is ok, a warning or failed, with a
    cure. Exits 1 when something failed.
    """
    with failing_in_one_sentence():
        from cli.doctor import run_doctor

        run_doctor(as_json=as_json)


def main() -> None:
    """The entry point: exits 0 when done, 1 when it failed, 2 for wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows another, and nothing fails
    app()
