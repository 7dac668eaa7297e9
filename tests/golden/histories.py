"""Recorded histories: logs that were written by programs of their time, and what must come of them for ever."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import zstandard
from psycopg import sql

from adapters.postgres_log import link
from adapters.postgres_pool import Pool
from adapters.postgres_read_tables import PostgresReadTables
from commands.monitors import MONITOR
from commands.streams import Aggregate
from commands.triggers import TRIGGER
from domain.event import Event
from domain.event_codec import decode_entry
from domain.log_entry import LogEntry
from projections.core import CORE, TABLES

FOLDER = Path(__file__).parent
_ENDING = ".ndjson.zst"

KEPT: Mapping[str, Aggregate[Any]] = {"monitor": MONITOR, "trigger": TRIGGER}
"""The aggregates that have snapshots, by the kind of their streams."""


class Outcome(msgspec.Struct, frozen=True):
    """What must come of a history: the log's last hash; digests of all states of the aggregates that have snapshots, by
    their rule's shape; digests of the read tables, by their name, and the version of the projection they are of."""

    log_hash: str
    states: dict[str, str]
    projection_version: int
    tables: dict[str, str]


def histories() -> list[Path]:
    """The recorded ones, oldest first."""
    return sorted(FOLDER.glob(f"history-*{_ENDING}"), key=lambda path: int(path.name[len("history-") : -len(_ENDING)]))


def write_history(number: int, entries: Sequence[LogEntry]) -> Path:
    """Record another one."""
    path = FOLDER / f"history-{number}{_ENDING}"
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    path.write_bytes(zstandard.ZstdCompressor(level=19).compress(lines))
    return path


def entries_of(history: Path) -> list[LogEntry]:
    """Its log."""
    lines = zstandard.ZstdDecompressor().decompress(history.read_bytes()).splitlines()
    return [msgspec.json.decode(line, type=LogEntry) for line in lines]


def outcome_file(history: Path) -> Path:
    """Where its outcome is recorded."""
    return history.with_name(history.name.removesuffix(_ENDING) + ".json")


def outcome_recorded(history: Path) -> Outcome | None:
    """What must come of it, if that was recorded."""
    path = outcome_file(history)
    return msgspec.json.decode(path.read_bytes(), type=Outcome) if path.exists() else None


async def outcome_of(pool: Pool, entries: Sequence[LogEntry]) -> Outcome:
    """What comes of a log now."""
    last_hash = bytes(32)
    for entry in entries:
        last_hash = link(last_hash, entry)
    return Outcome(
        log_hash=last_hash.hex(),
        states=dict(_states(aggregate, kind, entries) for kind, aggregate in KEPT.items()),
        projection_version=CORE.version,
        tables=await _tables(pool, entries),
    )


def _states(aggregate: Aggregate[Any], kind: str, entries: Sequence[LogEntry]) -> tuple[str, str]:
    assert aggregate.snapshots is not None
    streams: dict[str, list[Event]] = {}
    for entry in entries:
        if entry.type.startswith(f"{kind}."):
            streams.setdefault(str(entry.stream_id), []).append(decode_entry(entry).event)
    states = {stream_id: aggregate.fold(events) for stream_id, events in streams.items()}
    return aggregate.snapshots.shape, _digest(len(states), msgspec.json.encode(states, order="deterministic"))


async def _tables(pool: Pool, entries: Sequence[LogEntry]) -> dict[str, str]:
    digests = {}
    async with pool.connection() as connection, connection.transaction() as transaction:
        await connection.execute("set local timezone = 'UTC'")
        await PostgresReadTables(pool, CORE).write(connection, entries)
        for table in TABLES:
            query = sql.SQL("select to_jsonb(t)::text from {} t order by 1").format(sql.Identifier("read_model", table))
            rows = [row[0] for row in await (await connection.execute(query)).fetchall()]
            digests[table] = _digest(len(rows), "\n".join(sorted(rows)).encode())
        raise psycopg.Rollback(transaction)
    return digests


def _digest(count: int, content: bytes) -> str:
    return f"{count}: {hashlib.sha256(content).hexdigest()}"
