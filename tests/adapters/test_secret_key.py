"""The installation's secret: configured or made once, and what is derived from it."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from adapters.secret_key import SecretKeyRefused, derived_key, installation_secret

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from adapters.secret_key import installation_secret

def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, sys.argv[2], die)
installation_secret(Path(sys.argv[1]), None)
"""


def test_a_configured_secret_is_taken_and_nothing_is_written(tmp_path: Path) -> None:
    assert installation_secret(tmp_path, "k" * 32 + "\n") == b"k" * 32
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("configured", ["", "k" * 31, " " * 40])
def test_a_short_secret_is_refused_with_what_to_do(tmp_path: Path, configured: str) -> None:
    with pytest.raises(SecretKeyRefused, match=r"VIGIL_SECRET_KEY has \d+ characters and needs at least 32; make one"):
        installation_secret(tmp_path, configured)


def test_a_secret_is_made_once_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    secret = installation_secret(data_dir, None)
    assert len(secret) >= 32
    assert installation_secret(data_dir, None) == secret
    assert stat.S_IMODE((data_dir / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert [entry.name for entry in data_dir.iterdir()] == ["secret_key"]
    assert installation_secret(tmp_path / "other", None) != secret


def test_the_text_of_the_file_configured_on_another_host_is_the_same_secret(tmp_path: Path) -> None:
    secret = installation_secret(tmp_path, None)
    assert installation_secret(tmp_path / "other", (tmp_path / "secret_key").read_text()) == secret


def test_starts_at_the_same_moment_agree(tmp_path: Path) -> None:
    together = Barrier(16)

    def start(_number: int) -> bytes:
        together.wait()
        return installation_secret(tmp_path, None)

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(start, range(16)))) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret_key"]


@pytest.mark.parametrize("step", ["fdopen", "fsync", "link", "unlink"])
def test_a_start_that_is_killed_never_leaves_an_empty_file(tmp_path: Path, step: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, tmp_path, step], check=False)
    assert killed.returncode == -9
    kept = tmp_path / "secret_key"
    assert kept.exists() == (step == "unlink")
    left = kept.read_text().strip().encode() if kept.exists() else None
    assert left in {None, installation_secret(tmp_path, None)}


def test_a_file_somebody_emptied_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    with pytest.raises(SecretKeyRefused, match="secret_key has 0 characters"):
        installation_secret(tmp_path, None)


def test_keys_are_derived_as_rfc_5869_does() -> None:
    """Test case 3 of its appendix A: no salt, no info."""
    expected = bytes.fromhex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")
    assert derived_key(b"\x0b" * 22, "") == expected


def test_each_use_and_each_secret_has_its_own_key() -> None:
    keys = {derived_key(secret, label) for secret in (b"a" * 32, b"b" * 32) for label in ("x", "y")}
    assert len(keys) == 4
