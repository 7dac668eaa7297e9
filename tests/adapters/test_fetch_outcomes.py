"""What answers and failures come to: challenges, pacing, what servers say about when to come again, and faults (row 29)."""

import asyncio
import gzip
import resource
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import redis.asyncio as redis
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.answer_freshness import FRESH_SECONDS_MAX, fresh_until, worth_keeping
from adapters.challenge_pages import PAGE_BYTES_MAX, asks_for_a_human
from adapters.host_pacing import RETRY_AFTER_SECONDS_MAX, TOO_OFTEN_SECONDS, HostPacing, retry_after_seconds
from adapters.network_guard import NetworkGuard
from adapters.redis_pacing import Pacing
from bootstrap.parts import user_agent
from commands.postponed import Postponed
from domain.evidence import Document, FetchOutcome
from domain.source import HttpSource
from tests.adapters.test_network_guard import Answering, Listening

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 256 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The shapes that bot protection was seen to send in place of a page, each cut to what tells it.
CHALLENGES: dict[str, tuple[int, dict[str, str], str]] = {
    "Cloudflare, managed": (
        403,
        {"cf-mitigated": "challenge", "Server": "cloudflare"},
        "<!DOCTYPE html><html lang='en-US'><head><title>Just a moment...</title></head><body></body></html>",
    ),
    "Cloudflare, translated": (
        200,
        {},
        ("<!DOCTYPE html><title>Einen Moment…</title><script>(function(){window._cf_chl_opt = {cvId: '3',"
        "cZone: 'shop.example'};})();</script><noscript>Enable JavaScript and cookies to continue</noscript>"),
    ),
    "Cloudflare, five seconds": (
        503,
        {"Server": "cloudflare"},
        ("<html><head><title>Just a moment...</title></head><body class='cf-browser-verification'>"
        '<form id="challenge-form" action="/?__cf_chl_f_tk=1" method="POST"></form></body></html>'),
    ),
    "Cloudflare, blocked": (
        200,
        {},
        "<!DOCTYPE html><title>Attention Required! | Cloudflare</title><h1>Sorry, you have been blocked</h1>",
    ),
    "DataDome": (
        200,
        {"X-DataDome": "protected"},
        ("<html><head><title>shop.example</title></head><body><p id='cmsg'>Please enable JS and disable any ad blocker"
        "</p><script>var dd={'rt':'c','host':'geo.captcha-delivery.com'}</script>"
        "<script src='https://ct.captcha-delivery.com/c.js'></script></body></html>"),
    ),
    "PerimeterX": (
        200,
        {},
        ("<html><head><title>Access to this page has been denied.</title></head><body>Press & Hold to confirm you are a "
        'human<div id="px-captcha"></div><script>window._pxAppId = "PX1";</script></body></html>'),
    ),
    "Imperva": (
        200,
        {},
        ("<html style='height:100%'><body><iframe src='/_Incapsula_Resource?CWUDNSAI=1'>Request unsuccessful. "
        "Incapsula incident ID: 1-2</iframe></body></html>"),
    ),
    "Imperva, interruption": (
        200,
        {},
        "<html><title>Pardon Our Interruption</title><p>something about your browser made us think you were a bot</p>",
    ),
    "Akamai": (
        200,
        {},
        "<!DOCTYPE html><html><meta http-equiv='refresh' content=\"5; URL='/?bm-verify=AAQ'\" /><title>&nbsp;</title></html>",
    ),
    "AWS WAF, told in a header": (202, {"x-amzn-waf-action": "challenge"}, ""),
    "AWS WAF, told in the page": (
        200,
        {},
        ("<!DOCTYPE html><html><head><title></title><script>window.awsWafCookieDomainList = [];window.gokuProps = {};"
        "</script></head><body><noscript>JavaScript is disabled</noscript></body></html>"),
    ),
    "Vercel": (200, {"x-vercel-mitigated": "challenge"}, "<title>Vercel Security Checkpoint</title>"),
    "Sucuri": (200, {}, "<html><title>You are being redirected...</title><script>sucuri_cloudproxy_js='';</script></html>"),
    "Anubis": (200, {}, "<!doctype html><title>Making sure you&#39;re not a bot!</title><p>Loading...</p>"),
    "DDoS-Guard": (503, {"Server": "ddos-guard"}, "<!DOCTYPE html><title>DDoS-Guard</title><h1>Checking your browser</h1>"),
    "somebody's own": (
        200,
        {},
        "\ufeff<html><body><h1>One more step</h1><p>Please verify that you are not a robot.</p></body></html>",
    ),
}  # fmt: skip
ARTICLE = "<p>" + "Bot protection asks readers to prove that you are a human, and some of them leave. " * 20 + "</p>"
PAGES: dict[str, str] = {
    "an article about challenges": f"<html><title>Just a moment: how captchas work</title>{ARTICLE}</html>",
    "an article of that very title": f"<html><title>Access Denied</title>{ARTICLE}</html>",
    "an article that shows the code": f"<html><pre>window._cf_chl_opt = {{}}</pre>{ARTICLE}</html>",
    "a page with Cloudflare's sensor": "<html><title>Kettle</title><p>250 EUR</p>"
    "<script>d.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'</script></html>",
    "a page with PerimeterX' sensor": "<html><title>Kettle</title>250 EUR<script>window._pxAppId='PX1'</script></html>",
    "a page with Imperva's sensor": "<html>250 EUR<script src='/_Incapsula_Resource?SWJIYLWA=7'></script></html>",
    "a form with a captcha": "<html><title>Contact</title><div class='g-recaptcha'></div>Write to us</html>",
    "JSON that quotes one": '{"html": "<title>Just a moment...</title>"}',
    "text that quotes one": "verify you are human",
}


