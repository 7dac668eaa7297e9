"""Closed evaluations leave the store for files that prove themselves, and everything that reads the log still reads them."""

import asyncio
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventsourcing.persistence import DataError
from psycopg import sql
from uuid_utils.compat import uuid7

from adapters.eventsourcing_connection import Access, StoreConnections
from adapters.eventsourcing_recorders import VigilApplicationRecorder
from adapters.log_archive import ArchiveFiles, ArchiveUnreadable, Segment, lines_of
from adapters.log_chain import Fault, LogBroken
from adapters.log_signatures import PublicKeys, SigningKey
from adapters.log_verifier import verify_lines
from adapters.postgres_archive import ARCHIVED, ArchivedSegment, PostgresArchive
from adapters.postgres_event_store import PostgresEventStore, StreamArchived
from adapters.postgres_log import PostgresLog
from adapters.postgres_log_proof import PostgresLogProof
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_read_tables import LIVE
from adapters.postgres_rebuild import Rebuild
from adapters.postgres_replay import LogIncomplete
from adapters.postgres_signed_heads import PostgresSignedHeads
from benchmarks.filling import copy_events, sequence_all
from benchmarks.history import History
from domain.log_entry import PARTITIONS, LogEntry
from projections.core import CORE
from tests.conftest import AT, database_url
from tests.projections.test_core_projection import dump

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = PublicKeys([KEY.public])
OLD, LATER = AT, AT + timedelta(days=100)

PART = 200


async def sign(pool: Pool, position: int) -> None:
    heads = PostgresSignedHeads(pool)
    digest = await heads.log_hash(position)
    assert digest is not None
    await heads.keep(KEY.sign_head(position, digest, OLD))


async def whole_log(pool: Pool, archive: PostgresArchive | None) -> list[LogEntry]:
    log = PostgresLog(pool, archive)
    found = [
        entry for partition in range(PARTITIONS) for entry in await log.read(partition, after_place=0, limit=10_000)
    ]
    return sorted(found, key=lambda entry: entry.position)


@pytest.fixture
async def filled(pool: Pool, database: str) -> Pool:
    """Events of a history, in the log, signed at every hundredth position; the last few are not."""
    await asyncio.to_thread(copy_events, database, History(5, people=3, monitors_each=2).entries(650))
    await sequence_all(pool)
    for position in range(100, 601, 100):
        await sign(pool, position)
    return pool


@pytest.fixture
def archive(filled: Pool, tmp_path: Path) -> PostgresArchive:
    return PostgresArchive(filled, tmp_path / "archive")


async def archive_all(archive: PostgresArchive) -> list[ArchivedSegment]:
    done: list[ArchivedSegment] = []
    while (part := await archive.archive_next(KEYS, before=LATER, positions=PART)) is not None:
        done.append(part)
    return done


async def tables(pool: Pool) -> object:
    async with pool.connection() as connection:
        return await dump(connection, LIVE)


async def gone(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute("select count(*) from event where data is null")).fetchone()
    assert row is not None
    return int(row[0])


async def test_what_is_archived_is_read_from_the_files_as_it_was_in_the_store(
    filled: Pool, archive: PostgresArchive
) -> None:
    before = await whole_log(filled, None)
    done = await archive_all(archive)
    assert [(part.segment.first, part.segment.last) for part in done] == [(1, 200), (201, 400), (401, 600)]
    assert sum(part.events for part in done) == await gone(filled) > 300
    assert ARCHIVED in {entry.data for entry in await whole_log(filled, None)}
    assert await whole_log(filled, archive) == before


async def test_only_closed_evaluations_leave_and_nothing_that_is_not_old_enough(
    filled: Pool, archive: PostgresArchive
) -> None:
    assert await archive.archive_next(KEYS, before=OLD, positions=PART) is None
    await archive_all(archive)
    async with filled.connection() as connection:
        rows = await (
            await connection.execute(
                "select distinct e.type, e.data is null from event e join event_log l using (stream_id, version)"
                " where l.position <= 600"
            )
        ).fetchall()
        late = await (
            await connection.execute(
                "select count(*) from event e join event_log l using (stream_id, version)"
                " where l.position > 600 and e.data is null"
            )
        ).fetchone()
    assert {tag for tag, left in rows if left and not tag.startswith("evaluation.")} == set()
    assert {tag for tag, left in rows if left} >= {"evaluation.completed", "evaluation.fact_extracted"}
    assert {tag for tag, left in rows if not left} >= {"monitor.created", "user.registered"}
    assert late == (0,)


