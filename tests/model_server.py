"""A model's server on loopback that does what it is told: answers on three wires, refuses, hangs, drips and lies.

It speaks Anthropic's Messages and OpenAI's Responses and Chat Completions, keeps what it was asked, and adds up the tokens it
told of, so that a ledger can be compared with it. What it sends was written after the SDKs' response types.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aiohttp import web

from domain.model_call import NOTHING_USED, TokenUsage

Json = dict[str, Any]
Ending = Literal["done", "limit", "refused", "filtered"]
Wire = Literal["messages", "responses", "chat"]

WIRES: Mapping[str, Wire] = {
    "/v1/messages": "messages",
    "/v1/responses": "responses",
    "/v1/chat/completions": "chat",
}
USED = TokenUsage(input_tokens=120, output_tokens=30, cache_read_tokens=80, cache_write_tokens=10)
BODY_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page that a search found, and what was cited of it; None when nothing was."""

    title: str
    url: str
    quote: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server does with one request. `body` replaces the wire's own. `usage` is told where the wire can. A drip goes
    on for ever, a byte at a time; a cut closes the connection in the middle of the body."""

    text: str = "{}"
    usage: TokenUsage = USED
    ends: Ending = "done"
    status: int = 200
    error: str = "api_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    found: Sequence[Found] | None = None
    delay_seconds: float = 0.0
    fault: Literal["hang", "drip", "cut"] | None = None
    model: str = "stand-in-1"


def ok(answer: object, usage: TokenUsage = USED) -> Answer:
    """A whole answer, as JSON."""
    return Answer(text=json.dumps(answer, ensure_ascii=False), usage=usage)


def failing(status: int, *, error: str = "api_error", **headers: str) -> Answer:
    """An error with the wire's own body; `Retry_After` in `headers` stands for Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, error=error, usage=NOTHING_USED, headers=named)


