"""What came of a call to a provider, whatever its server did: one outcome, in words of ours.

No text of a provider is handed on in a message: it may repeat what was asked, or the key.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import structlog

from commands.asking import Reply
from commands.unread import ENDINGS
from domain.model_call import CallOutcome, TokenUsage

log = structlog.get_logger()

MODEL_CHARS_MAX = 200
TOKENS_MAX = 10**9
"""What a broken server says beyond it is not believed."""

NOT_JSON = Reply(outcome=CallOutcome.MALFORMED, message="the provider's answer is not the JSON object it should be")
NO_TEXT = "the answer has no text"
AT_LIMIT = ENDINGS[CallOutcome.TRUNCATED]
REFUSED = ENDINGS[CallOutcome.REFUSED]
UNSENT = "the request could not be made or sent"
NOT_SEARCHED = "the model answered without having searched the web"

_NO_MONEY = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"})
_NO_MONEY_WORDS = "credit balance is too low"
"""Anthropic says so in an error of the type invalid_request_error."""

Fields = Mapping[str, Any]


async def outcome_of(send: Awaitable[Any], read: Callable[[Fields], Reply], *, seconds: float) -> Reply:
    """Send a request, which gives an `httpx2.Response` whatever its status, and read the answer: `read` gets the JSON object
    of one that is no error. Over after `seconds`, also when the server keeps on sending."""
    content = await content_of(send, seconds=seconds)
    if isinstance(content, Reply):
        return content
    answer = fields_of(content)
    return NOT_JSON if answer is None else read(answer)


async def content_of(send: Awaitable[Any], *, seconds: float) -> bytes | Reply:
    """Send a request in the same way; the body of an answer that is no error, else how it ended."""
    try:
        async with asyncio.timeout(seconds):
            response = await send
    except TimeoutError:
        message = f"{ENDINGS[CallOutcome.TIMEOUT]} ({seconds:.3g} seconds)"
        return Reply(outcome=CallOutcome.TIMEOUT, message=message)
    except Exception as error:  # noqa: BLE001  an SDK raises what it likes, and a call ends in an outcome
        return _not_sent(error)
    if not 200 <= response.status_code < 300:
        return failure(response.status_code, response.headers, fields_of(response.content) or {})
    content: bytes = response.content
    return content


def _not_sent(error: Exception) -> Reply:
    """Of an exception that is not our transport's only its type is told: a message may hold what was asked, or the key."""
    import httpx2  # noqa: PLC0415  it is there when an SDK is, and only then

    failed = error.__cause__
    if isinstance(failed, httpx2.NetworkError):
        is_unheard = not isinstance(failed, httpx2.ConnectError)
        return Reply(outcome=CallOutcome.OVERLOADED, message=str(failed), is_unheard=is_unheard)
    log.error("a request could not be made for a provider", error=type(error).__name__)
    return Reply(outcome=CallOutcome.BAD_REQUEST, message=f"{UNSENT} ({type(error).__name__})")


def failure(status: int, headers: Mapping[str, str], body: Fields) -> Reply:
    """What an answer with another status than 2xx means, with the names of headers in lower case."""
    outcome, words = _meaning(status, body)
    wait = retry_after_seconds(headers) if outcome in {CallOutcome.RATE_LIMITED, CallOutcome.OVERLOADED} else None
    return Reply(outcome=outcome, message=f"{words} ({status})", retry_after_seconds=wait)


def _meaning(status: int, body: Fields) -> tuple[CallOutcome, str]:
    error = fields(body.get("error"))
    named = {text(error.get("code")), text(error.get("type"))}
    if status == 402 or named & _NO_MONEY or _NO_MONEY_WORDS in text(error.get("message")):
        return CallOutcome.AUTH, "the account with the provider has no money left"
    match status:
        case 401 | 403:
            return CallOutcome.AUTH, ENDINGS[CallOutcome.AUTH]
        case 408:
            return CallOutcome.TIMEOUT, "the provider gave up waiting"
        case 429:
            return CallOutcome.RATE_LIMITED, ENDINGS[CallOutcome.RATE_LIMITED]
        case 404:
            return CallOutcome.BAD_REQUEST, "the provider knows no such model or address"
        case 413:
            return CallOutcome.BAD_REQUEST, "the request is too long for the provider"
        case _ if status >= 500:
            return CallOutcome.OVERLOADED, ENDINGS[CallOutcome.OVERLOADED]
        case _ if status < 400:
            return CallOutcome.BAD_REQUEST, "the provider's address points elsewhere, where no key is sent"
    return CallOutcome.BAD_REQUEST, ENDINGS[CallOutcome.BAD_REQUEST]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Retry-After (RFC 9110, 10.2.3): a number of seconds, or a moment, counted from the server's own Date."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        moment, now = _moment(value), _moment(headers.get("date", ""))
        seconds = math.nan if moment is None or now is None else (moment - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # digits without end
        return None
    return moment if moment.tzinfo is not None else None


def answered(served: str, usage: TokenUsage, model: object, wrong: tuple[CallOutcome, str] | None) -> Reply:
    """An answer with `served` as its text; `wrong` says why it is none. Garbage keeps its text and what it cost."""
    if wrong is None and not served.strip():
        wrong = (CallOutcome.MALFORMED, NO_TEXT)
    name = text(model)[:MODEL_CHARS_MAX] or None
    reply = Reply(outcome=CallOutcome.OK, text=served, usage=usage, model=name)
    return reply if wrong is None else replace(reply, outcome=wrong[0], message=wrong[1])


def fields_of(body: bytes) -> Fields | None:
    """The JSON object that `body` is, None for anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def fields(value: object) -> Fields:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def each(value: object) -> list[Fields]:
    """The objects in `value`, if it is a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """`value` if it is text, else none."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    """`value` if it can be a number of tokens, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TOKENS_MAX else 0


def search_json(said: str, found: list[dict[str, str]]) -> str:
    """The answer to an inquiry that searches: what the model said, and each passage it rests on, once."""
    results = list({(one["url"], one["quote"]): one for one in found if one["url"]}.values())
    return msgspec.json.encode({"text": said, "results": results}).decode()
