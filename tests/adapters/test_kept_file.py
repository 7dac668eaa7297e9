"""What is kept in a file is on the disk with all the names that lead to it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.kept_file import keep_once
from adapters.log_archive import new_archive_file


def archived(path: Path) -> None:
    with new_archive_file(path) as file:
        file.write(b"a line\n")


def kept(path: Path) -> None:
    keep_once(path, "a secret")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was brought to the disk, by device and inode."""
    told: list[tuple[int, int]] = []
    fsync = os.fsync

    def fsync_and_tell(descriptor: int) -> None:
        fsync(descriptor)
        told.append(identity(os.fstat(descriptor)))

    monkeypatch.setattr(os, "fsync", fsync_and_tell)
    return told


def identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@pytest.mark.parametrize("keep", [archived, kept])
def test_the_names_of_folders_that_were_made_are_on_the_disk(
    keep: Callable[[Path], None], tmp_path: Path, synced: list[tuple[int, int]]
) -> None:
    path = tmp_path / "vigil" / "archive" / "file"
    keep(path)
    assert {identity(each.stat()) for each in (tmp_path, tmp_path / "vigil", path.parent, path)} <= set(synced)
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("keep", [archived, kept])
def test_where_no_folder_was_made_only_its_own_names_are_written(
    keep: Callable[[Path], None], tmp_path: Path, synced: list[tuple[int, int]]
) -> None:
    keep(tmp_path / "file")
    assert identity(tmp_path.parent.stat()) not in synced
    assert identity(tmp_path.stat()) in synced