async def test_an_evaluation_still_open_at_the_end_of_a_part_stays_whole(
    pool: Pool, database: str, tmp_path: Path
) -> None:
    entries = list(History(5, people=1, monitors_each=1).entries(60))
    fact = next(i for i, e in enumerate(entries, start=1) if e.type == "evaluation.fact_extracted")
    copy_events(database, entries)
    await sequence_all(pool)
    await sign(pool, fact)
    done = await archive_all(PostgresArchive(pool, tmp_path))
    assert [(part.segment.last, part.events) for part in done] == [(fact, 0)]


async def parted(pool: Pool, database: str) -> list[LogEntry]:
    """A log that is signed in the middle of an evaluation and at its end; the evaluation's entries."""
    entries = list(History(5, people=1, monitors_each=1).entries(60))
    fact = next(i for i, e in enumerate(entries, start=1) if e.type == "evaluation.fact_extracted")
    await asyncio.to_thread(copy_events, database, entries)
    await sequence_all(pool)
    for position in (fact, len(entries)):
        await sign(pool, position)
    stream = entries[fact - 1].stream_id
    whole = [entry for entry in await whole_log(pool, None) if entry.stream_id == stream]
    assert whole[0].position <= fact < whole[-1].position
    return whole


async def test_an_evaluation_that_was_closed_in_a_later_part_than_it_began_leaves_whole(
    pool: Pool, database: str, tmp_path: Path
) -> None:
    evaluation = await parted(pool, database)
    before, archive = await whole_log(pool, None), PostgresArchive(pool, tmp_path)
    first = await archive.archive_next(KEYS, before=LATER, positions=1)
    second = await archive.archive_next(KEYS, before=LATER)
    assert first is not None
    assert second is not None
    assert (first.segment.last, first.events) == (second.segment.first - 1, 0)
    left = {entry.position for entry in await whole_log(pool, None) if entry.data == ARCHIVED}
    assert {entry.position for entry in evaluation} <= left
    assert len(left) == second.events
    assert await whole_log(pool, archive) == before


async def test_the_store_lets_go_of_nothing_that_an_earlier_file_should_hold_and_does_not(
    pool: Pool, database: str, tmp_path: Path
) -> None:
    await parted(pool, database)
    archive = PostgresArchive(pool, tmp_path)
    first = await archive.archive_next(KEYS, before=LATER, positions=1)
    assert first is not None
    (tmp_path / first.segment.file).unlink()
    with pytest.raises(ArchiveUnreadable, match="is not there"):
        await archive.archive_next(KEYS, before=LATER)
    assert await gone(pool) == 0
    assert len(await archive.segments()) == 1


async def test_each_file_proves_itself_without_the_store(archive: PostgresArchive, tmp_path: Path) -> None:
    done = await archive_all(archive)
    for part in done:
        path = tmp_path / "archive" / part.segment.file
        verified = verify_lines(lines_of(path), KEYS)
        assert (verified.first, verified.last, verified.signed) == (
            part.segment.first,
            part.segment.last,
            part.segment.last,
        )
        lines = list(lines_of(path))
        del lines[5]
        with pytest.raises(LogBroken):
            verify_lines(lines, KEYS)


async def test_the_store_verifies_and_exports_as_before(filled: Pool, archive: PostgresArchive) -> None:
    proof = PostgresLogProof(filled, archive)
    before = [line async for line in proof.export(first=1, last=600, key_id=KEY.key_id)]
    await archive_all(archive)
    assert (await proof.verify(KEYS)).signed == 600
    assert [line async for line in proof.export(first=1, last=600, key_id=KEY.key_id)] == before


async def test_a_rebuild_over_archived_evaluations_gives_the_same_tables(
    filled: Pool, archive: PostgresArchive
) -> None:
    log = PostgresLog(filled, archive)
    async for _ in Rebuild(filled, CORE, log).run():
        pass
    before = await tables(filled)
    await archive_all(archive)
    async for _ in Rebuild(filled, CORE, log, open_entries=archive.filled).run():
        pass
    assert await tables(filled) == before
    with pytest.raises(LogIncomplete):
        async for _ in Rebuild(filled, CORE, log).run():
            pass
    assert await tables(filled) == before


