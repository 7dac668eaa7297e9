"""`vigil events`: the log as it comes, the log from the beginning, and single streams."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from adapters.postgres_log_export import ExportedEvent, PostgresLogExport
from bootstrap.settings import Settings
from bootstrap.signals import asked_by_signals
from cli.connection import configured, open_database, run
from cli.event_lines import clean
from cli.live_log import LiveLog
from cli.output import WRONG_USE, fail, print_json
from domain.errors import NotFound
from domain.event import StreamEvent
from domain.event_codec import UnknownEvent, decode, decode_metadata
from workers.lifecycle import Stop

FOLLOW_SECONDS = 0.25
_metadata_decoder = msgspec.json.Decoder(dict[str, object])


def run_tail(*, follow: bool, types: Sequence[str], limit: int, as_json: bool) -> None:
    """The newest events, then each as it comes until asked to stop."""
    run(_tail(configured(), follow=follow, types=types, limit=limit, as_json=as_json))


def run_show(*, stream: str, as_of: str | None, as_json: bool) -> None:
    """The events of a stream. Raises `NotFound` when it has none."""
    stream_id, moment = _stream_id(stream), None if as_of is None else _moment(as_of)
    for event in run(_stream(configured(), stream_id, moment)):
        print_json(event) if as_json else _print_whole(event)


def run_replay(*, first: int, types: Sequence[str], as_json: bool) -> None:
    """The log from position `first` to its present end."""
    run(_replay(configured(), first=first, types=types, as_json=as_json))


async def _tail(settings: Settings, *, follow: bool, types: Sequence[str], limit: int, as_json: bool) -> None:
    stop = Stop()
    async with open_database(settings) as pool:
        log = PostgresLogExport(pool)
        shown = await log.head()
        live = None if as_json else LiveLog(Console(), await log.names())
        for event in await log.newest(limit, until=shown, types=types):
            _show(event, live)
        with asked_by_signals(stop):
            while follow and not await stop.within(FOLLOW_SECONDS):
                head = await log.head()
                async for event in log.read(after=shown, until=head, types=types):
                    _show(event, live)
                shown = max(shown, head)


async def _stream(settings: Settings, stream_id: UUID, as_of: datetime | None) -> list[ExportedEvent]:
    async with open_database(settings) as pool:
        events = await PostgresLogExport(pool).stream(stream_id, as_of=as_of)
    if not events:
        raise NotFound(f"there is no event of the stream {stream_id}" + (f" up to {as_of}" if as_of else ""))
    return events


async def _replay(settings: Settings, *, first: int, types: Sequence[str], as_json: bool) -> None:
    async with open_database(settings) as pool:
        log = PostgresLogExport(pool)
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
        event=decode(event.type, event.type_version, bytes(event.data)),
        metadata=decode_metadata(bytes(event.metadata)),
        event_id=event.event_id,
        recorded_at=event.recorded_at,
    )


def _print_line(event: ExportedEvent) -> None:
    """Position, time, type, stream and version, data."""
    data = clean(bytes(event.data).decode())
    typer.echo(f"{event.position:>8}  {_time(event)}  {clean(event.type)}  {event.stream_id} v{event.version}  {data}")


def _print_whole(event: ExportedEvent) -> None:
    """Version, time, type and who caused it, and the data below."""
    console, actor = Console(highlight=False), str(_metadata_decoder.decode(event.metadata).get("actor", ""))
    head = Text.assemble(
        (f"v{event.version}", "bold"), f"  {_time(event)}  ", (clean(event.type), "bold blue"), f"  by {clean(actor)}"
    )
    console.print(head, soft_wrap=True)
    data = json.dumps(json.loads(bytes(event.data)), indent=2, ensure_ascii=False)
    console.print(JSONHighlighter()("\n".join(map(_escaped, data.split("\n")))), soft_wrap=True)


def _escaped(line: str) -> str:
    """The same JSON without characters that steer a terminal; such stand inside its texts only."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _time(event: ExportedEvent) -> str:
    return f"{event.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _stream_id(text: str) -> UUID:
    """The id in `<uuid>` or `monitor-<uuid>`."""
    head, _, rest = text.partition("-")
    try:
        return UUID(rest if head.isalpha() and len(head) != 8 else text)
    except ValueError:
        fail(f"{text!r} is not a stream; write its id, or monitor-<id>", code=WRONG_USE)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is not a time; write for example 2026-03-01T12:00:00Z", code=WRONG_USE)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
