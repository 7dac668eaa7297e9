"""The event store in PostgreSQL: lock-free appends, ordered later by the sequencer (docs/decisions/0001-ordering-after-commit.md)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from adapters.gathered import Gathered
from adapters.personal_data import KeyOf, MissingKey, open_event, seal_event
from adapters.postgres_append_groups import AppendGroups, CommitUnknown
from adapters.postgres_appending import append_together
from adapters.postgres_evaluation_groups import EvaluationGroups, as_evaluated
from adapters.postgres_person_keys import NoKeys
from adapters.postgres_pool import Pool
from adapters.postgres_snapshots import PostgresSnapshots
from commands.event_store import Companion, ConcurrentAppend, Receipt, Release, Reserve, Snapshot
from domain.event import Metadata, NewEvents, StreamEvent, personal_fields
from domain.event_codec import decode, decode_metadata, encode_metadata

_LOAD = """
select version, owner_id, type, type_version, data::text, metadata::text, event_id, recorded_at
from event where stream_id = %s and version > %s order by version
"""

_FIND_RECEIPT = """
select fingerprint, status, (answer->>'stream_id')::uuid, (answer->>'version')::integer, answer->'data'
from command_receipt where owner_id = %s and command_id = %s
"""

_COMPLETE_RECEIPT = """
update command_receipt set answer = jsonb_set(answer, '{data}', %s)
where owner_id = %s and command_id = %s and answer->'data' = 'null'
"""

_RESERVED = "select value from reservation where scope = %s and value = any (%s)"

_FIND_WAITING = "select evaluation_id from evaluation_request where monitor_id = %s and enqueued_at is null"

_EVENT_AT = "select event_id from event where stream_id = %s and version = %s"

_ERASED = "select owner_id from person_key where owner_id = any (%s) and destroyed_at is not null"

DATA = 4
"""The column of a loaded row that holds the event."""

ATTEMPTS_MAX = 3
"""How often an append is tried whose connection is lost."""


class Keys(Protocol):
    """The keys of people."""

    async def of(self, owner_ids: Iterable[UUID], /) -> KeyOf:
        """Those of these people as they are now."""
        ...

    async def made_for(self, owner_ids: Iterable[UUID], /) -> KeyOf:
        """The same, with new ones for those who have none."""
        ...

    async def blind(self, scope: str, value: str, /) -> str:
        """What is stored for a reserved value."""
        ...


class StreamArchived(Exception):
    """The stream stands in an archive file, and can be read there only."""

    def __init__(self, stream_id: UUID) -> None:
        super().__init__(f"the stream {stream_id} is archived; `vigil events replay` and `export` read it")


class PostgresEventStore:
    """Fulfils the port `commands.event_store.EventStore`.

    `new_id` makes time-ordered ids (UUIDv7) for events. Sequencing and publishing are the relay's; an append is
    durable when it returns and visible to loads at once. Without `snapshots` none are kept or read. Personal fields are
    sealed on the way in and opened on the way out, with the keys that `people` has; without it they stay in the clear.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        new_id: Callable[[], UUID],
        snapshots: PostgresSnapshots | None = None,
        people: Keys | None = None,
    ) -> None:
        self._pool = pool
        self._new_id = new_id
        self._people = people or NoKeys()
        self._snapshots = snapshots
        self._groups = AppendGroups(pool)
        self._evaluations = EvaluationGroups(pool)
        self._erased = Gathered(self._are_erased)

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> list[StreamEvent]:
        """The events of a stream in order; an unknown stream is empty. Raises `StreamArchived`."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LOAD, (stream_id, after_version))).fetchall()
        return await self._stored(stream_id, rows)

    async def load_since_snapshot(
        self, stream_id: UUID, *, shape: str
    ) -> tuple[Snapshot | None, Sequence[StreamEvent]]:
        """The snapshot of this shape and the events after it; all events where snapshots are not kept or it is not readable."""
        found = None if self._snapshots is None else await self._snapshots.load(stream_id, shape=shape)
        if found is None:
            return None, await self.load(stream_id)
        snapshot, rows = found
        return snapshot, await self._stored(stream_id, rows)

    async def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, where snapshots are kept."""
        if self._snapshots is not None:
            await self._snapshots.keep(snapshot)

    async def _stored(self, stream_id: UUID, rows: Sequence[tuple[Any, ...]]) -> list[StreamEvent]:
        if any(row[DATA] is None for row in rows):
            raise StreamArchived(stream_id)
        speaking = {owner_id for _, owner_id, tag, *_ in rows if personal_fields(tag)}
        key_of = await self._people.of(speaking) if speaking else MissingKey
        return [
            StreamEvent(
                stream_id=stream_id,
                version=version,
                owner_id=owner_id,
                event=decode(
                    tag,
                    tag_version,
                    open_event(data, key_of, tag=tag, owner_id=owner_id, stream_id=stream_id, version=version),
                ),
                metadata=decode_metadata(metadata),
                event_id=event_id,
                recorded_at=recorded_at,
            )
            for version, owner_id, tag, tag_version, data, metadata, event_id, recorded_at in rows
        ]

    async def append(
        self, batch: Sequence[NewEvents], *, metadata: Metadata, companions: Sequence[Companion] = ()
    ) -> None:
        """Append events and companions in one transaction; see the port for what it raises.

        When the connection is lost before the answer to COMMIT, nobody knows whether it happened. The same events, with
        the same ids, are then appended again: if they are in the store, the first attempt wrote them and this one is done.
        """
        speaking = {new.owner_id for new in batch if any(event.personal for event in new.events)}
        rows = self._rows(batch, metadata, await self._people.made_for(speaking) if speaking else MissingKey)
        companions = [await self._blinded(companion) for companion in companions]
        for attempt in range(ATTEMPTS_MAX):
            try:
                if len(rows) == 1 and not companions:
                    return await self._groups.append(rows[0])
                evaluated = as_evaluated(rows, companions)
                if evaluated is not None:
                    return await self._evaluations.record(evaluated)
                return await append_together(self._pool, rows, companions)
            except ConcurrentAppend:
                if attempt > 0 and await self._is_stored(rows):
                    return None
                raise
            except CommitUnknown as lost:
                if not rows or attempt == ATTEMPTS_MAX - 1:
                    raise (lost.__cause__ or lost) from None
        return None

    async def _is_stored(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the stream's version holds our event and not somebody else's; all of an append is stored or none."""
        first = rows[0]
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_EVENT_AT, (first["stream_id"], first["version"]))).fetchone()
        return row == (first["event_id"],)

    async def find_receipt(self, owner_id: UUID, command_id: str) -> Receipt | None:
        """What this person's command led to, if it was carried out."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FIND_RECEIPT, (owner_id, command_id))).fetchone()
        return None if row is None else Receipt(bytes(row[0]), *row[1:])

    async def complete_receipt(self, owner_id: UUID, command_id: str, answer: dict[str, Any]) -> bool:
        """Keep the answer of a command whose receipt has none; False when it has one, which stays."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_COMPLETE_RECEIPT, (Jsonb(answer), owner_id, command_id))
        return cursor.rowcount == 1

    async def reserved(self, scope: str, values: Sequence[str]) -> frozenset[str]:
        """Which of these values are held within `scope`."""
        stored = {await self._people.blind(scope, value): value for value in values}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_RESERVED, (scope, list(stored)))).fetchall()
        return frozenset(stored[blinded] for (blinded,) in rows)

    async def find_waiting_request(self, monitor_id: UUID) -> UUID | None:
        """The evaluation of this monitor that was asked for and not begun, if any."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FIND_WAITING, (monitor_id,))).fetchone()
        return None if row is None else row[0]

    async def is_erased(self, owner_id: UUID) -> bool:
        """Whether this person was erased."""
        return await self._erased.ask(owner_id)

    async def _are_erased(self, owner_ids: Sequence[UUID]) -> Sequence[bool]:
        """The same of many: every request asks it of its caller."""
        async with self._pool.connection() as connection:
            erased = set(await (await connection.execute(_ERASED, (list(set(owner_ids)),))).fetchall())
        return [(owner_id,) in erased for owner_id in owner_ids]

    async def _blinded(self, companion: Companion) -> Companion:
        """Reserved values are stored so that they tell nothing: an address is one of them."""
        if isinstance(companion, Reserve | Release):
            value = await self._people.blind(companion.scope, companion.value)
            return msgspec.structs.replace(companion, value=value)
        return companion

    def _rows(self, batch: Sequence[NewEvents], metadata: Metadata, key_of: KeyOf) -> list[dict[str, Any]]:
        context = encode_metadata(metadata).decode()
        return [
            {
                "stream_id": new.stream_id,
                "version": new.expected_version + offset,
                "owner_id": new.owner_id,
                "type": event.tag,
                "type_version": event.tag_version,
                "data": seal_event(
                    event,
                    key_of,
                    owner_id=new.owner_id,
                    stream_id=new.stream_id,
                    version=new.expected_version + offset,
                ).decode(),
                "metadata": context,
                "event_id": self._new_id(),
            }
            for new in batch
            for offset, event in enumerate(new.events, start=1)
        ]
