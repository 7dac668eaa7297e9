"""Who an evaluation says has read its facts: whoever did, however long ago, and never the rules for what a model was to read."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import msgspec
import pytest

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.claude_provider import ClaudeProvider
from commands.model_reading import ModelReading
from domain.evaluation import EvaluationCompleted, Verdict
from domain.evidence import Reading
from domain.fact import Fact
from tests.commands.model_world import CALL_MICROS, reading
from tests.model_server import REFUSAL, ModelServer, model_server
from tests.reading_model import reads
from tests.workers.batch_world import MODEL, PRICE
from tests.workers.world import PRICE as SELECTED
from tests.workers.world import Page, World, plan


class ReadingBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A reading as it was before it was remembered who read."""

    of: str
    facts: tuple[Fact, ...]
    read_at: datetime
    asked: str = ""
    url: str = ""
    cost_micros: int = 0


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with model_server(reads) as opened:
        yield opened


@pytest.fixture
async def models(server: ModelServer) -> AsyncIterator[ModelReading]:
    provider = ClaudeProvider("key", MODEL, server.url)
    yield reading(provider)
    await provider.close()


class Watched:
    """A monitor of a page that stays as it is, looked at slot after slot."""

    def __init__(self, world: World, fetcher: AiohttpFetcher, page: Page, owner: UUID, monitor_id: UUID) -> None:
        self.world, self.fetcher, self.page, self.owner, self.monitor_id = world, fetcher, page, owner, monitor_id

    async def looks(self, models: ModelReading | None) -> EvaluationCompleted:
        self.world.clock.at = await self.world.due_at(self.monitor_id)
        job = await self.world.slot(self.owner, self.monitor_id)
        await self.world.evaluator(self.fetcher, models=models).evaluate(job)
        return await self.world.verdict(job)


@pytest.fixture
async def watched(world: World, fetcher: AiohttpFetcher, page: Page) -> Watched:
    page.etag, page.text = '"1"', (b"<p>price 149 EUR</p>", "text/html")
    owner = await world.person()
    return Watched(world, fetcher, page, owner, await world.monitor(owner, plan(page.url, facts=(PRICE,))))


async def test_what_is_not_read_again_was_read_by_who_read_it(watched: Watched, models: ModelReading) -> None:
    first, second = await watched.looks(models), await watched.looks(models)
    assert (first.provider, first.model, first.cost_micros) == ("claude", "stand-in-1", CALL_MICROS)
    assert (second.provider, second.model) == (first.provider, first.model)
    assert (second.cost_micros, second.saved_micros) == (0, CALL_MICROS)
    await watched.world.project()
    saved = "select string_agg(provider, ' ') from evaluations where saved_micros > 0"
    assert await watched.world.value(saved) == "claude"


async def test_of_what_was_read_before_that_was_remembered_the_rules_are_not_said_to_be_the_reader(
    watched: Watched, models: ModelReading
) -> None:
    await watched.looks(models)
    await watched.world.execute("update source_memory set reading = reading - 'provider' - 'model'")
    again = await watched.looks(models)
    assert (again.provider, again.model, again.saved_micros) == ("unknown", None, CALL_MICROS)
    assert again.verdict is Verdict.MET


async def test_a_release_that_does_not_remember_who_read_understands_what_this_one_remembers(
    watched: Watched, models: ModelReading
) -> None:
    await watched.looks(models)
    stored = str(await watched.world.value("select reading::text from source_memory"))
    now, before = msgspec.json.decode(stored, type=Reading), msgspec.json.decode(stored, type=ReadingBefore)
    assert (now.provider, now.model) == ("claude", "stand-in-1")
    assert all(getattr(before, name) == getattr(now, name) for name in ReadingBefore.__struct_fields__)


async def test_where_nobody_could_read_nobody_is_said_to_have_read(watched: Watched) -> None:
    for models in (None, reading()):
        completed = await watched.looks(models)
        assert (completed.verdict, completed.provider, completed.model) == (Verdict.INCONCLUSIVE, "nobody", None)


async def test_who_was_asked_and_refused_did_not_read(
    watched: Watched, models: ModelReading, server: ModelServer
) -> None:
    server.script = lambda _: REFUSAL
    completed = await watched.looks(models)
    assert (completed.provider, completed.model, completed.cost_micros) == ("nobody", None, CALL_MICROS)
    assert "claude read nothing" in str(completed.reason)


async def test_what_is_selected_is_read_by_the_rules(watched: Watched, world: World) -> None:
    watched.page.text = None
    watched.monitor_id = await world.monitor(watched.owner, plan(watched.page.url, facts=(SELECTED,)))
    for _ in range(2):
        assert (await watched.looks(None)).provider == "rules"
