"""What `vigil events tail` and `replay` do: the log as it comes, and the log from the beginning."""

from collections.abc import Sequence
from datetime import UTC

import msgspec
import typer
from rich.console import Console

from adapters.personal_data import hide_event
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_log_export import ExportedEvent, PostgresLogExport
from bootstrap.settings import Settings
from bootstrap.signals import asked_by_signals
from cli.connection import configured, open_database, run
from cli.event_lines import clean
from cli.live_log import LiveLog
from cli.output import print_json
from domain.event import StreamEvent
from domain.event_codec import UnknownEvent, decode, decode_metadata
from workers.lifecycle import Stop

FOLLOW_SECONDS = 0.25


def run_tail(*, follow: bool, types: Sequence[str], limit: int, as_json: bool) -> None:
    """The newest events, then each as it comes until asked to stop."""
    run(_tail(configured(), follow=follow, types=types, limit=limit, as_json=as_json))


def run_replay(*, first: int, types: Sequence[str], as_json: bool) -> None:
    """The log from position `first` to its present end."""
    run(_replay(configured(), first=first, types=types, as_json=as_json))


async def _tail(settings: Settings, *, follow: bool, types: Sequence[str], limit: int, as_json: bool) -> None:
    stop = Stop()
    async with open_database(settings) as pool:
        log = PostgresLogExport(pool, PostgresArchive(pool, settings.archive_folder))
        shown = await log.head()
        live = None if as_json else LiveLog(Console())
        for event in await log.newest(limit, until=shown, types=types):
            _show(event, live)
        with asked_by_signals(stop):
            while follow and not await stop.within(FOLLOW_SECONDS):
                head = await log.head()
                async for event in log.read(after=shown, until=head, types=types):
                    _show(event, live)
                shown = max(shown, head)


async def _replay(settings: Settings, *, first: int, types: Sequence[str], as_json: bool) -> None:
    async with open_database(settings) as pool:
        log = PostgresLogExport(pool, PostgresArchive(pool, settings.archive_folder))
        async for event in log.read(after=first - 1, until=await log.head(), types=types):
            print_json(event) if as_json else _print_line(event)


def _show(event: ExportedEvent, live: LiveLog | None) -> None:
    """JSON, or the line that the live log has for it; one that this program does not know is told by its type."""
    if live is None:
        print_json(event)
        return
    try:
        stored = _decoded(event)
    except (UnknownEvent, msgspec.DecodeError):
        _print_line(event)
    else:
        live.show(stored)


def _decoded(event: ExportedEvent) -> StreamEvent:
    return StreamEvent(
        stream_id=event.stream_id,
        version=event.version,
        owner_id=event.owner_id,
        event=decode(event.type, event.type_version, hide_event(bytes(event.data).decode(), tag=event.type)),
        metadata=decode_metadata(bytes(event.metadata)),
        event_id=event.event_id,
        recorded_at=event.recorded_at,
    )


def _print_line(event: ExportedEvent) -> None:
    """Position, time, type, stream and version, data."""
    data = clean(hide_event(bytes(event.data).decode(), tag=event.type))
    typer.echo(f"{event.position:>8}  {_time(event)}  {clean(event.type)}  {event.stream_id} v{event.version}  {data}")


def _time(event: ExportedEvent) -> str:
    return f"{event.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
