"""Row 25 of the fault matrix, and all else that `commands.asking.Provider` promises, on each real SDK and wire, against a
server that keeps no promise at all."""

import asyncio
import gzip
import json
import logging
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

import anthropic
import openai
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider

from adapters.claude_provider import ClaudeProvider
from adapters.openai_provider import OpenAIProvider
from adapters.provider_http import ANSWER_BYTES_MAX
from commands.asking import Inquiry, Provider, Reply
from domain.model_call import NOTHING_USED, CallOutcome, Task, TokenUsage
from tests.model_server import (
    BUSY_FOR_AN_HOUR,
    CUT,
    DRIP,
    FILTERED,
    HANG,
    HTML,
    REFUSAL,
    TRUNCATED,
    USED,
    WRONG_TYPE,
    Answer,
    Found,
    ModelServer,
    Script,
    Wire,
    body_of,
    failing,
    model_server,
    ok,
    slow,
)

Kind = Literal["claude", "responses", "chat"]
KINDS: list[Kind] = ["claude", "responses", "chat"]
KEY = "sk-made-up-0123456789"
GZIPPED = {"Content-Encoding": "gzip"}
SCHEMA = {
    "type": "object",
    "properties": {"price": {"type": "number"}},
    "required": ["price"],
    "additionalProperties": False,
}
ASKED = Inquiry(
    task=Task.EXTRACT,
    instructions="Read the price.",
    content="The private evidence says 12 euros.",
    schema=SCHEMA,
    output_tokens_max=500,
)
SEARCHED = Inquiry(
    task=Task.SEARCH, instructions="Search.", content="words", schema={}, output_tokens_max=500, searches=True
)


@dataclass(frozen=True)
class Place:
    """A provider and the server it asks."""

    provider: Provider
    server: ModelServer

    async def ask(self, inquiry: Inquiry = ASKED, *, seconds: float = 10) -> Reply:
        return await self.provider.call(inquiry, seconds=seconds)


def made(kind: Kind, url: str | None, key: str = KEY) -> ClaudeProvider | OpenAIProvider:
    if kind == "claude":
        return ClaudeProvider(key, "model-asked-for", url)
    return OpenAIProvider(key, "model-asked-for", None if url is None else f"{url}/v1", wire=kind)


@asynccontextmanager
async def place(kind: Kind, script: Script, key: str = KEY) -> AsyncIterator[Place]:
    async with model_server(script) as server:
        provider = made(kind, server.url, key)
        try:
            yield Place(provider, server)
        finally:
            await provider.close()


pytestmark = pytest.mark.parametrize("kind", KINDS)


async def test_an_answer_is_handed_over_as_it_came_with_its_model_and_usage(kind: Kind) -> None:
    async with place(kind, ok({"price": 12, "unit": "€"})) as here:
        reply = await here.ask()
        assert here.provider.model == "model-asked-for"
        assert here.provider.name == ("claude" if kind == "claude" else "openai")
    assert reply == Reply(
        outcome=CallOutcome.OK, text='{"price": 12, "unit": "€"}', usage=USED, model="stand-in-1", message=None
    )


