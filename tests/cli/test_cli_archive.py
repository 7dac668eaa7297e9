"""`vigil archive`, as an operator uses it; the files are verified and read by the commands that read the log."""

import asyncio
import json
from pathlib import Path

from adapters.log_signatures import installation_signing_key
from adapters.postgres_pool import open_pool
from adapters.postgres_signed_heads import PostgresSignedHeads
from benchmarks.filling import copy_events, sequence_all
from benchmarks.history import History
from tests.cli.vigil_process import vigil
from tests.conftest import AT


def fill(database: str, data: Path) -> int:
    """Events of a history, signed to their end some time ago; how many."""

    async def work() -> int:
        copy_events(database, History(5, people=1, monitors_each=2).entries(120))
        async with open_pool(database, size_max=2) as pool:
            await sequence_all(pool)
            heads, key = PostgresSignedHeads(pool), installation_signing_key(data, None)
            end = await heads.log_position()
            await heads.keep(key.sign_head(end, await heads.log_hash(end) or b"", AT))
            return end

    return asyncio.run(work())


def test_an_operator_archives_and_everything_is_read_as_before(database: str, tmp_path: Path) -> None:
    data, key = tmp_path / "data", tmp_path / "vigil.pem"
    end = fill(database, data)
    key.write_text(installation_signing_key(data, None).public.pem)
    here = {"database_url": database, "data_dir": str(data)}
    before = vigil("events", "replay", "--json", **here).stdout
    assert vigil("archive", "run", "--older-than", "P365000D", **here).stdout.startswith("nothing to archive")
    done = vigil("archive", "run", "--older-than", "P30D", "--json", **here)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["first"], told["last"]) == (1, end)
    assert told["events"] > 40
    listed = json.loads(vigil("archive", "list", "--json", **here).stdout)
    assert listed == [{"file": told["file"], "first": 1, "last": end, "condition": "ok"}]
    verified = vigil("events", "verify", str(data / "archive" / told["file"]), "--public-key", str(key))
    assert f"positions 1 to {end} are one unbroken chain" in verified.stdout
    assert vigil("events", "replay", "--json", **here).stdout.splitlines()[:end] == before.splitlines()
    (data / "archive" / told["file"]).rename(tmp_path / "elsewhere")
    gone = vigil("archive", "list", **here)
    assert (gone.returncode, "missing" in gone.stdout) == (1, True)
    unread = vigil("events", "replay", **here)
    assert unread.returncode == 1
    assert unread.stderr.startswith("error: ")
    assert "is not there; bring it back, or set VIGIL_ARCHIVE_DIR" in unread.stderr


def test_without_a_key_nothing_is_archived(database: str, tmp_path: Path) -> None:
    fill(database, tmp_path / "data")
    refused = vigil("archive", "run", database_url=database, data_dir=str(tmp_path / "other"))
    assert refused.returncode == 1
    assert "has no signing key; say with --public-key" in refused.stderr
