"""The read tables are a function of the log: of nothing else, and however it is cut into batches."""

import asyncio
from collections.abc import Sequence
from random import Random

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from benchmarks.history import History
from domain.event import event_types
from domain.event_codec import AGGREGATES
from domain.log_entry import LogEntry
from projections.core import CORE, TABLES
from projections.projection import CannotApply

Rows = dict[str, list[tuple[object, ...]]]


async def dump(connection: psycopg.AsyncConnection[tuple[object, ...]], schema: str = "read_model") -> Rows:
    tables: Rows = {}
    for table in TABLES:
        query = sql.SQL("select t::text from {} t order by 1").format(sql.Identifier(schema, table))
        tables[table] = await (await connection.execute(query)).fetchall()
    return tables


async def projected(pool: Pool, batches: Sequence[Sequence[LogEntry]]) -> Rows:
    """The tables after these batches, in a transaction that is rolled back."""
    tables = PostgresReadTables(pool, CORE)
    async with pool.connection() as connection, connection.transaction() as transaction:
        for batch in batches:
            await tables.write(connection, batch)
        rows = await dump(connection)
        raise psycopg.Rollback(transaction)
    return rows


async def long_log(pool: Pool) -> None:
    """Let made-up entries pass for entries of the log."""
    async with pool.connection() as connection:
        await connection.execute("update log_head set partition_positions = array_fill(1000000::bigint, array[16])")


def cut(entries: Sequence[LogEntry], random: Random, largest: int) -> list[Sequence[LogEntry]]:
    batches = []
    while entries:
        size = random.randint(1, largest)
        batches.append(entries[:size])
        entries = entries[size:]
    return batches


@given(seed=st.integers(0, 2**32), largest=st.integers(2, 200))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_tables_do_not_depend_on_how_the_log_is_cut_into_batches(pool: Pool, seed: int, largest: int) -> None:
    entries = list(History(seed, people=2, monitors_each=2).entries(150))
    one_by_one = await projected(pool, [[entry] for entry in entries])
    assert await projected(pool, cut(entries, Random(seed), largest)) == one_by_one
    assert all(one_by_one[table] for table in ("users", "monitors", "evaluations", "facts", "triggers"))


async def test_every_event_that_is_stored_is_handled_by_the_projection() -> None:
    assert AGGREGATES
    read_elsewhere = {tag for tag in event_types() if tag.startswith("operation.")} | {"budget.exhausted"}
    assert set(event_types()) - read_elsewhere == set(CORE.by_type())


async def test_a_batch_is_written_with_its_checkpoint_or_not_at_all(pool: Pool) -> None:
    await long_log(pool)
    tables = PostgresReadTables(pool, CORE)
    entries = list(History(1, people=1, monitors_each=1).entries(20))
    partition = entries[0].partition
    places = await tables.places([partition])
    moved = await tables.apply(entries, places=places, epochs={partition: 2})
    assert moved == {partition: entries[-1].place}
    again = await tables.apply(entries, places=places, epochs={partition: 2})
    assert again is None


async def test_a_projector_with_an_older_epoch_cannot_write(pool: Pool) -> None:
    await long_log(pool)
    tables = PostgresReadTables(pool, CORE)
    entries = list(History(1, people=1, monitors_each=1).entries(20))
    partition = entries[0].partition
    await tables.places([partition])
    first, second = entries[:10], entries[10:]
    moved = await tables.apply(first, places={partition: 0}, epochs={partition: 5})
    assert moved is not None
    assert await tables.apply(second, places=moved, epochs={partition: 4}) is None
    assert await tables.apply(second, places=moved, epochs={partition: 5}) is not None


async def test_of_two_projectors_at_once_one_writes_each_entry(pool: Pool) -> None:
    await long_log(pool)
    tables = PostgresReadTables(pool, CORE)
    entries = list(History(3, people=1, monitors_each=1).entries(30))
    partition = entries[0].partition
    await tables.places([partition])
    outcomes = await asyncio.gather(
        *(tables.apply(entries, places={partition: 0}, epochs={partition: 1}) for _ in range(4))
    )
    assert sum(outcome is not None for outcome in outcomes) == 1


async def test_an_entry_the_tables_refuse_rolls_the_whole_batch_back(pool: Pool) -> None:
    await long_log(pool)
    tables = PostgresReadTables(pool, CORE)
    entries = list(History(4, people=1, monitors_each=1).entries(10))
    partition = entries[0].partition
    await tables.places([partition])
    poisoned = msgspec.structs.replace(entries[3], data='{"plan": 1}')
    with pytest.raises(CannotApply):
        await tables.apply([*entries[:3], poisoned], places={partition: 0}, epochs={partition: 1})
    assert (await tables.places([partition])) == {partition: 0}
    async with pool.connection() as connection:
        assert not any((await dump(connection)).values())
