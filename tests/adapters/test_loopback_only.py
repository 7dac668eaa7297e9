"""No test reaches a real service: what holds them back, and that who reaches out all the same fails by it."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.loopback_only import ReachedOut

ELSEWHERE = ("192.0.2.1", 80)  # TEST-NET-1, RFC 5737


def connect(family: socket.AddressFamily, address: tuple[str, int]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        opened.connect(address)


def connect_ex() -> None:
    with socket.socket() as opened:
        opened.connect_ex(ELSEWHERE)


def send() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.sendto(b"x", ELSEWHERE)


@pytest.mark.parametrize(
    ("reach", "host"),
    [
        (lambda: connect(socket.AF_INET, ELSEWHERE), "192.0.2.1"),
        (lambda: connect(socket.AF_INET6, ("2001:db8::1", 80)), "2001:db8::1"),
        (lambda: connect(socket.AF_INET6, ("::ffff:192.0.2.1", 80)), "::ffff:192.0.2.1"),
        (lambda: connect(socket.AF_INET, ("api.openai.com", 443)), "api.openai.com"),
        (connect_ex, "192.0.2.1"),
        (send, "192.0.2.1"),
        (lambda: socket.create_connection(ELSEWHERE, timeout=1), "192.0.2.1"),
        (lambda: socket.getaddrinfo("api.anthropic.com", 443), "api.anthropic.com"),
        (lambda: socket.getaddrinfo(b"api.anthropic.com", 443), "api.anthropic.com"),
    ],
)
def test_a_socket_goes_nowhere_but_to_loopback(reach: Callable[[], object], host: str, reached_out: list[str]) -> None:
    with pytest.raises(ReachedOut, match="a test reached for"):
        reach()
    assert reached_out == [host]
    reached_out.clear()


async def test_asyncio_and_aiohttp_go_nowhere_else_either(reached_out: list[str]) -> None:
    with pytest.raises(ReachedOut):
        await asyncio.open_connection("api.openai.com", 443)
    with pytest.raises(ReachedOut):
        await asyncio.open_connection(*ELSEWHERE)
    async with aiohttp.ClientSession() as session:
        for host in ("api.openai.com", "192.0.2.1"):
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://{host}/")
    assert set(reached_out) == {"api.openai.com", "192.0.2.1"}
    reached_out.clear()


async def test_loopback_is_reached_under_all_its_names() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()


def test_a_test_that_swallows_the_refusal_fails_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "test_reaching.py"
    file.write_text(
        "import contextlib, socket\n"
        "def test_reaching():\n"
        "    with contextlib.suppress(OSError):\n"
        "        socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", str(tmp_path), str(file)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2]
    )
    assert "the test reached for ['192.0.2.1']" in done.stdout
    assert done.returncode == 1
