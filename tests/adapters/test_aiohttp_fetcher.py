"""Reading a source over HTTP, against real servers on loopback that behave well and badly."""

import asyncio
import gzip
import hashlib
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from adapters.aiohttp_fetcher import AiohttpFetcher, _Ended, _target
from adapters.content_decoding import BodyDecoder, NotDecodable, TooLarge
from adapters.network_guard import NetworkGuard
from adapters.request_headers import check_headers
from domain.errors import InvalidInput
from domain.evidence import Document, FetchOutcome, Validators
from domain.source import FeedSource, HttpSource

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 64 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def test_a_page_is_read_with_its_hash_and_what_makes_the_next_request_conditional() -> None:
    async def page(request: web.Request) -> web.Response:
        assert request.headers["User-Agent"] == "Vigil/1"
        headers = {"ETag": '"v1"', "Last-Modified": "Fri, 02 Jan 2026 00:00:00 GMT"}
        return web.Response(body="<p>Größe</p>".encode("latin-1"), headers=headers | html("iso-8859-1"))

    async with serving(page) as site:
        document = await site.read("/page?x=1#top")
    body = "<p>Größe</p>".encode("latin-1")
    assert {"etag", "last-modified", "content-type", "date"} <= document.headers.keys()
    assert msgspec.structs.replace(document, headers={}) == Document(
        url=f"{site.base}/page?x=1",
        outcome=FetchOutcome.OK,
        fetched_at=NOW,
        status=200,
        content_type="text/html",
        charset="iso-8859-1",
        body=body,
        hash=hashlib.sha256(body).hexdigest(),
        validators=Validators(etag='"v1"', last_modified="Fri, 02 Jan 2026 00:00:00 GMT"),
    )


async def test_an_unchanged_page_is_not_modified_and_keeps_its_validators() -> None:
    async def page(request: web.Request) -> web.Response:
        assert request.headers["If-None-Match"] == '"v1"'
        assert request.headers["If-Modified-Since"] == "Fri, 02 Jan 2026 00:00:00 GMT"
        return web.Response(status=304)

    known = Validators(etag='"v1"', last_modified="Fri, 02 Jan 2026 00:00:00 GMT")
    async with serving(page) as site:
        document = await site.read("/", known=known)
    assert (document.outcome, document.validators, document.body) == (FetchOutcome.NOT_MODIFIED, known, b"")


async def test_not_modified_without_having_asked_is_a_server_error() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(status=304)

    async with serving(page) as site:
        assert (await site.read("/")).outcome is FetchOutcome.SERVER_ERROR


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (401, {}, FetchOutcome.BLOCKED),
        (403, {}, FetchOutcome.BLOCKED),
        (403, {"cf-mitigated": "challenge"}, FetchOutcome.BLOCKED),
        (503, {"cf-mitigated": "challenge"}, FetchOutcome.BLOCKED),
        (202, {"x-amzn-waf-action": "challenge"}, FetchOutcome.BLOCKED),
        (429, {"Retry-After": "120"}, FetchOutcome.BLOCKED),
        (418, {}, FetchOutcome.BLOCKED),
        (404, {}, FetchOutcome.GONE),
        (410, {}, FetchOutcome.GONE),
        (406, {}, FetchOutcome.WRONG_TYPE),
        (500, {}, FetchOutcome.SERVER_ERROR),
        (503, {}, FetchOutcome.SERVER_ERROR),
        (302, {}, FetchOutcome.SERVER_ERROR),
        (200, {"Content-Type": "image/png"}, FetchOutcome.WRONG_TYPE),
        (200, {"Content-Encoding": "br"}, FetchOutcome.WRONG_TYPE),
        (200, {"Content-Encoding": "gzip, gzip"}, FetchOutcome.WRONG_TYPE),
        (200, {"Content-Encoding": "gzip"}, FetchOutcome.WRONG_TYPE),
    ],
)
async def test_an_answer_without_evidence_is_typed_and_explained(
    status: int, headers: dict[str, str], outcome: FetchOutcome
) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=b"text", headers=headers)

    async with serving(page) as site:
        document = await site.read("/")
    assert (document.outcome, document.status, document.body, document.hash) == (outcome, status, b"", None)
    assert document.message is not None
    assert "120" in document.message or status != 429


