"""The data directory: who works in it, and where its running servers are found."""

import fcntl
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

_LOCK_FILE = "lock"
_ENDPOINTS_FILE = "servers.json"
_ATTEMPTS, _PAUSE_SECONDS = 4, 0.05
"""`read_endpoints` holds the lock for an instant to see whether anybody has it; a start waits that instant out."""


class DataDirInUse(Exception):
    """Another Vigil works in this data directory."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        self.data_dir, self.pid = data_dir, pid
        owner = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{data_dir} is in use by {owner}; stop it first, or choose another VIGIL_DATA_DIR")


class DataDirLock:
    """The right to be the one Vigil in a data directory, from `acquire` to `release`.

    It is a lock of the operating system (flock) on the file `lock`, which also holds the owner's process id; it ends
    with the process, however that ends. The file stays: removing it would let two processes lock two files.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, making the directory (only its owner may enter) if there is none.

        Raises `DataDirInUse` when another has it, also another object of this process.
        """
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not inherited by child processes (PEP 446): a server left behind does not keep the lock.
        descriptor = os.open(self._data_dir / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            if _lock(descriptor, fcntl.LOCK_EX):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                self._descriptor = descriptor
                return
        written = os.read(descriptor, 32).strip()
        os.close(descriptor)
        raise DataDirInUse(self._data_dir, int(written) if written.isdigit() else None)

    def release(self) -> None:
        """Give the lock back; releasing twice changes nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def publish_endpoints(data_dir: Path, endpoints: Mapping[str, str]) -> None:
    """Add addresses by name (`postgres`, `redis`, `api`, `inbox`) to those other commands can read; a name that is
    there gets the new address. Written beside and renamed, so that a reader sees all or nothing."""
    known = {**_stored_endpoints(data_dir), **endpoints}
    descriptor, name = tempfile.mkstemp(prefix=f".{_ENDPOINTS_FILE}-", dir=data_dir)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(known)) + b"\n")
        Path(name).replace(data_dir / _ENDPOINTS_FILE)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def withdraw_endpoints(data_dir: Path) -> None:
    """Forget every address: at the start, those of a run that was killed, and at the end, one's own."""
    (data_dir / _ENDPOINTS_FILE).unlink(missing_ok=True)


def read_endpoints(data_dir: Path) -> dict[str, str]:
    """The addresses of the Vigil that runs in `data_dir`; none when nobody holds its lock."""
    try:
        descriptor = os.open(data_dir / _LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    try:
        return {} if _lock(descriptor, fcntl.LOCK_SH) else _stored_endpoints(data_dir)
    finally:
        os.close(descriptor)


def _stored_endpoints(data_dir: Path) -> dict[str, str]:
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((data_dir / _ENDPOINTS_FILE).read_bytes(), type=dict[str, str])
    return {}


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
