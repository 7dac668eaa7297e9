"""What `vigil projections parked` does: reading what is parked, and the audited acts on it."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import typer

from adapters.audited_acts import Record
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_log import PostgresLog
from adapters.postgres_parked import Handle, ParkedEvent, ParkedStream, PostgresParked, Retried, projecting
from adapters.postgres_parking import PostgresParking
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from adapters.secret_key import installation_secret
from bootstrap.now_and_new import utc_now
from bootstrap.parts import open_parts
from bootstrap.running import known_endpoints
from bootstrap.settings import Settings
from cli.acts import record_act
from cli.connection import configured, keys_of_people, open_database, run
from cli.event_lines import clean
from cli.output import FAILED, WRONG_USE, fail, print_json
from cli.read_tables import PROJECTIONS
from commands.event_store import ConcurrentAppend
from domain.errors import Conflict, NotFound
from domain.log_entry import LogEntry
from domain.operation import ParkedRetried, ParkedSkipped
from domain.stream_name import StreamName, read_stream_name
from read_api.stream_states import kind_of
from workers.notifier import CONSUMER as NOTIFIER
from workers.notifier import Notifier
from workers.reactor import NotYet

NAMES = (*PROJECTIONS, NOTIFIER)
REASON_CHARS_MAX = 500
ERROR_CHARS_MAX, DATA_CHARS_MAX = 1_000, 10_000


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up, and how many events of the stream are still parked."""

    stream_id: UUID
    version: int
    left: int


def run_list(name: str | None, *, as_json: bool) -> None:
    """Show what is parked for one consumer, or for all; not what is for tables that a rebuild keeps beside the live ones."""
    _check_name(name)
    found = [stream for stream in run(_streams(configured(), name)) if stream.consumer in NAMES]
    if as_json:
        print_json(found)
        return
    for stream in found:
        typer.echo(_line(stream))
    if not found:
        typer.echo("nothing is parked")


def run_show(name: str, stream: str, *, as_json: bool) -> None:
    """Show what is parked of a stream. Raises `NotFound` when nothing is."""
    _check_name(name)
    wanted = read_stream_name(stream)
    events = run(_events(configured(), name, wanted))
    if as_json:
        print_json(events)
        return
    _print_first(events[0])
    for event in events[1:]:
        typer.echo(f"behind it: v{event.version}  position {event.position}  {clean(event.type)}")


def run_retry(name: str, stream: str | None, *, every: bool, as_json: bool) -> None:
    """Hand over once more, telling of each stream; exits 1 when something stays parked. For one stream, raises `NotFound`,
    `Conflict`."""
    _check_name(name)
    if (stream is None) != every:
        fail("say which stream with --stream, or --all", code=WRONG_USE)
    wanted = None if stream is None else read_stream_name(stream)
    retried: list[Retried] = []

    def tell(each: Retried) -> None:
        retried.append(each)
        if not as_json:
            typer.echo(_told(each))

    run(_retry(configured(), name, wanted, tell))
    if as_json:
        print_json(retried)
    elif not retried:
        typer.echo("nothing is parked")
    if any(each.error is not None for each in retried):
        raise typer.Exit(FAILED)


def run_skip(name: str, stream: str, *, version: int, reason: str, as_json: bool) -> None:
    """Give up an event. Raises `NotFound`, `Conflict`."""
    _check_name(name)
    wanted, given = read_stream_name(stream), reason.strip()
    if not 1 <= len(given) <= REASON_CHARS_MAX or not given.isprintable():
        fail(f"a reason is 1 to {REASON_CHARS_MAX} printable characters", code=WRONG_USE)
    skipped = run(_skip(configured(), name, wanted, version=version, reason=given))
    if as_json:
        print_json(skipped)
        return
    rest = f"; {skipped.left} wait, `vigil projections parked retry` goes on with them" if skipped.left else ""
    typer.echo(f"gave up version {version} of the stream {skipped.stream_id} for {name}{rest}")


async def _streams(settings: Settings, name: str | None) -> list[ParkedStream]:
    async with open_database(settings) as pool:
        return await _parked(settings, pool).streams(name)


async def _events(settings: Settings, name: str, wanted: StreamName) -> list[ParkedEvent]:
    async with open_database(settings) as pool:
        return await _events_of(_parked(settings, pool), name, wanted)


async def _events_of(parked: PostgresParked, name: str, wanted: StreamName) -> list[ParkedEvent]:
    """The parked events of a stream. Raises `NotFound` when there is none, or the stream is of another kind."""
    events = await parked.events(name, wanted.id)
    if not events or not wanted.fits(kind_of(events[0].type)):
        raise NotFound(f"{name} has no parked event of the stream {wanted}")
    return events


