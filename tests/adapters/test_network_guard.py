"""Which addresses a monitor may read, and that no connection ever goes to another."""

import asyncio
import socket
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import pytest
from aiohttp import ClientConnectorError, ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.network_guard import AddressRefused, GuardedResolver, NetworkGuard
from domain.evidence import Document, FetchOutcome
from domain.source import HttpSource

# SECURITY.md, row 46: every way to write or reach an address that is not for monitors.
REFUSED_URLS = [
    "http://127.0.0.1/",
    "http://127.8.9.1/",
    "http://2130706433/",  # decimal
    "http://0177.0.0.1/",  # octal
    "http://0x7f000001/",  # hexadecimal
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",  # carrier-grade NAT
    "http://100.100.100.200/",  # cloud metadata inside it
    "http://169.254.169.254/latest/meta-data/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::127.0.0.1]/",  # IPv4-compatible
    "http://[::ffff:127.0.0.1]/",  # IPv4-mapped
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:0:127.0.0.1]/",  # IPv4-translated
    "http://[64:ff9b::7f00:1]/",  # NAT64
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::7f00:1]/",  # local NAT64
    "http://[2002:7f00:1::]/",  # 6to4
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:7f00:1::]/",  # Teredo, server
    "http://[2001:0:808:808:0:0:80ff:fffe]/",  # Teredo, client 127.0.0.1
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[4000::1]/",
    "http://[100::1]/",
    "http://[v1.a]/",
    "http://127。0。0。1/",  # ideographic full stops
    "http://\uff11\uff12\uff17.0.0.1/",  # full-width digits
    "http://ⓛocalhost/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://app.localhost/",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com:5432/",
    "http://example.com:6379/",
    "http://8.8.8.8:22/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://exa%6dple.com/",
    "http://%31%32%37.0.0.1/",
    "http://a b/",
    "http://a..b/",
    "http://*.example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com/\n",
    "http://exam\tple.com/",
    "http://example.com/\x00",
    "http://1.2.3.4.5/",
    "http://999.1.1.1/",
    "http://" + "a" * 64 + ".com/",
    "http://example.com/" + "a" * 2048,
    "http:///path",
    "http:path",
    "//example.com/",
    "example.com",
    "",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "data:text/plain,hi",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_address_that_is_not_for_monitors_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        NetworkGuard().check_url(url)
    assert refused.value.message.endswith((".", "page"))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://example.com:443/a?b=c#d",
        "https://example.com./",
        "https://my_host.example.com/",
        "https://bücher.example/",
        "HTTPS://EXAMPLE.COM/",
        "http://8.8.8.8/",
        "http://192.0.1.1/",
        "http://100.128.0.1/",
        "http://172.32.0.1/",
        "http://[2606:4700:4700::1111]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[64:ff9b::808:808]/",
        "http://[2002:808:808::1]/",
    ],
)
def test_a_public_address_may_be_read(url: str) -> None:
    NetworkGuard().check_url(url)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_whatever_python_calls_private_loopback_reserved_or_multicast_is_refused(
    address: IPv4Address | IPv6Address,
) -> None:
    special = address.is_private or address.is_loopback or address.is_multicast or address.is_reserved
    wraps_another = isinstance(address, IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or int(address) >> 32 == 0x0064FF9B << 64
    )
    if special and not wraps_another:
        with pytest.raises(AddressRefused):
            NetworkGuard().check_address(address, 80)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_wrapped_in_ipv6_is_judged_as_itself(address: IPv4Address) -> None:
    number = int(address)
    wrapped: list[IPv4Address | IPv6Address] = [
        address,
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x0064FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF)),
    ]
    guard = NetworkGuard()
    verdicts = {is_refused(guard, form) for form in wrapped}
    assert len(verdicts) == 1


