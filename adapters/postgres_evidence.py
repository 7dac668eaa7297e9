"""The contents of sources in PostgreSQL: compressed with zstd, one copy for each hash, let go when nobody needs them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import zstandard
from psycopg.types.json import Jsonb

from adapters.postgres_pool import AFTER_PIPELINE, Connection, Pool
from commands.event_store import KeepEvidence
from domain.evidence import Content, Document, LetGo

_KEEP_CONTENT = "select keep_content(%(hash)s, %(body)s, %(body_bytes)s, %(headers)s, %(read_at)s)"
_KEEP_EVIDENCE = """
select keep_evidence(
    %(monitor_id)s, %(url)s, %(etag)s, %(last_modified)s, %(content_type)s, %(charset)s, %(fresh_until)s,
    %(reading)s, %(hash)s, %(body)s, %(body_bytes)s, %(headers)s, %(read_at)s
)
"""
_GET = "select body, body_bytes, headers, read_at, removed_at from evidence where hash = %s"
_FORGET = "update evidence set body = null, removed_at = %s where hash = %s and body is not null"

# Of monitors that have no schedule any more; should one come back, its sources are read as for the first time. Nobody knows
# when the source last answered that nothing had changed, so the content counts as read now.
_FORGET_SOURCES = """
with forgotten as (
    delete from source_memory m
    where m.read_at < %(unread_since)s and not exists (select from schedule s where s.monitor_id = m.monitor_id)
    returning evidence_hash
)
update evidence set last_read_at = %(now)s where hash in (select evidence_hash from forgotten)
"""
# Whoever remembers a source with this content at this moment holds a lock on its row, and is passed over.
_LET_GO = """
update evidence set body = null, removed_at = %(now)s
where hash in (
    select hash from evidence e
    where last_read_at < %(unread_since)s and body is not null
      and not exists (select from source_memory m where m.evidence_hash = e.hash)
    order by last_read_at limit %(limit)s
    for update skip locked
)
"""


async def keep_evidence(connection: Connection, kept: Sequence[KeepEvidence]) -> None:
    """Keep contents and what is remembered of their sources, inside the transaction of their evaluations."""
    async with connection.cursor() as cursor:
        await cursor.executemany(_KEEP_EVIDENCE, [_remembered(keep) for keep in kept])
    await connection.execute(AFTER_PIPELINE)


def _remembered(keep: KeepEvidence) -> Mapping[str, Any]:
    document = keep.document
    return {
        "monitor_id": keep.monitor_id,
        "url": keep.source_url,
        "etag": document.validators.etag,
        "last_modified": document.validators.last_modified,
        "content_type": document.content_type,
        "charset": document.charset,
        "fresh_until": document.fresh_until,
        "reading": None if keep.reading is None else Jsonb(msgspec.to_builtins(keep.reading)),
        **_content(document),
    }


class PostgresEvidence:
    """Fulfils `commands.evidence_store.EvidenceStore` and `workers.retention.KeptContents`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(self, document: Document) -> None:
        """As the port says."""
        async with self._pool.connection() as connection:
            await connection.execute(_KEEP_CONTENT, _content(document))

    async def get(self, content_hash: str) -> Content | LetGo | None:
        """As the port says."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_GET, (content_hash,))).fetchone()
        if row is None:
            return None
        body, body_bytes, headers, read_at, removed_at = row
        if body is None:
            return LetGo(hash=content_hash, headers=headers, read_at=read_at, removed_at=removed_at)
        unpacked = zstandard.decompress(body, max_output_size=body_bytes)
        return Content(hash=content_hash, body=unpacked, headers=headers, read_at=read_at)

    async def forget(self, content_hash: str, *, at: datetime) -> None:
        """As the port says. Whoever remembers a source with this content reads it again in full."""
        async with self._pool.connection() as connection:
            await connection.execute(_FORGET, (at, content_hash))

    async def let_go(self, *, unread_since: datetime, at: datetime, limit: int) -> int:
        """Let go of up to `limit` contents that no source has had since then, nor has now; how many these were."""
        async with self._pool.connection() as connection:
            values = {"unread_since": unread_since, "now": at, "limit": limit}
            await connection.execute(_FORGET_SOURCES, values)
            return (await connection.execute(_LET_GO, values)).rowcount


def _content(document: Document) -> Mapping[str, Any]:
    return {
        "hash": document.hash,
        "body": zstandard.compress(document.body),
        "body_bytes": len(document.body),
        "headers": Jsonb(document.headers),
        "read_at": document.fetched_at,
    }
