"""What `vigil migrate` does: the database's tables, up to date or back."""

import typer

from adapters import yoyo_migrations
from cli.arguments import confirmed
from cli.connection import check_answers, configured, owner_database_url, run
from cli.output import print_json


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
    confirmed(f"Take back {', '.join(newest_first)}, and delete everything they hold?", yes=yes)
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
