"""An event that the tables refuse is parked with what follows in its stream; everything else goes on."""

import asyncio
from collections.abc import Mapping

import msgspec
from uuid_utils.compat import uuid7

from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from benchmarks.history import History
from domain.log_entry import PARTITIONS, LogEntry
from projections.core import CORE
from tests.projections.test_core_projection import dump
from tests.projections.test_rebuild import append_all, sequence_all
from workers.log_reader import LogReader
from workers.partitions import PartitionLeases
from workers.projector import Projector


class Poisoned:
    """A tail that has the log's entries, one of them spoilt on the way."""

    def __init__(self, log: PostgresLog, spoilt: LogEntry) -> None:
        self._log = log
        self._spoilt = spoilt

    async def read(self, after: Mapping[int, int], *, limit: int, block_ms: int) -> list[LogEntry]:
        entries: list[LogEntry] = []
        for partition, place in after.items():
            entries += await self._log.read(partition, after_place=place, limit=limit)
        return [self._spoilt if entry.position == self._spoilt.position else entry for entry in entries]


async def test_a_poisoned_event_stops_nobody_else(pool: Pool) -> None:
    await append_all(pool, list(History(3, people=4, monitors_each=2).entries(300)))
    await sequence_all(pool)
    log = PostgresLog(pool)
    everything: list[LogEntry] = []
    for partition in range(PARTITIONS):
        everything += await log.read(partition, after_place=0, limit=10_000)
    victim = next(entry for entry in everything if entry.type == "monitor.state_changed")
    spoilt = msgspec.structs.replace(victim, type="monitor.renamed", data='{"name": null, "renamed_at": "x"}')
    tables = PostgresReadTables(pool, CORE)
    leases = PartitionLeases(
        PostgresLeases(pool), consumer=CORE.name, holder=str(uuid7()), monotonic=asyncio.get_running_loop().time
    )
    reader = LogReader(Poisoned(log, spoilt), log, monotonic=asyncio.get_running_loop().time)
    projector = Projector(reader, tables, leases)
    heads = dict(enumerate(await log.places()))
    while await tables.places(range(PARTITIONS)) != heads:
        await projector.step()
    async with pool.connection() as connection:
        parked = await (
            await connection.execute("select place, stream_id, error from parked order by place")
        ).fetchall()
        rows = await dump(connection)
    later = [e.place for e in everything if e.stream_id == victim.stream_id and e.place >= victim.place]
    assert [(place, stream) for place, stream, _ in parked] == [(place, victim.stream_id) for place in later]
    assert "null" in parked[0][2]
    assert all(error == "behind" for _, _, error in parked[1:])
    assert len(rows["users"]) == 4
    assert len(rows["evaluations"]) == len({e.stream_id for e in everything if e.type.startswith("evaluation.")})


async def test_an_entry_beyond_the_end_of_the_log_is_a_ghost_and_not_applied(pool: Pool) -> None:
    tables = PostgresReadTables(pool, CORE)
    ghosts = list(History(5, people=1, monitors_each=1).entries(5))
    partition = ghosts[0].partition
    places = await tables.places([partition])
    assert await tables.apply(ghosts, places=places, epochs={partition: 1}) is None
    assert await tables.places([partition]) == {partition: 0}
