"""OpenAI over its SDK, on either of two wires: Responses, and Chat Completions, which Ollama, vLLM and many others speak."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from adapters.provider_errors import (
    AT_LIMIT,
    NOT_SEARCHED,
    REFUSED,
    Fields,
    answered,
    count,
    each,
    fields,
    outcome_of,
    search_json,
    text,
)
from commands.asking import Inquiry, Reply
from commands.unread import ENDINGS
from domain.model_call import CallOutcome, TokenUsage

if TYPE_CHECKING:
    import httpx2

OPENAI_URL = "https://api.openai.com/v1"
SEARCHES_MAX = 5
"""As many as money is set aside for; pages that are opened count, too."""
Wire = Literal["responses", "chat"]

_LIMIT = (CallOutcome.TRUNCATED, AT_LIMIT)
_REFUSED = (CallOutcome.REFUSED, REFUSED)
_UNFINISHED = (CallOutcome.MALFORMED, "the answer does not say that it is whole")
_INCOMPLETE: Mapping[str, tuple[CallOutcome, str]] = {"max_output_tokens": _LIMIT, "content_filter": _REFUSED}
_ENDS_EARLY = (CallOutcome.TRUNCATED, "the provider says that the answer is not whole")
_FAILED: Mapping[str, tuple[CallOutcome, str]] = {
    "server_error": (CallOutcome.OVERLOADED, "the provider failed while it answered"),
    "rate_limit_exceeded": (CallOutcome.RATE_LIMITED, ENDINGS[CallOutcome.RATE_LIMITED]),
    "invalid_prompt": _REFUSED,
    "bio_policy": _REFUSED,
    "misalignment_policy_violation": _REFUSED,
}
_FINISHES: Mapping[str, tuple[CallOutcome, str] | None] = {"stop": None, "length": _LIMIT, "content_filter": _REFUSED}
_CANNOT_SEARCH = Reply(
    outcome=CallOutcome.BAD_REQUEST,
    message="a provider with the chat wire cannot search the web; nobody was asked",
)


class OpenAIProvider:
    """Fulfils `commands.asking.Provider`. `base_url` (with its version: `.../v1`) replaces OpenAI's address; nothing is taken
    from the environment. Without a key none is sent: a server of one's own may want none."""

    name = "openai"

    def __init__(self, api_key: str, model: str, base_url: str | None = None, wire: Wire = "responses") -> None:
        import openai  # noqa: PLC0415  0.5 s and 37 MiB, which a process without AI does not pay

        from adapters.provider_http import provider_client  # noqa: PLC0415

        self.model = model
        self._wire = wire
        # The SDK never holds the key: what holds a request may end up in a log.
        self._client = openai.AsyncOpenAI(
            api_key="sent by the transport",
            base_url=base_url or OPENAI_URL,
            max_retries=0,
            timeout=None,
            http_client=provider_client(api_key, {}),
        )
        self.can_search = wire == "responses"
        self._responses = self._client.responses.with_raw_response
        self._completions = self._client.chat.completions.with_raw_response
        self._status_error = openai.APIStatusError
        self._omit = openai.omit

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        """As the port says."""
        if self._wire == "chat":
            if inquiry.searches:
                return _CANNOT_SEARCH
            return await outcome_of(self._completed(inquiry), chat_reply, seconds=seconds)
        return await outcome_of(self._responded(inquiry), search_reply if inquiry.searches else reply, seconds=seconds)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _responded(self, inquiry: Inquiry) -> "httpx2.Response":
        try:
            raw = await self._responses.create(
                model=self.model,
                instructions=inquiry.instructions,
                input=inquiry.content,
                max_output_tokens=inquiry.output_tokens_max,
                text=self._omit
                if inquiry.searches
                else {
                    "format": {
                        "type": "json_schema",
                        "name": inquiry.task.value,
                        "strict": True,
                        "schema": dict(inquiry.schema),
                    }
                },
                tools=[{"type": "web_search"}] if inquiry.searches else self._omit,
                max_tool_calls=SEARCHES_MAX if inquiry.searches else self._omit,
                store=False,
                prompt_cache_key=f"vigil-{inquiry.task}",
            )
        except self._status_error as error:
            return error.response
        return raw.http_response

    async def _completed(self, inquiry: Inquiry) -> "httpx2.Response":
        try:
            raw = await self._completions.create(
                model=self.model,
                messages=[
                    {"role": "system", "content": inquiry.instructions},
                    {"role": "user", "content": inquiry.content},
                ],
                # Ollama takes max_completion_tokens and ignores it (ollama/ollama#7125).
                max_tokens=inquiry.output_tokens_max,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": inquiry.task.value, "strict": True, "schema": dict(inquiry.schema)},
                },
            )
        except self._status_error as error:
            return error.response
        return raw.http_response


