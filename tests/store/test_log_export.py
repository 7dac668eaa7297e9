"""Reading the log for people and programs: every window, every order, nothing left out."""

from pathlib import Path

from uuid_utils.compat import uuid7

from adapters.postgres_archive import PostgresArchive
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_log_export import WINDOW_POSITIONS, PostgresLogExport
from adapters.postgres_pool import Pool
from domain.event import Event, Metadata, NewEvents
from domain.user import EmailVerified, RoleGranted
from tests.conftest import AT

VERIFIED = EmailVerified(email="ada@example.org", verified_at=AT)
GRANTED = RoleGranted(role="member", granted_at=AT)
COUNT = 2 * WINDOW_POSITIONS + 10


async def append(pool: Pool, *events: Event) -> NewEvents:
    stream_id = uuid7()
    new = NewEvents(stream_id=stream_id, owner_id=stream_id, expected_version=0, events=events)
    context = Metadata(correlation_id=stream_id, actor="test")
    await PostgresEventStore(pool, new_id=uuid7).append([new], metadata=context)
    return new


async def sequence(pool: Pool) -> None:
    while await PostgresLog(pool).sequence_batch():
        pass


async def test_the_whole_log_comes_in_its_order_through_several_windows(pool: Pool, tmp_path: Path) -> None:
    await append(pool, VERIFIED, *[GRANTED] * (COUNT - 1))
    await sequence(pool)
    log = PostgresLogExport(pool, PostgresArchive(pool, tmp_path))
    assert await log.head() == COUNT
    positions = [event.position async for event in log.read(after=0, until=COUNT)]
    assert positions == [str(position) for position in range(1, COUNT + 1)]
    assert [event.position async for event in log.read(after=COUNT - 2, until=COUNT)] == positions[-2:]
    newest = await log.newest(WINDOW_POSITIONS + 1, until=COUNT)
    assert [event.position for event in newest] == positions[-WINDOW_POSITIONS - 1 :]
    assert await log.newest(0, until=COUNT) == []


async def test_one_type_is_found_however_far_back_it_lies(pool: Pool, tmp_path: Path) -> None:
    await append(pool, VERIFIED, *[GRANTED] * (COUNT - 1))
    await sequence(pool)
    log = PostgresLogExport(pool, PostgresArchive(pool, tmp_path))
    (found,) = await log.newest(5, until=COUNT, types=["user.email_verified"])
    assert (found.position, found.version) == ("1", 1)
    assert bytes(found.data) == b'{"email": "ada@example.org", "verified_at": "2026-01-01T00:00:00Z"}'
    assert [event async for event in log.read(after=0, until=COUNT, types=["user.email_verified"])] == [found]
    assert await log.newest(5, until=COUNT, types=["no.such"]) == []


async def test_an_empty_log_has_a_head_of_nothing(pool: Pool, tmp_path: Path) -> None:
    log = PostgresLogExport(pool, PostgresArchive(pool, tmp_path))
    assert await log.head() == 0
    assert await log.newest(10, until=0) == []
