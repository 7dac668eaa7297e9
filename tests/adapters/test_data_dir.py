"""The lock of a data directory, and the addresses that other commands find through it."""

import json
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from adapters.data_dir import DataDirInUse, DataDirLock, publish_endpoints, read_endpoints, withdraw_endpoints

HOLD_THE_LOCK = """
import sys, pathlib
from adapters.data_dir import DataDirLock
lock = DataDirLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_vigil_is_refused_with_the_first_ones_process_id_until_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        with pytest.raises(DataDirInUse, match=f"in use by process {owner.pid}; stop it first") as refused:
            DataDirLock(tmp_path).acquire()
        assert refused.value.pid == owner.pid
        owner.kill()
    with DataDirLock(tmp_path):
        pass


def test_the_lock_is_not_shared_within_one_process_either(tmp_path: Path) -> None:
    first, second = DataDirLock(tmp_path), DataDirLock(tmp_path)
    first.acquire()
    with pytest.raises(DataDirInUse):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_child_left_behind_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE):
        lock.release()
        with DataDirLock(tmp_path):
            pass


def test_an_owner_that_wrote_no_process_id_is_called_another_process(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataDirInUse, match="in use by another process"):
            DataDirLock(tmp_path).acquire()


def test_only_its_owner_may_enter_a_new_data_directory() -> None:
    with tempfile.TemporaryDirectory() as parent, DataDirLock(Path(parent) / "new" / "data") as _:
        assert stat.S_IMODE((Path(parent) / "new" / "data").stat().st_mode) == 0o700


def test_endpoints_are_added_and_read_while_the_owner_runs(tmp_path: Path) -> None:
    assert read_endpoints(tmp_path) == {}
    lock = DataDirLock(tmp_path)
    with lock:
        assert read_endpoints(tmp_path) == {}
        publish_endpoints(tmp_path, {"postgres": "postgresql://a", "redis": "unix:///b"})
        publish_endpoints(tmp_path, {"api": "http://127.0.0.1:8000", "redis": "unix:///c"})
        known = {"postgres": "postgresql://a", "redis": "unix:///c", "api": "http://127.0.0.1:8000"}
        assert read_endpoints(tmp_path) == known
        assert json.loads((tmp_path / "servers.json").read_text()) == known
        assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "servers.json"]
        withdraw_endpoints(tmp_path)
        withdraw_endpoints(tmp_path)
        assert read_endpoints(tmp_path) == {}


def test_endpoints_of_a_run_that_is_over_are_not_believed(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        publish_endpoints(tmp_path, {"api": "http://127.0.0.1:8000"})
    assert read_endpoints(tmp_path) == {}


def test_a_damaged_file_is_no_address_and_is_written_anew(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        (tmp_path / "servers.json").write_text('{"api": ')
        assert read_endpoints(tmp_path) == {}
        publish_endpoints(tmp_path, {"api": "http://127.0.0.1:8000"})
        assert read_endpoints(tmp_path) == {"api": "http://127.0.0.1:8000"}


def test_what_cannot_be_written_leaves_the_old_addresses_and_no_litter(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        publish_endpoints(tmp_path, {"api": "http://127.0.0.1:8000"})
        with pytest.raises(TypeError):
            publish_endpoints(tmp_path, {"api": object()})  # type: ignore[dict-item]  # what no file can hold
        assert read_endpoints(tmp_path) == {"api": "http://127.0.0.1:8000"}
        assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "servers.json"]
