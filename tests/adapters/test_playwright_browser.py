"""Pages that need a browser: read as they are shown, by a browser that reaches nothing by itself."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

import psutil
import pytest
from aiohttp import web

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.network_guard import NetworkGuard
from adapters.page_parts import NAVIGATIONS_MAX, PARTS_BYTES_MAX, REQUESTS_MAX, Asked, PageParts
from adapters.playwright_browser import INSTALL, CannotShow, PlaywrightBrowser, browser_program
from adapters.rendering_fetcher import LATER, RenderingFetcher
from adapters.source_rules import SourceRules
from commands.postponed import Postponed
from domain.errors import InvalidInput
from domain.evidence import Document, FetchOutcome, Validators
from domain.source import FeedSource, HttpSource

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROGRAM = browser_program(None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no Playwright with a Chromium is installed to show pages in"
)

Answer = Callable[[web.Request], web.StreamResponse]


def html(body: str, script: str = "") -> Answer:
    text = f"<!DOCTYPE html><title>A page</title><body>{body}<script>{script}</script></body>"
    return lambda _request: web.Response(text=text, content_type="text/html")


@dataclass
class Site:
    """A site on 127.0.0.1 whose pages the test makes."""

    pages: dict[str, Answer] = field(default_factory=dict)
    seen: list[web.Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        answer = self.pages.get(request.path)
        return web.Response(status=404) if answer is None else answer(request)


@dataclass
class Inside:
    """Listens on 127.0.0.2, which nobody may read, for TCP and UDP, and counts what comes."""

    port: int = 0
    accepted: int = 0
    datagrams: int = 0

    async def handle(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        writer.write(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def datagram_received(self, _data: bytes, _addr: object) -> None:
        self._inside.datagrams += 1


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    made = Inside()
    server = await asyncio.start_server(made.handle, "127.0.0.2", 0)
    made.port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(made), local_addr=("127.0.0.2", made.port)
    )
    yield made
    transport.close()
    server.close()


def plain(**options: object) -> AiohttpFetcher:
    return AiohttpFetcher(NetworkGuard(["127.0.0.1/32"]), now=lambda: NOW, user_agent="Vigil/test", **options)  # type: ignore[arg-type]  # options by name


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[PlaywrightBrowser]:
    assert PROGRAM is not None
    opened = PlaywrightBrowser(PROGRAM, user_agent="Vigil/test")
    yield opened
    await opened.close()


@asynccontextmanager
async def reading(browser: PlaywrightBrowser | None) -> AsyncIterator[RenderingFetcher]:
    """A fetcher over a browser that lives on."""
    fetcher, parts = plain(), plain()
    yield RenderingFetcher(fetcher, parts=parts, browser=browser, now=lambda: NOW)
    await fetcher.close()
    await parts.close()


async def shown(browser: PlaywrightBrowser, url: str, **headers: str) -> Document:
    async with reading(browser) as fetcher:
        return await fetcher.fetch(HttpSource(url=url, render=True, headers=headers), None)


@needs_browser
async def test_a_page_is_read_as_it_is_after_its_scripts_ran(browser: PlaywrightBrowser, site: Site) -> None:
    site.pages["/"] = html(
        '<p id="price">loading</p>',
        "fetch('/price.json').then(r => r.json()).then(p => document.getElementById('price').textContent = p.eur)",
    )
    site.pages["/price.json"] = lambda _request: web.json_response({"eur": "187.50"})
    document = await shown(browser, site.url + "/")
    assert (document.outcome, document.content_type, document.charset) == (FetchOutcome.OK, "text/html", "utf-8")
    assert '<p id="price">187.50</p>' in document.body.decode()
    assert document.hash is not None
    assert {request.headers["User-Agent"] for request in site.seen} == {"Vigil/test"}, "the browser asked nobody itself"
    assert (await shown(browser, site.url + "/")).hash == document.hash


@needs_browser
async def test_scripts_stylesheets_and_what_they_load_are_read_and_pictures_media_and_fonts_are_not(
    browser: PlaywrightBrowser, site: Site
) -> None:
    site.pages["/"] = html(
        "<link rel=stylesheet href=/style.css><img src=/picture.png><video src=/film.mp4></video>"
        "<iframe src=/frame.html></iframe><script src=/app.js></script><p id=said></p>"
    )
    site.pages["/app.js"] = lambda _request: web.Response(
        text="import('/part.js').then(m => document.getElementById('said').textContent = m.word)",
        content_type="text/javascript",
    )
    site.pages["/part.js"] = lambda _request: web.Response(
        text="export const word = 'häuser'", content_type="text/javascript", charset="utf-8"
    )
    site.pages["/style.css"] = lambda _request: web.Response(
        text="@font-face{font-family:x;src:url(/font.woff2)} body{font-family:x;background:url(/back.png)}",
        content_type="text/css",
    )
    document = await shown(browser, site.url + "/")
    assert '<p id="said">häuser</p>' in document.body.decode()
    assert sorted(site.paths()) == ["/", "/app.js", "/part.js", "/style.css"]


@needs_browser
async def test_a_script_reads_another_site_and_cookies_posts_and_secrets_stay_here(
    browser: PlaywrightBrowser, site: Site
) -> None:
    other = site.url.replace("127.0.0.1", "127.0.0.1")
    site.pages["/"] = html(
        "<p id=a></p>",
        """
        document.cookie = 'a=1';
        Promise.allSettled([
          fetch('/own.json', {credentials: 'include', headers: {'X-Key': '7'}}),
          fetch('/post', {method: 'POST', body: 'x'}),
          new Promise(done => { const x = new XMLHttpRequest(); x.open('PUT', '/put'); x.onloadend = done; x.send() }),
        ]).then(all => document.getElementById('a').textContent = all.map(one => one.status).join());
        navigator.sendBeacon('/beacon', 'x');
        """,
    )
    site.pages["/own.json"] = lambda _request: web.json_response({})
    document = await shown(browser, other + "/", Authorization="Bearer of the person")
    assert '<p id="a">fulfilled,rejected,fulfilled</p>' in document.body.decode()
    assert sorted(site.paths()) == ["/", "/own.json"]
    own = next(request for request in site.seen if request.path == "/own.json")
    assert own.headers["X-Key"] == "7"
    assert own.headers["Authorization"] == "Bearer of the person"
    assert "Cookie" not in own.headers


ATTEMPTS = """
const at = 'INSIDE', udp = 'UDP';
const tries = [
  () => fetch('http://' + at + '/fetch', {mode: 'no-cors'}),
  () => { const x = new XMLHttpRequest(); x.open('GET', 'http://' + at + '/xhr', false); x.send() },
  () => { new Image().src = 'http://' + at + '/image' },
  () => new WebSocket('ws://' + at + '/socket'),
  () => new EventSource('http://' + at + '/events'),
  () => navigator.sendBeacon('http://' + at + '/beacon', 'x'),
  () => new WebTransport('https://' + at + '/transport'),
  () => {
    const peer = new (window.RTCPeerConnection || window.webkitRTCPeerConnection)({iceServers: [
      {urls: 'stun:' + udp}, {urls: 'turn:' + udp + '?transport=tcp', username: 'a', credential: 'b'}]});
    peer.createDataChannel('x');
    return peer.createOffer().then(offer => peer.setLocalDescription(offer));
  },
  () => {
    const code = `fetch('http://${at}/worker', {mode: 'no-cors'}); new WebSocket('ws://${at}/worker');
                  importScripts('http://${at}/imported')`;
    new Worker(URL.createObjectURL(new Blob([code])));
  },
  () => new SharedWorker('data:text/javascript,' + encodeURIComponent(`new WebSocket("ws://${at}/shared")`)),
  () => navigator.serviceWorker.register('/app.js'),
  () => { const f = document.createElement('iframe'); f.src = 'http://' + at + '/frame'; document.body.append(f) },
  () => { const f = document.createElement('iframe');
          f.srcdoc = `<img src="http://${at}/x"><script>new WebSocket("ws://${at}/framed");
                      new RTCPeerConnection({iceServers: [{urls: "stun:${udp}"}]}).createDataChannel("x")<\\/script>`;
          document.body.append(f) },
  () => { const s = document.createElement('script'); s.src = 'http://' + at + '/script'; document.body.append(s) },
  () => { for (const rel of ['preload', 'prefetch', 'preconnect', 'dns-prefetch', 'stylesheet', 'icon', 'manifest']) {
            const l = document.createElement('link'); l.rel = rel; l.href = 'http://' + at + '/' + rel; l.as = 'script';
            document.head.append(l) } },
  () => window.open('http://' + at + '/window'),
  () => { const a = document.createElement('a'); a.href = 'http://' + at + '/file'; a.target = '_blank'; a.click() },
  () => { const f = document.createElement('form'); f.action = 'http://' + at + '/form'; f.target = 'x'; f.method = 'post';
          document.body.append(f); f.submit() },
  () => fetch('file:///etc/hostname').then(r => r.text()).then(t => document.title = 'read a file: ' + t),
  () => fetch('/redirect'),
];
for (const attempt of tries) { try { Promise.resolve(attempt()).catch(() => 0) } catch (e) { } }
"""


@needs_browser
async def test_nothing_that_a_page_tries_opens_a_connection(
    browser: PlaywrightBrowser, site: Site, inside: Inside
) -> None:
    address = f"127.0.0.2:{inside.port}"
    script = ATTEMPTS.replace("INSIDE", address).replace("UDP", address)
    site.pages["/"] = html("<p>tried</p>", script)
    site.pages["/redirect"] = lambda _request: web.Response(status=302, headers={"Location": f"http://{address}/moved"})
    site.pages["/app.js"] = lambda _request: web.Response(text="0", content_type="text/javascript")
    document = await shown(browser, site.url + "/")
    assert "<p>tried</p>" in document.body.decode()
    assert b"<title>read a file" not in document.body
    assert "/redirect" in site.paths(), "the attempts were made"
    assert (inside.accepted, inside.datagrams) == (0, 0)

    # The same with the site's own address, which our fetcher may read: what is no plain request still does not arrive.
    site.seen.clear()
    own = f"127.0.0.1:{site.port}"
    site.pages["/"] = html("<p>tried</p>", ATTEMPTS.replace("INSIDE", own).replace("UDP", own))
    await shown(browser, site.url + "/")
    never = {"/socket", "/worker", "/shared", "/framed", "/events", "/beacon", "/image", "/frame", "/form", "/window"}
    assert not never & {request.path for request in site.seen if request.headers["User-Agent"] != "Vigil/test"}
    assert {request.headers.get("User-Agent") for request in site.seen} == {"Vigil/test"}
    assert {request.method for request in site.seen} == {"GET"}
    assert all("Upgrade" not in request.headers for request in site.seen)


@needs_browser
async def test_a_page_that_leads_inside_by_a_redirect_or_by_its_scripts_opens_no_connection(
    browser: PlaywrightBrowser, site: Site, inside: Inside
) -> None:
    away = f"http://127.0.0.2:{inside.port}/"
    site.pages["/moved"] = lambda _request: web.Response(status=302, headers={"Location": away})
    assert (await shown(browser, site.url + "/moved")).outcome is FetchOutcome.REFUSED
    leads = (
        f"location = '{away}'",
        f"document.write('<meta http-equiv=refresh content=0;url={away}>')",
        f"const a = document.createElement('a'); a.href = '{away}'; a.download = 'x'; a.click()",
        "location = '/moved'",
    )
    for script in leads:
        site.pages["/"] = html("<p>here</p>", script)
        document = await shown(browser, site.url + "/")
        assert (document.outcome, document.body) == (FetchOutcome.REFUSED, b"")
    assert inside.accepted == 0


@needs_browser
async def test_a_page_that_leads_elsewhere_by_its_scripts_is_read_there_and_an_error_there_is_no_content(
    browser: PlaywrightBrowser, site: Site
) -> None:
    site.pages["/"] = html("<p>wait</p>", "location = '/there'")
    site.pages["/there"] = html("<p>arrived</p>")
    assert b"<p>arrived</p>" in (await shown(browser, site.url + "/")).body
    for path, outcome in (("/nowhere", FetchOutcome.GONE), ("/blocked", FetchOutcome.BLOCKED)):
        site.pages["/blocked"] = lambda _request: web.Response(status=403, text="<p>no</p>", content_type="text/html")
        site.pages["/"] = html("<p>wait</p>", f"location = '{path}'")
        document = await shown(browser, site.url + "/")
        assert (document.outcome, document.body) == (outcome, b"")
    site.pages["/"] = html("<form action=/form method=post></form>", "document.forms[0].submit()")
    document = await shown(browser, site.url + "/")
    assert (document.outcome, document.body) == (FetchOutcome.SERVER_ERROR, b"")
    assert "/form" not in site.paths()


@needs_browser
async def test_what_slips_past_every_route_reaches_nothing(
    browser: PlaywrightBrowser, site: Site, inside: Inside
) -> None:
    """The second layer alone: a page without any route."""
    async with browser._context(await browser._taken()) as context:
        page = await context.new_page()
        for host in ("127.0.0.2", "localhost", "[::ffff:127.0.0.2]"):
            with pytest.raises(Exception, match="net::ERR"):
                await page.goto(f"http://{host}:{inside.port}/", timeout=5000)
        with pytest.raises(Exception, match="net::ERR"):
            await page.goto(site.url + "/", timeout=5000)
        address = f"127.0.0.2:{inside.port}"
        page = await context.new_page()
        await page.set_content("<p>x</p>")
        await page.evaluate(ATTEMPTS.replace("INSIDE", address).replace("UDP", address))
        errors = await page.evaluate(
            "at => new Promise(done => { const s = new WebSocket('ws://' + at); s.onerror = () => done('refused');"
            " s.onopen = () => done('open') })",
            address,
        )
    assert errors == "refused"
    assert (inside.accepted, inside.datagrams, site.seen) == (0, 0, [])


@needs_browser
async def test_a_page_whose_scripts_never_end_is_slow_and_the_next_one_is_shown(site: Site) -> None:
    assert PROGRAM is not None
    browser = PlaywrightBrowser(PROGRAM, user_agent="Vigil/test", load_seconds=1.0)
    site.pages["/"] = html("<p>x</p>", "for (;;) {}")
    site.pages["/well"] = html("<p>well</p>")
    document = await shown(browser, site.url + "/")
    assert (document.outcome, document.body, document.hash) == (FetchOutcome.SLOW, b"", None)
    assert document.message is not None
    assert (await shown(browser, site.url + "/well")).outcome is FetchOutcome.OK
    await browser.close()


@needs_browser
async def test_a_browser_is_replaced_after_so_many_pages_or_when_it_died_and_leaves_no_process(site: Site) -> None:
    assert PROGRAM is not None
    before = {process.pid for process in psutil.Process().children(recursive=True)}

    def processes() -> list[psutil.Process]:
        return [process for process in psutil.Process().children(recursive=True) if process.pid not in before]

    browser = PlaywrightBrowser(PROGRAM, user_agent="Vigil/test", pages_max=2)
    site.pages["/"] = html("<p>x</p>")
    used = []
    for _ in range(3):
        assert (await shown(browser, site.url + "/")).outcome is FetchOutcome.OK
        used.append(browser._running)
    assert used[0] is used[1] is not used[2]
    killed: list[int] = []

    def kill(_request: web.Request) -> web.Response:
        if not killed:
            killed.append(len(processes()))
            for process in processes():
                with suppress(psutil.NoSuchProcess):
                    if "chromium" in process.name():
                        process.kill()
        return web.json_response({})

    site.pages["/"] = html("<p>x</p>", "fetch('/kill')")
    site.pages["/kill"] = kill
    assert (await shown(browser, site.url + "/")).outcome is FetchOutcome.OK, (
        "a page that dies with others is shown anew"
    )
    assert killed
    await browser.close()
    _, alive = psutil.wait_procs(processes(), timeout=5)
    assert alive == []


@needs_browser
async def test_what_is_no_page_is_passed_on_as_it_came_and_what_cannot_be_read_keeps_its_outcome(
    browser: PlaywrightBrowser, site: Site
) -> None:
    site.pages["/data.json"] = lambda _request: web.json_response({"price": 1})
    assert (await shown(browser, site.url + "/data.json")).body == b'{"price": 1}'
    assert (await shown(browser, site.url + "/gone")).outcome is FetchOutcome.GONE
    site.pages["/challenge"] = html("", "document.title = 'Just a moment...'")
    assert (await shown(browser, site.url + "/challenge")).outcome is FetchOutcome.BLOCKED


class Shows:
    """Stands where a browser would: shows what it is told, or waits."""

    def __init__(self, text: str = "<p>shown</p>") -> None:
        self.text, self.hold = text, asyncio.Event()
        self.fails: CannotShow | None = None
        self.hold.set()
        self.closed = False

    async def show(self, _url: str, _parts: PageParts) -> str:
        await self.hold.wait()
        if self.fails is not None:
            raise self.fails
        return self.text

    async def close(self) -> None:
        self.closed = True


class Serves:
    """Answers each address with the same document, and keeps who was asked with what."""

    def __init__(self, **fields: object) -> None:
        self.asked: list[tuple[HttpSource, Validators | None]] = []
        self.document = Document(
            url="https://shop.example/", outcome=FetchOutcome.OK, status=200, content_type="text/html", fetched_at=NOW,
            body=b"<p>raw</p>", hash="0", validators=Validators(etag='"1"'), fresh_until=NOW, **fields,  # type: ignore[arg-type]  # fields by name
        )  # fmt: skip

    async def fetch(self, source: HttpSource | FeedSource, known: Validators | None) -> Document:
        assert isinstance(source, HttpSource)
        self.asked.append((source, known))
        return self.document

    async def close(self) -> None:
        pass


SOURCE = HttpSource(url="https://shop.example/", render=True)


async def test_only_a_source_that_asks_for_it_is_shown_and_a_shown_page_is_never_taken_for_unchanged() -> None:
    serves, shows = Serves(), Shows()
    fetcher = RenderingFetcher(serves, parts=serves, browser=shows, now=lambda: NOW)
    known = Validators(etag='"1"')
    assert await fetcher.fetch(HttpSource(url=SOURCE.url), known) is serves.document
    document = await fetcher.fetch(SOURCE, known)
    assert [asked for _, asked in serves.asked] == [known, None]
    assert (document.body, document.validators, document.fresh_until) == (b"<p>shown</p>", Validators(), None)
    assert document.hash != serves.document.hash
    await fetcher.close()
    assert shows.closed


class ShowsWithAScript(Shows):
    """Shows a page that loads one script."""

    async def show(self, url: str, parts: PageParts) -> str:
        script = Asked(url="https://elsewhere.example/a.js", method="GET", kind="script", is_page=False, headers={})
        await parts.answer(script)
        return await super().show(url, parts)


@pytest.mark.parametrize("own", [False, True])
async def test_only_a_page_of_the_operators_network_loads_from_it(*, own: bool) -> None:
    serves, elsewhere, inside = Serves(), Serves(), Serves()
    fetcher = RenderingFetcher(
        serves,
        parts=elsewhere,
        own_parts=inside,
        is_own=lambda url: own and url == serves.document.url,
        browser=ShowsWithAScript(),
        now=lambda: NOW,
    )
    await fetcher.fetch(SOURCE, None)
    assert (len(elsewhere.asked), len(inside.asked)) == ((0, 1) if own else (1, 0))


async def test_without_the_extra_a_source_that_needs_a_browser_is_refused_with_what_to_install() -> None:
    serves = Serves()
    fetcher = RenderingFetcher(serves, parts=serves, browser=None, now=lambda: NOW)
    document = await fetcher.fetch(SOURCE, None)
    assert (document.outcome, document.message, serves.asked) == (FetchOutcome.REFUSED, INSTALL, [])
    assert (await fetcher.fetch(HttpSource(url=SOURCE.url), None)).outcome is FetchOutcome.OK
    rules = SourceRules(NetworkGuard([]), can_render=False)
    rules.check_source(HttpSource(url="https://shop.example/"), field="sources[0]")
    with pytest.raises(InvalidInput, match="vigil\\[browser\\]") as refused:
        rules.check_source(SOURCE, field="sources[3]")
    assert refused.value.field == "sources[3].render"
    SourceRules(NetworkGuard([]), can_render=True).check_source(SOURCE, field="sources[0]")


async def test_who_finds_all_places_taken_comes_back_later_and_that_is_no_failure() -> None:
    serves, shows = Serves(), Shows()
    fetcher = RenderingFetcher(serves, parts=serves, browser=shows, now=lambda: NOW, waited_seconds_max=0.01)
    shows.hold.clear()
    running = [asyncio.create_task(fetcher.fetch(SOURCE, None)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Postponed) as later:
        await fetcher.fetch(SOURCE, None)
    assert later.value.until == NOW + LATER
    shows.hold.set()
    assert {document.outcome for document in await asyncio.gather(*running)} == {FetchOutcome.OK}
    assert (await fetcher.fetch(SOURCE, None)).outcome is FetchOutcome.OK


@pytest.mark.parametrize(
    ("fails", "outcome"),
    [
        (CannotShow("too long", slow=True), FetchOutcome.SLOW),
        (CannotShow("it broke"), FetchOutcome.SERVER_ERROR),
    ],
)
async def test_a_page_that_cannot_be_shown_says_why_and_brings_no_content(
    fails: CannotShow, outcome: FetchOutcome
) -> None:
    serves, shows = Serves(), Shows()
    shows.fails = fails
    document = await RenderingFetcher(serves, parts=serves, browser=shows, now=lambda: NOW).fetch(SOURCE, None)
    assert (document.outcome, document.message, document.body, document.hash) == (outcome, fails.message, b"", None)


async def test_a_page_that_is_shown_too_large_is_refused() -> None:
    serves = Serves()
    fetcher = RenderingFetcher(serves, parts=serves, browser=Shows("x" * 5_300_000), now=lambda: NOW)
    assert (await fetcher.fetch(SOURCE, None)).outcome is FetchOutcome.TOO_LARGE


def asked(url: str = "https://shop.example/a.js", **fields: object) -> Asked:
    values = {"method": "GET", "kind": "script", "is_page": False, "headers": {}} | fields
    return Asked(url, **values)  # type: ignore[arg-type]  # fields by name


def parts_of(serves: Serves, **headers: str) -> PageParts:
    return PageParts(serves.document, HttpSource(url="https://shop.example/", headers=headers), serves)


@pytest.mark.parametrize(
    "refused",
    [
        asked(method="POST"),
        asked(kind="image"),
        asked(kind="media"),
        asked(kind="font"),
        asked(kind="eventsource"),
        asked(kind="websocket"),
        asked(kind="document"),
    ],
    ids=lambda one: f"{one.method} {one.kind}",
)
async def test_what_cannot_change_what_a_page_says_is_not_read(refused: Asked) -> None:
    serves = Serves()
    assert await parts_of(serves).answer(refused) is None
    assert serves.asked == []


async def test_a_page_is_answered_from_what_was_read_and_read_again_only_so_often() -> None:
    serves = Serves()
    parts = parts_of(serves)
    page = asked("https://shop.example/", kind="document", is_page=True)
    answered = [await parts.answer(page) for _ in range(NAVIGATIONS_MAX + 2)]
    assert [one is not None for one in answered] == [True] * NAVIGATIONS_MAX + [False, False]
    assert len(serves.asked) == NAVIGATIONS_MAX - 1


async def test_a_page_loads_only_so_many_parts_and_so_many_bytes() -> None:
    serves = Serves()
    parts = parts_of(serves)
    answered = [await parts.answer(asked()) for _ in range(REQUESTS_MAX + 5)]
    assert [one is not None for one in answered].count(True) == REQUESTS_MAX
    large = Serves()
    large.document = SimpleNamespace(  # type: ignore[assignment]  # what is looked at of one
        body=b"x" * (PARTS_BYTES_MAX // 2), status=200, outcome=FetchOutcome.OK, content_type="text/css", charset=None, url=""
    )  # fmt: skip
    parts = parts_of(large)
    assert [await parts.answer(asked()) is not None for _ in range(4)] == [True, True, False, False]
    assert len(large.asked) == 3


async def test_headers_of_the_person_go_to_the_origin_they_were_written_for_alone() -> None:
    serves = Serves()
    parts = parts_of(serves, Cookie="session=1")
    sent = {"accept": "*/*", "x-key": "7", "cookie": "b=2", "user-agent": "Mozilla", "referer": "https://shop.example/"}
    for url in (
        "https://shop.example/a",
        "https://shop.example:444/a",
        "http://shop.example/a",
        "https://cdn.example/a",
    ):
        await parts.answer(asked(url, headers=sent))
    kept = {"accept": "*/*", "x-key": "7"}
    assert [source.headers for source, _ in serves.asked] == [kept | {"Cookie": "session=1"}, kept, kept, kept]


async def test_a_page_that_leads_elsewhere_asks_for_nothing_with_headers_of_the_person() -> None:
    serves = Serves()
    parts = parts_of(serves, Cookie="session=1")
    home = "https://shop.example/account"

    async def sent(**changes: object) -> bool:
        await parts.answer(asked(home, **changes))
        return "Cookie" in serves.asked[-1][0].headers

    async def leads_to(url: str) -> None:
        serves.document = SimpleNamespace(  # type: ignore[assignment]  # what is looked at of one
            body=b"<p>", status=200, outcome=FetchOutcome.OK, content_type="text/html", charset=None, url=url
        )
        await parts.answer(asked("https://shop.example/way-out", kind="document", is_page=True))

    await leads_to("unused: the first is the page itself")
    assert await sent()
    assert await sent(headers={"origin": "https://shop.example"})
    assert not await sent(headers={"origin": "https://evil.example"}), "a page that is there already"
    assert not await sent(headers={"origin": "null"})
    await leads_to("https://evil.example/")
    assert not await sent(), "the browser takes it for one of the shop, where it was redirected from"
    assert await sent(kind="document", is_page=True)
    await leads_to("https://shop.example/")
    assert await sent()


async def test_an_answer_may_be_read_by_the_script_that_asked_for_it() -> None:
    answered = await parts_of(Serves()).answer(asked(headers={"origin": "https://shop.example"}))
    assert answered is not None
    assert answered.headers["access-control-allow-origin"] == "https://shop.example"


def test_a_browser_is_found_by_its_path_or_its_name_and_one_that_is_not_there_is_none() -> None:
    assert browser_program("/nonexistent/chromium") is None
    assert browser_program(None) is None or "chrom" in str(browser_program(None))


def test_no_port_of_these_tests_is_open_to_others() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.2", 0))
        assert one.getsockname()[0] == "127.0.0.2", "all of 127.0.0.0/8 is this machine here"
