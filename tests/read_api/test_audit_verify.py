"""An auditor asks whether the log is what it was, part by part."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from uuid_utils.compat import uuid7

from adapters.log_archive import ArchiveUnreadable
from adapters.log_signatures import SigningKey
from adapters.postgres_audit import PostgresLogVerifier
from adapters.postgres_pool import Pool
from adapters.postgres_signed_heads import PostgresSignedHeads
from domain.log_entry import LogEntry
from domain.user import RoleGranted
from read_api import audit
from tests.conftest import AT
from tests.read_api.conftest import SIGNING, Reader
from tests.read_api.world import World

VERIFY = "/audit/verify"
EVENTS = 30
SIGNED_AT = datetime(2026, 2, 1, tzinfo=UTC)


async def sign(pool: Pool, position: int, key: SigningKey = SIGNING) -> None:
    heads = PostgresSignedHeads(pool)
    digest = await heads.log_hash(position)
    assert digest is not None
    await heads.keep(key.sign_head(position, digest, SIGNED_AT))


@asynccontextmanager
async def tampering(pool: Pool) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    """Somebody who rules the database, and whom no trigger stops."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        yield connection


@pytest.fixture
async def signed(world: World, pool: Pool) -> World:
    """A log of 30 events, signed at the positions 10 and 25."""
    person = uuid7()
    await world.append(person, person, *[RoleGranted(role="member", granted_at=AT)] * EVENTS)
    while len(await world.sequence()):
        pass
    for position in (10, 25):
        await sign(pool, position)
    return world


async def test_a_log_that_nobody_touched_holds_with_what_was_signed(signed: World, auditor: Reader) -> None:
    told = await auditor.data(VERIFY)
    assert (told["holds"], told["first"], told["last"], told["head"]) == (True, 1, EVENTS, EVENTS)
    assert (told["signatures_checked"], told["signed_heads"], told["signed"]) == (True, 2, 25)
    assert (told["key_id"], told["signed_at"]) == (SIGNING.key_id, "2026-02-01T00:00:00.000000Z")
    assert told["hash"] == (await signed.log.head()).hash.hex()
    assert (told["fault"], told["next_from_position"]) == (None, None)


async def test_a_long_log_is_verified_part_by_part(
    signed: World, auditor: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "VERIFY_POSITIONS_MAX", 7)
    parts: list[tuple[int, int]] = []
    heads, following = 0, None
    while True:
        told = await auditor.data(VERIFY, **({} if following is None else {"from_position": following}))
        assert told["holds"]
        parts.append((told["first"], told["last"]))
        heads += told["signed_heads"]
        following = told["next_from_position"]
        if following is None:
            break
    assert parts == [(1, 7), (8, 14), (15, 21), (22, 28), (29, 30)]
    assert heads == 2
    told = await auditor.data(VERIFY, to_position=30)
    assert (told["first"], told["last"], told["next_from_position"]) == (24, 30, None)


async def test_one_position_can_be_verified(signed: World, auditor: Reader) -> None:
    told = await auditor.data(VERIFY, from_position=10, to_position=10)
    assert (told["holds"], told["first"], told["last"], told["signed"]) == (True, 10, 10, 10)
    assert told["next_from_position"] is None


async def test_an_empty_log_holds(auditor: Reader) -> None:
    told = await auditor.data(VERIFY)
    assert (told["holds"], told["first"], told["last"], told["head"], told["next_from_position"]) == (
        True,
        1,
        0,
        0,
        None,
    )


TAMPERED: list[tuple[LiteralString, str, int]] = [
    ("update event set data = '{}' where version = 7", "changed", 7),
    ('update event set metadata = \'{"actor": "me"}\' where version = 30', "changed", 30),
    ("delete from event where version = 12", "removed", 12),
    ("delete from event_log where position = 9", "removed", 9),
    ("delete from event_log where position > 28", "removed", 29),
    ("update event_log set hash = sha256('x') where position = 30", "changed", 30),
    ("update log_head set hash = sha256('x')", "changed", 30),
    ("update signed_head set signature = decode(repeat('00', 64), 'hex') where position = 25", "forged", 25),
    ("update signed_head set hash = sha256('x') where position = 10", "forged", 10),
]


@pytest.mark.parametrize(("statement", "fault", "position"), TAMPERED, ids=[case[0][:40] for case in TAMPERED])
async def test_what_was_done_to_the_log_is_told_with_its_place(
    signed: World, pool: Pool, auditor: Reader, statement: LiteralString, fault: str, position: int
) -> None:
    async with tampering(pool) as connection:
        await connection.execute(statement)
    told = await auditor.data(VERIFY)
    assert (told["holds"], told["fault"], told["position"]) == (False, fault, position)
    assert told["message"]
    assert told["next_from_position"] is None


async def test_a_tail_that_was_cut_off_is_missed_by_its_signature(signed: World, pool: Pool, auditor: Reader) -> None:
    async with tampering(pool) as connection:
        await connection.execute("delete from event_log where position > 20")
        await connection.execute(
            "update log_head set position = 20, hash = (select hash from event_log where position = 20)"
        )
    told = await auditor.data(VERIFY)
    assert (told["holds"], told["fault"], told["position"]) == (False, "removed", 21)


async def test_a_head_that_another_key_signed_does_not_hold(signed: World, pool: Pool, auditor: Reader) -> None:
    await sign(pool, 28, SigningKey(Ed25519PrivateKey.generate()))
    told = await auditor.data(VERIFY)
    assert (told["holds"], told["fault"], told["position"]) == (False, "forged", 28)


async def test_a_server_without_a_key_follows_the_chain_and_says_so(signed: World, pool: Pool) -> None:
    told = await PostgresLogVerifier(pool, lambda: None).check(first=1, last=EVENTS)
    assert (told.holds, told.signatures_checked, told.signed_heads, told.signed) == (True, False, 0, None)


class GoneArchive:
    """An archive whose files somebody took away."""

    async def filled(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        raise ArchiveUnreadable(f"position {entries[0].position} is in no archive file")


async def test_an_archive_that_cannot_be_read_does_not_hold(signed: World, pool: Pool) -> None:
    told = await PostgresLogVerifier(pool, lambda: None, archive=GoneArchive()).check(first=1, last=EVENTS)
    assert (told.holds, told.fault, told.message) == (False, "removed", "position 1 is in no archive file")


async def test_what_is_wrong_before_a_part_does_not_show_in_it(signed: World, pool: Pool, auditor: Reader) -> None:
    async with tampering(pool) as connection:
        await connection.execute("update event set data = '{}' where version = 7")
    assert (await auditor.data(VERIFY, from_position=8))["holds"] is True
    assert (await auditor.data(VERIFY, to_position=7))["holds"] is False


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"from_position": 0}, "from_position"),
        ({"from_position": 31}, "from_position"),
        ({"from_position": 5, "to_position": 4}, "from_position"),
        ({"to_position": 0}, "to_position"),
        ({"from_position": "x"}, "from_position"),
        ({"to_position": 10**18}, "to_position"),
        ({"position": 1}, "position"),
    ],
)
async def test_a_wrong_part_is_refused_by_name(
    signed: World, auditor: Reader, parameters: dict[str, Any], field: str
) -> None:
    assert await auditor.refused_field(VERIFY, **parameters) == field
