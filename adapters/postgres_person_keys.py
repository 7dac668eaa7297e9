"""The keys of people in PostgreSQL, and the seams where personal data is sealed and opened.

Nothing is cached: a key is read when it is used and forgotten with the call, so from the moment its destruction is
committed no process opens anything that it sealed. Unwrapping costs microseconds, the read a round trip that is shared with
all who ask at the same moment.
"""

import hmac
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import TupleRow

from adapters.aes_gcm import NotSealedHere, new_key
from adapters.audited_acts import Record, unrecorded
from adapters.gathered import Gathered
from adapters.personal_data import (
    ClearKey,
    DestroyedKey,
    HiddenKey,
    Key,
    KeyOf,
    MissingKey,
    PersonKey,
    PersonKeyMissing,
    open_event,
)
from adapters.postgres_pool import Pool
from adapters.secret_key import derived_key
from adapters.wrapping_keys import WrappingKeyMissing, WrappingKeys, installation_wrapping_keys, known_wrapping_keys
from domain.event import personal_fields
from domain.log_entry import LogEntry
from domain.operation import INSTALLATION

ROTATED_AT_ONCE = 500
_BLINDING = "vigil reservations"

_FIND = "select owner_id, wrapped, wrapping_key_id from person_key where owner_id = any (%s)"
# Of two that make a key at once both read back the first's.
_MAKE = "insert into person_key (owner_id, wrapped, wrapping_key_id) values (%s, %s, %s) on conflict do nothing"

# Of these the key was lost: another would open nothing, and hide that.
_SEALED_BEFORE = """
select stream_id from event
where stream_id = any (%s) and version = 1 and type = 'user.registered' and data->'email' ? 'sealed'
"""
# Values are reserved with the installation's key only.
_INSTALLATION_KEY_LOST = """
select exists (select from reservation) and not exists (select from person_key where owner_id = %s)
"""

_WRAPPED_BY = """
select wrapping_key_id, count(*) from person_key where wrapping_key_id is not null group by 1 order by 1
"""
_DESTROYED = "select count(*) from person_key where destroyed_at is not null"
_TO_ROTATE = """
select owner_id, wrapped, wrapping_key_id from person_key
where wrapping_key_id <> %s and owner_id > %s order by owner_id limit %s
"""
# Only what is still as it was read: a key that was destroyed meanwhile must not come back.
_ROTATE = "update person_key set wrapped = %s, wrapping_key_id = %s where owner_id = %s and wrapped = %s"


class KeysStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys are wrapped by which wrapping key, by its id; how many were destroyed; which wrapping key is the first
    here (None: there is none); and which of the others are not here."""

    wrapped_by: dict[str, int]
    destroyed: int
    first: str | None
    missing: tuple[str, ...]


class PersonKeys:
    """The keys of people, made when they are first needed."""

    def __init__(self, pool: Pool, wrapping: WrappingKeys) -> None:
        self._pool = pool
        self._wrapping = wrapping
        self._blinding: bytes | None = None
        self._rows = Gathered(self._rows_of)

    @property
    def wrapping_key_id(self) -> str:
        """The id of the wrapping key that wraps."""
        return self._wrapping.first_id

    async def of(self, owner_ids: Iterable[UUID]) -> KeyOf:
        """The keys of these people as they are now. Raises `WrappingKeyMissing`."""
        return self._keys(await self._rows.ask(frozenset(owner_ids)))

    async def _rows_of(self, asked: Sequence[frozenset[UUID]]) -> list[list[TupleRow]]:
        async with self._pool.connection() as connection:
            found = await (await connection.execute(_FIND, (list(frozenset().union(*asked)),))).fetchall()
        rows = {row[0]: row for row in found}
        return [[rows[owner_id] for owner_id in owner_ids & rows.keys()] for owner_ids in asked]

    async def made_for(self, owner_ids: Iterable[UUID]) -> KeyOf:
        """The same, with new keys for those who never had one. A statement and commit of its own: an append has to be the
        first write of its transaction."""
        wanted = set(owner_ids)
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_FIND, (list(wanted),))).fetchall()
            missing = wanted - {row[0] for row in rows}
            if not missing:
                return self._keys(rows)
            lost = await (await connection.execute(_SEALED_BEFORE, (list(missing),))).fetchall()
            for owner_id in missing - {row[0] for row in lost}:
                made = self._wrapping.wrap(owner_id, new_key())
                await connection.execute(_MAKE, (owner_id, made, self._wrapping.first_id))
        return await self.of(wanted)

    async def open_entries(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Entries of the log with their personal fields as they were said, or placeholders for those who were erased.

        To be done before upcasting. Raises `SealBroken`, `PersonKeyMissing`, `WrappingKeyMissing`.
        """
        owners = {entry.owner_id for entry in entries if personal_fields(entry.type)}
        if not owners:
            return entries
        key_of = await self.of(owners)
        return [_opened(entry, key_of) if personal_fields(entry.type) else entry for entry in entries]

    async def seal(self, owner_id: UUID, plaintext: bytes, *, associated: bytes) -> bytes | None:
        """What belongs to a person, sealed beside their events; None for somebody who was erased."""
        key = (await self.made_for([owner_id]))(owner_id)
        return key.seal(plaintext, associated) if isinstance(key, PersonKey) else None

    async def unseal(self, owner_id: UUID, sealed: bytes, *, associated: bytes) -> bytes | None:
        """What was sealed; None when the person was erased, or this is not what was sealed there."""
        key = (await self.of([owner_id]))(owner_id)
        if not isinstance(key, PersonKey):
            return None
        try:
            return key.unseal(sealed, associated)
        except NotSealedHere:
            return None

    async def blind(self, scope: str, value: str) -> str:
        """What stands in the table of reservations for a value: it tells nothing of it, and is the same each time.

        HMAC-SHA-256 under the installation's own key, which is wrapped as those of people are: neither another secret nor
        another wrapping key changes it.
        """
        if self._blinding is None:
            self._blinding = derived_key(await self._installation_key(), _BLINDING)
        return hmac.digest(self._blinding, msgspec.json.encode((scope, value)), "sha256").hex()

    async def status(self) -> KeysStatus:
        """How the keys are wrapped."""
        return await keys_status(self._pool, self._wrapping)

    async def check(self) -> None:
        """Raise `WrappingKeyMissing` when keys are wrapped by one that is not configured, and `PersonKeyMissing` when the
        table of keys was emptied: another key of the installation would find no address and no name that is reserved."""
        missing = (await self.status()).missing
        if missing:
            raise WrappingKeyMissing(missing)
        async with self._pool.connection() as connection:
            lost = await (await connection.execute(_INSTALLATION_KEY_LOST, (INSTALLATION,))).fetchone()
        if lost is not None and lost[0]:
            raise PersonKeyMissing(INSTALLATION)

    async def rotate(self, *, record: Record[int] = unrecorded) -> AsyncIterator[int]:
        """Wrap all keys with the first wrapping key, a batch in a transaction, telling after each how many it changed;
        `record` gets that number too.

        Interrupted and started again it does what is left. Raises `WrappingKeyMissing`.
        """
        first, after = self._wrapping.first_id, UUID(int=0)
        while True:
            async with self._pool.connection() as connection, connection.transaction():
                rows = await (await connection.execute(_TO_ROTATE, (first, after, ROTATED_AT_ONCE))).fetchall()
                if not rows:
                    return
                async with connection.cursor() as cursor:
                    await cursor.executemany(_ROTATE, [self._wrapped_anew(*row) for row in rows])
                    changed = cursor.rowcount
                if changed:
                    await record(changed)
            after = rows[-1][0]
            yield changed

    def _wrapped_anew(self, owner_id: UUID, wrapped: bytes, by: str) -> tuple[bytes, str, UUID, bytes]:
        key = self._wrapping.unwrap(owner_id, wrapped, by)
        return self._wrapping.wrap(owner_id, key), self._wrapping.first_id, owner_id, wrapped

    async def _installation_key(self) -> bytes:
        async with self._pool.connection() as connection:
            made = self._wrapping.wrap(INSTALLATION, new_key())
            await connection.execute(_MAKE, (INSTALLATION, made, self._wrapping.first_id))
            row = await (await connection.execute(_FIND, ([INSTALLATION],))).fetchone()
        if row is None or row[1] is None:
            raise PersonKeyMissing(INSTALLATION)
        return self._wrapping.unwrap(INSTALLATION, bytes(row[1]), row[2])

    def _keys(self, rows: Iterable[TupleRow]) -> KeyOf:
        keys = {owner_id: self._unwrapped(owner_id, wrapped, by) for owner_id, wrapped, by in rows}
        return lambda owner_id: keys.get(owner_id) or MissingKey(owner_id)

    def _unwrapped(self, owner_id: UUID, wrapped: Any, by: str | None) -> Key:  # noqa: ANN401  as psycopg gives it
        if wrapped is None or by is None:
            return DestroyedKey(owner_id)
        return PersonKey(self._wrapping.unwrap(owner_id, bytes(wrapped), by))


