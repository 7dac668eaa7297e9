"""Signal sources in PostgreSQL: the ports of `commands.signals`, `commands.looking` and `commands.plan_compiler`."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from adapters.postgres_pool import Pool
from commands.event_store import EventStore
from commands.signals import OpenSource
from domain.evidence import Document, FetchOutcome
from domain.signal import SignalReceived

_OPEN = """
select s.owner_id, array(select monitor_id from signal_watch where source_id = s.id order by monitor_id), k.id, k.sealed
from signal_source s left join signal_secret k on k.source_id = s.id and (k.ends_at is null or k.ends_at > %(now)s)
where s.id = %(id)s
"""
_SECRET = "select source_id, owner_id, sealed from signal_secret where id = %s"  # noqa: S105  a query, no secret
_OWN = "select id from signal_source where owner_id = %s and id = any (%s)"
_REFUSED = """
update signal_source set refused_count = refused_count + 1, last_refused_at = %s, last_refusal = %s where id = %s
"""
_LAST = "select last_signal_id from signal_source where id = %s"


class Seals(Protocol):
    """Seals for people."""

    async def seal(self, owner_id: UUID, plaintext: bytes, *, associated: bytes) -> bytes | None:
        """What is kept; None for somebody who was erased."""
        ...

    async def unseal(self, owner_id: UUID, sealed: bytes, *, associated: bytes) -> bytes | None:
        """What was sealed; None when that cannot be had any more."""
        ...


class PostgresSignals:
    """What is kept of signal sources beside their events. A secret is sealed with the key of its person, for its place."""

    def __init__(self, pool: Pool, store: EventStore, seals: Seals) -> None:
        self._pool = pool
        self._store = store
        self._seals = seals

    async def open_source(self, source_id: UUID, *, now: datetime) -> OpenSource | None:
        """Whose it is, the secrets that are good at `now`, and who watches; None when no signals are taken there."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_OPEN, {"id": source_id, "now": now})).fetchall()
        if not rows:
            return None
        owner_id, monitors = rows[0][:2]
        secrets = [await self._opened(owner_id, source_id, *row[2:]) for row in rows if row[2] is not None]
        return OpenSource(owner_id=owner_id, secrets=tuple(filter(None, secrets)), monitors=tuple(monitors))

    async def sealed(self, owner_id: UUID, source_id: UUID, secret_id: UUID, secret: str) -> bytes | None:
        """A secret as it is kept; None for somebody who was erased."""
        return await self._seals.seal(owner_id, secret.encode(), associated=_place(source_id, secret_id))

    async def secret(self, secret_id: UUID) -> str | None:
        """A secret that is still kept."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SECRET, (secret_id,))).fetchone()
        return None if row is None else await self._opened(row[1], row[0], secret_id, row[2])

    async def note_refusal(self, source_id: UUID, reason: str, *, now: datetime) -> None:
        """A signal with a good signature was refused."""
        async with self._pool.connection() as connection:
            await connection.execute(_REFUSED, (now, reason, source_id))

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of these signal sources that this person has."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_OWN, (owner_id, list(source_ids)))).fetchall()
        return frozenset(row[0] for row in rows)

    async def read(self, source_id: UUID, signal_id: UUID | None, *, now: datetime) -> Document:
        """The signal of this id, if it is of this source, else the last of the source, as a document that was read when it
        came; without content when none ever came."""
        asked = None if signal_id is None else await self._signal(signal_id, source_id)
        found = asked or await self._last(source_id)
        url = f"signal:{source_id}"
        if found is None:
            return Document(url=url, outcome=FetchOutcome.OK, fetched_at=now)
        body = found.body.encode()
        return Document(
            url=url,
            outcome=FetchOutcome.OK,
            fetched_at=found.received_at,
            content_type="application/json",
            charset="utf-8",
            body=body,
            hash=hashlib.sha256(body).hexdigest(),
        )

    async def _last(self, source_id: UUID) -> SignalReceived | None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_LAST, (source_id,))).fetchone()
        return None if row is None or row[0] is None else await self._signal(row[0], source_id)

    async def _signal(self, signal_id: UUID, source_id: UUID) -> SignalReceived | None:
        for stored in await self._store.load(signal_id):
            if isinstance(stored.event, SignalReceived) and stored.event.source_id == source_id:
                return stored.event
        return None

    async def _opened(self, owner_id: UUID, source_id: UUID, secret_id: UUID, sealed: bytes) -> str | None:
        opened = await self._seals.unseal(owner_id, bytes(sealed), associated=_place(source_id, secret_id))
        return None if opened is None else opened.decode()


def _place(source_id: UUID, secret_id: UUID) -> bytes:
    return msgspec.json.encode(("vigil signal secret", source_id, secret_id))
