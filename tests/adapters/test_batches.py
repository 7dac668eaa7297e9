"""Batches of both providers, over their SDKs, against a stand-in on loopback."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from uuid_utils.compat import uuid7

from adapters.claude_batches import CLOCKS_APART, ClaudeBatches
from adapters.claude_provider import ClaudeProvider
from adapters.openai_batches import OpenAIBatches
from adapters.openai_provider import OpenAIProvider
from commands.asking import Inquiry
from commands.batching import LOST, TOO_LATE, BatchItem, Found, Missing, NotSent, Results, Shipment
from domain.model_call import CallOutcome, Task
from tests.batch_server import DROPPED, BatchServer, Taken, batch_server
from tests.conftest import AT
from tests.model_server import REFUSAL, TRUNCATED, USED, Answer, Asked, failing, model_server, ok

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def inquiry(content: str = "a page") -> Inquiry:
    return Inquiry(task=Task.EXTRACT, instructions="Read.", content=content, schema=SCHEMA, output_tokens_max=700)


def content_of(asked: Asked) -> str:
    return str(asked.body["messages"][0]["content"] if asked.wire == "messages" else asked.body["input"])


def echoes(asked: Asked) -> Answer:
    return ok({"said": content_of(asked)})


def shipment(*contents: str) -> Shipment:
    items = [BatchItem(call_id=uuid7(), inquiry=inquiry(content)) for content in contents or ("a page",)]
    return Shipment(id=uuid7(), items=items)


def missing(sent: Shipment, *known: str) -> Missing:
    return Missing(id=sent.id, calls={str(item.call_id) for item in sent.items}, since=AT, known=known)


@dataclass
class Here:
    provider: ClaudeBatches | OpenAIBatches
    server: BatchServer

    async def submit(self, sent: Shipment) -> str | NotSent:
        return await self.provider.submit(sent, seconds=10)

    async def sent(self, *contents: str) -> tuple[Shipment, str]:
        shipped = shipment(*contents)
        provider_id = await self.submit(shipped)
        assert isinstance(provider_id, str)
        return shipped, provider_id

    async def fetch(self, provider_id: str) -> Results:
        return await self.provider.fetch(provider_id, seconds=10)

    async def find(self, of: Missing) -> Found:
        return await self.provider.find(of, seconds=10)


def made(name: str, server: BatchServer) -> ClaudeBatches | OpenAIBatches:
    if name == "claude":
        return ClaudeBatches("sk-canary", "m-1", server.url)
    return OpenAIBatches("sk-canary", "m-1", server.openai_url)


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[Here]:
    async with batch_server(echoes) as server:
        provider = made(name, server)
        yield Here(provider, server)
        await provider.close()


@pytest.fixture(params=["claude", "openai"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Here]:
    async with opened(request.param) as found:
        yield found


@pytest.mark.parametrize("name", ["claude", "openai"])
async def test_a_call_of_a_batch_asks_the_same_as_one_that_is_made_alone(name: str) -> None:
    async with model_server(ok({})) as alone, opened(name) as here:
        direct: ClaudeProvider | OpenAIProvider = (
            ClaudeProvider("key", "m-1", alone.url)
            if name == "claude"
            else OpenAIProvider("key", "m-1", alone.openai_url)
        )
        await direct.call(inquiry(), seconds=10)
        await direct.close()
        await here.sent()
        [request] = here.server.taken[0].requests
    assert (request["params"] if name == "claude" else request["body"]) == alone.requests[0].body


async def test_answers_come_with_the_ids_of_their_calls_in_any_order(here: Here) -> None:
    here.server.mangle = lambda lines: lines[::-1]
    sent, provider_id = await here.sent("one", "two", "three")
    assert not (await here.fetch(provider_id)).is_over
    here.server.end()
    results = await here.fetch(provider_id)
    assert results.is_over
    told = {
        call: (reply.outcome, json.loads(reply.text)["said"], reply.usage, reply.model)
        for call, reply in results.replies
    }
    assert told == {
        str(item.call_id): (CallOutcome.OK, item.inquiry.content, USED, "stand-in-1") for item in sent.items
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (TRUNCATED, CallOutcome.TRUNCATED),
        (REFUSAL, CallOutcome.REFUSED),
        (failing(400, error="invalid_request_error"), CallOutcome.BAD_REQUEST),
        (failing(429, error="rate_limit_error"), CallOutcome.RATE_LIMITED),
        (failing(529, error="overloaded_error"), CallOutcome.OVERLOADED),
        (failing(500), CallOutcome.OVERLOADED),
    ],
)
async def test_each_call_ends_as_it_would_alone(here: Here, answer: Answer, outcome: CallOutcome) -> None:
    here.server.script = lambda asked: answer if content_of(asked) == "bad" else echoes(asked)
    _, provider_id = await here.sent("good", "bad")
    here.server.end()
    assert [reply.outcome for _, reply in (await here.fetch(provider_id)).replies] == [CallOutcome.OK, outcome]


async def test_a_line_that_says_nothing_of_use_is_no_answer(here: Here) -> None:
    strange: list[dict[str, Any]] = [{"custom_id": "x"}, {"custom_id": "y", "result": 1, "response": []}, {"id": None}]
    here.server.mangle = lambda lines: [*strange, *lines]
    _, provider_id = await here.sent()
    here.server.end()
    outcomes = [reply.outcome for _, reply in (await here.fetch(provider_id)).replies]
    assert outcomes == [CallOutcome.TIMEOUT] * 3 + [CallOutcome.OK]


async def test_lines_that_are_no_json_are_passed_over(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    _, provider_id = await here.sent()
    here.server.end()
    whole = BatchServer._lines

    def torn(server: BatchServer, batch: Taken) -> web.Response:
        return web.Response(body=b'<html>\n[1]\n{"custom_id": "1\n\xff\n' + bytes(whole(server, batch).body))  # type: ignore[arg-type]  # bytes

    monkeypatch.setattr(BatchServer, "_lines", torn)
    assert [reply.outcome for _, reply in (await here.fetch(provider_id)).replies] == [CallOutcome.OK]


async def test_what_a_batch_did_not_come_to_was_not_made() -> None:
    async with opened("claude") as here:
        here.server.mangle = lambda lines: [{**lines[0], "result": {"type": "expired"}}]
        _, provider_id = await here.sent()
        here.server.end()
        [(_, reply)] = (await here.fetch(provider_id)).replies
    assert reply == TOO_LATE
    async with opened("openai") as here:
        here.server.mangle = lambda lines: [
            lines[0],
            {"custom_id": "b", "response": None, "error": {"code": "batch_expired"}},
        ]
        _, provider_id = await here.sent("a", "b")
        here.server.end("expired")
        results = await here.fetch(provider_id)
    assert [reply.outcome for _, reply in results.replies] == [CallOutcome.OK, TOO_LATE.outcome]
    assert results.missing == TOO_LATE


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("token_limit_exceeded", CallOutcome.RATE_LIMITED),
        ("billing_hard_limit_reached", CallOutcome.AUTH),
        ("invalid_json_line", CallOutcome.BAD_REQUEST),
    ],
)
async def test_a_batch_that_openai_does_not_take_ends_all_its_calls(code: str, outcome: CallOutcome) -> None:
    async with opened("openai") as here:
        here.server.errors = [{"code": code, "message": "words"}]
        _, provider_id = await here.sent()
        here.server.end("failed")
        results = await here.fetch(provider_id)
    assert (results.is_over, list(results.replies), results.missing.outcome) == (True, [], outcome)


async def test_of_a_batch_that_is_done_what_it_does_not_tell_may_have_been_paid_for(here: Here) -> None:
    here.server.mangle = lambda _: []
    _, provider_id = await here.sent()
    here.server.end()
    assert await here.fetch(provider_id) == Results(is_over=True, replies=[], missing=LOST)


@pytest.mark.parametrize("kind", ["retrieve", "results"])
@pytest.mark.parametrize("status", [401, 404, 429, 500, 529])
async def test_a_batch_that_cannot_be_asked_about_is_not_over(here: Here, kind: str, status: int) -> None:
    _, provider_id = await here.sent()
    here.server.end()
    here.server.faults[kind] = [status]
    assert await here.fetch(provider_id) == Results(is_over=False)
    assert (await here.fetch(provider_id)).is_over


@pytest.mark.parametrize(
    ("status", "may_have_arrived"), [(400, False), (401, False), (413, False), (429, False), (500, True), (529, True)]
)
async def test_who_refuses_a_batch_has_none_and_who_fails_may_have_it(
    here: Here, status: int, *, may_have_arrived: bool
) -> None:
    here.server.faults["create"] = [status]
    sent = await here.submit(shipment())
    assert isinstance(sent, NotSent)
    assert sent.may_have_arrived is may_have_arrived
    assert here.server.taken == []


async def test_of_what_an_sdk_cannot_tell_nobody_knows_whether_it_arrived(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("after it was sent")

    monkeypatch.setattr(here.provider._batches, "create", breaks)
    sent = await here.submit(shipment())
    assert isinstance(sent, NotSent)
    assert sent.may_have_arrived


async def test_a_large_batch_is_sent_in_parts(here: Here) -> None:
    sent, _ = await here.sent(*["a long page " * 10_000] * 20)
    assert len(here.server.calls) == len(sent.items)


async def test_a_batch_whose_answer_got_lost_may_have_arrived_and_is_found(here: Here) -> None:
    await here.sent("another", "batch")
    here.server.faults["create"] = [DROPPED]
    lost = shipment("one", "two")
    sent = await here.submit(lost)
    assert isinstance(sent, NotSent)
    assert sent.may_have_arrived
    here.server.end()
    assert len(here.server.taken) == 2, "it was not sent again"
    assert await here.find(missing(lost)) == Found(provider_id=here.server.taken[1].id)


async def test_an_upload_that_fails_makes_no_batch() -> None:
    async with opened("openai") as here:
        here.server.faults["upload"] = [500]
        sent = await here.submit(shipment())
        assert isinstance(sent, NotSent)
        assert not sent.may_have_arrived
        assert here.server.asked == ["upload"]


async def test_a_batch_that_never_arrived_is_certainly_not_there(here: Here) -> None:
    here.server.page = 2
    for _ in range(5):
        await here.sent("one")
    here.server.end()
    assert await here.find(missing(shipment("two"))) == Found(is_certain=True)


async def test_while_the_list_cannot_be_had_nothing_is_certain(here: Here) -> None:
    here.server.page = 1
    await here.sent()
    await here.sent()
    here.server.end()
    for statuses in ([500], [429], [404]):
        here.server.faults["list"] = statuses
        assert await here.find(missing(shipment())) == Found()


async def test_claude_tells_calls_only_when_a_batch_has_ended_so_one_as_large_may_be_it() -> None:
    async with opened("claude") as here:
        _, other = await here.sent("one", "two")
        lost = shipment("three", "four")
        assert await here.find(missing(lost)) == Found(is_certain=False)
        assert await here.find(missing(lost, other)) == Found(is_certain=True), "it is known to be another one"
        assert await here.find(missing(shipment("one"))) == Found(is_certain=True), "it is larger"
        here.server.end()
        here.server.faults["results"] = [500]
        assert await here.find(missing(lost)) == Found(is_certain=False), "nobody knows what is in it"
        assert await here.find(missing(lost)) == Found(is_certain=True)


async def test_batches_from_long_before_are_not_looked_at(here: Here) -> None:
    here.server.now = lambda: AT - CLOCKS_APART - timedelta(seconds=1)
    lost, _ = await here.sent()
    here.server.end()
    asked = len(here.server.asked)
    assert await here.find(missing(lost)) == Found(is_certain=True)
    assert here.server.asked[asked:] == ["list"]


@pytest.mark.parametrize("made_at", [None, "soon", 10**30, []])
async def test_a_batch_that_does_not_say_when_it_was_made_may_be_it(
    here: Here, made_at: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, provider_id = await here.sent()
    here.server.end()
    shown = BatchServer._shown
    monkeypatch.setattr(BatchServer, "_shown", lambda *of: {**shown(*of), "created_at": made_at})
    assert await here.find(missing(lost)) == Found(provider_id=provider_id)


async def test_the_key_goes_to_the_provider_only_and_nothing_else_does(here: Here) -> None:
    _, provider_id = await here.sent()
    here.server.end()
    assert (await here.fetch(provider_id)).is_over, "not from the address that the answer tells"
    assert {headers["authorization"] for headers in here.server.headers} == {"Bearer sk-canary"}
    assert {headers["user-agent"] for headers in here.server.headers} == {"Vigil/1"}
    assert not [name for headers in here.server.headers for name in headers if name.startswith(("x-", "traceparent"))]


async def test_results_that_are_far_too_long_are_not_taken_for_whole(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, provider_id = await here.sent()
    here.server.end()
    monkeypatch.setattr("adapters.batch_answers.RESULTS_BYTES_MAX", 100)
    assert await here.fetch(provider_id) == Results(is_over=False)


async def test_a_provider_that_names_no_batch_may_have_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchServer, "_shown", lambda *_: {"id": "../../etc"})
    sent = await here.submit(shipment())
    assert isinstance(sent, NotSent)
    assert sent.may_have_arrived