async def test_a_page_that_asks_for_a_human_is_blocked_though_its_status_is_200() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html><title>Just a moment...</title></html>", headers=html())

    async with serving(page) as site:
        assert (await site.read("/")).outcome is FetchOutcome.BLOCKED


async def test_binary_data_under_a_text_type_is_of_the_wrong_type() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(body=b"\x89PNG\r\n\0\0", content_type="application/octet-stream")

    async with serving(page) as site:
        assert (await site.read("/")).outcome is FetchOutcome.WRONG_TYPE


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
async def test_a_compressed_page_is_read(coding: str) -> None:
    packed = zlib.compress(b"hello") if coding == "deflate" else gzip.compress(b"hello")

    async def page(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip, deflate"
        return web.Response(body=packed, headers={"Content-Encoding": coding, "Content-Type": "text/plain"})

    async with serving(page) as site:
        assert (await site.read("/")).body == b"hello"


async def test_a_gzip_bomb_is_too_large_and_memory_stays_flat() -> None:
    bomb = gzip.compress(bytes(30_000_000))  # 29 KB

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async with serving(page) as site:
        tracemalloc.start()
        document = await site.read("/")
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert document.outcome is FetchOutcome.TOO_LARGE
    assert peak_bytes < 3_000_000


async def test_a_body_announced_or_sent_beyond_the_limit_is_too_large() -> None:
    sent = 0

    async def announced(_: web.Request) -> web.Response:
        return web.Response(body=bytes(LIMIT + 1), content_type="text/plain")

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while sent < 100 * LIMIT:
            await response.write(b"x" * 1024)
            sent += 1024
        return response

    for page in (announced, endless):
        async with serving(page) as site:
            assert (await site.read("/")).outcome is FetchOutcome.TOO_LARGE
    assert sent < 100 * LIMIT


@pytest.mark.parametrize("stall", ["before the answer", "inside the body"])
async def test_a_server_that_hangs_or_drips_is_slow_at_the_deadline(stall: str) -> None:
    released = asyncio.Event()

    async def page(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        if stall == "inside the body":
            await response.prepare(request)
            while request.transport is not None and not released.is_set():
                await response.write(b"x")
                await asyncio.sleep(0.01)
        await released.wait()
        return response

    async with serving(page, deadline_seconds=0.15) as site:
        started = asyncio.get_running_loop().time()
        document = await site.read("/")
        assert asyncio.get_running_loop().time() - started < 1
        released.set()
    assert document.outcome is FetchOutcome.SLOW
    assert "0.15 seconds" in (document.message or "")


async def test_redirects_are_followed_to_the_address_the_document_then_names() -> None:
    async def page(request: web.Request) -> web.Response:
        hop = int(request.query.get("hop", "0"))
        if hop < 5:
            raise web.HTTPFound(f"?hop={hop + 1}")
        return web.Response(text="here")

    async with serving(page) as site:
        document = await site.read("/start")
    assert (document.body, document.url) == (b"here", f"{site.base}/start?hop=5")


async def test_a_redirect_loop_ends() -> None:
    asked = 0

    async def page(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        raise web.HTTPFound("/again")

    async with serving(page) as site:
        document = await site.read("/")
    assert (document.outcome, asked) == (FetchOutcome.REFUSED, 6)


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://2130706433/",
        "http://user@127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "//10.0.0.1/",
    ],
)
async def test_a_redirect_to_a_private_address_is_refused(location: str) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with serving(page) as site:
        assert (await site.read("/")).outcome is FetchOutcome.REFUSED


async def test_a_redirect_to_nothing_sensible_is_the_servers_error() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://[::1"})

    async with serving(page) as site:
        assert (await site.read("/")).outcome is FetchOutcome.SERVER_ERROR


@pytest.mark.parametrize("location", ["http://example.com/", "http://other.example/", "ftp://example.com/"])
def test_a_redirect_never_leads_from_https_to_less(location: str) -> None:
    with pytest.raises(_Ended) as ended:
        _target(URL("https://example.com/"), location)
    assert ended.value.outcome is FetchOutcome.REFUSED


async def test_secrets_do_not_follow_a_redirect_to_another_origin() -> None:
    seen: dict[str, str] = {}

    async def other(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.Response(text="other")

    async with serving(other) as elsewhere:

        async def page(request: web.Request) -> web.Response:
            assert request.headers["Authorization"] == "Bearer s3cret"
            raise web.HTTPFound(elsewhere.base + "/")

        headers = {
            "Authorization": "Bearer s3cret",
            "Cookie": "a=s3cret",
            "X-Api-Key": "s3cret",
            "Accept-Language": "de",
        }
        async with serving(page) as site:
            assert (await site.read("/", headers=headers)).body == b"other"
    assert "s3cret" not in "".join(seen.values())
    assert seen["Accept-Language"] == "de"


async def test_own_headers_stay_within_an_origin_and_cookies_are_not_kept() -> None:
    async def page(request: web.Request) -> web.Response:
        if request.path == "/start":
            response = web.Response(status=307, headers={"Location": "/end"})
            response.set_cookie("tracking", "1")
            return response
        return web.json_response({"key": request.headers["X-Api-Key"], "cookie": request.headers.get("Cookie")})

    async with serving(page) as site:
        document = await site.read("/start", headers={"X-Api-Key": "k"})
    assert document.body == b'{"key": "k", "cookie": null}'


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "internal"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
        {"Connection": "close"},
        {"Proxy-Authorization": "x"},
        {"If-None-Match": "x"},
        {"Accept-Encoding": "br"},
        {"X": "a\r\nHost: internal"},
        {"X": "a\nb"},
        {"X\r\nHost": "a"},
        {"X:": "a"},
        {"": "a"},
        {"X": "ä"},
        {"X": "a" * 5000},
        {f"X{i}": "a" for i in range(21)},
    ],
)
async def test_headers_that_could_break_out_of_the_request_are_refused(headers: dict[str, str]) -> None:
    asked = 0

    async def page(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response()

    with pytest.raises(InvalidInput) as refused:
        check_headers(headers, "sources[0].headers")
    assert (refused.value.field or "").startswith("sources[0].headers")
    async with serving(page) as site:
        assert (await site.read("/", headers=headers)).outcome is FetchOutcome.REFUSED
    assert asked == 0


async def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="direct")

    async with serving(page) as site:
        assert (await site.read("/")).body == b"direct"


