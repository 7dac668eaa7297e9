"""How long a stream of 10, 1,000 or 20,000 events takes to load, folded from its beginning and from a snapshot.

Run as `python -m benchmarks.loading`. Each stream is a monitor that fires each time: created, and then met again and
again. The two ways take turns on the same stream, so that whatever else the machine does hits both alike. With snapshots,
their worst case is measured too: as many events after the snapshot as may be before another one is taken.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from uuid import UUID

import msgspec
import uvloop
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_person_keys import PersonKeys
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_snapshots import PostgresSnapshots
from adapters.wrapping_keys import WrappingKeys
from benchmarks.filling import people_for, store_crowd
from benchmarks.history import START, History
from benchmarks.machine import Machine, describe
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from commands.monitors import MONITOR
from commands.streams import SNAPSHOT_AFTER_EVENTS, load
from domain.event import Event, Metadata, NewEvents
from domain.event_codec import decode_entry
from domain.monitor import ConditionMetAgain, MonitorCreated

EVENTS = (10, 1_000, 20_000)
APPENDED_AT_ONCE = 1_000


class Loading(msgspec.Struct, frozen=True):
    """Median times of loading a stream of so many events, in milliseconds: all of it; from a snapshot after its last
    event; from one that is `SNAPSHOT_AFTER_EVENTS` behind (None for a stream that has not so many). `taking` is the load
    that takes a snapshot, once."""

    events: int
    whole: float
    from_snapshot: float
    from_oldest_snapshot: float | None
    taking: float | None


class LoadingFigures(msgspec.Struct, frozen=True):
    """The figures of each stream; `others` are the events of other streams in the store, `snapshot_bytes` is the sealed
    state of one of them."""

    rounds: int
    others: int
    snapshot_after_events: int
    snapshot_bytes: int
    streams: list[Loading]


async def measure(servers: Servers, *, events: Sequence[int], others: int, rounds: int) -> LoadingFigures:
    """Fill the store, make the streams and load them, in turn without and with snapshots."""
    stored, _ = await store_crowd(servers.database_url, others, people_for(others))
    async with open_pool(servers.database_url, size_max=2) as pool:
        keys = PersonKeys(pool, WrappingKeys([bytes(32)]))
        plain = PostgresEventStore(pool, new_id=uuid7, people=keys)
        store = PostgresEventStore(pool, new_id=uuid7, people=keys, snapshots=PostgresSnapshots(pool, keys))
        streams = [await _stream(pool, plain, store, count, rounds) for count in events]
        async with pool.connection() as connection:
            row = await (await connection.execute("select coalesce(max(length(state)), 0) from snapshot")).fetchone()
    return LoadingFigures(rounds, stored, SNAPSHOT_AFTER_EVENTS, row[0] if row else 0, streams)


async def _stream(pool: Pool, plain: PostgresEventStore, store: PostgresEventStore, count: int, rounds: int) -> Loading:
    stream_id, owner_id = uuid7(), uuid7()
    before = max(1, count - SNAPSHOT_AFTER_EVENTS)
    await _grow(plain, stream_id, owner_id, 0, before)
    await _timed(plain, stream_id, rounds=2)
    taking = await _timed(store, stream_id, rounds=1) if before > SNAPSHOT_AFTER_EVENTS else None
    await _grow(plain, stream_id, owner_id, before, count)
    async with pool.connection() as connection:
        await connection.execute("analyze event")
    oldest = None if taking is None else await _timed(store, stream_id, rounds=rounds)
    if taking is not None:  # the last event makes it one too many
        await _grow(plain, stream_id, owner_id, count, count + 1)
        await _timed(store, stream_id, rounds=1)
    whole, kept = [], []
    for _ in range(rounds):
        whole.append(await _timed(plain, stream_id, rounds=1))
        kept.append(await _timed(store, stream_id, rounds=1))
    return Loading(count, round(median(whole), 2), round(median(kept), 2), oldest, taking)


async def _timed(store: PostgresEventStore, stream_id: UUID, *, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await load(store, MONITOR, stream_id)
        times.append((time.perf_counter() - started) * 1000)
    return round(median(times), 2)


async def _grow(store: PostgresEventStore, stream_id: UUID, owner_id: UUID, present: int, count: int) -> None:
    metadata = Metadata(correlation_id=stream_id, actor="evaluator")
    again = ConditionMetAgain(evaluation_id=stream_id, met_at=START)
    events: list[Event] = [_created() if version == 0 else again for version in range(present, count)]
    for start in range(0, len(events), APPENDED_AT_ONCE):
        some = tuple(events[start : start + APPENDED_AT_ONCE])
        new = NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=present + start, events=some)
        await store.append([new], metadata=metadata)


def _created() -> MonitorCreated:
    events = (decode_entry(entry).event for entry in History(1, people=1, monitors_each=1).entries(0))
    return next(event for event in events if isinstance(event, MonitorCreated))


def run(
    servers: Servers,
    *,
    events: Sequence[int] = EVENTS,
    others: int = 100_000,
    rounds: int = 50,
    json: Path | None = None,
) -> LoadingFigures:
    """Measure on these servers and report; each figure is the median of `rounds` loads."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, events=events, others=others, rounds=rounds))
    report("loading", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: LoadingFigures, machine: Machine) -> list[str]:
    size = f"a snapshot after more than {figures.snapshot_after_events} events, {figures.snapshot_bytes} bytes"
    lines = [
        f"one load at a time among {figures.others:,} other events, median of {figures.rounds}; {size}",
        f"fsync={machine.fsync}; ms",
        f"{'events':>8} {'whole':>10} {'snapshot':>10} {'oldest':>10} {'taking':>10}",
    ]
    for one in figures.streams:
        rest = (
            f"{'-' if value is None else format(value, '.2f'):>10}" for value in (one.from_oldest_snapshot, one.taking)
        )
        lines.append(f"{one.events:>8,} {one.whole:>10.2f} {one.from_snapshot:>10.2f} {' '.join(rest)}")
    return lines


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=EVENTS, help="how many each stream has")
    parser.add_argument("--others", type=int, default=100_000, help="events of other streams in the store")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    with durable_servers() as servers:
        run(servers, events=given.events, others=given.others, rounds=given.rounds, json=given.json)


if __name__ == "__main__":
    main()
