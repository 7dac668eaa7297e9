"""`vigil events export`, `verify` and `public-key`, as an operator and an auditor use them."""

import asyncio
import json
import stat
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner
from uuid_utils.compat import uuid7

from adapters.log_signatures import installation_signing_key
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import open_pool
from cli.main import app
from domain.event import Metadata, NewEvents
from domain.user import RoleGranted
from tests.cli.vigil_process import vigil
from tests.conftest import AT


def fill(database: str, count: int = 5) -> UUID:
    """A stream of so many events, in the log."""
    stream = uuid7()

    async def work() -> None:
        async with open_pool(database, size_max=2) as pool:
            events = (RoleGranted(role="member", granted_at=AT),) * count
            new = NewEvents(stream_id=stream, owner_id=stream, expected_version=0, events=events)
            context = Metadata(correlation_id=stream, actor="test")
            await PostgresEventStore(pool, new_id=uuid7).append([new], metadata=context)
            while await PostgresLog(pool).sequence_batch():
                pass

    asyncio.run(work())
    return stream


def change_version_3(database: str, stream: UUID) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update event set data = '{}' where stream_id = %s and version = 3", (stream,))


def test_what_the_operator_exports_the_auditor_verifies_with_the_key_alone(database: str, tmp_path: Path) -> None:
    fill(database)
    data, file, pem = tmp_path / "data", tmp_path / "log.ndjson", tmp_path / "vigil.pem"
    key = installation_signing_key(data, None)
    exported = vigil("events", "export", "--signed", "--output", str(file), database_url=database, data_dir=str(data))
    assert (exported.returncode, exported.stderr) == (0, "")
    assert exported.stdout.startswith(f"exported positions 1 to 5 to {file}, signed at 2")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "log.ndjson"]
    printed = vigil("events", "public-key", "--pem", data_dir=str(data))
    assert printed.stdout == key.public.pem
    pem.write_text(printed.stdout)
    broken_settings = {"database_url": "mysql://nowhere", "http_port": "x"}
    verified = vigil("events", "verify", str(file), "--public-key", str(pem), **broken_settings)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "positions 1 to 5 are one unbroken chain, signed at" in verified.stdout
    base64 = vigil("events", "public-key", data_dir=str(data)).stdout.strip()
    told = json.loads(vigil("events", "verify", str(file), "--public-key", base64, "--json").stdout)
    assert (told["verified"], told["first"], told["last"], told["key_id"]) == (True, 1, 5, key.key_id)


def test_a_file_that_was_tampered_with_is_told_by_position_and_line_and_exits_with_1(
    database: str, tmp_path: Path
) -> None:
    fill(database)
    file, key = tmp_path / "log.ndjson", installation_signing_key(tmp_path, None).public.base64
    assert vigil("events", "export", "--signed", "--output", str(file), database_url=database, data_dir=str(tmp_path)).returncode == 0  # fmt: skip
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], lines[3].replace(b"member", b"admins"), *lines[4:]]))
    changed = vigil("events", "verify", str(file), "--public-key", key)
    assert (changed.returncode, changed.stdout) == (1, "")
    assert changed.stderr == "error: position 3 was changed: line 4 does not give its hash\n"
    file.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    removed = vigil("events", "verify", str(file), "--public-key", key, "--json")
    assert removed.returncode == 1
    told = json.loads(removed.stdout)
    assert (told["verified"], told["fault"], told["position"], told["line"]) == (False, "removed", 3, 4)
    file.write_bytes(lines[0].replace(b'"key_id":"', b'"key_id":"\\u001b[31m') + b"".join(lines[1:]))
    hostile = vigil("events", "verify", str(file), "--public-key", key)
    assert hostile.returncode == 1
    assert "\x1b[31m" not in hostile.stderr


def test_an_export_without_signatures_is_told_as_not_covered(database: str, tmp_path: Path) -> None:
    fill(database)
    file, key = tmp_path / "log.ndjson", installation_signing_key(tmp_path, None).public.base64
    exported = vigil("events", "export", "--from", "2", "--to", "3", "--output", str(file), database_url=database)
    assert exported.stdout == f"exported positions 2 to 3 to {file}, not signed\n"
    verified = vigil("events", "verify", str(file), "--public-key", key)
    assert (verified.returncode, verified.stderr) == (
        1,
        "error: positions 2 to 3 were not covered by a signature\n",
    )


def test_a_part_is_exported_with_a_signature_at_its_end(database: str, tmp_path: Path) -> None:
    fill(database)
    file, key = tmp_path / "log.ndjson", installation_signing_key(tmp_path, None)
    words = ("events", "export", "--signed", "--from", "2", "--to", "4", "--output", str(file), "--json")
    exported = json.loads(vigil(*words, database_url=database, data_dir=str(tmp_path)).stdout)
    assert (exported["first"], exported["last"], exported["events"], exported["key_id"]) == (2, 4, 3, key.key_id)
    told = json.loads(vigil("events", "verify", str(file), "--public-key", key.public.base64, "--json").stdout)
    assert (told["verified"], told["first"], told["last"], told["signed"]) == (True, 2, 4, 4)


