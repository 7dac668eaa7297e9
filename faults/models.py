"""Rows 23 to 26: providers of models that are limited, broken, silent or away, under many evaluations, against what a healthy
installation would have found. `python -m faults.models --monitors 250 --rounds 4`.

The stand-ins are HTTP servers, asked through the real SDKs; what the right verdicts are is known, because the pages are ours.
"""

import argparse
import asyncio
import logging
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec
import structlog
from aiohttp import web
from uuid_utils.compat import uuid7

from adapters.embedded_redis import EmbeddedRedis
from adapters.postgres_pool import Pool
from bootstrap.now_and_new import utc_now
from bootstrap.parts import Endpoints, Parts, open_parts
from bootstrap.roles import running
from bootstrap.running import ROLES
from bootstrap.settings import read_settings
from commands.event_store import KeepSchedule
from domain.event import Metadata, NewEvents
from domain.fact import FactSpec, FactType, ReadBy
from domain.model_call import TokenUsage
from domain.monitor import MonitorCreated
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from domain.user import UserRegistered
from faults.servers import servers_of_our_own
from tests.model_server import (
    BUSY_FOR_AN_HOUR,
    CUT,
    HTML,
    REFUSAL,
    TRUNCATED,
    WRONG_TYPE,
    Answer,
    Asked,
    ModelServer,
    failing,
    model_server,
)
from tests.reading_model import reads
from workers.lifecycle import Stop

AWAY: tuple[Answer, ...] = (BUSY_FOR_AN_HOUR, failing(500), failing(503), failing(529), CUT)
"""What a provider does that is not there; hanging and dripping, which take half a minute each, are tested elsewhere."""
BROKEN: tuple[Answer, ...] = (
    *AWAY, HTML, REFUSAL, TRUNCATED, WRONG_TYPE,
    Answer(text='{"price":'), Answer(text='{"price": {"quote": 1, "value": "x", "confidence": 2}}'),
)  # fmt: skip
"""What a provider does that is not well. Where answers were garbage, nobody asks for more of it before the next slot."""
LIMIT, HIGH = 200.0, 300
ROUND_SECONDS_MAX = 300.0
RECOVERY_SECONDS_MAX = 120.0
ROLES_AT_WORK = ("relay", "projector", "scheduler", "evaluator", "notifier")
MONITORS_EACH = 50

_MAKE_DUE = "update schedule set due_at = now(), ready_at = now(), enqueued_at = null, attempts = 0"
_NOT_DONE = "select count(*) from schedule where due_at <= %s"
_LAST_VERDICTS = """
select distinct on (data->>'monitor_id') (data->>'monitor_id')::uuid, type, data->>'verdict', data->>'provider'
from event where type in ('evaluation.completed', 'evaluation.failed') order by data->>'monitor_id', seq desc
"""
_CHANGES = """
select stream_id, array_agg(data->>'to_state' order by version) from event where type = 'monitor.state_changed' group by 1
"""
_LEDGER = """
select coalesce(sum((data->'usage'->>'input_tokens')::bigint), 0), coalesce(sum((data->'usage'->>'output_tokens')::bigint), 0)
from event where type = 'model.called' and data->>'provider' = %s
"""
_AGAIN_WITHIN = "select count(*), max(due_at - now()) from schedule where due_at > now() + interval '10 minutes'"
_FAILING = "select count(*) from event where type in ('monitor.failing', 'notification.requested') and data->>'kind' is distinct from 'alert'"


@dataclass
class Pages:
    """Pages with a price each, which is all that a verdict depends on."""

    url: str = ""
    prices: list[float] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """One page."""
        number = int(request.match_info["number"])
        return web.json_response({"item": number, "price": self.prices[number]})


@dataclass
class Providers:
    """Two stand-ins, and whether each is well."""

    random: random.Random
    is_well: list[bool] = field(default_factory=lambda: [True, True])
    faults: Sequence[Answer] = BROKEN

    def answer_of(self, place: int, asked: Asked) -> Answer:
        """What a provider does with a request."""
        return reads(asked) if self.is_well[place] else self.random.choice(self.faults)


