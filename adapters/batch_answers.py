"""What providers answer about batches: lists of them, and results, a JSON object in each line."""

import re
from collections.abc import Awaitable, Iterator
from typing import Any

from adapters.provider_errors import NOT_JSON, UNSENT, Fields, content_of, fields_of
from commands.asking import Reply
from commands.batching import NotSent
from domain.model_call import UNAVAILABLE, CallOutcome

RESULTS_BYTES_MAX = 128 * 2**20
"""A batch has up to 1,000 answers of at most 10,000 tokens, beside which providers may repeat what was asked."""
PAGES_MAX, PAGE_BATCHES = 20, 100
"""How many batches are looked through, the newest first."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


async def object_of(send: Awaitable[Any], *, seconds: float) -> Fields | Reply:
    """Send a request, which gives an `httpx2.Response`; the JSON object it is answered with, else how it ended."""
    content = await content_of(send, seconds=seconds)
    if isinstance(content, Reply):
        return content
    answer = fields_of(content)
    return NOT_JSON if answer is None else answer


async def lines_of(send: Awaitable[Any], *, seconds: float) -> list[Fields] | Reply:
    """Send a request in the same way; the JSON objects in the lines of the answer. What is none is left out."""
    content = await content_of(send, seconds=seconds)
    if isinstance(content, Reply):
        return content
    if len(content) > RESULTS_BYTES_MAX:
        return Reply(outcome=CallOutcome.MALFORMED, message="the results are far too long, and were cut")
    return list(_objects(content))


def _objects(content: bytes) -> Iterator[Fields]:
    for line in content.splitlines():
        found = fields_of(line)
        if found is not None:
            yield found


def name_of(value: object) -> str | None:
    """A provider's id that can stand in an address; None for anything else."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def not_sent(reply: Reply) -> NotSent:
    """A request to take a batch ended like this. Of a server that fails, or does not answer, nobody knows what it did; one that
    answers something strange may have taken it, too, as may one of which an SDK cannot tell. Too many requests (429) are not
    even looked at."""
    unknown = (UNAVAILABLE - {CallOutcome.RATE_LIMITED}) | {CallOutcome.MALFORMED}
    return NotSent(reply=reply, may_have_arrived=reply.outcome in unknown or (reply.message or "").startswith(UNSENT))
