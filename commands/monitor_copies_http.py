"""POST of /api/v1/monitors/{id}/fork and /api/v1/monitors/import: monitors made of what is there already."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, JSONBody, QueryParameter

from commands.backup_file import read_backup
from commands.changedetection import entries_of_backup, lost_settings
from commands.forecasting import Forecasting
from commands.http.failures import details_of
from commands.http.form import AnyRequest, Envelope, ErrorDetail, answer
from commands.http.writing import Projected, caller_of, started
from commands.import_formats import entries_of_export, entries_of_lines
from commands.monitor_copies import ENTRIES_MAX, Entry, Imported, MonitorCopies
from commands.monitors import MonitorCommands
from commands.monitors_http import MonitorPatch, as_created, merged_wish
from commands.shapes import MonitorShape, ScheduleShape
from commands.shell import IdempotentReplay
from domain.classification import Spent
from domain.errors import InvalidInput

COLLECTION = "/api/v1/monitors"
IMPORT_BYTES_MAX = 1024 * 1024
BACKUP_BYTES_MAX = 16 * 1024 * 1024
TOLD_CHARS_MAX = 2_000
BACKUP_TYPES = frozenset(
    {"application/zip", "application/x-zip-compressed", "application/octet-stream", "application/json"}
)

_READER = ThreadPoolExecutor(1, thread_name_prefix="backup")
"""Megabytes must not hold up the requests of others. One backup at a time: of 32 MB of JSON Python makes twenty times as much."""


class ForkBody(MonitorPatch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be otherwise than in the monitor it is made of."""


class ImportFormat(StrEnum):
    """What is imported: a list of addresses, or what `GET /api/v1/monitors/export` gave."""

    URLS = "urls"
    VIGIL = "vigil"


class ImportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses (`format` `urls`), or an export as it was given (`format` `vigil`)."""

    format: ImportFormat
    urls: tuple[str, ...] | str | None = None
    monitors: tuple[dict[str, Any], ...] | None = None
    schedule: ScheduleShape | None = None
    paused: bool | None = None
    exported_at: str | None = None


class ImportedShape(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one entry: a monitor, or the reasons why there is none."""

    entry: str
    id: UUID | None
    name: str | None
    paused: bool
    code: str | None
    details: tuple[ErrorDetail, ...]
    warnings: tuple[str, ...]


class ImportShape(msgspec.Struct, frozen=True, kw_only=True):
    """What became of everything that was sent, entry by entry."""

    created: int
    refused: int
    warnings: tuple[str, ...]
    entries: tuple[ImportedShape, ...]


@dataclass
class BackupOperation(Operation):
    """The description of a body that is a file."""

    def __post_init__(self) -> None:
        file = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))
        index = OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT))
        self.request_body = RequestBody(content={"application/zip": file, "application/json": index}, required=True)


class MonitorCopiesWrites(Controller):
    """Forking and importing."""

    path = "/monitors"
    tags = ("Monitors",)

    @post("/{monitor_id:uuid}/fork", summary="Fork a monitor")
    async def fork_monitor(
        self,
        request: AnyRequest,
        monitor_id: FromPath[UUID],
        monitors: NamedDependency[MonitorCommands],
        forecasting: NamedDependency[Forecasting],
        projected: NamedDependency[Projected],
        data: JSONBody[ForkBody] = ForkBody(),  # noqa: B008  frozen
    ) -> Response[Envelope[MonitorShape]]:
        """A new monitor like this one, but for what the body says: with the same plan, and a state, history and version of
        its own. Without a `name` it gets the old one with a number. Triggers stay with the old one."""
        caller, spent = await caller_of(request), Spent()
        shape = partial(as_created, forecasting, spent)
        command = MonitorCopies(monitors).fork(
            caller,
            monitor_id,
            lambda present: replace(merged_wish(data, present), spent=spent),
            keeps_plan=msgspec.structs.replace(data, name=None) == ForkBody(),
            answer=shape,
        )
        return await started(request, command, shape, projected, collection=COLLECTION)

    @post("/import", status_code=200, summary="Import monitors", request_max_body_size=IMPORT_BYTES_MAX)
    async def import_monitors(
        self,
        request: AnyRequest,
        data: JSONBody[ImportBody],
        monitors: NamedDependency[MonitorCommands],
        projected: NamedDependency[Projected],
    ) -> Response[Envelope[ImportShape]]:
        """Create up to 1,000 monitors at once, each as `POST /monitors` would: of every address one that tells when its text
        changes, or what an export holds. Names that are taken get a number, and first evaluations are spread over the
        interval. The answer says of each entry what became of it; one that is refused keeps none of the others away. With
        an `Idempotency-Key` an import that broke off can be sent again and goes on where it was."""
        entries = await asyncio.to_thread(_entries, data)
        return await _imported(request, MonitorCopies(monitors), entries, projected)

    @post(
        "/import/changedetection",
        status_code=200,
        summary="Import a changedetection.io backup",
        request_max_body_size=BACKUP_BYTES_MAX,
        operation_class=BackupOperation,
    )
    async def import_backup(
        self,
        request: AnyRequest,
        monitors: NamedDependency[MonitorCommands],
        projected: NamedDependency[Projected],
        paused: Annotated[bool, QueryParameter(description="Import all of them paused.")] = False,  # noqa: FBT002  a parameter of the request
    ) -> Response[Envelope[ImportShape]]:
        """Create a monitor of each watch in a backup of changedetection.io: the zip, or the `url-watches.json` out of an
        older one. Address, title, interval, headers and filters (CSS, XPath, JSONPath, plain paths of jq) are taken over,
        snapshots and notifications are not. `warnings` tell what else could not be; where that would make the monitor tell
        of more than the watch did, it is paused."""
        if request.content_type[0] not in BACKUP_TYPES:
            raise ClientException("send the backup as it is: Content-Type: application/zip", status_code=415)
        seconds_min = monitors.compiler.interval_seconds_min

        def read(content: bytes) -> tuple[list[Entry], list[str]]:
            backup = read_backup(content)
            entries = list(entries_of_backup(backup, interval_seconds_min=seconds_min, paused=paused))
            return entries, lost_settings(backup.settings)

        content = await request.body()
        entries, lost = await asyncio.get_running_loop().run_in_executor(_READER, read, content)
        return await _imported(request, MonitorCopies(monitors), entries, projected, warnings=lost)