async def keys_status(pool: Pool, wrapping: WrappingKeys | None) -> KeysStatus:
    """How the keys of people are wrapped, for a host that has these wrapping keys, or none."""
    async with pool.connection() as connection:
        wrapped_by: dict[str, int] = dict(await (await connection.execute(_WRAPPED_BY)).fetchall())
        destroyed = await (await connection.execute(_DESTROYED)).fetchone()
    here = wrapping.ids if wrapping else []
    return KeysStatus(
        wrapped_by=wrapped_by,
        destroyed=destroyed[0] if destroyed else 0,
        first=here[0] if here else None,
        missing=tuple(key for key in wrapped_by if key not in here),
    )


async def installation_person_keys(
    pool: Pool, data_dir: Path, configured_secret: str | None, configured: Sequence[str]
) -> PersonKeys:
    """The keys of people in this store, with the wrapping keys that `adapters.wrapping_keys` finds. Where it finds none, one
    is made for a store without any keys of people only: kept beside another store, it would open nothing and stand in the
    way of the one that is missing.

    Raises `WrappingKeyMissing`, `PersonKeyMissing`, `WrappingKeyRefused`, `SecretKeyRefused`.
    """
    wrapping = known_wrapping_keys(data_dir, configured_secret, configured)
    if wrapping is None:
        wrapped_by = (await keys_status(pool, None)).missing
        if wrapped_by:
            raise WrappingKeyMissing(wrapped_by)
        wrapping = installation_wrapping_keys(data_dir, configured_secret, configured)
    keys = PersonKeys(pool, wrapping)
    await keys.check()
    return keys


class NoKeys:
    """For stores that keep what people said in the clear: none of an installation, but those of tests and benchmarks that
    are about something else."""

    async def of(self, _owner_ids: Iterable[UUID]) -> KeyOf:
        """Nobody's key."""
        return lambda _owner_id: ClearKey()

    async def made_for(self, _owner_ids: Iterable[UUID]) -> KeyOf:
        """Nobody's key."""
        return lambda _owner_id: ClearKey()

    async def blind(self, _scope: str, value: str) -> str:
        """The value."""
        return value


class HiddenKeys:
    """For stores that show "(sealed)" in place of what people said, and are only read."""

    async def of(self, _owner_ids: Iterable[UUID]) -> KeyOf:
        """Nobody's key."""
        return lambda _owner_id: HiddenKey()

    async def made_for(self, _owner_ids: Iterable[UUID]) -> KeyOf:
        """Nobody's key."""
        return lambda _owner_id: HiddenKey()

    async def blind(self, _scope: str, _value: str) -> str:
        """Raises `TypeError`: nothing is written here."""
        raise TypeError("a store that hides personal data is only read")


def _opened(entry: LogEntry, key_of: KeyOf) -> LogEntry:
    data = open_event(
        entry.data,
        key_of,
        tag=entry.type,
        owner_id=entry.owner_id,
        stream_id=entry.stream_id,
        version=entry.version,
    )
    return msgspec.structs.replace(entry, data=data)
