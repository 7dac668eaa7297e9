"""Batches of Claude: the Message Batches API, over Anthropic's SDK.

It takes no name of ours for a batch, and tells the ids of its calls only with its results. So a batch that nobody knows the id
of is found by what it answers once it has ended; until then one of as many calls, made since then, may be it.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.batch_answers import PAGE_BATCHES, PAGES_MAX, RESULTS_BYTES_MAX, lines_of, name_of, not_sent, object_of
from adapters.claude_provider import ANTHROPIC_URL, API_VERSION, reply
from adapters.provider_errors import Fields, count, each, failure, fields, text
from commands.asking import Inquiry, Reply
from commands.batching import LOST, TOO_LATE, Found, Missing, NotSent, Results, Shipment
from domain.model_call import CallOutcome

CLOCKS_APART = timedelta(hours=1)
"""How much earlier than by our clock a batch may have been made by the provider's."""
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""What the errors of calls would be answered with alone (Anthropic, "Errors")."""


class ClaudeBatches:
    """Fulfils `workers.batcher.BatchProvider`. `base_url` replaces Anthropic's address."""

    name = "claude"

    def __init__(self, api_key: str, model: str, base_url: str | None = None) -> None:
        import anthropic  # noqa: PLC0415  1.3 s and 58 MiB, which a process without AI does not pay
        import httpx2  # noqa: PLC0415

        from adapters.provider_http import provider_client  # noqa: PLC0415

        self.model = model
        self._client = anthropic.AsyncAnthropic(
            api_key="sent by the transport",
            base_url=base_url or ANTHROPIC_URL,
            max_retries=0,
            timeout=None,
            open_telemetry={"traces": False, "propagation": False},
            http_client=provider_client(api_key, {"Anthropic-Version": API_VERSION}, RESULTS_BYTES_MAX),
        )
        self._batches = self._client.messages.batches.with_raw_response
        self._status_error = anthropic.APIStatusError
        self._response = httpx2.Response

    async def submit(self, shipment: Shipment, *, seconds: float) -> str | NotSent:
        """As the port says. Our own id is told to nobody: there is no place for it."""
        requests: Any = [
            {"custom_id": str(item.call_id), "params": asked_of(item.inquiry, self.model)} for item in shipment.items
        ]
        answer = await object_of(self._raw(self._batches.create(requests=requests)), seconds=seconds)
        if isinstance(answer, Reply):
            return not_sent(answer)
        made = name_of(answer.get("id"))
        return made or not_sent(Reply(outcome=CallOutcome.MALFORMED, message="the provider did not name the batch"))

    async def find(self, missing: Missing, *, seconds: float) -> Found:
        """As the port says."""
        may_be_it = False
        async for batch in self._made_since(missing.since - CLOCKS_APART, seconds=seconds):
            if batch is None:
                return Found()
            made, states = name_of(batch.get("id")), fields(batch.get("request_counts"))
            if (
                made is None
                or made in missing.known
                or sum(count(number) for number in states.values()) != len(missing.calls)
            ):
                continue
            if batch.get("processing_status") != "ended":
                may_be_it = True
                continue
            results = await self.fetch(made, seconds=seconds)
            if any(call in missing.calls for call, _ in results.replies):
                return Found(provider_id=made)
            may_be_it |= not results.is_over
        return Found(is_certain=not may_be_it)

    async def fetch(self, provider_id: str, *, seconds: float) -> Results:
        """As the port says."""
        batch = await object_of(self._raw(self._batches.retrieve(provider_id)), seconds=seconds)
        if isinstance(batch, Reply) or batch.get("processing_status") != "ended":
            return Results(is_over=False)
        if batch.get("archived_at") is not None:
            return Results(is_over=True)
        # Not from the address that the answer tells: no server is to say where the key is sent.
        lines = await lines_of(self._results(provider_id), seconds=seconds)
        if isinstance(lines, Reply):
            return Results(is_over=False)
        read = [(text(line.get("custom_id")), result_of(fields(line.get("result")))) for line in lines]
        return Results(is_over=True, replies=read)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _made_since(self, since: datetime, *, seconds: float) -> AsyncIterator[Fields | None]:
        """The batches that were made since then, the newest first; None when the provider does not tell all of them."""
        after: str | None = None
        for _ in range(PAGES_MAX):
            listing = (
                self._batches.list(limit=PAGE_BATCHES)
                if after is None
                else self._batches.list(limit=PAGE_BATCHES, after_id=after)
            )
            page = await object_of(self._raw(listing), seconds=seconds)
            if isinstance(page, Reply) or not isinstance(page.get("data"), list):
                break
            for batch in each(page.get("data")):
                if (made_at := _moment(batch.get("created_at"))) is not None and made_at < since:
                    return
                yield batch
            after = name_of(page.get("last_id"))
            if page.get("has_more") is not True:
                return
            if after is None:
                break
        yield None

    async def _raw(self, sending: Any) -> Any:  # noqa: ANN401  an SDK's raw response; an `httpx2.Response` comes of it
        try:
            return (await sending).http_response
        except self._status_error as error:
            return error.response

    async def _results(self, provider_id: str) -> Any:  # noqa: ANN401  as above
        try:
            return await self._client.get(f"/v1/messages/batches/{provider_id}/results", cast_to=self._response)
        except self._status_error as error:
            return error.response


def asked_of(inquiry: Inquiry, model: str) -> dict[str, Any]:
    """What a call of a batch asks: the same as one that is made alone (`adapters.claude_provider`)."""
    return {
        "model": model,
        "max_tokens": inquiry.output_tokens_max,
        "system": [{"type": "text", "text": inquiry.instructions, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": inquiry.content}],
        "output_config": {"format": {"type": "json_schema", "schema": dict(inquiry.schema)}},
    }


def result_of(result: Fields) -> Reply:
    """What came of a call in a batch."""
    match result.get("type"):
        case "succeeded":
            return reply(fields(result.get("message")))
        case "errored":
            body = fields(result.get("error"))
            status = _STATUS.get(text(fields(body.get("error")).get("type")), 500)
            return failure(status, {}, body)
        case "expired" | "canceled":
            return TOO_LATE
        case _:
            return replace(LOST, message="the provider's batch says nothing of it that can be read")


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
