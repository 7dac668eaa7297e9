"""What `vigil migrate` does: the database's tables, up to date or back."""

import sys

import typer

from adapters import yoyo_migrations
from cli.connection import check_answers, configured, owner_database_url, run
from cli.output import WRONG_USE, fail, print_json


def run_up() -> None:
    """Apply what is missing."""
    applied = yoyo_migrations.up(_answering_database())
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do: the database is up to date")


def run_down(*, steps: int, yes: bool) -> None:
    """Take the newest migrations back, after asking."""
    url = _answering_database()
    newest_first = [each.name for each in reversed(yoyo_migrations.status(url)) if each.applied][:steps]
    if not newest_first:
        typer.echo("nothing to do: the database has no migrations")
        return
    if not yes:
        if not sys.stdin.isatty():
            fail("nobody is there to be asked; say --yes to take migrations back with all they hold", code=WRONG_USE)
        typer.confirm(f"Take back {', '.join(newest_first)}, and delete everything they hold?", abort=True)
    for name in yoyo_migrations.down(url, steps=steps):
        typer.echo(f"took back {name}")


def run_status(*, as_json: bool) -> None:
    """Show which migrations the database has."""
    migrations = yoyo_migrations.status(_answering_database())
    if as_json:
        print_json(migrations)
        return
    for migration in migrations:
        typer.echo(f"{'applied' if migration.applied else 'missing'}  {migration.name}")


def _answering_database() -> str:
    url = owner_database_url(configured())
    run(check_answers(url))
    return url
