"""GET of /api/v1/monitors/export and /{id}/export: monitors in the form that creates them, to be imported again."""

from collections.abc import AsyncIterator
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from commands.http.form import AnyRequest, meta_of
from commands.shapes import ScheduleShape, schedule_shape
from domain.errors import NotFound
from domain.fact import FactSpec
from domain.plan import Fires, Plan
from domain.source import Source
from read_api.database import Pool, fetch_rows
from read_api.reading import LIST_REFUSALS, REFUSALS, Reads

PAGE_ROWS = 100

_COLUMNS: LiteralString = "select id, name, prompt, status, plan::text as plan from monitors"
_OWN: LiteralString = _COLUMNS + " where owner_id = %(owner_id)s and deleted_at is null "
_PAGE: LiteralString = _OWN + "and id > %(after)s order by id limit %(limit)s"
_ONE: LiteralString = _OWN + "and id = %(id)s"
_FIRST = UUID(int=0)

_plan = msgspec.json.Decoder(Plan)
_encoder = msgspec.json.Encoder()


class ExportedMonitor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A monitor as the body that creates it, in full, so that no model is asked again. `paused` is for an import only."""

    name: str
    prompt: str
    sources: tuple[Source, ...]
    schedule: ScheduleShape
    facts: tuple[FactSpec, ...]
    condition: str
    reset_condition: str | None = None
    confirmations: int
    min_confidence: float
    fires: Fires
    provider: str | None = None
    batch: bool = False
    paused: bool = False


class MonitorExport(msgspec.Struct, frozen=True, kw_only=True):
    """Monitors for `POST /api/v1/monitors/import`, which takes this very document."""

    format: str
    exported_at: str
    monitors: tuple[ExportedMonitor, ...]


class MonitorExports:
    """Monitors from their table, those that are not deleted, the oldest first."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def one(self, owner_id: UUID, monitor_id: UUID) -> ExportedMonitor:
        """A person's monitor; raises `NotFound`."""
        rows = await fetch_rows(self._pool, _ONE, {"owner_id": owner_id, "id": monitor_id})
        if not rows:
            raise NotFound
        return _exported(rows[0])

    async def all(self, owner_id: UUID) -> AsyncIterator[ExportedMonitor]:
        """Everything of a person, read page by page: no connection is held while a slow reader reads."""
        after = _FIRST
        while True:
            rows = await fetch_rows(self._pool, _PAGE, {"owner_id": owner_id, "after": after, "limit": PAGE_ROWS})
            for row in rows:
                yield _exported(row)
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1]["id"]


class MonitorExportReads(Reads):
    """Taking monitors along."""

    path = "/monitors"
    tags = ("Monitors",)

    @get("/export", summary="Export your monitors", responses=LIST_REFUSALS)
    async def export_monitors(self, request: AnyRequest, monitor_exports: NamedDependency[MonitorExports]) -> Stream:
        """All your monitors that are not deleted, streamed as one JSON document. It has no envelope: send it to
        `POST /api/v1/monitors/import` as it is. Each is in the form that `POST /api/v1/monitors` takes, headers of sources
        included, `paused` aside, which only the import knows; states and histories stay here."""
        return _download(request, monitor_exports.all(request.user.user_id), name="vigil-monitors.json")

    @get("/{monitor_id:uuid}/export", summary="Export a monitor", responses=REFUSALS)
    async def export_monitor(
        self, request: AnyRequest, monitor_id: FromPath[UUID], monitor_exports: NamedDependency[MonitorExports]
    ) -> Stream:
        """One monitor, in the same form."""
        one = await monitor_exports.one(request.user.user_id, monitor_id)

        async def only() -> AsyncIterator[ExportedMonitor]:
            yield one

        return _download(request, only(), name=f"vigil-monitor-{monitor_id}.json")


def _download(request: AnyRequest, monitors: AsyncIterator[ExportedMonitor], *, name: str) -> Stream:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(_written(request, monitors), media_type="application/json", headers=headers)


async def _written(request: AnyRequest, monitors: AsyncIterator[ExportedMonitor]) -> AsyncIterator[bytes]:
    exported_at = _encoder.encode(meta_of(request).timestamp)
    yield b'{"format": "vigil", "exported_at": ' + exported_at + b', "monitors": ['
    separator = b"\n"
    async for monitor in monitors:
        yield separator + _encoder.encode(monitor)
        separator = b",\n"
    yield b"\n]}\n"


def _exported(row: dict[str, Any]) -> ExportedMonitor:
    plan = _plan.decode(row["plan"])
    return ExportedMonitor(
        name=row["name"],
        prompt=row["prompt"],
        sources=plan.sources,
        schedule=schedule_shape(plan.schedule),
        facts=plan.facts,
        condition=plan.condition,
        reset_condition=plan.reset_condition,
        confirmations=plan.confirmations,
        min_confidence=plan.min_confidence,
        fires=plan.fires,
        provider=plan.provider,
        batch=plan.batch,
        paused=row["status"] == "paused",
    )