@pytest.mark.parametrize(
    ("answer", "outcome", "usage", "text"),
    [
        (TRUNCATED, CallOutcome.TRUNCATED, USED, '{"price": 12'),
        (REFUSAL, CallOutcome.REFUSED, USED, "I cannot help with that."),
        (FILTERED, CallOutcome.REFUSED, USED, ""),
        (Answer(text=""), CallOutcome.MALFORMED, USED, ""),
        (HTML, CallOutcome.MALFORMED, NOTHING_USED, ""),
        (WRONG_TYPE, CallOutcome.MALFORMED, NOTHING_USED, ""),
        (Answer(body=b""), CallOutcome.MALFORMED, NOTHING_USED, ""),
        (Answer(body=b"{}"), CallOutcome.MALFORMED, NOTHING_USED, ""),
        (Answer(body=b"\xff\xfe"), CallOutcome.MALFORMED, NOTHING_USED, ""),
        (Answer(body=b"[" * 100_000), CallOutcome.MALFORMED, NOTHING_USED, ""),
        (Answer(body=b'{"content": 7, "output": 7, "choices": 7}'), CallOutcome.MALFORMED, NOTHING_USED, ""),
    ],
)
async def test_an_answer_that_is_none_is_typed_and_keeps_its_text_and_usage(
    kind: Kind, answer: Answer, outcome: CallOutcome, usage: TokenUsage, text: str
) -> None:
    async with place(kind, answer) as here:
        reply = await here.ask()
    assert (reply.outcome, reply.usage, reply.text) == (outcome, usage, text)
    assert reply.message


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (failing(429), CallOutcome.RATE_LIMITED),
        (failing(429, error="insufficient_quota"), CallOutcome.AUTH),
        (failing(400, error="billing_error"), CallOutcome.AUTH),
        (failing(402), CallOutcome.AUTH),
        (failing(401), CallOutcome.AUTH),
        (failing(403), CallOutcome.AUTH),
        (failing(400), CallOutcome.BAD_REQUEST),
        (failing(404), CallOutcome.BAD_REQUEST),
        (failing(409), CallOutcome.BAD_REQUEST),
        (failing(413), CallOutcome.BAD_REQUEST),
        (failing(422), CallOutcome.BAD_REQUEST),
        (failing(408), CallOutcome.TIMEOUT),
        (failing(500), CallOutcome.OVERLOADED),
        (failing(503), CallOutcome.OVERLOADED),
        (failing(529), CallOutcome.OVERLOADED),
        (Answer(status=502, body=b"<html>bad gateway</html>"), CallOutcome.OVERLOADED),
        (Answer(status=500, body=b"[" * 100_000), CallOutcome.OVERLOADED),
        (CUT, CallOutcome.OVERLOADED),
    ],
)
async def test_an_error_is_typed_and_not_tried_again_by_the_sdk(
    kind: Kind, answer: Answer, outcome: CallOutcome
) -> None:
    async with place(kind, answer) as here:
        reply = await here.ask()
        assert here.server.count == 1
    assert (reply.outcome, reply.usage, reply.text) == (outcome, NOTHING_USED, "")
    assert reply.message
    assert answer.status == 200 or str(answer.status) in reply.message
    assert reply.is_unheard == (answer is CUT), "an error is no answer, and is not paid for"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (401, CallOutcome.AUTH),
        (429, CallOutcome.RATE_LIMITED),
        (503, CallOutcome.OVERLOADED),
        (307, CallOutcome.BAD_REQUEST),
    ],
)
async def test_an_error_that_is_cut_off_is_told_by_its_status(kind: Kind, status: int, outcome: CallOutcome) -> None:
    async with place(kind, replace(CUT, status=status)) as here:
        reply = await here.ask()
    assert (reply.outcome, reply.is_unheard) == (outcome, False)
    assert f"({status})" in str(reply.message)


