"""`vigil ai check`: does every provider answer, and what would cure one that does not?

The calls are real and cost next to nothing; what they cost is shown, and counts in no budget, so that this also works where
nothing but the providers does."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Protocol

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from adapters.model_prices import ModelPrices
from bootstrap.ai import providers
from bootstrap.now_and_new import utc_now
from cli.connection import configured, run
from cli.event_lines import clean
from cli.output import FAILED, print_json
from commands.asking import ANSWER_SECONDS_MAX, Inquiry, Provider
from domain.budget import dollars
from domain.model_call import CallOutcome, Task, TokenUsage

QUESTION = Inquiry(
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


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider took the question. `model` is what it says answered, else what was asked for; `cost_micros` is in
    millionths of a US dollar; `message` and `cure` are there unless it answered."""

    provider: str
    model: str
    outcome: CallOutcome
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    message: str | None = None
    cure: str | None = None


class _Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: str


def run_check(*, as_json: bool) -> None:
    """Ask everybody who is set up, and show what they say; exits 1 when one does not answer."""
    settings = configured()
    found = run(_shown(providers(settings), ModelPrices(settings.ai_prices), as_json=as_json))
    if any(each.outcome is not CallOutcome.OK for each in found):
        raise typer.Exit(FAILED)


async def _shown(asked: Sequence[SetUp], prices: Prices, *, as_json: bool) -> list[Checked]:
    console, found = Console(highlight=False), list[Checked]()
    async with aclosing(check(asked, prices, now=utc_now, monotonic=time.monotonic)) as checks:
        async for checked in checks:
            found.append(checked)
            if not as_json:
                _show(console, checked)
    if as_json:
        print_json(found)
    elif not found:
        console.print(NOBODY, soft_wrap=True)
    return found


async def check(
    asked: Sequence[SetUp], prices: Prices, *, now: Callable[[], datetime], monotonic: Callable[[], float]
) -> AsyncGenerator[Checked, None]:
    """One short call to each, one after the other. Closes the connections of each; never raises for what one does."""
    for provider in asked:
        at, began = now(), monotonic()
        try:
            reply = await provider.call(QUESTION, seconds=ANSWER_SECONDS_MAX)
        finally:
            await provider.close()
        outcome, message = reply.outcome, reply.message
        if outcome is CallOutcome.OK and not _is_ready(reply.text):
            outcome, message = CallOutcome.MALFORMED, "it answers something else than it was asked for"
        model = reply.model or provider.model
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
    if checked.cure is not None:
        console.print(Text(f"{'':<16}→ {checked.cure}"), soft_wrap=True)