@pytest.mark.parametrize("name", CHALLENGES)
async def test_a_page_that_asks_for_a_human_is_blocked_and_never_content(name: str) -> None:
    status, headers, text = CHALLENGES[name]

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status, headers={"Content-Type": "text/html"} | headers)

    async with serving(page) as site:
        document = await site.read()
    assert (document.outcome, document.body, document.hash) == (FetchOutcome.BLOCKED, b"", None)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_that_only_speaks_of_such_things_is_read(name: str) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGES[name], headers={"Content-Type": "text/html"})

    async with serving(page) as site:
        assert (await site.read()).outcome is FetchOutcome.OK


async def test_an_outage_that_shows_a_page_is_the_servers_error() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<title>503 Service Unavailable</title>We are back soon.", status=503)

    async with serving(page) as site:
        assert (await site.read()).outcome is FetchOutcome.SERVER_ERROR


@given(
    st.lists(st.sampled_from([b"<", b">", b"<script", b"</script", b"<title", b"&", b" ", b"a", b"<svg>", b"verify "]))
)
def test_judging_a_page_takes_time_that_grows_with_it_only(pieces: list[bytes]) -> None:
    page = (b"<html>window._cf_chl_opt" + b"".join(pieces) * PAGE_BYTES_MAX)[:PAGE_BYTES_MAX]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    asks_for_a_human({}, page)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1  # the quadratic form took minutes


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("9" * 30, RETRY_AFTER_SECONDS_MAX),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300),
        ("Thu, 01 Jan 2026 00:05:00", 300),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), RETRY_AFTER_SECONDS_MAX),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        (None, None),
        ("Thu, 99 Jan 2026 00:05:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


@given(st.text(max_size=60))
def test_whatever_retry_after_says_it_is_a_wait_of_at_most_a_day(value: str) -> None:
    seconds = retry_after_seconds(value, now=NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_SECONDS_MAX


DATED = {"Date": format_datetime(NOW, usegmt=True)}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Cache-Control": "max-age=120"}, 120),
        ({"Cache-Control": 'public, MAX-AGE="120" , foo=bar'}, 120),
        ({"Cache-Control": "max-age=120", "Age": "50"}, 70),
        ({"Cache-Control": "max-age=120", "Age": "120"}, None),
        ({"Cache-Control": "max-age=31536000, immutable"}, FRESH_SECONDS_MAX),
        ({"Cache-Control": "s-maxage=500"}, None),
        ({"Cache-Control": "max-age=10, max-age=99"}, 10),
        ({"Cache-Control": "no-store, max-age=120"}, None),
        ({"Cache-Control": "no-cache, max-age=120"}, None),
        ({"Cache-Control": "no-cache=Set-Cookie, max-age=120"}, None),
        ({"Cache-Control": "max-age=0, must-revalidate"}, None),
        ({"Cache-Control": "max-age=-1"}, None),
        ({"Cache-Control": "max-age=120", "Vary": "*"}, None),
        ({"Cache-Control": "max-age=120", "Vary": "Accept"}, 120),
        ({"Expires": format_datetime(NOW + timedelta(seconds=90), usegmt=True)} | DATED, 90),
        ({"Expires": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, None),
        ({"Expires": "0"} | DATED, None),
        (
            {"Cache-Control": "max-age=0", "Expires": format_datetime(NOW + timedelta(hours=1), usegmt=True)} | DATED,
            None,
        ),
    ],
)
def test_freshness_is_what_the_server_says_and_never_guessed(headers: dict[str, str], seconds: int | None) -> None:
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert fresh_until(web.Response(headers=headers).headers, now=NOW) == expected


@given(st.dictionaries(st.sampled_from(["Cache-Control", "Expires", "Age", "Date", "Vary"]), st.text(max_size=80)))
def test_whatever_the_headers_say_nothing_is_fresh_for_more_than_an_hour(headers: Mapping[str, str]) -> None:
    until = fresh_until(headers, now=NOW)
    assert until is None or NOW < until <= NOW + timedelta(seconds=FRESH_SECONDS_MAX)


def test_of_the_headers_only_those_that_say_what_the_content_is_are_kept() -> None:
    sent = {"Content-Type": "text/html", "ETag": '"1"', "Set-Cookie": "id=1", "X-User": "ada", "Link": "a" * 2000}
    assert worth_keeping(sent) == {"content-type": "text/html", "etag": '"1"'}


async def test_freshness_is_told_for_a_plain_answer_and_for_no_other() -> None:
    async def page(request: web.Request) -> web.Response:
        if request.path == "/moved":
            raise web.HTTPMovedPermanently("/")
        return web.Response(text="here", headers={"Cache-Control": "max-age=120"})

    async with serving(page) as site:
        assert (await site.read()).fresh_until == NOW + timedelta(seconds=120)
        assert (await site.read("/moved")).fresh_until is None
        assert (await site.read(headers={"Accept-Language": "de"})).fresh_until is None


async def test_each_hop_of_a_redirect_takes_a_place_of_its_host(client: redis.Redis) -> None:
    asked = []

    async def page(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/1":
            raise web.HTTPFound("/2")
        return web.Response(text="here")

    async with serving(page, client=client, per_second=0.01) as site:  # one place, and no other for long
        with pytest.raises(Postponed) as later:
            await site.read("/1")
    assert asked == ["/1"]
    assert later.value.until > NOW + timedelta(seconds=90)


async def test_a_host_is_asked_by_its_name_whatever_the_path_and_the_port(client: redis.Redis) -> None:
    pacing = host_pacing(client, per_second=0.5)
    await pacing.admit(URL("http://shop.example/a"), {})
    for url in ("https://SHOP.example./b", "http://shop.example:8080/c"):
        with pytest.raises(Postponed):
            await pacing.admit(URL(url), {})
    await pacing.admit(URL("http://other.example/"), {})


async def test_a_short_wait_is_waited(client: redis.Redis) -> None:
    pacing = host_pacing(client, per_second=20)  # 40 at once
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(pacing.admit(URL("http://shop.example/"), {}) for _ in range(44)))
    assert asyncio.get_running_loop().time() - started >= 0.19


async def test_an_own_network_is_not_limited_unless_it_asks_for_it(client: redis.Redis) -> None:
    answers = [
        web.Response(text="one"),
        web.Response(text="two"),
        web.Response(status=429, headers={"Retry-After": "7"}),
    ]

    async def page(_: web.Request) -> web.Response:
        return answers.pop(0)

    async with serving(page, host="127.0.0.1", client=client, per_second=0.01) as site:
        outcomes = [(await site.read()).outcome for _ in range(3)]
        assert outcomes == [FetchOutcome.OK, FetchOutcome.OK, FetchOutcome.BLOCKED]
        with pytest.raises(Postponed) as later:
            await site.read()
    assert NOW + timedelta(seconds=6) < later.value.until < NOW + timedelta(seconds=8)


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "seconds"),
    [
        (429, {"Retry-After": "120"}, FetchOutcome.BLOCKED, 120),
        (429, {}, FetchOutcome.BLOCKED, TOO_OFTEN_SECONDS),
        (503, {"Retry-After": "120"}, FetchOutcome.SERVER_ERROR, 120),
        (503, {}, FetchOutcome.SERVER_ERROR, None),
        (200, {"Retry-After": "120"}, FetchOutcome.OK, None),
    ],
)
async def test_a_host_that_asks_for_patience_is_left_alone_by_every_process(
    client: redis.Redis, status: int, headers: dict[str, str], outcome: FetchOutcome, seconds: float | None
) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="x", status=status, headers=headers)

    async with serving(page, client=client) as site:
        assert (await site.read()).outcome is outcome
    other = host_pacing(client)
    if seconds is None:
        await other.admit(URL("http://site.example/"), {})
        return
    with pytest.raises(Postponed) as later:
        await other.admit(URL("http://site.example/"), {})
    assert timedelta(seconds=seconds - 5) < later.value.until - NOW < timedelta(seconds=seconds + 1)


