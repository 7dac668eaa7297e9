"""`python -m evals.plans`: have the models that are set up compile every prompt of the corpus, and tell how they did. A report,
not a test: a model answers otherwise tomorrow. It costs some cents."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
import typer

from adapters.model_prices import ModelPrices
from adapters.network_guard import NetworkGuard
from adapters.source_rules import SourceRules
from bootstrap.ai import providers
from bootstrap.now_and_new import new_id, utc_now
from bootstrap.settings import Settings, SettingsInvalid, read_settings
from commands.asking import Asking, PlannedCall, Provider, Reply
from commands.classifying import ModelClassifier
from commands.plan_compiler import PlanCompiler
from domain.breaker import BreakerState, BreakerView
from domain.model_call import CallOutcome, ModelCalled
from evals.plan_cases import CONDITIONS, CORPUS, NOW, Case, Outcome, Result, play, read_cases

AT_ONCE = 4
"""Prompts compiled at the same time: providers count requests a minute."""
INTERVAL_SECONDS_MIN = 60
NOTHING_SET_UP = (
    "no AI provider is set up, so nothing was asked. Set ANTHROPIC_API_KEY or OPENAI_API_KEY (or OPENAI_BASE_URL of a server"
    " of your own), and VIGIL_AI_PROVIDERS to ask only one of them, for example VIGIL_AI_PROVIDERS=claude."
)
NOT_ASKED = 2


@dataclass(slots=True)
class Accounts:
    """Ledger, breakers and observer in one, for a run that a person looks at: everything is let through and added up."""

    prices: ModelPrices
    calls: list[ModelCalled] = field(default_factory=list)

    async def admit(self, call: PlannedCall) -> None:
        """Whoever starts this pays for it."""
        del call

    async def record(self, call: PlannedCall, reply: Reply, *, duration_ms: int) -> ModelCalled:
        """Add it up."""
        model = reply.model or call.model
        cost = self.prices.cost_micros(call.provider, model, reply.usage, at=call.started_at, asked_for=call.model)
        called = ModelCalled(
            task=call.inquiry.task,
            provider=call.provider,
            model=model,
            outcome=reply.outcome,
            usage=reply.usage,
            cost_micros=cost,
            prices=self.prices.version,
            message=reply.message,
            started_at=call.started_at,
            duration_ms=duration_ms,
        )
        self.calls.append(called)
        return called

    async def allows(self, provider: str, model: str) -> bool:
        """Every time."""
        del provider, model
        return True

    def note(self, provider: str, model: str, outcome: CallOutcome) -> None:
        """Nobody rests."""

    def view(self, provider: str, model: str) -> BreakerView:
        """It may be asked."""
        return BreakerView(provider=provider, model=model, state=BreakerState.CLOSED)

    def called(self, call: PlannedCall, called: ModelCalled) -> None:
        """Nobody else looks."""


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that did not become what it should: what it was read as, and what is wrong with that."""

    prompt: str
    about: str
    outcome: Outcome
    said: str
    wrong: tuple[str, ...]


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many prompts became what they should, by what they are about; what it cost (millionths of a US dollar) and how long
    one took (ms), and everything that went wrong."""

    models: tuple[str, ...]
    cases: int
    right: int
    by_subject: dict[str, tuple[int, int]]
    calls: int
    outcomes: dict[str, int]
    cost_micros: int
    prices: str
    p50_ms: int
    p95_ms: int
    failures: tuple[Wrong, ...]


class _NoSignals:
    """Everybody may watch every signal source: the corpus has made-up ones."""

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        """All of them."""
        del owner_id
        return frozenset(source_ids)


def compiler_of(asking: Asking, *, now: Callable[[], datetime]) -> PlanCompiler:
    """The compiler of an installation that has these models and no rules."""
    sources = SourceRules(NetworkGuard(), can_search=True)
    classifier = ModelClassifier(
        asking=asking,
        conditions=CONDITIONS,
        sources=sources,
        interval_seconds_min=INTERVAL_SECONDS_MIN,
        can_search=True,
        now=now,
        new_boundary=lambda: secrets.token_hex(16),
    )
    return PlanCompiler(
        classifier=classifier,
        conditions=CONDITIONS,
        sources=sources,
        signals=_NoSignals(),
        interval_seconds_min=INTERVAL_SECONDS_MIN,
        now=now,
        models=tuple(provider.name for provider in asking.providers),
        can_search=True,
    )


async def evaluate(
    asking: Asking, cases: Sequence[Case], *, told: Callable[[Result, int], None] = lambda _result, _ms: None
) -> list[tuple[Result, int]]:
    """Every case with what became of it and how many ms that took, `AT_ONCE` at the same time; `told` as each is done."""
    compiler, room, clock = compiler_of(asking, now=lambda: NOW), asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()

    async def one(case: Case) -> tuple[Result, int]:
        async with room:
            began = clock.time()
            result = await play(case, compiler)
            took = round((clock.time() - began) * 1000)
        told(result, took)
        return result, took

    return list(await asyncio.gather(*map(one, cases)))


def report_of(results: Sequence[tuple[Result, int]], accounts: Accounts, models: Sequence[str]) -> PlanReport:
    """The results and the accounts of a run, added up."""
    by_subject: dict[str, tuple[int, int]] = {}
    for result, _ in results:
        right, all_ = by_subject.get(result.case.about, (0, 0))
        by_subject[result.case.about] = (right + (not result.wrong), all_ + 1)
    outcomes: dict[str, int] = {}
    for called in accounts.calls:
        outcomes[called.outcome] = outcomes.get(called.outcome, 0) + 1
    return PlanReport(
        models=tuple(models),
        cases=len(results),
        right=sum(not result.wrong for result, _ in results),
        by_subject=by_subject,
        calls=len(accounts.calls),
        outcomes=outcomes,
        cost_micros=sum(called.cost_micros for called in accounts.calls),
        prices=accounts.prices.version,
        p50_ms=_rank([took for _, took in results], 50),
        p95_ms=_rank([took for _, took in results], 95),
        failures=tuple(
            Wrong(
                prompt=result.case.prompt,
                about=result.case.about,
                outcome=result.outcome,
                said=result.said,
                wrong=tuple(result.wrong),
            )
            for result, _ in results
            if result.wrong
        ),
    )


def _rank(values: Collection[int], percent: int) -> int:
    """By the nearest-rank method; 0 of nothing."""
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else 0


def report_lines(report: PlanReport) -> list[str]:
    """The report for people: the failures first, the score last, where it is seen."""
    lines: list[str] = []
    for failure in report.failures:
        lines += [f"✗ {failure.about}: {failure.prompt}", f"    {failure.outcome}: {failure.said}"]
        lines += [f"    - {line}" for line in failure.wrong]
    subjects = ", ".join(f"{name} {right}/{of}" for name, (right, of) in sorted(report.by_subject.items()))
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(report.outcomes.items())) or "none"
    share = 100 * report.right / report.cases if report.cases else 0
    return [
        *lines,
        f"models:  {', '.join(report.models)}",
        f"score:   {report.right} of {report.cases} ({share:.0f} %): {subjects}",
        f"calls:   {report.calls} ({outcomes})",
        f"cost:    {report.cost_micros / 1_000_000:.4f} USD after {report.prices}",
        f"latency: p50 {report.p50_ms} ms, p95 {report.p95_ms} ms for a prompt",
    ]


def settings_with_models() -> Settings:
    """The settings, with the providers that have keys where none is named; raises `SettingsInvalid`."""
    settings = read_settings()
    if settings.models:
        return settings
    has_openai = settings.openai_api_key or settings.openai_base_url
    named = [*(["claude"] if settings.anthropic_api_key else []), *(["openai"] if has_openai else [])]
    return read_settings(ai_providers=tuple(named)) if named else settings


async def run(
    found: Sequence[Provider], prices: ModelPrices, cases: Sequence[Case], told: Callable[[Result, int], None]
) -> PlanReport:
    """Ask these providers about every case."""
    accounts = Accounts(prices)
    asking = Asking(providers=found, ledger=accounts, breakers=accounts, tracing=accounts, now=utc_now, new_id=new_id)
    results = await evaluate(asking, cases, told=told)
    return report_of(results, accounts, [f"{provider.name} ({provider.model})" for provider in found])


async def _run_set_up(settings: Settings, cases: Sequence[Case], told: Callable[[Result, int], None]) -> PlanReport:
    found = providers(settings)
    try:
        return await run(found, ModelPrices(settings.ai_prices), cases, told)
    finally:
        for provider in found:
            await provider.close()


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    corpus: Annotated[Path, typer.Option(help="The prompts with what they should become.")] = CORPUS,
    about: Annotated[str | None, typer.Option(help="Only prompts about this: price, weather, vague, ...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
) -> None:
    """Have the models that are set up compile every prompt of the corpus, and tell how they did."""
    try:
        settings = settings_with_models()
    except SettingsInvalid as invalid:
        typer.echo(str(invalid), err=True)
        raise typer.Exit(NOT_ASKED) from None
    if not settings.models:
        typer.echo(NOTHING_SET_UP, err=True)
        raise typer.Exit(NOT_ASKED)
    cases = [case for case in read_cases(corpus) if about in {None, case.about}]

    def told(result: Result, took_ms: int) -> None:
        mark = "✗" if result.wrong else "✓"
        typer.echo(f"{mark} {took_ms / 1000:5.1f} s  {result.case.prompt[:100]}", err=True)

    report = asyncio.run(_run_set_up(settings, cases, told))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)))
    else:
        typer.echo("\n".join(report_lines(report)))


if __name__ == "__main__":
    app()
