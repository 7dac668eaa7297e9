"""Servers that come inside Python packages, as processes: their programs, finding them again, and ending them.

A server is known by its program's name and its working directory, which both servers keep at their data: this stays
true when the process that started them was killed, and a reused process id is never taken for it.
"""

import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

POLL_SECONDS = 0.02
SOCKET_PATH_BYTES_MAX = 103
"""sun_path holds 104 bytes on macOS and 108 on Linux, the last one a zero (unix(4), unix(7))."""
_LOG_TAIL_BYTES = 4000


class EmbeddedServerFailed(Exception):
    """An embedded server did not start or did not stop; the message says which, and what its log tells."""


def bundled_program(package: str, path: str) -> Path:
    """The file `path` inside an installed package, found without importing it.

    Raises `EmbeddedServerFailed` when it is not there.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        program = Path(folder) / path
        if program.exists():
            return program
    raise EmbeddedServerFailed(f"the package {package} with {path} is not installed for this machine")


def processes_in(directory: Path, program: str) -> list[psutil.Process]:
    """The living processes of `program` that work in `directory`."""
    named = psutil.process_iter(["name"])
    return [p for p in named if p.info["name"] == program and works_in(p, directory, program)]


def process_in(directory: Path, program: str, pid: int) -> psutil.Process | None:
    """The process `pid`, if it is alive and is `program` at work in `directory`."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return process if works_in(process, directory, program) else None


def works_in(process: psutil.Process, directory: Path, program: str) -> bool:
    """Whether a process is `program` and has `directory` as its working directory; a zombie has none."""
    try:
        return bool(process.name() == program) and directory.samefile(process.cwd())
    except (psutil.Error, OSError):
        return False


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended; a zombie, which only waits for its parent to look, has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end(process: psutil.Process, steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """End a process and its children: send each signal in turn and wait its seconds.

    Raises `EmbeddedServerFailed` when something is still alive after the last.
    """
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for number, seconds in steps:
        with suppress(psutil.NoSuchProcess):  # its children may still be ending
            process.send_signal(number)
        deadline = time.monotonic() + seconds
        while not all(map(is_gone, family)):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        else:
            return
    alive = ", ".join(str(p.pid) for p in family if not is_gone(p))
    raise EmbeddedServerFailed(f"the processes {alive} of an embedded server did not end; end them by hand")


def end_child(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """End a process one started oneself, if it still lives, and let the system forget it."""
    if child.poll() is None:
        end(psutil.Process(child.pid), steps)
    child.wait()


def socket_directory(directory: Path, socket_name: str, *, owner: int) -> Path:
    """Where a server puts its socket: `directory`, or when the path is too long for a socket, a short one in the
    system's temporary directory that only user id `owner` may enter.

    Raises `EmbeddedServerFailed` when that one was made by somebody else, who could be listening there.
    """
    if len(os.fsencode(directory / socket_name)) <= SOCKET_PATH_BYTES_MAX:
        return directory
    short = Path(tempfile.gettempdir()) / f"vigil-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    try:
        short.mkdir(mode=0o700)
    except FileExistsError:
        found = short.lstat()
        if short.is_symlink() or found.st_uid not in {owner, os.geteuid()} or found.st_mode & 0o077:
            raise EmbeddedServerFailed(f"{short} belongs to somebody else; remove it, or set TMPDIR") from None
    if short.lstat().st_uid != owner:
        os.chown(short, owner, -1)
    return short


def log_tail(log: Path, *, since: int) -> str:
    """The last lines a server wrote after byte `since` of its log."""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
