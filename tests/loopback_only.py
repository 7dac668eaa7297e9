"""No test reaches a real service: in this process only loopback can be connected to, and only its names be looked up.

It stands where Python's own sockets connect, which is what asyncio, aiohttp, httpx2, redis-py and smtplib use. libpq has
sockets of its own, and so has uvloop; the tests give them servers on loopback only. Programs that tests start are not held.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest


class ReachedOut(OSError):
    """A test reached for something that is not on this machine."""


@contextmanager
def loopback_only() -> Iterator[list[str]]:
    """Refuse everything else until the end of the block. What was tried is listed: who tried it may have swallowed the error."""
    tried: list[str] = []
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    look_up = socket.getaddrinfo

    def checked(host: object, *, is_address: bool) -> None:
        if not _is_here(host, is_address=is_address):
            tried.append(host.decode() if isinstance(host, bytes) else str(host))
            raise ReachedOut(f"a test reached for {tried[-1]}: tests speak with loopback only")

    def guarded_connect(self: socket.socket, address: Any) -> None:  # noqa: ANN401  as typeshed has it
        checked(_host(self, address), is_address=True)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:  # noqa: ANN401
        checked(_host(self, address), is_address=True)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, *arguments: Any) -> int:  # noqa: ANN401
        checked(_host(self, arguments[-1]), is_address=True)
        return sendto(self, *arguments)

    def guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        checked(host, is_address=False)
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket.socket, "sendto", guarded_sendto)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield tried


def _host(opened: socket.socket, address: Any) -> object:  # noqa: ANN401
    return address[0] if opened.family in {socket.AF_INET, socket.AF_INET6} else None


def _is_here(host: object, *, is_address: bool) -> bool:
    """An address that is only looked up goes nowhere; whoever connects to it is asked again."""
    name = host.decode() if isinstance(host, bytes) else host
    if not isinstance(name, str) or name in {"", "localhost", socket.gethostname()}:
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return not is_address or inner.is_loopback or inner.is_unspecified
