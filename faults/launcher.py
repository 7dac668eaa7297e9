"""Starting Vigil's processes quickly: a nursery imports Vigil once and forks for each start.

A child is a process like any other: it has its own environment, connections and log, and runs `vigil ...` from its
first line to its end. Only the second of imports is saved, which would otherwise be most of what a run of the suite costs.
Run as a module this file is the nursery; `Launcher` is what talks to it.
"""

import ctypes
import gc
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMPORTED_ONCE = ("cli.workers", "cli.rebuilding", "cli.parked_acts", "cli.dead_evaluations")
"""What the children need."""
POLL_SECONDS = 0.02
ANSWER_SECONDS_MAX = 60.0
_PR_SET_PDEATHSIG = 1
"""prctl(2): the kernel ends the children of a nursery that dies."""


@dataclass
class Process:
    """A process of Vigil's that was started here. `status` as `subprocess` tells it (-9: by SIGKILL), None while it runs."""

    pid: int
    log: Path
    log_began_at: int
    status: int | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def poll(self) -> int | None:
        """The status, None while it runs."""
        return self.status

    def wait(self, timeout: float | None = None) -> int:
        """The status once it has ended; raises `TimeoutError`."""
        if not self._ended.wait(timeout) or self.status is None:
            raise TimeoutError(f"process {self.pid} did not end in {timeout} s")
        return self.status

    def end(self, status: int) -> None:
        """The nursery saw it end."""
        self.status = status
        self._ended.set()

    def said(self) -> str:
        """What it wrote to its log so far."""
        with self.log.open("rb") as file:
            file.seek(self.log_began_at)
            return file.read().decode(errors="replace")


class Launcher:
    """Starts processes and learns when they end. Everything that still runs is killed by `close`."""

    def __init__(self) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "faults.launcher"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._processes: dict[int, Process] = {}
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._started: list[Process] = []
        self._starting = (Path(), 0)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        """Start `vigil` with these arguments; standard output and error are appended to `log`."""
        log.touch()
        with self._answered:
            self._starting = log, log.stat().st_size
            self._tell({"arguments": list(arguments), "environment": dict(environment), "log": str(log)})
            if not self._answered.wait_for(lambda: self._started, ANSWER_SECONDS_MAX):
                raise TimeoutError("the nursery does not answer")
            return self._started.pop()

    def signal(self, process: Process, number: signal.Signals) -> None:
        """Send a signal; to one that has ended none."""
        with self._lock:
            self._tell({"pid": process.pid, "signal": int(number)})

    def close(self) -> None:
        """End the nursery, and with it whatever still runs."""
        if self._nursery.stdin is not None:
            self._nursery.stdin.close()
        self._nursery.wait()
        self._reader.join()
        if self._nursery.stdout is not None:
            self._nursery.stdout.close()

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self._nursery.stdin is not None:
            self._nursery.stdin.write(json.dumps(message).encode() + b"\n")
            self._nursery.stdin.flush()

    def _read(self) -> None:
        for line in self._nursery.stdout or ():
            answer = json.loads(line)
            with self._answered:
                if "started" in answer:
                    process = Process(answer["started"], *self._starting)
                    self._processes[process.pid] = process
                    self._started.append(process)
                    self._answered.notify_all()
                else:
                    self._processes.pop(answer["ended"]).end(answer["status"])


def _nursery() -> None:
    """Read what is to be started until standard input ends, then kill what still runs."""
    for module in IMPORTED_ONCE:
        importlib.import_module(module)
    gc.freeze()  # the collector of a child need not touch, and so copy, what it shares with all others
    children: set[int] = set()
    buffered = b""
    open_input = True
    while open_input or children:
        ready, _, _ = select.select([0] if open_input else [], [], [], POLL_SECONDS)
        if ready:
            read = os.read(0, 65536)
            buffered += read
            if not read:
                open_input = False
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
            *lines, buffered = buffered.split(b"\n")
            for line in lines:
                _obey(json.loads(line), children)
        _reap(children)


def _obey(message: Mapping[str, Any], children: set[int]) -> None:
    if "signal" in message:
        if message["pid"] in children:  # not reaped yet, so the id is nobody else's
            os.kill(message["pid"], message["signal"])
        return
    pid = os.fork()
    if pid == 0:
        _live(message["arguments"], message["environment"], message["log"])
    children.add(pid)
    _say({"started": pid})


def _reap(children: set[int]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            children.discard(ended[0])
            _say({"ended": ended[0], "status": os.waitstatus_to_exitcode(ended[1])})


def _say(answer: Mapping[str, int]) -> None:
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def _live(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """A child's whole life; never returns."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()  # noqa: TID251  the child's own
        os.environ.update(environment)  # noqa: TID251
        random.seed()
        sys.argv = ["vigil", *arguments]
        from cli.main import main  # noqa: PLC0415

        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:  # noqa: BLE001  whatever ended it, its log tells
        import traceback  # noqa: PLC0415

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _nursery()
