"""SECURITY.md, rows 45 to 51, proved by the connections that loopback listeners accept: none.

The listener's port counts as a web port here, so that nothing but the judgement of addresses keeps a connection away, and
each way in is shown to be one: with the network allowed, the same reading arrives.
"""

import asyncio
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from yarl import URL

from adapters import network_guard
from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.fact_reader import FactReader
from adapters.network_guard import NetworkGuard
from domain.evidence import Document, FetchOutcome
from domain.fact import FactSpec, FactType, Select
from domain.source import FeedSource, HttpSource
from tests.adapters.test_network_guard import Answering

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOOPBACK = ["127.0.0.0/8", "::1/128"]
# Where packets to these really go is loopback, however the address is dressed (RFC 4291, 6052, 8215, 3056, 4380).
DRESSED = ["127.0.0.1", "127.1.2.3", "0.0.0.1", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1"]
WRAPPED = ["64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:0:808:808::80ff:fffe"]
# Ways to write loopback as the host of a URL. A name among them is answered with a public address first, then inside.
WRITTEN = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "0", "127.0.0.1."),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]"),
    *(
        "localhost",
        "LOCALHOST.",
        "app.localhost",
        "127。0。0。1",
        "\uff11\uff12\uff17.0.0.1",
        "ⓛocalhost",
        "%31%32%37.0.0.1",
    ),
    *(
        "turning.example",
        "shop.example@127.0.0.1",
        "user:secret@turning.example",
        "@127.0.0.1",
        "shop.example\\@127.0.0.1",
    ),
]


@dataclass
class Inside:
    """Listens on one port of both loopbacks and keeps what came. It answers as a web page would."""

    port: int = 0
    accepted: int = 0
    heard: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.heard.append(await reader.read(4096))
        writer.write(self.answer)
        writer.close()


@pytest.fixture
async def inside(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inside]:
    listener = Inside()
    async with AsyncExitStack() as stack:
        first = await asyncio.start_server(listener.handle, "127.0.0.1", 0)
        stack.callback(first.close)
        listener.port = first.sockets[0].getsockname()[1]
        second = await asyncio.start_server(listener.handle, "::1", listener.port)
        stack.callback(second.close)
        monkeypatch.setattr(network_guard, "PORTS", frozenset({80, 443, listener.port}))
        yield listener


async def fetched(
    url: str,
    resolver: Answering | None = None,
    *,
    allowed: list[str] | None = None,
    headers: dict[str, str] | None = None,
) -> Document:
    fetcher = AiohttpFetcher(
        NetworkGuard(allowed or []),
        now=lambda: NOW,
        user_agent="Vigil",
        deadline_seconds=5,
        resolver=resolver or Answering(["127.0.0.1"]),
    )
    try:
        return await fetcher.fetch(HttpSource(url=url, headers=headers or {}), None)
    finally:
        await fetcher.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_row_45_what_these_tests_refuse_would_arrive(inside: Inside, address: str) -> None:
    document = await fetched(f"http://turning.example:{inside.port}/", Answering([address]), allowed=LOOPBACK)
    assert (document.body, inside.accepted) == (b"secret", 1)


@pytest.mark.parametrize("address", [*DRESSED, *WRAPPED])
async def test_row_45_a_name_that_leads_inside_opens_no_connection(inside: Inside, address: str) -> None:
    for answers in ([address], ["93.184.216.34", address], [address, "93.184.216.34"]):
        document = await fetched(f"http://turning.example:{inside.port}/", Answering(answers))
        assert document.outcome is FetchOutcome.REFUSED
    assert inside.accepted == 0


async def test_row_45_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_answer(inside: Inside) -> None:
    class Counting(Answering):
        asked = 0

        async def resolve(self, *arguments: object) -> list[ResolveResult]:
            self.asked += 1
            return await super().resolve(*arguments)  # type: ignore[arg-type]  # passed on as they come

    resolver = Counting(["::1"], ["93.184.216.34"])
    document = await fetched(f"http://shop.example:{inside.port}/", resolver, allowed=["::1/128"])
    assert (document.body, resolver.asked, inside.accepted) == (b"secret", 1, 1)
    assert f"host: shop.example:{inside.port}".encode() in inside.heard[0].lower()


