"""What docs/signals.md shows to senders really signs: its shell lines and its Python, against a server of ours."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from commands.signal_signature import key_of, new_secret, read_signed

PAGE = Path(__file__).parents[2] / "docs/signals.md"


class Server(HTTPServer):
    """Keeps the bodies that were signed with its secret."""

    secret = new_secret()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[bytes] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = read_signed({name.lower(): value for name, value in self.headers.items()}, now=datetime.now(UTC))
        if signed.is_by([key_of(self.server.secret)], body) and self.headers["Content-Type"] == "application/json":
            self.server.taken.append(body)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as opened:
        thread = Thread(target=opened.serve_forever)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/"


def test_the_shell_lines_sign(server: Server) -> None:
    (lines,) = re.findall(r"(?ms)^In a shell:\n\n(.*?)\n\n^In Python", PAGE.read_text())
    script = re.sub(r"(?m)^    ", "", lines)
    script = script.replace("secret=whsec_...", f"secret={server.secret}")
    script = re.sub(r"(?m)^url=.*$", f"url={url_of(server)}", script)
    subprocess.run(["bash", "-euc", script], check=True, capture_output=True, timeout=20)
    assert server.taken == [b'{"temperature": 31.5}']


def test_the_python_signs(server: Server) -> None:
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text())
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102  our own page; what is defined there is called below
    assert names["send"](url_of(server), server.secret, {"temperature": 31.5}) == b""
    assert server.taken == [b'{"temperature": 31.5}']