async def test_one_connection_serves_many_readings() -> None:
    ports = set()

    async def page(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(text="ok")

    async with serving(page) as site:
        for _ in range(5):
            await site.read("/")
    assert len(ports) == 1


async def test_no_more_connections_are_open_at_once_than_allowed() -> None:
    now = most = 0

    async def page(_: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return web.Response(text="ok")

    async with serving(page, connections_max=3) as site:
        documents = await asyncio.gather(*(site.read("/") for _ in range(12)))
    assert {document.outcome for document in documents} == {FetchOutcome.OK}
    assert most == 3


async def test_a_feed_is_asked_for_as_a_feed() -> None:
    async def page(request: web.Request) -> web.Response:
        assert request.headers["Accept"].startswith("application/rss+xml")
        return web.Response(text="<rss/>", content_type="application/rss+xml")

    async with serving(page) as site:
        document = await site.fetcher.fetch(FeedSource(url=site.base), None)
    assert document.outcome is FetchOutcome.OK


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 999 ?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + gzip.compress(b"hello")[:12],
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
async def test_a_server_that_speaks_no_proper_http_never_raises(answer: bytes) -> None:
    document = await answered_raw(answer)
    assert document.outcome not in {FetchOutcome.OK, FetchOutcome.NOT_MODIFIED}
    assert document.message


@pytest.mark.parametrize("seed", range(40))
async def test_random_bytes_never_raise(seed: int) -> None:
    noise = hashlib.shake_128(bytes([seed])).digest(200)
    head = b"HTTP/1.1 200 OK\r\n" if seed % 2 else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert isinstance(await answered_raw(head + noise), Document)


async def test_a_closed_port_is_unreachable() -> None:
    async with serving(never_called) as site:
        base = site.base
    fetcher = a_fetcher()
    document = await fetcher.fetch(HttpSource(url=base), None)
    await fetcher.close()
    assert document.outcome is FetchOutcome.UNREACHABLE
    assert document.message == "No connection to the server could be made."


async def test_a_name_nobody_knows_is_unreachable() -> None:
    fetcher = AiohttpFetcher(NetworkGuard(), now=lambda: NOW, user_agent="Vigil/1", resolver=Unknown())
    document = await fetcher.fetch(HttpSource(url="http://nothing.invalid/"), None)
    await fetcher.close()
    assert document.outcome is FetchOutcome.UNREACHABLE
    assert "name" in (document.message or "")


async def test_a_server_without_tls_is_unreachable_over_https() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="plain")

    async with serving(page) as site:
        url = site.base.replace("http:", "https:")
        assert (await site.fetcher.fetch(HttpSource(url=url), None)).outcome is FetchOutcome.UNREACHABLE


@given(st.binary(max_size=2000), st.integers(1, 50), st.sampled_from(["gzip", "deflate", "raw", "identity"]))
def test_a_body_decodes_to_itself_in_pieces_of_any_size(body: bytes, piece_bytes: int, packing: str) -> None:
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw": raw.compress(body) + raw.flush(),
        "identity": body,
    }[packing]
    decoder = BodyDecoder("deflate" if packing == "raw" else packing, bytes_max=2000)
    if packing == "raw" and packed[0] & 0x0F == 8:
        return  # bare deflate data that looks like zlib's cannot be told apart
    for start in range(0, len(packed), piece_bytes):
        decoder.feed(packed[start : start + piece_bytes])
    assert decoder.finish() == body