async def test_a_changed_or_missing_file_is_named_and_never_taken_for_the_log(
    filled: Pool, archive: PostgresArchive, tmp_path: Path
) -> None:
    (first, *_) = await archive_all(archive)
    path = tmp_path / "archive" / first.segment.file
    content = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    path.write_bytes(zstandard.compress(content.replace(b"price", b"prize", 1)))
    with pytest.raises(ArchiveUnreadable, match="is not the file that was archived"):
        await whole_log(filled, PostgresArchive(filled, tmp_path / "archive"))
    path.unlink()
    with pytest.raises(ArchiveUnreadable, match="is not there"):
        await whole_log(filled, PostgresArchive(filled, tmp_path / "archive"))


async def test_a_log_that_was_tampered_with_is_not_archived(
    filled: Pool, archive: PostgresArchive, database: str, tmp_path: Path
) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as owner:
        await owner.execute("set session_replication_role = replica")
        await owner.execute(
            'update event e set data = data || \'{"provider": "nobody"}\' from event_log l'
            " where l.stream_id = e.stream_id and l.version = e.version and e.type = 'evaluation.completed'"
            " and l.position between 1 and 200"
        )
    with pytest.raises(LogBroken) as broken:
        await archive_all(archive)
    assert broken.value.finding.fault is Fault.CHANGED
    assert await gone(filled) == 0
    assert await archive.segments() == []


async def test_killed_between_the_file_and_the_store_the_part_is_written_again(
    filled: Pool, archive: PostgresArchive, tmp_path: Path
) -> None:
    before = await whole_log(filled, None)
    folder = tmp_path / "archive"
    folder.mkdir()
    digest = await PostgresSignedHeads(filled).log_hash(200)
    assert digest is not None
    (folder / f"log-000000000001-000000000200-{digest.hex()[:16]}.ndjson.zst").write_bytes(b"half of a file")
    await archive_all(archive)
    assert await whole_log(filled, archive) == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


async def test_an_archived_stream_cannot_be_written_again(filled: Pool, archive: PostgresArchive) -> None:
    await archive_all(archive)
    async with filled.connection() as connection:
        row = await (await connection.execute("select stream_id from event where data is null limit 1")).fetchone()
        assert row is not None
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.execute(
                "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
                " values (%s, 1, %s, 'evaluation.requested', 1, '{}', '{}', %s)",
                (row[0], uuid7(), uuid7()),
            )


def test_a_position_that_no_file_holds_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnreadable):
        ArchiveFiles(tmp_path).entries(Segment(1, 2, "none.ndjson.zst", "0" * 64), [1])


async def test_a_folder_that_two_stores_share_keeps_the_files_of_both(
    filled: Pool, archive: PostgresArchive, database: str, tmp_path: Path
) -> None:
    await archive_all(archive)
    before = await whole_log(filled, archive)
    name = f"{database.partition('?')[0].rsplit('/', 1)[1]}_other"
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as owner:
        await owner.execute(sql.SQL("create database {} template vigil_template").format(sql.Identifier(name)))
    try:
        other_url = database_url(database, name)
        await asyncio.to_thread(copy_events, other_url, History(6, people=2, monitors_each=1).entries(250))
        async with open_pool(other_url, size_max=2) as other:
            await sequence_all(other)
            await sign(other, 200)
            assert len(await archive_all(PostgresArchive(other, tmp_path / "archive"))) == 1
    finally:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as owner:
            await owner.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    assert await whole_log(filled, PostgresArchive(filled, tmp_path / "archive")) == before


async def test_the_library_is_told_that_an_event_is_archived(
    filled: Pool, archive: PostgresArchive, database: str
) -> None:
    await archive_all(archive)
    connections = StoreConnections(database, Access.READ)
    recorder = VigilApplicationRecorder(connections)
    try:
        with pytest.raises(DataError, match="stands in an archive file"):
            await asyncio.to_thread(recorder.select_notifications, 1, 600)
    finally:
        connections.close()


async def test_loading_an_archived_stream_says_where_it_is(filled: Pool, archive: PostgresArchive) -> None:
    await archive_all(archive)
    async with filled.connection() as connection:
        row = await (await connection.execute("select stream_id from event where data is null limit 1")).fetchone()
    assert row is not None
    with pytest.raises(StreamArchived, match="is archived"):
        await PostgresEventStore(filled, new_id=uuid7).load(row[0])