async def test_an_account_without_money_is_told_by_its_words_where_its_type_does_not_say_so(kind: Kind) -> None:
    said = {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}
    async with place(kind, Answer(status=400, body=json.dumps(said).encode())) as here:
        reply = await here.ask()
    assert (reply.outcome, reply.message) == (CallOutcome.AUTH, "the account with the provider has no money left (400)")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3600"}, 3600.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "Fri, 02 Jan 2026 00:02:00 GMT", "Date": "Fri, 02 Jan 2026 00:00:00 GMT"}, 120.0),
        ({"Retry-After": "Fri, 02 Jan 2026 00:02:00", "Date": "Fri, 02 Jan 2026 00:00:00 GMT"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": f"Fri, 02 Jan {'9' * 30} 00:02:00 GMT", "Date": "Fri, 02 Jan 2026 00:00:00 GMT"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_when_the_provider_wants_to_be_asked_again_is_told_in_seconds(
    kind: Kind, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    async with place(kind, Answer(status=status, headers=headers)) as here:
        assert (await here.ask()).retry_after_seconds == seconds


async def test_a_provider_that_is_not_there_is_overloaded_and_told_with_its_address(kind: Kind) -> None:
    async with place(kind, ok({})) as here:
        url = here.server.url
    assert await asked_at(kind, url) == Reply(
        outcome=CallOutcome.OVERLOADED,
        message=f"{url} could not be reached: it takes no connections there; does the server run, and are its host and port right?",
    )


async def asked_at(kind: Kind, url: str, *, key: str = KEY) -> Reply:
    provider = made(kind, url, key)
    try:
        return await provider.call(ASKED, seconds=10)
    finally:
        await provider.close()


@pytest.mark.parametrize(
    ("url", "where", "why"),
    [
        (
            "http://anna:secret@127.0.0.1:1/deep/path?token=secret",
            "http://127.0.0.1:1",
            "it takes no connections there",
        ),
        ("http://[::1]:1", "http://[::1]:1", ""),
        ("http://no.such.host.invalid", "http://no.such.host.invalid:80", "no such host is found"),
        ("https://no.such.host.invalid", "https://no.such.host.invalid:443", "no such host is found"),
    ],
)
async def test_of_the_address_of_one_that_cannot_be_reached_only_the_server_is_told(
    kind: Kind, url: str, where: str, why: str, reached_out: list[str]
) -> None:
    reply = await asked_at(kind, url, key="")
    assert set(reached_out) <= {"no.such.host.invalid"}
    reached_out.clear()
    assert (reply.outcome, reply.is_unheard) == (CallOutcome.OVERLOADED, False)
    assert str(reply.message).startswith(f"{where} could not be reached: {why}")
    for untold in ("anna", "secret", "deep", "token", "v1"):
        assert untold not in str(reply.message)


async def test_who_cannot_be_connected_in_time_is_not_reached_and_nothing_was_sent(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.provider_http.CONNECT_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        while not await is_full(full, waiting):
            pass
        where = f"http://127.0.0.1:{full.getsockname()[1]}"
        reply = await asked_at(kind, where)
    assert (reply.outcome, reply.is_unheard) == (CallOutcome.OVERLOADED, False)
    assert str(reply.message).startswith(f"{where} could not be reached: no connection within 0.2 seconds")


async def is_full(server: socket.socket, waiting: ExitStack) -> bool:
    """Whether it takes no more connections, of which it has one more now."""
    client = waiting.enter_context(socket.socket())
    client.settimeout(0)
    try:
        async with asyncio.timeout(0.2):
            await asyncio.get_running_loop().sock_connect(client, server.getsockname())
    except TimeoutError:
        return True
    return False


async def test_a_server_without_tls_where_it_is_wanted_is_not_reached(kind: Kind) -> None:
    async with place(kind, ok({})) as here:
        reply = await asked_at(kind, here.server.url.replace("http:", "https:"))
        assert here.server.count == 0
    assert (reply.outcome, reply.is_unheard) == (CallOutcome.OVERLOADED, False)
    assert "could not be reached: its certificate or its TLS is not as it should be" in str(reply.message)


async def test_a_connection_that_breaks_off_may_have_brought_an_answer(kind: Kind) -> None:
    async with place(kind, CUT) as here:
        reply = await here.ask()
    broke_off = f"the connection to {here.server.url} broke off before the whole answer was there (ClientPayloadError)"
    assert reply == Reply(outcome=CallOutcome.OVERLOADED, message=broke_off, is_unheard=True)


async def test_whether_one_that_hangs_up_has_read_the_request_nobody_knows(kind: Kind) -> None:
    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        reply = await asked_at(kind, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (reply.outcome, reply.usage, reply.is_unheard) == (CallOutcome.OVERLOADED, NOTHING_USED, True)
    assert "broke off before the whole answer was there" in str(reply.message)


@pytest.mark.parametrize("answer", [HANG, DRIP, slow(ok({}), 60)])
async def test_a_call_is_over_at_its_deadline_however_the_server_plays_for_time(kind: Kind, answer: Answer) -> None:
    async with place(kind, answer) as here:
        reply = await here.ask(seconds=0.3)
        assert here.server.count == 1
    assert (reply.outcome, reply.message) == (CallOutcome.TIMEOUT, "there was no whole answer in time (0.3 seconds)")


async def test_an_hour_of_retry_after_is_told_and_not_slept(kind: Kind) -> None:
    async with place(kind, BUSY_FOR_AN_HOUR) as here:
        reply = await here.ask(seconds=30)
    assert (reply.outcome, reply.retry_after_seconds) == (CallOutcome.RATE_LIMITED, 3600.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_so_that_no_key_travels(kind: Kind, status: int) -> None:
    async with model_server(ok({"price": 1})) as other:
        async with place(kind, Answer(status=status, headers={"Location": f"{other.url}/v1/messages"})) as here:
            reply = await here.ask()
        assert other.count == 0
    assert reply.outcome is CallOutcome.BAD_REQUEST


async def test_an_answer_without_end_takes_no_memory(kind: Kind) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        block = b" " * 2**20
        while sent < 256:
            await response.write(block)
            sent += 1
        await response.write(b"{}")
        return response

    runner = web.AppRunner(web.Application(), handle_signals=False, shutdown_timeout=0.1, access_log=None)
    runner.app.router.add_post("/{path:.*}", endless)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider = made(kind, f"http://127.0.0.1:{runner.addresses[0][1]}")
    tracemalloc.start()
    try:
        reply = await provider.call(ASKED, seconds=30)
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await provider.close()
        await runner.cleanup()
    assert reply.outcome is CallOutcome.MALFORMED
    assert sent < 256
    assert grown < 8 * ANSWER_BYTES_MAX


async def test_no_compressed_answer_is_asked_for_or_read(kind: Kind) -> None:
    """What is small on the wire could be anything in memory."""
    wire: Wire = "messages" if kind == "claude" else kind
    whole = json.dumps(body_of(wire, ok({"price": 1}))).encode()
    async with place(kind, [Answer(body=whole), Answer(body=gzip.compress(whole), headers=GZIPPED)]) as here:
        assert (await here.ask()).outcome is CallOutcome.OK
        assert (await here.ask()).outcome is CallOutcome.MALFORMED
        assert here.server.requests[0].headers["accept-encoding"] == "identity"


async def test_nothing_of_the_environment_decides_where_a_request_goes_or_what_it_carries(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with model_server(ok({"price": 2})) as elsewhere:
        hostile = {
            "BASE_URL": elsewhere.url,
            "API_KEY": "sk-of-the-environment",
            "AUTH_TOKEN": "token-of-the-environment",
            "ADMIN_KEY": "admin-of-the-environment",
            "ORG_ID": "org-of-the-environment",
            "PROJECT_ID": "project-of-the-environment",
            "CUSTOM_HEADERS": "Authorization: Bearer hostile\nX-Api-Key: hostile\nAnthropic-Version: 1999\nX-Odd: hostile",
            "LOG": "debug",
        }
        for name, value in hostile.items():
            monkeypatch.setenv(f"ANTHROPIC_{name}", value)
            monkeypatch.setenv(f"OPENAI_{name}", value)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
        monkeypatch.setenv("NO_PROXY", "")
        async with place(kind, ok({"price": 1})) as here:
            assert (await here.ask()).text == '{"price": 1}'
            headers = dict(here.server.requests[0].headers)
        assert elsewhere.count == 0
    assert headers.pop("host") in here.server.url
    assert int(headers.pop("content-length")) > 0
    version = {"anthropic-version": "2023-06-01"} if kind == "claude" else {}
    assert headers == version | {
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "user-agent": "Vigil/1",
    }


async def test_no_trace_of_ours_is_told_to_the_provider(kind: Kind) -> None:
    tracer = TracerProvider().get_tracer("tests")
    with tracer.start_as_current_span("an evaluation"):
        async with place(kind, ok({})) as here:
            await here.ask()
            headers = here.server.requests[0].headers
            if kind == "claude":  # the trap is there: the SDK as it comes tells the trace
                async with anthropic.AsyncAnthropic(api_key=KEY, base_url=here.server.url, max_retries=0) as bare:
                    await bare.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
                assert "traceparent" in here.server.requests[1].headers
                assert isinstance(here.provider, ClaudeProvider)
                told = here.provider._client.open_telemetry
                assert (told["traces"]["enabled"], told["propagation"]) == (False, False)
    assert not {"traceparent", "tracestate", "baggage"} & headers.keys()


ECHO = json.dumps(
    {"error": {"type": "invalid_request_error", "message": f"no, {KEY} asked: {ASKED.content}", "code": KEY}}
).encode()


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(status=status, body=ECHO) for status in (400, 401, 404, 429, 500, 302)),
        Answer(body=ECHO),
        HTML,
        CUT,
        HANG,
    ],
)
async def test_neither_the_key_nor_what_was_asked_is_in_any_message_log_or_representation(
    kind: Kind, answer: Answer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with place(kind, answer) as here:
        for name in ("anthropic", "openai", "httpx2"):
            assert logging.getLogger(name).level == logging.WARNING
        reply = await here.ask(seconds=0.3 if answer is HANG else 10)
        shown = repr((here.provider, vars(here.provider), reply.message))
    told = shown + caplog.text + "".join(capsys.readouterr())
    assert KEY not in told
    assert ASKED.content not in told
    assert ASKED.instructions not in told


@pytest.mark.parametrize("key", ["sk-with\nnewline", "sk-with-ключ"])
async def test_a_key_that_no_header_can_hold_is_an_outcome_that_does_not_show_it(
    kind: Kind, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with place(kind, failing(401), key) as here:
        reply = await here.ask()
        assert here.server.count == (0 if "\n" in key else 1)
    assert (reply.outcome, reply.is_unheard) in {(CallOutcome.BAD_REQUEST, False), (CallOutcome.AUTH, False)}
    assert "sk-with" not in f"{reply.message}{caplog.text}"


async def test_what_cannot_be_written_as_text_is_a_bad_request(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Inquiry(task=Task.EXTRACT, instructions="x", content="half: \ud800", schema=SCHEMA, output_tokens_max=5)
    async with place(kind, ok({})) as here:
        reply = await here.ask(broken)
        assert here.server.count == 0
    assert reply.outcome is CallOutcome.BAD_REQUEST
    assert "half" not in f"{reply.message}{capsys.readouterr()}"


async def test_hundreds_of_calls_are_in_flight_at_once(kind: Kind) -> None:
    together = asyncio.Barrier(301)

    async with place(kind, slow(ok({"price": 1}), 0.5)) as here:

        async def one() -> Reply:
            await together.wait()
            return await here.ask(seconds=60)

        calls = [asyncio.ensure_future(one()) for _ in range(300)]
        await together.wait()
        replies = await asyncio.gather(*calls)
        assert here.server.in_flight_most > 100
        assert here.server.served == TokenUsage(
            input_tokens=300 * 120, output_tokens=300 * 30, cache_read_tokens=300 * 80, cache_write_tokens=300 * 10
        )
    assert {reply.outcome for reply in replies} == {CallOutcome.OK}


async def test_who_is_cancelled_does_not_wait_for_the_answer(kind: Kind) -> None:
    async with place(kind, HANG) as here:
        call = asyncio.ensure_future(here.ask(seconds=60))
        while here.server.in_flight == 0:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


FOUND = [
    Found(title="A shop", url="https://shop.example/a", quote="12 euros"),
    Found(title="Another", url="https://other.example/b"),
]


async def test_a_search_gives_the_answer_and_what_it_rests_on(kind: Kind) -> None:
    used = TokenUsage(input_tokens=50, output_tokens=5, searches=2)
    async with place(kind, Answer(text="It costs\n12 euros.", found=FOUND, usage=used)) as here:
        reply = await here.ask(SEARCHED)
        if kind == "chat":
            assert (reply.outcome, here.server.count) == (CallOutcome.BAD_REQUEST, 0)
            assert "chat wire" in (reply.message or "")
            return
        body = here.server.requests[0].body
    assert (reply.outcome, reply.usage) == (CallOutcome.OK, used)
    assert json.loads(reply.text) == {
        "text": "It costs\n12 euros.",
        "results": [
            {
                "title": "A shop",
                "url": "https://shop.example/a",
                "quote": "12 euros" if kind == "claude" else "It costs",
            },
            *([{"title": "Another", "url": "https://other.example/b", "quote": ""}] if kind == "claude" else []),
        ],
    }
    assert "output_config" not in body
    assert "text" not in body
    assert len(body["tools"]) == 1
    assert (body["tools"][0]["max_uses"] if kind == "claude" else body["max_tool_calls"]) == 5, "money is set aside for"


async def test_an_answer_from_memory_is_no_search(kind: Kind) -> None:
    async with place(kind, ok("I know without looking")) as here:
        reply = await here.ask(SEARCHED)
    if kind == "chat":
        assert reply.outcome is CallOutcome.BAD_REQUEST
    else:
        assert (reply.outcome, reply.usage) == (CallOutcome.MALFORMED, USED)
        assert reply.message == "the model answered without having searched the web"


async def test_no_test_reaches_a_real_service_even_with_the_addresses_of_the_sdks(
    kind: Kind, reached_out: list[str]
) -> None:
    provider = made(kind, None)
    reply = await provider.call(ASKED, seconds=10)
    await provider.close()
    assert reply.outcome is CallOutcome.OVERLOADED
    host = "api.anthropic.com" if kind == "claude" else "api.openai.com"
    assert set(reached_out) == {host}
    reached_out.clear()

    if kind == "claude":
        async with anthropic.AsyncAnthropic(api_key=KEY, max_retries=0) as bare:
            with pytest.raises(anthropic.APIConnectionError):
                await bare.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    else:
        async with openai.AsyncOpenAI(api_key=KEY, max_retries=0) as bare_openai:
            with pytest.raises(openai.APIConnectionError):
                await bare_openai.responses.create(model="m", input="x")
    assert set(reached_out) == {host}
    reached_out.clear()


def test_a_process_that_asks_nobody_does_not_pay_for_an_sdk(kind: Kind) -> None:
    module = "claude_provider" if kind == "claude" else "openai_provider"
    script = f"import sys, adapters.{module}; print(sorted({{'anthropic', 'openai', 'httpx2'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