def test_gzip_members_are_joined_and_padding_is_ignored_but_thousands_are_refused() -> None:
    decoder = BodyDecoder("gzip", 100)
    decoder.feed(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0\0")
    assert decoder.finish() == b"ab"
    with pytest.raises(NotDecodable):
        BodyDecoder("gzip", 100).feed(gzip.compress(b"") * 1000)
    with pytest.raises(TooLarge):
        BodyDecoder("gzip", 100).feed(gzip.compress(bytes(101)))


class Unknown(AbstractResolver):
    """A name server that knows no name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        """Nothing is held."""


async def never_called(request: web.Request) -> web.Response:
    raise AssertionError(request.path)


class Site:
    """A loopback site and a fetcher that may read it."""

    def __init__(self, base: str, fetcher: AiohttpFetcher) -> None:
        self.base, self.fetcher = base, fetcher

    async def read(
        self, path: str, *, headers: dict[str, str] | None = None, known: Validators | None = None
    ) -> Document:
        return await self.fetcher.fetch(HttpSource(url=self.base + path, headers=headers or {}), known)


@asynccontextmanager
async def serving(handler: Handler, *, deadline_seconds: float = 5, connections_max: int = 10) -> AsyncIterator[Site]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    fetcher = a_fetcher(deadline_seconds=deadline_seconds, connections_max=connections_max)
    try:
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", fetcher)
    finally:
        await fetcher.close()
        await runner.cleanup()


async def answered_raw(answer: bytes) -> Document:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    fetcher = a_fetcher()
    try:
        port = server.sockets[0].getsockname()[1]
        return await fetcher.fetch(HttpSource(url=f"http://127.0.0.1:{port}/"), None)
    finally:
        await fetcher.close()
        server.close()


def a_fetcher(*, deadline_seconds: float = 5, connections_max: int = 10) -> AiohttpFetcher:
    return AiohttpFetcher(
        NetworkGuard(["127.0.0.0/8"]),
        now=lambda: NOW,
        user_agent="Vigil/1",
        deadline_seconds=deadline_seconds,
        body_bytes_max=LIMIT,
        connections_max=connections_max,
    )


def html(charset: str = "utf-8") -> dict[str, str]:
    return {"Content-Type": f"text/html; charset={charset}"}
