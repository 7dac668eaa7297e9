"""What `vigil keys` does."""

import sys

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapters.postgres_person_keys import KeysStatus, keys_status
from adapters.wrapping_keys import KEY_FILE, known_wrapping_keys
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.acts import record_act
from cli.connection import configured, keys_of_people, open_database, run
from cli.output import FAILED, print_json
from domain.operation import KeysRotated


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys were wrapped anew, and by which wrapping key."""

    keys: int
    wrapping_key_id: str


def run_status(*, as_json: bool) -> None:
    """Show how the keys are wrapped; exits 1 when one of the wrapping keys is not here."""
    settings = configured()
    status = run(_status(settings))
    if as_json:
        print_json(status)
    else:
        _print_status(status, settings)
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
        known = known_wrapping_keys(settings.data_dir, settings.secret_key, settings.wrapping_keys)
        return await keys_status(pool, known)


def _print_status(status: KeysStatus, settings: Settings) -> None:
    table = Table("wrapping key", "keys of people", "here")
    for key_id in sorted({*filter(None, [status.first]), *status.wrapped_by}):
        here = "no" if key_id in status.missing else "yes, wraps" if key_id == status.first else "yes"
        table.add_row(key_id, str(status.wrapped_by.get(key_id, 0)), here)
    Console().print(table)
    typer.echo(f"people who were erased: {status.destroyed}")
    if status.first is None:
        kept = settings.data_dir / KEY_FILE
        typer.echo(
            f"no wrapping key is here: VIGIL_WRAPPING_KEYS and VIGIL_SECRET_KEY are unset, and {kept} is not there"
        )


async def _rotate(settings: Settings) -> Rotated:
    async with open_database(settings) as pool:
        people = await keys_of_people(settings, pool)
        status = await people.status()
        first, rotated = people.wrapping_key_id, 0
        left = sum(status.wrapped_by.values()) - status.wrapped_by.get(first, 0)

        async def record(keys: int) -> None:
            await record_act(pool, KeysRotated(keys=keys, wrapping_key_id=first, rotated_at=utc_now()))

        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("wrapping", total=left)
            async for changed in people.rotate(record=record):
                rotated += changed
                bar.update(task, completed=rotated)
        return Rotated(keys=rotated, wrapping_key_id=first)
