"""`vigil events export`, `verify` and `public-key`: the log for outsiders, who need not believe whoever keeps it."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from adapters.kept_file import appearing_whole
from adapters.log_archive import lines_of
from adapters.log_chain import LogBroken, Verified
from adapters.log_export_format import LoggedEvent, written
from adapters.log_signatures import PublicKey, PublicKeys, known_signing_key, read_public_key
from adapters.log_verifier import verify_lines
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log_proof import PostgresLogProof
from adapters.postgres_pool import Pool
from adapters.postgres_signed_heads import PostgresSignedHeads
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.connection import configured, open_database, run
from cli.event_lines import clean
from cli.output import FAILED, WRONG_USE, fail, print_json, warn
from domain.errors import InvalidInput
from domain.signed_head import SignedHead
from workers.notary import LogRewritten, Notary

LINES_TOLD = 500
"""Progress is told after so many lines."""

Told = Callable[[int, int], None]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    file: str
    first: int
    last: int
    events: int
    signed_at: str | None
    key_id: str | None


def run_export(*, output: Path, first: int, last: int | None, signed: bool, as_json: bool) -> None:
    """Write the positions from `first` to `last` (None: to the end) into the file, which appears when it is complete."""
    if last is not None and first > last:
        fail(f"there is nothing from position {first} to {last}", code=WRONG_USE)
    settings = configured()
    with appearing_whole(output) as file:
        exported = run(_export(settings, file.write, output=output, first=first, last=last, signed=signed))
    if as_json:
        print_json(exported)
        return
    proof = f", signed at {exported.signed_at} with the key {exported.key_id}" if exported.key_id else ", not signed"
    typer.echo(f"exported positions {exported.first} to {exported.last} to {output}{proof}")


def run_verify(file: Path | None, *, public_keys: Sequence[str], as_json: bool) -> None:
    """Check an exported file, for which nothing else is read, or without one the store. Exits 1 when it is not right."""
    keys = [given_public_key(given) for given in public_keys]
    if file is not None and not keys:
        fail("say with --public-key whose signature you trust; `vigil events public-key` prints it", code=WRONG_USE)
    try:
        with _progress("verifying") as told:
            if file is None:
                verified = run(_verify_store(configured(), keys, told))
            else:
                verified = verify_lines(lines_of(file, told), PublicKeys(keys))
    except LogBroken as error:
        _tell_broken(error, as_json=as_json)
    if as_json:
        print_json({"verified": True, **msgspec.structs.asdict(verified)})
    else:
        typer.echo(_sentence(verified))


def run_public_key(*, pem: bool) -> None:
    """Print the public half of the installation's signing key."""
    settings = configured()
    key = known_signing_key(settings.data_dir, settings.secret_key)
    if key is None:
        fail(f"{settings.data_dir} has no signing key yet; the notary makes it when it starts (`vigil up`)")
    typer.echo(key.public.pem.rstrip() if pem else key.public.base64)


async def _export(
    settings: Settings,
    write: Callable[[bytes], object],
    *,
    output: Path,
    first: int,
    last: int | None,
    signed: bool,
) -> Exported:
    async with open_database(settings) as pool:
        end = await PostgresSignedHeads(pool).log_position()
        if max(first, last or 1) > end:
            fail(f"the log ends at position {end}" if end else "the log is empty")
        covering = await _covering(settings, pool, last=last, end=end) if signed else None
        last = covering.position if covering else last or end
        if first > last:
            fail(f"nothing from position {first} on is signed yet; the last that is signed is {last}")
        key_id = covering.key_id if covering else None
        events = 0
        with _progress("exporting") as told:
            async for line in PostgresLogProof(pool, PostgresArchive(pool, settings.archive_folder)).export(
                first=first, last=last, key_id=key_id
            ):
                write(written(line))
                events += isinstance(line, LoggedEvent)
                if events % LINES_TOLD == 0:
                    told(events, last - first + 1)
        signed_at = covering.signed_at if covering else None
        return Exported(file=str(output), first=first, last=last, events=events, signed_at=signed_at, key_id=key_id)


async def _covering(settings: Settings, pool: Pool, *, last: int | None, end: int) -> SignedHead:
    """The signed head that the export ends with: of the position that was asked for where the installation's key is at
    hand, else of the nearest that the notary signed."""
    heads, newest = PostgresSignedHeads(pool), await PostgresSignedHeads(pool).last()
    key = known_signing_key(settings.data_dir, settings.secret_key)
    if key is not None and (newest is None or newest.key_id == key.key_id):  # another one's key must not sign this log
        notary = Notary(heads, key, PostgresLeases(pool), holder="export", now=utc_now, monotonic=time.monotonic)
        try:
            return await notary.sign(last or end)
        except LogRewritten as error:
            fail(str(error))
    found = newest if last is None else await anext(heads.following(last - 1), None)
    if found is None:
        fail("that is not signed yet, and the signing key is not in this data folder; `vigil worker notary` signs")
    if last is not None and found.position > last:
        warn(f"the export goes on to position {found.position}: that is the next one that is signed")
    elif last is None and found.position < end:
        warn(f"the export ends at position {found.position}: what follows is not signed yet")
    return found


async def _verify_store(settings: Settings, keys: Sequence[PublicKey], told: Told) -> Verified:
    own = None if keys else known_signing_key(settings.data_dir, settings.secret_key)
    trusted = PublicKeys([*keys, *([own.public] if own else [])])
    async with open_database(settings) as pool:
        if not trusted and await PostgresSignedHeads(pool).last() is not None:
            fail(f"the log is signed, and {settings.data_dir} has no signing key; give --public-key")
        archive = PostgresArchive(pool, settings.archive_folder)
        return await PostgresLogProof(pool, archive).verify(trusted, told=told)


def given_public_key(given: str) -> PublicKey:
    """A key as text, or the file that has it. Raises `InvalidInput`."""
    try:
        return read_public_key(given)
    except InvalidInput:
        if "\n" in given or not Path(given).is_file():
            raise
    return read_public_key(Path(given).read_text(errors="replace"))


def _sentence(verified: Verified) -> str:
    if verified.last < verified.first:
        return "the log is empty"
    held = f"positions {verified.first} to {verified.last} are one unbroken chain"
    if verified.signed is None:
        return f"{held}; none of it is signed"
    signed = f"signed at {verified.signed_at} with the key {verified.key_id}"
    left = verified.last - verified.signed
    if not left:
        return f"{held}, {signed}"
    return f"{held}; up to position {verified.signed} it is {signed}, the last {left} are not signed yet"


def _tell_broken(error: LogBroken, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"verified": False, **_told_fields(error)})
        raise typer.Exit(FAILED)
    fail(clean(str(error)))  # it may quote the file


def _told_fields(error: LogBroken) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(error.finding).items() if value is not None}


@contextmanager
def _progress(what: str) -> Iterator[Told]:
    """A bar on the terminal, if standard error is one."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
