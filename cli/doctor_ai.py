"""What `vigil doctor` says of AI providers: which are set up and whether they answer, by the calls that were made anyway.
Nobody is called for it; `vigil ai check` does that."""

import time
from contextlib import suppress

import redis.asyncio as redis
from redis.exceptions import RedisError

from adapters.postgres_pool import open_pool
from adapters.redis_breakers import RedisBreakers
from bootstrap.now_and_new import program_version, utc_now
from bootstrap.settings import Settings
from cli.connection import CONNECT_SECONDS
from cli.findings import Finding, graded, ok, warning
from commands.unread import why_unanswered
from domain.budget import dollars, micros_of
from read_api.status import ProviderStatus, Statuses, StatusShape

CHECK = "AI providers"
ASK_THEM = (
    "run `vigil ai check`: it asks each of them, tells what is wrong and what would cure it, and ends the rest of one that"
    " answers well"
)


async def examine_ai(database_url: str, redis_url: str | None, settings: Settings) -> list[Finding]:
    """Every provider with a model, and the budget of the day. Where there are none, rules are enough. Without Redis, which knows
    who rests, nothing is said of providers."""
    if not settings.models:
        return [ok(CHECK, "rules only: they read common prompts, and no model is set up")]
    if redis_url is None:
        return []
    status, spent_micros = await _status(database_url, redis_url, settings)
    models = [each for each in status.ai.providers if each.model is not None]
    nobody = not any(each.state in {"ok", "unknown"} for each in models)
    return [*(_provider(each, nobody=nobody) for each in models), *_budget(status, spent_micros, settings)]


async def _status(database_url: str, redis_url: str, settings: Settings) -> tuple[StatusShape, int]:
    """What `GET /api/v1/status` tells, and what is spent today."""
    client = redis.from_url(redis_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS)
    breakers = RedisBreakers(client, namespace=settings.redis_namespace, holder="doctor", monotonic=time.monotonic)
    try:
        await _connected(client)
        async with open_pool(database_url, size_max=1) as pool:
            statuses = Statuses(
                pool,
                breakers,
                providers=settings.ai_providers,
                models=settings.models,
                budget_micros=None if settings.ai_budget_day is None else micros_of(settings.ai_budget_day),
                version=program_version(),
                now=utc_now,
            )
            return await statuses.status(), await statuses.spent_micros()
    finally:
        await breakers.close()
        await client.aclose()


async def _connected(client: redis.Redis) -> None:
    """Breakers wait for Redis for a moment only, and a first connection may take longer."""
    with suppress(
        RedisError, OSError
    ):  # that it does not answer is told already; then calls alone say how providers do
        await client.ping()


def _provider(each: ProviderStatus, *, nobody: bool) -> Finding:
    """How one does; that it does not answer is a failure only where no other one is left to ask."""
    said = f"{each.name} ({each.model}) {_said(each)}"
    return graded(CHECK, said, ASK_THEM, bad=nobody, low=each.state not in {"ok", "unknown"})


def _said(each: ProviderStatus) -> str:
    rate = "" if not each.failed_percent else f"; {each.failed_percent} % of its latest calls failed"
    match each.state:
        case "ok":
            return f"answers, in {each.latency_ms} ms as a rule{rate}"
        case "unknown":
            return "was not asked in the last day"
        case "failing":
            return "answered none of its latest calls"
        case "resting" | "trying":
            until = "" if each.rests_until is None else f" until {each.rests_until:%H:%M:%S} UTC"
            what = "is asked by nobody" if each.state == "resting" else "is tried with one call"
            why = "" if each.because is None else f"; {why_unanswered(each.because)}"
            failed = "1 call failed" if each.failures == 1 else f"{each.failures} calls failed"
            since = ", and none of its latest was answered" if each.last_ok_at is None else " since its last answer"
            return f"{what}{until}: {failed}{since}{why}"


def _budget(status: StatusShape, spent_micros: int, settings: Settings) -> list[Finding]:
    if settings.ai_budget_day is None:
        return []
    message = f"{dollars(spent_micros)} of {dollars(micros_of(settings.ai_budget_day))} are spent today"
    if status.ai.budget == "spent":
        refused = f"{message}; a call that may cost more than the rest is refused until midnight UTC"
        return [warning("AI budget", refused, "raise VIGIL_AI_BUDGET_DAY, or wait")]
    return [ok("AI budget", message)]