async def test_a_used_up_quota_holds_those_with_the_same_credential_only(client: redis.Redis) -> None:
    url, one, other = URL("http://api.example/"), {"Authorization": "Bearer one"}, {"Authorization": "Bearer other"}
    pacing = host_pacing(client)
    await pacing.heard(url, one, 429, "120")
    with pytest.raises(Postponed):
        await pacing.admit(url, one)
    await pacing.admit(url, other)
    await pacing.admit(url, {"accept-language": "de"})
    await pacing.heard(url, {}, 429, "120")
    with pytest.raises(Postponed):
        await pacing.admit(url, other)
    assert "one" not in repr(await client.keys())


def test_vigil_says_who_it_is_and_where_its_operator_is_found() -> None:
    assert user_agent("https://vigil.example").startswith("Vigil/")
    assert "(+https://vigil.example; " in user_agent("https://vigil.example")
    for unusable in (None, "", "https://x\r\nHost: y", "https://bücher.example"):
        told = user_agent(unusable)
        assert "+" not in told
        assert told.isascii()
        assert told.isprintable()


async def test_hostile_sources_end_typed_within_the_deadline_and_memory_stays_flat() -> None:
    """FAULTS.md, row 29: a bomb, a drip, a loop and a name that turns inside, eight of each at once."""
    bomb, released = gzip.compress(bytes(30_000_000)), asyncio.Event()

    async def page(request: web.Request) -> web.StreamResponse:
        if request.path == "/bomb":
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})
        if request.path == "/loop":
            raise web.HTTPFound("/loop")
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        while not released.is_set():
            await response.write(b"<p>")
            await asyncio.sleep(0.01)
        return response

    async with Listening() as inside, serving(page, deadline_seconds=0.5) as site:
        turning = AiohttpFetcher(
            NetworkGuard(), now=lambda: NOW, user_agent="t", resolver=Answering(["127.0.0.1"], port=inside.port)
        )
        readings = [site.read(path) for path in ("/bomb", "/drip", "/loop") for _ in range(8)]
        rebinding = [turning.fetch(HttpSource(url="http://turning.example/"), None) for _ in range(8)]
        tracemalloc.start()
        documents = await asyncio.gather(*readings, *rebinding)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        released.set()
        await turning.close()
    refused, slow, large = FetchOutcome.REFUSED, FetchOutcome.SLOW, FetchOutcome.TOO_LARGE
    assert [one.outcome for one in documents] == [large] * 8 + [slow] * 8 + [refused] * 16
    assert peak_bytes < 24_000_000  # a single bomb would be 30 MB
    assert inside.accepted == 0


