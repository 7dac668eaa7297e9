"""Running `vigil` as people do: as a process of its own, with nothing in its environment but what a test says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.conftest import as_application

COMMAND = [sys.executable, "-c", "from cli.main import main; main()"]
SECONDS_MAX = 60
WRAPPING_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def vigil(*arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. `given` is its standard input, `settings` are VIGIL_ variables without their prefix. Without
    a data folder, where it is kept otherwise, all commands get the same wrapping key."""
    key = {} if "data_dir" in settings else {"VIGIL_WRAPPING_KEYS": WRAPPING_KEY}
    with tempfile.TemporaryDirectory() as nowhere:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=environment(**{"VIGIL_DATA_DIR": f"{nowhere}/none", **key, **prefixed(settings)}),
            cwd=nowhere,
            input=given,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS_MAX,
            check=False,
        )


def prefixed(settings: dict[str, str]) -> dict[str, str]:
    """As variables. Of a database that is given by its owner's URL, the command gets that of the application too."""
    if "database_url" in settings and "database_owner_url" not in settings:
        url = settings["database_url"]
        settings = {**settings, "database_url": as_application(url), "database_owner_url": url}
    return {f"VIGIL_{name.upper()}": value for name, value in settings.items()}


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "COLUMNS": "200", **variables}


class RunningVigil:
    """A `vigil up` (or another command that stays) with its output in files."""

    def __init__(self, data_dir: Path, *arguments: str, **settings: str) -> None:
        self.data_dir = data_dir
        self._output = data_dir.parent / f"output-{time.monotonic_ns()}"
        ports = {"VIGIL_HTTP_PORT": "0", "VIGIL_INBOX_PORT": "0", "VIGIL_DATA_DIR": str(data_dir)}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment(**{**ports, **prefixed(settings)}),
                cwd=data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        return self._output.read_text("utf-8")

    def wait_for(self, text: str) -> str:
        """The rest of the first line that has `text`, from there on."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            for line in self.output.splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line.partition(text)[2].strip()
            assert self.process.poll() is None, self.output
            time.sleep(0.02)
        raise AssertionError(f"no {text!r} in {self.output}")

    def ready(self) -> str:
        """The URL of the line that says it can serve."""
        return self.wait_for("ready ")

    def inbox(self) -> str:
        return self.wait_for("inbox ").split()[0]

    def ask(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self, *, within_seconds: float = 20) -> int:
        try:
            return self.process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {within_seconds} s; it said: {self.output}") from None


@contextmanager
def data_folder() -> Iterator[Path]:
    """A data folder that is not there yet; processes left in it are ended, so that a failing test leaves none."""
    parent = Path(tempfile.mkdtemp(prefix="vigil-cli-"))
    parent.chmod(0o755)  # the embedded server's own user must reach it
    try:
        yield parent / "data"
    finally:
        for process in working_in(parent):
            process.kill()
        shutil.rmtree(parent, ignore_errors=True)


def working_in(folder: Path) -> list[psutil.Process]:
    """Processes that have the folder in their command line or as their working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(str(folder) in text for text in (*process.cmdline(), process.cwd())):
                found.append(process)
        except psutil.Error:
            continue
    return found


def get(url: str) -> tuple[int, Any]:
    """Status and JSON of a GET."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