async def _retry(settings: Settings, name: str, wanted: StreamName | None, tell: Callable[[Retried], object]) -> None:
    """One stream, or all in the order of the log: what others refer to comes first. One that cannot be retried at the moment
    keeps no other from it."""
    async with open_database(settings) as pool, _handling(settings, pool, name) as handle:
        parked = _parked(settings, pool)

        async def retried(stream: UUID) -> Retried:
            return await parked.retry(name, stream, handle=handle, record=_record_retry(pool, name, stream))

        if wanted is not None:
            await _events_of(parked, name, wanted)
            tell(await retried(wanted.id))
            return
        for each in await parked.streams(name):
            try:
                done = await retried(each.stream_id)
            except Conflict as passing:
                done = Retried(stream_id=each.stream_id, events=0, error=passing.message, left=each.behind + 1)
            except NotFound as taken:
                done = Retried(stream_id=each.stream_id, events=0, error=taken.message, left=0)
            tell(done)


def _record_retry(pool: Pool, name: str, stream: UUID) -> Record[int]:
    async def record(events: int) -> None:
        await record_act(pool, ParkedRetried(projection=name, stream=stream, events=events, retried_at=utc_now()))

    return record


async def _skip(settings: Settings, name: str, wanted: StreamName, *, version: int, reason: str) -> Skipped:
    async with open_database(settings) as pool:
        parked = _parked(settings, pool)
        await _events_of(parked, name, wanted)

        async def record(_events: int) -> None:
            now = utc_now()
            act = ParkedSkipped(projection=name, stream=wanted.id, version=version, reason=reason, skipped_at=now)
            await record_act(pool, act)

        left = await parked.skip(name, wanted.id, version, record=record)
    return Skipped(stream_id=wanted.id, version=version, left=left)


@asynccontextmanager
async def _handling(settings: Settings, pool: Pool, name: str) -> AsyncIterator[Handle]:
    """How events are handed to this consumer."""
    if name in PROJECTIONS:
        people = await keys_of_people(settings, pool)
        yield projecting(PostgresReadTables(pool, PROJECTIONS[name]), people.open_entries)
        return
    secret = installation_secret(settings.data_dir, settings.secret_key)
    async with open_parts(settings, known_endpoints(settings), secret) as parts:
        yield reacting(parts.notifier(), is_outage=PostgresParking(pool, name).is_outage)


def reacting(notifier: Notifier, *, is_outage: Callable[[Exception], bool]) -> Handle:
    """Handles entries as the notifier does, each on its own; done twice, an entry changes nothing the second time. Raises
    `Conflict` and outages for what passes by itself: then nothing is unparked."""

    async def handle(_connection: object, entries: Sequence[LogEntry]) -> tuple[int, str | None]:
        for done, entry in enumerate(entries):
            try:
                await notifier.react(entry)
            except (NotYet, ConcurrentAppend) as passing:
                raise Conflict("others work on this at the moment, or the projector is behind; try again") from passing
            except Exception as error:  # whatever is wrong with the entry is told, and it stays parked
                if is_outage(error):
                    raise
                return done, f"{type(error).__name__}: {error}"
        return len(entries), None

    return handle


def _parked(settings: Settings, pool: Pool) -> PostgresParked:
    return PostgresParked(pool, PostgresLog(pool, PostgresArchive(pool, settings.archive_folder)))


def _check_name(name: str | None) -> None:
    if name is not None and name not in NAMES:
        fail(f"nothing is parked for {name!r}; known are {', '.join(NAMES)}", code=WRONG_USE)


def _line(stream: ParkedStream) -> str:
    behind = f", {stream.behind} behind it" if stream.behind else ""
    return (
        f"{stream.consumer}: {clean(stream.type)} v{stream.version} of {stream.stream_id} at position {stream.position},"
        f" parked {_time(stream.parked_at)}{behind}: {clean(stream.error)}"
    )


def _print_first(event: ParkedEvent) -> None:
    typer.echo(f"v{event.version}  {clean(event.type)}  version {event.type_version}, position {event.position}")
    typer.echo(f"recorded {_time(event.recorded_at)}, parked {_time(event.parked_at)}")
    typer.echo(f"because: {clean(event.error, ERROR_CHARS_MAX)}")
    typer.echo(clean(json.dumps(event.data, ensure_ascii=False), DATA_CHARS_MAX))


def _told(retried: Retried) -> str:
    if retried.error is None:
        return f"{retried.stream_id}: {retried.events} events handled, nothing is parked any more"
    return (
        f"{retried.stream_id}: {retried.events} events handled, {retried.left} still parked:"
        f" {clean(retried.error, ERROR_CHARS_MAX)}"
    )


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
