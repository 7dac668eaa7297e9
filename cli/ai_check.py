"""`vigil ai check`: does every provider answer, and what would cure one that does not?

The calls are real and cost next to nothing; what they cost is shown, and counts in no budget, so that this also works where
nothing but the providers does."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Protocol

import msgspec
import redis.asyncio as redis
import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.text import Text

from adapters.data_dir import read_endpoints
from adapters.model_prices import ModelPrices
from adapters.redis_breakers import RedisBreakers
from bootstrap.ai import providers
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.connection import CONNECT_SECONDS, configured, run
from cli.event_lines import clean
from cli.output import FAILED, print_json, warn
from commands.asking import ANSWER_SECONDS_MAX, Inquiry, Provider
from domain.budget import dollars
from domain.model_call import CallOutcome, Task, TokenUsage

INQUIRY = Inquiry(
    task=Task.CHECK,
    instructions='Answer with the JSON object {"answer": "ready"} and nothing else.',
    content="Are you ready?",
    schema={
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": ["ready"]}},
        "required": ["answer"],
        "additionalProperties": False,
    },
    output_tokens_max=1000,  # models that think first count their thoughts
)
SETTINGS = {
    "claude": ("ANTHROPIC_API_KEY", "VIGIL_CLAUDE_MODEL", "ANTHROPIC_BASE_URL"),
    "openai": ("OPENAI_API_KEY", "VIGIL_OPENAI_MODEL", "OPENAI_BASE_URL"),
}
"""Where each provider's key, model and address are set."""
NOBODY = (
    "no AI provider is set up: rules read what they can. To have a model read prompts and pages, set"
    " VIGIL_AI_PROVIDERS=claude,rules and ANTHROPIC_API_KEY, or VIGIL_AI_PROVIDERS=openai,rules and OPENAI_API_KEY"
    " (or OPENAI_BASE_URL of your own server)"
)


class SetUp(Provider, Protocol):
    """A provider with its connections."""

    async def close(self) -> None:
        """Let go of them."""
        ...


class Prices(Protocol):
    """What models cost."""

    def cost_micros(
        self, provider: str, model: str, usage: TokenUsage, *, at: datetime, asked_for: str | None = None
    ) -> int:
        """What a usage cost, in millionths of a US dollar."""
        ...