def reply(response: Fields) -> Reply:
    """What a response says."""
    parts = _parts(response)
    served = "".join(text(part.get("text")) for part in parts)
    return answered(served or _refusal(parts), _usage(response), response.get("model"), _wrong(response, parts))


def search_reply(response: Fields) -> Reply:
    """What a response says that was to search the web. OpenAI cites pages without quoting them: given for each is the line of
    the answer that rests on it."""
    parts = _parts(response)
    wrong = _wrong(response, parts)
    if wrong is None and not _searches(response):
        wrong = (CallOutcome.MALFORMED, NOT_SEARCHED)
    found = [
        {"title": text(one.get("title")), "url": text(one.get("url")), "quote": _line(text(part.get("text")), one)}
        for part in parts
        for one in each(part.get("annotations"))
        if one.get("type") == "url_citation"
    ]
    answer = search_json("".join(text(part.get("text")) for part in parts), found)
    return answered(answer, _usage(response), response.get("model"), wrong)


def chat_reply(completion: Fields) -> Reply:
    """What a chat completion says."""
    choice = next(iter(each(completion.get("choices"))), {})
    message = fields(choice.get("message"))
    wrong = _FINISHES.get(text(choice.get("finish_reason")), _UNFINISHED)
    if text(message.get("refusal")):
        wrong = _REFUSED
    usage, details = fields(completion.get("usage")), "prompt_tokens_details"
    used = _counted(usage.get("prompt_tokens"), usage.get("completion_tokens"), fields(usage.get(details)), 0)
    served = text(message.get("content")) or text(message.get("refusal"))
    return answered(served, used, completion.get("model"), wrong)


def _parts(response: Fields) -> list[Fields]:
    """The parts of the answer, without what the model says on its way to it."""
    messages = [item for item in each(response.get("output")) if item.get("type") == "message"]
    return [
        part
        for message in messages
        if message.get("phase") != "commentary"
        for part in each(message.get("content"))
        if text(part.get("type")) in {"output_text", "refusal"}
    ]


def _wrong(response: Fields, parts: list[Fields]) -> tuple[CallOutcome, str] | None:
    match response.get("status"):
        case "completed" if any(part.get("type") == "refusal" for part in parts):
            return _REFUSED
        case "completed":
            return None
        case "incomplete":
            return _INCOMPLETE.get(text(fields(response.get("incomplete_details")).get("reason")), _ENDS_EARLY)
        case "failed":
            return _FAILED.get(text(fields(response.get("error")).get("code")), _UNFINISHED)
        case _:
            return _UNFINISHED


def _refusal(parts: list[Fields]) -> str:
    return "".join(text(part.get("refusal")) for part in parts)


def _line(said: str, citation: Fields) -> str:
    place = min(count(citation.get("start_index")), len(said))
    end = said.find("\n", place)
    return said[said.rfind("\n", 0, place) + 1 : len(said) if end < 0 else end].strip()


def _searches(response: Fields) -> int:
    """A search costs money; opening what it found does not."""
    calls = [item for item in each(response.get("output")) if item.get("type") == "web_search_call"]
    return sum(text(fields(call.get("action")).get("type")) in {"", "search"} for call in calls)


def _usage(response: Fields) -> TokenUsage:
    usage = fields(response.get("usage"))
    details = fields(usage.get("input_tokens_details"))
    return _counted(usage.get("input_tokens"), usage.get("output_tokens"), details, _searches(response))


def _counted(went_in: object, came_out: object, details: Fields, searches: int) -> TokenUsage:
    return TokenUsage(
        input_tokens=count(went_in),
        output_tokens=count(came_out),
        cache_read_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        searches=searches,
    )
