"""What `vigil keys` does."""

import getpass
import sys

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_person_keys import KeysStatus, PersonKeys
from adapters.wrapping_keys import installation_wrapping_keys
from bootstrap.parts import new_id, utc_now
from bootstrap.settings import Settings
from cli.connection import configured, keys_of_people, open_database, run
from cli.output import FAILED, print_json
from commands.operations import record_operation
from domain.operation import KeysRotated


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys were wrapped anew, and by which wrapping key."""

    keys: int
    wrapping_key_id: str


def run_status(*, as_json: bool) -> None:
    """Show how the keys are wrapped; exits 1 when one of the wrapping keys is not here."""
    status = run(_status(configured()))
    if as_json:
        print_json(status)
    else:
        _print_status(status)
    if status.missing:
        raise typer.Exit(FAILED)


def run_rotate(*, as_json: bool) -> None:
    """Wrap every key with the first wrapping key. Raises `WrappingKeyMissing`."""
    rotated = run(_rotate(configured()))
    if as_json:
        print_json(rotated)
    else:
        typer.echo(f"{rotated.keys} keys are newly wrapped by {rotated.wrapping_key_id}")


async def _status(settings: Settings) -> KeysStatus:
    async with open_database(settings) as pool:
        known = installation_wrapping_keys(settings.data_dir, settings.secret_key, settings.wrapping_keys)
        return await PersonKeys(pool, known).status()


def _print_status(status: KeysStatus) -> None:
    table = Table("wrapping key", "keys of people", "here")
    for key_id in sorted({status.first, *status.wrapped_by}):
        here = "no" if key_id in status.missing else "yes, wraps" if key_id == status.first else "yes"
        table.add_row(key_id, str(status.wrapped_by.get(key_id, 0)), here)
    Console().print(table)
    typer.echo(f"people who were erased: {status.destroyed}")


async def _rotate(settings: Settings) -> Rotated:
    async with open_database(settings) as pool:
        people = await keys_of_people(settings, pool)
        status = await people.status()
        left, rotated = sum(status.wrapped_by.values()) - status.wrapped_by.get(status.first, 0), 0
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("wrapping", total=left)
            async for changed in people.rotate():
                rotated += changed
                bar.update(task, completed=rotated)
        if rotated:
            act = KeysRotated(keys=rotated, wrapping_key_id=status.first, rotated_at=utc_now())
            store = PostgresEventStore(pool, new_id=new_id, people=people)
            await record_operation(store, act, operator=getpass.getuser(), new_id=new_id)
        return Rotated(keys=rotated, wrapping_key_id=status.first)
