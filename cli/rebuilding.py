"""`vigil projections rebuild`, `rollback` and `verify`: the read tables made again, taken back, and proved."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from adapters.audited_acts import Record
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_drift import TableDrift
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_rebuild import Rebuild, RebuildProgress
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.acts import record_act
from cli.connection import configured, keys_of_people, open_owner_database, run
from cli.output import FAILED, print_json
from cli.read_tables import chosen
from domain.log_entry import LogEntry
from domain.operation import ProjectionRebuilt, ProjectionRolledBack
from projections.projection import Projection

LINE_SECONDS = 1.0
"""How often progress is told where there is no terminal."""

Told = Callable[[RebuildProgress], None]
RebuildOf = Callable[[Projection], Rebuild]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """A finished rebuild."""

    projection: str
    events: int
    seconds: float


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A finished verification."""

    projection: str
    verified: bool
    events: int
    tables: Sequence[TableDrift]


def run_rebuild(name: str | None, *, every: bool, throttle: int | None, as_json: bool) -> None:
    """Rebuild one projection or all, with at most `throttle` events a second."""
    wanted = chosen(name, every=every)
    run(_rebuild(configured(), wanted, throttle=throttle, as_json=as_json))


def run_roll_back(name: str, *, as_json: bool) -> None:
    """Exchange the tables of a projection for those from before its last rebuild."""
    (projection,) = chosen(name, every=False)
    run(_roll_back(configured(), projection))
    if as_json:
        print_json({"projection": name})
    else:
        typer.echo(f"{name}: the tables from before the last rebuild are the live ones; done again, this is undone")


def run_verify(name: str | None, *, every: bool, throttle: int | None, rows: int, as_json: bool) -> None:
    """Compare the tables of one projection or of all with the log; exits 1 when they drifted."""
    wanted = chosen(name, every=every)
    compared = run(_verify(configured(), wanted, throttle=throttle, rows=rows, silent=as_json))
    for each in compared:
        if as_json:
            print_json(each)
        else:
            _tell(each, rows)
    if not all(each.verified for each in compared):
        raise typer.Exit(FAILED)


async def _rebuild(settings: Settings, wanted: Sequence[Projection], *, throttle: int | None, as_json: bool) -> None:
    async with _opened(settings, throttle) as (pool, rebuild_of):
        for projection in wanted:
            since, events = time.monotonic(), 0
            with _progress(projection.name, silent=as_json) as told:
                async for progress in rebuild_of(projection).run(record=_record_rebuild(pool, projection)):
                    events = progress.total
                    told(progress)
            seconds = time.monotonic() - since
            if as_json:
                print_json(Rebuilt(projection=projection.name, events=events, seconds=round(seconds, 3)))
            else:
                typer.echo(f"{projection.name}: rebuilt from {events} events in {seconds:.1f} s")


async def _roll_back(settings: Settings, projection: Projection) -> None:
    async with _opened(settings, None) as (pool, rebuild_of):

        async def record() -> None:
            await record_act(pool, ProjectionRolledBack(projection=projection.name, rolled_back_at=utc_now()))

        await rebuild_of(projection).roll_back(record=record)


async def _verify(
    settings: Settings, wanted: Sequence[Projection], *, throttle: int | None, rows: int, silent: bool
) -> list[Compared]:
    compared: list[Compared] = []
    async with _opened(settings, throttle) as (_, rebuild_of):
        for projection in wanted:
            with _progress(projection.name, silent=silent) as told:
                found = await rebuild_of(projection).verify(told=told, examples_max=rows)
            compared.append(
                Compared(projection=projection.name, verified=found.is_right, events=found.events, tables=found.tables)
            )
    return compared


@asynccontextmanager
async def _opened(settings: Settings, throttle: int | None) -> AsyncIterator[tuple[Pool, RebuildOf]]:
    """The database as its owner, and what rebuilds there."""
    async with open_owner_database(settings) as pool:
        people, archive = await keys_of_people(settings, pool), PostgresArchive(pool, settings.archive_folder)

        async def open_entries(entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
            return await people.open_entries(await archive.filled(entries))

        def rebuild_of(projection: Projection) -> Rebuild:
            log = PostgresLog(pool)
            return Rebuild(pool, projection, log, open_entries=open_entries, events_per_second_max=throttle)

        yield pool, rebuild_of


def _record_rebuild(pool: Pool, projection: Projection) -> Record[int]:
    async def record(events: int) -> None:
        act = ProjectionRebuilt(
            projection=projection.name, projection_version=projection.version, events=events, rebuilt_at=utc_now()
        )
        await record_act(pool, act)

    return record


def _tell(compared: Compared, rows_max: int) -> None:
    """What was found, at most `rows_max` rows of a table."""
    for table in compared.tables:
        for row in table.examples:
            what = f"changed in {', '.join(row.columns)}" if row.columns else f"{row.kind}"
            key = ", ".join(f"{name}={value}" for name, value in row.key.items())
            typer.echo(f"{compared.projection}.{table.table} {key}: {what}")
        if table.differing > rows_max:
            typer.echo(f"{compared.projection}.{table.table}: {table.differing - rows_max} more")
    rows, differing = (sum(column) for column in zip(*((t.rows, t.differing) for t in compared.tables), strict=True))
    if compared.verified:
        typer.echo(f"{compared.projection}: {rows} rows are what {compared.events} events say")
    else:
        cure = f"`vigil projections rebuild {compared.projection}` mends it"
        typer.echo(
            f"{compared.projection}: {differing} of {rows} rows are not what {compared.events} events say; {cure}"
        )


class _Speed(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        """The speed as text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} events/s")


@contextmanager
def _progress(name: str, *, silent: bool) -> Iterator[Told]:
    """Tell how far it is: as a bar on a terminal, else as a line now and then."""
    if silent or not sys.stdout.isatty():
        yield (lambda _progress: None) if silent else _lines(name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(name, total=None)
        yield lambda step: bar.update(task, completed=step.done, total=step.total, description=f"{name} {step.phase}")


def _lines(name: str) -> Told:
    began = last = time.monotonic()
    first: int | None = None

    def tell(step: RebuildProgress) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = step.done if first is None else first
        if now < last + LINE_SECONDS:
            return
        last = now
        speed = (step.done - first) / (now - began)
        left = f", {(step.total - step.done) / speed:.0f} s left" if speed else ""
        typer.echo(f"{name} {step.phase}: {step.done} of {step.total} events, {speed:.0f} events/s{left}")

    return tell
