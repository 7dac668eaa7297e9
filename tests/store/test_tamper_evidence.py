"""Whoever can write to the database but has no key is found out: in the store, in an export, and by the notary."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters.log_chain import Fault, Finding, LogBroken
from adapters.log_export_format import GENESIS, End, Header, LoggedEvent, written
from adapters.log_signatures import PublicKeys, SigningKey
from adapters.log_verifier import verify_lines
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_log import PostgresLog, link
from adapters.postgres_log_proof import PostgresLogProof
from adapters.postgres_pool import Pool
from adapters.postgres_signed_heads import PostgresSignedHeads
from domain.event import Metadata, NewEvents
from domain.signed_head import SignedHead
from domain.user import RoleGranted
from tests.conftest import AT
from workers.lifecycle import Stop
from workers.notary import LEASE_RENEWAL_SECONDS, LogRewritten, Notary

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
KEYS = PublicKeys([KEY.public])


@dataclass
class Clock:
    """Both clocks, standing still until the test moves them."""

    seconds: float = 1000.0

    def now(self) -> datetime:
        return AT + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class World:
    """A store with a notary."""

    pool: Pool
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.store = PostgresEventStore(self.pool, new_id=uuid7)
        self.heads = PostgresSignedHeads(self.pool)
        self.proof = PostgresLogProof(self.pool)
        self.notary = self.another_notary("one")

    def another_notary(self, holder: str, key: SigningKey = KEY) -> Notary:
        leases = PostgresLeases(self.pool)
        return Notary(self.heads, key, leases, holder=holder, now=self.clock.now, monotonic=self.clock.monotonic)

    async def append(self, count: int, *, sequenced: bool = True) -> list[UUID]:
        """Events of streams of their own, one each."""
        before = (await PostgresLog(self.pool).head()).position
        streams = [uuid7() for _ in range(count)]
        for stream in streams:
            event = RoleGranted(role="member", granted_at=AT)
            new = NewEvents(stream_id=stream, owner_id=stream, expected_version=0, events=(event,))
            await self.store.append([new], metadata=Metadata(correlation_id=stream, actor="test"))
        log = PostgresLog(self.pool)
        # A transaction of the server's own may hold a position back for a moment.
        while sequenced and (await log.sequence_batch() or (await log.head()).position < before + count):
            pass
        return streams

    async def export(self, first: int = 1, last: int | None = None, key: SigningKey | None = KEY) -> list[bytes]:
        last = last or await self.heads.log_position()
        return [
            written(line)
            async for line in self.proof.export(first=first, last=last, key_id=key.key_id if key else None)
        ]

    async def found(self, keys: PublicKeys = KEYS) -> Finding:
        with pytest.raises(LogBroken) as caught:
            await self.proof.verify(keys)
        return caught.value.finding


@pytest.fixture
def world(pool: Pool) -> World:
    return World(pool)


Tamper = Callable[..., None]


@pytest.fixture
def tamper(database: str) -> Tamper:
    """Writes to the tables as somebody who owns the database can, past every trigger and constraint."""

    def execute(statement: str, *values: object) -> None:
        with psycopg.connect(database, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(statement.encode(), values or None)

    return execute


def rehash(database: str, *, after: int) -> None:
    """Compute the hashes after a position again, as anybody can who can read this program."""
    with psycopg.connect(database) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set session_replication_role = replica")
        from adapters import postgres_log_proof  # noqa: PLC0415  its statement is not public
        from domain.log_entry import LogEntry  # noqa: PLC0415

        row = connection.execute("select hash from event_log where position = %s", (after,)).fetchone()
        previous = bytes(row[0]) if row else GENESIS
        for _, _, _, _, *fields in connection.execute(postgres_log_proof._WINDOW, (after, 10**9)).fetchall():
            entry = LogEntry(*fields)
            previous = link(previous, entry)
            connection.execute("update event_log set hash = %s where position = %s", (previous, entry.position))
        connection.execute("update log_head set hash = %s", (previous,))


async def test_a_log_that_was_left_alone_is_verified_with_its_signatures(world: World) -> None:
    assert (await world.proof.verify(KEYS)).last == 0
    await world.append(3)
    signed = await world.notary.sign_head()
    assert signed is not None
    await world.append(2)
    verified = await world.proof.verify(KEYS)
    assert (verified.first, verified.last, verified.signed, verified.signed_at) == (1, 5, 3, signed.signed_at)
    assert verified.hash == (await PostgresLog(world.pool).head()).hash.hex()
    assert verified.key_id == KEY.key_id


async def test_progress_is_told_up_to_the_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.postgres_log_proof.WINDOW_POSITIONS", 3)
    monkeypatch.setattr("adapters.postgres_log_proof.WINDOW_EVENTS", 2)
    await world.append(8)
    await world.notary.sign_head()
    told: list[tuple[int, int]] = []
    verified = await world.proof.verify(KEYS, told=lambda done, total: told.append((done, total)))
    assert (verified.last, verified.signed) == (8, 8)
    assert told == sorted(told)
    assert told[-1] == (16, 16)


@pytest.mark.parametrize(
    "statement",
    [
        'update event set data = \'{"role": "admin"}\' where stream_id = %s',
        "update event set metadata = '{}' where stream_id = %s",
        "update event set type = 'user.role_revoked' where stream_id = %s",
        "update event set type_version = 2 where stream_id = %s",
        "update event set owner_id = gen_random_uuid() where stream_id = %s",
        "update event set event_id = gen_random_uuid() where stream_id = %s",
        "update event set recorded_at = recorded_at - interval '1 microsecond' where stream_id = %s",
        "update event_log set hash = sha256('x') where position = 3",
        "update event_log set partition_position = 1000 where position = 3",
        "update event_log set partition = (partition + 1) % 16, partition_position = 1000 where position = 3",
    ],
)
async def test_a_changed_event_of_the_store_is_named(world: World, tamper: Tamper, statement: str) -> None:
    streams = await world.append(5)
    tamper(statement, *[streams[2]] * statement.count("%s"))
    found = await world.found()
    assert (found.fault, found.position, found.stream_id, found.version) == (Fault.CHANGED, 3, streams[2], 1)
    assert str(streams[2]) in found.message


async def test_a_removed_event_of_the_store_is_named(world: World, tamper: Tamper) -> None:
    streams = await world.append(5)
    tamper("delete from event where stream_id = %s", streams[3])
    found = await world.found()
    assert (found.fault, found.position, found.stream_id, found.version) == (Fault.REMOVED, 4, streams[3], 1)


@pytest.mark.parametrize("position", [1, 3, 5])
async def test_an_event_that_lost_its_position_is_named(world: World, tamper: Tamper, position: int) -> None:
    streams = await world.append(5)
    tamper("delete from event_log where position = %s", position)
    found = await world.found()
    stream = streams[position - 1]
    assert (found.fault, found.position, found.stream_id, found.version) == (Fault.REMOVED, position, stream, 1)
    tamper("delete from event where stream_id = %s", stream)
    assert ((await world.found()).position, (await world.found()).stream_id) == (position, None)


async def test_an_event_that_was_slipped_in_behind_the_log_is_named(world: World, tamper: Tamper) -> None:
    streams = await world.append(5)
    stranger = uuid7()
    tamper(
        "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id, tx)"
        " select %s, 1, owner_id, type, 1, data, metadata, gen_random_uuid(), tx from event where stream_id = %s",
        stranger,
        streams[1],
    )
    found = await world.found()
    assert (found.fault, found.position, found.stream_id, found.version) == (Fault.INSERTED, None, stranger, 1)


async def test_an_event_that_is_in_the_log_twice_is_found(world: World, tamper: Tamper, database: str) -> None:
    streams = await world.append(3)
    tamper("alter table event_log drop constraint event_log_stream_id_version_key")
    tamper(
        "insert into event_log select 4, partition, partition_position + 1000, stream_id, version, hash"
        " from event_log where stream_id = %s; update log_head set position = 4",
        streams[0],
    )
    assert (await world.found()).fault is Fault.CHANGED
    rehash(database, after=0)
    found = await world.found()
    assert (found.fault, found.position) == (Fault.INSERTED, None)
    assert "4 positions for 3 events" in found.message


async def test_events_that_changed_places_are_named(world: World, tamper: Tamper) -> None:
    streams = await world.append(5)
    tamper("alter table event_log drop constraint event_log_stream_id_version_key")
    tamper(
        "update event_log l set stream_id = o.stream_id from event_log o"
        " where (l.position, o.position) in ((2, 4), (4, 2))"
    )
    found = await world.found()
    assert (found.fault, found.position, found.stream_id) == (Fault.CHANGED, 2, streams[3])


async def test_a_past_with_hashes_computed_again_contradicts_its_signature(
    world: World, tamper: Tamper, database: str
) -> None:
    """Without signatures it would be a perfect log."""
    streams = await world.append(2)
    await world.notary.sign_head()
    streams += await world.append(3)
    await world.notary.sign_head()
    tamper('update event set data = \'{"role": "admin"}\' where stream_id = %s', streams[3])
    rehash(database, after=0)
    found = await world.found()
    assert (found.fault, found.since, found.position) == (Fault.REWRITTEN, 3, 5)
    tamper("delete from signed_head")
    assert (await world.proof.verify(KEYS)).signed is None


async def test_an_end_that_was_cut_off_after_it_was_signed_is_found(world: World, tamper: Tamper) -> None:
    streams = await world.append(5)
    await world.notary.sign_head()
    tamper("delete from event where stream_id in (%s, %s)", streams[3], streams[4])
    tamper("delete from event_log where position > 3")
    tamper("update log_head set position = 3, hash = (select hash from event_log where position = 3)")
    found = await world.found()
    assert (found.fault, found.position) == (Fault.REMOVED, 4)
    assert "positions 4 to 5" in found.message


async def test_a_head_with_another_hash_than_the_last_event_is_found(world: World, tamper: Tamper) -> None:
    await world.append(2)
    tamper("update log_head set hash = sha256('x')")
    assert ((await world.found()).fault, (await world.found()).position) == (Fault.CHANGED, 2)


@pytest.mark.parametrize(
    "statement",
    [
        "update signed_head set signed_at = signed_at - interval '1 day'",
        "update signed_head set signature = sha512('x')",
        "update signed_head set hash = sha256('x')",
        "update signed_head set key_id = encode(sha256('x'), 'hex')",
        "update signed_head set position = 1",
    ],
)
async def test_a_changed_signature_is_found(world: World, tamper: Tamper, statement: str) -> None:
    await world.append(2)
    await world.notary.sign_head()
    tamper(statement)
    found = await world.found()
    assert found.fault is Fault.FORGED


async def test_heads_of_a_key_that_is_not_trusted_are_not_taken(world: World) -> None:
    await world.append(2)
    await world.another_notary("other", OTHER_KEY).sign_head()
    found = await world.found()
    assert (found.fault, found.position) == (Fault.FORGED, 2)
    assert f"the key {OTHER_KEY.key_id}, which was not given" in found.message
    both = PublicKeys([KEY.public, OTHER_KEY.public])
    assert (await world.proof.verify(both)).key_id == OTHER_KEY.key_id


async def test_what_is_exported_verifies_without_the_store(world: World) -> None:
    await world.append(3)
    await world.notary.sign_head()
    await world.append(4)
    signed = await world.notary.sign_head()
    assert signed is not None
    verified = verify_lines(await world.export(), KEYS)
    assert (verified.first, verified.last, verified.signed_heads) == (1, 7, 2)
    assert verified.hash == signed.hash.hex()
    part = await world.export(first=5)
    assert (verify_lines(part, KEYS).first, verify_lines(part, KEYS).hash) == (5, signed.hash.hex())
    assert len(part) == 1 + 3 + 1 + 1


async def test_an_export_goes_through_windows_with_every_head_after_its_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres_log_proof.WINDOW_POSITIONS", 3)
    monkeypatch.setattr("adapters.postgres_signed_heads.WINDOW_HEADS", 2)
    await world.append(8)
    for position in (1, 3, 4, 6, 8):
        await world.notary.sign(position)
    assert verify_lines(await world.export(), KEYS).signed_heads == 5
    assert (await world.proof.verify(KEYS)).signed_heads == 5
    assert verify_lines(await world.export(first=2, last=6), KEYS).signed_heads == 3


async def test_an_export_of_a_store_that_was_tampered_with_shows_it(world: World, tamper: Tamper) -> None:
    streams = await world.append(4)
    await world.notary.sign_head()
    tamper("delete from event where stream_id = %s", streams[1])
    with pytest.raises(LogBroken) as caught:
        verify_lines(await world.export(), KEYS)
    assert (caught.value.finding.fault, caught.value.finding.position) == (Fault.REMOVED, 2)
    tamper("delete from event_log where position = 2")
    with pytest.raises(LogBroken, match="position 2 was removed"):
        await world.export(first=3)


async def test_an_export_without_signatures_has_none_and_one_of_another_key_leaves_them_out(world: World) -> None:
    await world.append(2)
    await world.notary.sign_head()
    for key in (None, OTHER_KEY):
        lines = await world.export(key=key)
        assert len(lines) == 4
        assert lines[0] == written(Header(1, 1, 2, "00" * 32, key.key_id if key else None))
        assert lines[-1] == written(End(2, 0))


async def test_what_was_signed_is_never_updated_or_deleted(world: World, database: str) -> None:
    await world.append(1)
    await world.notary.sign_head()
    for statement in ("update signed_head set position = 2", "delete from signed_head", "truncate signed_head"):
        with psycopg.connect(database) as connection, pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(sql.SQL(statement))


async def test_the_notary_signs_when_the_head_moved_and_not_before_its_interval(world: World) -> None:
    async def signed() -> list[int]:
        return [head.position async for head in world.heads.following(0)]

    assert await world.notary.step() == LEASE_RENEWAL_SECONDS
    assert await signed() == []
    await world.append(2)
    await world.notary.step()
    assert await signed() == []
    world.clock.seconds += 58
    assert await world.notary.step() == 2
    assert await signed() == []
    world.clock.seconds += 2
    await world.notary.step()
    assert await signed() == [2]
    world.clock.seconds += 60
    await world.notary.step()
    assert await signed() == [2]
    last = await world.heads.last()
    assert last is not None
    assert KEY.vouches_for(last)
    assert last.signed_at == "2026-01-01T00:17:40.000000Z"


async def test_one_notary_works_at_a_time(world: World) -> None:
    await world.append(1)
    await world.notary.step()
    stand_by = world.another_notary("two")
    await world.append(1)
    assert await stand_by.step() == LEASE_RENEWAL_SECONDS
    last = await world.heads.last()
    assert last is not None
    assert last.position == 1


async def test_a_notary_that_is_asked_to_stop_gives_its_place_to_the_next(world: World) -> None:
    await world.append(1)
    stop = Stop()
    running = asyncio.create_task(world.notary.run(stop))
    while await world.heads.last() is None:
        await asyncio.sleep(0.001)
    stop.ask()
    await running
    await world.append(1)
    next_one = world.another_notary("two")
    await next_one.step()
    assert kept(await world.heads.last()).position == 2


async def test_two_that_sign_the_same_position_keep_one_signature(world: World) -> None:
    await world.append(1)
    one = kept(await world.notary.sign_head())
    world.clock.seconds += 1
    assert await world.another_notary("two").sign_head() == one
    late = KEY.sign_head(1, one.hash, world.clock.now())
    assert await world.heads.keep(late) == one


async def refused(notary: Notary) -> LogRewritten:
    with pytest.raises(LogRewritten) as caught:
        await notary.sign_head()
    return caught.value


async def test_the_notary_signs_nothing_that_does_not_continue_what_was_signed(
    world: World, tamper: Tamper, database: str
) -> None:
    streams = await world.append(3)
    await world.notary.sign_head()
    tamper("update event set data = '{}' where stream_id = %s", streams[0])
    rehash(database, after=0)
    await world.append(1)
    assert (await refused(world.another_notary("new"))).position == 3
    with capture_logs() as logs:
        assert await world.notary.step() == LEASE_RENEWAL_SECONDS
    assert [(line["log_level"], line["position"]) for line in logs] == [("error", 3)]
    last = await world.heads.last()
    assert last is not None
    assert last.position == 3


async def test_the_notary_remembers_what_it_signed(world: World, tamper: Tamper, database: str) -> None:
    """Removing the signature with the past it vouches for is seen while the notary lives."""
    streams = await world.append(3)
    await world.notary.sign_head()
    tamper("delete from signed_head; update event set data = '{}' where stream_id = %s", streams[0])
    rehash(database, after=0)
    await world.append(1)
    assert "is gone" in str(await refused(world.notary))


async def test_the_notary_refuses_a_log_that_was_cut_off_or_a_signature_it_never_made(
    world: World, tamper: Tamper
) -> None:
    await world.append(3)
    await world.notary.sign_head()
    tamper("update signed_head set signature = sha512('x')")
    assert "not this key's" in str(await refused(world.another_notary("new")))
    tamper("update log_head set position = 2")
    assert "ends at position 2" in str(await refused(world.another_notary("new")))
    tamper("delete from signed_head; delete from event_log where position = 2")
    assert "not there" in str(await refused(world.another_notary("new")))


async def test_a_new_key_continues_what_the_old_one_signed(world: World, tamper: Tamper) -> None:
    await world.append(2)
    await world.another_notary("old", OTHER_KEY).sign_head()
    await world.append(1)
    signed = await world.notary.sign_head()
    assert signed is not None
    assert (signed.position, signed.key_id) == (3, KEY.key_id)
    tamper("update event_log set hash = sha256('x') where position = 2")
    await world.append(1)
    with pytest.raises(LogRewritten):
        await world.notary.sign(2)


async def test_an_earlier_position_can_be_signed_later(world: World) -> None:
    await world.append(4)
    await world.notary.sign_head()
    signed = await world.notary.sign(2)
    assert signed.position == 2
    assert await world.notary.sign(2) == signed
    assert (await world.proof.verify(KEYS)).signed_heads == 2


def test_the_statement_of_the_log_and_of_the_proof_read_the_same_columns() -> None:
    from adapters import postgres_log, postgres_log_proof  # noqa: PLC0415  their statements are not public

    def columns(statement: str) -> Sequence[str]:
        listed = statement.partition("select")[2].partition("from")[0]
        return [part.strip() for part in listed.replace("\n", " ").split(",")]

    stored = [column for column in columns(postgres_log_proof._WINDOW) if column.startswith("e.")]
    assert stored
    assert set(stored) - {"e.stream_id is not null"} == {
        column for column in columns(postgres_log._PARTITION_TAIL) if column.startswith("e.")
    }


def kept(head: SignedHead | None) -> SignedHead:
    assert head is not None
    return head


async def test_a_head_comes_back_as_it_was_signed(world: World) -> None:
    await world.append(1)
    signed = await world.notary.sign_head()
    assert kept(await world.heads.last()) == signed
    (row,) = [row async for row in world.proof.rows(after=0, until=1)]
    assert isinstance(row.event, LoggedEvent)
    assert kept(signed).hash == row.event.hash
