"""What the new tables refuse is parked as a projector would, and what they no longer refuse is parked no more."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import LIVE
from adapters.postgres_rebuild import Rebuild
from benchmarks.history import History
from domain.log_entry import LogEntry
from projections.core import CORE
from projections.projection import CannotApply, Projection
from tests.projections.projecting import first_of, project, projector, rebuilt, rows, spoilt, store
from tests.projections.test_rebuild import dumped

PARKED = "select consumer, partition, place, stream_id, error = 'behind' from parked order by 1, 2, 3"


def poisoned(entries: Sequence[LogEntry], *types: str) -> list[LogEntry]:
    """The same history with the first event of each type spoilt: a name is null, a number is none, a parent is missing."""
    told = list(entries)
    for type_ in types:
        at = first_of(told, type_)
        told[at] = spoilt(told[at], name=None, monitor_id="0" * 32, fact={"name": None})
    return told


def forgiving(projection: Projection) -> Projection:
    """The projection, taking a person without a name."""
    registered = projection.by_type()["user.registered"]
    statement = registered.statements[0].replace("data->>'name'", "coalesce(data->>'name', 'nobody')")
    others = (each for each in projection.handlers if each is not registered)
    return replace(projection, handlers=(*others, replace(registered, statements=(statement,))))


@pytest.mark.parametrize(
    "types",
    [
        ("user.registered",),
        ("monitor.created",),
        ("trigger.created",),
        ("evaluation.completed", "evaluation.fact_extracted"),
        ("action.created", "monitor.created"),
    ],
    ids=" ".join,
)
async def test_what_is_refused_is_parked_as_the_live_projection_does(
    pool: Pool, database: str, types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    monkeypatch.setattr("adapters.postgres_rebuild.BATCH_ENTRIES", 40)
    await store(pool, database, poisoned(list(History(11, people=2, monitors_each=2).entries(80)), *types))
    await project(pool, projector(pool))
    tables, parked = await dumped(pool, LIVE), await rows(pool, PARKED)
    assert parked
    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool)))
    assert await dumped(pool, LIVE) == tables
    kept = [("core.previous", *rest) for _, *rest in parked]
    assert await rows(pool, PARKED) == parked + kept


async def test_what_only_fails_for_its_parent_is_found_when_all_rows_are_there(
    pool: Pool, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_rebuild.CLOSE_ENOUGH_ENTRIES", 0)
    entries = list(History(12, people=2, monitors_each=2).entries(80))
    orphan = first_of(entries, "trigger.created")
    entries[orphan] = spoilt(entries[orphan], monitor_id="0" * 32)
    await store(pool, database, entries)
    await project(pool, projector(pool))
    tables, parked = await dumped(pool, LIVE), await rows(pool, PARKED)
    assert "violates foreign key" in (await rows(pool, "select error from parked where error <> 'behind'"))[0][0]
    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool)))
    assert await dumped(pool, LIVE) == tables
    assert [row for row in await rows(pool, PARKED) if row[0] == "core"] == parked


async def test_what_fits_after_a_repair_is_parked_no_more_and_again_after_a_rollback(pool: Pool, database: str) -> None:
    await store(pool, database, poisoned(list(History(13, people=2, monitors_each=2).entries(80)), "user.registered"))
    await project(pool, projector(pool))
    tables, parked = await dumped(pool, LIVE), await rows(pool, PARKED)
    mended = Rebuild(pool, forgiving(CORE), PostgresLog(pool))
    await rebuilt(mended)
    assert await rows(pool, "select count(*) from users") == [(2,)]
    assert await rows(pool, "select count(*) from parked where consumer = 'core'") == [(0,)]
    whole = await dumped(pool, LIVE)
    await mended.roll_back()
    assert await dumped(pool, LIVE) == tables
    assert await rows(pool, PARKED) == parked
    await mended.roll_back()
    assert await dumped(pool, LIVE) == whole
    assert await rows(pool, PARKED) == [("core.previous", *rest) for _, *rest in parked]


async def test_an_event_that_does_not_open_is_parked(pool: Pool, database: str) -> None:
    entries = list(History(14, people=2, monitors_each=2).entries(60))
    victim = next(entry for entry in entries if entry.type == "monitor.created")

    async def opening(given: Sequence[LogEntry]) -> Sequence[LogEntry]:
        if any((entry.stream_id, entry.version) == (victim.stream_id, 1) for entry in given):
            raise CannotApply("broken seal")
        return given

    await store(pool, database, entries)
    await project(pool, projector(pool))
    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool), open_entries=opening))
    assert ("broken seal", victim.stream_id) in await rows(pool, "select error, stream_id from parked")
    monitors = {row[0] for row in await rows(pool, "select id from monitors")}
    assert victim.stream_id not in monitors
    assert len(monitors) == 3


async def test_a_refusal_that_quotes_the_character_zero_is_parked(pool: Pool, database: str) -> None:
    entries = list(History(15, people=1, monitors_each=1).entries(30))

    async def opening(given: Sequence[LogEntry]) -> Sequence[LogEntry]:
        if any(entry.type == "action.created" for entry in given):
            raise CannotApply("zero\0zero")
        return [msgspec.structs.replace(entry) for entry in given]

    await store(pool, database, entries)
    await project(pool, projector(pool))
    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool), open_entries=opening))
    assert ("zerozero",) in await rows(pool, "select error from parked where consumer = 'core'")
