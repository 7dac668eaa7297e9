"""Harm to the store and the read tables: slow strangers, poison, and rebuilds while people write."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import psycopg

from domain.crash_points import CrashPoint
from faults.run import Run, Scenario, rebuild

MORE_THAN_A_BATCH = 1_500
"""Events enough for a rebuild to have batches before it joins the live tail."""

ACT_SECONDS_MAX = 30.0
PARKED_WITHIN_SECONDS = 40.0

_APPEND = """
select append_events(%(streams)s::uuid[], %(versions)s::integer[], %(owners)s::uuid[], %(types)s::text[],
    %(type_versions)s::smallint[], %(datas)s::text[]::jsonb[], %(metadatas)s::text[]::jsonb[], %(ids)s::uuid[])
"""

_PARKED = "select consumer, stream_id from parked where stream_id = any (%s)"


async def slow_stranger(run: Run) -> None:
    """A transaction that took its number early and commits late, with an event in it: it holds the log up, and nothing
    that was committed meanwhile is skipped, nor is its own event."""
    await run.bulk.append(20)
    late = '{"name": "late", "config": {"type": "email"}, "created_at": "2026-01-01T00:00:00Z"}'
    async with await psycopg.AsyncConnection.connect(run.database_url) as stranger:
        await _plant(run, stranger, UUID(int=run.random.getrandbits(128)), ("action.created", 1, late))
        await run.bulk.append(300)
        await asyncio.sleep(run.random.uniform(0.5, 2.0))
        await run.bulk.append(100)
    async with await psycopg.AsyncConnection.connect(run.database_url) as stranger:
        await stranger.execute("select pg_current_xact_id()")
        await run.bulk.append(100)
        await stranger.rollback()


async def rebuilds(run: Run) -> None:
    """The read tables are built again, twice, while people write and read."""
    await run.bulk.append(MORE_THAN_A_BATCH)
    for _ in range(2):
        await rebuild(run)


def rebuild_dying_at(point: CrashPoint) -> Scenario:
    """A rebuild dies at a crash point, and the next one finishes the work."""

    async def harm(run: Run) -> None:
        await run.bulk.append(MORE_THAN_A_BATCH)
        armed = {"VIGIL_CRASH_POINT": str(point), "VIGIL_CRASH_SEED": str(run.random.getrandbits(16))}
        await rebuild(run, **armed)
        await rebuild(run)

    return Scenario(21, f"rebuild dies at {point}", harm)


async def poison(run: Run) -> None:
    """Events that nobody can handle: of an unknown type, without their fields, of a version from the future; and a good one
    that a broken table refuses. They are parked, with an alert, and everything else goes on; mended, the good one is handed
    over again."""
    await run.bulk.append(20)
    unknown, senseless, future, refused = (UUID(int=run.random.getrandbits(128)) for _ in range(4))
    named = '{"name": "%s", "config": {"type": "email"}, "%s_at": "2026-01-01T00:00:00Z"}'
    async with await psycopg.AsyncConnection.connect(run.database_url, autocommit=True) as owner:
        await owner.execute("alter table read_model.actions add constraint broken check (name <> 'refused')")
        await _plant(run, owner, unknown, ("nobody.knows", 1, '{"what": 1}'))
        revised = ("action.revised", 1, named % ("behind", "revised"))
        await _plant(run, owner, senseless, ("action.created", 1, '{"nonsense": true}'), revised)
        await _plant(run, owner, future, ("monitor.state_changed", 99, '{"nonsense": true}'))
        await _plant(run, owner, refused, ("action.created", 1, named % ("refused", "created")), revised)
        wanted = {("core", senseless), ("core", future), ("notifier", future), ("core", refused)}
        await _are_parked(owner, wanted, among=(unknown, senseless, future, refused))
        await owner.execute("alter table read_model.actions drop constraint broken")
    if not any("parked" in text for text in run.installation.logs().values()):
        run.ledger.troubles.append("events were parked, and no log says so")
    for arguments in (
        ["retry", "core", "--stream", str(refused)],
        ["skip", "notifier", "--stream", str(future), "--version", "1", "--reason", "never valid"],
    ):
        process = run.installation.run(["projections", "parked", *arguments], "parked.log")
        status = await asyncio.to_thread(process.wait, ACT_SECONDS_MAX)
        if status != 0:
            run.ledger.troubles.append(f"`parked {' '.join(arguments)}` ended with {status}: {process.said()[-500:]}")
    run.ledger.poison |= {str(senseless), str(future)}


async def _plant(
    run: Run, owner: psycopg.AsyncConnection[tuple[object, ...]], stream: UUID, *events: tuple[str, int, str]
) -> None:
    """Append events as they are, past every check of the program's."""
    person, size = run.bulk.people[0], len(events)
    values = {
        "streams": [stream] * size,
        "versions": list(range(1, size + 1)),
        "owners": [person] * size,
        "types": [tag for tag, _, _ in events],
        "type_versions": [version for _, version, _ in events],
        "datas": [data for _, _, data in events],
        "metadatas": [f'{{"actor": "stranger", "correlation_id": "{stream}"}}'] * size,
        "ids": [UUID(int=run.random.getrandbits(128)) for _ in events],
    }
    await owner.execute(_APPEND, values)
    run.ledger.appended.append((str(stream), size))


async def _are_parked(
    owner: psycopg.AsyncConnection[tuple[object, ...]], wanted: set[tuple[str, UUID]], *, among: Sequence[UUID]
) -> None:
    """Return when these (consumer, stream) have something parked; raises `TimeoutError` that names what has, of those
    streams."""
    parked: set[tuple[object, ...]] = set()
    try:
        async with asyncio.timeout(PARKED_WITHIN_SECONDS):
            while not wanted <= parked:
                rows = await owner.execute(_PARKED, (list(among),))
                parked = set(await rows.fetchall())
                await asyncio.sleep(0.1)
    except TimeoutError:
        missing = ", ".join(f"{stream} of {consumer}" for consumer, stream in wanted - parked)
        raise TimeoutError(f"not parked within {PARKED_WITHIN_SECONDS:g} s: {missing}") from None
