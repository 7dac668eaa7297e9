"""What models cost in time: evaluations a second with a slow model, what the layer adds to a call, and what failover adds.

Run as `python -m benchmarks.models`. The model is a stand-in on loopback (`tests.model_server`), asked through the real SDK.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog
import uvloop

from benchmarks.evaluate import (
    BESIDE,
    Processes,
    Round,
    be_roles,
    change_the_site,
    make_monitors,
    one_round,
    open_the_parts,
    plan_of,
    until_answered,
)
from benchmarks.machine import describe
from benchmarks.report import Quantiles, quantiles, report
from benchmarks.servers import Servers, durable_servers
from benchmarks.site import free_port, serve
from bootstrap.ai import providers
from bootstrap.settings import read_settings
from commands.asking import Inquiry
from domain.fact import FactSpec, FactType, ReadBy
from domain.model_call import CallOutcome, OnBehalf, Task
from domain.operation import INSTALLATION
from domain.plan import Plan
from tests.model_server import ModelServer, failing, model_server, ok, slow
from tests.reading_model import reads

AIM_RATE, AIM_MEMORY_MIB, AIM_OVERHEAD_MS, AIM_FAILOVER_MS = 400, 250, 2.0, 100.0
MODEL_SECONDS = 1.0

INQUIRY = Inquiry(
    task=Task.EXTRACT,
    instructions="Read the price.",
    content="Price: 49",
    schema={
        "type": "object",
        "properties": {"price": {"type": "number"}},
        "required": ["price"],
        "additionalProperties": False,
    },
    output_tokens_max=100,
)
NOBODYS = OnBehalf(owner_id=INSTALLATION)


class Price(msgspec.Struct):
    """What the stand-in answers."""

    price: float


class ModelFigures(msgspec.Struct, frozen=True):
    """Rounds of evaluations with a model that takes a second, and how many waited for it at once; how long a call takes by the
    SDK alone, through the layer, and through it beside a first provider that rests."""

    rounds: list[Round]
    in_flight_most: int
    alone: Quantiles
    through: Quantiles
    beside_resting: Quantiles

    @property
    def added_ms(self) -> float:
        """What the layer adds to a call, by the medians."""
        return self.through.p50 - self.alone.p50

    @property
    def failover_ms(self) -> float:
        """What a provider that rests adds to a call of the other, by the medians."""
        return self.beside_resting.p50 - self.through.p50


def model_read_plan_of(number: int, site: int) -> Plan:
    """The plan of the other benchmark, but a model reads the price."""
    price = FactSpec(name="price", type=FactType.NUMBER, description="the price of the item", read_by=ReadBy.MODEL)
    return msgspec.structs.replace(plan_of(number, site), facts=(price,))


async def measure_rate(servers: Servers, *, monitors: int, times: int) -> tuple[list[Round], int]:
    """Rounds of one evaluator in which every page is another one, and the model takes a second to read it."""
    rounds, site = list[Round](), free_port()
    async with AsyncExitStack() as stack:
        processes = Processes()
        stack.callback(processes.kill_all)
        model = await stack.enter_async_context(
            model_server(lambda asked: slow(reads(asked), MODEL_SECONDS), keeps_requests=False)
        )
        parts = await stack.enter_async_context(open_the_parts(servers))
        await make_monitors(parts, monitors, site, plan_of=model_read_plan_of)
        beside = [processes.start(serve, site), processes.start(be_roles, servers, BESIDE)]
        await until_answered(site)
        evaluator = processes.start(be_roles, servers, ("evaluator",), claude_at(model))
        await asyncio.sleep(5)
        for _ in range(times):
            rounds.append(await one_round(parts.pool, site, "read by a model", monitors, [evaluator], beside))
            await change_the_site(site)
        assert model.count == monitors * times, f"the model was asked {model.count} times"
        return rounds, model.in_flight_most


def claude_at(*servers: ModelServer) -> dict[str, object]:
    """Settings of an installation that asks the first of these as claude, and the second as openai."""
    given: dict[str, object] = {
        "ai_providers": "claude,openai" if len(servers) > 1 else "claude",
        "anthropic_api_key": "benchmark",
        "anthropic_base_url": servers[0].url,
    }
    return (
        given if len(servers) == 1 else given | {"openai_base_url": servers[1].openai_url, "openai_wire": "responses"}
    )


async def measure_calls(servers: Servers, *, calls: int) -> tuple[Quantiles, Quantiles, Quantiles]:
    """Calls one after the other in turns: by the SDK alone, through the layer, and through it while the first provider rests."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(model_server(ok({"price": 49}), keeps_requests=False))
        broken = await stack.enter_async_context(model_server(failing(401), keeps_requests=False))
        parts = await stack.enter_async_context(open_the_parts(servers, **claude_at(broken, model)))
        # The same provider in both: alone, and behind one that rests.
        [alone] = providers(
            read_settings(ai_providers="openai", openai_base_url=model.openai_url, openai_wire="responses")
        )
        stack.push_async_callback(alone.close)
        through = replace(parts.ai.asking, providers=[alone])
        rest = parts.ai.asking
        while (await rest.ask(INQUIRY, _price, NOBODYS)).calls > 1:  # until the breaker of the first is open
            pass

        async def by_layer() -> None:
            assert (await through.ask(INQUIRY, _price, NOBODYS)).outcome is CallOutcome.OK

        async def by_failover() -> None:
            assert (await rest.ask(INQUIRY, _price, NOBODYS)).provider == "openai"

        async def by_sdk() -> None:
            assert (await alone.call(INQUIRY, seconds=10)).outcome is CallOutcome.OK

        ways = (by_sdk, by_layer, by_failover)
        taken: tuple[list[float], ...] = ([], [], [])
        for _ in range(calls):
            for way, seconds in zip(ways, taken, strict=True):
                seconds.append(await _timed(way))
        alone_ms, through_ms, resting_ms = (quantiles(seconds) for seconds in taken)
        return alone_ms, through_ms, resting_ms


