"""`vigil events show`: one stream as it is or was, with its events and the state they fold into. What people said stays
sealed."""

import json
from datetime import UTC
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from adapters.personal_data import KeyOf, hide_event, open_event
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_person_keys import HiddenKeys
from bootstrap.now_and_new import new_id
from bootstrap.settings import Settings
from cli.arguments import moment
from cli.connection import configured, keys_of_people, open_database, run
from cli.event_lines import clean
from cli.output import WRONG_USE, fail, print_json
from domain.errors import NotFound
from domain.stream_name import StreamName, read_stream_name
from read_api.audit_log import AuditEventShape, AuditLog, AuditStreamShape, Cut

EVENTS_MAX = 2**31 - 1
"""As many as a stream can have: versions are four bytes."""


def run_show(
    *, stream: str, as_of: str | None, version: int | None, position: int | None, opened: bool, as_json: bool
) -> None:
    """Show a stream, with what people said only if it is to be `opened`. Raises `NotFound` when it was not there then, `InvalidInput` for what is not there yet."""
    if sum(given is not None for given in (as_of, version, position)) > 1:
        fail("choose one of --as-of, --version and --position", code=WRONG_USE)
    wanted = read_stream_name(stream)
    cut = Cut(as_of=None if as_of is None else moment(as_of), version=version, position=position)
    shown = run(_stream(configured(), wanted, cut, opened=opened))
    if as_json:
        print_json(shown)
        return
    console = Console(highlight=False)
    for event in shown.events:
        _print_event(console, event)
    _print_state(console, shown)


async def _stream(settings: Settings, wanted: StreamName, cut: Cut, *, opened: bool) -> AuditStreamShape:
    async with open_database(settings) as pool:
        people = await keys_of_people(settings, pool) if opened else HiddenKeys()
        log = AuditLog(pool, PostgresEventStore(pool, new_id=new_id, people=people))
        try:
            shown = await log.stream(wanted, cut, after=0, limit=EVENTS_MAX)
        except NotFound:
            raise NotFound(f"there is no stream {wanted}, or there was none then") from None
        if not opened:
            return shown
        key_of = await people.of([shown.owner_id])
        return msgspec.structs.replace(shown, events=[_opened(event, key_of) for event in shown.events])


def _opened(event: AuditEventShape, key_of: KeyOf) -> AuditEventShape:
    if event.data is None:
        return event
    data = open_event(
        json.dumps(event.data),
        key_of,
        tag=event.type,
        owner_id=event.owner_id,
        stream_id=event.stream_id,
        version=event.version,
    )
    return msgspec.structs.replace(event, data=json.loads(data))


def _print_event(console: Console, event: AuditEventShape) -> None:
    """Version, time, type and who caused it, and the data below."""
    at = f"{event.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    actor = clean(str((event.metadata or {}).get("actor", "")))
    kind = (clean(event.type), "bold blue")
    console.print(Text.assemble((f"v{event.version}", "bold"), f"  {at}  ", kind, f"  by {actor}"), soft_wrap=True)
    _print_json(console, None if event.data is None else json.loads(hide_event(json.dumps(event.data), tag=event.type)))


def _print_state(console: Console, shown: AuditStreamShape) -> None:
    if shown.state is not None:
        console.print(Text(f"the {shown.kind} after v{shown.version}", style="bold"), soft_wrap=True)
        _print_json(console, shown.state)
    elif shown.state_missing is not None:
        typer.echo(f"no state: {clean(shown.state_missing)}")


def _print_json(console: Console, value: Any) -> None:  # noqa: ANN401  any JSON value
    text = json.dumps(value, indent=2, ensure_ascii=False)
    console.print(JSONHighlighter()("\n".join(map(_escaped, text.split("\n")))), soft_wrap=True)


def _escaped(line: str) -> str:
    """The same JSON without characters that steer a terminal; such stand inside its texts only."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
