"""When models are asked again that did not read: soon, but never so that a page or a lag has the same paid for again and again."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
import pytest

from adapters.aiohttp_fetcher import AiohttpFetcher
from commands.model_reading import ModelRead
from domain.evaluation import Verdict
from domain.evidence import Document, FetchOutcome
from domain.fact import ReadBy
from domain.model_call import OnBehalf
from domain.plan import Kind
from domain.schedule import Every
from domain.source import SearchSource
from tests.workers.world import PRICE, Page, World, plan
from workers.evaluator import UNREAD_REST, HistoryBehind

DAY = 86_400
READ_BY_MODEL = msgspec.structs.replace(PRICE, read_by=ReadBy.MODEL)


class Models:
    """Models that read nothing, always for the same reason."""

    edition = "models"

    def __init__(self, read: ModelRead) -> None:
        self._read = read

    async def read(self, *_: object, **__: object) -> ModelRead:
        return self._read


class Searching:
    """A search that finds a price, and is paid for each time."""

    def __init__(self) -> None:
        self.searches = 0

    async def search(
        self, source: SearchSource, *, on_behalf: OnBehalf, prefer: str | None, until: float | None, now: datetime
    ) -> tuple[Document, ModelRead]:
        self.searches += 1
        url, body = f"search:{source.query}", b'{"price": 100}'
        found = Document(url=url, outcome=FetchOutcome.OK, fetched_at=now, content_type="application/json", body=body)
        return msgspec.structs.replace(found, hash=sha256(body).hexdigest()), ModelRead(facts={}, cost_micros=1)


@pytest.mark.parametrize(
    ("is_in_vain", "again_after"), [(False, UNREAD_REST), (True, timedelta(seconds=DAY))], ids=["soon", "in its slot"]
)
async def test_what_was_paid_for_in_vain_is_asked_again_in_its_slot_and_the_rest_soon(
    world: World, fetcher: AiohttpFetcher, page: Page, again_after: timedelta, *, is_in_vain: bool
) -> None:
    owner = await world.person()
    of = plan(page.url, facts=(READ_BY_MODEL,), schedule=Every(seconds=DAY))
    monitor = await world.monitor(owner, of)
    job = await world.slot(owner, monitor)
    world.clock.at = job.due_at
    models = Models(ModelRead(facts={}, failure="claude read nothing", is_in_vain=is_in_vain))
    await world.evaluator(fetcher, models=models).evaluate(job)
    assert (await world.verdict(job)).verdict is Verdict.INCONCLUSIVE
    assert await world.due_at(monitor) - job.due_at == again_after


async def test_nothing_is_searched_for_as_long_as_it_could_not_be_judged(
    world: World, fetcher: AiohttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.evaluator.CATCH_UP_SECONDS_MAX", 0.01)
    owner = await world.person()
    of = plan(condition="changed(price)", kind=Kind.HISTORICAL_CHANGE)
    monitor = await world.monitor(owner, msgspec.structs.replace(of, sources=(SearchSource(query="a kettle"),)))
    evaluator, searching = world.evaluator(fetcher), Searching()
    sight = replace(evaluator.sight, looker=replace(evaluator.sight.looker, searching=searching))
    evaluator = replace(evaluator, sight=sight)
    await evaluator.evaluate(await world.slot(owner, monitor))
    for _ in range(3):
        with pytest.raises(HistoryBehind):
            await evaluator.evaluate(await world.slot(owner, monitor))
    assert searching.searches == 1
    await world.project()
    await evaluator.evaluate(await world.slot(owner, monitor))
    assert searching.searches == 2


async def test_who_waits_with_all_documents_of_a_look_gives_way_only_if_they_fit(
    world: World, fetcher: AiohttpFetcher, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []

    class Waited(Models):
        async def read(self, *_: object, **__: object) -> ModelRead:
            found.append(asyncio.current_task() in evaluator.sight.looker.reader.given_way)  # type: ignore[operator]  # there is one
            return await super().read()

    evaluator = world.evaluator(fetcher, models=Waited(ModelRead(facts={}, failure="claude read nothing")))
    page.content = {"price": 1, "more": "x" * 1_000}
    monkeypatch.setattr("commands.giving_way.HELD_BYTES_MAX", 1_500)
    owner = await world.person()
    for urls in ([page.url], [page.url, f"{page.url}?again"]):
        monitor = await world.monitor(owner, plan(*urls, facts=(READ_BY_MODEL,)))
        await asyncio.create_task(evaluator.evaluate(await world.slot(owner, monitor)))
    assert found == [True, False, False]
