"""What `vigil archive` does."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from adapters.log_archive import Segment, sha256_of
from adapters.log_signatures import PublicKeys, known_signing_key
from adapters.postgres_archive import ArchivedSegment, PostgresArchive
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.acts import record_act
from cli.connection import configured, open_owner_database, run
from cli.log_proof import given_public_key
from cli.output import FAILED, fail, print_json
from commands.shapes import duration_text, parse_duration
from domain.errors import InvalidInput
from domain.operation import EvaluationsArchived

AGE_MIN = timedelta(days=7)
"""Longer than anything asks for an evaluation after it was closed: mails about it are tried for hours."""


class ListedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """An archive file. `condition` is ok, missing or changed."""

    file: str
    first: int
    last: int
    condition: str


def run_archive(*, older_than: str, public_keys: Sequence[str], as_json: bool) -> None:
    """Archive all parts that are old enough, one file after the other. Raises `InvalidInput`, `LogBroken`."""
    age = parse_duration(older_than, field="--older-than")
    if age < AGE_MIN:
        raise InvalidInput(
            f"give at least {duration_text(AGE_MIN)}: what is still worked on must stay", field="--older-than"
        )
    settings = configured()
    own = known_signing_key(settings.data_dir, settings.secret_key)
    keys = [given_public_key(key) for key in public_keys] or ([own.public] if own else [])
    if not keys:
        fail(f"{settings.data_dir} has no signing key; say with --public-key whose signatures you trust")
    run(_archive(settings, age, PublicKeys(keys), as_json=as_json))


def run_list(*, as_json: bool) -> None:
    """Tell each file; exit code 1 when one is missing or changed."""
    settings = configured()
    listed = [_listed(settings, segment) for segment in run(_segments(settings))]
    if as_json:
        print_json(listed)
    else:
        table = Table("file", "positions", "condition")
        for each in listed:
            table.add_row(each.file, f"{each.first} to {each.last}", each.condition)
        Console().print(table)
    if any(each.condition != "ok" for each in listed):
        raise typer.Exit(FAILED)


async def _archive(settings: Settings, age: timedelta, keys: PublicKeys, *, as_json: bool) -> None:
    parts = 0
    async with open_owner_database(settings) as pool:
        archive = PostgresArchive(pool, settings.archive_folder)

        async def record(part: ArchivedSegment) -> None:
            await record_act(pool, _act(part))

        while (done := await archive.archive_next(keys, before=utc_now() - age, record=record)) is not None:
            parts += 1
            _tell(done, as_json=as_json)
    if not parts and not as_json:
        typer.echo("nothing to archive: no further part of the log was signed that long ago")


async def _segments(settings: Settings) -> list[Segment]:
    async with open_owner_database(settings) as pool:
        return await PostgresArchive(pool, settings.archive_folder).segments()


def _listed(settings: Settings, segment: Segment) -> ListedSegment:
    path = settings.archive_folder / segment.file
    condition = "missing" if not path.is_file() else "ok" if sha256_of(path) == segment.sha256 else "changed"
    return ListedSegment(file=segment.file, first=segment.first, last=segment.last, condition=condition)


def _act(done: ArchivedSegment) -> EvaluationsArchived:
    return EvaluationsArchived(
        file=done.segment.file,
        sha256=done.segment.sha256,
        first_position=done.segment.first,
        last_position=done.segment.last,
        events=done.events,
        archived_at=utc_now(),
    )


def _tell(done: ArchivedSegment, *, as_json: bool) -> None:
    if as_json:
        print_json({**msgspec.structs.asdict(done.segment), "events": done.events})
        return
    positions = f"positions {done.segment.first} to {done.segment.last}"
    typer.echo(f"{done.segment.file}: {positions}, signed at {done.verified.signed_at}; {done.events} events let go")
