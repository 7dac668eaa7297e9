"""Claude, over Anthropic's SDK: the Messages API."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
from domain.model_call import CallOutcome, TokenUsage

if TYPE_CHECKING:
    import httpx2

ANTHROPIC_URL = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
SEARCHES_MAX = 5

_UNFINISHED = "the provider interrupted a long search"
_STOPS: Mapping[str, tuple[CallOutcome, str] | None] = {
    "end_turn": None,
    "stop_sequence": None,
    "max_tokens": (CallOutcome.TRUNCATED, AT_LIMIT),
    "model_context_window_exceeded": (CallOutcome.TRUNCATED, AT_LIMIT),
    "pause_turn": (CallOutcome.TRUNCATED, _UNFINISHED),
    "refusal": (CallOutcome.REFUSED, REFUSED),
}
_UNKNOWN_STOP = (CallOutcome.MALFORMED, "the answer does not say that it is whole")
_SEARCH_ERRORS: Mapping[str, tuple[CallOutcome, str]] = {
    "too_many_requests": (CallOutcome.RATE_LIMITED, "too many searches for the provider"),
    "unavailable": (CallOutcome.OVERLOADED, "the provider's search does not work at present"),
}


class ClaudeProvider:
    """Fulfils `commands.asking.Provider`. `base_url` replaces Anthropic's address; nothing is taken from the environment."""

    name = "claude"
    can_search = True

    def __init__(self, api_key: str, model: str, base_url: str | None = None) -> None:
        import anthropic  # noqa: PLC0415  1.3 s and 58 MiB, which a process without AI does not pay

        from adapters.provider_http import provider_client  # noqa: PLC0415

        self.model = model
        # The SDK never holds the key: what holds a request may end up in a log.
        self._client = anthropic.AsyncAnthropic(
            api_key="sent by the transport",
            base_url=base_url or ANTHROPIC_URL,
            max_retries=0,
            timeout=None,
            open_telemetry={"traces": False, "propagation": False},
            http_client=provider_client(api_key, {"Anthropic-Version": API_VERSION}),
        )
        self._messages = self._client.messages.with_raw_response
        self._status_error = anthropic.APIStatusError
        self._omit = anthropic.omit

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        """As the port says."""
        return await outcome_of(self._sent(inquiry), search_reply if inquiry.searches else reply, seconds=seconds)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _sent(self, inquiry: Inquiry) -> "httpx2.Response":
        try:
            raw = await self._messages.create(
                model=self.model,
                max_tokens=inquiry.output_tokens_max,
                system=[{"type": "text", "text": inquiry.instructions, "cache_control": {"type": "ephemeral"}}],
                messages=[{"role": "user", "content": inquiry.content}],
                output_config=self._omit
                if inquiry.searches
                else {"format": {"type": "json_schema", "schema": dict(inquiry.schema)}},
                # Later tools let the model run programs over what it found, which not every model can, and none needs here.
                tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": SEARCHES_MAX}]
                if inquiry.searches
                else self._omit,
            )
        except self._status_error as error:
            return error.response
        return raw.http_response


def reply(message: Fields) -> Reply:
    """What a message says."""
    served = "".join(text(block.get("text")) for block in each(message.get("content")) if block.get("type") == "text")
    wrong = _STOPS.get(text(message.get("stop_reason")), _UNKNOWN_STOP)
    return answered(served, _usage(fields(message.get("usage"))), message.get("model"), wrong)


def search_reply(message: Fields) -> Reply:
    """What a message says that was to search the web: what stands after the first results, and what it rests on."""
    blocks = each(message.get("content"))
    kinds = [block.get("type") for block in blocks]
    after = kinds.index("web_search_tool_result") + 1 if "web_search_tool_result" in kinds else len(blocks)
    said = [block for block in blocks[after:] if block.get("type") == "text"]
    results = [block.get("content") for block in blocks if block.get("type") == "web_search_tool_result"]
    pages = [page for result in results for page in each(result)]
    cited = [citation for block in said for citation in each(block.get("citations"))]
    found = [_found(citation, text(citation.get("cited_text"))) for citation in cited]
    quoted = {one["url"] for one in found}
    found += [_found(page, "") for page in pages if text(page.get("url")) not in quoted]

    wrong = _STOPS.get(text(message.get("stop_reason")), _UNKNOWN_STOP)
    if wrong is None and not pages:
        errors = [text(fields(result).get("error_code")) for result in results]
        wrong = next((_SEARCH_ERRORS[error] for error in errors if error in _SEARCH_ERRORS), None)
        if wrong is None and not any(isinstance(result, list) for result in results):
            wrong = (CallOutcome.MALFORMED, NOT_SEARCHED)
    answer = search_json("".join(text(block.get("text")) for block in said), found)
    return answered(answer, _usage(fields(message.get("usage"))), message.get("model"), wrong)


def _found(page: Fields, quote: str) -> dict[str, str]:
    return {"title": text(page.get("title")), "url": text(page.get("url")), "quote": quote}


def _usage(usage: Fields) -> TokenUsage:
    """Anthropic does not count what goes through its cache among the input."""
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    return TokenUsage(
        input_tokens=count(usage.get("input_tokens")) + read + written,
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        searches=count(fields(usage.get("server_tool_use")).get("web_search_requests")),
    )