async def _imported(
    request: AnyRequest,
    copies: MonitorCopies,
    entries: Sequence[Entry],
    projected: Projected,
    *,
    warnings: Sequence[str] = (),
) -> Response[Envelope[ImportShape]]:
    caller = await caller_of(request)
    try:
        done = await copies.import_entries(caller, entries, answer=lambda done: _import_shape(done, warnings))
    except IdempotentReplay as replay:
        again = msgspec.convert(replay.receipt.answer, ImportShape)
        return Response(answer(request, again), headers={"Idempotency-Replayed": "true"})
    headers: dict[str, str] = {}
    made = [(one.monitor_id, one.version) for one in done if one.monitor_id is not None]
    if made and (position := await projected.wait_for(*made[-1], owner_id=caller.user_id)) is not None:
        headers["Vigil-Position"] = position
    return Response(answer(request, _import_shape(done, warnings)), headers=headers)


def _entries(data: ImportBody) -> list[Entry]:
    """The entries of a body; raises `InvalidInput` for one that has not what its format needs."""
    defaults: dict[str, Any] = {}
    if data.schedule is not None:
        defaults["schedule"] = msgspec.to_builtins(data.schedule)
    if data.paused is not None:
        defaults["paused"] = data.paused
    given, other = ("urls", "monitors") if data.format is ImportFormat.URLS else ("monitors", "urls")
    if getattr(data, given) is None:
        raise InvalidInput(f"{given} is required with the format {data.format}", field=given)
    if getattr(data, other) is not None:
        raise InvalidInput(f"{other} does not go with the format {data.format}", field=other)
    lines = data.urls.splitlines() if isinstance(data.urls, str) else data.urls or ()
    if max(len(lines), len(data.monitors or ())) > ENTRIES_MAX:
        raise InvalidInput(f"one import takes at most {ENTRIES_MAX} entries", field=given)
    if data.format is ImportFormat.URLS:
        return list(entries_of_lines(lines, defaults))
    return list(entries_of_export(data.monitors or (), defaults))


def _import_shape(done: Sequence[Imported], warnings: Sequence[str]) -> ImportShape:
    shapes = tuple(map(_imported_shape, done))
    created = sum(shape.id is not None for shape in shapes)
    return ImportShape(created=created, refused=len(shapes) - created, warnings=tuple(warnings), entries=shapes)


def _imported_shape(one: Imported) -> ImportedShape:
    return ImportedShape(
        entry=_told(one.entry.place),
        id=one.monitor_id,
        name=one.name,
        paused=one.monitor_id is not None and one.entry.paused,
        code=one.refusals[0].code if one.refusals else None,
        details=tuple(_bounded(detail) for refused in one.refusals for detail in details_of(refused)),
        warnings=tuple(map(_told, one.entry.warnings)),
    )


def _bounded(detail: ErrorDetail) -> ErrorDetail:
    field = None if detail.field is None else _told(detail.field)
    return msgspec.structs.replace(detail, field=field, message=_told(detail.message))


def _told(text: str) -> str:
    """What is told of a backup may quote anything in it, also megabytes and NUL, for which receipts have no place."""
    return text[:TOLD_CHARS_MAX].replace("\0", "?")