BUSY_FOR_AN_HOUR = failing(429, error="rate_limit_error", Retry_After="3600")
TRUNCATED = Answer(text='{"price": 12', ends="limit")
REFUSAL = Answer(text="I cannot help with that.", ends="refused")
FILTERED = Answer(text="", ends="filtered")
HTML = Answer(
    body=b"<html><title>Welcome to the hotel</title></html>", usage=NOTHING_USED, headers={"Content-Type": "text/html"}
)
WRONG_TYPE = Answer(body=b'["not", "an", "object"]', usage=NOTHING_USED)
HANG = Answer(fault="hang", usage=NOTHING_USED)
DRIP = Answer(fault="drip", usage=NOTHING_USED)
CUT = Answer(fault="cut", usage=NOTHING_USED)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; header names are in lower case."""

    wire: Wire
    headers: Mapping[str, str]
    body: Json


Script = Answer | Sequence[Answer] | Callable[[Asked], Answer]


@dataclass(slots=True)
class ModelServer:
    """What is to be answered next, and what was. Of a sequence the last one goes on."""

    url: str
    script: Script
    keeps_requests: bool = True
    requests: list[Asked] = field(default_factory=list)
    count: int = 0
    in_flight: int = 0
    in_flight_most: int = 0
    served: TokenUsage = NOTHING_USED

    @property
    def openai_url(self) -> str:
        """What OpenAI's SDK takes for its base: it names the version."""
        return f"{self.url}/v1"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request after the script."""
        asked = Asked(
            WIRES[request.path],
            {name.lower(): value for name, value in request.headers.items()},
            json.loads(await request.read()),
        )
        answer = self._next(asked)
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            await asyncio.sleep(answer.delay_seconds)
            response = await _sent(request, asked.wire, answer)
        finally:
            self.in_flight -= 1
        if answer.fault is None:
            self.served += answer.usage
        return response

    def _next(self, asked: Asked) -> Answer:
        self.count += 1
        if self.keeps_requests:
            self.requests.append(asked)
        match self.script:
            case Answer():
                return self.script
            case Sequence():
                return self.script[min(self.count, len(self.script)) - 1]
            case _:
                return self.script(asked)


@asynccontextmanager
async def model_server(script: Script, *, keeps_requests: bool = True, port: int = 0) -> AsyncIterator[ModelServer]:
    """Serve on a free port of loopback, or on this one, until the end of the block; what still hangs is cut off."""
    server = ModelServer("", script, keeps_requests)
    application = web.Application(client_max_size=BODY_BYTES_MAX)
    for path in WIRES:
        application.router.add_post(path, server.handle)
    runner = web.AppRunner(
        application, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.1, access_log=None
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def _sent(request: web.Request, wire: Wire, answer: Answer) -> web.StreamResponse:
    if answer.fault == "hang":
        await asyncio.Event().wait()
    body = json.dumps(body_of(wire, answer)).encode() if answer.body is None else answer.body
    headers = {"Content-Type": "application/json", **answer.headers}
    if answer.fault is None:
        return web.Response(status=answer.status, body=body, headers=headers)
    response = web.StreamResponse(status=answer.status, headers={**headers, "Content-Length": str(2**20)})
    await response.prepare(request)
    if answer.fault == "cut":
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response
    with suppress(ConnectionError):
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)
    return response


def body_of(wire: Wire, answer: Answer) -> Json:
    """What the wire carries for it."""
    if answer.status >= 400:
        error = {"type": answer.error, "code": answer.error, "message": "what the provider says of it"}
        return {"type": "error", "error": error} if wire == "messages" else {"error": error}
    match wire:
        case "messages":
            return _message(answer)
        case "responses":
            return _response(answer)
        case "chat":
            return _completion(answer)


def _message(answer: Answer) -> Json:
    used = answer.usage
    content: list[Json] = [{"type": "text", "text": answer.text}]
    if answer.found is not None:
        pages = [{"type": "web_search_result", "title": one.title, "url": one.url} for one in answer.found]
        cited = [
            {"type": "web_search_result_location", "title": one.title, "url": one.url, "cited_text": one.quote}
            for one in answer.found
            if one.quote is not None
        ]
        content = [
            {"type": "text", "text": "I will look."},
            {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "words"}},
            {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": pages},
            {"type": "text", "text": answer.text, "citations": cited},
        ]
    stops = {"done": "end_turn", "limit": "max_tokens", "refused": "refusal", "filtered": "refusal"}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stops[answer.ends],
        "usage": {
            "input_tokens": used.input_tokens - used.cache_read_tokens - used.cache_write_tokens,
            "cache_read_input_tokens": used.cache_read_tokens,
            "cache_creation_input_tokens": used.cache_write_tokens,
            "output_tokens": used.output_tokens,
            "server_tool_use": {"web_search_requests": used.searches} if used.searches else None,
        },
    }


def _response(answer: Answer) -> Json:
    used = answer.usage
    part: Json = {"type": "output_text", "text": answer.text, "annotations": []}
    if answer.ends == "refused":
        part = {"type": "refusal", "refusal": answer.text}
    searches: list[Json] = []
    if answer.found is not None:
        where = {"start_index": 0, "end_index": len(answer.text)}
        part["annotations"] = [
            {"type": "url_citation", "title": one.title, "url": one.url, **where}
            for one in answer.found
            if one.quote is not None
        ]
        search = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "words"}}
        searches = [search] * used.searches
    reasons = {"limit": "max_output_tokens", "filtered": "content_filter"}
    reason = reasons.get(answer.ends)
    return {
        "id": "resp_1",
        "object": "response",
        "model": answer.model,
        "status": "completed" if reason is None else "incomplete",
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": [*searches, {"type": "message", "role": "assistant", "content": [part]}],
        "usage": {
            "input_tokens": used.input_tokens,
            "input_tokens_details": {
                "cached_tokens": used.cache_read_tokens,
                "cache_write_tokens": used.cache_write_tokens,
            },
            "output_tokens": used.output_tokens,
        },
    }


def _completion(answer: Answer) -> Json:
    used = answer.usage
    is_refused = answer.ends == "refused"
    message = {
        "role": "assistant",
        "content": None if is_refused else answer.text,
        "refusal": answer.text if is_refused else None,
    }
    reasons = {"done": "stop", "limit": "length", "refused": "stop", "filtered": "content_filter"}
    return {
        "id": "chat_1",
        "object": "chat.completion",
        "model": answer.model,
        "choices": [{"index": 0, "finish_reason": reasons[answer.ends], "message": message}],
        "usage": {
            "prompt_tokens": used.input_tokens,
            "prompt_tokens_details": {
                "cached_tokens": used.cache_read_tokens,
                "cache_write_tokens": used.cache_write_tokens,
            },
            "completion_tokens": used.output_tokens,
        },
    }


def slow(answer: Answer, seconds: float) -> Answer:
    """The same after a while."""
    return replace(answer, delay_seconds=seconds)
