"""Whoever erases a person holds a transaction id, for which sequencing waits: nothing is looked for in whole tables."""

from collections.abc import Iterator
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres_erasure import _ERASE
from adapters.postgres_pool import Pool
from projections.core import CORE

FEW = {"parked"}
"""What nobody has many of: operators empty it."""
BATCH = """
with batch as (
    select %(id)s::uuid as stream_id, '{"erased_at": "2026-01-01T00:00:00Z"}'::jsonb as data, 1 as version,
           now() as recorded_at
)
"""
STATEMENTS = [*_ERASE, *(BATCH + statement for statement in CORE.by_type()["user.erased"].statements)]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def looks_everywhere(node: dict[str, Any]) -> bool:
    """Whether a node reads a table, or an index, from one end to the other."""
    reads = "Scan" in node["Node Type"] and ("Relation Name" in node or "Index Name" in node)
    return reads and "Index Cond" not in node and node["Node Type"] != "Bitmap Heap Scan"


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: " ".join(statement.split()[:3]))
async def test_every_statement_of_an_erasure_can_use_an_index(pool: Pool, statement: str) -> None:
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        row = await (
            await connection.execute(f"explain (format json) {statement}".encode(), {"id": uuid7()})
        ).fetchone()
    assert row is not None
    found = [node for node in nodes(row[0][0]["Plan"]) if looks_everywhere(node)]
    assert {node.get("Relation Name") for node in found} <= FEW, found
