"""A small secret file that is made once, by whoever comes first, and never half."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def keep_once(path: Path, text: str) -> None:
    """Write `text` and a line feed to `path`, readable by its owner only, unless there is such a file; makes the folder.

    The file gets its name when all of it is on the disk, and a hard link, unlike a rename, fails when the name is taken:
    of two that start at once, both read what the first wrote.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # made with mode 0600
    written = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            path.hardlink_to(written)
    finally:
        written.unlink()
    _sync_names(path.parent)


def _sync_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