def test_where_the_key_is_not_at_hand_an_export_ends_where_the_notary_signed(database: str, tmp_path: Path) -> None:
    fill(database)
    data, file = tmp_path / "data", tmp_path / "log.ndjson"
    words = ("events", "export", "--signed", "--output", str(file))
    nothing = vigil(*words, database_url=database)
    assert nothing.returncode == 1
    assert "not signed yet" in nothing.stderr
    assert list(tmp_path.iterdir()) == []
    installation_signing_key(data, None)
    assert vigil(*words, "--to", "3", database_url=database, data_dir=str(data)).returncode == 0
    ends_earlier = vigil(*words, database_url=database)
    assert "exported positions 1 to 3" in ends_earlier.stdout
    assert "ends at position 3" in ends_earlier.stderr
    goes_on = vigil(*words, "--to", "2", database_url=database)
    assert "exported positions 1 to 3" in goes_on.stdout
    assert "goes on to position 3" in goes_on.stderr
    assert "nothing from position 4 on is signed yet" in vigil(*words, "--from", "4", database_url=database).stderr
    assert "not signed yet" in vigil(*words, "--to", "4", database_url=database).stderr
    stranger = tmp_path / "stranger"
    installation_signing_key(stranger, None)
    assert "exported positions 1 to 3" in vigil(*words, database_url=database, data_dir=str(stranger)).stdout


def test_the_store_is_verified_and_what_was_changed_is_named(database: str, tmp_path: Path) -> None:
    assert vigil("events", "verify", database_url=database).stdout == "the log is empty\n"
    stream = fill(database)
    unsigned = vigil("events", "verify", database_url=database)
    assert (unsigned.returncode, unsigned.stdout) == (
        0,
        "positions 1 to 5 are one unbroken chain; none of it is signed\n",
    )
    key = installation_signing_key(tmp_path, None).public.base64
    settings = {"database_url": database, "data_dir": str(tmp_path)}
    assert vigil("events", "export", "--signed", "--output", str(tmp_path / "x"), **settings).returncode == 0
    fill(database, 2)
    verified = vigil("events", "verify", **settings)
    assert verified.returncode == 0
    assert "positions 1 to 7" in verified.stdout
    assert "the last 2 are not signed yet" in verified.stdout
    assert vigil("events", "verify", "--public-key", key, database_url=database).stdout == verified.stdout
    no_key = vigil("events", "verify", database_url=database)
    assert no_key.returncode == 1
    assert "give --public-key" in no_key.stderr
    change_version_3(database, stream)
    broken = vigil("events", "verify", **settings)
    assert broken.returncode == 1
    assert f"position 3, version 3 of the stream {stream}, was changed" in broken.stderr
    told = json.loads(vigil("events", "verify", "--json", **settings).stdout)
    assert (told["verified"], told["stream_id"], told["version"]) == (False, str(stream), 3)


def test_a_log_that_was_rewritten_gets_no_signature(database: str, tmp_path: Path) -> None:
    fill(database)
    file, settings = tmp_path / "log.ndjson", {"database_url": database, "data_dir": str(tmp_path)}
    installation_signing_key(tmp_path, None)
    words = ("events", "export", "--signed", "--output", str(file))
    assert vigil(*words, "--to", "3", **settings).returncode == 0
    file.unlink()
    with psycopg.connect(database) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update event_log set hash = sha256('x') where position = 3")
    refused = vigil(*words, **settings)
    assert refused.returncode == 1
    assert "not what was signed at position 3" in refused.stderr
    assert not file.exists()


def test_what_cannot_be_exported_is_told(database: str, tmp_path: Path) -> None:
    words = ("events", "export", "--output", str(tmp_path / "log.ndjson"))
    assert vigil(*words, database_url=database).stderr == "error: the log is empty\n"
    fill(database)
    assert "the log ends at position 5" in vigil(*words, "--to", "6", database_url=database).stderr
    assert "the log ends at position 5" in vigil(*words, "--from", "6", database_url=database).stderr
    nowhere = vigil("events", "export", "--output", str(tmp_path / "no/folder/file"), database_url=database)
    assert nowhere.returncode == 1
    assert "No such file or directory" in nowhere.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_public_key_is_made_by_asking_for_it(tmp_path: Path) -> None:
    asked = vigil("events", "public-key", data_dir=str(tmp_path))
    assert asked.returncode == 1
    assert "no signing key yet" in asked.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "signing_key").write_text("nonsense")
    assert "holds no Ed25519 key" in vigil("events", "public-key", data_dir=str(tmp_path)).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["export"],
        ["export", "--output", "x", "--from", "5", "--to", "4"],
        ["export", "--output", "x", "--from", "0"],
        ["verify", "x"],
        ["verify", "x", "--public-key", "nonsense"],
        ["verify", "x", "--public-key", "-----BEGIN PUBLIC KEY-----\n"],
    ],
)
def test_wrong_use_exits_with_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["events", *words]).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    key = installation_signing_key(tmp_path, None).public.base64
    missing = vigil("events", "verify", "nothing.ndjson", "--public-key", key)
    assert missing.returncode == 1
    assert len(missing.stderr.splitlines()) == 1
