"""Batches of OpenAI: a file of requests to its Responses API, over its SDK. A batch has our own id in its metadata."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from adapters.batch_answers import PAGE_BATCHES, PAGES_MAX, RESULTS_BYTES_MAX, lines_of, name_of, not_sent, object_of
from adapters.openai_provider import OPENAI_URL, reply
from adapters.provider_errors import Fields, count, each, failure, fields, text
from commands.asking import Inquiry, Reply
from commands.batching import LOST, TOO_LATE, Found, Missing, NotSent, Results, Shipment
from domain.model_call import CallOutcome

OURS = "vigil_batch"
KEPT_SECONDS = 3 * 24 * 3600
"""How long OpenAI keeps what was asked and answered; a batch takes a day at most."""
CLOCKS_APART = timedelta(hours=1)
_MOVING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_REFUSED: Mapping[str, Reply] = {
    "token_limit_exceeded": Reply(
        outcome=CallOutcome.RATE_LIMITED, message="too many tokens wait for the provider already"
    ),
    "billing_hard_limit_reached": Reply(
        outcome=CallOutcome.AUTH, message="the account with the provider has no money left"
    ),
}
_NOT_TAKEN = Reply(outcome=CallOutcome.BAD_REQUEST, message="the provider does not take the batch")


class OpenAIBatches:
    """Fulfils `workers.batcher.BatchProvider`. `base_url` (with its version: `.../v1`) replaces OpenAI's address."""

    name = "openai"

    def __init__(self, api_key: str, model: str, base_url: str | None = None) -> None:
        import openai  # noqa: PLC0415  0.5 s and 37 MiB, which a process without AI does not pay

        from adapters.provider_http import provider_client  # noqa: PLC0415

        self.model = model
        self._client = openai.AsyncOpenAI(
            api_key="sent by the transport",
            base_url=base_url or OPENAI_URL,
            max_retries=0,
            timeout=None,
            http_client=provider_client(api_key, {}, RESULTS_BYTES_MAX),
        )
        self._batches = self._client.batches.with_raw_response
        self._files = self._client.files.with_raw_response
        self._status_error = openai.APIStatusError

    async def submit(self, shipment: Shipment, *, seconds: float) -> str | NotSent:
        """As the port says. A file that no batch follows expires."""
        lines = [
            {
                "custom_id": str(item.call_id),
                "method": "POST",
                "url": "/v1/responses",
                "body": asked_of(item.inquiry, self.model),
            }
            for item in shipment.items
        ]
        content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        kept: Any = {"anchor": "created_at", "seconds": KEPT_SECONDS}
        upload = self._files.create(file=(f"{shipment.id}.jsonl", content), purpose="batch", expires_after=kept)
        uploaded = await object_of(self._raw(upload), seconds=seconds / 2)
        if isinstance(uploaded, Reply):
            return NotSent(reply=uploaded, may_have_arrived=False)
        making = self._batches.create(
            input_file_id=text(uploaded.get("id")),
            endpoint="/v1/responses",
            completion_window="24h",
            metadata={OURS: str(shipment.id)},
            output_expires_after=kept,
        )
        answer = await object_of(self._raw(making), seconds=seconds / 2)
        if isinstance(answer, Reply):
            return not_sent(answer)
        made = name_of(answer.get("id"))
        return made or not_sent(Reply(outcome=CallOutcome.MALFORMED, message="the provider did not name the batch"))

    async def find(self, missing: Missing, *, seconds: float) -> Found:
        """As the port says."""
        async for batch in self._made_since(missing.since - CLOCKS_APART, seconds=seconds):
            if batch is None:
                return Found()
            if fields(batch.get("metadata")).get(OURS) == str(missing.id):
                return Found(provider_id=name_of(batch.get("id")))
        return Found(is_certain=True)

    async def fetch(self, provider_id: str, *, seconds: float) -> Results:
        """As the port says. What a batch that ended early has answered by then is told, and was paid for."""
        batch = await object_of(self._raw(self._batches.retrieve(provider_id)), seconds=seconds)
        if isinstance(batch, Reply) or text(batch.get("status")) in _MOVING | {""}:
            return Results(is_over=False)
        replies: list[tuple[str, Reply]] = []
        for file in (batch.get("output_file_id"), batch.get("error_file_id")):
            if (file_id := name_of(file)) is None:
                continue
            lines = await lines_of(self._raw_content(file_id), seconds=seconds)
            if isinstance(lines, Reply):
                return Results(is_over=False)
            replies += [(text(line.get("custom_id")), result_of(line)) for line in lines]
        return Results(is_over=True, replies=replies, missing=_missing(batch))

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
                else self._batches.list(limit=PAGE_BATCHES, after=after)
            )
            page = await object_of(self._raw(listing), seconds=seconds)
            if isinstance(page, Reply) or not isinstance(page.get("data"), list):
                break
            batches = each(page.get("data"))
            for batch in batches:
                if (made_at := _moment(batch.get("created_at"))) is not None and made_at < since:
                    return
                yield batch
            if page.get("has_more") is not True:
                return
            after = name_of(batches[-1].get("id")) if batches else None
            if after is None:
                break
        yield None

    async def _raw(self, sending: Any) -> Any:  # noqa: ANN401  an SDK's raw response; an `httpx2.Response` comes of it
        try:
            return (await sending).http_response
        except self._status_error as error:
            return error.response

    async def _raw_content(self, file_id: str) -> Any:  # noqa: ANN401  as above
        return await self._raw(self._files.content(file_id))


def asked_of(inquiry: Inquiry, model: str) -> dict[str, Any]:
    """What a call of a batch asks: the same as one that is made alone (`adapters.openai_provider`)."""
    return {
        "model": model,
        "instructions": inquiry.instructions,
        "input": inquiry.content,
        "max_output_tokens": inquiry.output_tokens_max,
        "text": {
            "format": {
                "type": "json_schema",
                "name": inquiry.task.value,
                "strict": True,
                "schema": dict(inquiry.schema),
            }
        },
        "store": False,
        "prompt_cache_key": f"vigil-{inquiry.task}",
    }


def result_of(line: Fields) -> Reply:
    """What came of a call in a batch."""
    response = fields(line.get("response"))
    status, body = count(response.get("status_code")), fields(response.get("body"))
    if 200 <= status < 300:
        return reply(body)
    if status:
        return failure(status, {}, body)
    if text(fields(line.get("error")).get("code")) == "batch_expired":
        return TOO_LATE
    return failure(500, {}, {}) if line.get("error") else LOST


def _missing(batch: Fields) -> Reply:
    """What holds for calls of which a batch says nothing."""
    match batch.get("status"):
        case "failed":
            errors = each(fields(batch.get("errors")).get("data"))
            return next((_REFUSED[code] for one in errors if (code := text(one.get("code"))) in _REFUSED), _NOT_TAKEN)
        case "expired" | "cancelled":
            return TOO_LATE
        case _:
            return LOST


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None
