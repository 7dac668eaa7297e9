"""`vigil projections`: how far the read tables are, and building them again."""

import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from adapters.postgres_log import PostgresLog
from adapters.postgres_rebuild import Rebuild, RebuildProgress
from adapters.postgres_status import ConsumerStatus, consumer_status
from bootstrap.settings import Settings
from cli.connection import configured, open_database, run
from cli.output import WRONG_USE, fail, print_json
from projections.core import CORE
from projections.projection import Projection

PROJECTIONS = {CORE.name: CORE}
LINE_SECONDS = 1.0
"""How often progress is told where there is no terminal."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """A finished rebuild."""

    projection: str
    events: int
    seconds: float


def run_status(*, as_json: bool) -> None:
    """Show how far each consumer is."""
    consumers = run(_status(configured()))
    if as_json:
        print_json([msgspec.structs.asdict(each) for each in consumers])
        return
    if not consumers:
        typer.echo("no consumer ever ran on this database")
    elif sys.stdout.isatty():
        Console().print(_table(consumers))
    else:
        for each in consumers:
            typer.echo(
                f"{each.consumer}: position {each.position} of {each.head}, behind {_behind(each)}, last moved {_moved(each)},"
                f" {each.partitions} partitions, worked on by {', '.join(each.holders) or 'nobody'}"
            )


def run_rebuild(name: str | None, *, every: bool, as_json: bool) -> None:
    """Rebuild one projection or all."""
    if (name is None) != every:
        fail("say which projection, or --all", code=WRONG_USE)
    if name is not None and name not in PROJECTIONS:
        fail(f"there is no projection {name!r}; known are {', '.join(PROJECTIONS)}", code=WRONG_USE)
    wanted = list(PROJECTIONS.values()) if name is None else [PROJECTIONS[name]]
    run(_rebuild(configured(), wanted, as_json=as_json))


def _table(consumers: Sequence[ConsumerStatus]) -> Table:
    table = Table("consumer", "position", "behind", "last moved", "worked on by")
    for each in consumers:
        workers = Text("\n".join(each.holders) or "nobody", overflow="fold")
        table.add_row(each.consumer, f"{each.position} of {each.head}", _behind(each), _moved(each), workers)
    return table


def _behind(status: ConsumerStatus) -> str:
    return f"{status.lag_events} events, {status.lag_seconds:.1f} s"


def _moved(status: ConsumerStatus) -> str:
    at = status.heartbeat_at
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def _status(settings: Settings) -> list[ConsumerStatus]:
    async with open_database(settings) as pool:
        return await consumer_status(pool)


async def _rebuild(settings: Settings, wanted: Sequence[Projection], *, as_json: bool) -> None:
    async with open_database(settings) as pool:
        for projection in wanted:
            since = time.monotonic()
            progress = Rebuild(pool, projection, PostgresLog(pool)).run()
            if sys.stdout.isatty() and not as_json:
                events = await _show_bar(projection.name, progress)
            else:
                events = await _show_lines(projection.name, progress, silent=as_json)
            seconds = time.monotonic() - since
            if as_json:
                print_json(Rebuilt(projection=projection.name, events=events, seconds=round(seconds, 3)))
            else:
                typer.echo(f"{projection.name}: rebuilt from {events} events in {seconds:.1f} s")


class _Speed(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        """The speed as text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} events/s")


async def _show_bar(name: str, progress: AsyncIterator[RebuildProgress]) -> int:
    """A bar with speed and remaining time; the number of events."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    total = 0
    with Progress(*columns) as bar:
        task = bar.add_task(name, total=None)
        async for step in progress:
            total = step.total
            bar.update(task, completed=step.done, total=step.total, description=f"{name} {step.phase}")
    return total


async def _show_lines(name: str, progress: AsyncIterator[RebuildProgress], *, silent: bool) -> int:
    """A line now and then; the number of events."""
    total, began, told, first = 0, time.monotonic(), time.monotonic(), None
    async for step in progress:
        total, now = step.total, time.monotonic()
        first = step.done if first is None else first
        if silent or now < told + LINE_SECONDS:
            continue
        told = now
        speed = (step.done - first) / (now - began)
        left = f", {(step.total - step.done) / speed:.0f} s left" if speed else ""
        typer.echo(f"{name} {step.phase}: {step.done} of {step.total} events, {speed:.0f} events/s{left}")
    return total