class Site:
    def __init__(self, fetcher: AiohttpFetcher, base: str) -> None:
        self.fetcher, self.base = fetcher, base

    async def read(self, path: str = "/", *, headers: dict[str, str] | None = None) -> Document:
        return await self.fetcher.fetch(HttpSource(url=self.base + path, headers=headers or {}), None)


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    host: str = "site.example",
    client: redis.Redis | None = None,
    per_second: float = 1000,
    deadline_seconds: float = 5,
) -> AsyncIterator[Site]:
    """A site on loopback, by this host's name, and a fetcher that may read it."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fetcher = AiohttpFetcher(
        NetworkGuard(["127.0.0.0/8"]),
        now=lambda: NOW,
        user_agent="Vigil",
        deadline_seconds=deadline_seconds,
        body_bytes_max=LIMIT,
        pacing=None if client is None else host_pacing(client, per_second=per_second),
        resolver=Answering(["127.0.0.1"]),
    )
    try:
        yield Site(fetcher, f"http://{host}:{runner.addresses[0][1]}")
    finally:
        await fetcher.close()
        await runner.cleanup()


def host_pacing(client: redis.Redis, *, per_second: float = 1000) -> HostPacing:
    pacing = Pacing(client, namespace="t", monotonic=asyncio.get_running_loop().time)
    return HostPacing(pacing, NetworkGuard(["127.0.0.0/8"]), per_second=per_second, now=lambda: NOW)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.Redis]:
    async with redis.from_url(redis_url) as opened:
        yield opened