def _price(text: str) -> float:
    return msgspec.json.decode(text, type=Price).price


async def _timed(way: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await way()
    return time.perf_counter() - began


async def measure(servers: Servers, *, monitors: int, times: int, calls: int) -> ModelFigures:
    """All figures."""
    rounds, in_flight = await measure_rate(servers, monitors=monitors, times=times)
    alone, through, resting = await measure_calls(servers, calls=calls)
    return ModelFigures(rounds=rounds, in_flight_most=in_flight, alone=alone, through=through, beside_resting=resting)


def run(servers: Servers, *, monitors: int, times: int = 2, calls: int = 300, json: Path | None = None) -> ModelFigures:
    """Measure on these servers and report."""
    machine = describe(servers.database_url, servers.redis_url)
    figures = uvloop.run(measure(servers, monitors=monitors, times=times, calls=calls))
    report("models", machine, figures, _lines(figures), json)
    return figures


def _lines(figures: ModelFigures) -> list[str]:
    return [
        (
            f"aims: {AIM_RATE}/s with a model of {MODEL_SECONDS:.0f} s, under {AIM_MEMORY_MIB} MiB; the layer adds under"
            f" {AIM_OVERHEAD_MS} ms to a call, failover under {AIM_FAILOVER_MS:.0f} ms"
        ),
        *(
            f"{one.monitors} monitors: {one.rate:.1f}/s, {one.cpu_each:.2f} of a core, {one.cpu_beside:.2f} beside,"
            f" {one.memory_mib:.0f} MiB, {one.failed} failed"
            for one in figures.rounds
        ),
        f"waiting for the model at once: {figures.in_flight_most}",
        f"a call by the SDK alone:  {figures.alone}",
        f"a call through the layer: {figures.through} (adds {figures.added_ms:.2f} ms)",
        f"beside one that rests:    {figures.beside_resting} (adds {figures.failover_ms:.2f} ms)",
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--monitors", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=2, help="how often all of them are evaluated")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with durable_servers() as servers:
        run(servers, monitors=given.monitors, times=given.times, calls=given.calls, json=given.json)


if __name__ == "__main__":
    main()
