"""Files that appear whole or not at all, readable by their owner only."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def appearing_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that gets its name, and takes the place of one that has it, when all of it is on the disk. When the
    writer fails there is no trace of it."""
    with _unnamed(path) as (file, written):
        yield file
        _to_disk(file)
        written.replace(path)
    _sync_names(path.parent)


def keep_once(path: Path, text: str) -> None:
    """Write `text` and a line feed to `path` unless there is such a file; makes the folder.

    A hard link, unlike a rename, fails when the name is taken: of two that start at once, both read what the first wrote.
    """
    make_folder(path.parent)
    with _unnamed(path) as (file, written):
        file.write(f"{text}\n".encode())
        _to_disk(file)
        with suppress(FileExistsError):
            path.hardlink_to(written)
    _sync_names(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter, and those above it, unless they are there. The name of each one made is
    on the disk then: what is kept in a folder is lost with its name."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in made:
        _sync_names(each.parent)


@contextmanager
def _unnamed(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file beside `path` under a name of its own, which it loses in the end."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