@dataclass
class World:
    """An installation with two providers, and a monitor for each page. `expected` is how the states of each must have
    changed."""

    parts: Parts
    pages: Pages
    providers: Providers
    servers: Sequence[ModelServer]
    random: random.Random
    monitors: list[UUID]
    expected: dict[UUID, list[str]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    evaluations: int = 0
    changes: int = 0

    @property
    def pool(self) -> Pool:
        """To the store."""
        return self.parts.pool

    def change_pages(self) -> None:
        """Every page has another price, and so a verdict of its own: none that was read before, for what models said of the
        same page would be known."""
        self.changes += 1
        self.pages.prices = [self.random.randrange(100, HIGH) + self.changes / 1000 for _ in self.monitors]

    def expect_states(self) -> None:
        """What is there now has been seen: these are the states it leads to."""
        for monitor_id, price in zip(self.monitors, self.pages.prices, strict=True):
            state = "active" if price < LIMIT else "inactive"
            changes = self.expected.setdefault(monitor_id, [])
            if changes[-1:] != [state]:
                changes.append(state)

    async def look(self) -> None:
        """Have every monitor evaluated once."""
        async with self.pool.connection() as connection:
            await connection.execute(_MAKE_DUE)
            async with asyncio.timeout(ROUND_SECONDS_MAX):
                while (await (await connection.execute(_NOT_DONE, (utc_now(),))).fetchall())[0][0]:  # noqa: ASYNC110  nobody tells it
                    await asyncio.sleep(0.1)
        self.evaluations += len(self.monitors)

    async def verdicts(self) -> dict[UUID, tuple[str, str, str]]:
        """The last one of each monitor: the event's type, the verdict, who read."""
        async with self.pool.connection() as connection:
            rows = await (await connection.execute(_LAST_VERDICTS)).fetchall()
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    async def blame(self, *, provider: str | None) -> None:
        """Note what is not as it must be: every last evaluation conclusive, read by `provider` (None: by nobody, and
        inconclusive), and no state changed that a healthy installation would not have changed."""
        for monitor_id, (kind, verdict, read_by) in (await self.verdicts()).items():
            is_right = (
                verdict == "inconclusive" if provider is None else verdict != "inconclusive" and read_by == provider
            )
            if kind != "evaluation.completed" or not is_right:
                self.troubles.append(f"{monitor_id}: {kind} {verdict} read by {read_by}, expected {provider}")
        async with self.pool.connection() as connection:
            changes: dict[UUID, list[str]] = dict(await (await connection.execute(_CHANGES)).fetchall())
            [(told,)] = await (await connection.execute(_FAILING)).fetchall()
        for monitor_id in self.monitors:
            if changes.get(monitor_id, []) != self.expected.get(monitor_id, []):
                expected, found = self.expected.get(monitor_id), changes.get(monitor_id)
                self.troubles.append(f"{monitor_id}: the state should have gone {expected}, it went {found}")
        if told:
            self.troubles.append(f"{told} monitors were called failing, or people told of it")

    async def blame_ledger(self) -> None:
        """The ledger must say what the providers say they used (invariant I7)."""
        async with self.pool.connection() as connection:
            for name, server in zip(("claude", "openai"), self.servers, strict=True):
                [(used_in, used_out)] = await (await connection.execute(_LEDGER, (name,))).fetchall()
                served: TokenUsage = server.served
                if (used_in, used_out) != (served.input_tokens, served.output_tokens):
                    self.troubles.append(f"{name} used {served}, the ledger says {used_in} and {used_out}")


async def primary_down(world: World, *, rounds: int) -> None:
    """Rows 23 and 24: the first provider is broken in every way for the whole run, and the second one reads it all."""
    world.providers.is_well = [False, True]
    for _ in range(rounds):
        world.change_pages()
        world.expect_states()
        await world.look()
        await world.blame(provider="openai")
    await world.blame_ledger()


async def both_down(world: World) -> None:
    """Row 26: nobody reads; nothing changes, nothing is called failing, all are due again within ten minutes, and when the
    providers are well, everything is found that was missed."""
    world.providers.is_well, world.providers.faults = [False, True], AWAY
    world.change_pages()
    world.expect_states()
    await world.look()
    world.providers.is_well = [False, False]
    world.change_pages()
    await world.look()
    await world.blame(provider=None)
    async with world.pool.connection() as connection:
        [(late, latest)] = await (await connection.execute(_AGAIN_WITHIN)).fetchall()
    if late:
        world.troubles.append(f"{late} monitors are looked at again in {latest} only")
    world.providers.is_well = [True, True]
    world.expect_states()
    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        while any(verdict == "inconclusive" for _, verdict, _ in (await world.verdicts()).values()):
            await world.look()
    await world.blame_ledger()


@asynccontextmanager
async def made(database_url: str, redis_url: str, folder: Path, *, monitors: int, seed: int) -> AsyncIterator[World]:
    """A world of its own on these servers."""
    pages, providers = Pages(prices=[HIGH] * monitors), Providers(random.Random(seed))  # noqa: S311  a failure is repeated by its seed
    application = web.Application()
    application.router.add_get("/{number:\\d+}", pages.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pages.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with (
            model_server(lambda asked: providers.answer_of(0, asked), keeps_requests=False) as claude,
            model_server(lambda asked: providers.answer_of(1, asked), keeps_requests=False) as openai,
        ):
            settings = read_settings(
                data_dir=folder,
                redis_namespace=f"faults{uuid7().hex[-12:]}",
                fetch_allow_networks="127.0.0.1/32",
                ai_providers="claude,openai",
                anthropic_api_key="claude",
                anthropic_base_url=claude.url,
                openai_api_key="openai",
                openai_base_url=openai.openai_url,
            )
            endpoints = Endpoints(database_url, redis_url, "smtp://127.0.0.1:9", "http://vigil.test")
            async with open_parts(settings, endpoints, bytes(32)) as parts:
                ids = await _make_monitors(parts, pages.url, monitors)
                world = World(parts, pages, providers, (claude, openai), random.Random(seed + 1), ids)  # noqa: S311  as above
                async with running({name: ROLES[name](parts) for name in ROLES_AT_WORK}, Stop()):
                    yield world
    finally:
        await runner.cleanup()


async def _make_monitors(parts: Parts, url: str, count: int) -> list[UUID]:
    now, ids = utc_now(), [uuid7() for _ in range(count)]
    for first in range(0, count, MONITORS_EACH):
        owner = uuid7()
        person = UserRegistered(email=f"p{first}@example.org", name="P", timezone="UTC", registered_at=now)
        new = [NewEvents(stream_id=owner, owner_id=owner, expected_version=0, events=(person,))]
        companions = []
        for number, monitor_id in list(enumerate(ids))[first : first + MONITORS_EACH]:
            plan = _plan(f"{url}/{number}")
            created = MonitorCreated(
                name=f"Item {number}", prompt="Tell me when it is cheap", plan=plan, created_at=now
            )
            new.append(NewEvents(stream_id=monitor_id, owner_id=owner, expected_version=0, events=(created,)))
            later = now.replace(year=now.year + 1)
            companions.append(KeepSchedule(monitor_id, owner, plan.schedule, active=True, due_at=later))
        await parts.store.append(new, metadata=Metadata(correlation_id=owner, actor="faults"), companions=companions)
    return ids


def _plan(url: str) -> Plan:
    price = FactSpec(name="price", type=FactType.NUMBER, description="the price of the item", read_by=ReadBy.MODEL)
    return Plan(
        kind=Kind.CURRENT_STATE,
        facts=(price,),
        condition=f"price < {LIMIT}",
        schedule=Every(seconds=3600),
        sources=(HttpSource(url=url),),
        explanation="Met while the price is low.",
    )


class Findings(msgspec.Struct, frozen=True):
    """What a run came to."""

    evaluations: int
    calls: list[int]
    troubles: list[str]


async def play(database_url: str, redis_url: str, folder: Path, *, monitors: int, rounds: int, seed: int) -> Findings:
    """Both faults one after the other."""
    async with made(database_url, redis_url, folder, monitors=monitors, seed=seed) as world:
        await primary_down(world, rounds=rounds)
        await both_down(world)
        return Findings(world.evaluations, [server.count for server in world.servers], world.troubles)


def main() -> int:
    """Read the command line and play on servers of our own."""
    parser = argparse.ArgumentParser(prog="python -m faults.models", description=__doc__)
    parser.add_argument("--monitors", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="vigil-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's own user must reach its folder
        redis = EmbeddedRedis(folder)
        with servers_of_our_own(folder) as servers:
            findings = asyncio.run(_play_on(servers.database, redis.start(), folder, given))
        redis.stop()
    print(f"{findings.evaluations} evaluations, calls of the providers {findings.calls}")  # noqa: T201  a command
    for trouble in findings.troubles:
        print(trouble)  # noqa: T201
    return 1 if findings.troubles else 0


async def _play_on(database: object, redis_url: str, folder: Path, given: argparse.Namespace) -> Findings:
    async with database() as url:  # type: ignore[operator]
        return await play(url, redis_url, folder, monitors=given.monitors, rounds=given.rounds, seed=given.seed)


if __name__ == "__main__":
    raise SystemExit(main())
