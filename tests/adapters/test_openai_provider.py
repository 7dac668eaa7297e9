"""What is special to OpenAI's two wires: how they are asked, and how their answers are read. The rest is in
test_providers_alike.py."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.openai_provider import OpenAIProvider, Wire, chat_reply, reply, search_reply
from commands.asking import Inquiry
from domain.model_call import CallOutcome, Task
from tests.model_server import Asked, model_server, ok

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
INQUIRY = Inquiry(task=Task.EXTRACT, instructions="Read.", content="Page.", schema=SCHEMA, output_tokens_max=700)
ANYTHING: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1.5, 2**70, "x", "", [], [1], [[]], {}, {"type": []}]
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["output_text", "refusal"]) | ANYTHING},
    optional={
        "text": ANYTHING,
        "annotations": st.lists(
            st.fixed_dictionaries(
                {"type": st.just("url_citation")}, optional={"start_index": ANYTHING, "url": ANYTHING}
            ),
            max_size=2,
        ),
    },
)
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "web_search_call"])},
    optional={"content": st.lists(PART) | ANYTHING, "action": ANYTHING | st.fixed_dictionaries({"type": ANYTHING})},
)
RESPONSE = st.fixed_dictionaries(
    {},
    optional={
        "output": st.lists(ITEM, max_size=3) | ANYTHING,
        "status": st.sampled_from(["completed", "incomplete", "failed"]) | ANYTHING,
        "incomplete_details": ANYTHING,
        "error": ANYTHING,
        "usage": ANYTHING,
        "model": ANYTHING,
    },
)
CHOICE = st.fixed_dictionaries(
    {}, optional={"finish_reason": st.sampled_from(["stop", "length"]) | ANYTHING, "message": ANYTHING}
)
COMPLETION = st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICE) | ANYTHING, "usage": ANYTHING})


async def asked(wire: Wire, key: str = "key") -> Asked:
    async with model_server(ok({})) as server:
        provider = OpenAIProvider(key, "gpt-x", server.openai_url, wire)
        assert (await provider.call(INQUIRY, seconds=10)).outcome is CallOutcome.OK
        await provider.close()
    return server.requests[0]


async def test_a_response_is_asked_for_with_a_strict_schema_kept_by_nobody_and_cached_by_task() -> None:
    request = await asked("responses")
    assert request.wire == "responses"
    assert request.body == {
        "model": "gpt-x",
        "instructions": "Read.",
        "input": "Page.",
        "max_output_tokens": 700,
        "text": {"format": {"type": "json_schema", "name": "extract", "strict": True, "schema": SCHEMA}},
        "store": False,
        "prompt_cache_key": "vigil-extract",
    }


async def test_a_chat_says_nothing_that_a_compatible_server_may_not_know() -> None:
    request = await asked("chat")
    assert request.wire == "chat"
    assert request.body == {
        "model": "gpt-x",
        "messages": [{"role": "system", "content": "Read."}, {"role": "user", "content": "Page."}],
        "max_tokens": 700,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "extract", "strict": True, "schema": SCHEMA},
        },
    }


@pytest.mark.parametrize("wire", ["responses", "chat"])
async def test_a_server_of_ones_own_needs_no_key_and_gets_none(wire: Wire) -> None:
    assert "authorization" not in (await asked(wire, "")).headers


def message(*parts: dict[str, Any], **fields: str) -> dict[str, Any]:
    return {"type": "message", "content": list(parts), **fields}


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"status": "completed"}, CallOutcome.OK),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, CallOutcome.TRUNCATED),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, CallOutcome.REFUSED),
        ({"status": "incomplete", "incomplete_details": {"reason": "made_up"}}, CallOutcome.TRUNCATED),
        ({"status": "incomplete", "incomplete_details": None}, CallOutcome.TRUNCATED),
        ({"status": "failed", "error": {"code": "server_error"}}, CallOutcome.OVERLOADED),
        ({"status": "failed", "error": {"code": "rate_limit_exceeded"}}, CallOutcome.RATE_LIMITED),
        ({"status": "failed", "error": {"code": "invalid_prompt"}}, CallOutcome.REFUSED),
        ({"status": "failed", "error": {"code": "made_up"}}, CallOutcome.MALFORMED),
        ({"status": "failed"}, CallOutcome.MALFORMED),
        ({"status": "queued"}, CallOutcome.MALFORMED),
        ({"status": ["completed"]}, CallOutcome.MALFORMED),
        ({}, CallOutcome.MALFORMED),
    ],
)
def test_only_a_response_that_says_it_is_whole_is_ok(fields: dict[str, Any], outcome: CallOutcome) -> None:
    assert reply({"output": [message({"type": "output_text", "text": "{}"})], **fields}).outcome is outcome


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [
        ("stop", CallOutcome.OK),
        ("length", CallOutcome.TRUNCATED),
        ("content_filter", CallOutcome.REFUSED),
        ("tool_calls", CallOutcome.MALFORMED),
        (None, CallOutcome.MALFORMED),
    ],
)
def test_only_a_chat_that_says_it_is_whole_is_ok(finish: object, outcome: CallOutcome) -> None:
    assert chat_reply({"choices": [{"finish_reason": finish, "message": {"content": "{}"}}]}).outcome is outcome


def test_what_the_model_says_on_its_way_is_no_part_of_the_answer() -> None:
    output = [
        {"type": "reasoning", "content": [{"type": "output_text", "text": "hm"}]},
        message({"type": "output_text", "text": "I will look."}, phase="commentary"),
        message({"type": "output_text", "text": '{"a":'}, {"type": "output_text", "text": "1}"}, phase="final_answer"),
    ]
    assert reply({"status": "completed", "output": output}).text == '{"a":1}'


def test_a_part_that_refuses_refuses_the_whole() -> None:
    parts = ({"type": "output_text", "text": "{}"}, {"type": "refusal", "refusal": "no"})
    assert reply({"status": "completed", "output": [message(*parts)]}).outcome is CallOutcome.REFUSED


def test_only_searches_cost_and_not_what_is_opened_of_them() -> None:
    kinds = ["search", "open_page", "find_in_page", "search"]
    calls: list[Any] = [{"type": "web_search_call", "action": {"type": kind}} for kind in kinds]
    calls.append({"type": "web_search_call"})
    assert reply({"output": calls}).usage.searches == 3


@pytest.mark.parametrize(
    ("start", "line"), [(0, "First."), (8, "Second, cited."), (22, ""), (23, "Last."), (999, "Last."), ("x", "First.")]
)
def test_a_citation_gives_the_line_it_stands_in(start: object, line: str) -> None:
    citation = {"type": "url_citation", "url": "https://a.example/", "title": "A", "start_index": start}
    part = {"type": "output_text", "text": "First.\nSecond, cited.\n\nLast.", "annotations": [citation]}
    output = [{"type": "web_search_call", "action": {"type": "search"}}, message(part)]
    said = search_reply({"status": "completed", "output": output})
    assert json.loads(said.text)["results"] == [{"title": "A", "url": "https://a.example/", "quote": line}]


@given(response=RESPONSE, completion=COMPLETION)
def test_whatever_an_answer_holds_it_is_read_to_an_outcome(
    response: dict[str, Any], completion: dict[str, Any]
) -> None:
    for got in (reply(response), search_reply(response)):
        assert (got.outcome is CallOutcome.OK) <= (response.get("status") == "completed")
        assert (got.message is None) == (got.outcome is CallOutcome.OK)
    chat = chat_reply(completion)
    assert (chat.message is None) == (chat.outcome is CallOutcome.OK)
