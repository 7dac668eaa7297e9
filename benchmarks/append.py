"""How many events a second are appended by concurrent writers, one event a call, and how that compares.

Run as `python -m benchmarks.append`. All contestants work on one server, in rounds (A B C D, A B C D, ...), so that
whatever else the machine does hits all alike; the figure of each is its median over the rounds.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import msgspec
import uvloop
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import open_pool
from benchmarks.append_peers import Pgbench, library_recorder
from benchmarks.history import History
from benchmarks.machine import Machine, describe
from benchmarks.report import report
from benchmarks.servers import Servers, durable_servers
from domain.evaluation import FactExtracted
from domain.event import Metadata, NewEvents
from domain.event_codec import decode_entry, encode, encode_metadata

NEW, GROWING, LIBRARY, PGBENCH = "vigil, new streams", "vigil, growing streams", "eventsourcing recorder", "pgbench"
WARM_UP_SECONDS = 0.5
AIM_OF_LIBRARY, AIM_OF_PGBENCH = 10.0, 0.55

Contestant = Callable[[int, float], Awaitable[float]]


class AppendFigures(msgspec.Struct, frozen=True):
    """Events a second: the median of each contestant and its rounds; the ratios are those of medians, for new streams."""

    writers: int
    seconds: float
    event_bytes: int
    median: dict[str, float]
    rounds: dict[str, list[float]]
    of_library: float
    of_pgbench: float


class Appending:
    """Vigil's side: writers in one asyncio process, through the store's `append`, each event with an id of its own."""

    def __init__(self, store: PostgresEventStore, event: FactExtracted, metadata: Metadata) -> None:
        self._store = store
        self._event = event
        self._metadata = metadata

    async def to_new_streams(self, writers: int, seconds: float) -> float:
        """Every event begins a stream, as most of Vigil's do: each evaluation is a stream."""
        return await self._rate(writers, seconds, growing=False)

    async def to_growing_streams(self, writers: int, seconds: float) -> float:
        """Each writer appends to one stream, after its last version."""
        return await self._rate(writers, seconds, growing=True)

    async def _rate(self, writers: int, seconds: float, *, growing: bool) -> float:
        started = time.perf_counter()
        counts = await asyncio.gather(*(self._write(started + seconds, growing=growing) for _ in range(writers)))
        return sum(counts) / (time.perf_counter() - started)

    async def _write(self, until: float, *, growing: bool) -> int:
        owner_id, stream_id, count = uuid7(), uuid7(), 0
        while time.perf_counter() < until:
            if not growing:
                stream_id = uuid7()
            version = count if growing else 0
            new = NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=version, events=(self._event,))
            await self._store.append([new], metadata=self._metadata)
            count += 1
        return count


async def measure(servers: Servers, *, writers: int, seconds: float, rounds: int) -> AppendFigures:
    """Let all contestants append in turn, after a warm-up that does not count."""
    event = _typical_event()
    metadata = Metadata(correlation_id=uuid7(), actor="evaluator")
    data, context = encode(event), encode_metadata(metadata)
    row = {"owner_id": str(uuid7()), "tag": event.tag, "data": data.decode(), "metadata": context.decode()}
    pgbench = Pgbench(servers.database_url, servers.folder, **row)
    with library_recorder(servers.database_url, connections=writers, topic=event.tag, state=data + context) as library:
        async with open_pool(servers.database_url, size_min=writers, size_max=writers) as pool:
            await pool.wait()
            vigil = Appending(PostgresEventStore(pool, new_id=uuid7), event, metadata)
            contestants: dict[str, Contestant] = {
                NEW: vigil.to_new_streams,
                GROWING: vigil.to_growing_streams,
                LIBRARY: library.rate,
                PGBENCH: pgbench.rate,
            }
            for contestant in contestants.values():
                await contestant(writers, min(WARM_UP_SECONDS, seconds))
            found: dict[str, list[float]] = {name: [] for name in contestants}
            for number in range(rounds):
                for name, contestant in contestants.items():
                    found[name].append(round(await contestant(writers, seconds)))
                print(f"round {number + 1}/{rounds}: " + ", ".join(f"{n} {r[-1]:,.0f}/s" for n, r in found.items()))
    middle = {name: median(rates) for name, rates in found.items()}
    return AppendFigures(
        writers=writers,
        seconds=seconds,
        event_bytes=len(data) + len(context),
        median=middle,
        rounds=found,
        of_library=round(middle[NEW] / middle[LIBRARY], 2),
        of_pgbench=round(middle[NEW] / middle[PGBENCH], 3),
    )


def _typical_event() -> FactExtracted:
    """The kind that is stored most: one fact that was read."""
    events = (decode_entry(entry).event for entry in History(1, people=1, monitors_each=1).entries(100))
    return next(event for event in events if isinstance(event, FactExtracted))


def run(
    servers: Servers, *, writers: int = 8, seconds: float = 3, rounds: int = 5, json: Path | None = None
) -> AppendFigures:
    """Measure on these servers and report; `seconds` is how long each contestant appends in each round."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, writers=writers, seconds=seconds, rounds=rounds))
    report("append", machine, figures, _lines(figures, machine), json)
    return figures


def _lines(figures: AppendFigures, machine: Machine) -> list[str]:
    durable = f"one event of {figures.event_bytes} bytes a call (fsync={machine.fsync})"
    rounds = f"median of {len(figures.rounds[NEW])} rounds of {figures.seconds:g} s"
    lines = [f"{figures.writers} writers, {durable}, {rounds}"]
    for name, rate in figures.median.items():
        rates = figures.rounds[name]
        lines.append(f"{name:24} {rate:9,.0f} events/s   ({min(rates):,.0f} to {max(rates):,.0f})")
    lines.append(f"of the library's recorder: {figures.of_library:.2f} times (aim: at least {AIM_OF_LIBRARY:g})")
    lines.append(f"of pgbench:                {figures.of_pgbench:.1%} (aim: at least {AIM_OF_PGBENCH:.0%})")
    return lines


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.append", description=__doc__)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3, help="how long each contestant appends in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    with durable_servers() as servers:
        run(servers, writers=given.writers, seconds=given.seconds, rounds=given.rounds, json=given.json)


if __name__ == "__main__":
    main()