def test_an_allowed_network_wins_over_the_deny_table_and_has_any_port() -> None:
    guard = NetworkGuard(["127.0.0.0/8", "fd00::/8"])
    guard.check_url("http://127.0.0.1:8080/")
    guard.check_url("http://[::ffff:127.0.0.1]:8080/")
    guard.check_url("http://[fd00::1]:9000/")
    guard.check_url("http://localhost:8080/")
    with pytest.raises(AddressRefused):
        guard.check_url("http://10.0.0.1/")
    with pytest.raises(AddressRefused):
        guard.check_url("http://8.8.8.8:8080/")


def test_a_network_that_is_no_cidr_block_is_named() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        NetworkGuard(["10.0.0.1/8"])


async def test_one_denied_answer_refuses_a_name_that_is_otherwise_public() -> None:
    resolver = GuardedResolver(NetworkGuard(), Answering(["93.184.216.34", "127.0.0.1"]))
    with pytest.raises(AddressRefused):
        await resolver.resolve("example.com", 80)


async def test_of_answers_in_and_outside_an_allowed_network_only_the_allowed_are_used() -> None:
    resolver = GuardedResolver(NetworkGuard(["127.0.0.0/8"]), Answering(["::1", "127.0.0.1"]))
    assert [answer["host"] for answer in await resolver.resolve("localhost", 8080)] == ["127.0.0.1"]


async def test_a_name_on_an_unusual_port_must_lead_into_an_allowed_network() -> None:
    guard = NetworkGuard(["127.0.0.0/8"])
    guard.check_url("http://example.com:8080/")
    with pytest.raises(AddressRefused, match="Port 8080"):
        await GuardedResolver(guard, Answering(["93.184.216.34"])).resolve("example.com", 8080)


async def test_a_link_local_answer_with_a_zone_is_refused() -> None:
    with pytest.raises(AddressRefused):
        await GuardedResolver(NetworkGuard(), Answering(["fe80::1%eth0"])).resolve("example.com", 80)


async def test_no_socket_is_opened_for_an_address_that_slipped_past_everything_else() -> None:
    async with Listening() as loopback:
        connector = TCPConnector(socket_factory=NetworkGuard().open_socket)
        async with ClientSession(connector=connector) as session:
            with pytest.raises(ClientConnectorError) as failed:
                await session.get(f"http://127.0.0.1:{loopback.port}/")
        assert isinstance(failed.value.os_error, PermissionError)
        assert loopback.accepted == 0


@pytest.mark.parametrize(
    "host", ["rebinding.example", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
)
async def test_loopback_never_sees_a_connection_whatever_the_host_is_written_like(host: str) -> None:
    async with Listening() as loopback:
        answers = Answering(["93.184.216.34"], ["127.0.0.1"], port=loopback.port)
        first = await answers.resolve(host, 80)  # what a check before the connection would have seen
        assert first[0]["host"] == "93.184.216.34"
        document = await fetch(f"http://{host}/", answers)
        assert document.outcome is FetchOutcome.REFUSED
        assert document.message
        assert loopback.accepted == 0


async def test_the_listener_of_these_tests_does_see_connections() -> None:
    async with Listening() as loopback:
        _, writer = await asyncio.open_connection("127.0.0.1", loopback.port)
        await loopback.seen.wait()
        writer.close()
        assert loopback.accepted == 1


class Answering(AbstractResolver):
    """A name server that answers with these addresses, one set after the other, the last for ever."""

    def __init__(self, *answers: list[str], port: int | None = None) -> None:
        self._answers = list(answers)
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        hosts = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=self._port or port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in hosts
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Listening:
    """A loopback port that counts the connections it accepts."""

    def __init__(self) -> None:
        self.accepted = 0
        self.seen = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._count, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _count(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.seen.set()
        writer.close()


async def fetch(url: str, resolver: AbstractResolver) -> Document:
    fetcher = AiohttpFetcher(
        NetworkGuard(),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        user_agent="Vigil",
        deadline_seconds=5,
        resolver=resolver,
    )
    try:
        return await fetcher.fetch(HttpSource(url=url), None)
    finally:
        await fetcher.close()


def is_refused(guard: NetworkGuard, address: IPv4Address | IPv6Address) -> bool:
    try:
        guard.check_address(address, 80)
    except AddressRefused:
        return True
    return False