class Rests(Protocol):
    """Who rests, for all processes."""

    async def end_rest(self, provider: str, model: str) -> bool:
        """A provider answered: it rests no more. Whether it did."""
        ...


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider took the inquiry. `model` is what it says answered, else what was asked for; `cost_micros` is in
    millionths of a US dollar; `message` and `cure` are there unless it answered; with `rest_ended` it rested until now."""

    provider: str
    model: str
    outcome: CallOutcome
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    message: str | None = None
    cure: str | None = None
    rest_ended: bool = False


class _Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: str


def run_check(*, as_json: bool) -> None:
    """Ask everybody who is set up, and show what they say; exits 1 when one does not answer."""
    settings = configured()
    found = run(_shown(settings, as_json=as_json))
    if any(each.outcome is not CallOutcome.OK for each in found):
        raise typer.Exit(FAILED)


async def _shown(settings: Settings, *, as_json: bool) -> list[Checked]:
    console, found = Console(highlight=False), list[Checked]()
    asked, prices = providers(settings), ModelPrices(settings.ai_prices)
    async with (
        _rests(settings) as rests,
        aclosing(check(asked, prices, rests, now=utc_now, monotonic=time.monotonic)) as checks,
    ):
        async for checked in checks:
            found.append(checked)
            if not as_json:
                _show(console, checked)
    if as_json:
        print_json(found)
    elif not found:
        console.print(NOBODY, soft_wrap=True)
    return found


@asynccontextmanager
async def _rests(settings: Settings) -> AsyncIterator[Rests | None]:
    """What all processes know through Redis; None where no Vigil runs that knows anything, or Redis does not answer, which is
    told."""
    url = settings.redis_url or read_endpoints(settings.data_dir).get("redis")
    if url is None or not settings.models:
        yield None
        return
    async with redis.from_url(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS) as client:
        try:
            await client.ping()
        except (RedisError, OSError):
            warn("Redis does not answer: a provider that rests is asked when its rest is over, however it answers here")
            yield None
            return
        yield RedisBreakers(client, namespace=settings.redis_namespace, holder="check", monotonic=time.monotonic)


async def check(
    asked: Sequence[SetUp],
    prices: Prices,
    rests: Rests | None = None,
    *,
    now: Callable[[], datetime],
    monotonic: Callable[[], float],
) -> AsyncGenerator[Checked, None]:
    """One short call to each, one after the other; who answers rests no more, and nobody rests for failing. Closes the
    connections of each; never raises for what one does."""
    for provider in asked:
        at, began = now(), monotonic()
        try:
            reply = await provider.call(INQUIRY, seconds=ANSWER_SECONDS_MAX)
        finally:
            await provider.close()
        outcome, message = reply.outcome, reply.message
        if outcome is CallOutcome.OK and not _is_ready(reply.text):
            outcome, message = CallOutcome.MALFORMED, "it answers something else than it was asked for"
        model = reply.model or provider.model
        rest_ended = (
            rests is not None and outcome is CallOutcome.OK and await rests.end_rest(provider.name, provider.model)
        )
        yield Checked(
            provider=provider.name,
            model=model,
            outcome=outcome,
            latency_ms=round((monotonic() - began) * 1000),
            input_tokens=reply.usage.input_tokens,
            output_tokens=reply.usage.output_tokens,
            cost_micros=prices.cost_micros(provider.name, model, reply.usage, at=at, asked_for=provider.model),
            message=None if outcome is CallOutcome.OK else message,
            cure=_cure(provider.name, outcome),
            rest_ended=rest_ended,
        )


def _is_ready(answer: str) -> bool:
    try:
        return msgspec.json.decode(answer, type=_Ready).answer == "ready"
    except (msgspec.DecodeError, UnicodeError):
        return False


def _cure(provider: str, outcome: CallOutcome) -> str | None:
    key, model, address = SETTINGS[provider]
    match outcome:
        case CallOutcome.OK | CallOutcome.BUDGET_EXCEEDED:
            return None
        case CallOutcome.AUTH:
            return f"correct {key}, or see to the account it belongs to"
        case CallOutcome.BAD_REQUEST:
            return f"correct {model}, and {address} if it is set: is there such a model?"
        case CallOutcome.OVERLOADED | CallOutcome.TIMEOUT:
            return f"try again later; if it stays so, is the network open, and {address} right if it is set?"
        case CallOutcome.RATE_LIMITED:
            return f"try again later, or have the limits raised of the account that {key} belongs to"
        case CallOutcome.TRUNCATED | CallOutcome.REFUSED | CallOutcome.MALFORMED:
            return f"set {model} to a model that answers in JSON of a given schema; if {address} is set, is it right?"


def _show(console: Console, checked: Checked) -> None:
    is_ok = checked.outcome is CallOutcome.OK
    model, cost = clean(checked.model), dollars(checked.cost_micros)
    tokens = f"{checked.input_tokens} tokens in, {checked.output_tokens} out, {cost}"
    said = f"answers in {checked.latency_ms} ms" if is_ok else f"{checked.outcome}: {clean(checked.message or '')}"
    console.print(
        Text.assemble(
            (f"{'ok' if is_ok else 'failed':<8}", "green" if is_ok else "bold red"),
            (f"{checked.provider:<8}", "bold"),
            f"{said} ({model}; {tokens})",
        ),
        soft_wrap=True,
    )
    if checked.rest_ended:
        console.print(f"{'':<16}→ it rested, and is asked again from now on", soft_wrap=True)
    if checked.cure is not None:
        console.print(Text(f"{'':<16}→ {checked.cure}"), soft_wrap=True)