async def test_row_45_the_server_name_of_tls_stays_that_of_the_url(inside: Inside) -> None:
    url = f"https://shop.example:{inside.port}/"
    assert (await fetched(url, allowed=LOOPBACK)).outcome is FetchOutcome.UNREACHABLE  # it speaks no TLS
    assert inside.heard[0][:1] == b"\x16"  # a handshake (RFC 8446, section 5.1)
    assert b"shop.example" in inside.heard[0]
    assert (await fetched(url)).outcome is FetchOutcome.REFUSED
    assert inside.accepted == 1


@pytest.mark.parametrize("host", WRITTEN)
async def test_row_46_loopback_is_not_reached_however_it_is_written(inside: Inside, host: str) -> None:
    resolver = Answering(["93.184.216.34"], ["127.0.0.1"])
    await resolver.resolve(host)  # whoever checked before the connection has seen a public address
    document = await fetched(f"http://{host}:{inside.port}/", resolver)
    assert (document.outcome, document.body, inside.accepted) == (FetchOutcome.REFUSED, b"", 0)


async def test_row_46_no_port_but_those_of_the_web_is_asked_of_anybody() -> None:
    """As of Vigil's own database and Redis, where they listen on a port."""
    listener = Inside()
    server = await asyncio.start_server(listener.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for host in ("127.0.0.1", "localhost", "shop.example", "8.8.8.8"):
        assert (await fetched(f"http://{host}:{port}/")).outcome is FetchOutcome.REFUSED
    # A network that is allowed does not make other hosts' ports readable.
    document = await fetched(f"http://shop.example:{port}/", Answering(["8.8.8.8"]), allowed=["10.0.0.0/8"])
    assert document.outcome is FetchOutcome.REFUSED
    assert listener.accepted == 0
    server.close()


@pytest.mark.parametrize("host", [*WRITTEN, "10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "192.0.0.192"])
@pytest.mark.parametrize("hops", [0, 2])
async def test_row_47_no_redirect_leads_inside(inside: Inside, host: str, hops: int) -> None:
    async with Redirecting(f"http://{host}:{inside.port}/", hops) as site:
        document = await fetched(site.url, Answering(["127.0.0.1"]), allowed=["127.0.0.2/32"])
    assert document.outcome in {FetchOutcome.REFUSED, FetchOutcome.SERVER_ERROR}
    assert (document.body, inside.accepted, site.asked) == (b"", 0, hops + 1)


async def test_row_47_a_redirect_that_may_be_followed_arrives(inside: Inside) -> None:
    async with Redirecting(f"http://turning.example:{inside.port}/", 1) as site:
        assert (await fetched(site.url, allowed=LOOPBACK)).body == b"secret"


async def test_row_47_a_redirect_never_leaves_https(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, trusted = certificate_of_loopback(tmp_path)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusted)
    async with Redirecting(f"http://127.0.0.1:{inside.port}/", 1, tls=served) as site:
        document = await fetched(site.url, allowed=LOOPBACK)
    assert (document.outcome, site.asked, inside.accepted) == (FetchOutcome.REFUSED, 2, 0)
    assert "without encryption" in (document.message or "")


async def test_row_47_a_secret_does_not_follow_a_redirect_to_another_origin(inside: Inside) -> None:
    headers = {"Authorization": "Bearer s3cret", "Cookie": "id=s3cret", "X-Api-Key": "s3cret"}
    async with Redirecting(f"http://127.0.0.1:{inside.port}/", 1) as site:
        assert (await fetched(site.url, allowed=LOOPBACK, headers=headers)).body == b"secret"
        assert site.secrets == 2
    assert b"s3cret" not in inside.heard[0]


async def test_row_47_a_redirect_with_a_user_name_is_not_followed_though_its_host_may_be_read(inside: Inside) -> None:
    async with Redirecting(f"http://shop.example@127.0.0.1:{inside.port}/", 0) as site:
        assert (await fetched(site.url, allowed=LOOPBACK)).outcome is FetchOutcome.REFUSED
    assert inside.accepted == 0


async def test_row_47_a_proxy_from_the_environment_hears_nothing(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{inside.port}")
    async with Redirecting("http://10.0.0.1/", 1) as site:
        assert (await fetched(site.url, allowed=LOOPBACK)).outcome is FetchOutcome.REFUSED
        assert site.asked == 2
    assert inside.accepted == 0


@pytest.mark.parametrize("kind", ["application/xml", "application/rss+xml", "application/atom+xml", "text/xml"])
@pytest.mark.parametrize("attack", ["file", "network", "parameter", "bomb", "document type"])
async def test_row_50_xml_opens_nothing_and_does_not_grow(inside: Inside, kind: str, attack: str) -> None:
    base = f"http://127.0.0.1:{inside.port}"
    nested = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    declared = {
        "file": '[<!ENTITY x SYSTEM "file:///etc/passwd">]',
        "network": f'[<!ENTITY x SYSTEM "{base}/">]',
        "parameter": f'[<!ENTITY % p SYSTEM "{base}/evil.dtd"> %p; <!ENTITY x "">]',
        "bomb": f'[<!ENTITY e0 "ha">{nested}<!ENTITY x "&e8;">]',
        "document type": f'SYSTEM "{base}/evil.dtd"',
    }[attack]
    items = "<rss><channel><item><title>Kettle {}</title></item></channel></rss>"
    for source, select in (
        (FeedSource(url=base), Select(feed="title")),
        (HttpSource(url=base), Select(xpath="//title")),
    ):
        fact = FactSpec(name="title", type=FactType.TEXT, select=select)
        for text, expected in (
            (f'<?xml version="1.0"?>{items.format("")}', True),
            (f'<?xml version="1.0"?><!DOCTYPE rss {declared}>{items.format("&x;")}', False),
        ):
            document = Document(
                url=base, outcome=FetchOutcome.OK, fetched_at=NOW, content_type=kind, body=text.encode(), hash="0" * 64
            )
            tracemalloc.start()
            found = FactReader().read([fact], source, document)
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert not expected or found["title"].value == "Kettle"
            assert "root:" not in repr(found)
            assert "secret" not in repr(found)
            assert "haha" not in repr(found)
            assert peak_bytes < 1_000_000
    assert inside.accepted == 0


async def test_row_51_the_last_look_is_at_the_socket_itself(inside: Inside) -> None:
    """Whatever slips past the checks of names and URLs stops here. The network around the process is the layer after
    this one (docs/fetching.md)."""

    class Lenient(NetworkGuard):
        def check_url(self, url: str | URL) -> None:
            """As if it were another guard's."""

    guard = Lenient()
    fetcher = AiohttpFetcher(guard, now=lambda: NOW, user_agent="Vigil", deadline_seconds=5)
    document = await fetcher.fetch(HttpSource(url=f"http://127.0.0.1:{inside.port}/"), None)
    await fetcher.close()
    assert (document.outcome, inside.accepted) == (FetchOutcome.REFUSED, 0)


class Redirecting:
    """A site on 127.0.0.2 that redirects to itself `hops` times and then to `target`."""

    def __init__(self, target: str, hops: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._hops, self._tls = target, hops, tls
        self.asked = self.secrets = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{hop:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.2", 0, ssl_context=self._tls).start()
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.2:{self._runner.addresses[0][1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.secrets += "s3cret" in request.headers.get("Authorization", "")
        hop = int(request.match_info["hop"])
        location = self._target if hop >= self._hops else f"/{hop + 1}"
        return web.Response(status=302, headers={"Location": location})


def certificate_of_loopback(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server on 127.0.0.2 proves itself with, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.2"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate, secret)
    return served, ssl.create_default_context(cafile=str(certificate))
