"""`vigil`: the commands of the whole, and the groups of commands. A group stands in the module that has its name, with
nothing but its options and help; the work is in other modules, imported when it is done, so that help is there at once."""

# ruff: noqa: PLC0415  see above
# ruff: noqa: FBT002  an option without a value is a boolean parameter

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from cli.ai import ai
from cli.archive import archive
from cli.arguments import Json
from cli.evaluations import evaluations
from cli.events import events
from cli.keys import keys
from cli.migrate import migrate
from cli.monitors import Url, monitors
from cli.output import failing_in_one_sentence
from cli.projections import projections
from cli.store import store
from cli.users import users

app = typer.Typer(
    name="vigil",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Vigil says in an e-mail when what you asked it to watch has changed, and can prove why.",
    epilog="Example: vigil up --demo",
)
app.add_typer(migrate, name="migrate", epilog="Example: vigil migrate status")
app.add_typer(users, name="users", epilog="Example: vigil users grant ada@example.org operator")
app.add_typer(monitors, name="monitors", epilog="Example: vigil monitors list")
app.add_typer(store, name="store", epilog="Example: vigil store repair")
app.add_typer(projections, name="projections", epilog="Example: vigil projections status")
app.add_typer(evaluations, name="evaluations", epilog="Example: vigil evaluations dead list")
app.add_typer(events, name="events", epilog="Example: vigil events tail")
app.add_typer(keys, name="keys", epilog="Example: vigil keys status")
app.add_typer(ai, name="ai", epilog="Example: vigil ai check")
app.add_typer(archive, name="archive", epilog="Example: vigil archive run --older-than P90D")


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
            metavar="NAME...",
            help="relay, projector, scheduler, evaluator, notifier, mailer, notary, guard or retention.",
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


@app.command(epilog="Example: vigil doctor")
def doctor(as_json: Json = False) -> None:
    """Check everything that Vigil needs.

    Configuration, data folder, connections, clocks, migrations, lag and mail: each is ok, a warning or failed, with a
    cure. Exits 1 when something failed.
    """
    with failing_in_one_sentence():
        from cli.doctor import run_doctor

        run_doctor(as_json=as_json)


@app.command(epilog="Example: vigil login --email ada@example.org")
def login(
    email: Annotated[str | None, typer.Option(metavar="EMAIL", help="Your address. Left out: asked for.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Log in, for `vigil monitors`.

    The password is asked for, or read from standard input. The session is kept in a file that only you can read.
    """
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.logging_in import run_login

        run_login(Reach(url), email=email, as_json=as_json)


@app.command(epilog="Example: vigil logout")
def logout(url: Url = None, as_json: Json = False) -> None:
    """End the session that `vigil login` began."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.logging_in import run_logout

        run_logout(Reach(url), as_json=as_json)


def main() -> None:
    """The entry point: exits 0 when done, 1 when it failed, 2 for wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows another, and nothing fails
    app()
