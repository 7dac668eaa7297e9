"""What is special to Claude: how it is asked, and how its messages are read. The rest is in test_providers_alike.py."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.claude_provider import ClaudeProvider, reply, search_reply
from commands.asking import Inquiry, Reply
from domain.model_call import CallOutcome, Task, TokenUsage
from tests.model_server import model_server, ok

ANYTHING: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1.5, 2**70, "x", "", [], [1], [[]], {}, {"type": []}]
)
PAGE = st.fixed_dictionaries({}, optional={"url": ANYTHING, "title": ANYTHING, "cited_text": ANYTHING})
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "web_search_tool_result"]) | ANYTHING},
    optional={
        "text": ANYTHING,
        "content": st.lists(PAGE, max_size=2) | ANYTHING,
        "citations": st.lists(PAGE, max_size=2) | ANYTHING,
    },
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "content": st.lists(BLOCK, max_size=3) | ANYTHING,
        "stop_reason": st.sampled_from(["end_turn", "max_tokens", "refusal"]) | ANYTHING,
        "usage": st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "server_tool_use"]), ANYTHING)
        | ANYTHING,
        "model": ANYTHING,
    },
)


async def test_instructions_come_first_and_are_kept_by_the_provider_and_the_schema_is_the_form_of_the_answer() -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    inquiry = Inquiry(
        task=Task.CLASSIFY, instructions="Compile.", content="Tell me.", schema=schema, output_tokens_max=700
    )
    async with model_server(ok({})) as server:
        provider = ClaudeProvider("key", "claude-x", server.url)
        await provider.call(inquiry, seconds=10)
        await provider.close()
    assert server.requests[0].wire == "messages"
    assert server.requests[0].body == {
        "model": "claude-x",
        "max_tokens": 700,
        "system": [{"type": "text", "text": "Compile.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "Tell me."}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }


def test_what_went_through_the_cache_counts_as_input() -> None:
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 7,
        "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1},
    }
    assert reply({"usage": usage}).usage == TokenUsage(
        input_tokens=125, output_tokens=7, cache_read_tokens=100, cache_write_tokens=20, searches=3
    )


@pytest.mark.parametrize("number", [-1, True, 1.5, "12", None, 10**12])
def test_a_number_of_tokens_that_cannot_be_is_not_counted(number: object) -> None:
    assert reply({"usage": {"input_tokens": number, "output_tokens": 4}}).usage == TokenUsage(output_tokens=4)


@pytest.mark.parametrize(
    ("stop", "outcome"),
    [
        ("end_turn", CallOutcome.OK),
        ("stop_sequence", CallOutcome.OK),
        ("max_tokens", CallOutcome.TRUNCATED),
        ("model_context_window_exceeded", CallOutcome.TRUNCATED),
        ("pause_turn", CallOutcome.TRUNCATED),
        ("refusal", CallOutcome.REFUSED),
        ("tool_use", CallOutcome.MALFORMED),
        ("made_up", CallOutcome.MALFORMED),
        (None, CallOutcome.MALFORMED),
        (7, CallOutcome.MALFORMED),
    ],
)
def test_only_an_answer_that_says_it_is_whole_is_ok(stop: object, outcome: CallOutcome) -> None:
    assert reply({"content": [{"type": "text", "text": "{}"}], "stop_reason": stop}).outcome is outcome


def test_thoughts_are_no_part_of_the_answer() -> None:
    content = [{"type": "thinking", "thinking": "hm", "text": "hm"}, {"type": "text", "text": '{"a":'}]
    content.append({"type": "text", "text": "1}"})
    assert reply({"content": content, "stop_reason": "end_turn"}).text == '{"a":1}'


RESULT = "web_search_tool_result"


def searched(*blocks: dict[str, Any]) -> Reply:
    return search_reply({"content": list(blocks), "stop_reason": "end_turn"})


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("too_many_requests", CallOutcome.RATE_LIMITED),
        ("unavailable", CallOutcome.OVERLOADED),
        ("invalid_tool_input", CallOutcome.MALFORMED),
        (7, CallOutcome.MALFORMED),
    ],
)
def test_an_answer_after_a_search_that_failed_is_none(code: object, outcome: CallOutcome) -> None:
    failed = {"type": RESULT, "content": {"type": "web_search_tool_result_error", "error_code": code}}
    assert searched(failed, {"type": "text", "text": "Nothing is known."}).outcome is outcome


def test_one_search_of_two_that_failed_leaves_the_answer() -> None:
    failed = {"type": RESULT, "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}
    found = {"type": RESULT, "content": [{"type": "web_search_result", "title": "T", "url": "https://a.example/"}]}
    assert searched(failed, found, {"type": "text", "text": "So."}).outcome is CallOutcome.OK


def test_a_search_that_finds_nothing_is_an_answer() -> None:
    said = searched({"type": RESULT, "content": []}, {"type": "text", "text": "Nothing was found."})
    assert (said.outcome, json.loads(said.text)) == (CallOutcome.OK, {"text": "Nothing was found.", "results": []})


def test_the_same_passage_cited_twice_is_one_result_and_another_of_the_same_page_a_second() -> None:
    def citing(quote: str) -> dict[str, Any]:
        citation = {"type": "web_search_result_location", "url": "https://a.example/", "cited_text": quote}
        return {"type": "text", "text": ".", "citations": [citation]}

    page = {"type": RESULT, "content": [{"type": "web_search_result", "title": "T", "url": "https://a.example/"}]}
    said = searched(page, citing("one"), citing("two"), citing("one"))
    assert [result["quote"] for result in json.loads(said.text)["results"]] == ["one", "two"]


@given(message=MESSAGE)
@example(message={"content": [{"type": "web_search_tool_result", "content": [{"url": []}]}], "stop_reason": []})
def test_whatever_a_message_holds_it_is_read_to_an_outcome(message: dict[str, Any]) -> None:
    for read in (reply, search_reply):
        got = read(message)
        assert (got.outcome is CallOutcome.OK) <= (message.get("stop_reason") == "end_turn" and bool(got.text))
        assert (got.message is None) == (got.outcome is CallOutcome.OK)
